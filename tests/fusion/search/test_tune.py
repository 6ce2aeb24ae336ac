"""`erc tune` and `erc fuse --overfit`: real studies on small feature files."""

import json
import signal
import subprocess
import sys
import time

import pytest
from corpora import text_corpus
from typer.testing import CliRunner

import cli
from erc_features.errors import ErcError
from erc_features.extraction.extract import extract
from erc_fusion.config.config import FuseConfig, load_config, with_options
from erc_fusion.fuse import fuse
from erc_fusion.search.overfit import overfit
from erc_fusion.search.tune import tune
from erc_fusion.search.tune_space import Space

QUICK = Space(heads=("linear", "mlp"), contexts=("none",), contrasts=("none",), widths=(16, 32))


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    folder = tmp_path_factory.mktemp("words")
    text_corpus(folder / "data/words", (90, 30, 30))
    extract(folder / "data/words", features=folder / "features", encoder="baseline")
    return folder


def settings(folder, **options):
    return with_options(
        FuseConfig(corpus="words"), features=str(folder / "features"), runs=str(folder / "runs"),
        device="cpu", **({"epochs": 4, "seeds": (100, 101)} | options),
    )  # fmt: skip


def test_the_best_setting_is_a_file_that_fuse_takes(words, tmp_path):
    seen = []
    found = tune(settings(words), space=QUICK, trials=6, to=tmp_path / "tuned.toml",
                 progress=lambda *at: seen.append(at))  # fmt: skip
    assert sum(found.counts.values()) == 6 == seen[-1][0]
    assert found.best[0].score == max(trial.score for trial in found.best) == seen[-1][2]
    config = load_config(found.path)
    assert config == found.config
    assert config.model.head == found.best[0].options["head"]
    assert config.training.lr == found.best[0].options["lr"]
    assert config.seeds == FuseConfig().seeds  # and not those that the choice was made with
    again = tune(settings(words), space=QUICK, trials=6, to=tmp_path / "again.toml")
    assert again.best == found.best  # the same search twice
    run = fuse(config).run
    assert run.done
    # The trial's own score, trained alone with the seeds of the search.
    redo = with_options(config, seeds=(100, 101), name="redo")
    history = fuse(redo).run.history()
    best = [max(h["dev"]["accuracy"] for h in history if h["seed"] == s) for s in (100, 101)]
    assert sum(best) / 2 == pytest.approx(found.best[0].score, abs=1e-9)


@pytest.mark.soak
def test_a_storage_is_shared_goes_on_and_is_of_one_data_set(words, tmp_path):
    storage = f"sqlite:///{tmp_path / 'tune.db'}"
    what = {"space": QUICK, "storage": storage, "to": tmp_path / "t.toml"}
    first = tune(settings(words), trials=3, **what)
    second = tune(settings(words), trials=5, **what)
    assert sum(second.counts.values()) == 5
    assert {trial.number for trial in first.best} <= {trial.number for trial in second.best}
    with pytest.raises(ErcError, match="is of other feature files, settings or choices"):
        tune(settings(words, monitor="weighted_f1"), trials=9, **what)
    with pytest.raises(ErcError, match="can't be used .*sqlite:///tune.db works"):
        tune(settings(words), trials=1, storage="nosql:///x", to=tmp_path / "t.toml")


SEARCH = """
import sys
from erc_fusion.config.config import FuseConfig, with_options
from erc_fusion.search.tune_space import Space
from erc_fusion.search.tune import tune
tune(with_options(FuseConfig(corpus="words"), features={features!r}, runs={runs!r}, epochs=200,
                  patience=200, seeds=(100, 101), device="cpu"),
     space=Space(("linear", "mlp"), ("none",), contrasts=("none",), widths=(16, 32)),
     trials=1000, storage={storage!r}, to={to!r})
"""


def ended(storage):
    """Trials that came to their own end; one that was interrupted has failed, for Optuna."""
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    try:
        study = optuna.load_study(study_name="words", storage=storage)
    except (KeyError, optuna.exceptions.OptunaError, SQLAlchemyError):
        return 0  # not made yet
    return sum(trial.state.name in ("COMPLETE", "PRUNED") for trial in study.trials)


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(signal.SIGINT, marks=pytest.mark.soak),
        pytest.param(signal.SIGTERM, marks=pytest.mark.soak),
        pytest.param(signal.SIGKILL, marks=pytest.mark.soak),
    ],
)
def test_interrupted_its_trial_has_not_failed(words, tmp_path, sent):
    import optuna

    storage = f"sqlite:///{tmp_path / 'tune.db'}"
    code = SEARCH.format(features=str(words / "features"), runs=str(words / "runs"),
                         storage=storage, to=str(tmp_path / "x.toml"))  # fmt: skip
    with subprocess.Popen([sys.executable, "-c", code]) as search:
        until = time.monotonic() + 240
        while ended(storage) < 2 and time.monotonic() < until:
            time.sleep(0.5)
        # Into the next one: its epochs are scored, and a sqlite file is not being written.
        while time.monotonic() < until:
            last = optuna.load_study(study_name="words", storage=storage).trials[-1]
            if last.state.name == "RUNNING" and last.intermediate_values:
                break
        search.send_signal(sent)
    assert (tmp_path / "x.toml").is_file() == (sent != signal.SIGKILL)  # the best so far
    study = optuna.load_study(study_name="words", storage=storage)
    done, states = ended(storage), [trial.state.name for trial in study.trials]
    assert done >= 2 and "FAIL" not in states
    left = study.trials[-1]
    assert left.state.name == ("RUNNING" if sent == signal.SIGKILL else "WAITING")
    long = settings(words, epochs=200, patience=200)  # a trial is at work when the signal comes
    found = tune(long, space=QUICK, trials=done + 1, storage=storage, to=tmp_path / "t.toml")
    assert sum(found.counts.values()) == done + 1
    if sent != signal.SIGKILL:  # it, and no other, was run
        assert ended(storage) == len(study.trials) and left.number == len(study.trials) - 1
        assert study.trials[-1].params == left.params


def test_wrong_input(words, tmp_path):
    with pytest.raises(ErcError, match="Unknown head 'mpl'; choose from attention"):
        tune(settings(words), space=Space(heads=("mpl",)), trials=1)
    with pytest.raises(ErcError, match="Head 'triplet' is made for a contrastive loss"):
        tune(settings(words), space=Space(heads=("triplet",), contrasts=("none",)), trials=1)
    with pytest.raises(ErcError, match="--trials must be at least 1"):
        tune(settings(words), trials=0)
    with pytest.raises(ErcError, match="No trial came to an end"):
        tune(settings(words), space=QUICK, trials=3, seconds=0.0, to=tmp_path / "t.toml")
    (tmp_path / "file").write_text("")
    with pytest.raises(ErcError, match="cannot be written"):
        tune(settings(words), space=QUICK, trials=1, to=tmp_path / "file" / "t.toml")


def test_overfit_widens_until_train_is_fitted(words):
    found = overfit(settings(words, epochs=40, width=16, dropout=0.7, weight_decay=5.0))
    assert found.fitted
    assert found.fits[-1].train_accuracy >= 0.95
    widths = [fit.width for fit in found.fits]
    assert widths == [16 * 2**n for n in range(len(widths))]
    assert not (words / "runs").exists() or not list((words / "runs").rglob("*overfit*"))
    hopeless = overfit(settings(words, epochs=1, width=1024))
    assert not hopeless.fitted and len(hopeless.fits) == 1


def test_on_the_command_line(words, tmp_path, monkeypatch):
    monkeypatch.chdir(words)
    where = ["--corpus", "words", "--runs", str(tmp_path / "runs")]
    done = CliRunner().invoke(
        cli.app,
        ["tune", *where, "--trials", "2", "--heads", "linear", "--contexts", "none", "--contrasts",
         "none", "--losses", "cross-entropy", "--seeds", "7", "--json"],
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["counts"] == {"complete": 2} and (tmp_path / "runs/words/tuned.toml").is_file()
    done = CliRunner().invoke(
        cli.app, ["fuse", *where, "--overfit", "--epochs", "1", "--seeds", "1", "--width", "512"]
    )
    assert done.exit_code == 0, done.stderr
    assert "Not even width 1024 fits train" in done.stdout
    assert [path.name for path in (tmp_path / "runs/words").iterdir()] == ["tuned.toml"]
