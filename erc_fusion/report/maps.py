"""Which runs' embeddings the page maps, and the points of each map."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from erc_features.errors import RunError
from erc_fusion.report.comparison import Comparison
from erc_fusion.report.results import Row

MOST = 600  # points of one map: more hide each other, and weigh on the page


@dataclass(frozen=True)
class Points:
    """Labelled rows of one split, of the run's first seed.

    Attributes:
        at: (n, 2) float, at most `MOST` rows.
        label: (n,) str.
        rows: how many there were to draw from.
    """

    at: np.ndarray
    label: np.ndarray
    rows: int


def points(row: Row, split: str) -> Points | None:
    """The map of `split`; None where the run has kept none. A sample is the same for every run.

    Raises:
        RunError: `predictions.parquet` is absent or damaged.
    """
    found = row.run.predictions()
    if not {"pca_1", "pca_2"} <= set(found.columns):
        return None
    try:
        kept = (found["split"] == split) & (found["seed"] == row.seeds[0]) & (found["label"] != "")
        at = found.loc[kept, ["pca_1", "pca_2"]].to_numpy(float)
        label = found.loc[kept, "label"].to_numpy(object)
    except (KeyError, ValueError) as error:
        raise RunError(
            f"{row.run.path / 'predictions.parquet'} is damaged ({error}). "
            "Run `erc fuse` again with --overwrite."
        ) from error
    rows = len(at)
    if rows < 3 or not np.isfinite(at).all() or not np.ptp(at):
        return None
    picked = np.sort(np.random.default_rng(0).permutation(rows)[:MOST])
    return Points(at[picked], label[picked], rows)


@dataclass(frozen=True)
class Map:
    """A run's map; `contrastive` is its contrastive loss, or "none"."""

    row: Row
    contrastive: str
    points: Points


def maps(comparison: Comparison, best: Row) -> tuple[Map, ...]:
    """Without and with a contrastive loss side by side, and `best`, as far as runs keep maps.

    Along a ladder the two are the first rung with that loss and the rung before it, otherwise
    the best of each kind on dev.

    Raises:
        RunError: predictions are absent or damaged.
    """
    chosen = {row.run.path: row for row in (*_pair(comparison), best)}
    found = ((row, points(row, comparison.split)) for row in chosen.values())
    return tuple(Map(row, _contrastive(row), each) for row, each in found if each)


def _pair(comparison: Comparison) -> tuple[Row, ...]:
    if comparison.ladder is not None:
        steps = (
            step for step in _steps(comparison) if [_plain(row) for row in step] == [True, False]
        )
        return next(steps, ())
    kinds = ([row for row in comparison.rows if _plain(row) == plain] for plain in (True, False))
    pair = tuple(_best(comparison, rows) for rows in kinds if rows)
    return pair if len(pair) == 2 else ()


def _steps(comparison: Comparison) -> Iterator[tuple[Row, Row]]:
    """Each rung's run after that of the rung before it."""
    ladder = comparison.ladder
    for rung in ladder.rungs if ladder else ():
        before = ladder.before(rung) if ladder else None
        first = comparison.row_of(before) if before else None
        second = comparison.row_of(rung)
        if first and second:
            yield first, second


def _best(comparison: Comparison, rows: list[Row]) -> Row:
    """The best on dev."""
    metric = comparison.monitor
    return max(rows, key=lambda row: row.dev.stat(metric).mean if row.dev else 0.0)


def _plain(row: Row) -> bool:
    return _contrastive(row) == "none"


def _contrastive(row: Row) -> str:
    """As decided: `config.toml` may say `auto`. Older runs have it there alone."""
    settings = row.run.config.get("loss", {})
    return str(row.run.metrics.get("contrastive", settings.get("contrastive", "none")))
