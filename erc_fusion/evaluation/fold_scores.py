"""Scores of a run over folds: every row is predicted once, by models that saw nothing of its unit.

`test` is over all rows, as if they were one split: each row has the prediction of the fold that
holds it out. Intervals and paired tests are over dialogues, or over speakers where speakers are
held out. `dev` is over the dev rows of all folds; a row may be there several times. `folds` has the
scores of each fold by itself. `majority` is the most frequent class of all rows.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from erc_fusion.evaluation.metrics import Rows, accuracy, confusions, score, uar, weighted_f1
from erc_fusion.evaluation.score import Predicted, columns_of
from erc_fusion.evaluation.slices import slices
from erc_fusion.inputs.folds import Fold, clusters
from erc_fusion.inputs.table import FeatureTable

TEST = "test"  # what predictions call the split of rows that are held out


def score_folds(
    table: FeatureTable, folds: Sequence[Fold], rule: str, seeds: Sequence[int],
    held_out: Sequence[Predicted], on_dev: Sequence[Predicted],
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:  # fmt: skip
    """({"dev", "test", "folds"}, every row's predictions as columns, with `fold`).

    Args:
        rule: the folds' rule.
        held_out, on_dev: predictions of each fold's `test` and `dev` rows.
    """
    order = np.argsort(np.concatenate([fold.test for fold in folds]))
    together = _joined(held_out, order)
    dev = _joined(on_dev, None)
    rows, dev_rows = np.arange(len(table)), np.concatenate([fold.dev for fold in folds])
    unseen, dev_unseen = np.empty(len(table), bool), []
    for fold in folds:
        said = set(table.text[fold.train].tolist())
        unseen[fold.test] = [text not in said for text in table.text[fold.test]]
        dev_unseen += [text not in said for text in table.text[fold.dev]]
    known = table.label[table.label >= 0]
    majority = int(np.bincount(known, minlength=len(table.labels)).argmax())
    cluster = clusters(table, rule)

    def scored(which: np.ndarray, found: Predicted, new: np.ndarray) -> dict[str, Any] | None:
        part = Rows(table.label[which], found.probability, cluster[which], new, found.prototype)
        return score(part, table.labels, majority)

    test = scored(rows, together, unseen)
    if test is not None:
        test["slices"] = slices(table, rows, together.probability.argmax(-1))
    columns = columns_of(table, rows, seeds, together)
    number = np.empty(len(table), np.int64)
    for place, fold in enumerate(folds):
        number[fold.test] = place
    names = np.array([fold.name for fold in folds], dtype=object)
    columns["split"] = np.full(len(columns["key"]), TEST, dtype=object)
    columns["fold"] = np.tile(names[number], len(seeds))
    scores = {
        "dev": scored(dev_rows, dev, np.array(dev_unseen)),
        "test": test,
        "folds": [
            _of_fold(table, fold, found) for fold, found in zip(folds, held_out, strict=True)
        ],
    }
    return scores, columns


def _joined(found: Sequence[Predicted], order: np.ndarray | None) -> Predicted:
    """All folds' predictions, one after another or in that order."""
    take = slice(None) if order is None else order
    probability = np.concatenate([each.probability for each in found], 1)[:, take]
    pca = np.concatenate([each.pca for each in found], 1)[:, take]
    if any(each.prototype is None for each in found):
        return Predicted(probability, None, pca)
    prototype = np.concatenate([np.asarray(each.prototype) for each in found], 1)[:, take]
    return Predicted(probability, prototype, pca)


def _of_fold(table: FeatureTable, fold: Fold, found: Predicted) -> dict[str, Any]:
    """Its name, rows, and mean and sample deviation of its scores over seeds; scores are None
    where none of its rows has a label."""
    truth = table.label[fold.test]
    names = ("accuracy", "weighted_f1", "uar")
    about = {
        "name": fold.name,
        "rows": len(fold.test),
        "labelled": int((truth >= 0).sum()),
    }
    if not about["labelled"]:
        return about | dict.fromkeys(names)
    counts = confusions(truth, found.probability.argmax(-1), len(table.labels))
    of_seeds = zip(names, (accuracy(counts), weighted_f1(counts), uar(counts)), strict=True)
    return about | {
        name: {"mean": float(values.mean()),
               "std": float(values.std(ddof=1)) if len(values) > 1 else 0.0}
        for name, values in of_seeds
    }  # fmt: skip
