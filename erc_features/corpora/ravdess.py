"""Reads RAVDESS by its file names (Livingstone and Russo 2018, "The Ryerson Audio-Visual Database
of Emotional Speech and Song", PLoS ONE 13(5)).

    anywhere below the source: 03-01-06-01-02-01-12.wav, 01-01-06-01-02-01-12.mp4 and so on

A name is modality (01 picture and sound, 02 picture alone, 03 sound alone), channel (01 speech, 02
song), emotion, intensity, statement, repetition, actor; actors of even numbers are women. The three
modalities of one performance are one utterance: its sound is the WAV, where that is there, and its
picture is of the clip with sound, where that is there.

Published (zenodo.org/record/1188976): 1,440 of speech by 24 actors, 1,012 of song by 23, as actor
18 did not sing. Speech has eight emotions, song the first six.
"""

from pathlib import Path

from erc_features.corpora.file_names import (
    by_utterance,
    clip_of,
    counted,
    named_files,
    sentence,
    sound_of,
)
from erc_features.corpora.raw import RawCorpus

LABELS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
STATEMENTS = ("Kids are talking by the door.", "Dogs are sitting by the door.")
CHANNELS = ("speech", "song")
PUBLISHED = {"speech": 1440, "song": 1012}
_SOURCE = "Livingstone and Russo 2018"
_BOTH, _PICTURE, _SOUND = "01", "02", "03"


def read_ravdess(source: Path) -> RawCorpus | None:
    """Read RAVDESS; None where no file below `source` is called like one of its.

    Raises:
        CorpusError: as :func:`named_files`.
    """
    if (surveyed := named_files(source, "RAVDESS")) is None:
        return None
    files, defects = surveyed
    named = by_utterance(source, ((file.parts, file.path) for file in files), defects)
    performances: dict[tuple[str, ...], dict[str, dict[str, Path]]] = {}
    for (modality, *rest), forms in named.items():
        performances.setdefault((rest[-1], *rest[:-1]), {})[modality] = forms
    rows = []
    counts = dict.fromkeys(CHANNELS, 0)
    for number, (parts, by_modality) in enumerate(sorted(performances.items())):
        actor, channel, emotion, intensity, statement, repetition = parts
        named = CHANNELS[int(channel) - 1]
        counts[named] += 1
        more = {
            "channel": named,
            "intensity": ("normal", "strong")[int(intensity) - 1],
            "statement": str(int(statement)),
            "repetition": str(int(repetition)),
            "gender": "male" if int(actor) % 2 else "female",
        }
        given, silent, spoken = (by_modality.get(which, {}) for which in (_BOTH, _PICTURE, _SOUND))
        both = clip_of(given)
        # Without a WAV, the clip is both; a clip without sound says so when it is decoded.
        sound = sound_of(spoken) or clip_of(spoken) or sound_of(given) or (both if silent else None)
        files_of = {"clip": both or clip_of(silent), "sound": sound}
        text, label = STATEMENTS[int(statement) - 1], LABELS[int(emotion) - 1]
        rows.append(sentence(number, actor, text, label, more, files_of))
    notes = [
        counted(f"utterances of {channel} in RAVDESS", count, PUBLISHED[channel], _SOURCE)
        for channel, count in counts.items()
        if count
    ]
    merged = len(files) - len(rows)
    if merged:
        notes.append(
            f"{len(files):,} files of RAVDESS are {len(rows):,} utterances: the modalities of one "
            "performance are one row."
        )
    sung = set(LABELS[:6])
    labels = LABELS if any(row.utterance.label not in sung for row in rows) else LABELS[:6]
    labels = LABELS if counts["speech"] else labels
    return RawCorpus("ravdess", source, tuple(rows), labels, tuple(defects), tuple(notes))
