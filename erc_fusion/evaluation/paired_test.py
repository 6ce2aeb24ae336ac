"""Is one run better than another? Both predicted the same rows, so they are compared in pairs."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import chain

import numpy as np

from erc_features.errors import RunError, choose, listed
from erc_fusion.evaluation.bootstrap import (
    Dialogues,
    Draws,
    Sums,
    interval,
    left_out,
    resamples,
    totals,
    weighted,
)
from erc_fusion.evaluation.label_sets import NAMES as SET_SCORES
from erc_fusion.evaluation.label_sets import counts
from erc_fusion.evaluation.metrics import SCORES
from erc_fusion.evaluation.numbers import moments
from erc_fusion.inputs.folds import dialogue_numbers, parse_rule, same_name
from erc_fusion.inputs.targets import Task, sets_of
from erc_fusion.runs.predictions import PREDICTIONS
from erc_fusion.runs.run import Run

PERMUTATIONS = 10_000


@dataclass(frozen=True)
class Paired:
    """The difference of one run from another.

    Attributes:
        metric: accuracy, weighted_f1, macro_f1 or uar; of sets micro_f1 or macro_f1; of numbers
            ccc.
        difference: mean over seeds of the first run minus that of the second, 0 to 1.
        low, high: its 95% interval by bootstrap over whole dialogues, all seeds together.
        p: of the two-sided permutation test that swaps whole dialogues, all seeds together.
    """

    metric: str
    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Outcomes:
    """What a run predicted on the n labelled rows of a split, by key.

    Attributes:
        name: the run's folder, for messages.
        corpus: its name and fingerprint.
        key: (n,) str, sorted.
        dialogue: (n,) int.
        truth: (n,) a place in `labels`; of sets (n, K) bool.
        predicted: (S, n) a place in `labels`; of sets (S, n, K) bool.
        speaker: (n,) int, of a run over folds of speakers, whose rows are resampled by these; else
            None.
        folds: its rule of folds; "" of a run over the corpus's splits.
        task: what is predicted.
        numbers: ((n, T), (S, n, T)), truth and predictions, or None.
        known: (n,) bool, whether the label or set is, where it need not be, beside numbers; None
            is all of them.
    """

    name: str
    split: str
    corpus: tuple[str, str]
    labels: tuple[str, ...]
    key: np.ndarray
    dialogue: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray
    speaker: np.ndarray | None = None
    folds: str = ""
    task: Task = field(default_factory=Task)
    numbers: tuple[np.ndarray, np.ndarray] | None = None
    known: np.ndarray | None = None

    def sums(self, metric: str, dialogues: Dialogues) -> Sums:
        """The sums of each of what is resampled, of which the metric is a function."""
        if metric == "ccc" and self.numbers:
            return moments(dialogues, *self.numbers)
        if self.task.several and metric in SET_SCORES:
            return counts(dialogues, self.truth, self.predicted)
        if not self.task.several and metric in SCORES and self.labels:
            return dialogues.marginals(self.truth, self.predicted, len(self.labels))
        raise RunError(f"{self.name} predicts {self.task.target}, which has no {metric}.")

    def scored_by(self, metric: str) -> "Outcomes":
        """The rows, and the numbers, of which that score is; raises RunError if there are none."""
        numbers, rows = self.numbers, self.known
        if rows is None:
            rows = np.ones(len(self.key), bool)
        if metric == "ccc" and numbers is not None:
            missing = np.isnan(numbers[0])
            rows, there = ~missing.all(-1), ~missing.all(0)
            numbers = numbers[0][:, there], numbers[1][..., there]
        if not rows.any():
            raise RunError(
                f"{self.name}: no {self.split} row has what {metric} needs, so runs can't be "
                "compared by it."
            )
        return replace(
            self, key=self.key[rows], dialogue=self.dialogue[rows], truth=self.truth[rows],
            predicted=self.predicted[:, rows], known=None,
            speaker=None if self.speaker is None else self.speaker[rows],
            numbers=numbers and (numbers[0][rows], numbers[1][:, rows]),
        )  # fmt: skip


def paired(first: Run, second: Run, metric: str, split: str = "test") -> Paired:
    """Compare two finished runs on a split: :func:`outcomes` of both, then :func:`compare`.

    Raises:
        ErcError: an unknown metric.
        RunError: their corpora, rows or truth differ, a file can't be read, or no row is labelled.
    """
    return compare(outcomes(first, split), outcomes(second, split), metric)


def outcomes(run: Run, split: str = "test") -> Outcomes:
    """What a run predicted; raises RunError if it can't be read or the split has no labels."""
    found, name = run.columns(), PREDICTIONS
    rule = str(run.config.get("folds", "")) if "fold" in found else ""
    try:
        labels = tuple(run.inputs["labels"])
        corpus = (run.inputs["corpus"], run.inputs["fingerprint"])
        task = Task.of(run.inputs)
        known = found["label"] != "" if task.several else np.isin(found["label"], labels)
        names = [(f"true_{name}", f"predicted_{name}") for name in task.numbers]
        some = known
        if names:
            some = known | ~np.isnan([found[name] for name, _ in names]).all(0)
        rows = np.flatnonzero((found["split"] == split) & some)
        rows = rows[np.lexsort((found["key"][rows], found["seed"][rows]))]
        seeds = len(np.unique(found["seed"][rows]))
        columns = {n: found[n][rows] for n in
                   ("key", "dialogue", "label", "predicted", *chain(*names))}  # fmt: skip
        if rule:  # its rows are of all splits, and each split counts its dialogues from 0
            split_of = [key.partition("/")[0] for key in columns["key"].tolist()]
            columns["dialogue"] = dialogue_numbers(split_of, columns["dialogue"])
        if not seeds:
            raise RunError(
                f"{run.path / name} has no labelled {split} row, so runs can't be compared on it."
            )
        shaped = {name: column.reshape(seeds, -1) for name, column in columns.items()}
        if task.several:
            truth, predicted = (sets_of(shaped[name], labels) for name in ("label", "predicted"))
        else:
            places = {label: place for place, label in enumerate(labels)} | {"": -1}
            truth, predicted = (
                np.array([places[label] for label in shaped[name].ravel()]).reshape(seeds, -1)
                for name in ("label", "predicted")
            )
        numbers = None
        if names:
            either = [np.stack([shaped[pair[i]] for pair in names], -1) for i in (0, 1)]
            numbers = either[0][0], either[1]
        if any((shaped[name] != shaped[name][0]).any() for name in ("key", "dialogue", "label")):
            raise ValueError("its seeds have different rows")
    except (KeyError, ValueError) as error:
        raise run.damaged(name, error) from error
    key, dialogue = shaped["key"][0], shaped["dialogue"][0]
    speaker = None
    if rule and parse_rule(rule)[0] == "speaker":
        speaker = np.unique(same_name(found["speaker"][rows[: len(key)]]), return_inverse=True)[1]
    return Outcomes(
        str(run.path),
        split,
        corpus,
        labels,
        key,
        dialogue,
        truth[0],
        predicted,
        speaker,
        rule,
        task,
        numbers,
        known[rows[: len(key)]] if names and labels else None,
    )


def compare(first: Outcomes, second: Outcomes, metric: str) -> Paired:
    """The paired permutation test (Noreen 1989) and the interval of the difference.

    The statistic is the mean over the first's seeds minus the mean over the second's. Where a
    dialogue is swapped, all seeds swap it, each with a seed of the other run. For runs of S and T
    seeds, each run's seeds are laid side by side along [0, 1], and two that overlap are a pair,
    weighted by the overlap: 2 seeds and 3 seeds make the pairs 1-1, 1-2, 2-2, 2-3 with weights
    1/3, 1/6, 1/6, 1/3. So every seed of a run has the same weight, and the statistic without a
    swap is the difference itself. p is (1 + as extreme) / (1 + permutations).

    Where one of the runs holds out speakers, these are resampled and swapped, not dialogues.

    The trained seeds are taken as given: the test is about other dialogues, not other seeds.

    Raises:
        ErcError: an unknown metric.
        RunError: corpora, rows or truth differ.
    """
    choose("metric", metric, {*SCORES, *SET_SCORES, "ccc"})
    _must_agree(first, second)
    first, second = first.scored_by(metric), second.scored_by(metric)
    # As their intervals: by speakers where one of the two holds those out.
    speakers = [each.speaker for each in (first, second) if each.speaker is not None]
    dialogues = Dialogues((*speakers, first.dialogue)[0])
    tables = [each.sums(metric, dialogues) for each in (first, second)]
    difference, drawn, without = (
        one.score(metric).mean(0) - other.score(metric).mean(0)
        for one, other in (
            [table.each(lambda part: part.sum(0)) for table in tables],
            [weighted(resamples(dialogues.count), table) for table in tables],
            [left_out(table) for table in tables],
        )
    )
    low, high = interval(float(difference), drawn, without[~np.isnan(without)])
    p = permutation_p(tables[0], tables[1], metric)
    return Paired(metric, float(difference), low, high, p)


def holm(p: Sequence[float]) -> tuple[float, ...]:
    """p-values adjusted for multiple comparisons (Holm 1979), in the order given."""
    order = np.argsort(p, kind="stable")
    steps = np.arange(len(p), 0, -1) * np.asarray(p, dtype=float)[order]
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return tuple(float(value) for value in adjusted)


def permutation_p(
    first: Sums, second: Sums, metric: str, permutations: int = PERMUTATIONS
) -> float:
    """p of the test that :func:`compare` describes, of each dialogue's counts (D, S, C)."""
    dialogues = len(getattr(first, first.OWN[0]))
    kept = np.zeros((1, dialogues), np.float32)
    difference = abs(permuted(first, second, metric, kept)[0])
    swapped = np.abs(permuted(first, second, metric, _flips(dialogues, permutations)))
    # The same counts may add up to a value that differs in the last digits.
    return float((1 + (swapped >= difference - 1e-9).sum()) / (1 + permutations))


def permuted(first: Sums, second: Sums, metric: str, flips: np.ndarray | Draws) -> np.ndarray:
    """The statistic with some dialogues swapped: flips (P, D) float32 of 0 and 1 -> (P,)."""
    own = [(getattr(first, name), getattr(second, name)) for name in first.OWN]
    one, other, weight = _pairs(own[0][0].shape[1], own[0][1].shape[1])
    pairs = [(a[:, one], b[:, other]) for a, b in own]  # (D, K, C) each
    # What swapping dialogues adds to the first and takes from the second: (K, P, C).
    moved = totals(flips, *(theirs - mine for mine, theirs in pairs), kind=first.KIND)
    sides = [
        (mine.sum(0)[:, None] + change, theirs.sum(0)[:, None] - change)
        for (mine, theirs), change in zip(pairs, moved, strict=True)
    ]
    # The truth is the same on both sides, whatever is swapped.
    truth = {name: getattr(first, name).sum(0)[:, None] for name in first.SHARED}
    mine, theirs = (
        replace(first, **truth, **dict(zip(first.OWN, side, strict=True))).score(metric)
        for side in zip(*sides, strict=True)
    )
    return weight @ (mine - theirs)


def _pairs(first: int, second: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(seed of the first, seed of the second, weight) of each pair that swaps, up to S + T - 1."""
    ends = np.union1d(np.arange(first) * second, np.arange(second) * first)
    weight = np.diff(ends, append=first * second) / (first * second)
    return ends // second, ends // first, weight


@lru_cache(maxsize=4)
def _flips(dialogues: int, count: int) -> np.ndarray | Draws:
    """Which dialogues each permutation swaps, at even odds: (P, D), always the same."""

    def make(random: np.random.Generator, rows: int) -> np.ndarray:
        return random.integers(0, 2, (rows, dialogues)).astype(np.float32)

    return Draws(count, dialogues, make).kept()


def _must_agree(first: Outcomes, second: Outcomes) -> None:
    """Raises RunError unless the two predicted the same rows of the same corpus."""
    both = f"{first.name} and {second.name}"
    if first.corpus != second.corpus:
        lines = (
            f"{o.name}: {o.corpus[0]}, fingerprint {o.corpus[1][:12]}" for o in (first, second)
        )
        raise RunError(
            f"Two runs of different corpora can't be compared:{listed(lines)}\n"
            "Train both on the same feature files."
        )
    if (first.labels, first.split, first.task) != (second.labels, second.split, second.task):
        raise RunError(f"{both} have different labels, targets or splits, and can't be compared.")
    if bool(first.folds) != bool(second.folds):
        over, fixed = (first, second) if first.folds else (second, first)
        raise RunError(
            f"{over.name} is over folds (--folds {over.folds}) and {fixed.name} over the corpus's "
            f"splits: their {first.split} rows are others, and their models learned from others, "
            "so they can't be compared in pairs. Train one of them like the other."
        )
    apart = sorted({*first.key.tolist()} ^ {*second.key.tolist()})
    if apart:
        raise RunError(
            f"{both} predicted different {first.split} rows:{listed(apart, 5)}\n"
            "Train one of them again with --overwrite."
        )
    apart = (first.truth != second.truth).reshape(len(first.key), -1).any(-1)
    if first.known is not None and second.known is not None:
        apart |= first.known != second.known
    if first.numbers and second.numbers:
        apart |= ~np.isclose(first.numbers[0], second.numbers[0], 0, 0, equal_nan=True).all(-1)
    wrong = apart | (first.dialogue != second.dialogue)
    if wrong.any():
        raise RunError(
            f"{both} disagree on the truth of {first.split} rows:{listed(first.key[wrong], 5)}\n"
            "Train one of them again with --overwrite."
        )
