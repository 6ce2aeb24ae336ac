from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from erc_features.errors import ErcError
from erc_fusion.inputs.folds import make_folds, parse_rule, shared_dialogues
from erc_fusion.inputs.table import FeatureTable


def table_of(speakers, dialogues, labels):
    """A table of rows that have no embeddings."""
    count = len(speakers)
    return FeatureTable(
        sources=(), labels=("a", "b", "c"), key=np.array([f"train/d-{i}" for i in range(count)]),
        split=np.array(["train"] * count), dialogue=np.array(dialogues), x={},
        sequence=np.arange(count), speaker=np.array(speakers), text=np.array([""] * count),
        label=np.array(labels), present=np.ones((count, 0), bool),
        more={"session": np.array([f"s{d % 4}" for d in dialogues])},
    )  # fmt: skip


@st.composite
def tables(draw):
    count = draw(st.integers(20, 80))
    each = st.lists(st.integers(0, 6), min_size=count, max_size=count)
    labels = st.lists(st.integers(-1, 2), min_size=count, max_size=count)
    return table_of([f"p{n}" for n in draw(each)], draw(each), draw(labels))


@settings(max_examples=40)
@given(tables(), st.sampled_from(["speaker", "dialogue", "session", "speaker:3", "4", "session:2"]),
       st.sampled_from([0.1, 0.3, 0.5]))  # fmt: skip
def test_every_row_is_held_out_once_and_nobody_is_on_two_sides(table, rule, dev):
    unit, _ = parse_rule(rule)
    try:
        folds = make_folds(table, rule, dev)
    except ErcError:
        assume(False)
    columns = {"speaker": table.speaker, "dialogue": table.dialogue, **table.more}
    of = columns[unit]
    assert np.array_equal(np.sort(np.concatenate([f.test for f in folds])), np.arange(len(table)))
    for fold in folds:
        parts = [set(of[rows].tolist()) for rows in (fold.train, fold.dev, fold.test)]
        assert all(parts) and not (
            parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2]
        )
        assert len(fold.train) + len(fold.dev) + len(fold.test) == len(table)
    again = make_folds(table, rule, dev)
    assert all(np.array_equal(a.dev, b.dev) for a, b in zip(folds, again, strict=True))


def test_folds_of_dialogues_are_alike():
    random = np.random.default_rng(0)
    dialogue = np.repeat(np.arange(100), 10)
    table = table_of(
        random.choice(["x", "y"], 1000), dialogue, random.choice(3, 1000, p=[0.7, 0.2, 0.1])
    )
    folds = make_folds(table, "dialogue:5")
    assert all(170 <= len(fold.test) <= 230 for fold in folds)
    for fold in folds:
        shares = np.bincount(table.label[fold.test], minlength=3) / len(fold.test)
        assert np.abs(shares - [0.7, 0.2, 0.1]).max() < 0.04
        assert 50 <= len(fold.dev) <= 110
    assert shared_dialogues(table, folds) == 0
    assert make_folds(table, "dialogue:5", seed=1)[0].test.tolist() != folds[0].test.tolist()
    with pytest.raises(ErcError, match="there are 2 speakers, and 3 are needed"):
        make_folds(table, "speaker")


def test_sessions_by_name_and_what_is_wrong():
    table = table_of([f"p{i % 8}" for i in range(80)], np.repeat(np.arange(20), 4), [0, 1] * 40)
    assert [fold.name for fold in make_folds(table, "session")] == ["s0", "s1", "s2", "s3"]
    by_speaker = make_folds(table, "speaker")
    assert len(by_speaker) == 8 and shared_dialogues(table, by_speaker) == 20
    for rule, message in (
        ("rater", "dialogue, session, speaker work"), ("dialogue:1", "at least two folds"),
        ("speaker:9", "there are 8 speakers, and 9 are needed"), ("speaker:x", "work"),
        ("", "work"),
    ):  # fmt: skip
        with pytest.raises(ErcError, match=message):
            make_folds(table, rule)
    with pytest.raises(ErcError, match="between 0 and 1"):
        make_folds(table, "4", dev=1.0)
    blank = replace(table, speaker=np.array(["", *table.speaker[1:]]))
    with pytest.raises(ErcError, match="1 rows have no speaker, such as train/d-0"):
        make_folds(blank, "speaker")


def test_names_of_one_unit_are_one_unit():
    """Case and spaces do not make another speaker, and what pandas writes for none is nobody."""
    spelled = ["Ross", "ross ", " Joey", "Joey", "Rachel", "Rachel", "Phoebe Buffay",
               "phoebe  buffay"]  # fmt: skip
    table = table_of(spelled * 6, np.repeat(np.arange(12), 4), [0, 1] * 24)
    folds = make_folds(table, "speaker")
    assert [fold.name for fold in folds] == ["Joey", "Phoebe Buffay", "Rachel", "Ross"]
    for fold in folds:
        parts = [
            {" ".join(name.split()).lower() for name in table.speaker[rows].tolist()}
            for rows in (fold.train, fold.dev, fold.test)
        ]
        assert len(parts[2]) == 1 and not (parts[0] | parts[1]) & parts[2] | parts[0] & parts[1]
    for none in (" ", "nan", "<NA>"):
        blank = replace(table, speaker=np.array([none, *spelled[1:], *spelled * 5], dtype=object))
        with pytest.raises(ErcError, match="1 rows have no speaker, such as train/d-0"):
            make_folds(blank, "speaker")


@pytest.mark.parametrize("share", [0.5, 0.75])
def test_the_largest_unit_is_not_dev(share):
    """One main speaker, as of a series: dev stays about as large as it is said."""
    count = 400
    others = [f"p{i}" for i in range(20)]
    main = int(share * count)
    speakers = ["main"] * main + [others[i % 20] for i in range(count - main)]
    table = table_of(speakers, np.arange(count), np.random.default_rng(0).integers(0, 3, count))
    for fold in make_folds(table, "speaker", 0.1):
        rest = len(fold.train) + len(fold.dev)
        assert 0.02 * rest <= len(fold.dev) <= 0.2 * rest, fold.name
        assert ("main" in table.speaker[fold.train]) == (fold.name != "main")


@pytest.mark.parametrize("dev", [0.9, 0.51, 0.0, -0.1, float("nan")])
def test_no_share_is_taken_for_another(dev):
    table = table_of([f"p{i % 8}" for i in range(80)], np.arange(80), [0, 1] * 40)
    with pytest.raises(ErcError, match="between 0 and 1/2"):
        make_folds(table, "speaker", dev)


def test_dialogues_shared_by_train_and_dev_are_seen():
    """Speakers of a dialogue who are dealt to one fold may be parted in another."""
    speakers = [f"p{2 * d + i % 2}" for d in range(6) for i in range(10)]
    table = table_of(speakers, np.repeat(np.arange(6), 10), [0, 1, 2] * 20)
    folds = make_folds(table, "speaker:3", 0.3)
    expected = set()
    for fold in folds:
        sides = [set(table.dialogue[r].tolist()) for r in (fold.train, fold.dev, fold.test)]
        expected |= sides[0] & sides[1] | sides[0] & sides[2] | sides[1] & sides[2]
    assert shared_dialogues(table, folds) == len(expected)


@pytest.mark.parametrize("kind", ["sets", "numbers"])
def test_dev_has_what_a_set_or_a_number_can_be_scored_by(kind):
    """Of six speakers, only two have any label or number: one of them is in each fold's dev."""
    speakers = np.repeat([f"s{i}" for i in range(6)], 10)
    table = table_of(speakers, np.arange(60), np.full(60, -1))
    there = np.isin(speakers, ["s1", "s4"])
    if kind == "sets":
        table = replace(table, sets=np.stack([there, there], -1).astype(float), labels=("a", "b"))
    else:
        table = replace(table, numbers=np.where(there, 1.0, np.nan)[:, None],
                        number_names=("v",), labels=())  # fmt: skip
    for fold in make_folds(table, "speaker", 0.2):
        assert there[fold.dev].any()
        if there[fold.test].any():
            continue  # the only other one is needed to choose
        assert there[fold.train].any()
