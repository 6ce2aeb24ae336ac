"""Resamples of whole dialogues, ten thousand at once (Efron & Tibshirani 1993).

The rows of a dialogue are alike, so the unit to draw is a dialogue, not a row. Scores are functions
of counts, and counts add up over dialogues: a resample is one row of weights, and all resamples
are one matrix product.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar, Self, TypeVar

import numpy as np

RESAMPLES = 10_000
KEPT = 2**28  # bytes of weights that are kept for the next score
DRAWN = 2**22  # weights made at a time


def share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, 0 where there is nothing."""
    part, whole = np.broadcast_arrays(part, whole)
    return np.divide(part, whole, out=np.zeros_like(part, dtype=float), where=whole > 0)


@dataclass(frozen=True)
class Sums(ABC):
    """Sums over rows, of which scores are functions: of each dialogue, or of a whole split.

    Attributes:
        SHARED, OWN: the names of those that are the same for all seeds, and of the others.
        KIND: the type that holds their totals well enough.
    """

    SHARED: ClassVar[tuple[str, ...]] = ()
    OWN: ClassVar[tuple[str, ...]] = ()
    KIND: ClassVar[type] = np.float64

    def each(self, change: Callable[[np.ndarray], np.ndarray]) -> Self:
        """The same change made to all sums."""
        names = (*self.SHARED, *self.OWN)
        return replace(self, **{name: change(getattr(self, name)) for name in names})

    @abstractmethod
    def score(self, name: str) -> np.ndarray:
        """(…), the last dimension of the sums left out."""

    def unit_of(self, name: str) -> float:
        """How large the score's values are, to tell their differences from rounding errors."""
        return 1.0


SumsT = TypeVar("SumsT", bound=Sums)


@dataclass(frozen=True)
class Marginals(Sums):
    """Each class's counts of correct, true and predicted rows, (…, C): all that our scores need.

    The dimensions before C are seeds, resamples or permutations. `truth` is the same for all seeds
    and may lack theirs.
    """

    hits: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray

    SHARED: ClassVar = ("truth",)
    OWN: ClassVar = ("hits", "predicted")
    KIND: ClassVar = np.float32

    def f1(self) -> np.ndarray:
        """(…, C); 0 for a class that is neither true nor predicted anywhere."""
        return share(2 * self.hits, self.truth + self.predicted)

    def score(self, name: str) -> np.ndarray:
        """`accuracy`, `weighted_f1` (by support), `macro_f1` or `uar`, the mean recall (both of
        classes with support): (…)."""
        if name == "accuracy":
            return share(self.hits.sum(-1), self.truth.sum(-1))
        if name == "weighted_f1":
            return share((self.f1() * self.truth).sum(-1), self.truth.sum(-1))
        if name == "uar":  # a resample without a class says nothing of its recall
            return share(share(self.hits, self.truth).sum(-1), (self.truth > 0).sum(-1))
        assert name == "macro_f1"
        supported = self.truth.reshape(-1, self.truth.shape[-1]).any(0)
        return self.f1()[..., supported].sum(-1) / max(supported.sum(), 1)


class Dialogues:
    """Which of n rows belongs to which of D dialogues."""

    def __init__(self, dialogue: np.ndarray) -> None:
        """`dialogue` (n,): any numbers, equal within a dialogue."""
        found, self.place = np.unique(dialogue, return_inverse=True)
        self.count = len(found)

    def only(self, rows: np.ndarray) -> "Dialogues":
        """The same dialogues, with some of the rows (n,) bool; one may be left with none."""
        part = object.__new__(Dialogues)
        part.count, part.place = self.count, self.place[rows]
        return part

    def sums(self, cell: np.ndarray, cells: int, values: np.ndarray | None = None) -> np.ndarray:
        """Rows in each cell, or their sum of values (S, n): cell (S, n) -> (D, S, cells)."""
        seeds = len(cell)
        places = (self.place * seeds + np.arange(seeds)[:, None]) * cells + cell
        flat = None if values is None else values.ravel()
        size = self.count * seeds * cells
        return np.bincount(places.ravel(), flat, size).reshape(self.count, seeds, cells)

    def marginals(self, truth: np.ndarray, predicted: np.ndarray, classes: int) -> Marginals:
        """Each dialogue's counts of truth (n,) and predicted (S, n): (D, S, C), truth (D, 1, C)."""
        spare = np.where(predicted == truth, truth, classes)  # the last cell: rows that are wrong
        return Marginals(
            self.sums(spare, classes + 1)[..., :-1],
            self.sums(truth[None], classes),
            self.sums(predicted, classes),
        )


@dataclass(frozen=True)
class Draws:
    """R rows of weights over D dialogues that are too large to keep: ten thousand resamples of ten
    thousand dialogues are 400 MB. They are made a few rows at a time, always the same ones.

    Attributes:
        make: (generator, rows) -> the next rows, (r, D) float32, as one call for all would.
    """

    count: int
    dialogues: int
    make: Callable[[np.random.Generator, int], np.ndarray]

    def blocks(self) -> Iterator[np.ndarray]:
        """(r, D) float32 each, R rows in all."""
        random, each = np.random.default_rng(0), max(1, DRAWN // max(1, self.dialogues))
        for first in range(0, self.count, each):
            yield self.make(random, min(each, self.count - first))

    def kept(self) -> "np.ndarray | Draws":
        """All of them, (R, D), where that is small enough to keep."""
        if 4 * self.count * self.dialogues > KEPT:
            return self
        weights, first = np.empty((self.count, self.dialogues), np.float32), 0
        for block in self.blocks():
            weights[first : first + len(block)] = block
            first += len(block)
        weights.flags.writeable = False  # it is shared
        return weights


@lru_cache(maxsize=4)
def resamples(dialogues: int, count: int = RESAMPLES) -> np.ndarray | Draws:
    """How often each dialogue is drawn: (R, D) float32, always the same for the same arguments."""

    def make(random: np.random.Generator, rows: int) -> np.ndarray:
        drawn = random.integers(dialogues, size=(rows, dialogues))
        drawn += dialogues * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * dialogues)
        return times.reshape(rows, dialogues).astype(np.float32)

    return Draws(count, dialogues, make).kept()


def totals(
    weights: np.ndarray | Draws, *tables: np.ndarray, kind: type = np.float32
) -> list[np.ndarray]:
    """Weighted sums over dialogues: weights (R, D), each table (D, S, K) -> (S, R, K).

    float32 holds counts below 2**24 exactly.
    """
    flat = [table.reshape(len(table), -1).astype(kind).T for table in tables]
    blocks = weights.blocks() if isinstance(weights, Draws) else (weights,)
    parts = [[own @ block.T for own in flat] for block in blocks]
    # R last in memory: the scores' sums over few classes then run along many resamples.
    return [
        np.moveaxis(
            (own[0] if len(own) == 1 else np.concatenate(own, -1)).reshape(*table.shape[1:], -1),
            -1, -2,
        )
        for table, own in zip(tables, zip(*parts, strict=True), strict=True)
    ]  # fmt: skip


def weighted(weights: np.ndarray | Draws, table: SumsT) -> SumsT:
    """From each dialogue's counts to R weighted sums of them: (S, R, C)."""
    names = (*table.SHARED, *table.OWN)
    found = totals(weights, *(getattr(table, name) for name in names), kind=table.KIND)
    return replace(table, **dict(zip(names, found, strict=True)))


def left_out(table: SumsT) -> SumsT:
    """From each dialogue's counts to those of all dialogues but one, D times: (S, D, C)."""
    return table.each(lambda part: np.moveaxis(part.sum(0) - part, 0, 1))


def interval(
    value: float, resampled: np.ndarray, jackknife: np.ndarray, unit: float = 1.0
) -> tuple[float, float]:
    """The 95% interval of `value`, from its resamples (R,), NaN where none, and jackknife (D,).

    Below a billionth of `unit`, a difference is a rounding error.

    Bias-corrected and accelerated (Efron 1987), with levels widened as a t distribution of D - 1
    degrees of freedom is wider than the normal (Hesterberg 2015). In simulations (`make soak`) the
    interval contained the true accuracy and weighted F1 in 95% of cases, over 280 dialogues and
    over 60, macro F1 in 95% and 92%, and UAR over 60 in 92%; plain percentiles did in 94%, and
    macro F1 over 60 dialogues in 89%.
    """
    from scipy.special import ndtr, ndtri, stdtrit

    found = np.sort(resampled[~np.isnan(resampled)])
    # Sums of the same numbers in another order are the same value.
    nothing = 1e-9 * unit
    if not len(found) or found[-1] - found[0] < nothing:
        return value, value
    if len(jackknife) < 2:  # nothing is known of its skew, or of how far it varies
        return float(found[0]), float(found[-1])
    below = (found < value - nothing).sum() + (found <= value + nothing).sum()
    bias = ndtri(np.clip(below / (2 * len(found)), 1 / len(found), 1 - 1 / len(found)))
    apart = jackknife.mean() - jackknife
    spread = (apart**2).sum() ** 1.5
    skew = (apart**3).sum() / (6 * spread) if spread > 0 else 0.0
    count = len(jackknife)
    reach = np.sqrt(count / (count - 1)) * stdtrit(count - 1, np.array([0.025, 0.975]))
    shifted = bias + (bias + reach) / np.maximum(1 - skew * (bias + reach), 0.1)
    low, high = np.quantile(found, ndtr(shifted))
    return float(low), float(high)
