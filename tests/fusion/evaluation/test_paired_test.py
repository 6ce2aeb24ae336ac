"""The paired test against scipy and a plain loop, what it refuses, and its error rates."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report_runs import write_run
from scipy import stats
from simulated import SHARES, draw
from sklearn.metrics import accuracy_score, f1_score

from erc_features.errors import ErcError, RunError
from erc_fusion.evaluation import paired_test as room
from erc_fusion.evaluation.bootstrap import Dialogues
from erc_fusion.evaluation.paired_test import (
    Outcomes,
    compare,
    holm,
    paired,
    permutation_p,
    permuted,
)
from erc_fusion.runs.run import Run

SCORERS = {
    "accuracy": accuracy_score,
    "weighted_f1": lambda t, p: f1_score(t, p, average="weighted", zero_division=0),
    "macro_f1": lambda t, p: f1_score(t, p, average="macro", labels=np.unique(t), zero_division=0),
}


def two(
    dialogues: int, seeds: tuple[int, int] = (2, 2), better: float = 0.0, at: int = 0
) -> tuple[Outcomes, Outcomes]:
    """Outcomes of two runs; the first is right in a share `better` of its mistakes too."""
    source = np.random.default_rng(at)
    drawn = draw(source, dialogues, seeds)
    helped = np.where(source.random(drawn.first.shape) < better, drawn.truth, drawn.first)
    key = np.array([f"test/d-0-seq-{i:05}" for i in range(len(drawn.truth))])
    one = Outcomes(
        "one", "test", ("c", "f"), tuple("abcdefg"), key, drawn.dialogue, drawn.truth, helped
    )
    return one, replace(one, name="other", predicted=drawn.second)


@pytest.mark.parametrize(("at", "better"), [(1, 0.0), (2, 0.2), (3, 0.5)])
def test_accuracys_p_is_scipys(at: int, better: float) -> None:
    """Twelve dialogues: scipy takes all 4,096 ways to swap them."""
    one, other = two(12, (3, 2), better, at)
    sums = [
        np.bincount(o.dialogue, (o.predicted == o.truth).mean(0)) / len(o.truth)
        for o in (one, other)
    ]
    expected = stats.permutation_test(
        sums, lambda x, y, axis: (x - y).sum(axis), permutation_type="samples", vectorized=True
    )
    assert len(expected.null_distribution) == 4096
    found = compare(one, other, "accuracy")
    assert found.difference == pytest.approx(expected.statistic)
    spread = np.sqrt(expected.pvalue * (1 - expected.pvalue) / 10_000)
    assert found.p == pytest.approx(expected.pvalue, abs=4 * spread + 2e-4)
    assert found.low < found.difference < found.high


@pytest.mark.parametrize("metric", SCORERS)
@pytest.mark.parametrize("seeds", [(2, 2), (2, 3)])
def test_permutations_are_those_of_a_plain_loop(metric: str, seeds: tuple[int, int]) -> None:
    one, other = two(10, seeds, 0.1)
    score = SCORERS[metric]
    pairs = {(2, 2): [(0, 0, 1 / 2), (1, 1, 1 / 2)],
             (2, 3): [(0, 0, 1 / 3), (0, 1, 1 / 6), (1, 1, 1 / 6), (1, 2, 1 / 3)]}  # fmt: skip
    means = [np.mean([score(o.truth, p) for p in o.predicted]) for o in (one, other)]
    found = compare(one, other, metric)
    assert found.difference == pytest.approx(means[0] - means[1])
    tables = [Dialogues(o.dialogue).marginals(o.truth, o.predicted, 7) for o in (one, other)]
    flips = np.random.default_rng(1).integers(0, 2, (12, 10)).astype(np.float32)
    fast = permuted(tables[0], tables[1], metric, flips)
    for swap, statistic in zip(flips, fast, strict=True):
        swapped = swap.astype(bool)[one.dialogue]
        slow = 0.0
        for i, j, weight in pairs[seeds]:
            mine, theirs = one.predicted[i], other.predicted[j]
            slow += weight * (
                score(one.truth, np.where(swapped, theirs, mine))
                - score(one.truth, np.where(swapped, mine, theirs))
            )
        assert statistic == pytest.approx(slow)


def test_every_seed_weighs_the_same() -> None:
    for first, second in ((1, 1), (1, 5), (3, 5), (4, 6), (10, 10)):
        one, other, weight = room._pairs(first, second)
        assert np.bincount(one, weight) == pytest.approx(np.full(first, 1 / first))
        assert np.bincount(other, weight) == pytest.approx(np.full(second, 1 / second))
        assert len(one) < first + second
    assert len(room._pairs(10, 10)[0]) == 10  # a seed with a seed


def test_equal_and_better_runs() -> None:
    one, other = two(100, (3, 3), 0.3)
    same = compare(one, one, "weighted_f1")
    assert (same.difference, same.low, same.high, same.p) == (0, 0, 0, 1)
    better = compare(one, other, "weighted_f1")
    assert better.p == 1 / 10_001 and 0 < better.low < better.difference < better.high
    worse = compare(other, one, "weighted_f1")
    assert worse.p == better.p and worse.difference == -better.difference
    assert worse.low == pytest.approx(-better.high, abs=2e-4)
    assert compare(one, other, "weighted_f1") == better
    swapped_once = compare(*two(1), "accuracy")
    assert swapped_once.p == 1  # one dialogue says nothing


def test_runs_are_read_and_joined_by_key(tmp_path: Path) -> None:
    strong = write_run(tmp_path, "strong", skill=0.7)
    weak = write_run(tmp_path, "weak", skill=0.3, seeds=(4, 5))
    frame = pd.read_parquet(weak.path / "predictions.parquet")
    frame.sample(frac=1, random_state=0).to_parquet(weak.path / "predictions.parquet")
    for metric in SCORERS:
        found = paired(strong, weak, metric)
        assert found.metric == metric and found.p < 0.01 and found.low > 0
        means = [run.metrics["test"][metric]["mean"] for run in (strong, weak)]
        if metric != "macro_f1":  # there scikit-learn's default counts classes only guessed, too
            assert found.difference == pytest.approx(means[0] - means[1])
    assert paired(strong, weak, "accuracy", "dev") != paired(strong, weak, "accuracy")
    with pytest.raises(ErcError, match="Unknown metric 'f1'; choose from accuracy, ccc, macro_f1"):
        paired(strong, weak, "f1")


def altered(run: Run, name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Run:
    """A copy of the run beside it, with other predictions."""
    copy = Run(shutil.copytree(run.path, run.path.parent / name))
    change(run.predictions()).to_parquet(copy.path / "predictions.parquet")
    return copy


def test_refusals(tmp_path: Path) -> None:
    one = write_run(tmp_path, "one")
    for other in (
        write_run(tmp_path, "elsewhere", corpus="iemocap"),
        write_run(tmp_path, "older", fingerprint="00" * 32),
    ):
        with pytest.raises(RunError, match="(?s)different corpora can't be compared.*meld, finger"):
            paired(one, other, "accuracy")
    fewer = altered(one, "fewer", lambda f: f[f.key != "test/d-3-seq-2"])
    with pytest.raises(RunError, match=r"one and .*fewer predicted different test rows:\n.*d-3-se"):
        paired(one, fewer, "accuracy")
    relabelled = altered(
        one,
        "relabelled",
        lambda f: f.assign(label=f.label.where(f.key != "test/d-3-seq-2", "fear")),
    )
    with pytest.raises(RunError, match=r"disagree on the truth of test rows:\n  test/d-3-seq-2"):
        paired(one, relabelled, "accuracy")
    uneven = altered(one, "uneven", lambda f: f.iloc[:-1])
    with pytest.raises(RunError, match="predictions.parquet is damaged"):
        paired(uneven, one, "accuracy")
    odd = altered(one, "odd", lambda f: f.drop(columns="seed"))
    with pytest.raises(RunError, match="is damaged.*seed.*--overwrite"):
        paired(one, odd, "accuracy")
    blank = write_run(tmp_path, "blank", without=("test",))
    with pytest.raises(RunError, match="no labelled test row"):
        paired(one, blank, "accuracy")
    turned = altered(one, "turned", lambda f: f)
    labels = [*one.inputs["labels"][::-1]]
    (turned.path / "inputs.json").write_text(json.dumps(one.inputs | {"labels": labels}))
    with pytest.raises(RunError, match="different labels"):
        paired(one, Run(turned.path), "accuracy")


def test_holm_by_definition() -> None:
    """The i-th smallest of m is rejected where it, and all below, are at most level/(m+1-i)."""
    p = [0.04, 0.01, 0.9, 0.01, 0.03]
    found = holm(p)
    assert found == pytest.approx((0.09, 0.05, 0.9, 0.05, 0.09))
    for level in (0.02, 0.0501, 0.08, 0.0901, 0.95):
        rejected, alive = set(), True
        for i, place in enumerate(sorted(range(5), key=lambda k: p[k])):
            alive = alive and p[place] <= level / (5 - i)
            rejected |= {place} if alive else set()
        assert {k for k in range(5) if found[k] <= level} == rejected
    assert holm([]) == () and holm([0.2]) == (0.2,) and holm([0.8, 0.7]) == (1, 1)


@pytest.mark.soak
@pytest.mark.parametrize(
    ("dialogues", "seeds", "metric"),
    [(280, (3, 3), "weighted_f1"), (280, (2, 5), "accuracy"), (60, (2, 2), "macro_f1")],
)  # fmt: skip
def test_false_positives_when_nothing_differs(
    dialogues: int, seeds: tuple[int, int], metric: str
) -> None:
    """3,000 pairs of runs of one skill: at 0.05, one in twenty is called different."""
    source = np.random.default_rng(len(metric) + dialogues)
    pairs, positive = 3000, 0
    for _ in range(pairs):
        drawn = draw(source, dialogues, seeds)
        units = Dialogues(drawn.dialogue)
        one, other = (
            units.marginals(drawn.truth, predicted, len(SHARES))
            for predicted in (drawn.first, drawn.second)
        )
        positive += permutation_p(one, other, metric, 999) <= 0.05
    assert 0.04 <= positive / pairs <= 0.06
