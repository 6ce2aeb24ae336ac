"""A trained model's predictions on the splits that it was not trained on, and their scores."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain
from typing import Any

import numpy as np

from erc_features.utterance import Split
from erc_fusion.evaluation.bootstrap import Dialogues
from erc_fusion.evaluation.label_sets import counts as set_counts
from erc_fusion.evaluation.label_sets import label_scores
from erc_fusion.evaluation.metrics import Rows, accuracy, confusions, score, uar, weighted_f1
from erc_fusion.evaluation.numbers import concordance, number_scores
from erc_fusion.evaluation.slices import missing, slices
from erc_fusion.inputs.streaming import blocks
from erc_fusion.inputs.table import FeatureTable
from erc_fusion.inputs.targets import set_names

BLOCK = 2**16  # rows whose predictions are written at a time


@dataclass(frozen=True)
class Predicted:
    """What S seeds say of n rows.

    Attributes:
        probability: (S, n, C) float32, of the classes, or of the labels of a set.
        prototype: (S, n) the class of the nearest prototype, where there is a contrastive loss.
        pca: (S, n, 2) float32, the first two principal components of each seed's embeddings.
        values: (S, n, T) float64, the numbers, in their own units; None where none is predicted.
        threshold: (S, n, K) float32, the probability from which the row has the label; None unless
            sets of labels are predicted.
    """

    probability: np.ndarray
    prototype: np.ndarray | None
    pca: np.ndarray
    values: np.ndarray | None = None
    threshold: np.ndarray | None = None

    @property
    def chosen(self) -> np.ndarray | None:
        """(S, n, K) bool, whether the row has the label of a set."""
        return None if self.threshold is None else self.probability >= self.threshold

    def part(self, seed: int, rows: slice) -> "Predicted":
        """Some rows of one seed."""
        every = {each.name: getattr(self, each.name) for each in fields(self)}
        there = {name: values for name, values in every.items() if values is not None}
        return replace(self, **{n: values[seed : seed + 1, rows] for n, values in there.items()})


@dataclass(frozen=True)
class Floor:
    """What can be predicted without looking: train's most frequent class, and mean numbers (T,), or
    (n, T) where rows have several."""

    majority: int
    means: np.ndarray

    @classmethod
    def of(cls, table: FeatureTable, rows: np.ndarray) -> "Floor":
        """Those of some rows of a table."""
        known = table.label[rows][table.label[rows] >= 0]
        majority = np.bincount(known, minlength=max(1, len(table.labels))).argmax()
        means = np.zeros(0) if table.numbers is None else np.nanmean(table.numbers[rows], 0)
        return cls(int(majority), means)


def score_rows(
    table: FeatureTable, rows: np.ndarray, found: Predicted, floor: Floor, cluster: np.ndarray,
    unseen: np.ndarray,
) -> dict[str, Any] | None:  # fmt: skip
    """Scores of whatever is predicted of some rows; None where nothing of it is known.

    Args:
        found: their predictions.
        cluster: (n,) what is resampled: any numbers, equal within a dialogue.
        unseen: (n,) bool, whether the text does not occur in train.
    """
    if not table.labelled[rows].any():
        return None
    scored: dict[str, Any] = {
        "rows": len(rows),
        "labelled": int(table.labelled[rows].sum()),
        "dialogues": len(np.unique(cluster)),
    }
    if table.task.classes:
        part = Rows(table.label[rows], found.probability, cluster, unseen, found.prototype)
        scored |= score(part, table.labels, floor.majority) or {}
        if (table.label[rows] >= 0).any():
            scored["slices"] = slices(table, rows, found.probability.argmax(-1))
    if table.sets is not None and found.threshold is not None:
        truth = table.sets[rows]
        scored |= label_scores(table.labels, cluster, truth, found.probability, found.threshold)
    if table.numbers is not None and found.values is not None:
        truth = table.numbers[rows]
        scored |= number_scores(table.number_names, cluster, truth, found.values, floor.means)
    return scored


def score_splits(
    table: FeatureTable,
    seeds: Sequence[int],
    predict: Callable[[FeatureTable, np.ndarray], Predicted],
) -> tuple[dict[str, Any], Iterator[dict[str, np.ndarray]]]:
    """({"dev": …, "test": …} as `erc_fusion.evaluation.metrics` says, every row's predictions).

    The predictions are blocks of columns, named as in :mod:`erc_fusion.runs.run`.

    Each split is predicted once; a split without labelled rows scores None.
    """
    train = table.rows(Split.TRAIN)
    floor = Floor.of(table, train)
    seen = set(table.text[train])
    scores: dict[str, Any] = {"dev": None, "test": None}
    parts = []
    for split in (Split.DEV, Split.TEST, Split.NEW):
        rows = table.rows(split)
        if not len(rows):
            continue
        found = predict(table, rows)
        parts.append((rows, found))
        if split == Split.NEW:
            continue
        unseen = np.array([text not in seen for text in table.text[rows]])
        scores[str(split)] = score_rows(table, rows, found, floor, table.dialogue[rows], unseen)
    every = (columns_of(table, rows, seeds, found) for rows, found in parts)
    return scores, chain.from_iterable(every)


def point_scores(table: FeatureTable, rows: np.ndarray, found: Predicted) -> dict[str, np.ndarray]:
    """The main scores of some rows, (S,) each, without intervals; those of which any row has the
    truth."""
    scores: dict[str, np.ndarray] = {}
    one = np.zeros(len(rows), np.int64)
    if table.task.classes and (table.label[rows] >= 0).any():
        counts = confusions(table.label[rows], found.probability.argmax(-1), len(table.labels))
        scores = {
            "accuracy": accuracy(counts),
            "weighted_f1": weighted_f1(counts),
            "uar": uar(counts),
        }
    if table.sets is not None and found.chosen is not None:
        known = ~np.isnan(table.sets[rows]).any(-1)
        truth, chosen = table.sets[rows][known] > 0, found.chosen[:, known]
        whole = set_counts(Dialogues(one[known]), truth, chosen).each(lambda part: part.sum(0))
        scores |= {n: whole.score(n) for n in ("micro_f1", "macro_f1") if known.any()}
    numbers = table.numbers
    if numbers is not None and found.values is not None and not np.isnan(numbers[rows]).all():
        scores["ccc"] = concordance(numbers[rows], found.values)
    return scores


def columns_of(
    table: FeatureTable, rows: np.ndarray, seeds: Sequence[int], found: Predicted
) -> Iterator[dict[str, np.ndarray]]:
    """The rows' predictions, seed after seed, in blocks of columns."""
    for number, seed in enumerate(seeds):
        for part in blocks(len(rows), BLOCK):
            yield _columns(table, rows[part], [seed], found.part(number, part))


def _columns(
    table: FeatureTable, rows: np.ndarray, seeds: Sequence[int], found: Predicted
) -> dict[str, np.ndarray]:
    names = np.array([*table.labels, ""], dtype=object)  # the last for label -1
    columns = {
        name: np.tile(getattr(table, name)[rows], len(seeds))
        for name in ("key", "split", "dialogue", "sequence", "speaker", "text")
    }
    without = np.array([",".join(stems) for stems in missing(table, rows)], dtype=object)
    columns["missing"] = np.tile(without, len(seeds))
    truth = names[table.label[rows]]
    if table.sets is not None:
        truth = set_names(table.labels, table.sets[rows] > 0)
        truth[np.isnan(table.sets[rows]).any(-1)] = ""
    columns["label"] = np.tile(truth, len(seeds))
    columns["seed"] = np.repeat(np.array(seeds), len(rows))
    flat = found.probability.reshape(len(seeds) * len(rows), len(table.labels))
    if found.chosen is not None:
        columns["predicted"] = set_names(table.labels, found.chosen).ravel()
    else:
        columns["predicted"] = names[flat.argmax(-1)] if len(table.labels) else columns["label"]
    columns |= {f"p_{label}": flat[:, c] for c, label in enumerate(table.labels)}
    if table.numbers is not None and found.values is not None:
        for t, name in enumerate(table.number_names):
            columns[f"true_{name}"] = np.tile(table.numbers[rows, t], len(seeds))
            columns[f"predicted_{name}"] = found.values[..., t].ravel()
    return columns | {f"pca_{i + 1}": found.pca[..., i].ravel() for i in range(2)}
