"""Scores of predicted numbers, such as valence, from sums by dialogue (see `bootstrap`).

    ccc      concordance correlation coefficient (Lin 1989), with biased moments:
             2 cov / (var + var + (mean - mean)²); 0 where truth and predictions are constant
    pearson  correlation (scipy's); 0 where either is constant
    mae      mean absolute error, in the number's own unit
    rmse     root mean square error, likewise

Of a split's scores (`metrics.json`), `numbers` has for each: rows, the four with intervals as
:mod:`erc_fusion.evaluation.metrics` has them, `ensemble` (the mean of the seeds' predictions), and
`mean_of_train` (the scores of always predicting it). `ccc` and `pearson` are means over the
numbers; of a single number `mae` and `rmse` are there as well.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from erc_fusion.evaluation.bootstrap import Dialogues, Sums, left_out, resamples, share, weighted
from erc_fusion.evaluation.figures import figure_of

NAMES = ("ccc", "pearson", "mae", "rmse")


@dataclass(frozen=True)
class Moments(Sums):
    """Sums over rows of truth x and prediction y: (…, T), in units of the truth's deviation.

    Attributes:
        rows, x, xx: of the truth, the same for all seeds, whose dimension they may lack.
        y, yy, xy, away: sums of y, y², x·y and |x - y|.
        unit: (T,) the truth's deviation.
    """

    rows: np.ndarray
    x: np.ndarray
    xx: np.ndarray
    y: np.ndarray
    yy: np.ndarray
    xy: np.ndarray
    away: np.ndarray
    unit: np.ndarray

    SHARED: ClassVar = ("rows", "x", "xx")
    OWN: ClassVar = ("y", "yy", "xy", "away")

    def of_numbers(self, name: str) -> np.ndarray:
        """(…, T) the score of each number; NaN without rows."""
        with np.errstate(invalid="ignore", divide="ignore"):
            mean, mine = self.x / self.rows, self.y / self.rows
            if name == "mae":
                return self.away / self.rows * self.unit
            if name == "rmse":
                square = (self.xx + self.yy - 2 * self.xy) / self.rows
                return np.sqrt(np.maximum(square, 0)) * self.unit
            var, own = (
                np.maximum(squares / self.rows - each**2, 0)
                for squares, each in ((self.xx, mean), (self.yy, mine))
            )
            # What is constant up to rounding is constant.
            varies = np.minimum(var / (1 + mean**2), own / (1 + mine**2)) > 1e-12
            both = np.where(varies, self.xy / self.rows - mean * mine, 0)
            if name == "ccc":
                whole = var + own + (mean - mine) ** 2
                found = 2 * share(both, whole)
            else:
                assert name == "pearson"
                whole = np.sqrt(var * own)
                found = share(both, whole)
        return np.where(self.rows > 0, found, np.nan)

    def score(self, name: str) -> np.ndarray:
        """(…) the mean over the numbers; NaN where one has no rows."""
        return self.of_numbers(name).mean(-1)

    def unit_of(self, name: str) -> float:
        return float(self.unit.max()) if name in ("mae", "rmse") else 1.0

    def only(self, number: int) -> "Moments":
        part = slice(number, number + 1)
        found = self.each(lambda values: values[..., part])
        return replace(found, unit=self.unit[part])


def moments(dialogues: Dialogues, truth: np.ndarray, predicted: np.ndarray) -> Moments:
    """Each dialogue's sums: truth (n, T), NaN if unlabelled, predicted (S, n, T) -> (D, S, T)."""
    centre, unit = np.zeros(truth.shape[1]), np.ones(truth.shape[1])
    for t, values in enumerate(truth.T):
        known = values[~np.isnan(values)]
        if len(known):
            # Sums of squares of large numbers lose their digits.
            centre[t], unit[t] = known.mean(), known.std()
            if unit[t] <= 1e-12 * abs(centre[t]):  # constant, up to rounding
                unit[t] = abs(centre[t]) or 1.0
    known = ~np.isnan(truth)
    x = np.where(known, (truth - centre) / unit, 0)
    y = np.where(known, (predicted.astype(np.float64) - centre) / unit, 0)

    def summed(values: np.ndarray) -> np.ndarray:
        """(S, n, T) -> (D, S, T)."""
        nowhere = np.zeros(values.shape[:2], np.int64)
        return np.concatenate(
            [dialogues.sums(nowhere, 1, values[..., t]) for t in range(values.shape[-1])], -1
        )

    parts = (known[None].astype(float), x[None], x[None] ** 2, y, y**2, x * y, np.abs(x - y))
    rows, x, xx, y, yy, xy, away = map(summed, parts)
    return Moments(rows, x, xx, y, yy, xy, away, unit)


def concordance(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Mean CCC over the numbers that are known: truth (n, T), predicted (S, n, T) -> (S,)."""
    there = ~np.isnan(truth).all(0)
    if not there.any():
        return np.zeros(len(predicted))
    one = Dialogues(np.zeros(len(truth), np.int64))
    return _whole(moments(one, truth[:, there], predicted[..., there])).score("ccc")


def number_scores(
    names: Sequence[str], cluster: np.ndarray, truth: np.ndarray, predicted: np.ndarray,
    means: np.ndarray,
) -> dict[str, Any]:  # fmt: skip
    """A split's scores as this module says, {} where no number is known.

    Args:
        cluster: (n,) what is resampled: any numbers, equal within a dialogue.
        truth: (n, T), NaN where unlabelled; predicted: (S, n, T).
        means: those of train, (T,), or (n, T) where rows have several.
    """
    there = [t for t in range(len(names)) if not np.isnan(truth[:, t]).all()]
    if not there:
        return {}
    kept = ~np.isnan(truth[:, there]).all(-1)
    means = np.broadcast_to(means, truth.shape)[kept][:, there]
    truth, predicted = truth[kept][:, there], predicted[:, kept][..., there]
    dialogues = Dialogues(cluster[kept])
    table = moments(dialogues, truth, predicted)
    tables = {
        "": table,
        "ensemble": moments(dialogues, truth, predicted.mean(0, dtype=np.float64)[None]),
        "mean_of_train": moments(dialogues, truth, means[None]),
    }
    found: dict[str, Any] = {}
    for place, t in enumerate(there):
        own = {what: each.only(place) for what, each in tables.items()}
        found[names[t]] = {
            "rows": int(own[""].rows.sum()),
            **figures_of(own[""], NAMES),
            **{
                what: {name: float(_whole(own[what]).score(name)[0]) for name in NAMES}
                for what in ("ensemble", "mean_of_train")
            },
        }
    overall = NAMES if len(there) == 1 else NAMES[:2]
    return {"numbers": found, **figures_of(table, overall)}


def figures_of(table: Any, names: Sequence[str]) -> Mapping[str, dict[str, Any]]:
    """The figure of each score, from each dialogue's sums."""
    drawn = weighted(resamples(len(table.rows)), table)
    without, whole = left_out(table), _whole(table)
    return {
        name: figure_of(
            whole.score(name),
            drawn.score(name).mean(0),
            without.score(name).mean(0),
            table.unit_of(name),
        )
        for name in names
    }


def _whole(table: Any) -> Any:
    return table.each(lambda part: part.sum(0))
