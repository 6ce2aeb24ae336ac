"""Scores of a run over folds: every row is predicted once, by models that saw nothing of its unit.

`test` is over all rows, as if they were one split: each row has the prediction of the fold that
holds it out. Intervals and paired tests are over dialogues, or over speakers where speakers are
held out. `dev` is over the dev rows of all folds; a row may be there several times. `folds` has the
scores of each fold by itself. `majority` is the most frequent class of all rows; `mean_of_train`
is each fold's own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from erc_fusion.evaluation.score import Floor, Predicted, columns_of, point_scores, score_rows
from erc_fusion.inputs.folds import Fold, clusters
from erc_fusion.inputs.table import FeatureTable

TEST = "test"  # what predictions call the split of rows that are held out


def score_folds(
    table: FeatureTable, folds: Sequence[Fold], rule: str, seeds: Sequence[int],
    held_out: Sequence[Predicted], on_dev: Sequence[Predicted],
) -> tuple[dict[str, Any], Iterator[dict[str, np.ndarray]]]:  # fmt: skip
    """({"dev", "test", "folds"}, every row's predictions as blocks of columns, with `fold`).

    Args:
        rule: the folds' rule.
        held_out, on_dev: predictions of each fold's `test` and `dev` rows.
    """
    order = np.argsort(np.concatenate([fold.test for fold in folds]))
    together = joined(held_out, order)
    dev = joined(on_dev, None)
    rows, dev_rows = np.arange(len(table)), np.concatenate([fold.dev for fold in folds])
    unseen, dev_unseen = np.empty(len(table), bool), []
    for fold in folds:
        said = set(table.text[fold.train].tolist())
        unseen[fold.test] = [text not in said for text in table.text[fold.test]]
        dev_unseen += [text not in said for text in table.text[fold.dev]]
    floor = Floor.of(table, rows)
    # What is held out may not be in the mean that it is compared with.
    apart = [(fold, Floor.of(table, fold.train).means) for fold in folds]
    means = np.empty((len(table), len(table.number_names)))
    for fold, own in apart:
        means[fold.test] = own
    dev_means = np.concatenate([np.tile(own, (len(fold.dev), 1)) for fold, own in apart])
    cluster = clusters(table, rule)

    def scored(
        which: np.ndarray, found: Predicted, new: np.ndarray, means: np.ndarray
    ) -> dict[str, Any] | None:
        return score_rows(table, which, found, replace(floor, means=means), cluster[which], new)

    test = scored(rows, together, unseen, means)
    number = np.empty(len(table), np.int64)
    for place, fold in enumerate(folds):
        number[fold.test] = place
    names = np.array([fold.name for fold in folds], dtype=object)
    row_of = {key: row for row, key in enumerate(table.key.tolist())}

    def with_fold(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        own = number[[row_of[key] for key in columns["key"].tolist()]]
        split = np.full(len(own), TEST, dtype=object)
        return columns | {"split": split, "fold": names[own]}

    scores = {
        "dev": scored(dev_rows, dev, np.array(dev_unseen), dev_means),
        "test": test,
        "folds": [
            _of_fold(table, fold, found) for fold, found in zip(folds, held_out, strict=True)
        ],
    }
    return scores, map(with_fold, columns_of(table, rows, seeds, together))


def joined(found: Sequence[Predicted], order: np.ndarray | None) -> Predicted:
    """All folds' predictions, one after another or in that order."""
    take = slice(None) if order is None else order

    def joined(name: str) -> Any:
        parts = [part for each in found if (part := getattr(each, name)) is not None]
        return np.concatenate(parts, 1)[:, take] if len(parts) == len(found) else None

    return Predicted(*(joined(each.name) for each in fields(Predicted)))


def _of_fold(table: FeatureTable, fold: Fold, found: Predicted) -> dict[str, Any]:
    """Its name, rows, and mean and sample deviation of its scores over seeds; scores are None
    where none of its rows has a label."""
    about = {
        "name": fold.name,
        "rows": len(fold.test),
        "labelled": int(table.labelled[fold.test].sum()),
    }
    of_seeds = point_scores(table, fold.test, found)
    if not about["labelled"]:
        return about | dict.fromkeys(of_seeds)
    return about | {
        name: {"mean": float(values.mean()),
               "std": float(values.std(ddof=1)) if len(values) > 1 else 0.0}
        for name, values in of_seeds.items()
    }  # fmt: skip
