"""Scores of sets of labels, as of utterances with several emotions, by dialogue (see `bootstrap`).

    micro_f1    F1 of all rows' labels taken together
    macro_f1    mean F1 of the labels that some row has
    samples_f1  mean over rows of the F1 of the row's set; 1 where it is rightly empty
    map         mean over those labels of the average precision (scikit-learn's), which needs no
                threshold; its interval is of 1,000 resamples

A row has the labels whose probability reaches their threshold, which is chosen on dev, for each
seed and label: the one of the highest F1. `labels` of a split's scores (`metrics.json`) has for
each: label, precision, recall, f1, f1_std, average_precision, support, threshold, all but the
support means over seeds. `ensemble` is of the seeds' mean probability and mean threshold.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from erc_fusion.evaluation.bootstrap import Dialogues, Draws, Sums, resamples, share
from erc_fusion.evaluation.figures import deviation, figure_of
from erc_fusion.evaluation.numbers import figures_of

NAMES = ("micro_f1", "macro_f1", "samples_f1")
BY_ROW = 2**26  # weights of rows at a time
RESAMPLES = 1_000  # of the average precision, which needs all rows again for each
_CELLS = 1_000_000  # of resamples and rows at a time, so that memory stays flat


@dataclass(frozen=True)
class SetCounts(Sums):
    """Counts of each label, (…, K), and of rows, (…, 1).

    Attributes:
        truth, rows: the same for all seeds, whose dimension they may lack.
        f1: sum of the rows' own F1.
    """

    truth: np.ndarray
    rows: np.ndarray
    hits: np.ndarray
    predicted: np.ndarray
    f1: np.ndarray

    SHARED: ClassVar = ("truth", "rows")
    OWN: ClassVar = ("hits", "predicted", "f1")

    def of_labels(self) -> np.ndarray:
        """F1 of each label, (…, K)."""
        return share(2 * self.hits, self.truth + self.predicted)

    def score(self, name: str) -> np.ndarray:
        """(…)."""
        if name == "micro_f1":
            return share(2 * self.hits.sum(-1), (self.truth + self.predicted).sum(-1))
        if name == "samples_f1":
            return share(self.f1[..., 0], self.rows[..., 0])
        assert name == "macro_f1"
        supported = self.truth.reshape(-1, self.truth.shape[-1]).any(0)
        return self.of_labels()[..., supported].sum(-1) / max(supported.sum(), 1)


def counts(dialogues: Dialogues, truth: np.ndarray, chosen: np.ndarray) -> SetCounts:
    """Each dialogue's counts: truth (n, K) and chosen (S, n, K), bool."""
    both = truth & chosen
    size = truth.sum(-1) + chosen.sum(-1)  # (S, n)
    f1 = np.where(size > 0, share(2 * both.sum(-1), size), 1.0)

    def summed(values: np.ndarray) -> np.ndarray:
        """(S, n, K) -> (D, S, K)."""
        nowhere = np.zeros(values.shape[:2], np.int64)
        return np.concatenate(
            [dialogues.sums(nowhere, 1, values[..., k]) for k in range(values.shape[-1])], -1
        )

    rows = np.ones((1, len(truth), 1))
    parts = (truth[None].astype(float), rows, both.astype(float), chosen.astype(float))
    return SetCounts(*map(summed, (*parts, f1[..., None])))


def average_precision(
    truth: np.ndarray, score: np.ndarray, weight: np.ndarray | None = None
) -> np.ndarray:
    """truth (n,) bool, score (n,), weight (R, n) of the rows -> (R,); NaN without a true row.

    The sum over the thresholds of precision times the gain in recall; equal scores are one
    threshold.
    """
    weight = np.ones((1, len(truth))) if weight is None else weight
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.diff(score[order], append=-np.inf))
    weight = weight[:, order]
    hits = np.cumsum(weight * truth[order], -1)[:, ends]
    precision = share(hits, np.cumsum(weight, -1)[:, ends])
    gained = np.diff(hits, axis=-1, prepend=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (precision * gained).sum(-1) / hits[:, -1]


def thresholds(truth: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """The threshold of the highest F1 for each seed and label.

    truth (n, K), NaN where unlabelled, probability (S, n, K) -> (S, K) float32. Of equals the one
    nearest to 0.5, which is also that of a label that no row has.
    """
    known = ~np.isnan(truth).any(-1)
    truth, probability = truth[known] > 0, probability[:, known]
    found = np.full((len(probability), truth.shape[1]), 0.5, np.float32)
    for k in np.flatnonzero(truth.any(0)):
        for s, score in enumerate(probability[..., k]):
            order = np.argsort(-score, kind="stable")
            ends = np.flatnonzero(np.diff(score[order], append=-np.inf))
            hits = np.cumsum(truth[order, k])[ends]
            f1 = 2 * hits / (ends + 1 + truth[:, k].sum())
            values = score[order][ends].astype(np.float64)
            cuts = (values + np.append(values[1:], 0)) / 2  # between a score and the next
            best = np.flatnonzero(f1 >= f1.max() - 1e-12)
            found[s, k] = cuts[best[np.abs(cuts[best] - 0.5).argmin()]]
    return found


def set_scores(truth: np.ndarray, probability: np.ndarray) -> dict[str, np.ndarray]:
    """What an epoch is chosen by, of (n, K) and (S, n, K): `map`, and F1 at 0.5; (S,) each."""
    known = ~np.isnan(truth).any(-1)
    truth, probability = truth[known] > 0, probability[:, known]
    one = Dialogues(np.zeros(len(truth), np.int64))
    whole = counts(one, truth, probability >= 0.5).each(lambda part: part.sum(0))
    found = {name: whole.score(name) for name in NAMES[:2]}
    return found | {"map": _mean_precision(truth, probability, None)[:, 0]}


def label_scores(
    labels: Sequence[str], cluster: np.ndarray, truth: np.ndarray, probability: np.ndarray,
    threshold: np.ndarray,
) -> dict[str, Any]:  # fmt: skip
    """A split's scores as this module says, {} where no set is known.

    Args:
        cluster: (n,) what is resampled: any numbers, equal within a dialogue.
        truth: (n, K), NaN where unlabelled; probability: (S, n, K); threshold: (S, n, K).
    """
    known = ~np.isnan(truth).any(-1)
    if not known.any():
        return {}
    dialogues = Dialogues(cluster[known])
    truth, probability, threshold = truth[known] > 0, probability[:, known], threshold[:, known]
    chosen = probability >= threshold
    table = counts(dialogues, truth, chosen)
    whole = table.each(lambda part: part.sum(0))
    weights = resamples(dialogues.count, RESAMPLES)
    # More than a thousand dialogues are left out in as many groups, which have the same skew.
    groups = min(dialogues.count, RESAMPLES)
    group = np.arange(dialogues.count) * groups // dialogues.count
    without = ~np.eye(groups, dtype=bool)
    by_seed = _mean_precision(truth, probability, None)
    drawn, apart = (
        np.concatenate(
            [_mean_precision(truth, probability, each) for each in _by_row(of, place)], 1
        )
        for of, place in ((weights, dialogues.place), (without, group[dialogues.place]))
    )
    f1, support = whole.of_labels(), truth.sum(0)
    precision, recall = share(whole.hits, whole.predicted), share(whole.hits, whole.truth)
    mean, limit = probability.mean(0, dtype=np.float64)[None], threshold.mean(0, dtype=np.float64)
    together = counts(dialogues, truth, mean >= limit).each(lambda part: part.sum(0))
    each = [[average_precision(truth[:, k], own[:, k])[0] for own in probability]
            for k in range(len(labels))]  # fmt: skip
    return {
        **figures_of(table, NAMES),
        "map": figure_of(by_seed[:, 0], drawn.mean(0), apart.mean(0)),
        "labels": [
            {
                "label": label,
                "precision": float(precision[:, k].mean()),
                "recall": float(recall[:, k].mean()),
                "f1": float(f1[:, k].mean()),
                "f1_std": deviation(f1[:, k]),
                "average_precision": float(np.mean(each[k])) if support[k] else None,
                "support": int(support[k]),
                "threshold": float(threshold[..., k].mean()),
            }
            for k, label in enumerate(labels)
        ],
        "ensemble": {
            **{name: float(together.score(name)[0]) for name in NAMES},
            "map": float(_mean_precision(truth, mean, None)[0, 0]),
        },
    }


def _by_row(weights: np.ndarray | Draws, place: np.ndarray) -> Iterator[np.ndarray]:
    """The weights (R, D) of rows' dialogues or groups, as many of the R as are small: (r, n)."""
    for block in weights.blocks() if isinstance(weights, Draws) else (weights,):
        pieces = -(-len(block) * len(place) // BY_ROW)
        yield from (piece[:, place] for piece in np.array_split(block, max(1, pieces)))


def _mean_precision(
    truth: np.ndarray, probability: np.ndarray, weight: np.ndarray | None
) -> np.ndarray:
    """truth (n, K), probability (S, n, K), weight (R, n) -> (S, R): the mean over labels that a
    weighted row has; NaN where none has any, and 0 where none has any at all, as F1."""
    there = np.flatnonzero(truth.any(0))
    if not len(there):
        return np.zeros((len(probability), 1 if weight is None else len(weight)))
    parts = [None] if weight is None else np.array_split(weight, -(-weight.size // _CELLS))
    with np.errstate(invalid="ignore"):
        found = np.array(
            [[np.concatenate([average_precision(truth[:, k], own[:, k], each) for each in parts])
              for k in there] for own in probability]
        )  # fmt: skip
        # A resample may lack a label: the mean is over the others, as it is for classes' macro F1.
        known = ~np.isnan(found)
        return np.where(known, found, 0).sum(1) / np.where(known.any(1), known.sum(1), np.nan)
