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

# What stands for no name in tables that pandas and others wrote.
_NOBODY = ("", "nan", "NaN", "<NA>", "NaT", "None", "null", "n/a", "N/A")
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
        dev: the share of each fold's other rows that choose the epoch, of units of their own; at
            most a half. Those are dealt into parts of about that share, and the part that is
            closest to it, in rows and in those of each class, is taken.
        seed: of the draw, which is the same for all seeds of a run.

    Raises:
        ErcError: the rule is none, a row lacks its unit, or there are too few of them.
    """
    unit, count = parse_rule(rule)
    if not 0 < dev <= 0.5:
        raise ErcError(
            f"--dev {dev:g}: the share of rows to choose on is between 0 and 1/2; 0.1 is a tenth."
        )
    if len(table.rows(Split.NEW)):
        raise ErcError(f"--folds {rule}: rows of the split new have no part in folds.")
    groups = _groups(table, unit)
    names, group = np.unique(groups, return_inverse=True)
    label = _strata(table)
    if len(names) < max(3, count or 0):
        raise ErcError(
            f"--folds {rule}: {_counted(len(names), unit)}, and "
            f"{max(3, count or 0)} are needed: "
            + (
                f"one or more for each of {count} folds."
                if len(names) > 2
                else "to learn from, to choose on and to hold out."
            )
        )
    held = group if count is None else _dealt(label, group, count, seed)
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
        dealt = _dealt(label[rest], group[rest], parts, seed)
        chosen = dealt == _closest(label[rest], dealt, parts, dev)
        found.append(Fold(name, rest[~chosen], rest[chosen], test))
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


def _counted(count: int, unit: str) -> str:
    return f"there is 1 {unit}" if count == 1 else f"there are {count} {unit}s"


def _closest(label: np.ndarray, dealt: np.ndarray, parts: int, dev: float) -> int:
    """The part that has closest to a share `dev` of the rows, and of those of each class.

    Where a unit is large, as a main speaker is, the part that has it is far too large for dev.
    """
    counts = np.zeros((parts, int(label.max(initial=-1)) + 2))
    np.add.at(counts, (dealt, label + 1), 1)
    blind = (counts[:, 1:].sum(1) == 0) & (counts[:, 1:].sum() > 0)  # nothing to choose by
    counts = np.column_stack([counts.sum(1), counts[:, counts.any(0)]])  # (parts, 1 + C)
    off = np.abs(counts / counts.sum(0) - dev).mean(1).round(12)
    return int(np.where(blind, np.inf, off).argmin())


def _strata(table: FeatureTable) -> np.ndarray:
    """(N,) the class of each row; without classes 0 where a row has what a score can be of, a label
    of a set or a number, so that dev has such rows. -1 is none."""
    if table.task.classes or (table.sets is None and table.numbers is None):
        return table.label
    if table.sets is None:
        return np.where(table.labelled, 0, -1)
    return np.where((table.sets > 0).any(-1), 0, -1)


def _groups(table: FeatureTable, unit: str) -> np.ndarray:
    """(N,) str, each row's unit."""
    if unit == "dialogue":
        return _dialogues(table.split, table.dialogue)
    columns: Mapping[str, np.ndarray] = {"speaker": table.speaker, **table.more}
    if unit in table.apart:
        raise ErcError(f"--folds {unit}: {table.apart[unit]}")
    if unit not in columns:
        raise ErcError(
            f"--folds {unit}: no feature file has that column; dialogue, "
            f"{', '.join(sorted(columns))} work. Add it to the corpus's CSVs, named with letters, "
            "digits, '.', '_' and '-', and run the same `erc extract` again: it adds the column "
            "and encodes nothing anew."
        )
    groups = same_name(columns[unit])
    if blank := table.key[np.isin(groups, _NOBODY)].tolist():
        raise ErcError(
            f"--folds {unit}: {len(blank)} rows have no {unit}, such as {blank[0]}, so nobody "
            "knows with whom to hold them out."
        )
    return groups


def same_name(names: np.ndarray) -> np.ndarray:
    """(N,) str, units by the most frequent spelling of their names.

    "Ross", "ross" and "Ross " are one speaker, who must not be on two sides.
    """
    spelled, place, count = np.unique(names.astype(str), return_inverse=True, return_counts=True)
    plain = [" ".join(name.split()) for name in spelled.tolist()]
    usual: dict[str, str] = {}
    for each in np.argsort(-count, kind="stable").tolist():
        usual.setdefault(plain[each].casefold(), plain[each])
    return np.array([usual[name.casefold()] for name in plain])[place]


def _dialogues(split: Sequence[str] | np.ndarray, dialogue: np.ndarray) -> np.ndarray:
    return np.array([f"{s}/d-{d}" for s, d in zip(split, dialogue, strict=True)])


def dialogue_numbers(split: Sequence[str] | np.ndarray, dialogue: np.ndarray) -> np.ndarray:
    """(N,) int64, equal within a dialogue of all splits: each split counts its own from 0."""
    return np.unique(_dialogues(split, dialogue), return_inverse=True)[1]


def clusters(table: FeatureTable, rule: str) -> np.ndarray:
    """(N,) int64, what rows are resampled by: speakers where those are held out, else dialogues."""
    if parse_rule(rule)[0] == "speaker":
        return np.unique(_groups(table, "speaker"), return_inverse=True)[1]
    return dialogue_numbers(table.split, table.dialogue)


def shared_dialogues(table: FeatureTable, folds: Sequence[Fold]) -> int:
    """How many dialogues are in several parts (train, dev and held out) of any fold: what is said
    there is learned from in others."""
    dialogue = dialogue_numbers(table.split, table.dialogue)
    shared, place = np.zeros(dialogue.max() + 1, bool), np.empty(len(table), np.int64)
    for fold in folds:
        for number, rows in enumerate((fold.train, fold.dev, fold.test)):
            place[rows] = number
        parts = np.zeros((len(shared), 3), bool)
        parts[dialogue, place] = True
        shared |= parts.sum(1) > 1
    return int(shared.sum())


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
    rows, one = np.zeros(count), np.eye(count)
    for left, each in zip(range(len(order), 0, -1), order, strict=True):
        empty = rows == 0
        # (f, count, C): were the unit put into fold f.
        spread = np.std(folds + one[..., None] * shares[each], axis=1).mean(-1)
        # The last units are for folds that have none.
        spread = np.where(empty | (left > empty.sum()), spread, np.inf)
        best = np.lexsort((rows, np.round(spread, 12)))[0]
        folds[best] += shares[each]
        rows[best] += sizes[each]
        place[each] = best
    return place[unit]
