"""Scores of a run and their uncertainty.

Everything is computed from counts: a confusion matrix, and for the calibration error a few sums
a bin. Counts add up over dialogues, so one bootstrap resample of dialogues is one row of
weights, and ten thousand of them are one matrix product.

A split's scores (`metrics.json` holds them for dev and test):

    rows, labelled, dialogues        how many; only labelled rows are scored
    accuracy, weighted_f1, macro_f1, ece
        {"mean", "std", "low", "high", "seeds"}: mean and sample deviation over seeds; the 95%
        interval of the mean over seeds by bootstrap over whole dialogues, all seeds together
    per_class     precision, recall, f1, f1_std, support of each label; means over seeds
    confusion     (C, C), rows truth, columns predicted, mean counts over seeds
    majority      the scores of train's most frequent class
    ensemble      the scores of the mean of the seeds' probabilities
    unseen_text   the rows whose text does not occur word for word in train; or null
    prototype     the nearest class prototype, where there is a contrastive loss; or null
    collapsed     classes with support that no seed ever predicts
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

RESAMPLES = 10_000
BINS = 15
SCORES = ("accuracy", "weighted_f1", "macro_f1")


def confusions(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """truth (N,), -1 where unlabelled; predicted (S, N) -> counts (S, C, C), rows truth."""
    known = truth >= 0
    cell = truth[known] * classes + predicted[:, known]
    return np.stack([np.bincount(row, minlength=classes**2) for row in cell]).reshape(
        -1, classes, classes
    )


def accuracy(counts: np.ndarray) -> np.ndarray:
    """counts (…, C, C) -> (…); 0 where nothing is labelled."""
    return _share(np.trace(counts, axis1=-2, axis2=-1), counts.sum((-2, -1)))


def f1(counts: np.ndarray) -> np.ndarray:
    """F1 of each class: counts (…, C, C) -> (…, C); 0 for a class neither there nor predicted."""
    hits, truth, predicted = _marginals(counts)
    return _share(2 * hits, truth + predicted)


def weighted_f1(counts: np.ndarray) -> np.ndarray:
    """F1 weighted by support: counts (…, C, C) -> (…)."""
    hits, truth, predicted = _marginals(counts)
    return _weighted(hits, truth, predicted)


def macro_f1(counts: np.ndarray) -> np.ndarray:
    """Mean F1 of the classes that have support in the split: counts (…, C, C) -> (…)."""
    hits, truth, predicted = _marginals(counts)
    supported = truth.reshape(-1, truth.shape[-1]).sum(0) > 0
    return _macro(hits, truth, predicted, supported)


def calibration_sums(truth: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Correct minus confidence, summed by bin and row: (S, N, 15), zero where unlabelled.

    Fifteen equal bins of the largest probability (Guo et al. 2017). The expected calibration
    error is the sum over bins of |the sum over rows|, divided by the number of rows.
    """
    confidence = probability.max(-1).astype(np.float64)  # (S, N)
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gap = (probability.argmax(-1) == truth) - confidence
    return np.where((bins[..., None] == np.arange(BINS)) & (truth >= 0)[:, None], gap[..., None], 0)


@dataclass(frozen=True)
class Rows:
    """What is scored: the rows of one split.

    Attributes:
        truth: (N,) class, -1 where unlabelled.
        probability: (S, N, C) float32.
        dialogue: (N,) any numbers, equal within a dialogue.
        unseen: (N,) bool, the text does not occur in train.
        prototype: (S, N) class of the nearest prototype, or None.
    """

    truth: np.ndarray
    probability: np.ndarray
    dialogue: np.ndarray
    unseen: np.ndarray
    prototype: np.ndarray | None = None


def score(rows: Rows, labels: Sequence[str], majority: int) -> dict[str, Any] | None:
    """A split's scores as the module's docstring says; None without a labelled row.

    `majority` is train's most frequent class. Deterministic: the resamples are fixed.
    """
    truth = rows.truth
    known = truth >= 0
    if not known.any():
        return None
    classes = len(labels)
    predicted = rows.probability.argmax(-1)  # (S, N)
    counts = confusions(truth, predicted, classes)
    resampled = _Bootstrap(rows.dialogue[known])
    by_dialogue = resampled.confusions(truth[known], predicted[:, known], classes)
    sums = calibration_sums(truth, rows.probability)[:, known]
    support = counts[0].sum(-1)
    per_class = f1(counts)  # (S, C)
    hits, there, guessed = _marginals(counts)
    precision, recall = _share(hits, guessed).mean(0), _share(hits, there).mean(0)
    ensemble = confusions(truth, rows.probability.mean(0).argmax(-1)[None], classes)
    always = confusions(truth, np.full((1, len(truth)), majority), classes)
    return {
        "rows": len(truth),
        "labelled": int(known.sum()),
        "dialogues": len(np.unique(rows.dialogue)),
        **_figures(counts, by_dialogue, SCORES),
        "ece": _figure(np.abs(sums.sum(1)).sum(-1) / known.sum(), resampled.ece(sums)),
        "per_class": [
            {
                "label": label,
                "precision": float(precision[c]),
                "recall": float(recall[c]),
                "f1": float(per_class[:, c].mean()),
                "f1_std": _deviation(per_class[:, c]),
                "support": int(support[c]),
            }
            for c, label in enumerate(labels)
        ],
        "confusion": counts.mean(0).tolist(),
        "majority": {"label": labels[majority], **_single(always)},
        "ensemble": _single(ensemble),
        "unseen_text": _unseen(rows, predicted, classes, resampled),
        "prototype": _prototype(rows, classes, resampled),
        "collapsed": [
            label for c, label in enumerate(labels) if support[c] > 0 and not counts[:, :, c].any()
        ],
    }


class _Bootstrap:
    """Resamples of whole dialogues (Efron & Tibshirani 1993), the same for every score."""

    def __init__(self, dialogue: np.ndarray) -> None:
        found, self.place = np.unique(dialogue, return_inverse=True)
        self.dialogues = len(found)
        source = np.random.default_rng(0)
        even = np.full(self.dialogues, 1 / self.dialogues)
        self.weights = source.multinomial(self.dialogues, even, RESAMPLES).astype(np.float32)

    def confusions(self, truth: np.ndarray, predicted: np.ndarray, classes: int) -> "_Marginals":
        """Labelled rows' truth (n,), predicted (S, n) -> resampled marginals."""
        hits, guessed = [], []
        for row in predicted:
            hits.append(self._resample(self._table(truth, classes, row == truth)))
            guessed.append(self._resample(self._table(row, classes)))
        there = self._resample(self._table(truth, classes))
        return _Marginals(np.stack(hits), there, np.stack(guessed))

    def ece(self, sums: np.ndarray) -> np.ndarray:
        """sums (S, n, bins) -> (S, R)."""
        rows = self._resample(np.bincount(self.place, minlength=self.dialogues)[:, None])[:, 0]
        errors = []
        for seed in sums:
            table = np.zeros((self.dialogues, seed.shape[-1]))
            np.add.at(table, self.place, seed)
            errors.append(np.abs(self._resample(table)).sum(-1) / rows)
        return np.stack(errors)

    def only(self, rows: np.ndarray) -> "_Bootstrap":
        """The same resamples, for some of the rows (n,) bool."""
        part = object.__new__(_Bootstrap)
        part.dialogues, part.weights = self.dialogues, self.weights
        part.place = self.place[rows]
        return part

    def _table(
        self, column: np.ndarray, classes: int, rows: np.ndarray | None = None
    ) -> np.ndarray:
        """Counts (dialogues, C) of a column of classes, of some rows."""
        cell = self.place * classes + column
        cell = cell if rows is None else cell[rows]
        return np.bincount(cell, minlength=self.dialogues * classes).reshape(-1, classes)

    def _resample(self, table: np.ndarray) -> np.ndarray:
        """(dialogues, K) -> (R, K); float32 holds the counts exactly."""
        return self.weights @ table.astype(np.float32)


@dataclass(frozen=True)
class _Marginals:
    """Resampled counts of each class: hits and predicted (S, R, C), truth (R, C)."""

    hits: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray

    def score(self, name: str) -> np.ndarray:
        """(S, R); NaN where a resample has no row."""
        if name == "accuracy":
            found = _share(self.hits.sum(-1), self.truth.sum(-1))
        elif name == "weighted_f1":
            found = _weighted(self.hits, self.truth, self.predicted)
        else:
            found = _macro(self.hits, self.truth, self.predicted, self.truth.sum(0) > 0)
        # A resample of dialogues that hold none of the rows has no score, not the score 0.
        return np.where(self.truth.sum(-1) > 0, found, np.nan)


def _figures(
    counts: np.ndarray, resampled: _Marginals, names: Sequence[str]
) -> dict[str, dict[str, Any]]:
    return {name: _figure(_score(name, counts), resampled.score(name)) for name in names}


def _figure(seeds: np.ndarray, resampled: np.ndarray) -> dict[str, Any]:
    """seeds (S,), resampled (S, R) -> mean, deviation, interval of the mean over seeds."""
    low, high = np.nanpercentile(resampled.mean(0), [2.5, 97.5])
    return {
        "mean": float(seeds.mean()),
        "std": _deviation(seeds),
        "low": float(low),
        "high": float(high),
        "seeds": [float(value) for value in seeds],
    }


def _unseen(
    rows: Rows, predicted: np.ndarray, classes: int, resampled: _Bootstrap
) -> dict[str, Any] | None:
    known = rows.truth >= 0
    part = known & rows.unseen
    if not part.any():
        return None
    truth, found = rows.truth[part], predicted[:, part]
    marginals = resampled.only(rows.unseen[known]).confusions(truth, found, classes)
    figures = _figures(confusions(truth, found, classes), marginals, SCORES[:2])
    return {"rows": int(part.sum()), **figures}


def _prototype(rows: Rows, classes: int, resampled: _Bootstrap) -> dict[str, Any] | None:
    if rows.prototype is None:
        return None
    known = rows.truth >= 0
    truth, found = rows.truth[known], rows.prototype[:, known]
    marginals = resampled.confusions(truth, found, classes)
    return _figures(confusions(truth, found, classes), marginals, SCORES[:2])


def _score(name: str, counts: np.ndarray) -> np.ndarray:
    return {"accuracy": accuracy, "weighted_f1": weighted_f1, "macro_f1": macro_f1}[name](counts)


def _single(counts: np.ndarray) -> dict[str, float]:
    return {name: float(_score(name, counts)[0]) for name in SCORES}


def _deviation(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0


def _marginals(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(hits, truth, predicted), each (…, C)."""
    return np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(-1), counts.sum(-2)


def _weighted(hits: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    return _share((_share(2 * hits, truth + predicted) * truth).sum(-1), truth.sum(-1))


def _macro(
    hits: np.ndarray, truth: np.ndarray, predicted: np.ndarray, supported: np.ndarray
) -> np.ndarray:
    return _share(2 * hits, truth + predicted)[..., supported].mean(-1)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, 0 where there is nothing."""
    part, whole = np.broadcast_arrays(part, whole)
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0)
