"""Folds: every row is held out once, and predicted by models that saw nothing of its group.

A rule is `UNIT` (leave one out: each value of the unit is a fold), `UNIT:K` (its values in K
folds) or `K` (dialogues in K folds). A unit is `dialogue`, `speaker`, or a column of the corpus
such as `session`. Units are never split: neither between folds, nor between the train and dev
parts of one. They are dealt to K folds so that those are alike in size and labels; a run records
which row was in which. (scikit-learn's StratifiedGroupKFold leaves folds empty where units differ
much in size.)
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from erc_features.errors import ErcError
from erc_features.utterance import Split
from erc_fusion.inputs.table import FeatureTable

UNITS = ("dialogue", "speaker")
_RULE = re.compile(r"(?:([^:]*[^:\d][^:]*)(?::(\d+))?|(\d+))")


@dataclass(frozen=True)
class Fold:
    """Rows of one fold, numbers of the table's, ascending.

    Attributes:
        name: the unit that is held out, or the fold's number from 1.
        train, dev: to learn from and to choose on; they share no unit.
        test: the rows that are held out, labelled or not.
    """

    name: str
    train: np.ndarray
    dev: np.ndarray
    test: np.ndarray


def make_folds(table: FeatureTable, rule: str, dev: float = 0.1, seed: int = 0) -> tuple[Fold, ...]:
    """The folds of all rows of a table, whatever their split.

    Args:
        rule: see this module.
        dev: the share of each fold's other rows that choose the epoch, of units of their own.
        seed: of the draw, which is the same for all seeds of a run.

    Raises:
        ErcError: the rule is none, a row lacks its unit, or there are too few of them.
    """
    unit, count = parse_rule(rule)
    if len(table.rows(Split.NEW)):
        raise ErcError(f"--folds {rule}: rows of the split new have no part in folds.")
    groups = _groups(table, unit)
    names, group = np.unique(groups, return_inverse=True)
    if len(names) < max(3, count or 0):
        raise ErcError(
            f"--folds {rule}: there are {len(names)} {unit}s, and "
            f"{max(3, count or 0)} are needed: to learn from, to choose on and to hold out."
        )
    if not 0 < dev < 1:
        raise ErcError(f"--dev {dev}: the share of rows to choose on is between 0 and 1.")
    held = group if count is None else _dealt(table.label, group, count, seed)
    found = []
    for number in range(int(held.max()) + 1):
        test, rest = np.flatnonzero(held == number), np.flatnonzero(held != number)
        name = str(names[number]) if count is None else str(number + 1)
        parts = min(max(2, round(1 / dev)), len(np.unique(group[rest])))
        if parts < 2:
            raise ErcError(
                f"--folds {rule}: without fold {name} there is one {unit} left, and two are "
                "needed, to learn from and to choose on; take more folds."
            )
        dealt = _dealt(table.label[rest], group[rest], parts, seed)
        found.append(Fold(name, rest[dealt != 0], rest[dealt == 0], test))
    return tuple(found)


def parse_rule(rule: str) -> tuple[str, int | None]:
    """(unit, K or None) of `speaker`, `session`, `dialogue:5` or `5`.

    >>> parse_rule("speaker"), parse_rule("dialogue:5"), parse_rule("10")
    (('speaker', None), ('dialogue', 5), ('dialogue', 10))

    Raises:
        ErcError: it is none of these, or has fewer than two folds.
    """
    found = _RULE.fullmatch(rule)
    if not found:
        raise ErcError(f"--folds {rule}: speaker, session, dialogue:5 and 5 work.")
    unit, of_unit, alone = found.groups()
    count = of_unit or alone
    if count is not None and int(count) < 2:
        raise ErcError(f"--folds {rule}: there are at least two folds.")
    return unit or "dialogue", None if count is None else int(count)


def _groups(table: FeatureTable, unit: str) -> np.ndarray:
    """(N,) str, each row's unit."""
    if unit == "dialogue":
        return np.array([f"{s}/d-{d}" for s, d in zip(table.split, table.dialogue, strict=True)])
    columns: Mapping[str, np.ndarray] = {"speaker": table.speaker, **table.more}
    if unit not in columns:
        raise ErcError(
            f"--folds {unit}: no feature file has that column; dialogue, "
            f"{', '.join(sorted(columns))} work."
        )
    groups = columns[unit].astype(str)
    if blank := table.key[groups == ""].tolist():
        raise ErcError(
            f"--folds {unit}: {len(blank)} rows have no {unit}, such as {blank[0]}, so nobody "
            "knows with whom to hold them out."
        )
    return groups


def clusters(table: FeatureTable, rule: str) -> np.ndarray:
    """(N,) int64, what rows are resampled by: speakers where those are held out, else dialogues."""
    unit, _ = parse_rule(rule)
    of = _groups(table, "speaker" if unit == "speaker" else "dialogue")
    return np.unique(of, return_inverse=True)[1]


def shared_dialogues(table: FeatureTable, folds: Sequence[Fold]) -> int:
    """How many dialogues are in several folds: what is said there is learned from in others."""
    place = np.empty(len(table), np.int64)
    for number, fold in enumerate(folds):
        place[fold.test] = number
    _, dialogue = np.unique(_groups(table, "dialogue"), return_inverse=True)
    low, high = np.full(dialogue.max() + 1, len(folds)), np.full(dialogue.max() + 1, -1)
    np.minimum.at(low, dialogue, place)
    np.maximum.at(high, dialogue, place)
    return int((low != high).sum())


def _dealt(label: np.ndarray, group: np.ndarray, count: int, seed: int) -> np.ndarray:
    """(n,) which of `count` folds each row is in; no fold is empty.

    Units go one after another, the largest first, to the fold where the classes' shares then
    differ least between folds.
    """
    units, unit = np.unique(group, return_inverse=True)
    classes = np.zeros((len(units), int(label.max(initial=-1)) + 2))
    np.add.at(classes, (unit, label + 1), 1)
    shares = classes / np.maximum(1, classes.sum(0))  # (U, C): of all rows of the class
    sizes = classes.sum(1)
    order = np.random.default_rng(seed).permutation(len(units))
    order = order[np.argsort(-sizes[order], kind="stable")]
    folds, place = np.zeros((count, classes.shape[1])), np.empty(len(units), np.int64)
    rows = np.zeros(count)
    for left, each in zip(range(len(order), 0, -1), order, strict=True):
        empty = rows == 0
        spread = [np.std(folds + np.eye(count)[f][:, None] * shares[each], axis=0).mean()
                  for f in range(count)]  # fmt: skip
        # The last units are for folds that have none.
        spread = np.where(empty | (left > empty.sum()), spread, np.inf)
        best = np.lexsort((rows, np.round(spread, 12)))[0]
        folds[best] += shares[each]
        rows[best] += sizes[each]
        place[each] = best
    return place[unit]
