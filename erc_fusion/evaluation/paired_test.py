"""Is one run better than another? Both predicted the same rows, so they are compared in pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from erc_features.errors import RunError, choose, listed
from erc_fusion.evaluation.bootstrap import (
    Dialogues,
    Marginals,
    interval,
    left_out,
    resamples,
    totals,
    weighted,
)
from erc_fusion.evaluation.metrics import SCORES
from erc_fusion.inputs.folds import dialogue_numbers, parse_rule, same_name
from erc_fusion.runs.predictions import PREDICTIONS
from erc_fusion.runs.run import Run

PERMUTATIONS = 10_000


@dataclass(frozen=True)
class Paired:
    """The difference of one run from another.

    Attributes:
        metric: accuracy, weighted_f1, macro_f1 or uar.
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
        truth: (n,) a place in `labels`.
        predicted: (S, n) a place in `labels`.
        speaker: (n,) int, of a run over folds of speakers, whose rows are resampled by these; else
            None.
        folds: its rule of folds; "" of a run over the corpus's splits.
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
        rows = np.flatnonzero((found["split"] == split) & np.isin(found["label"], labels))
        rows = rows[np.lexsort((found["key"][rows], found["seed"][rows]))]
        seeds = len(np.unique(found["seed"][rows]))
        columns = {n: found[n][rows] for n in ("key", "dialogue", "label", "predicted")}
        if rule:  # its rows are of all splits, and each split counts its dialogues from 0
            split_of = [key.partition("/")[0] for key in columns["key"].tolist()]
            columns["dialogue"] = dialogue_numbers(split_of, columns["dialogue"])
        if not seeds:
            raise RunError(
                f"{run.path / name} has no labelled {split} row, so runs can't be compared on it."
            )
        shaped = {name: column.reshape(seeds, -1) for name, column in columns.items()}
        places = {label: place for place, label in enumerate(labels)}
        truth, predicted = (
            np.array([places[label] for label in shaped[name].ravel()]).reshape(seeds, -1)
            for name in ("label", "predicted")
        )
        if any((shaped[name] != shaped[name][0]).any() for name in ("key", "dialogue", "label")):
            raise ValueError("its seeds have different rows")
    except (KeyError, ValueError) as error:
        raise run.damaged(name, error) from error
    key, dialogue = shaped["key"][0], shaped["dialogue"][0]
    speaker = None
    if rule and parse_rule(rule)[0] == "speaker":
        speaker = np.unique(same_name(found["speaker"][rows[: len(key)]]), return_inverse=True)[1]
    return Outcomes(
        str(run.path), split, corpus, labels, key, dialogue, truth[0], predicted, speaker, rule
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
    choose("metric", metric, SCORES)
    _must_agree(first, second)
    # As their intervals: by speakers where one of the two holds those out.
    speakers = [each.speaker for each in (first, second) if each.speaker is not None]
    dialogues, classes = Dialogues((*speakers, first.dialogue)[0]), len(first.labels)
    tables = [dialogues.marginals(each.truth, each.predicted, classes) for each in (first, second)]
    difference, drawn, without = (
        one.score(metric).mean(0) - other.score(metric).mean(0)
        for one, other in (
            [table.each(lambda part: part.sum(0)) for table in tables],
            [weighted(resamples(dialogues.count), table) for table in tables],
            [left_out(table) for table in tables],
        )
    )
    low, high = interval(float(difference), drawn, without)
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
    first: Marginals, second: Marginals, metric: str, permutations: int = PERMUTATIONS
) -> float:
    """p of the test that :func:`compare` describes, of each dialogue's counts (D, S, C)."""
    kept = np.zeros((1, len(first.hits)), np.float32)
    difference = abs(permuted(first, second, metric, kept)[0])
    swapped = np.abs(permuted(first, second, metric, _flips(len(first.hits), permutations)))
    # The same counts may add up to a value that differs in the last digits.
    return float((1 + (swapped >= difference - 1e-9).sum()) / (1 + permutations))


def permuted(first: Marginals, second: Marginals, metric: str, flips: np.ndarray) -> np.ndarray:
    """The statistic with some dialogues swapped: flips (P, D) float32 of 0 and 1 -> (P,)."""
    one, other, weight = _pairs(first.hits.shape[1], second.hits.shape[1])
    truth = first.truth.sum(0)[:, None]
    sides = []
    for a, b in ((first.hits, second.hits), (first.predicted, second.predicted)):
        mine, theirs = a[:, one], b[:, other]  # (D, K, C)
        # What swapping dialogues adds to the first and takes from the second: (K, P, C).
        moved = totals(flips, theirs - mine)
        sides.append((mine.sum(0)[:, None] + moved, theirs.sum(0)[:, None] - moved))
    (hits, their_hits), (guessed, their_guessed) = sides
    mine = Marginals(hits, truth, guessed).score(metric)
    return weight @ (mine - Marginals(their_hits, truth, their_guessed).score(metric))


def _pairs(first: int, second: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(seed of the first, seed of the second, weight) of each pair that swaps, up to S + T - 1."""
    ends = np.union1d(np.arange(first) * second, np.arange(second) * first)
    weight = np.diff(ends, append=first * second) / (first * second)
    return ends // second, ends // first, weight


@lru_cache(maxsize=4)
def _flips(dialogues: int, count: int) -> np.ndarray:
    """Which dialogues each permutation swaps, at even odds: (P, D), always the same."""
    flips = np.random.default_rng(0).integers(0, 2, (count, dialogues)).astype(np.float32)
    flips.flags.writeable = False  # it is shared
    return flips


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
    if first.labels != second.labels or first.split != second.split:
        raise RunError(f"{both} have different labels or splits, and can't be compared.")
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
    wrong = (first.truth != second.truth) | (first.dialogue != second.dialogue)
    if wrong.any():
        raise RunError(
            f"{both} disagree on the truth of {first.split} rows:{listed(first.key[wrong], 5)}\n"
            "Train one of them again with --overwrite."
        )
