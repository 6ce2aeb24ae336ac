"""Which runs' embeddings the page maps, and the points of each map."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from erc_fusion.report.comparison import Comparison
from erc_fusion.report.results import Row

MOST = 600  # points of one map: more hide each other, and weigh on the page


@dataclass(frozen=True)
class Points:
    """Labelled rows of one split, of the run's first seed.

    Attributes:
        at: (n, 2) float, at most `MOST` rows.
        label: (n,) str.
        rows: how many rows there are, of which these were drawn.
    """

    at: np.ndarray
    label: np.ndarray
    rows: int


def points(row: Row, split: str) -> Points | None:
    """The map of `split`, or None if the run keeps none; raises RunError if it is damaged.

    Each fold has embeddings and components of its own, which make no map together.
    """
    if row.folds:
        return None
    found = row.run.columns()
    if not {"pca_1", "pca_2"} <= set(found):
        return None
    try:
        kept = (found["split"] == split) & (found["seed"] == row.seeds[0]) & (found["label"] != "")
        at = np.stack([found[name][kept] for name in ("pca_1", "pca_2")], -1).astype(float)
        label = found["label"][kept]
    except (KeyError, ValueError) as error:
        raise row.run.damaged("predictions.parquet", error) from error
    if len(at) < 3 or not np.isfinite(at).all() or not np.ptp(at):
        return None
    # The same rows for every run.
    picked = np.sort(np.random.default_rng(0).permutation(len(at))[:MOST])
    return Points(at[picked], label[picked], len(at))


@dataclass(frozen=True)
class Map:
    """A run's map; `contrastive` is its contrastive loss, or "none"."""

    row: Row
    contrastive: str
    points: Points


def maps(comparison: Comparison, best: Row) -> tuple[Map, ...]:
    """A run without and one with a contrastive loss, and `best`, as far as the runs keep maps.

    On a ladder the two are the first rung with that loss and the rung before it; otherwise the
    best of each kind on dev.

    Raises:
        RunError: predictions are absent or damaged.
    """
    pairs = (pair for pair in _pairs(comparison) if _kinds(*pair) == (True, False))
    chosen = {row.run.path: row for row in (*next(pairs, ()), best)}
    found = ((row, points(row, comparison.split)) for row in chosen.values())
    return tuple(Map(row, _contrastive(row), each) for row, each in found if each)


def _pairs(comparison: Comparison) -> Iterator[tuple[Row, Row]]:
    """Each rung's run with that of the next; without a ladder all pairs, the best on dev first."""
    ladder, metric = comparison.ladder, comparison.monitor
    if ladder is None:
        best = sorted(comparison.rows, key=lambda row: -_on_dev(row, metric))
        yield from permutations(best, 2)
        return
    for rung in ladder.rungs:
        before = ladder.before(rung)
        first = comparison.row_of(before) if before else None
        second = comparison.row_of(rung)
        if first and second:
            yield first, second


def _on_dev(row: Row, metric: str) -> float:
    stat = row.dev.known(metric) if row.dev else None
    return stat.mean if stat else 0.0


def _kinds(*rows: Row) -> tuple[bool, ...]:
    """Whether each was trained without a contrastive loss."""
    return tuple(_contrastive(row) == "none" for row in rows)


def _contrastive(row: Row) -> str:
    """As decided: `config.toml` may say `auto`. Runs of an older erc have it only there."""
    settings = row.run.config.get("loss", {})
    return str(row.run.metrics.get("contrastive", settings.get("contrastive", "none")))
