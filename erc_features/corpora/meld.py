"""MELD.Raw -> utterances (Poria et al. 2019); its defects as data.

    anywhere below: {train,dev,test}_sent_emo.csv
    clips: train_splits/, dev_splits_complete/, output_repeated_splits_test/ dia<D>_utt<U>.mp4

`output_repeated_splits_test` also holds `final_videos_test*` extras, and archives made on a
Mac hold `._*` files: neither is an utterance.
"""

import os
import re
from collections import defaultdict
from pathlib import Path

from erc_features.corpora.cells import plain_text, read_table
from erc_features.corpora.raw import Defect, RawCorpus, RawUtterance
from erc_features.corpora.times import time_defects
from erc_features.errors import CorpusError, listed
from erc_features.utterance import Split, Utterance

LABELS = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")
FOLDERS = {
    "train_splits": Split.TRAIN,
    "dev_splits_complete": Split.DEV,
    "output_repeated_splits_test": Split.TEST,
}
_ANNOTATIONS = {f"{split}_sent_emo.csv": split for split in (Split.TRAIN, Split.DEV, Split.TEST)}
_CLIP = re.compile(r"dia([0-9]{1,9})_utt([0-9]{1,9})\.mp4")
_NEEDED = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")
_MORE = {
    "Sentiment": "sentiment",
    "Season": "season",
    "Episode": "episode",
    "StartTime": "start",
    "EndTime": "end",
}


def read_meld(source: Path) -> RawCorpus | None:
    """Read a MELD.Raw tree; None where no `*_sent_emo.csv` is below `source`.

    Raises:
        CorpusError: names every row that can't be read, and annotations that are there twice.
    """
    annotations, clips = _survey(source)
    if not annotations:
        return None
    rows: list[RawUtterance] = []
    defects: list[Defect] = []
    problems: list[str] = []
    for split in (Split.TRAIN, Split.DEV, Split.TEST):
        if split not in annotations:
            continue
        found = clips.get(split, {})
        utterances = _read_annotations(annotations[split], split, problems, defects)
        rows += [RawUtterance(u, found.get((u.dialogue, u.sequence))) for u in utterances]
        defects += _clip_defects(split, utterances, found)
    if problems:
        raise CorpusError(
            f"{source}: {len(problems)} rows of the annotations are wrong:{listed(problems)}"
        )
    return RawCorpus("meld", source, tuple(rows), LABELS, tuple(defects))


def _survey(source: Path) -> tuple[dict[Split, Path], dict[Split, dict[tuple[int, int], Path]]]:
    """One walk: where the annotations are, and every clip by split, dialogue and utterance."""
    annotations: dict[Split, Path] = {}
    clips: dict[Split, dict[tuple[int, int], Path]] = defaultdict(dict)
    for folder, subfolders, names in os.walk(source):
        subfolders.sort()
        split = FOLDERS.get(Path(folder).name)
        for name in sorted(names):
            if name in _ANNOTATIONS:
                _add_annotations(annotations, _ANNOTATIONS[name], Path(folder) / name)
            elif split and (match := _CLIP.fullmatch(name)):
                clips[split][int(match[1]), int(match[2])] = Path(folder) / name
    return annotations, clips


def _add_annotations(annotations: dict[Split, Path], split: Split, path: Path) -> None:
    """The same file twice is one; two different files can't both be the split's annotations."""
    known = annotations.setdefault(split, path)
    if known != path and known.read_bytes() != path.read_bytes():
        raise CorpusError(
            f"{known} and {path} both annotate {split}, and differ; remove one of them."
        )


def _read_annotations(
    path: Path, split: Split, problems: list[str], defects: list[Defect]
) -> list[Utterance]:
    table = read_table(path)
    problems += table.ragged
    absent = [name for name in _NEEDED if name not in table.columns]
    if absent:
        problems.append(f"{path}:1: has no column {', '.join(absent)}")
        return []
    utterances: list[Utterance] = []
    seen: dict[tuple[str, str], int] = {}
    for line, cells in table.rows:
        ids = (cells["Dialogue_ID"].strip(), cells["Utterance_ID"].strip())
        label = cells["Emotion"].strip().lower()
        if not all(cell.isascii() and cell.isdigit() and len(cell) < 10 for cell in ids):
            problems.append(f"{path}:{line}: Dialogue_ID and Utterance_ID {ids} are not numbers")
            continue
        if label and label not in LABELS:
            problems.append(f"{path}:{line}: Emotion {label!r} is not one of {', '.join(LABELS)}")
            continue
        if ids in seen:
            problems.append(f"{path}:{line}: dialogue {ids[0]} utterance {ids[1]} is in line "
                            f"{seen[ids]} already")  # fmt: skip
            continue
        seen[ids] = line
        utterance = Utterance(
            split,
            int(ids[0]),
            int(ids[1]),
            speaker=plain_text(cells["Speaker"]).strip(),
            x_text=plain_text(cells["Utterance"]).strip(),
            label=label,
            more={new: plain_text(cells[old]) for old, new in _MORE.items() if old in cells},
        )
        utterances.append(utterance)
        defects += time_defects(utterance)
    return utterances


def _clip_defects(
    split: Split, utterances: list[Utterance], clips: dict[tuple[int, int], Path]
) -> list[Defect]:
    """Utterances without a clip; a split without any is one defect, not one a row."""
    if not clips:
        return [
            Defect("no media", split, f"no clips of {split} below the source", "text only")
        ] * bool(utterances)
    absent = [u.key for u in utterances if (u.dialogue, u.sequence) not in clips]
    return [
        Defect("missing clip", key, "no such clip", "picture and sound left empty")
        for key in absent
    ]
