"""Scores of the rows that have something in common.

    speaker    each with at least 20 labelled rows, the most first; then "(others)"
    position   in the dialogue, from 1: "1", "2–4", "5–9", "10+"
    length     words of the text: "1–2", "3–5", "6–10", "11+", "no text"
    missing    the files without an embedding of the row: "none" first, then by rows

A slice is {"value", "rows" (labelled ones), "accuracy", "weighted_f1"}, means over seeds. Small
slices differ by chance, and a class may be common in one and rare in another: look at `rows` first.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from erc_fusion.evaluation.metrics import accuracy, confusions, weighted_f1
from erc_fusion.inputs.folds import dialogue_numbers
from erc_fusion.inputs.table import FeatureTable

SPEAKER_ROWS = 20
OTHERS, NO_SPEAKER, NO_TEXT, NONE = "(others)", "no speaker", "no text", "none"
_POSITIONS = {"1": 1, "2–4": 4, "5–9": 9, "10+": np.inf}  # name: the last number in it
_LENGTHS = {NO_TEXT: 0, "1–2": 2, "3–5": 5, "6–10": 10, "11+": np.inf}


def slices(
    table: FeatureTable, rows: np.ndarray, predicted: np.ndarray
) -> dict[str, list[dict[str, Any]]]:
    """Every slice that has a labelled row.

    Args:
        rows: (n,) rows of a split, or of all, whole dialogues in order.
        predicted: (S, n) classes.
    """
    known = table.label[rows] >= 0
    speaker = table.speaker[rows]
    dialogue = dialogue_numbers(table.split[rows], table.dialogue[rows])
    length = [len(text.split()) for text in table.text[rows]]
    lacking = [", ".join(stems) or NONE for stems in missing(table, rows)]
    counts = Counter(lacking)  # NONE first, then the most frequent; equals by name
    by_rows = sorted(counts, key=lambda value: (value != NONE, -counts[value], value))
    groups = {
        "speaker": _speakers(speaker, speaker[known]),
        "position": (_bands(_positions(dialogue), _POSITIONS), [*_POSITIONS]),
        "length": (_bands(length, _LENGTHS), [*[*_LENGTHS][1:], NO_TEXT]),
        "missing": (np.array(lacking), by_rows),
    }
    truth, classes = table.label[rows], len(table.labels)

    def scores(value: str, part: np.ndarray) -> dict[str, Any]:
        counts = confusions(truth[part], predicted[:, part], classes)
        means = {"accuracy": accuracy(counts).mean(), "weighted_f1": weighted_f1(counts).mean()}
        return {"value": value, "rows": int(part.sum())} | {k: float(v) for k, v in means.items()}

    return {
        name: [scores(value, part) for value in order if (part := known & (values == value)).any()]
        for name, (values, order) in groups.items()
    }


def missing(table: FeatureTable, rows: np.ndarray) -> list[list[str]]:
    """For each row, the stems of the files that have no embedding of it."""
    stems = np.array([source.stem for source in table.sources], dtype=object)
    return [stems[~present].tolist() for present in table.present[rows]]


def _speakers(speaker: np.ndarray, labelled: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """(each row's value, the order of values)."""
    rows = Counter(labelled.tolist())
    frequent = {name for name, count in rows.items() if count >= SPEAKER_ROWS}
    order = sorted(frequent, key=lambda name: (-rows[name], name))
    values = [(name or NO_SPEAKER) if name in frequent else OTHERS for name in speaker.tolist()]
    return np.array(values), [name or NO_SPEAKER for name in order] + [OTHERS]


def _positions(dialogue: np.ndarray) -> np.ndarray:
    """(n,) the place of each row in its dialogue, from 1."""
    starts = np.flatnonzero(np.diff(dialogue, prepend=dialogue[:1] - 1))
    return np.arange(len(dialogue)) - np.repeat(starts, np.diff(starts, append=len(dialogue))) + 1


def _bands(numbers: np.ndarray | Sequence[int], bands: Mapping[str, float]) -> np.ndarray:
    """The name of each number's band."""
    return np.array([*bands])[np.searchsorted([*bands.values()], numbers)]
