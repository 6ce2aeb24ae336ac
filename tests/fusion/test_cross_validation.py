"""`erc fuse --folds` on feature files, and everything that reads such a run."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score
from typer.testing import CliRunner

import cli
import erc_fusion.training.fit
from erc_features.errors import ErcError
from erc_features.extraction.extract import extract
from erc_features.preparation.live_dialogue import read_talk
from erc_features.store import FeatureFile
from erc_fusion.config.config import FuseConfig, with_options
from erc_fusion.fuse import fuse
from erc_fusion.inputs.folds import make_folds
from erc_fusion.inputs.sources import find_sources
from erc_fusion.inputs.standardise import Standardised, fit_standardiser
from erc_fusion.inputs.table import load_table
from erc_fusion.predict import predict
from erc_fusion.run_inputs import identity_of
from erc_fusion.search.overfit import overfit
from erc_fusion.search.tune import tune

WORDS = {"joy": "great lovely yay", "anger": "hate stupid angry", "neutral": "the a text"}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Three sessions of two speakers each, without splits: all rows are of train."""
    folder = tmp_path_factory.mktemp("sessions")
    random = np.random.default_rng(0)
    rows = []
    for dialogue in range(18):
        for sequence in range(6):
            label = random.choice(list(WORDS))
            said = random.choice([*WORDS[label].split(), "no"], 4)
            rows.append({
                "dialogue": dialogue, "sequence": sequence, "label": label,
                "speaker": f"s{dialogue % 3}{'fm'[sequence % 2]}", "x_text": " ".join(said),
                "session": f"s{dialogue % 3}",
            })  # fmt: skip
    (folder / "data/talks").mkdir(parents=True)
    pd.DataFrame(rows).assign(x_visual="", x_audio="").to_csv(folder / "data/talks/train.csv")
    extract(folder / "data/talks", features=folder / "features", encoder="baseline")
    return folder


def fold(root, rule, **options):
    config = with_options(
        FuseConfig(corpus="talks"), features=str(root / "features"), runs=str(root / "runs"),
        device="cpu", folds=rule, **{"width": 16, "epochs": 4, "seeds": (0, 1)} | options,
    )  # fmt: skip
    return fuse(config).run


@pytest.mark.parametrize("rule", ["session", "speaker", "dialogue:4"])
def test_every_row_is_predicted_once_and_scored_over_all(root, rule):
    run = fold(root, rule, head="linear")
    frame = run.predictions()
    assert len(frame) == 2 * 108 and set(frame.split) == {"test"}
    assert frame.groupby("seed").key.nunique().tolist() == [108, 108]
    test = run.metrics["test"]
    for seed, own in frame.groupby("seed"):
        assert test["accuracy"]["seeds"][seed] == accuracy_score(own.label, own.predicted)
        assert test["weighted_f1"]["seeds"][seed] == pytest.approx(
            f1_score(own.label, own.predicted, average="weighted"), abs=1e-12)  # fmt: skip
    table = load_table(find_sources(root / "features/talks", ()))
    folds = make_folds(table, rule)
    assert [each["name"] for each in run.metrics["folds"]] == [each.name for each in folds]
    for each, mine in zip(folds, run.metrics["folds"], strict=True):
        own = frame[frame.fold == each.name]
        assert sorted(own.key.unique()) == sorted(table.key[each.test].tolist())
        right = own.groupby("seed").apply(lambda f: (f.label == f.predicted).mean())
        assert mine["accuracy"]["mean"] == pytest.approx(right.mean(), abs=1e-12)
    assert test["accuracy"]["mean"] > 0.8
    assert fuse(with_options(_config(root, rule), head="linear")).already


def _config(root, rule):
    return with_options(
        FuseConfig(corpus="talks"), features=str(root / "features"), runs=str(root / "runs"),
        device="cpu", folds=rule, width=16, epochs=4, seeds=(0, 1),
    )  # fmt: skip


def test_rows_that_are_held_out_decide_nothing(root, tmp_path):
    """Garbage in a fold's held-out rows changes neither its weights nor its epochs."""
    import shutil

    import h5py

    shutil.copytree(root / "features", tmp_path / "features")
    path = next((tmp_path / "features/talks").iterdir())
    table = load_table(find_sources(root / "features/talks", ()))
    first = make_folds(table, "session")[0]
    with h5py.File(path, "r+") as file:
        keys = [key.decode() for key in file["key"]]
        rows = [keys.index(key) for key in table.key[first.test]]
        x = file["x"][()]
        x[rows] = np.random.default_rng(1).normal(size=x[rows].shape)
        file["x"][...] = x
    plain = fold(root, "session", head="mlp", name="plain")
    wild = fold(tmp_path, "session", head="mlp", name="wild")
    from safetensors.numpy import load_file

    one, other = (load_file(run.path / "model.safetensors") for run in (plain, wild))
    same = [name for name in one if np.array_equal(one[name], other[name])]
    assert {name for name in one if name.startswith("fold.0.")} <= set(same)
    assert not {name for name in one if name.startswith("fold.1.model.hidden")} & set(same)


def test_stacks_of_a_few_folds_have_the_same_bits(root, monkeypatch):
    """What a CPU does where all folds together would take much memory."""
    options = {"head": "mlp", "context": "gru", "width": 8}
    together = fold(root, "dialogue:5", name="together", **options)
    monkeypatch.setattr("erc_fusion.training.fit._bytes", lambda *_: 100)
    monkeypatch.setattr("erc_fusion.training.fit.TOGETHER", 500)  # two folds of two seeds
    sizes = []
    real = erc_fusion.training.fit.train
    monkeypatch.setattr(
        "erc_fusion.training.fit.train",
        lambda *args: (sizes.append(len(args[-1])), real(*args))[1],
    )
    few = fold(root, "dialogue:5", name="few", **options)
    assert sizes == [2, 2, 1]
    for file in ("model.safetensors", "history.jsonl"):
        assert (few.path / file).read_bytes() == (together.path / file).read_bytes()
    one, other = (run.metrics | {"seconds": 0} for run in (few, together))
    assert one == other


def test_predicting_new_rows_asks_every_fold(root, tmp_path):
    run = fold(root, "dialogue:3", head="mlp", context="gru")
    talk = read_talk(root / "data/talks/train.csv")[:12]
    new = [replace(u, split="new") for u in talk]
    found = predict(run, new)
    assert found.probability.shape == (2, 12, 3)
    assert np.allclose(found.probability.sum(-1), 1, atol=1e-5)
    assert (np.array([row.emotion for row in found.rows]) == [u.label for u in talk]).mean() > 0.8
    told = CliRunner().invoke(cli.app, ["predict", str(run.path), "--text", "lovely", "--json"])
    assert told.exit_code == 0 and json.loads(told.stdout)["emotion"] == "joy"
    assert "was learned from in some of them" in " ".join(told.stderr.split())


def test_standardising_when_taken_has_the_same_bits(root):
    import torch

    table = load_table(find_sources(root / "features/talks", ()))
    rows = np.array([5, 3, 40, 7])
    standardiser = fit_standardiser(table, np.arange(60))
    (stem,) = table.x
    for dtype in (np.float16, np.float32):
        part = replace(table, x={stem: table.x[stem].astype(dtype)})
        plain = standardiser.split(part, rows, "cpu").x[stem]
        raw = {stem: torch.from_numpy(part.x[stem])}
        lazy = standardiser.split(part, rows, "cpu", raw).x[stem]
        assert isinstance(lazy, Standardised)
        index = torch.tensor([2, 0, 0, 3])
        assert torch.equal(lazy.index_select(0, index), plain[index])


def test_report_lists_a_run_of_folds(root):
    fold(root, "session", head="linear")
    done = CliRunner().invoke(
        cli.app, ["report", "--corpus", "talks", "--runs", str(root / "runs")]
    )
    assert done.exit_code == 0, done.output


def test_errors(root):
    with pytest.raises(ErcError, match="would be read as context"):
        fold(root, "speaker", context="gru")
    with pytest.raises(ErcError, match="dialogue, session, speaker work"):
        fold(root, "rater")
    for command in (tune, overfit):
        with pytest.raises(ErcError, match="has no folds; leave --folds out"):
            command(_config(root, "session"))


def test_other_sessions_are_another_run(root):
    table = load_table(find_sources(root / "features/talks", ()))
    moved = replace(table, more={"session": np.roll(table.more["session"], 6)})
    by_session, splits = _config(root, "session"), _config(root, "")
    assert identity_of(by_session, moved) != identity_of(by_session, table)
    assert identity_of(splits, moved) == identity_of(splits, table)


def test_files_that_disagree_about_a_column(root, tmp_path):
    """Sessions that were corrected between two extractions: no file's are taken silently."""
    import shutil

    shutil.copytree(root / "data", tmp_path / "data")
    frame = pd.read_csv(tmp_path / "data/talks/train.csv", index_col=0, keep_default_na=False)
    old = frame.drop(columns="session")
    frame.loc[7, "session"] = "s9"
    features = tmp_path / "features"
    for name, rows in (("old", old), ("new", frame)):
        rows.to_csv(tmp_path / "data/talks/train.csv")
        extract(tmp_path / "data/talks", features=features, encoder="baseline", name=name)
    config = with_options(
        FuseConfig(corpus="talks"), features=str(features), runs=str(tmp_path / "runs"),
        device="cpu", width=8, epochs=1, seeds=(0,), head="linear", folds="session:3",
    )  # fmt: skip
    with pytest.raises(ErcError, match="no feature file has that column.*same `erc extract` again"):
        fuse(with_options(config, modalities=("text.old",)))
    # An older file lacks the column: the other's is taken, by key.
    table = load_table(find_sources(features / "talks", ("text.old", "text.new")))
    session = dict(zip(table.key.tolist(), table.more["session"].tolist(), strict=True))
    assert session["train/d-1-seq-1"] == "s9" and session["train/d-1-seq-2"] == "s1"
    extract(root / "data/talks", features=features, encoder="baseline", name="third")
    both = with_options(config, modalities=("text.new", "text.third"))
    said = "(?s)1 rows differ, such as train/d-1-seq-1: 's9' in .*text.new.h5, 's1' in .*third.h5"
    with pytest.raises(ErcError, match=said):
        fuse(both)
    assert fuse(with_options(both, folds="dialogue:3")).run.done
    # What the messages advise: the corpus's columns are taken, and nothing is encoded.
    for name in ("old", "new"):
        path = features / f"talks/text.{name}.h5"
        with FeatureFile(path) as file:
            x, created = file.x(), file.attributes["created"]
        (made,) = extract(root / "data/talks", features=features, encoder="baseline", name=name)
        with FeatureFile(path) as file:
            assert made.already and np.array_equal(file.x(), x)
            assert file.attributes["created"] == created and file.more["session"][7] == "s1"
    config = with_options(both, modalities=("text.old", "text.new", "text.third"))
    found = fuse(with_options(config, folds="session")).run
    assert [each["name"] for each in found.metrics["folds"]] == ["s0", "s1", "s2"]


def test_a_share_of_dev_without_folds_is_refused(root):
    with pytest.raises(ErcError, match="--dev 0.3 goes with --folds"):
        fuse(with_options(_config(root, ""), dev=0.3))
