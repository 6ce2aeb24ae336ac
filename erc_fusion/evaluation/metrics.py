"""Scores of a run and their uncertainty, computed from counts by dialogue (see `bootstrap`).

A split's scores (`metrics.json` holds them for dev and test):

    rows, labelled, dialogues        how many; only labelled rows are scored
    accuracy, weighted_f1, macro_f1, uar, ece
        {"mean", "std", "low", "high", "seeds"}: mean and sample deviation over seeds; the 95%
        interval of the mean over seeds by bootstrap over whole dialogues, all seeds together
        macro_f1 is the mean over classes that have support in the split (scikit-learn's with
        labels=unique(truth); its default counts a class that is only predicted as 0)
        uar is the unweighted average recall of those classes, or balanced accuracy
        (Schuller et al. 2009, the measure of most work on IEMOCAP and EmoDB); runs of an older
        erc lack it
    per_class     precision, recall, f1, f1_std, support of each label; means over seeds
    confusion     (C, C), rows truth, columns predicted, mean counts over seeds
    majority      the scores of train's most frequent class
    ensemble      the scores of the mean of the seeds' probabilities
    unseen_text   scores of the rows whose text does not occur word for word in train; or null
    prototype     scores of the nearest class prototype, with a contrastive loss; or null
    collapsed     classes with support that no seed ever predicts
    reliability   15 bins of confidence: {"low", "high", "rows", "confidence", "accuracy"} over all
                  seeds, rows as a mean over seeds; the last two are null where a bin is empty
    slices        see :mod:`erc_fusion.evaluation.slices`
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from erc_fusion.evaluation.bootstrap import (
    Dialogues,
    Marginals,
    interval,
    left_out,
    resamples,
    share,
    totals,
    weighted,
)
from erc_fusion.evaluation.figures import deviation, figure

BINS = 15
SCORES = ("accuracy", "weighted_f1", "macro_f1", "uar")


def confusions(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """truth (N,), -1 where unlabelled; predicted (S, N) -> counts (S, C, C), rows truth."""
    known = truth >= 0
    cell = truth[known] * classes + predicted[:, known]
    rows = np.stack([np.bincount(row, minlength=classes**2) for row in cell])
    return rows.reshape(-1, classes, classes)


def accuracy(counts: np.ndarray) -> np.ndarray:
    """counts (…, C, C) -> (…); 0 where nothing is labelled."""
    return _marginals(counts).score("accuracy")


def uar(counts: np.ndarray) -> np.ndarray:
    """Unweighted average recall of the classes with support: counts (…, C, C) -> (…)."""
    return _marginals(counts).score("uar")


def weighted_f1(counts: np.ndarray) -> np.ndarray:
    """F1 weighted by support: counts (…, C, C) -> (…)."""
    return _marginals(counts).score("weighted_f1")


@dataclass(frozen=True)
class Rows:
    """What is scored: the rows of one split.

    Attributes:
        truth: (N,) class, -1 where unlabelled.
        probability: (S, N, C) float32.
        dialogue: (N,) any numbers, equal within a dialogue.
        unseen: (N,) bool, whether the text does not occur in train.
        prototype: (S, N) class of the nearest prototype, or None.
    """

    truth: np.ndarray
    probability: np.ndarray
    dialogue: np.ndarray
    unseen: np.ndarray
    prototype: np.ndarray | None = None


def score(rows: Rows, labels: Sequence[str], majority: int) -> dict[str, Any] | None:
    """A split's scores as the module's docstring says, but for slices; None without a labelled row.

    `majority` is train's most frequent class. Deterministic: the resamples are fixed.
    """
    known = rows.truth >= 0
    if not known.any():
        return None
    classes, truth = len(labels), rows.truth[known]
    probability = rows.probability[:, known]  # (S, n, C)
    predicted = probability.argmax(-1)  # (S, n)
    counts = confusions(truth, predicted, classes)
    dialogues, unseen = Dialogues(rows.dialogue[known]), rows.unseen[known]
    confidence = probability.max(-1).astype(np.float64)
    right = predicted == truth
    support = counts[0].sum(-1)
    whole = _marginals(counts)
    per_class = whole.f1()  # (S, C)
    precision = share(whole.hits, whole.predicted).mean(0)
    recall = share(whole.hits, whole.truth).mean(0)
    ensemble = confusions(truth, probability.mean(0).argmax(-1)[None], classes)
    always = confusions(truth, np.full((1, len(truth)), majority), classes)
    elsewhere = prototype = None
    if unseen.any():
        of = dialogues.only(unseen), truth[unseen], predicted[:, unseen]
        elsewhere = {"rows": int(unseen.sum()), **_figures(*of, classes, SCORES[:2])}
    if rows.prototype is not None:
        nearest = rows.prototype[:, known]
        prototype = _figures(dialogues, truth, nearest, classes, SCORES[:2])
    return {
        "rows": len(known),
        "labelled": len(truth),
        "dialogues": len(np.unique(rows.dialogue)),
        **_figures(dialogues, truth, predicted, classes, SCORES),
        "ece": _ece(dialogues, confidence, right),
        "per_class": [
            {
                "label": label,
                "precision": float(precision[c]),
                "recall": float(recall[c]),
                "f1": float(per_class[:, c].mean()),
                "f1_std": deviation(per_class[:, c]),
                "support": int(support[c]),
            }
            for c, label in enumerate(labels)
        ],
        "confusion": counts.mean(0).tolist(),
        "majority": {"label": labels[majority], **_single(always)},
        "ensemble": _single(ensemble),
        "unseen_text": elsewhere,
        "prototype": prototype,
        "collapsed": [
            label for c, label in enumerate(labels) if support[c] > 0 and not counts[:, :, c].any()
        ],
        "reliability": reliability(confidence, right),
    }


def reliability(confidence: np.ndarray, right: np.ndarray) -> list[dict[str, Any]]:
    """Fifteen equal bins of the largest probability (Guo et al. 2017), for a diagram.

    confidence and right are (S, n), over all seeds; `rows` is a bin's mean number over seeds.
    """
    bins = _bins(confidence).ravel()
    rows = np.bincount(bins, minlength=BINS)
    sure, hits = (np.bincount(bins, v.ravel(), BINS) for v in (confidence, right))
    return [
        {
            "low": b / BINS,
            "high": (b + 1) / BINS,
            "rows": float(rows[b] / len(confidence)),
            "confidence": float(sure[b] / rows[b]) if rows[b] else None,
            "accuracy": float(hits[b] / rows[b]) if rows[b] else None,
        }
        for b in range(BINS)
    ]


def _bins(confidence: np.ndarray) -> np.ndarray:
    return np.minimum((confidence * BINS).astype(int), BINS - 1)


def _figures(
    dialogues: Dialogues,
    truth: np.ndarray,
    predicted: np.ndarray,
    classes: int,
    names: Sequence[str],
) -> dict[str, dict[str, Any]]:
    """Labelled rows' truth (n,), predicted (S, n) -> the figure of each score."""
    table = dialogues.marginals(truth, predicted, classes)
    whole = _marginals(confusions(truth, predicted, classes))
    drawn, without = weighted(resamples(dialogues.count), table), left_out(table)
    # A resample of dialogues that hold none of the rows has no score, not the score 0.
    empty = drawn.truth.sum(-1)[0] == 0
    figures = {}
    for name in names:
        seeds = whole.score(name)
        found = np.where(empty, np.nan, drawn.score(name).mean(0))
        ends = interval(seeds.mean(), found, without.score(name).mean(0))
        figures[name] = figure(seeds, *ends)
    return figures


def _ece(dialogues: Dialogues, confidence: np.ndarray, right: np.ndarray) -> dict[str, Any]:
    """Expected calibration error; confidence and right are (S, n).

    Gaps count by their absolute value, so the error of a sample, and even more that of a resample,
    is too large: percentiles miss the truth, and often the value itself. The interval is the basic
    one, mirrored at the value, and reaches down to 0 where perfect calibration could give the value
    too. In simulations it contained the truth in 83 to 97 of 100 cases, percentiles in 0 to 83.
    """
    bins = _bins(confidence)
    gaps = dialogues.sums(bins, BINS, right - confidence)  # (D, S, bins)
    rows = dialogues.sums(bins, BINS)
    seeds = np.abs(gaps.sum(0)).sum(-1) / confidence.shape[-1]
    calibrated = gaps - rows * share(gaps.sum(0), rows.sum(0))  # no gap in any bin
    weights = resamples(dialogues.count)
    sizes, *moved = totals(weights, rows[:, :1].sum(-1, keepdims=True), gaps, calibrated)
    drawn, even = ((np.abs(part).sum(-1) / sizes[..., 0]).mean(0) for part in moved)  # (R,)
    low, high = 2 * seeds.mean() - np.quantile(drawn, [0.975, 0.025])
    if seeds.mean() <= np.quantile(even, 0.975):
        low = 0.0
    return figure(seeds, np.clip(low, 0.0, seeds.mean()), max(high, seeds.mean()))


def _single(counts: np.ndarray) -> dict[str, float]:
    return {name: float(_marginals(counts).score(name)[0]) for name in SCORES}


def _marginals(counts: np.ndarray) -> Marginals:
    """Confusion matrices (…, C, C) to marginals."""
    return Marginals(np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(-1), counts.sum(-2))
