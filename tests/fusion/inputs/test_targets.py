"""What `--target` makes of columns, and losses that fit it."""

from dataclasses import replace

import numpy as np
import pytest

from erc_features.errors import ErcError
from erc_fusion.config.config import FuseConfig, with_options, without_place
from erc_fusion.inputs.sources import Source
from erc_fusion.inputs.standardise import fit_standardiser, from_tensors
from erc_fusion.inputs.table import FeatureTable
from erc_fusion.inputs.targets import Task, set_names, sets_of, settle, with_target

COLUMNS = {
    "valence": ["3.5", "", "1e0", "-2"],
    "arousal": ["1", "2", "3", "4"],
    "emotions": ["joy|surprise", "|", "", "joy"],
    "one": ["up", "down", "", "up"],
    "is_joy": ["1", "0", "1", ""],
    "is_sad": ["0", "0", "1", ""],
    "half": ["0", "0", "1", "1"],
    "mixed": ["1", "2", "high", "4"],
    "empty": ["", "", "", ""],
    "wild": ["1", "inf", "3", "4"],
}


@pytest.fixture
def table():
    texts = {name: np.array(cells, dtype=object) for name, cells in COLUMNS.items()}
    none = np.array(["", "", "", ""])
    source = Source(
        stem="text.x", path="x.h5", modality="text", encoder="x", revision="", config={},
        corpus="c", fingerprint="f", labels=("anger", "joy"), shape=(4, 1, 2), dtype="float32",
        rows={}, versions={}, probe=None,
    )  # fmt: skip
    return FeatureTable(
        sources=(source,), labels=("anger", "joy"), key=np.array([*"abcd"]),
        split=np.array(["train"] * 4), dialogue=np.zeros(4, np.int32),
        sequence=np.arange(4, dtype=np.int32), speaker=none, text=none,
        label=np.array([0, 1, -1, 1]), x={"text.x": np.ones((4, 1, 2), np.float32)},
        present=np.ones((4, 1), bool), more=texts,
    )  # fmt: skip


def test_the_label_is_the_table_itself(table):
    assert with_target(table, "label") is table
    assert table.task == Task(labels=("anger", "joy")) and table.task.classes
    assert table.labelled.tolist() == [True, True, False, True]


def test_numbers(table):
    found = with_target(table, "valence,arousal")
    assert found.task == Task("valence,arousal", numbers=("valence", "arousal"))
    np.testing.assert_array_equal(found.numbers, [[3.5, 1], [np.nan, 2], [1, 3], [-2, 4]])
    assert (found.label == -1).all() and found.labels == () and found.sets is None
    assert found.labelled.all()
    assert with_target(table, "valence").labelled.tolist() == [True, False, True, True]
    beside = with_target(table, "label,valence")
    assert beside.task == Task("label,valence", ("anger", "joy"), False, ("valence",))
    assert beside.label.tolist() == [0, 1, -1, 1]
    assert len({each.digest() for each in (table, found, beside)}) == 3


def test_sets(table):
    found = with_target(table, "emotions")
    assert found.task == Task("emotions", ("joy", "surprise"), True)
    np.testing.assert_array_equal(found.sets, [[1, 1], [0, 0], [np.nan, np.nan], [1, 0]])
    assert found.labelled.tolist() == [True, True, False, True]
    flags = with_target(table, "is_joy,is_sad", "bce")
    assert flags.task == Task("is_joy,is_sad", ("is_joy", "is_sad"), True)
    np.testing.assert_array_equal(flags.sets, [[1, 0], [0, 0], [1, 1], [np.nan, np.nan]])
    assert with_target(table, "is_joy").task.numbers == ("is_joy",)  # without bce
    of_label = with_target(table, "label", "bce")
    assert of_label.task.several and of_label.labels == ("anger", "joy")
    names = set_names(found.labels, np.nan_to_num(found.sets) > 0)
    assert names.tolist() == ["joy|surprise", "|", "|", "joy"]
    np.testing.assert_array_equal(sets_of(names, found.labels), np.nan_to_num(found.sets) > 0)


def test_classes_of_another_column(table):
    found = with_target(table, "one")
    assert found.task == Task("one", ("down", "up")) and found.task.classes
    assert found.label.tolist() == [1, 0, -1, 1]


@pytest.mark.parametrize(
    ("target", "loss", "message"),
    [
        ("nothing", "cross-entropy", "no feature file has that column; label, arousal, emotions"),
        ("empty", "cross-entropy", "that column is empty in every row"),
        ("mixed", "cross-entropy", "most of its cells are numbers, and 1 are not:\n  c: 'high'"),
        ("wild", "cross-entropy", "b: 'inf'"),
        ("label,one", "cross-entropy", "the labels of one column, not of label and of one"),
        ("label,emotions", "cross-entropy", "not of emotions and of label"),
        ("is_joy,half", "bce", "some rows have some of these columns, and not others:\n  d"),
        ("valence,valence", "ccc", "name columns, each once"),
        (",", "ccc", "name columns, each once"),
        ("valence", "hinge", "Unknown loss 'hinge'"),
        ("valence", "ccc,mse", "ccc and mse are for the same targets"),
    ],
)
def test_refusals(table, target, loss, message):
    with pytest.raises(ErcError) as error:
        with_target(table, target, loss)
    assert message in str(error.value)


def test_losses_and_scores_follow_the_task():
    config = FuseConfig()
    classes, numbers = Task(labels=("a", "b")), Task("v", numbers=("v",))
    several, both = Task("e", ("a", "b"), True), Task("label,v", ("a", "b"), False, ("v",))
    assert classes.losses("focal") == ("focal", "") and numbers.losses("mse") == ("", "mse")
    assert numbers.losses("cross-entropy") == ("", "ccc")  # the default says nothing
    assert several.losses("cross-entropy") == ("bce", "")
    assert both.losses("mse") == ("cross-entropy", "mse")
    assert both.losses("dice,mse") == ("dice", "mse")
    assert settle(config, classes) is config
    for task, monitor in ((numbers, "ccc"), (several, "map"), (both, "accuracy")):
        assert settle(config, task).monitor == monitor
    for task, options, message in (
        (classes, {"loss": "mse"}, "--loss mse is for numbers, and --target label has none"),
        (numbers, {"loss": "focal"}, "--loss focal is for classes, and --target v has none"),
        (numbers, {"monitor": "weighted_f1"}, "no such score; ccc work"),
        (several, {"contrastive": "supcon"}, "--target e has no classes"),
    ):
        with pytest.raises(ErcError, match=message):
            settle(with_options(config, **options), task)
    assert "target" not in without_place(config)  # so that older runs keep their identity
    assert without_place(with_options(config, target="v"))["target"] == "v"


def test_numbers_are_standardised_by_train_alone(table):
    found = with_target(table, "valence,arousal")
    train = np.array([0, 1, 2])
    fitted = fit_standardiser(found, train)
    assert fitted.centre.tolist() == [2.25, 2] and fitted.unit == pytest.approx(
        [1.25, (2 / 3) ** 0.5]
    )
    split = fitted.split(found, np.arange(4), "cpu")
    want = (found.numbers - fitted.centre) / fitted.unit
    np.testing.assert_allclose(split.target, want, rtol=1e-6)
    kept = from_tensors(fitted.tensors())
    assert kept.centre.tolist() == fitted.centre.tolist()
    assert kept.unit.tolist() == fitted.unit.tolist()
    assert fit_standardiser(table, train).split(table, train, "cpu").target is None
    same = replace(found, numbers=np.full((4, 2), 3.0))
    with pytest.raises(ErcError, match="valence: it is always 3 in train"):
        fit_standardiser(same, train)
    with pytest.raises(ErcError, match="valence: it is never known in train"):
        fit_standardiser(found, np.array([1]))
