"""Scores, intervals and paired tests of a run of MELD's size, against plain loops.

    python benchmarks/bench_statistics.py            # about a minute

2,610 rows in 280 dialogues, 10 seeds, 7 classes; 10,000 resamples and permutations. Lines, in
turns, medians, in seconds of one core:

score          all of a split's scores with their intervals, reliability and unseen texts
bootstrap      10,000 resamples of accuracy, weighted and macro F1 of 10 seeds, and nothing else
numpy          the same by a loop over resamples: rows gathered, counted, scored
scikit-learn   the same, scored by accuracy_score and f1_score
paired         the test of two runs' weighted F1, and the interval of the difference
scipy          permutation_test of accuracy alone, from sums of dialogues, vectorised

The loops are timed over a few resamples and multiplied. `score` should take less than 2 s. The
last line printed is all of it as JSON.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from measure import in_turns, machine, markdown, write_section
from scipy import stats
from sklearn import metrics as sklearn

from erc_fusion.evaluation.bootstrap import RESAMPLES, Dialogues, resamples, weighted
from erc_fusion.evaluation.metrics import SCORES, Rows, confusions, score
from erc_fusion.evaluation.paired_test import Outcomes, _flips, compare

ROWS, DIALOGUES, SEEDS, CLASSES = 2610, 280, 10, 7
LABELS = tuple("abcdefg")
PLAIN, SKLEARN = 100, 3  # resamples that a loop is timed over


def make_rows(seed: int) -> Rows:
    """Rows with a skill like that of a head on MELD's text."""
    source = np.random.default_rng(0)
    truth = source.choice(CLASSES, ROWS, p=[0.48, 0.13, 0.11, 0.13, 0.08, 0.04, 0.03])
    more = source.integers(0, DIALOGUES, ROWS - DIALOGUES)
    dialogue = np.sort(np.concatenate([np.arange(DIALOGUES), more]))
    logits = np.random.default_rng(seed).normal(size=(SEEDS, ROWS, CLASSES))
    logits[:, np.arange(ROWS), truth] += 1.5
    probability = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return Rows(truth, probability.astype(np.float32), dialogue, source.random(ROWS) < 0.87)


def bootstrap(truth: np.ndarray, predicted: np.ndarray, dialogue: np.ndarray) -> None:
    units = Dialogues(dialogue)
    drawn = weighted(resamples(units.count), units.marginals(truth, predicted, CLASSES))
    for name in SCORES:
        drawn.score(name).mean(0)


def numpy_scores(truth: np.ndarray, predicted: np.ndarray) -> None:
    """One resample's scores of every seed, from confusion matrices."""
    counts = confusions(truth, predicted, CLASSES)
    hits, there = np.diagonal(counts, axis1=1, axis2=2), counts.sum(2)
    f1 = 2 * hits / np.maximum(there + counts.sum(1), 1)
    for values in (hits.sum(1) / there.sum(1), (f1 * there).sum(1) / there.sum(1), f1.mean(1)):
        values.mean()


def sklearn_scores(truth: np.ndarray, predicted: np.ndarray) -> None:
    for seed in predicted:
        sklearn.accuracy_score(truth, seed)
        for average in ("weighted", "macro"):
            sklearn.f1_score(truth, seed, average=average, zero_division=0)


def loop(
    scores: Callable[[np.ndarray, np.ndarray], None],
    truth: np.ndarray,
    predicted: np.ndarray,
    dialogue: np.ndarray,
    times: int,
) -> None:
    """A bootstrap of dialogues as one writes it first."""
    source = np.random.default_rng(0)
    rows = [np.flatnonzero(dialogue == name) for name in np.unique(dialogue)]
    for _ in range(times):
        picked = np.concatenate([rows[i] for i in source.integers(len(rows), size=len(rows))])
        scores(truth[picked], predicted[:, picked])


def seconds(work: Callable[[], object], times: float = 1.0) -> float:
    """Processor seconds of `work`, multiplied; no resamples are there from before."""
    resamples.cache_clear()
    _flips.cache_clear()
    began = time.process_time()
    work()
    return times * (time.process_time() - began)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="the table into RESULTS.md")
    chosen = parser.parse_args(arguments)
    where = machine()
    rows, others = make_rows(1), make_rows(2)
    truth, dialogue = rows.truth, rows.dialogue
    predicted, theirs = (each.probability.argmax(-1) for each in (rows, others))
    key = np.arange(ROWS)
    one = Outcomes("one", "test", ("c", "f"), LABELS, key, dialogue, truth, predicted)
    two = replace(one, predicted=theirs)
    sums = [np.bincount(dialogue, (p == truth).mean(0)) / ROWS for p in (predicted, theirs)]
    same = (truth, predicted, dialogue)
    lines: dict[str, Callable[[], float]] = {
        "score": lambda: seconds(lambda: score(rows, LABELS, 0)),
        "bootstrap": lambda: seconds(lambda: bootstrap(*same)),
        "numpy": lambda: seconds(lambda: loop(numpy_scores, *same, PLAIN), RESAMPLES / PLAIN),
        "sklearn": lambda: seconds(
            lambda: loop(sklearn_scores, *same, SKLEARN), RESAMPLES / SKLEARN
        ),
        "paired": lambda: seconds(lambda: compare(one, two, "weighted_f1")),
        "scipy": lambda: seconds(
            lambda: stats.permutation_test(
                sums, lambda x, y, axis: (x - y).sum(axis), permutation_type="samples",
                n_resamples=RESAMPLES, vectorized=True, rng=0,
            )
        ),
    }  # fmt: skip
    found = in_turns(lines, chosen.turns, lambda line: None)
    middle = {name: statistics.median(values) for name, values in found.items()}
    ratios = {name: middle[name] / middle["bootstrap"] for name in ("numpy", "sklearn")}
    body = markdown([
        ("score", "bootstrap", "loop, numpy", "loop, scikit-learn", "times numpy's",
         "times scikit-learn's", "paired", "scipy's permutations"),
        (*(f"{middle[n]:.2f} s" for n in ("score", "bootstrap")),
         *(f"{middle[n]:,.0f} s" for n in ("numpy", "sklearn")),
         *(f"{ratio:,.0f}" for ratio in ratios.values()),
         *(f"{middle[n]:.2f} s" for n in ("paired", "scipy"))),
    ])  # fmt: skip
    print(body)
    if chosen.write:
        write_section("bench_statistics.py", arguments, where, body)
    print(json.dumps({"machine": where, "seconds": middle, "turns": found, "faster": ratios}))


if __name__ == "__main__":
    main()
