"""`erc fuse --log tensorboard`: the event files, read by TensorBoard's own reader."""

import resource
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from fusion_files import embeddings, make_corpus, write_features
from typer.testing import CliRunner

from erc_features.errors import ErcError, RunError
from erc_fusion.config.config import FuseConfig, with_options
from erc_fusion.fuse import fuse
from erc_fusion.runs.run import DONE, FILES, list_runs
from erc_fusion.training.tensorboard import events_folder
from erc_fusion.training.train import Progress

Curves = dict[str, dict[int, float]]


@pytest.fixture
def config(tmp_path: Path) -> FuseConfig:
    corpus = make_corpus((16, 6, 6))
    write_features(tmp_path / "features" / "tiny", "text.t", corpus, embeddings(corpus, 1, 8))
    return with_options(
        FuseConfig(), corpus="tiny", features=str(tmp_path / "features"),
        runs=str(tmp_path / "runs"), name="mine", width=8, epochs=6, patience=2, batch_size=64,
        lr=0.02, seeds=(0, 3), device="cpu",
    )  # fmt: skip


def read(folder: Path) -> Curves:
    """Tag -> epoch -> value, of the one event file there."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    (path,) = folder.glob("events.out.tfevents.*")
    found: Curves = defaultdict(dict)
    for event in EventFileLoader(str(path)).Load():
        for value in event.summary.value:
            found[value.tag][event.step] = value.tensor.float_val[0]
    return found


def history_of(run, seed: int) -> Curves:
    found: Curves = defaultdict(dict)
    for record in run.history():
        if record["seed"] == seed:
            for split in ("train", "dev"):
                for metric, value in record[split].items():
                    found[f"{metric}/{split}"][record["epoch"]] = pytest.approx(value, rel=1e-6)
    return found


def check(run, seeds: tuple[int, ...]) -> None:
    folder = events_folder(run.path)
    of_seeds = [read(folder / f"seed-{seed}") for seed in seeds]
    for seed, curves in zip(seeds, of_seeds, strict=True):
        assert curves == history_of(run, seed)
        assert {"loss/train", "loss/dev", "accuracy/train", "accuracy/dev"} < set(curves)
    shared = min(run.metrics["epochs"])
    for tag, curve in read(folder / "mean").items():
        assert list(curve) == list(range(1, shared + 1))
        for epoch, value in curve.items():
            assert value == pytest.approx(np.mean([c[tag][epoch] for c in of_seeds]), rel=1e-6)


def test_curves_are_there_while_it_trains_and_are_the_history(config: FuseConfig) -> None:
    pytest.importorskip("tensorboard")
    folder = Path(config.place.runs) / "tiny" / "tensorboard" / "mine"
    live = []

    def look(at: Progress) -> None:
        live.append(max(read(folder / "seed-0")["loss/dev"]))
        assert {record["epoch"] for record in at.records} == {at.epoch}

    epochs: list[int] = []
    run = fuse(
        config, progress=lambda at: (epochs.append(at.epoch), look(at)), log="tensorboard"
    ).run
    assert live[: run.metrics["epochs"][0]] == list(range(1, run.metrics["epochs"][0] + 1))
    assert epochs == list(range(1, max(run.metrics["epochs"]) + 1))
    check(run, (0, 3))
    assert {path.name for path in run.path.iterdir()} == {*FILES, DONE}
    assert list_runs(Path(config.place.runs)) == ([run], [])


def test_the_run_does_not_depend_on_it(config: FuseConfig) -> None:
    pytest.importorskip("tensorboard")
    plain = fuse(config).run
    before = {name: (plain.path / name).read_bytes() for name in FILES}
    again = fuse(config, log="tensorboard")  # the same run: its curves come from its history
    assert again.already
    check(again.run, (0, 3))
    over = with_options(config, overwrite=True)
    logged = fuse(over, log="tensorboard").run
    check(logged, (0, 3))  # one event file each: the old ones are gone
    for name in ("config.toml", "history.jsonl", "predictions.parquet", "model.safetensors"):
        assert (logged.path / name).read_bytes() == before[name], name
    first, second = dict(plain.metrics), dict(logged.metrics)
    del first["seconds"], second["seconds"]
    assert first == second
    assert logged.inputs["identity"] == plain.inputs["identity"]


def test_what_is_wrong(config: FuseConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ErcError, match="Unknown log 'wandb'; choose from tensorboard"):
        fuse(config, log="wandb")
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    for name in [name for name in sys.modules if name.startswith("tensorboard.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ErcError, match=r"pip install 'erc\[tensorboard\]'"):
        fuse(config, log="tensorboard")
    assert not Path(config.place.runs).exists()


def test_a_folder_that_cannot_be_written(config: FuseConfig) -> None:
    pytest.importorskip("tensorboard")
    folder = Path(config.place.runs) / "tiny" / "tensorboard"
    folder.parent.mkdir(parents=True)
    folder.write_text("a file")
    with pytest.raises(RunError, match=r"tensorboard/mine: cannot be written.*leave --log out"):
        fuse(config, log="tensorboard")
    folder.unlink()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(at: Progress) -> None:  # the disk, as far as this process can tell
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))

    try:
        with pytest.raises(RunError, match=r"tensorboard/mine: cannot be written \(File too large"):
            fuse(config, progress=fill, log="tensorboard")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list_runs(Path(config.place.runs))[0] == []


def test_the_command(config: FuseConfig, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from cli import app

    place = config.place
    command = ["fuse", "--corpus", "tiny", "--features", place.features, "--runs", place.runs,
               "--name", "typed", "--epochs", "2", "--seeds", "2", "--width", "8", "--device",
               "cpu", "--log", "tensorboard"]  # fmt: skip
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    (finished,), _ = list_runs(Path(place.runs))
    check(finished, (0, 1))
    refused = CliRunner().invoke(app, [*command, "--overfit"])
    assert refused.exit_code == 1
    assert "--overfit leaves no run" in refused.output


def test_folds_have_a_curve_for_each_seed(config: FuseConfig) -> None:
    """While they train, and of a run that is there already."""
    folded = with_options(config, folds="dialogue:3", epochs=3)
    run = fuse(folded, log="tensorboard").run
    folder = events_folder(run.path)
    names = sorted(f"fold-{fold}-seed-{seed}" for fold in (1, 2, 3) for seed in (0, 3))

    def curves() -> list[Curves]:
        assert sorted(path.name for path in folder.iterdir()) == names
        found = [read(folder / name) for name in names]
        for name, mine in zip(names, found, strict=True):
            _, fold, _, seed = name.split("-")
            own = [r for r in run.history() if (r["fold"] + 1, r["seed"]) == (int(fold), int(seed))]
            expected = {r["epoch"]: pytest.approx(r["dev"]["loss"], rel=1e-6) for r in own}
            assert mine["loss/dev"] == expected and own
        return found

    first = curves()
    assert first[0]["loss/dev"] != first[2]["loss/dev"]
    assert fuse(folded, log="tensorboard").already
    assert curves() == first
