"""Scores of numbers and of sets of labels, against scipy and scikit-learn."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from erc_features.errors import RunError
from erc_fusion.evaluation import label_sets, paired_test
from erc_fusion.evaluation.bootstrap import Dialogues, resamples
from erc_fusion.evaluation.label_sets import (
    average_precision,
    label_scores,
    set_scores,
    thresholds,
)
from erc_fusion.evaluation.numbers import NAMES, concordance, moments, number_scores
from erc_fusion.evaluation.paired_test import Outcomes, compare
from erc_fusion.inputs.targets import Task
from erc_fusion.runs.scores import number


def lins(truth, predicted):
    """Lin's CCC as its paper writes it."""
    both = np.mean((truth - truth.mean()) * (predicted - predicted.mean()))
    apart = (truth.mean() - predicted.mean()) ** 2
    return 2 * both / (truth.var() + predicted.var() + apart)


def numbers_of(seed, rows=200, seeds=3, shift=0.0):
    random = np.random.default_rng(seed)
    truth = random.normal(size=(rows, 2)) * [1, 30] + [3 + shift, -200]
    predicted = (
        shift + (truth - shift)[None] * 0.7 + random.normal(size=(seeds, rows, 2)) * [0.5, 10] + 1
    )
    return truth, predicted, np.repeat(np.arange(rows // 5), 5)


@pytest.mark.parametrize("shift", [0.0, 1e6])
def test_numbers_equal_scipy_and_scikit_learn(shift):
    truth, predicted, dialogue = numbers_of(0, shift=shift)
    means = np.array([truth[:, 0].mean() + 0.5, -190.0])
    found = number_scores(("valence", "arousal"), dialogue, truth, predicted, means)
    for t, name in enumerate(("valence", "arousal")):
        own, x = found["numbers"][name], truth[:, t]
        want = {
            "ccc": [lins(x, y) for y in predicted[..., t]],
            "pearson": [stats.pearsonr(x, y).statistic for y in predicted[..., t]],
            "mae": [metrics.mean_absolute_error(x, y) for y in predicted[..., t]],
            "rmse": [metrics.root_mean_squared_error(x, y) for y in predicted[..., t]],
        }
        for score, values in want.items():
            assert own[score]["seeds"] == pytest.approx(values, rel=1e-6), score
            assert own[score]["low"] < own[score]["mean"] < own[score]["high"]
        together = predicted[..., t].mean(0)
        assert own["ensemble"]["ccc"] == pytest.approx(lins(x, together), rel=1e-6)
        constant = np.full(len(x), means[t])
        floor = own["mean_of_train"]
        assert floor["mae"] == pytest.approx(metrics.mean_absolute_error(x, constant), rel=1e-6)
        assert floor["ccc"] == 0 == floor["pearson"]
    both = [found["numbers"][name]["ccc"]["mean"] for name in ("valence", "arousal")]
    assert found["ccc"]["mean"] == pytest.approx(np.mean(both))
    assert "mae" not in found  # of two units


def test_intervals_of_numbers_are_those_of_resampled_rows():
    """The moments of resampled dialogues give what their rows, written out, give."""
    truth, predicted, dialogue = numbers_of(1, rows=60)
    table = moments(Dialogues(dialogue), truth, predicted)
    weights = resamples(12)[:5]
    drawn = table.each(lambda part: np.einsum("rd,dsk->srk", weights, part))
    for r, times in enumerate(weights.astype(int)):
        rows = np.repeat(np.arange(60), times[dialogue])
        want = [[lins(truth[rows, t], own[rows, t]) for t in (0, 1)] for own in predicted]
        np.testing.assert_allclose(drawn.score("ccc")[:, r], np.mean(want, -1), rtol=1e-6)


def test_numbers_that_are_not_known_are_left_out():
    truth, predicted, dialogue = numbers_of(2)
    truth[::3, 0] = np.nan
    found = number_scores(("v", "a"), dialogue, truth, predicted, np.zeros(2))
    rows = ~np.isnan(truth[:, 0])
    assert found["numbers"]["v"]["rows"] == rows.sum()
    want = [lins(truth[rows, 0], own[rows, 0]) for own in predicted]
    assert found["numbers"]["v"]["ccc"]["seeds"] == pytest.approx(want, rel=1e-6)
    truth[:, 0] = np.nan
    alone = number_scores(("v", "a"), dialogue, truth, predicted, np.zeros(2))
    assert list(alone["numbers"]) == ["a"] and set(NAMES) < {*alone}
    truth[:] = np.nan
    assert number_scores(("v", "a"), dialogue, truth, predicted, np.zeros(2)) == {}


@pytest.mark.parametrize("of", ["truth", "predicted"])
def test_constants_have_no_correlation(of):
    truth, predicted, dialogue = numbers_of(3)
    (truth if of == "truth" else predicted)[:] = 2.5
    found = number_scores(("v", "a"), dialogue, truth, predicted, np.zeros(2))
    assert found["ccc"]["seeds"] == [0, 0, 0] == found["pearson"]["seeds"]
    assert concordance(truth, predicted) == pytest.approx([0, 0, 0])
    assert concordance(np.full_like(truth, 2.5), np.full_like(predicted, 2.5)).tolist() == [0, 0, 0]


def sets_of(seed, rows=150, seeds=3, labels=4):
    random = np.random.default_rng(seed)
    truth = random.random((rows, labels)) < [0.5, 0.3, 0.1, 0.02]
    noise = random.normal(size=(seeds, rows, labels))
    probability = 1 / (1 + np.exp(-(2 * truth - 1 + noise))).astype(np.float32)
    return truth, probability.round(2).astype(np.float32), np.repeat(np.arange(rows // 5), 5)


def test_sets_equal_scikit_learn():
    truth, probability, dialogue = sets_of(0)
    truth[:7], probability[:, :7] = False, 0.01  # rightly empty sets
    limits = np.random.default_rng(1).uniform(0.3, 0.7, (3, 1, 4)).astype(np.float32)
    threshold = np.broadcast_to(limits, probability.shape)
    names = ("a", "b", "c", "d")
    found = label_scores(names, dialogue, truth.astype(float), probability, threshold)
    chosen = probability >= threshold
    for average in ("micro", "macro", "samples"):
        score = f"{average}_f1"
        nothing = 1.0 if average == "samples" else 0.0
        want = [
            metrics.f1_score(truth, own, average=average, zero_division=nothing) for own in chosen
        ]
        assert found[score]["seeds"] == pytest.approx(want), score
        assert found[score]["low"] < found[score]["mean"] < found[score]["high"]
    want = [metrics.average_precision_score(truth, own, average="macro") for own in probability]
    assert found["map"]["seeds"] == pytest.approx(want)
    assert found["map"]["low"] < found["map"]["mean"] < found["map"]["high"]
    for k, own in enumerate(found["labels"]):
        f1 = [metrics.f1_score(truth[:, k], c[:, k], zero_division=0) for c in chosen]
        assert own["f1"] == pytest.approx(np.mean(f1)) and own["support"] == truth[:, k].sum()
        assert own["f1_std"] == pytest.approx(np.std(f1, ddof=1))
    mean = probability.mean(0, dtype=np.float64)
    together = metrics.f1_score(truth, mean >= threshold.mean(0), average="micro")
    assert found["ensemble"]["micro_f1"] == pytest.approx(together)
    assert found["ensemble"]["map"] == pytest.approx(
        metrics.average_precision_score(truth, mean, average="macro"), abs=1e-6
    )


def test_weighted_average_precision_is_scikit_learns():
    truth, probability, _ = sets_of(2)  # rounded to two digits, so with ties
    weight = np.random.default_rng(0).integers(0, 4, (6, len(truth))).astype(float)
    found = average_precision(truth[:, 0], probability[0, :, 0], weight)
    want = [
        metrics.average_precision_score(truth[:, 0], probability[0, :, 0], sample_weight=w)
        for w in weight
    ]
    np.testing.assert_allclose(found, want)


def test_thresholds_have_the_highest_f1_there_is():
    truth, probability, _ = sets_of(3)
    found = thresholds(truth.astype(float), probability)
    for s in range(2):
        for k in (0, 3):
            reached = metrics.f1_score(truth[:, k], probability[s, :, k] >= found[s, k])
            cuts = np.unique(probability[s, :, k])
            best = max(metrics.f1_score(truth[:, k], probability[s, :, k] >= c) for c in cuts)
            assert reached == pytest.approx(best)
    known = truth.astype(float)
    known[:20] = np.nan
    np.testing.assert_array_equal(
        thresholds(known, probability), thresholds(known[20:], probability[:, 20:])
    )
    never = np.zeros_like(known)
    assert (thresholds(never, probability) == 0.5).all()


def test_unknown_sets_are_left_out():
    truth, probability, dialogue = sets_of(4)
    known = truth.astype(float)
    known[:20] = np.nan
    half = np.full_like(probability, 0.5)
    found = label_scores("abcd", dialogue, known, probability, half)
    other = label_scores("abcd", dialogue[20:], known[20:], probability[:, 20:], half[:, 20:])
    assert found == other
    epoch = set_scores(known, probability)
    for name in ("micro_f1", "macro_f1", "map"):
        assert epoch[name] == pytest.approx(found[name]["seeds"])


@pytest.mark.parametrize("unit", [1e-9, 1e9])
def test_scores_do_not_depend_on_the_unit(unit):
    truth, predicted, dialogue = numbers_of(3)
    of, scaled = (
        number_scores(("a", "b"), dialogue, truth * u, predicted * u, truth.mean(0) * u)["numbers"]
        for u in (1, unit)
    )
    for name in ("a", "b"):
        for score in NAMES:
            times = unit if score in ("mae", "rmse") else 1
            for kind in ("mean", "low", "high"):
                assert scaled[name][score][kind] / times == pytest.approx(of[name][score][kind])
        assert of[name]["mae"]["low"] < of[name]["mae"]["mean"] < of[name]["mae"]["high"]


def test_each_row_may_have_a_mean_of_its_own():
    truth, predicted, dialogue = numbers_of(4)
    means = np.where(np.arange(len(truth))[:, None] < 80, [2.0, -190.0], [5.0, -210.0])
    found = number_scores(("a", "b"), dialogue, truth, predicted, means)["numbers"]
    for t, name in enumerate("ab"):
        error = np.abs(truth[:, t] - means[:, t]).mean()
        assert found[name]["mean_of_train"]["mae"] == pytest.approx(error)


def test_a_number_that_one_of_two_dialogues_has():
    truth, predicted, dialogue = numbers_of(7, rows=10)
    truth[5:, 1] = np.nan
    found = number_scores(("a", "b"), dialogue, truth, predicted, np.zeros(2))
    ccc = found["ccc"]
    assert ccc["low"] <= ccc["mean"] <= ccc["high"] and ccc["low"] < ccc["high"]
    one = outcomes_of(truth, predicted, dialogue)
    pair = compare(one, outcomes_of(truth, predicted * 0.9, dialogue), "ccc")
    assert pair.low <= pair.difference <= pair.high


def test_splits_without_any_label_score_0_as_their_f1():
    truth, probability, dialogue = sets_of(1)
    truth, threshold = np.zeros(truth.shape), np.full_like(probability, 0.6)
    assert set_scores(truth, probability)["map"].tolist() == [0, 0, 0]
    found = label_scores(tuple("abcd"), dialogue, truth, probability, threshold)
    assert found["map"]["mean"] == found["micro_f1"]["mean"] == found["map"]["high"] == 0
    assert [own["average_precision"] for own in found["labels"]] == [None] * 4
    empty = ~(probability >= threshold).any(-1)
    assert found["samples_f1"]["mean"] == pytest.approx(empty.mean())


def test_the_interval_of_map_is_the_same_in_pieces(monkeypatch):
    truth, probability, dialogue = sets_of(2)
    given = (tuple("abcd"), dialogue, truth, probability, np.full_like(probability, 0.5))
    whole = label_scores(*given)["map"]
    monkeypatch.setattr(label_sets, "_CELLS", 999)
    assert label_scores(*given)["map"] == whole


def outcomes_of(numbers, predicted, dialogue, **more):
    key = np.array([f"test/d-0-seq-{i:04}" for i in range(len(numbers))])
    nothing = np.full(len(numbers), -1)
    given = {"labels": (), "truth": nothing, "predicted": np.tile(nothing, (len(predicted), 1)),
             "task": Task("a,b", numbers=("a", "b"))}  # fmt: skip
    return Outcomes("run", "test", ("c", "f"), key=key, dialogue=dialogue,
                    numbers=(numbers, predicted), **(given | more))  # fmt: skip


def test_pairs_are_of_the_numbers_that_are_known_by_a_plain_loop(monkeypatch):
    monkeypatch.setattr(paired_test, "PERMUTATIONS", 400)
    monkeypatch.setattr(paired_test.permutation_p, "__defaults__", (400,))
    truth, first, dialogue = numbers_of(5, rows=80, seeds=2)
    truth[:, 1] = np.nan  # known of no row
    truth[75:] = np.nan  # a dialogue of which nothing is known
    second = first + np.random.default_rng(0).normal(size=first.shape) * 0.2
    found = compare(*(outcomes_of(truth, p, dialogue) for p in (first, second)), "ccc")
    x = truth[:75, 0]

    def difference(one, other):
        return np.mean([lins(x, y[:75, 0]) for y in one]) - np.mean(
            [lins(x, y[:75, 0]) for y in other]
        )

    own = difference(first, second)
    extreme = 1
    for flip in paired_test._flips(15, 400).astype(bool):
        swap = np.repeat([*flip, False], 5)[None, :, None]
        both = np.where(swap, second, first), np.where(swap, first, second)
        extreme += abs(difference(*both)) >= abs(own) - 1e-9
    assert found.difference == pytest.approx(own)
    assert found.p == pytest.approx(extreme / 401) and found.low < own < found.high


def test_pairs_by_a_score_are_of_the_rows_that_have_its_truth():
    truth, numbers, dialogue = numbers_of(6, rows=100, seeds=2)
    truth[:30] = np.nan
    known = np.arange(100) < 60
    label = np.where(known, np.arange(100) % 3, -1)
    random = np.random.default_rng(0)
    guesses = random.integers(0, 3, (2, 2, 100))
    task = Task("label,a,b", tuple("xyz"), numbers=("a", "b"))
    one, other = (
        replace(outcomes_of(truth, n, dialogue, labels=tuple("xyz"), truth=label, task=task,
                            known=known), predicted=guess)
        for n, guess in zip((numbers, numbers * 0.9), guesses, strict=True)
    )  # fmt: skip
    right = (guesses[:, :, :60] == label[:60]).mean((1, 2))
    assert compare(one, other, "accuracy").difference == pytest.approx(right[0] - right[1])
    concordant = [
        np.mean([lins(truth[30:, t], y[30:, t]) for y in n for t in (0, 1)])
        for n in (numbers, numbers * 0.9)
    ]
    expected = concordant[0] - concordant[1]
    assert compare(one, other, "ccc").difference == pytest.approx(expected)
    gone = outcomes_of(np.full_like(truth, np.nan), numbers, dialogue)
    with pytest.raises(RunError, match="no test row has what ccc needs"):
        compare(gone, gone, "ccc")


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [("accuracy", 0.594, "59.4"), ("ccc", 0.00012, "0.000"), ("mae", 0.0, "0.000"),
     ("mae", 0.354, "0.354"), ("mae", 3.539e8, "3.54e+08"), ("rmse", 4.2e-10, "4.2e-10")],
)  # fmt: skip
def test_errors_are_written_in_any_unit(name, value, text):
    assert number(name, value) == text


@pytest.mark.soak
def test_intervals_of_new_scores_hold_the_truth():
    """Of 1,000 simulated corpora of 60 dialogues, about 95% of the intervals hold the value of a
    corpus of 20,000 dialogues."""

    def corpus(random, dialogues):
        person = np.repeat(random.normal(size=(dialogues, 2)) * 0.5, 8, 0)
        truth = random.normal(size=(dialogues * 8, 2)) + person
        predicted = (0.6 * truth + 0.3 * person + random.normal(size=truth.shape) * 0.7)[None]
        labels = truth > [0.3, 0.8]
        sure = 1 / (1 + np.exp(-predicted))
        return np.repeat(np.arange(dialogues), 8), truth, predicted, labels.astype(float), sure

    def scores(parts):
        dialogue, truth, predicted, labels, sure = parts
        half = np.full_like(sure, 0.6)
        return number_scores("va", dialogue, truth, predicted, np.zeros(2)) | label_scores(
            "ab", dialogue, labels, sure, half
        )

    large = corpus(np.random.default_rng(99), 20_000)
    one = Dialogues(np.zeros(len(large[0]), int))
    whole = moments(one, large[1], large[2]).each(lambda part: part.sum(0))
    true = {name: float(whole.score(name)[0]) for name in ("ccc", "pearson")}
    chosen, labels = large[4][0] >= 0.6, large[3] > 0
    for name in ("micro", "macro", "samples"):
        true[f"{name}_f1"] = metrics.f1_score(labels, chosen, average=name, zero_division=1)
    true["map"] = metrics.average_precision_score(labels, large[4][0])
    held, count = dict.fromkeys(true, 0), 1000
    for seed in range(count):
        found = scores(corpus(np.random.default_rng(seed), 60))
        for name, value in true.items():
            held[name] += found[name]["low"] <= value <= found[name]["high"]
    for name, times in held.items():
        assert 0.93 <= times / count <= 0.97, (name, times / count)
