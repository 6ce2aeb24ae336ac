"""`fuse`, from feature files to a run directory; and its settings."""

import json
import tomllib
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from fusion_files import LABELS, Corpus, embeddings, make_corpus, write_features
from sklearn.metrics import f1_score
from typer.testing import CliRunner

import cli
from erc_features.errors import ErcError, RunError
from erc_features.store import Status
from erc_fusion.cli.printing import show_run
from erc_fusion.config.config import (
    FuseConfig,
    from_tables,
    load_config,
    to_toml,
    with_options,
    without_place,
)
from erc_fusion.config.seeds import parse_seeds, seeds_warning
from erc_fusion.fuse import FuseResult, fuse, resolve
from erc_fusion.inputs import standardise
from erc_fusion.inputs import table as table_module
from erc_fusion.inputs.sources import find_sources
from erc_fusion.inputs.table import load_table
from erc_fusion.runs.run import DONE, FILES, Run, find_runs, list_runs
from erc_fusion.training import checkpoint
from erc_fusion.training.checkpoint import load_weights
from erc_fusion.training.train import Progress

BLANK = ("dev/d-1-seq-0", "test/d-1-seq-2", "train/d-2-seq-1")


def write_corpus(root: Path, *, shuffle: bool = False) -> Corpus:
    """Text (a strong signal) and audio (a weak one, every fifth row missing)."""
    corpus = make_corpus((40, 12, 12), blank=BLANK)
    rows = len(corpus.rows)
    order = np.random.default_rng(3).permutation(rows) if shuffle else np.arange(rows)
    text = embeddings(corpus, 2, 12)
    write_features(root / "tiny", "text.small", corpus, text, order=order)
    status = np.where(np.arange(rows) % 5 == 0, Status.MISSING, Status.OK)
    audio = embeddings(corpus, 1, 8, signal=0.5, seed=2)
    write_features(root / "tiny", "audio.small", corpus, audio, status=status, order=order[::-1])
    return corpus


def settings(root: Path, **options: object) -> FuseConfig:
    small = {"width": 16, "epochs": 6, "batch_size": 64, "seeds": (0, 1), "lr": 5e-3}
    places = {"features": str(root / "features"), "runs": str(root / "runs"), "device": "cpu"}
    return with_options(FuseConfig(), corpus="tiny", **places, **(small | options))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_corpus(tmp_path / "features")
    return tmp_path


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FuseResult, list[Progress]]:
    root = tmp_path_factory.mktemp("fused")
    write_corpus(root / "features")
    seen: list[Progress] = []
    return root, fuse(settings(root), progress=seen.append), seen


def same_but_for_time(metrics: dict) -> dict:
    return {name: value for name, value in metrics.items() if name != "seconds"}


def test_a_run_is_complete(done: tuple[Path, FuseResult, list[Progress]]) -> None:
    root, result, seen = done
    run = result.run
    assert not result.already and run.done
    assert {path.name for path in run.path.iterdir()} == {*FILES, DONE}
    assert run.path.parent == root / "runs" / "tiny" and run.name.startswith("mlp-")
    metrics = run.metrics
    assert metrics["files"] == ["text.small", "audio.small"]
    assert metrics["modalities"] == ["text", "audio"]
    assert metrics["labels"] == list(LABELS) and metrics["seeds"] == [0, 1]
    assert metrics["dev"]["labelled"] == metrics["dev"]["rows"] - 1
    assert metrics["test"]["weighted_f1"]["mean"] > metrics["test"]["majority"]["weighted_f1"]
    assert metrics["seconds"]["train"] < metrics["seconds"]["total"]
    few = "audio.small has embeddings of 80% of train, 81% of dev, 80% of test only"
    assert metrics["warnings"] == [few] and metrics["dev"]["prototype"] is None
    assert run.corpus == "tiny" and run.inputs["counts"]["test"] == metrics["test"]["rows"]
    audio = run.inputs["files"][1]
    assert audio["stem"] == "audio.small" and audio["rows"]["missing"] > 0
    assert audio["shape"] == [sum(run.inputs["counts"].values()), 1, 8]
    assert len(run.history()) == sum(metrics["epochs"])
    assert [p.epoch for p in seen] == list(range(1, max(metrics["epochs"]) + 1))
    assert list_runs(root / "runs") == ([run], [])


def test_predictions_are_what_was_scored(done: tuple[Path, FuseResult, list[Progress]]) -> None:
    run = done[1].run
    frame = run.predictions()
    p_columns = [f"p_{label}" for label in LABELS]
    assert all(frame[name].dtype == np.float32 for name in p_columns)
    np.testing.assert_allclose(frame[p_columns].sum(axis=1), 1, atol=1e-5)
    assert set(frame["split"]) == {"dev", "test"}
    rows = run.metrics["test"]["rows"]
    assert len(frame[frame["split"] == "test"]) == 2 * rows  # unlabelled rows are predicted too
    assert (frame["label"] == "").sum() == 4
    best = np.array(LABELS)[frame[p_columns].to_numpy().argmax(1)]
    assert (best == frame["predicted"]).all()
    for place, seed in enumerate((0, 1)):
        known = frame[(frame["split"] == "test") & (frame["seed"] == seed) & (frame["label"] != "")]
        expected = f1_score(known["label"], known["predicted"], average="weighted")
        assert run.metrics["test"]["weighted_f1"]["seeds"][place] == pytest.approx(expected)


def test_stored_weights_give_the_stored_predictions(
    done: tuple[Path, FuseResult, list[Progress]],
) -> None:
    root, result, _ = done
    weights = load_weights(result.run)
    stems = result.run.config["modalities"]
    table = load_table(find_sources(root / "features" / "tiny", stems))
    found = weights.predict(table, table.rows("test")).probability
    stored = result.run.predictions().query("split == 'test' and seed == 1")
    p_columns = [f"p_{label}" for label in LABELS]
    np.testing.assert_allclose(found[1], stored[p_columns], atol=1e-6)


def test_weights_that_do_not_fit(root: Path) -> None:
    run = fuse(settings(root, epochs=1, head="triplet")).run
    table = load_table(find_sources(root / "features" / "tiny"))
    again = load_weights(run).predict(table, table.rows("test"))
    known = table.label[table.rows("test")] >= 0
    right = (again.prototype == table.label[table.rows("test")])[:, known].mean()
    assert right == pytest.approx(run.metrics["test"]["prototype"]["accuracy"]["mean"])
    config = run.path / "config.toml"
    config.write_text(config.read_text().replace("width = 16", "width = 20"))
    with pytest.raises(RunError, match="does not fit the settings"):
        load_weights(Run(run.path))
    (run.path / "model.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(RunError, match=r"cannot be read.*--overwrite"):
        load_weights(run)


def test_the_same_command_again_is_already_run(root: Path) -> None:
    config = settings(root, epochs=2)
    first = fuse(config)
    stamp = (first.run.path / "metrics.json").stat().st_mtime_ns
    again = fuse(config)
    assert again.already and again.run.path == first.run.path
    assert (again.run.path / "metrics.json").stat().st_mtime_ns == stamp
    # Spelled out, the defaults are the same run; another setting is another.
    assert fuse(with_options(config, modalities=("audio", "text.small"))).already
    assert fuse(with_options(config, dropout=0.1)).run.path != first.run.path
    before = first.run.metrics
    over = fuse(with_options(config, overwrite=True))
    assert not over.already and over.run.path == first.run.path
    assert same_but_for_time(over.run.metrics) == same_but_for_time(before)
    assert load_config(over.run.path / "config.toml").place.overwrite is False


def test_large_tables_give_the_same_run_without_a_copy(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = fuse(settings(root)).run
    monkeypatch.setattr(standardise, "LARGE", 0)
    monkeypatch.setattr(checkpoint, "ONCE", 0)
    monkeypatch.setattr(table_module, "BLOCK", 7)
    large = fuse(settings(root, name="large")).run
    for name in ("model.safetensors", "predictions.parquet", "history.jsonl"):
        assert (kept.path / name).read_bytes() == (large.path / name).read_bytes(), name


def test_a_name_is_not_given_to_other_settings(root: Path) -> None:
    config = settings(root, epochs=2, name="mine")
    assert fuse(config).run.name == "mine"
    assert fuse(config).already
    with pytest.raises(RunError, match=r"with other settings.*another --name"):
        fuse(with_options(config, lr=0.1))
    stranger = root / "runs" / "tiny" / "thesis"
    stranger.mkdir()
    (stranger / "notes.txt").write_text("do not lose")
    with pytest.raises(RunError, match=r"no run wrote \(notes.txt\)"):
        fuse(with_options(config, name="thesis"))
    assert (stranger / "notes.txt").read_text() == "do not lose"


def test_an_unfinished_run_begins_anew(root: Path) -> None:
    config = settings(root, epochs=2)
    first = fuse(config).run
    (first.path / DONE).unlink()
    again = fuse(config)
    assert not again.already and again.run.done


def test_shuffled_rows_change_nothing(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    write_corpus(other / "features", shuffle=True)
    first, second = fuse(settings(root)).run, fuse(settings(other)).run
    assert first.name == second.name
    assert same_but_for_time(first.metrics) == same_but_for_time(second.metrics)
    for name in ("history.jsonl", "predictions.parquet", "model.safetensors"):
        assert (first.path / name).read_bytes() == (second.path / name).read_bytes(), name


@pytest.mark.parametrize("options", [{"head": "triplet"}, {"head": "mlp", "context": "gru"}])
def test_other_kinds(root: Path, options: dict[str, str]) -> None:
    metrics = fuse(settings(root, epochs=20, **options)).run.metrics
    assert metrics["test"]["weighted_f1"]["mean"] > metrics["test"]["majority"]["weighted_f1"]
    if options["head"] == "triplet":
        prototype = metrics["test"]["prototype"]["weighted_f1"]
        assert prototype["mean"] > metrics["test"]["majority"]["weighted_f1"]
        assert {"contrastive", "loss", "accuracy"} == set(
            Run(next((root / "runs" / "tiny").iterdir())).history()[0]["train"]
        )
    else:
        assert metrics["test"]["prototype"] is None


def test_test_is_not_seen_before_the_choice(root: Path) -> None:
    """Garbage in test's rows changes no weight, no history and no score on dev."""
    first = fuse(settings(root)).run
    before = first.metrics
    with h5py.File(root / "features" / "tiny" / "text.small.h5", "r+") as file:
        for row in np.flatnonzero(file["split"].asstr()[()] == "test"):
            file["x"][row] = 77.0
    second = fuse(settings(root)).run
    assert first.path != second.path  # other numbers are another run, though settings agree
    for name in ("history.jsonl", "model.safetensors"):
        assert (first.path / name).read_bytes() == (second.path / name).read_bytes()
    assert second.metrics["dev"] == before["dev"]
    assert second.metrics["test"] != before["test"]


def test_a_run_that_is_at_work_is_left_alone(root: Path) -> None:
    done = fuse(settings(root, name="mine")).run
    kept = (done.path / "metrics.json").read_bytes()
    messages = []

    def second(_: object) -> None:
        if not messages:
            assert (done.path / "metrics.json").read_bytes() == kept  # until the new one is there
            with pytest.raises(RunError) as caught:
                fuse(settings(root, name="mine", lr=0.01, overwrite=True))
            messages.append(str(caught.value))

    fuse(settings(root, name="mine", lr=0.02, overwrite=True), progress=second)
    assert "another process is running it" in messages[0]
    assert Run(done.path).config["training"]["lr"] == 0.02


@pytest.mark.parametrize("name", ["a/b", "../out", ".", ".hidden", "sp ace"])
def test_names_that_lead_out_are_refused(root: Path, name: str) -> None:
    with pytest.raises(RunError, match="--name"):
        fuse(settings(root, name=name))


def test_a_file_where_the_run_should_be(root: Path) -> None:
    (root / "runs" / "tiny").mkdir(parents=True, exist_ok=True)
    (root / "runs" / "tiny" / "wall").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        fuse(settings(root, name="wall"))


def test_a_folder_of_a_runs_name_does_not_hide_it(root: Path, monkeypatch) -> None:
    fuse(settings(root, name="mine"))
    (root / "mine").mkdir()
    monkeypatch.chdir(root)
    finished, _ = find_runs(Path("runs"), "tiny", [Path("mine")])
    assert [run.name for run in finished] == ["mine"]


def test_what_is_wrong_with_the_data(tmp_path: Path) -> None:
    corpus = make_corpus((20, 6, 6))
    x = embeddings(corpus, 1, 6)
    labels = (*LABELS, "surprise")
    folder = tmp_path / "features" / "tiny"
    write_features(folder, "text.small", corpus, x, labels=labels)
    status = np.where(np.array(corpus.rows.split) == "train", Status.FAILED, Status.OK)
    write_features(folder, "audio.small", corpus, x, labels=labels, status=status)
    result = fuse(settings(tmp_path, epochs=2))
    assert result.warnings == (
        "surprise does not occur in train and can't be learned",
        "audio.small has no embedding of any train row",
    )
    assert result.run.metrics["warnings"] == list(result.warnings)
    with pytest.raises(ErcError, match="No train row of corpus 'tiny' has an embedding"):
        fuse(settings(tmp_path, modalities=("audio",)))
    for split in ("dev", "train"):
        alone = tmp_path / split
        keep = [i for i, s in enumerate(corpus.rows.split) if s != split]
        path = alone / "features" / "tiny"
        write_features(path, "text.small", corpus, x, order=np.array(keep))
        with pytest.raises(ErcError, match=f"no labelled {split} row"):
            fuse(settings(alone))
        assert not (alone / "runs").exists()


def test_what_is_wrong_with_the_settings(root: Path) -> None:
    wrong = {
        "head": ("mpl", "Unknown head 'mpl'; choose from attention"),
        "context": ("lstm", "Unknown context 'lstm'; choose from gru, none"),
        "loss": ("hinge", "Unknown loss 'hinge'; choose from bce, ccc, cross-entropy"),
        "contrastive": ("pairs", "Unknown contrastive loss 'pairs'; choose from auto, none"),
        "monitor": ("recall", "Unknown monitor 'recall'; choose from accuracy, ccc"),
        "device": ("tpu", "Unknown device 'tpu'; choose from auto, cpu, cuda"),
        "corpus": ("elsewhere", "No feature files in .*elsewhere"),
        "dropout": (1.0, "dropout must be from 0 to below 1, not 1.0"),
        "epochs": (0, "epochs must be above 0"),
        "margin": (-0.1, "margin must be 0 or more, not -0.1"),
        "lr": (float("nan"), "lr must be above 0, not nan"),
        "seeds": ((1, 1), "distinct numbers, not \\[1, 1\\]"),
    }
    for name, (value, message) in wrong.items():
        with pytest.raises(ErcError, match=message):
            fuse(with_options(settings(root), **{name: value}))
    with pytest.raises(ErcError, match="'triplet' is made for a contrastive loss"):
        fuse(settings(root, head="triplet", contrastive="none"))
    (root / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        fuse(with_options(settings(root), runs=str(root / "file")))


def test_a_disk_that_fails_while_writing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, value: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(import_module("erc_fusion.fuse"), "_write_json", full)
    with pytest.raises(RunError, match=r"No space left on device.*--runs"):
        fuse(settings(root, epochs=1))
    assert list_runs(root / "runs")[0] == []


def test_config_is_toml_there_and_back(tmp_path: Path) -> None:
    config = with_options(
        FuseConfig(), head="attention", seeds=(4, 2), lr=1, modalities=("text",), loss=None
    )
    assert config.model.head == "attention" and config.training.lr == 1.0
    path = tmp_path / "config.toml"
    path.write_text(to_toml(config))
    assert load_config(path) == config
    assert tomllib.loads(path.read_text())["seeds"] == [4, 2]
    path.write_text("seeds = [7]\n[training]\nlr = 0.01\n")
    assert load_config(path) == replace(
        FuseConfig(), seeds=(7,), training=replace(FuseConfig().training, lr=0.01)
    )


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (
            {"sedes": [1]},
            "unknown setting 'sedes'; choose from corpus, target, modalities, layers",
        ),
        ({"model": {"heads": "mlp"}}, "unknown setting 'model.heads'; .*model.head, model.context"),
        ({"model": "mlp"}, "model must be a table, not 'mlp'"),
        ({"seeds": 3}, "seeds must be a list, not 3"),
        ({"seeds": ["3"]}, "seeds must be a whole number, not '3'"),
        ({"training": {"epochs": 2.5}}, "training.epochs must be a whole number, not 2.5"),
        ({"training": {"lr": "fast"}}, "training.lr must be a number, not 'fast'"),
        ({"training": {"lr": True}}, "training.lr must be a number, not True"),
        ({"place": {"overwrite": 1}}, "place.overwrite must be true or false, not 1"),
    ],
)
def test_config_refuses(tables: dict, message: str) -> None:
    with pytest.raises(ErcError, match=f"configuration: {message}"):
        from_tables(tables)


def test_config_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ErcError, match=r"absent\.toml: cannot be read"):
        load_config(tmp_path / "absent.toml")
    (tmp_path / "broken.toml").write_text("seeds = [")
    with pytest.raises(ErcError, match="not a TOML file"):
        load_config(tmp_path / "broken.toml")
    with pytest.raises(ErcError, match=r"Unknown setting 'hed'; choose from .*head"):
        with_options(FuseConfig(), hed="mlp")


@pytest.mark.parametrize("text", ["five", "", "1,two", "-1", "1.5"])
def test_seeds_that_are_none(text: str) -> None:
    with pytest.raises(ErcError, match=r"how many \(5\) or which \(3,7,11; .*\), not "):
        parse_seeds(text)


def test_metrics_are_plain_json(done: tuple[Path, FuseResult, list[Progress]]) -> None:
    run = done[1].run
    text = (run.path / "metrics.json").read_text()
    assert json.loads(text) == run.metrics and "NaN" not in text
    assert isinstance(run.predictions(), pd.DataFrame)


def test_a_hundred_seeds_are_said_to_be_a_hundred(root: Path) -> None:
    assert parse_seeds("100") == tuple(range(100)) and parse_seeds("100,") == (100,)
    assert seeds_warning(tuple(range(20))) == "" == seeds_warning((100,))
    with pytest.warns(UserWarning, match=r"21 seeds .* the one seed 21, write --seeds 21, with a"):
        resolve(settings(root, seeds=tuple(range(21))))
    # No such advice where they are named one by one.
    with pytest.warns(UserWarning, match=r"^25 seeds are .* 5 to 10 are enough\.$"):
        resolve(settings(root, seeds=tuple(range(5, 30))))


@pytest.mark.parametrize(
    ("text", "said"),
    [("100,", "Using 1 seed (100)."), ("3", "Using 3 seeds (0 to 2)."), ("21",
      "Using 21 seeds (0 to 20).\nWarning: 21 seeds are trained side by side.")],
)  # fmt: skip
def test_the_first_line_says_which_seeds(root: Path, text: str, said: str) -> None:
    command = ["fuse", "--corpus", "tiny", "--features", str(root / "features"), "--runs",
               str(root / "runs"), "--epochs", "1", "--width", "4", "--device", "cpu",
               "--seeds", text]  # fmt: skip
    done = CliRunner().invoke(cli.app, command)
    assert done.exit_code == 0, done.output
    assert done.stderr.startswith(said), done.stderr
    (run,), _ = list_runs(root / "runs")
    assert tuple(run.metrics["seeds"]) == parse_seeds(text)


def test_the_ensemble_is_printed(done: tuple[Path, FuseResult, list[Progress]], capsys) -> None:
    run = done[1].run
    show_run(done[1])
    lines = capsys.readouterr().out.splitlines()
    for split in ("dev", "test"):
        frame = run.predictions().query(f"split == '{split}' and label != ''")
        columns = [f"p_{label}" for label in LABELS]
        mean = frame.groupby("key", sort=False)[columns].mean()
        truth = frame.drop_duplicates("key")["label"].to_numpy()
        best = np.array(LABELS)[mean.to_numpy().argmax(1)]
        f1 = f1_score(truth, best, average="weighted")
        figures = f"{100 * (best == truth).mean():.1f} {100 * f1:.1f}"
        (line,) = [line for line in lines if line.startswith(f"{split}, ensemble")]
        assert figures in " ".join(line.split()), line
        assert f"{split}, the seeds' ensemble" in run._repr_html_()


def test_one_seed_is_not_shown_twice(root: Path, capsys) -> None:
    result = fuse(settings(root, seeds=(7,), epochs=1))
    show_run(result)
    assert "nsemble" not in capsys.readouterr().out + result.run._repr_html_()


def test_a_setting_that_came_later_leaves_older_runs_their_identity() -> None:
    plain = without_place(FuseConfig())
    assert "layer_mix" not in plain["model"] and "dropout" in plain["model"]
    joined = without_place(with_options(FuseConfig(), layer_mix="concat"))
    assert joined["model"] == plain["model"] | {"layer_mix": "concat"}
