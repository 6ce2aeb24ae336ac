"""Scores against scikit-learn, and the bootstrap against a plain loop."""

import time

import numpy as np
import pytest
from sklearn import metrics as sklearn

from erc_fusion import metrics
from erc_fusion.metrics import Rows, calibration_sums, confusions, score

LABELS = ("a", "b", "c", "d")


def make_rows(seeds: int = 3, rows: int = 240, classes: int = 4, dialogues: int = 30) -> Rows:
    source = np.random.default_rng(4)
    truth = source.choice(classes, rows, p=source.dirichlet(np.ones(classes)))
    truth[truth == 3] = 0  # the last class has no support
    logits = source.normal(size=(seeds, rows, classes)) + 1.5 * np.eye(classes)[truth]
    probability = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    truth[::17] = -1
    unseen = source.random(rows) < 0.7
    dialogue = np.sort(source.integers(0, dialogues, rows))
    prototype = source.integers(0, classes, (seeds, rows))
    return Rows(truth, probability.astype(np.float32), dialogue, unseen, prototype)


def test_points_are_scikit_learns() -> None:
    rows = make_rows()
    found = score(rows, LABELS, majority=1)
    assert found is not None
    known = rows.truth >= 0
    truth = rows.truth[known]
    predicted = rows.probability.argmax(-1)[:, known]
    supported = [0, 1, 2]
    for s in range(3):
        expected = {
            "accuracy": sklearn.accuracy_score(truth, predicted[s]),
            "weighted_f1": sklearn.f1_score(truth, predicted[s], average="weighted"),
            "macro_f1": sklearn.f1_score(truth, predicted[s], average="macro", labels=supported),
        }
        for name, value in expected.items():
            assert found[name]["seeds"][s] == pytest.approx(value)
    assert found["accuracy"]["mean"] == pytest.approx(np.mean(found["accuracy"]["seeds"]))
    assert found["accuracy"]["std"] == pytest.approx(np.std(found["accuracy"]["seeds"], ddof=1))
    table = [
        sklearn.precision_recall_fscore_support(truth, p, labels=range(4), zero_division=0)
        for p in predicted
    ]
    for c, row in enumerate(found["per_class"]):
        assert row["label"] == LABELS[c]
        for i, name in enumerate(("precision", "recall", "f1", "support")):
            assert row[name] == pytest.approx(np.mean([t[i][c] for t in table]))
    matrices = [sklearn.confusion_matrix(truth, p, labels=range(4)) for p in predicted]
    np.testing.assert_allclose(found["confusion"], np.mean(matrices, axis=0))
    always = np.full_like(truth, 1)
    assert found["majority"]["label"] == "b"
    assert found["majority"]["weighted_f1"] == pytest.approx(
        sklearn.f1_score(truth, always, average="weighted", zero_division=0)
    )
    together = rows.probability.mean(0).argmax(-1)[known]
    assert found["ensemble"]["accuracy"] == pytest.approx((together == truth).mean())
    part = rows.unseen[known]
    assert found["unseen_text"]["rows"] == part.sum()
    assert found["unseen_text"]["weighted_f1"]["seeds"][1] == pytest.approx(
        sklearn.f1_score(truth[part], predicted[1][part], average="weighted")
    )
    assert rows.prototype is not None
    assert found["prototype"]["accuracy"]["seeds"][2] == pytest.approx(
        (rows.prototype[2][known] == truth).mean()
    )
    assert (found["rows"], found["labelled"]) == (240, known.sum())


def test_calibration_error_by_hand() -> None:
    truth = np.array([0, 1, -1, 1])
    probability = np.array([[[0.95, 0.05], [0.92, 0.08], [0.5, 0.5], [0.3, 0.7]]], np.float32)
    found = np.abs(calibration_sums(truth, probability).sum(1)).sum(-1) / 3
    # 0.95 falls into the last bin, 0.92 into the one before it, 0.7 by itself.
    assert found == pytest.approx((0.05 + 0.92 + 0.3) / 3, abs=1e-6)


def test_intervals_are_those_of_a_plain_loop() -> None:
    rows = make_rows()
    found = score(rows, LABELS, majority=0)
    assert found is not None
    known = rows.truth >= 0
    truth, dialogue = rows.truth[known], rows.dialogue[known]
    predicted = rows.probability.argmax(-1)[:, known]
    names = np.unique(dialogue)
    weights = metrics._Bootstrap(dialogue).weights[:400].astype(int)
    rng_free = {"accuracy": [], "weighted_f1": [], "macro_f1": []}
    by_dialogue = [np.flatnonzero(dialogue == name) for name in names]
    for draw in weights:
        picked = np.concatenate([np.tile(r, n) for r, n in zip(by_dialogue, draw, strict=True)])
        counts = confusions(truth[picked], predicted[:, picked], 4)
        rng_free["accuracy"].append(metrics.accuracy(counts).mean())
        rng_free["weighted_f1"].append(metrics.weighted_f1(counts).mean())
        rng_free["macro_f1"].append(metrics.f1(counts)[:, :3].mean())
    resampled = metrics._Bootstrap(dialogue).confusions(truth, predicted, 4)
    for name, values in rng_free.items():
        np.testing.assert_allclose(resampled.score(name).mean(0)[:400], values, atol=1e-5)
        assert found[name]["low"] < found[name]["mean"] < found[name]["high"]
    gaps = calibration_sums(rows.truth, rows.probability)[:, known]
    draw = np.concatenate([np.tile(r, n) for r, n in zip(by_dialogue, weights[0], strict=True)])
    expected = np.abs(gaps[:, draw].sum(1)).sum(-1) / len(draw)
    errors = metrics._Bootstrap(dialogue).ece(gaps)
    np.testing.assert_allclose(errors[:, 0], expected, atol=1e-5)


def test_dialogues_not_rows_are_resampled() -> None:
    """With equal rows inside each dialogue, the interval is as wide as dialogues make it."""
    right = np.repeat(np.arange(20) % 2, 50)
    truth = np.zeros(1000, int)
    probability = np.stack([right, 1 - right], axis=-1)[None].astype(np.float32)
    rows = Rows(truth, probability, np.repeat(np.arange(20), 50), np.ones(1000, bool))
    found = score(rows, ("a", "b"), 0)
    assert found is not None
    width = found["accuracy"]["high"] - found["accuracy"]["low"]
    assert width == pytest.approx(2 * 1.96 * 0.5 / 20**0.5, rel=0.15)


def test_odd_splits() -> None:
    rows = make_rows()
    blank = Rows(np.full(240, -1), rows.probability, rows.dialogue, rows.unseen)
    assert score(blank, LABELS, 0) is None
    one = score(
        Rows(rows.truth, rows.probability[:1], rows.dialogue, rows.unseen & False), LABELS, 0
    )
    assert one is not None
    assert one["accuracy"]["std"] == 0 and one["unseen_text"] is None and one["prototype"] is None
    never = np.zeros_like(rows.probability)
    never[..., 0] = 1
    found = score(Rows(rows.truth, never, rows.dialogue, rows.unseen), LABELS, 0)
    assert found is not None and found["collapsed"] == ["b", "c"]  # d has no support
    assert score(rows, LABELS, 0) == score(rows, LABELS, 0)


def test_ten_seeds_of_melds_test_split_in_two_seconds() -> None:
    rows = make_rows(seeds=10, rows=2610, classes=7, dialogues=280)
    began = time.process_time()
    score(rows, tuple("abcdefg"), 0)
    assert time.process_time() - began < 4  # about 1 s on one idle core


def test_resamples_without_a_row_do_not_count_as_zero() -> None:
    """All unseen texts in one of six dialogues: most resamples lack them, none scores 0."""
    truth = np.zeros(12, int)
    probability = np.tile(np.array([0.9, 0.1], np.float32), (1, 12, 1))
    dialogue = np.repeat(np.arange(6), 2)
    found = score(Rows(truth, probability, dialogue, dialogue == 0), ("a", "b"), 0)
    assert found is not None
    assert found["unseen_text"]["accuracy"]["low"] == 1.0
