"""EmoryNLP's annotations as MELD's authors publish them (Zahiri and Choi 2018, "Emotion
Detection on TV Show Transcripts with Sequence-based Convolutional Neural Networks").

    anywhere below: emorynlp_{train,dev,test}_final.csv; text only, no clips

A dialogue is a scene: season, episode and Scene_ID together. Dialogues are numbered from 0 in the
order of the file, utterances from 0 within their scene; the original numbers are kept as columns.
"""

import os
import re
from pathlib import Path

from erc_features.corpora.cells import plain_text, read_table
from erc_features.corpora.raw import Defect, RawCorpus, RawUtterance
from erc_features.corpora.times import time_defects
from erc_features.errors import CorpusError, listed
from erc_features.utterance import Split, Utterance

LABELS = ("joyful", "mad", "neutral", "peaceful", "powerful", "sad", "scared")
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
        CorpusError: names every row that can't be read.
    """
    found = _survey(source)
    if not found:
        return None
    rows: list[RawUtterance] = []
    defects: list[Defect] = []
    problems: list[str] = []
    for split in (Split.TRAIN, Split.DEV, Split.TEST):
        if split not in found:
            continue
        utterances = _read(found[split], split, problems)
        rows += [RawUtterance(utterance, None) for utterance in utterances]
        defects += [defect for utterance in utterances for defect in time_defects(utterance)]
        defects.append(Defect("no media", split, "EmoryNLP comes without clips", "text only"))
    if problems:
        raise CorpusError(
            f"{source}: {len(problems)} rows of the annotations are wrong:{listed(problems)}"
        )
    return RawCorpus("emorynlp", source, tuple(rows), LABELS, tuple(defects))


def _survey(source: Path) -> dict[Split, Path]:
    names = {f"emorynlp_{split}_final.csv": split for split in (Split.TRAIN, Split.DEV, Split.TEST)}
    found: dict[Split, Path] = {}
    for folder, subfolders, files in os.walk(source):
        subfolders.sort()
        for name in sorted(set(files) & set(names)):
            found.setdefault(names[name], Path(folder) / name)
    return found


def _read(path: Path, split: Split, problems: list[str]) -> list[Utterance]:
    table = read_table(path)
    problems += table.ragged
    absent = [name for name in _NEEDED if name not in table.columns]
    if absent:
        problems.append(f"{path}:1: has no column {', '.join(absent)}")
        return []
    scenes: dict[tuple[str, str, str], int] = {}
    counts: dict[int, int] = {}
    utterances = []
    for line, cells in table.rows:
        label = cells["Emotion"].strip().lower()
        if label and label not in LABELS:
            problems.append(f"{path}:{line}: Emotion {label!r} is not one of {', '.join(LABELS)}")
            continue
        scene = (cells["Season"].strip(), cells["Episode"].strip(), cells["Scene_ID"].strip())
        dialogue = scenes.setdefault(scene, len(scenes))
        sequence = counts[dialogue] = counts.get(dialogue, -1) + 1
        utterances.append(
            Utterance(
                split,
                dialogue,
                sequence,
                speaker=_speaker(cells["Speaker"]),
                x_text=plain_text(cells["Utterance"]).strip(),
                label=label,
                more={new: plain_text(cells[old]) for old, new in _MORE.items() if old in cells},
            )
        )
    return utterances


def _speaker(cell: str) -> str:
    """`['Rachel Green']` as Rachel Green; several speakers with `&` between them."""
    listed_names = re.fullmatch(r"\[(.*)\]", cell.strip())
    if listed_names is None:
        return plain_text(cell).strip()
    names = re.findall(r"'([^']*)'|\"([^\"]*)\"", listed_names[1])
    return " & ".join(plain_text(one or other).strip() for one, other in names)
