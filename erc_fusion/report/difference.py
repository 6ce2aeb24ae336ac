"""Two runs side by side: the settings that differ, a paired test, and the rows that changed."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from erc_features.errors import RunError
from erc_fusion.report.comparison import Comparison, Pair, compare
from erc_fusion.report.ensemble import Ensemble, ensemble
from erc_fusion.report.mistakes import shortened
from erc_fusion.report.results import Row
from erc_fusion.runs.run import Run

# Of a run's settings, those that say where it is, not what it is.
_PLACES = ("place",)


@dataclass(frozen=True)
class Changed:
    """A row of which the ensembles of the two runs say different things.

    Attributes:
        first, second: what they predict.
        confidence: the first ensemble's and the second's, 0 to 1.
    """

    key: str
    speaker: str
    text: str
    label: str
    first: str
    second: str
    confidence: tuple[float, float]


@dataclass(frozen=True)
class Difference:
    """The second run against the first.

    Attributes:
        settings: dotted name -> (the first's value, the second's); None where a run has none.
        split: what the scores and rows are of.
        pair: the second minus the first.
        rows: rows that both predicted; 0 where they predict no classes.
        mended, broken: rows that only the second, only the first has right.
        changed: rows of which they say different things: those mended first, then those broken,
            then the others, each the surest first.
    """

    comparison: Comparison
    first: Row
    second: Row
    settings: Mapping[str, tuple[Any, Any]]
    split: str
    pair: Pair | None
    rows: int
    mended: int
    broken: int
    changed: tuple[Changed, ...]


def difference(first: Run, second: Run) -> Difference:
    """Compare two finished runs of one corpus.

    Raises:
        RunError: one is unfinished or damaged, they are one run, of several corpora, over folds
            and over splits, or predict different things.
    """
    if first.path.resolve() == second.path.resolve():
        raise RunError(f"{first.path}: both are this run; name another to compare it with.")
    for run in (first, second):
        if run.path.is_dir() and not run.done:
            raise RunError(f"{run.path}: not a finished run; run the same `erc fuse` again.")
    found = compare([first, second], baseline=first)
    rows = {row.run.path.resolve(): row for row in found.rows}
    one, other = rows[first.path.resolve()], rows[second.path.resolve()]
    if found.mixed:
        raise RunError(
            f"{first.path} and {second.path}: one is over folds and the other over the corpus's "
            "splits: they learned from other rows and are scored on others."
        )
    settings = _differing(_flat(first), _flat(second))
    pair = found.paired.get((other.name, one.name))
    if not _classes(one):
        return Difference(found, one, other, settings, found.split, pair, 0, 0, 0, ())
    a, b = (ensemble(row, found.split) for row in (one, other))
    right, places = _aligned(a, b)
    changed = _changed(a, b, places)
    mended = int((right[1] & ~right[0]).sum())
    broken = int((right[0] & ~right[1]).sum())
    return Difference(found, one, other, settings, found.split, pair, len(places[0]), mended,
                      broken, changed)  # fmt: skip


def difference_as_dict(found: Difference) -> dict[str, Any]:
    """Everything of it, as numbers (fractions), for `--json`."""
    pair = found.pair
    return {
        "first": str(found.first.run.path),
        "second": str(found.second.run.path),
        "settings": {name: list(values) for name, values in found.settings.items()},
        "split": found.split,
        "scores": {
            name: [
                asdict(stat) if result and (stat := result.known(name)) else None
                for result in (found.first.split(found.split), found.second.split(found.split))
            ]
            for name in found.comparison.scores
        },
        "paired": {
            name: asdict(test) | {"holm": pair.holm[name]} for name, test in pair.tests.items()
        } if pair else None,
        "rows": found.rows,
        "mended": found.mended,
        "broken": found.broken,
        "changed": [asdict(row) for row in found.changed],
    }  # fmt: skip


def _classes(row: Row) -> bool:
    task = row.run.metrics.get("task") or {}
    return bool(row.labels) and not task.get("several")


def _flat(run: Run) -> dict[str, Any]:
    """Settings by dotted name."""
    found: dict[str, Any] = {}

    def walk(values: Mapping[str, Any], before: str) -> None:
        for name, value in values.items():
            if isinstance(value, Mapping):
                walk(value, f"{before}{name}.")
            else:
                found[f"{before}{name}"] = value

    walk({k: v for k, v in run.config.items() if k not in _PLACES}, "")
    return found


def _differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {
        name: (a.get(name), b.get(name))
        for name in dict.fromkeys([*a, *b])
        if a.get(name) != b.get(name)
    }


def _aligned(
    a: Ensemble, b: Ensemble
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """((n,) whether each is right, twice), ((n,) the places of the rows of both, in a and in b)."""
    where = {key: place for place, key in enumerate(b.key)}
    both = [(i, where[key]) for i, key in enumerate(a.key) if key in where]
    i, j = np.array(both, dtype=np.int64).reshape(-1, 2).T
    right = (a.predicted[i] == a.label[i]).astype(bool), (b.predicted[j] == b.label[j]).astype(bool)
    return right, (i, j)


def _changed(
    a: Ensemble, b: Ensemble, places: tuple[np.ndarray, np.ndarray]
) -> tuple[Changed, ...]:
    found = [
        Changed(a.key[i], a.speaker[i].strip(), shortened(a.text[i]), a.label[i],
                str(a.predicted[i]), str(b.predicted[j]),
                (float(a.confidence[i]), float(b.confidence[j])))
        for i, j in zip(*places, strict=True)
        if a.predicted[i] != b.predicted[j]
    ]  # fmt: skip

    def order(row: Changed) -> tuple[int, float]:
        kind = 0 if row.second == row.label else 1 if row.first == row.label else 2
        return kind, -round(max(row.confidence), 6)

    return tuple(sorted(found, key=order))
