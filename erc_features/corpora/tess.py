"""Reads TESS by its file names (Pichora-Fuller and Dupuis 2020, "Toronto emotional speech set",
Borealis, doi.org/10.5683/SP2/E8H2MF).

    anywhere below the source, whatever the folders are called: OAF_back_angry.wav and so on

A name is speaker, word, emotion: 200 words after "Say the word", by an older (OAF, 64 years) and a
younger (YAF, 26) woman. In the archive that most people have, one file is called OA_bite_neutral,
and the folder is there twice, one inside the other: files that are equal are counted once.

Published: 2,800 utterances.
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
from erc_features.corpora.raw import Defect, RawCorpus

EMOTIONS = {"angry": "angry", "disgust": "disgust", "fear": "fear", "happy": "happy",
            "neutral": "neutral", "ps": "pleasant surprise", "sad": "sad"}  # fmt: skip
AGES = {"OAF": "64", "YAF": "26"}
PUBLISHED = 2800


def read_tess(source: Path) -> RawCorpus | None:
    """Read TESS; None where no file below `source` is called like one of its.

    Raises:
        CorpusError: as :func:`named_files`.
    """
    if (surveyed := named_files(source, "TESS")) is None:
        return None
    files, defects = surveyed
    named: list[tuple[tuple[str, str, str], Path]] = []
    for file in files:
        speaker, word, emotion = file.parts[0].upper(), file.parts[1].lower(), file.parts[2].lower()
        where = str(file.path.relative_to(source))
        if speaker == "OA":
            speaker = "OAF"
            defects.append(Defect("speaker OA", where, "all others write OAF", "read as OAF"))
        named.append(((speaker, word, emotion), file.path))
    known = by_utterance(source, named, defects)
    rows = [
        sentence(
            number, speaker, f"Say the word {word}.", EMOTIONS[emotion],
            {"word": word, "gender": "female", "age": AGES[speaker]},
            {"sound": sound_of(known[key]) or clip_of(known[key])},
        )
        for number, key in enumerate(sorted(known))
        for speaker, word, emotion in [key]
    ]  # fmt: skip
    note = counted("utterances of TESS", len(rows), PUBLISHED, "Pichora-Fuller and Dupuis 2020")
    labels = tuple(EMOTIONS.values())
    return RawCorpus("tess", source, tuple(rows), labels, tuple(defects), (note,))
