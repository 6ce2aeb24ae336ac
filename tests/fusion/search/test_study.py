"""`erc study`: real ladders on small feature files."""

import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from forks import forks
from fusion_files import LABELS, embeddings, make_corpus, write_features
from typer.testing import CliRunner

import cli
from erc_features.errors import ErcError, RunError
from erc_features.store import Rows
from erc_fusion.config.config import FuseConfig, with_options
from erc_fusion.runs.ladder import (
    Candidate,
    Ladder,
    Rung,
    Scaled,
    ladder_path,
    read_ladder,
    write_ladder,
)
from erc_fusion.runs.run import Run
from erc_fusion.search.study import climb
from erc_fusion.search.study_plan import Plan, read_plan

CORPUS = make_corpus((12, 4, 4))
ALL = ("text.baseline", "text.minilm", "visual.baseline", "visual.clip", "audio.baseline")
SMALL = """
scale = 2
search_seeds = 1
[base]
width = 64
epochs = 2
[search]
dropout = [0.1, 0.6]
[[rung]]
name = "one"
files = { text = "baseline" }
[[rung]]
name = "two"
files = { text = "better" }
[[rung]]
name = "three"
set = { head = "linear" }
search = {}
"""


def features(root: Path, *stems: str, corpus=CORPUS, finish: bool = True) -> Path:
    for place, stem in enumerate(stems):
        signal_ = 1.0 if stem.endswith("baseline") else 2.0
        x = embeddings(corpus, 1, 8, signal=signal_, seed=place)
        write_features(root / "features/small", stem, corpus, x, finish=finish)
    return root


def settings(root: Path, **options) -> FuseConfig:
    return with_options(
        FuseConfig(corpus="small"), features=str(root / "features"), runs=str(root / "runs"),
        device="cpu", **({"epochs": 2, "seeds": (0, 1)} | options),
    )  # fmt: skip


def small(tmp_path: Path, text: str = SMALL) -> Plan:
    (tmp_path / "small.toml").write_text(text)
    return read_plan(tmp_path / "small.toml")


def run_of(root: Path, ladder: Ladder, name: str) -> Run:
    run = next(rung.run for rung in ladder.rungs if rung.name == name)
    assert run
    return Run(root / "runs/small" / run)


@pytest.fixture(autouse=True)
def _narrow(monkeypatch):
    """No wider than this: it is how long these tests take."""
    monkeypatch.setattr("erc_fusion.search.overfit._WIDEST", 128)


@pytest.fixture
def fits(monkeypatch):
    """How often something was trained; the real training goes on."""
    import erc_fusion.training.fit

    real, seen = erc_fusion.training.fit.fit_folds, []

    def counted(config, *rest):
        seen.append(config)
        return real(config, *rest)

    monkeypatch.setattr(erc_fusion.training.fit, "fit_folds", counted)
    return seen


def test_the_objectives_one_change_a_rung_and_nothing_twice(tmp_path, fits):
    features(tmp_path, *ALL)
    said = []
    ladder = climb(read_plan("objectives"), settings(tmp_path), say=said.append)
    assert [rung.name for rung in ladder.rungs] == [
        "baseline", "text", "visual", "audio", "fusion", "triplet",
    ]  # fmt: skip
    audio = ladder.rungs[3]
    assert audio.run is None and audio.not_run == "no audio features but the baseline"
    assert "4. Better audio: not run: no audio features but the baseline" in said
    assert [rung.adds for rung in ladder.rungs] == [
        "text.baseline, visual.baseline, audio.baseline", "text.minilm for text.baseline",
        "visual.clip for visual.baseline", "better audio", "head attention",
        "contrastive triplet",
    ]  # fmt: skip
    files = [["text.baseline", "visual.baseline", "audio.baseline"],
             ["text.minilm", "visual.baseline", "audio.baseline"],
             *[["text.minilm", "visual.clip", "audio.baseline"]] * 3]  # fmt: skip
    names = ["baseline", "text", "visual", "fusion", "triplet"]
    for name, stems in zip(names, files, strict=True):
        run = run_of(tmp_path, ladder, name)
        assert run.config["modalities"] == stems and run.config["seeds"] == [0, 1]
        late = name in ("fusion", "triplet")
        assert run.config["model"]["head"] == ("attention" if late else "mlp")
        assert run.metrics["contrastive"] == ("triplet" if name == "triplet" else "none")
        rung = next(rung for rung in ladder.rungs if rung.name == name)
        best = max(rung.tried, key=lambda tried: tried.dev)
        assert len(rung.tried) == 4 and rung.scaled
        assert run.config["model"]["dropout"] == best.settings["dropout"]
        assert run.config["training"]["weight_decay"] == best.settings["weight_decay"]
        assert run.config["model"]["width"] == rung.scaled.width
    dev = {n: run_of(tmp_path, ladder, n).metrics["dev"]["accuracy"]["mean"] for n in names}
    assert ladder.final == max(dev, key=lambda name: dev[name])
    assert said[-1].startswith("7. The final model, best on dev: ")
    for config in fits:  # no choice with a seed of the runs
        assert set(config.seeds) in ({100}, {100, 101}, {0, 1})
    path = ladder_path(tmp_path / "runs", "small", "objectives")
    assert read_ladder(path) == ladder

    fits.clear()
    before = path.stat().st_mtime_ns
    assert climb(read_plan("objectives"), settings(tmp_path), say=said.append) == ladder
    assert not fits and path.stat().st_mtime_ns == before
    (run_of(tmp_path, ladder, "text").path / "DONE").unlink()  # it alone is run again
    assert climb(read_plan("objectives"), settings(tmp_path)) == ladder
    assert [config.seeds for config in fits] == [(0, 1)]


@pytest.mark.soak
def test_what_is_changed_is_searched_again(tmp_path, fits):
    features(tmp_path, "text.baseline", "text.minilm")
    plan = small(tmp_path)
    first = climb(plan, settings(tmp_path))
    assert first.rungs[2].tried == () and first.rungs[2].scaled
    assert first.rungs[0].scaled and first.rungs[0].scaled.width in (64, 128)
    fits.clear()
    more = small(tmp_path, SMALL.replace("search = {}", "search = { lr = [1e-3, 1e-2] }"))
    second = climb(more, settings(tmp_path))
    assert second.rungs[:2] == first.rungs[:2]
    assert all(config.model.head == "linear" for config in fits) and fits
    fits.clear()
    write_features(tmp_path / "features/small", "text.other", CORPUS, embeddings(CORPUS, 1, 8))
    third = climb(more, settings(tmp_path), better={"text": "other"})
    assert third.rungs[0] == first.rungs[0] and third.rungs[1].run != first.rungs[1].run
    assert {config.modalities for config in fits} == {("text.other",)}
    path = ladder_path(tmp_path / "runs", "small", "small")
    path.write_text("{")
    said = []
    assert climb(more, settings(tmp_path), better={"text": "other"}, say=said.append) == third
    assert "is damaged" in said[0]
    # A run's seed is never one that the choice was made with.
    fits.clear()
    climb(small(tmp_path), settings(tmp_path, seeds=(100, 3)), better={"text": "text.minilm"})
    assert {config.seeds for config in fits} == {(101,), (100, 3)}


ONE = """
name = "one"
scale = 2
search_seeds = 1
[base]
width = 64
epochs = 1
[search]
dropout = [0.1, 0.6]
[[rung]]
name = "one"
files = { text = "baseline" }
"""


@pytest.fixture
def told(tmp_path, fits):
    """What a study of one small rung says of an earlier one's ladder."""
    features(tmp_path, "text.baseline")

    def climbed(text: str) -> list[str]:
        fits.clear()
        said = []
        climb(small(tmp_path, text), settings(tmp_path, epochs=1), say=said.append)
        return [line for line in said if "again" in line or "replaced" in line]

    return climbed


def test_every_change_of_a_choice_makes_it_anew_and_says_so(tmp_path, fits, told):
    path = ladder_path(tmp_path / "runs", "small", "one")
    assert told(ONE) == [] and fits
    assert told(ONE) == [] and not fits
    text, seen = ONE, {read_ladder(path).rungs[0].identity}
    for old, new in (("search_seeds = 1", "search_seeds = 2"), ("scale = 2", "scale = 3"),
                     ("width = 64", "width = 32"), ("0.6]", "0.7]")):  # fmt: skip
        text = text.replace(old, new)
        replaced, again = told(text)
        assert replaced.startswith(f"{path} is replaced: it is of other rungs, settings")
        assert again.startswith("one: searched again: what one.ladder.json has of it is of other")
        assert {config.seeds for config in fits} >= {(100,), (100, 101)}
        seen.add(read_ladder(path).rungs[0].identity)
    assert len(seen) == 5


@pytest.mark.soak
def test_another_erc_chooses_anew_and_another_title_does_not(tmp_path, fits, told, monkeypatch):
    path = ladder_path(tmp_path / "runs", "small", "one")
    assert told(ONE) == []
    with monkeypatch.context() as patch:
        patch.setattr("erc_fusion.search.study.version", lambda name: "0.0.1")
        assert len(told(ONE)) == 2 and fits
    assert len(told(ONE)) == 2 and fits
    # What the record of an older erc is of isn't known.
    found = json.loads(path.read_text())
    del found["rungs"][0]["identity"]
    path.write_text(json.dumps(found))
    assert read_ladder(path).rungs[0].identity == ""
    assert len(told(ONE)) == 2 and fits
    more = ONE + '[[rung]]\nname = "two"\nset = { head = "linear" }\nsearch = {}\n'
    assert told(more) == [] and fits  # a rung more replaces nothing
    (replaced,) = told(ONE)
    assert replaced.startswith(f"{path} is replaced") and not fits
    (replaced,) = told(ONE.replace('"one"\nfiles', '"one"\ntitle = "One"\nfiles'))
    assert replaced.startswith(f"{path} is replaced") and not fits
    assert read_ladder(path).rungs[0].title == "One"


def test_rungs_of_two_corpora_are_refused_before_any_training(tmp_path, fits):
    features(tmp_path, "text.baseline")
    x = embeddings(CORPUS, 1, 8)
    write_features(tmp_path / "features/small", "text.minilm", CORPUS, x, fingerprint="e" * 64)
    with pytest.raises(ErcError, match="not of one corpus.*\n.*baseline.*fff\n.*minilm.*eee"):
        climb(small(tmp_path), settings(tmp_path))
    assert not fits and not (tmp_path / "runs").exists()


def test_what_a_run_warns_of_is_said(tmp_path):
    features(tmp_path, "text.baseline")
    for _ in range(2):  # of a run that is there, too
        said = []
        climb(small(tmp_path, ONE), settings(tmp_path, epochs=1), say=said.append)
        few = "has 4 dialogues: intervals and tests over dialogues say little"
        assert [line for line in said if "warning" in line] == [
            f"one: warning: dev {few}", f"one: warning: test {few}",
        ]  # fmt: skip


LEFT = Ladder(
    "left", "small", "f" * 64, "accuracy",
    (Rung("one", "One", "text", "mlp-1", "", Scaled(64, 1.0, True), (Candidate({}, 0.5, 0.1),)),),
    "one",
)  # fmt: skip


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("rungs", 0, "run"), 7, "rungs.run must be a text, not 7"),
        (("rungs", 0, "name"), None, "rungs.name must be a text, not None"),
        (("rungs", 0, "identity"), ["x"], "rungs.identity must be a text, not"),
        (("rungs", 0, "scaled"), 0, "rungs.scaled must be a table, not 0"),
        (("rungs", 0, "scaled", "width"), True, "scaled.width must be a whole number, not True"),
        (("rungs", 0, "scaled", "fitted"), 1, "scaled.fitted must be true or false, not 1"),
        (("rungs", 0, "tried", 0, "dev"), float("nan"), "dev must be a finite number, not nan"),
        (("rungs", 0, "tried", 0, "settings"), [], r"settings must be a table, not \[\]"),
        (("rungs", 0, "tried"), "x", "is damaged.*tried must be a list"),
        (("rungs",), {"a": 1}, "is damaged.*rungs must be a list"),
        (("final",), 3, "final must be a text, not 3"),
        (("format_version",), 2, "format version 2"),
    ],
)
def test_a_ladder_of_wrong_types_is_damaged(tmp_path, keys, value, message):
    path = write_ladder(LEFT, tmp_path)
    assert read_ladder(path) == LEFT
    found = json.loads(path.read_text())
    found["rungs"][0]["scaled"]["train_accuracy"] = 1  # JSON knows one kind of number
    at = found
    for key in keys[:-1]:
        at = at[key]
    at[keys[-1]] = value
    path.write_text(json.dumps(found))
    with pytest.raises(RunError, match=message):
        read_ladder(path)


def altered(corpus, seed: int = 5):
    """The same corpus, its test labels shuffled."""
    rows = corpus.rows
    test = np.array([split == "test" for split in rows.split])
    target = corpus.target.copy()
    target[test] = (target[test] + 1) % 3
    label = [LABELS[c] for c in target]
    return replace(corpus, rows=Rows(**{**vars(rows), "label": label}))


def test_dev_alone_chooses(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    features(here, "text.baseline", "text.minilm")
    other = altered(CORPUS)
    for place, stem in enumerate(("text.baseline", "text.minilm")):
        x = embeddings(CORPUS, 1, 8, signal=1.0 + place, seed=place)
        x[[split == "test" for split in CORPUS.rows.split]] *= -3
        write_features(there / "features/small", stem, other, x)
    first, second = (climb(small(tmp_path), settings(root)) for root in (here, there))
    for one, two in zip(first.rungs, second.rungs, strict=True):
        assert one.scaled == two.scaled and one.tried == two.tried and one.run != two.run
        a, b = run_of(here, first, one.name), run_of(there, second, two.name)
        assert a.config["model"] == b.config["model"]
        assert a.metrics["dev"]["accuracy"] == b.metrics["dev"]["accuracy"]
        assert a.metrics["test"]["accuracy"] != b.metrics["test"]["accuracy"]
    assert first.final == second.final


def test_rungs_that_cannot_be_run_say_why(tmp_path):
    def reasons(root: Path, **more) -> Mapping[str, str]:
        found = climb(read_plan("objectives"), settings(root, epochs=1), **more)
        return {rung.name: rung.not_run for rung in found.rungs}

    features(tmp_path / "a", "text.minilm")
    assert reasons(tmp_path / "a") == {
        "baseline": "no text.baseline, no visual features, no audio features",
        "text": "",
        "visual": "no visual features",
        "audio": "no audio features",
        "fusion": "one modality only, nothing to fuse",
        "triplet": "",
    }
    features(tmp_path / "b", "text.baseline", "visual.clip")
    features(tmp_path / "b", "text.bert", finish=False)
    found = reasons(tmp_path / "b", better={"visual": "visual.clip"})
    assert found["text"] == "no text features but the baseline (text.bert unfinished)"
    assert {name for name, why in found.items() if why} == {"text", "audio"}


def test_unclear_or_absent_files(tmp_path):
    objectives = read_plan("objectives")
    with pytest.raises(ErcError, match="No feature files in .*erc extract"):
        climb(objectives, settings(tmp_path))
    features(tmp_path, "text.baseline", "text.bert", "text.minilm")
    with pytest.raises(ErcError, match=r"better text:\n  text.bert\n  text.minilm\n.*--text bert"):
        climb(objectives, settings(tmp_path))
    with pytest.raises(ErcError, match="--text roberta: no complete .*text.bert, text.minilm"):
        climb(objectives, settings(tmp_path), better={"text": "roberta"})
    with pytest.raises(ErcError, match="--audio wav: no complete .*: none of audio"):
        climb(objectives, settings(tmp_path), better={"audio": "wav"})
    with pytest.raises(ErcError, match="has it already. Others are: text.bert, text.minilm"):
        climb(objectives, settings(tmp_path), better={"text": "baseline"})
    with pytest.raises(ErcError, match="--audio x: no rung of 'small' takes a better one"):
        climb(small(tmp_path), settings(tmp_path), better={"audio": "x"})
    nothing = SMALL.split("[[rung]]")[0] + "[[rung]]\nname='a'\nfiles={audio='x'}"
    with pytest.raises(ErcError, match="No rung .* can be run on .*\n  a: no audio features"):
        climb(small(tmp_path, nothing), settings(tmp_path))
    assert not (tmp_path / "runs").exists()  # nothing was trained before all was clear


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("scale = 2", "scael = 2", "key in .*small.toml: 'scael'; choose from base, monitor"),
        ("scale = 2", "scale = 'x'", "scale must be a whole number, not 'x'"),
        ("scale = 2", "scale = -1", "scale must be 0 or more"),
        ("scale = 2", "monitor = 'f1'", "Unknown monitor in .* 'f1'; choose from accuracy"),
        ("scale = 2", "name = '../x'", "name '../x': use letters"),
        ("scale = 2", "scale = ", "not a TOML file"),
        ("epochs = 2", "epoch = 2", "base: Unknown setting 'epoch'; choose from"),
        ("epochs = 2", "seeds = [1]", "base: seeds belongs to the whole study"),
        ("dropout = [0.1, 0.6]", "dropout = 0.1", "search.dropout must be a list"),
        ("dropout = [0.1, 0.6]", "dropout = ['a']", "dropout must be a number"),
        ("dropout = [0.1, 0.6]", "dropout = [1.5]", "dropout must be from 0 to below 1"),
        ('name = "two"', 'name = "one"', "more than one rung is called one"),
        ('name = "two"', "", "rung 2: name ''"),
        ('name = "two"', 'name = "two"\nadd = "x"', "key in .*rung 2: 'add'; choose from adds"),
        ('text = "better"', 'txt = "better"', "modality in .*rung 2, files 'txt'"),
        ('text = "better"', "text = 3", "files.text must be a text, not 3"),
        ('head = "linear"', 'head = "liner"', "Unknown head 'liner'"),
        ('files = { text = "baseline" }', "", "rung one: the first rung needs `files`"),
        ("search = {}", "fuses = 1", "fuses must be true or false"),
    ],
)  # fmt: skip
def test_wrong_ladders(tmp_path, old, new, message):
    assert old in SMALL
    features(tmp_path, "text.baseline", "text.minilm")
    with pytest.raises(ErcError, match=message):
        climb(small(tmp_path, SMALL.replace(old, new, 1)), settings(tmp_path))
    assert not (tmp_path / "runs").exists()


def test_no_such_ladder(tmp_path):
    with pytest.raises(ErcError, match="No ladder goals.toml; there is `objectives`, or a TOML"):
        read_plan("goals.toml")
    with pytest.raises(ErcError, match="a ladder has rungs"):
        small(tmp_path, "scale = 1")


WORK = """
def kill(title, done, total):
    if (title, done) == ("two", 3):
        os.kill(os.getpid(), signal.SIGKILL)
climb(read_plan({plan!r}), settings(Path({root!r})), progress=kill)
"""


@pytest.mark.soak
def test_killed_it_goes_on_where_it_was(tmp_path, fits):
    features(tmp_path, "text.baseline", "text.minilm")
    plan = small(tmp_path)
    work = WORK.format(plan=str(tmp_path / "small.toml"), root=str(tmp_path))
    imports = (
        f"sys.path[:0] = {sys.path!r}\n"
        "from test_study import *\nimport erc_fusion.training.fit, erc_fusion.search.overfit\n"
        "erc_fusion.search.overfit._WIDEST = 128"
    )
    script = tmp_path / "killed.py"
    with forks(script, imports, f"exec({work!r})") as run:
        assert os.WTERMSIG(run()) == signal.SIGKILL
    left = read_ladder(ladder_path(tmp_path / "runs", "small", "small"))
    assert [rung.name for rung in left.rungs] == ["one"] and left.final is None
    ladder = climb(plan, settings(tmp_path))
    assert ladder.rungs[0] == left.rungs[0] and ladder.final
    assert not any(config.modalities == ("text.baseline",) for config in fits)
    whole = tmp_path / "whole"
    features(whole, "text.baseline", "text.minilm")
    assert climb(plan, settings(whole)) == ladder  # the same as never killed


@pytest.mark.soak
def test_on_the_command_line(tmp_path, monkeypatch):
    features(tmp_path, "text.baseline", "text.minilm")
    small(tmp_path, SMALL + 'title = "3. [Linear]"\n')
    monkeypatch.chdir(tmp_path)
    command = ["study", "small.toml", "--corpus", "small", "--seeds", "2", "--device", "cpu"]
    done = CliRunner().invoke(cli.app, command)
    assert done.exit_code == 0, done.stderr
    assert "one (text.baseline): mlp-" in done.stderr and "3. [Linear] (head linear)" in done.stderr
    assert "4. The final model, best on dev: " in done.stderr
    assert "chosen on dev" in done.stdout and "dropout 0." in done.stdout
    assert "3. [Linear]" in (tmp_path / "runs/small/small.html").read_text()
    again = [*command, "--json", "--to", "page.html", "--text", "minilm"]
    done = CliRunner().invoke(cli.app, again)
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert [rung["name"] for rung in found["ladder"]["rungs"]] == ["one", "two", "three"]
    assert found["ladder"]["final"] and Path(found["page"]).is_file()
    done = CliRunner().invoke(cli.app, ["study", "goals"])
    assert done.exit_code == 1 and "No ladder goals" in done.stderr
