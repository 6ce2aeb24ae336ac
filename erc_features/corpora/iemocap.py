"""Reads IEMOCAP (Busso et al. 2008, "IEMOCAP: Interactive emotional dyadic motion capture
database", Language Resources and Evaluation 42).

    Session1 … Session5, anywhere below the source, each with
    dialog/EmoEvaluation/Ses01F_impro01.txt     turns: times, label, valence, activation, dominance
    dialog/transcriptions/Ses01F_impro01.txt    what is said
    sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav      a sound for each turn, if it is there,
    dialog/wav/Ses01F_impro01.wav                             else cut out of that of the dialogue
    dialog/avi/**/Ses01F_impro01.avi            pictures of the dialogue, which both actors are in

An utterance is a turn that was evaluated; turns that are only transcribed are not. Those on whose
label the annotators did not agree (`xxx`), or whose label is not in the set, are rows without a
label: they are context, and are not scored. There is no official split: all is train, for
`--folds session` or `--folds speaker`.

Published: 10,039 turns, 5,255 scripted and 4,784 improvised. Counted in the release by its users:
neutral 1,708, frustration 1,849, anger 1,103, sadness 1,084, excited 1,041, happiness 595, surprise
107, fear 40, other 3, disgust 2, no agreement 2,507 (github.com/Yu-Fangxu/EACL, issue 8, for six).
So four classes are 5,531 where excited counts as happiness, else 4,490, and six are 7,380.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from erc_features.corpora.annotations import refuse_if_wrong
from erc_features.corpora.cells import plain_text
from erc_features.corpora.file_names import counted, folders, media_below
from erc_features.corpora.raw import Defect, RawCorpus, RawSound, RawUtterance
from erc_features.errors import CorpusError
from erc_features.utterance import Split, Utterance

EMOTIONS = {"ang": "anger", "hap": "happiness", "exc": "excited", "sad": "sadness",
            "neu": "neutral", "fru": "frustration", "sur": "surprise", "fea": "fear",
            "dis": "disgust", "oth": "other"}  # fmt: skip
NO_AGREEMENT = "no agreement"
_FOUR = {name: name for name in ("anger", "happiness", "sadness", "neutral")}
# The label sets: the corpus's emotion -> the label, in the order of the labels.
SETS: Mapping[str, Mapping[str, str]] = {
    "iemocap": {name: name for name in EMOTIONS.values()},
    "iemocap-4": {**_FOUR, "excited": "happiness"},
    "iemocap-4-unmerged": _FOUR,
    "iemocap-6": {name: name for name in (*_FOUR, "excited", "frustration")},
}
_MEANING = {
    "iemocap": "all",
    "iemocap-4": "4 classes with excited as happiness",
    "iemocap-4-unmerged": "4 classes without excited",
    "iemocap-6": "6 classes",
}
PUBLISHED = 10_039
_NUMBER = r"-?[0-9]+(?:\.[0-9]+)?"
_TURN = re.compile(r"(Ses0([1-5])([FM])_(impro[0-9]+[a-z]?|script[0-9]+_[0-9]+[a-z]?))_([FM])(\w+)")
_EVALUATED = re.compile(
    rf"\[({_NUMBER})\s*-\s*({_NUMBER})\]\s+(\S+)\s+(\w+)\s+"
    rf"\[({_NUMBER}),\s*({_NUMBER}),\s*({_NUMBER})\]\s*"
)
_SPOKEN = re.compile(rf"(\S+)\s+\[{_NUMBER}\s*-\s*{_NUMBER}\]:(.*)")


@dataclass(frozen=True)
class _Dialogue:
    """The files of one dialogue; None where it has none."""

    name: str
    evaluation: Path
    transcription: Path | None
    sound: Path | None
    picture: Path | None
    sentences: Path


@dataclass(frozen=True)
class _Turn:
    name: str
    start: float
    end: float
    emotion: str
    ratings: tuple[float, float, float]


def read_iemocap(source: Path) -> RawCorpus | None:
    """Read IEMOCAP with all of its labels; None where there is no dialog/EmoEvaluation below.

    Raises:
        CorpusError: names every line that cannot be read, and dialogues that exist twice.
    """
    return _read(source, "iemocap")


def read_four(source: Path) -> RawCorpus | None:
    """The same with anger, happiness (and excited), sadness and neutral."""
    return _read(source, "iemocap-4")


def read_four_unmerged(source: Path) -> RawCorpus | None:
    """The same with anger, happiness, sadness and neutral; excited has no label."""
    return _read(source, "iemocap-4-unmerged")


def read_six(source: Path) -> RawCorpus | None:
    """The same with those four, excited and frustration."""
    return _read(source, "iemocap-6")


def _read(source: Path, kind: str) -> RawCorpus | None:
    dialogues = _survey(source)
    if not dialogues:
        return None
    labels = SETS[kind]
    rows: list[RawUtterance] = []
    defects: list[Defect] = []
    problems: list[str] = []
    for number, dialogue in enumerate(dialogues):
        turns = list(_evaluated(dialogue.evaluation, problems))
        texts = _spoken(dialogue, {turn.name for turn in turns}, defects)
        turns.sort(key=lambda turn: (turn.start, turn.end, turn.name))
        for sequence, turn in enumerate(turns):
            rows.append(_row(dialogue, turn, (number, sequence), texts.get(turn.name), labels))
    refuse_if_wrong(source, problems)
    if not rows:
        raise CorpusError(
            f"{source}: {len(dialogues)} files in dialog/EmoEvaluation, such as "
            f"{dialogues[0].evaluation}, and no turn in any of them; a turn is a line like "
            "[6.2901 - 8.2357] Ses01F_impro01_F000 neu [2.5000, 2.5000, 2.5000]."
        )
    defects += _absent(rows)
    names = tuple(dict.fromkeys(labels.values()))
    return RawCorpus(kind, source, tuple(rows), names, tuple(defects), _notes(rows, kind))


def _survey(source: Path) -> list[_Dialogue]:
    """The dialogues in order of their names."""
    found: dict[str, _Dialogue] = {}
    for path, subfolders, _ in folders(source):
        subfolders[:] = [name for name in subfolders if name not in ("sentences", "MOCAP")]
        if path.name != "EmoEvaluation" or path.parent.name != "dialog":
            continue
        subfolders.clear()  # each annotator's own files
        dialog, session = path.parent, path.parent.parent
        pictures = {clip.stem: clip for clip in media_below(dialog / "avi", (".avi", ".mp4"))}
        for text in sorted(path.glob("[!.]*.txt")):
            sound, said = dialog / "wav" / f"{text.stem}.wav", dialog / "transcriptions" / text.name
            new = _Dialogue(
                text.stem, text, said if said.is_file() else None,
                sound if sound.is_file() else None, pictures.get(text.stem),
                session / "sentences" / "wav" / text.stem,
            )  # fmt: skip
            if (known := found.setdefault(text.stem, new)) is not new:
                raise CorpusError(
                    f"{known.evaluation} and {text} are the same dialogue. Remove one of them, or "
                    "prepare the folder that has the corpus once."
                )
    return [found[name] for name in sorted(found)]


def _evaluated(path: Path, problems: list[str]) -> Iterator[_Turn]:
    """The turns of a dialogue; what cannot be read goes to `problems`."""
    seen: dict[str, int] = {}
    for line, text in enumerate(_lines(path), 1):
        if not text.startswith("["):  # of one annotator, or a comment
            continue
        match = _EVALUATED.fullmatch(text)
        if match is None:
            problems.append(f"{path}:{line}: {text[:80]!r} is no turn")
            continue
        start, end, name, code, *ratings = match.groups()
        turn = _TURN.fullmatch(name)
        if turn is None or turn[1] != path.stem:
            problems.append(f"{path}:{line}: {name} is no turn of {path.stem}")
        elif code not in EMOTIONS and code != "xxx":
            problems.append(f"{path}:{line}: {code} is none of {', '.join(EMOTIONS)} and xxx")
        elif name in seen:
            problems.append(f"{path}:{line}: {name} is already in line {seen[name]}")
        else:
            seen[name] = line
            valence, arousal, dominance = map(float, ratings)
            emotion = EMOTIONS.get(code, NO_AGREEMENT)
            yield _Turn(name, float(start), float(end), emotion, (valence, arousal, dominance))


def _spoken(dialogue: _Dialogue, turns: set[str], defects: list[Defect]) -> dict[str, str]:
    """What is said, by turn."""
    if dialogue.transcription is None:
        where, what = str(dialogue.evaluation.name), f"no transcriptions/{dialogue.name}.txt"
        defects.append(Defect("no transcription", where, what, "texts left empty"))
        return {}
    texts = {}
    for text in _lines(dialogue.transcription):
        if match := _SPOKEN.fullmatch(text):
            if match[1] in turns:
                texts[match[1]] = match[2].strip()
            else:
                defects.append(
                    Defect("turn without evaluation", match[1], "it is only transcribed", "no row")
                )
    return texts


def _lines(path: Path) -> list[str]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read ({error.strerror}).") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", "replace")
    return [line.strip() for line in text.splitlines()]


def _row(
    dialogue: _Dialogue,
    turn: _Turn,
    place: tuple[int, int],
    text: str | None,
    labels: Mapping[str, str],
) -> RawUtterance:
    match = _TURN.fullmatch(turn.name)
    assert match is not None  # `_evaluated` keeps no other
    _, session, _, scenario, gender, _ = match.groups()
    more = {
        "turn": turn.name,
        "session": f"Session{session}",
        "style": "improvised" if scenario.startswith("impro") else "scripted",
        "scenario": re.sub(r"(_[0-9]+)?[a-z]?$", "", scenario),
        "gender": "male" if gender == "M" else "female",
        "emotion": turn.emotion,
        **{name: f"{value:g}" for name, value in
           zip(("valence", "arousal", "dominance"), turn.ratings, strict=True)},
        "start": f"{turn.start:g}" if turn.start < 100 else f"{turn.start:.4f}",
        "end": f"{turn.end:g}" if turn.end < 100 else f"{turn.end:.4f}",
    }  # fmt: skip
    utterance = Utterance(
        Split.TRAIN, *place, speaker=f"Ses0{session}{gender}",
        x_text=plain_text(text or "").strip(), label=labels.get(turn.emotion, ""), more=more,
    )  # fmt: skip
    span = (turn.start, turn.end)
    sentence, sound = dialogue.sentences / f"{turn.name}.wav", None
    if sentence.is_file():
        sound = RawSound(sentence)
    elif dialogue.sound is not None:
        sound = RawSound(dialogue.sound, span)
    picture = dialogue.picture
    return RawUtterance(utterance, picture, text, span if picture else None, sound)


def _absent(rows: list[RawUtterance]) -> Iterator[Defect]:
    """The defects of media: what there is none of, and where sound is cut out of the dialogue."""
    nothing = [row.utterance.key for row in rows if row.clip is None and row.sound is None]
    if len(nothing) == len(rows):
        yield Defect("no media", Split.TRAIN, "no sentences/wav, dialog/wav or dialog/avi below "
                     "the source", "text only")  # fmt: skip
        return
    for key in nothing:
        yield Defect("missing clip", key, "no sentence, and no dialogue to cut it out of",
                     "picture and sound left empty")  # fmt: skip
    whole = sum(row.sound is not None and row.sound.segment is None for row in rows)
    cut = [row for row in rows if row.sound is not None and row.sound.segment is not None]
    for row in cut if whole else ():
        yield Defect("no sentence file", row.utterance.key, "not in sentences/wav",
                     "cut out of dialog/wav")  # fmt: skip
    if any(row.clip is not None for row in rows):
        done = "kept whole; --faces takes the larger face, which may be the listener's"
        yield Defect("two people in the picture", Split.TRAIN, "dialog/avi shows both actors", done)


def _notes(rows: list[RawUtterance], kind: str) -> tuple[str, ...]:
    counts = Counter(row.utterance.more["emotion"] for row in rows)
    sizes = {name: sum(counts[emotion] for emotion in labels) for name, labels in SETS.items()}
    listed = ", ".join(f"{name} {n:,}" for name, n in counts.most_common())
    sets = "; ".join(f"{_MEANING[name]} ({name}) {size:,}" for name, size in sizes.items())
    cut = sum(row.sound is not None and row.sound.segment is not None for row in rows)
    notes = [
        counted("utterances of IEMOCAP", len(rows), PUBLISHED, "Busso et al. 2008"),
        f"What the annotators agreed on: {listed}.",
        f"Utterances with a label, by --kind: {sets}. This is {kind}: the other "
        f"{len(rows) - sizes[kind]:,} are kept as context, without a label.",
    ]
    if sizes["iemocap-4"] == 5531:
        notes.append(
            "Papers with 5,499 of the 5,531 use files from which their authors took 32 that they "
            "held for damaged, without a list: docs/protocols.md."
        )
    if cut:
        notes.append(
            f"{cut:,} sounds are cut out of dialog/wav: they have no file in sentences/wav."
        )
    return tuple(notes)
