"""Reads MELD.Raw (Poria et al. 2019): its utterances, and its defects as data.

    anywhere below the source: {train,dev,test}_sent_emo.csv
    clips: train_splits/, dev_splits_complete/, output_repeated_splits_test/ dia<D>_utt<U>.mp4

`output_repeated_splits_test` also holds extras named `final_videos_test*`, and archives made on a
Mac hold `._*` files: neither is an utterance.
"""

import os
import re
from collections import defaultdict
from pathlib import Path

from erc_features.corpora.annotations import SPLITS, labelled_rows, raw_utterance, refuse_if_wrong
from erc_features.corpora.cells import plain_text
from erc_features.corpora.raw import Defect, RawCorpus, RawUtterance
from erc_features.corpora.times import time_defects
from erc_features.errors import CorpusError
from erc_features.utterance import Split

LABELS = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")
FOLDERS = {
    "train_splits": Split.TRAIN,
    "dev_splits_complete": Split.DEV,
    "output_repeated_splits_test": Split.TEST,
}
_ANNOTATIONS = {f"{split}_sent_emo.csv": split for split in SPLITS}
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
        CorpusError: names every row that cannot be read, and annotations that exist twice.
    """
    annotations, clips = _survey(source)
    if not annotations:
        return None
    rows: list[RawUtterance] = []
    defects: list[Defect] = []
    problems: list[str] = []
    for split in SPLITS:
        if split in annotations:
            found = _read_annotations(annotations[split], split, clips[split], problems)
            rows += found
            defects += [defect for row in found for defect in time_defects(row.utterance)]
            absent = [row.utterance.key for row in found if row.clip is None]
            if clips[split]:
                done = "picture and sound left empty"
                defects += [Defect("missing clip", key, "no such clip", done) for key in absent]
            elif absent:  # one defect, not one for each row
                detail = f"no clips of {split} below the source"
                defects.append(Defect("no media", split, detail, "text only"))
    refuse_if_wrong(source, problems)
    return RawCorpus("meld", source, tuple(rows), LABELS, tuple(defects))


def _survey(source: Path) -> tuple[dict[Split, Path], dict[Split, dict[tuple[int, int], Path]]]:
    """Walk once: where the annotations are, and every clip by split, dialogue and utterance."""
    annotations: dict[Split, Path] = {}
    clips: dict[Split, dict[tuple[int, int], Path]] = defaultdict(dict)
    for folder, subfolders, names in os.walk(source):
        subfolders.sort()
        split = FOLDERS.get(Path(folder).name)
        for name in sorted(names):
            path = Path(folder) / name
            if name in _ANNOTATIONS:
                known = annotations.setdefault(_ANNOTATIONS[name], path)
                if known != path and known.read_bytes() != path.read_bytes():
                    raise CorpusError(
                        f"{known} and {path} both annotate {_ANNOTATIONS[name]}, and differ. "
                        "Remove one of them."
                    )
            elif split and (match := _CLIP.fullmatch(name)):
                clips[split][int(match[1]), int(match[2])] = path
    return annotations, clips


def _read_annotations(
    path: Path, split: Split, clips: dict[tuple[int, int], Path], problems: list[str]
) -> list[RawUtterance]:
    rows = []
    seen: dict[tuple[str, str], int] = {}
    for line, cells, label in labelled_rows(path, _NEEDED, LABELS, problems):
        ids = (cells["Dialogue_ID"].strip(), cells["Utterance_ID"].strip())
        if not all(cell.isascii() and cell.isdigit() and len(cell) < 10 for cell in ids):
            problems.append(f"{path}:{line}: Dialogue_ID and Utterance_ID {ids} are not numbers")
            continue
        if ids in seen:
            twice = f"dialogue {ids[0]} utterance {ids[1]} is already in line {seen[ids]}"
            problems.append(f"{path}:{line}: {twice}")
            continue
        seen[ids] = line
        numbers, speaker = (int(ids[0]), int(ids[1])), plain_text(cells["Speaker"]).strip()
        clip = clips.get(numbers)
        rows.append(raw_utterance((split, *numbers), speaker, label, cells, _MORE, clip))
    return rows
