"""`erc report --corpus A --corpus B`: real runs of several corpora, each on the others."""

import csv
import json
import os
import shlex
import shutil
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import h5py
import numpy as np
import pytest
from fusion_files import LABELS, Corpus, make_corpus, write_features
from pages import Page, asks_nobody
from report_runs import write_run
from typer.testing import CliRunner

import cli
from erc_features.errors import RunError
from erc_fusion.report import across

THEIRS = {"anger": "angry", "joy": "happy", "neutral": "bored"}


def write(folder: Path, seed: int, names: dict[str, str], labels: tuple[str, ...]) -> None:
    """A corpus whose classes have the same directions as those of the others."""
    made = make_corpus((10, 4, 5 + seed), seed=seed)
    rows = replace(made.rows, label=[names[label] for label in made.rows.label],
                   text=[f"{folder.name} {text}" for text in made.rows.text])  # fmt: skip
    directions = np.random.default_rng(5).normal(size=(3, 6))
    noise = np.random.default_rng(seed).normal(size=(len(rows), 1, 6))
    x = (noise + 3 * directions[made.target][:, None]).astype(np.float32)
    write_features(folder, "text.x", Corpus(rows, made.target), x, labels=labels,
                   fingerprint=sha256(folder.name.encode()).hexdigest())  # fmt: skip


def run(*words: object) -> str:
    done = CliRunner().invoke(cli.app, [*map(str, words)])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """ours: two runs; theirs, with other names; turned: the labels of ours in another order."""
    folder = tmp_path_factory.mktemp("across")
    same = {name: name for name in LABELS}
    write(folder / "features/ours", 0, same, LABELS)
    write(folder / "features/theirs", 1, THEIRS, ("happy", "bored", "angry"))
    write(folder / "features/turned", 2, same, LABELS[::-1])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for corpus, name, head in (
            ("ours", "ok", "linear"),
            ("ours", "poor", "mlp"),
            ("theirs", "ok", "linear"),
            ("turned", "ok", "linear"),
        ):
            run("fuse", "--corpus", corpus, "--name", name, "--head", head, "--device", "cpu",
                "--epochs", 12 if name == "ok" else 1, "--seeds", 2, "--width", 16,
                "--lr", "2e-2" if name == "ok" else "1e-9")  # fmt: skip
    return folder


@pytest.fixture
def here(root, tmp_path, monkeypatch):
    """A copy of the runs, and the features as they are."""
    shutil.copytree(root / "runs", tmp_path / "runs")
    (tmp_path / "features").symlink_to(root / "features")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def cells(made) -> dict[tuple[str, str], dict]:
    return {(one["trained_on"], one["tested_on"]): one for one in made["matrix"]}


def test_the_gaps_say_how_they_are_filled(here):
    asked = ("report", "--corpus", "ours", "--corpus", "features/theirs", "--corpus", "turned")
    first = cells(json.loads(run(*asked, "--json")))
    assert len(first) == 9
    gaps = {where: one for where, one in first.items() if one["missing"]}
    assert {where[0] != where[1] for where in gaps} == {True} and len(gaps) == 6
    for (trained, tested), one in gaps.items():
        assert one["command"].startswith(f"erc score runs/{trained}/ok {tested} --split test")
        assert one["command"].endswith("--map THEIRS=OURS") == ("theirs" in (trained, tested))
    page = Page(Path("runs/across.html").read_text())
    assert page.text.count("not scored") >= 6
    assert all(one["command"] in page.text for one in gaps.values())
    # As it says, with the map filled in.
    pairs = {"theirs": ",".join(f"{name}={ours}" for ours, name in THEIRS.items()),
             "ours": ",".join(f"{ours}={name}" for ours, name in THEIRS.items())}  # fmt: skip
    pairs["turned"] = pairs["ours"]
    for (_, tested), one in gaps.items():
        run(*shlex.split(one["command"].replace("THEIRS=OURS", pairs[tested]))[1:])
    said = run(*asked, "--json", "--csv", "m.csv", "--latex", "m.tex")
    made = json.loads(said)
    assert made["page"] == "runs/across.html" and not Path("runs/report.html").exists()
    full = cells(made)
    assert not any(one["missing"] or one["command"] for one in full.values())
    for (trained, tested), one in full.items():
        # The classes have the same directions everywhere: a label mixed up would show.
        assert one["weighted_f1"]["mean"] > 0.8, (trained, tested)
        assert one["split"] == "test" and one["own"] == (trained == tested)
        metrics = json.loads(Path("runs", tested, "ok/metrics.json").read_text())["test"]
        assert one["rows"] == metrics["labelled"]
        if trained == tested:
            assert one["uar"]["seeds"] == metrics["uar"]["seeds"]
        else:
            kept = Path("runs", trained, "scores/ok", f"{tested}.test.json").read_text()
            assert one["accuracy"]["low"] == json.loads(kept)["scores"]["accuracy"]["low"]
    assert full["ours", "theirs"]["mapped"] == {theirs: ours for ours, theirs in THEIRS.items()}
    # The same in every form.
    with open("m.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 9
    one = next(x for x in lines if (x["trained_on"], x["tested_on"]) == ("theirs", "turned"))
    assert float(one["uar_high"]) == full["theirs", "turned"]["uar"]["high"]
    assert "joy=happy" in one["mapped"] and one["own"] == ""
    text = Path("runs/across.html").read_text()
    page = Page(text)
    assert asks_nobody(text, page) and "not scored" not in page.text
    assert len(page.tables) == len(made["scores"]) and made["scores"][0] == "weighted_f1"
    shown = f"{100 * full['theirs', 'turned']['weighted_f1']['mean']:.1f} ± "
    assert page.tables[0][2][3].startswith(shown)
    assert page.tables[0][0] == ["Trained on", "on ours", "on theirs", "on turned"]
    assert "ours/ok on theirs: angry as anger, happy as joy, bored as neutral." in page.text
    tex = Path("m.tex").read_text()
    assert shown.replace("±", r"$\pm$") in tex and tex.count(r"\midrule") == len(made["scores"])
    printed = run(*asked)
    assert shown in printed and "ours/ok: highest dev accuracy of 2 runs" in printed
    assert "happy as joy" in printed


def test_which_runs_and_which_rows(here):
    made = across(Path("runs"), ["ours", "theirs"], to=None)
    assert [line.row.name for line in made.lines] == ["ok", "ok"]
    named = across(Path("runs"), ["ours", "theirs"], [Path("poor")], to=None)
    assert [(li.corpus.name, li.row.name, li.chosen) for li in named.lines] == [
        ("ours", "poor", "named"),
        ("theirs", "ok", "the only run of theirs that predicts label"),
    ]
    both = across(Path("runs"), ["ours", "theirs"], [Path("runs/ours/poor"), Path("ok")], to=None)
    assert [li.name for li in both.lines] == ["ours/poor", "ours/ok", "theirs/ok"]
    # A corpus of which there are scores alone, and rows that are not the diagonal's.
    run("score", "runs/ours/ok", "turned")
    shutil.rmtree("runs/turned")
    only = across(Path("runs"), ["ours", "turned"], to=None)
    assert [entry.split for entry in only.lines[0].entries] == ["test", "all"]
    assert "--corpus turned adds it" in across(Path("runs"), ["ours", "theirs"], to=None).notes[-1]
    run("score", "runs/ours/ok", "theirs", "--map", "happy=joy")
    made = across(Path("runs"), ["ours", "theirs"], to=None)
    assert any("on theirs are not over the same rows" in note for note in made.notes)
    entry = made.lines[0].entries[1]
    assert set(entry.left_out) == {"angry", "bored"} and "left out" in "".join(entry.notes)
    assert entry.split == "all" and entry.command in entry.notes[-1]
    assert entry.command == "erc score runs/ours/ok theirs --split test --map happy=joy"
    run(*entry.command.split()[1:])
    entry = across(Path("runs"), ["ours", "theirs"], to=None).lines[0].entries[1]
    assert (entry.split, entry.command) == ("test", "")
    run("fuse", "--corpus", "theirs", "--name", "folds", "--folds", "dialogue:3", "--epochs", 1,
        "--seeds", 1, "--width", 8, "--device", "cpu")  # fmt: skip
    with pytest.raises(RunError, match="Dev chooses none of the 2 runs of theirs.*over folds"):
        across(Path("runs"), ["ours", "theirs"], to=None)
    made = across(Path("runs"), ["ours", "theirs"], [Path("folds")], to=None)
    assert [entry.split for entry in made.lines[1].entries] == ["", "all"]
    assert "--split" not in made.lines[1].entries[0].command.replace("--split test", "")
    assert made.lines[0].entries[1].split == "all"


def test_what_cannot_be_shown(here):
    def refused(match, *given, **more):
        with pytest.raises(RunError, match=match):
            across(Path("runs"), *given, to=None, **more)

    refused("No finished run of nowhere.*no run of this report was scored", ["ours", "nowhere"])
    refused("No finished run of a, b in runs", ["a", "b"])
    refused("No run nothing. Finished runs in runs: ours: ok, poor; theirs: ok",
            ["ours", "theirs"], [Path("nothing")])  # fmt: skip
    refused("was trained on turned.*add --corpus turned", ["ours", "theirs"],
            [Path("runs/turned/ok")])  # fmt: skip
    refused("--target valence: no run of ours predicts it", ["ours", "theirs"], target="valence")
    Path("runs/ours/poor/DONE").unlink()
    refused("poor is not finished", ["ours", "theirs"], [Path("poor")])
    assert across(Path("runs"), ["ours", "theirs"], to=None).unfinished == (Path("runs/ours/poor"),)
    shutil.copytree("runs/ours/poor", "runs/begun/poor")
    refused("of begun in runs/begun.*Not finished: runs/begun/poor", ["ours", "begun"])
    # Scores of another version of the corpus are none.
    run("score", "runs/ours/ok", "turned", "--split", "test")
    copy = here / "copy/turned"
    shutil.copytree(here / "features/turned", copy)
    with h5py.File(copy / "text.x.h5", "r+") as file:
        file.attrs["fingerprint"] = "9" * 64
    shutil.rmtree("runs/turned")
    run("fuse", "--corpus", "turned", "--features", "copy", "--name", "new", "--epochs", 1,
        "--seeds", 1, "--width", 8, "--device", "cpu")  # fmt: skip
    made = across(Path("runs"), ["ours", "turned"], to=None)
    entry = made.lines[0].entries[1]
    assert "another version of turned" in entry.missing and entry.scores == {}
    os.rename("runs/turned", "runs/renamed")
    refused("was trained on turned, not on renamed", ["ours", "renamed"])
    # Two names of one corpus, and runs without labels of test.
    write_run(here / "runs", "a", corpus="meld")
    write_run(here / "runs", "a", corpus="copied", without=("test",))
    made = across(Path("runs"), ["meld", "copied"], to=here / "page.html")
    assert "meld and copied are one corpus: texts, speakers and labels are equal." in made.notes
    assert "has a label" in made.lines[1].entries[1].missing
    assert "no labels" in Page((here / "page.html").read_text()).text


def test_one_corpus_twice_is_one_and_others_are_refused(here, monkeypatch):
    def refused(*words):
        done = CliRunner().invoke(cli.app, ["report", *words])
        assert done.exit_code == 1
        return done.stderr

    asked = ("--corpus", "ours", "--corpus", "features/ours", "--study", "none")
    assert "No study 'none' in runs/ours" in refused(*asked)
    monkeypatch.setenv("ERC_CORPUS", "data/theirs")
    assert "No study 'none' in runs/theirs" in refused("--study", "none")
    assert "theirs is a corpus with runs: say it with" in refused("--corpus", "ours", "theirs")
    asked = ("--corpus", "ours", "--corpus", "theirs", "--study", "none")
    assert "of one corpus: give one --corpus" in refused(*asked)
