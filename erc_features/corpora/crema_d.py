"""Reads CREMA-D by its file names (Cao et al. 2014, "CREMA-D: Crowd-sourced Emotional Multimodal
Actors Dataset", IEEE Transactions on Affective Computing 5(4)).

    anywhere below the source: 1001_DFA_ANG_XX.wav (AudioWAV), .mp3 (AudioMP3), .flv (VideoFlash)
    VideoDemographics.csv, where it is there: age, sex, race and ethnicity of each actor

A name is actor, sentence, emotion, level. The label is the emotion that the actor was asked for,
not the one that the crowd heard. The sound is the WAV, else the MP3, else the clip's: the authors
say that of the three the WAV is the recording (issue 13 of their repository). In older copies one
level is written X instead of XX (issue 6).

Published: 7,442 clips of 91 actors.
"""

from pathlib import Path

from erc_features.corpora.cells import read_table
from erc_features.corpora.file_names import (
    by_utterance,
    clip_of,
    counted,
    files_below,
    named_files,
    sentence,
    sound_of,
)
from erc_features.corpora.raw import Defect, RawCorpus
from erc_features.errors import CorpusError

EMOTIONS = {"ANG": "anger", "DIS": "disgust", "FEA": "fear", "HAP": "happy", "NEU": "neutral",
            "SAD": "sad"}  # fmt: skip
LEVELS = {"LO": "low", "MD": "medium", "HI": "high", "XX": "unspecified"}
SENTENCES = {
    "IEO": "It's eleven o'clock.",
    "TIE": "That is exactly what happened.",
    "IOM": "I'm on my way to the meeting.",
    "IWW": "I wonder what this is about.",
    "TAI": "The airplane is almost full.",
    "MTI": "Maybe tomorrow it will be cold.",
    "IWL": "I would like a new alarm clock.",
    "ITH": "I think I have a doctor's appointment.",
    "DFA": "Don't forget a jacket.",
    "ITS": "I think I've seen this before.",
    "TSI": "The surface is slick.",
    "WSI": "We'll stop in a couple of minutes.",
}
PUBLISHED = 7442
DEMOGRAPHICS = "VideoDemographics.csv"
_COLUMNS = {"Age": "age", "Sex": "gender", "Race": "race", "Ethnicity": "ethnicity"}


def read_crema_d(source: Path) -> RawCorpus | None:
    """Read CREMA-D; None where no file below `source` is called like one of its.

    Raises:
        CorpusError: as :func:`named_files`, or `VideoDemographics.csv` cannot be read.
    """
    if (surveyed := named_files(source, "CREMA-D")) is None:
        return None
    files, defects = surveyed
    named: list[tuple[tuple[str, ...], Path]] = []
    for file in files:
        actor, code, emotion, level = file.parts
        if level == "X":
            where = str(file.path.relative_to(source))
            defects.append(Defect("level X", where, "all others write XX", "read as XX"))
        named.append(((actor, code, emotion, level.ljust(2, "X")), file.path))
    clips = by_utterance(source, named, defects)
    actors = _actors(source)
    rows = []
    for number, (parts, forms) in enumerate(sorted(clips.items())):
        actor, code, emotion, level = parts
        more = {"sentence": code, "level": LEVELS[level], **actors.get(actor, {})}
        files_of = {"clip": clip_of(forms), "sound": sound_of(forms)}
        rows.append(sentence(number, actor, SENTENCES[code], EMOTIONS[emotion], more, files_of))
    notes = [counted("clips of CREMA-D", len(rows), PUBLISHED, "Cao et al. 2014")]
    if not actors:
        notes.append(f"There is no {DEMOGRAPHICS} below {source}: no row has a gender or an age.")
    labels = tuple(EMOTIONS.values())
    return RawCorpus("crema-d", source, tuple(rows), labels, tuple(defects), tuple(notes))


def _actors(source: Path) -> dict[str, dict[str, str]]:
    """What is known of each actor, by number; empty where there is no table."""
    path = next(iter(files_below(source, lambda name: name == DEMOGRAPHICS)), None)
    if path is None:
        return {}
    table = read_table(path)
    needed = ("ActorID", *_COLUMNS)
    if absent := [name for name in needed if name not in table.columns]:
        raise CorpusError(f"{path}:1: has no column {', '.join(absent)}.")
    return {
        cells["ActorID"].strip(): {
            new: cells[old].strip().lower() if new == "gender" else cells[old].strip()
            for old, new in _COLUMNS.items()
        }
        for _, cells in table.rows
    }
