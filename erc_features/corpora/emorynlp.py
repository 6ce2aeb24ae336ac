"""EmoryNLP's annotations as MELD's authors publish them (Zahiri and Choi 2018, "Emotion
Detection on TV Show Transcripts with Sequence-based Convolutional Neural Networks").

    anywhere below the source: emorynlp_{train,dev,test}_final.csv; text only, no clips

A dialogue is a scene: season, episode and Scene_ID together. Dialogues are numbered from 0 in the
order of the file, utterances from 0 within their scene; the original numbers are kept as columns.
"""

import os
import re
from pathlib import Path

from erc_features.corpora.annotations import SPLITS, labelled_rows, raw_utterance, refuse_if_wrong
from erc_features.corpora.cells import plain_text
from erc_features.corpora.raw import Defect, RawCorpus, RawUtterance
from erc_features.corpora.times import time_defects
from erc_features.utterance import Split

LABELS = ("joyful", "mad", "neutral", "peaceful", "powerful", "sad", "scared")
_FILES = {f"emorynlp_{split}_final.csv": split for split in SPLITS}
_NEEDED = ("Utterance", "Speaker", "Emotion", "Scene_ID", "Utterance_ID", "Season", "Episode")
_MORE = {
    "Season": "season",
    "Episode": "episode",
    "Scene_ID": "scene_id",
    "Utterance_ID": "utterance_id",
    "Start_Time": "start",
    "End_Time": "end",
}


def read_emorynlp(source: Path) -> RawCorpus | None:
    """Read EmoryNLP's CSVs; None where none of them is below `source`.

    Raises:
        CorpusError: names every row that cannot be read.
    """
    annotations: dict[Split, Path] = {}
    for folder, subfolders, names in os.walk(source):
        subfolders.sort()
        for name in _FILES.keys() & set(names):
            annotations.setdefault(_FILES[name], Path(folder) / name)
    if not annotations:
        return None
    rows: list[RawUtterance] = []
    defects: list[Defect] = []
    problems: list[str] = []
    for split in SPLITS:
        if split in annotations:
            found = _read(annotations[split], split, problems)
            rows += found
            defects += [defect for row in found for defect in time_defects(row.utterance)]
            defects.append(Defect("no media", split, "EmoryNLP comes without clips", "text only"))
    refuse_if_wrong(source, problems)
    return RawCorpus("emorynlp", source, tuple(rows), LABELS, tuple(defects))


def _read(path: Path, split: Split, problems: list[str]) -> list[RawUtterance]:
    scenes: dict[tuple[str, ...], int] = {}
    counts: dict[int, int] = {}
    rows = []
    for _, cells, label in labelled_rows(path, _NEEDED, LABELS, problems):
        scene = tuple(cells[name].strip() for name in ("Season", "Episode", "Scene_ID"))
        dialogue = scenes.setdefault(scene, len(scenes))
        sequence = counts[dialogue] = counts.get(dialogue, -1) + 1
        speaker = _speaker(cells["Speaker"])
        rows.append(raw_utterance((split, dialogue, sequence), speaker, label, cells, _MORE))
    return rows


def _speaker(cell: str) -> str:
    """Turn `['Rachel Green']` into Rachel Green; several speakers are joined by `&`."""
    if not (names := re.fullmatch(r"\[(.*)\]", cell.strip())):
        return plain_text(cell).strip()
    found = re.findall(r"'([^']*)'|\"([^\"]*)\"", names[1])
    return " & ".join(plain_text(one or other).strip() for one, other in found)
