import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from corpora import text_corpus, write_rows
from typer.testing import CliRunner

import cli
from erc_features.extraction.extract import extract
from erc_features.store import FeatureFile

VERBS = ["demo", "doctor", "download", "export", "extract", "fuse", "import", "inspect", "predict",
         "prepare", "report", "sample", "study", "tune", "verify"]  # fmt: skip


@pytest.fixture
def erc(tmp_path, monkeypatch):
    """Runs a command in an empty folder; returns (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ERC_CORPUS", raising=False)

    def run(*arguments):
        result = CliRunner().invoke(cli.app, [str(a) for a in arguments])
        return result.exit_code, result.stdout, result.stderr

    return run


def test_every_verb_has_help_with_an_example(erc):
    code, overview, _ = erc("--help")
    assert code == 0
    for verb in VERBS:
        assert verb in overview
        code, out, _ = erc(verb, "--help")
        assert code == 0, verb
        assert f"Example: erc {verb}" in " ".join(out.split())


def test_the_whole_way_with_defaults(erc, tmp_path):
    text_corpus(tmp_path / "data" / "meld", (60, 30, 30))
    code, out, err = erc("extract", "--encoder", "baseline")
    assert code == 0, err
    assert "text.baseline.h5" in out
    assert "119" in out  # ok rows: one of 120 is blank
    code, out, _ = erc("extract", "--encoder", "baseline", "--json")
    assert json.loads(out)[0]["already"] is True
    assert json.loads(out)[0]["counts"] == {"ok": 119, "missing": 1, "failed": 0}
    code, out, _ = erc("inspect", "features/meld/text.baseline.h5")
    assert code == 0
    assert "(N, L, D) = (120, 1, 2048) float16" in out
    code, out, err = erc("fuse", "--head", "linear", "--seeds", "2", "--name", "first")
    assert code == 0, err
    assert "runs/meld/first: done" in out
    code, out, _ = erc("fuse", "--head", "linear", "--seeds", "2", "--name", "first")
    assert code == 0
    assert "this run is finished already" in out
    code, out, err = erc("report")
    assert code == 0, err
    assert "majority: " in out
    assert (tmp_path / "runs" / "report.html").stat().st_size > 10_000
    code, out, _ = erc("report", "first", "--json")
    assert json.loads(out)["runs"][0]["name"] == "first"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["extract"], "No corpus at data/meld(.|\n)*erc sample(.|\n)*erc download"),
        (["extract", "--corpus", "c", "--modality", "video"], "choose from audio, text, visual"),
        (
            ["extract", "--corpus", "c", "--modality", "text", "--encoder", "bsln"],
            "Unknown text en",
        ),
        (["extract", "--corpus", "c", "--pool", "sum"], "Unknown pooling 'sum'; choose from cls"),
        (["fuse", "--corpus", "c"], "No feature files in features/c(.|\n)*erc extract"),
        (["fuse", "--head", "mpl"], "Unknown head 'mpl'; choose from attention, gated, late, lin"),
        (["fuse", "--seeds", "x"], "how many \\(5\\) or which"),
        (["inspect", "nothing.h5"], "no such file"),
        (["inspect", "c/train.csv"], "is not an HDF5 file"),
        (["prepare", "nowhere", "--to", "x"], "No raw data at nowhere"),
        (["sample", "c"], "c.*(empty|holds)"),
        (["report"], "erc fuse"),
        (["report", "nobody"], "No run nobody"),
    ],
)
def test_what_is_wrong_is_said_and_exits_with_1(erc, tmp_path, arguments, message):
    import re

    text_corpus(tmp_path / "c")
    code, _, err = erc(*arguments)
    assert code == 1, err
    said = err.splitlines()
    if arguments[0] == "fuse" and said[0] == "Using 5 seeds (0 to 4).":
        del said[0]
    assert said[0].startswith("Error: ")
    assert re.search(message, err), err
    assert "Traceback" not in err


def test_settings_of_a_file_count_unless_an_option_says_otherwise(erc, tmp_path, monkeypatch):
    text_corpus(tmp_path / "words", (60, 30, 30))
    assert erc("extract", "--corpus", "words", "--encoder", "baseline", "--features", "fz")[0] == 0
    (tmp_path / "s.toml").write_text(
        'corpus = "words"\nseeds = [0]\n[model]\nhead = "linear"\n'
        '[training]\nepochs = 2\n[place]\nfeatures = "fz"\nruns = "rz"\nname = "a"\n'
    )
    monkeypatch.setenv("ERC_CORPUS", "elsewhere")
    code, _, err = erc("fuse", "--config", "s.toml")
    assert code == 0, err
    assert (tmp_path / "rz" / "words" / "a" / "DONE").is_file()
    code, _, err = erc("fuse", "--config", "s.toml", "--runs", "ry", "--name", "b")
    assert code == 0, err
    assert (tmp_path / "ry" / "words" / "b" / "DONE").is_file()


def test_an_unfinished_baseline_is_refused(erc, tmp_path):
    text_corpus(tmp_path / "data" / "meld", (60, 30, 30))
    erc("extract", "--encoder", "baseline")
    assert erc("fuse", "--head", "linear", "--seeds", "1", "--epochs", "1")[0] == 0
    (tmp_path / "runs" / "meld" / "half").mkdir()
    (tmp_path / "runs" / "meld" / "half" / "config.toml").write_text("")
    code, _, err = erc("report", "--baseline", "half")
    assert code == 1
    assert "half" in err


def test_an_ascii_locale_prints_what_it_can(tmp_path):
    rows = [{"dialogue": "x", "sequence": i} for i in range(30)]
    write_rows(tmp_path / "words" / "train.csv", rows)
    environment = os.environ | {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "cli", "extract", "--corpus", "words"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False,
                          cwd=tmp_path)  # fmt: skip
    assert done.returncode == 1
    assert "? and 10 more" in done.stderr  # an ellipsis, where there is one


def test_usage_errors_exit_with_2(erc):
    assert erc("extract", "--batch-size", "many")[0] == 2
    assert erc("nonsense")[0] == 2


def test_a_truncated_feature_file_is_refused_by_fuse(erc, tmp_path):
    text_corpus(tmp_path / "data" / "meld")
    erc("extract", "--encoder", "baseline")
    path = tmp_path / "features" / "meld" / "text.baseline.h5"
    path.write_bytes(path.read_bytes()[:2000])
    code, _, err = erc("fuse")
    assert code == 1
    assert "truncated" in err


@pytest.mark.skipif(not shutil.which("mount") or os.geteuid() != 0, reason="needs root to mount")
def test_a_full_disk_keeps_what_was_written(tmp_path):
    """A tmpfs too small for the file, then one that is large enough."""
    root = text_corpus(tmp_path / "words", (600, 9, 9))
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "none", disk], check=False
    ).returncode:
        pytest.skip("mounting a tmpfs is not allowed here")
    command = [Path(sys.executable).parent / "erc", "extract", "--corpus", root,
               "--features", disk, "--encoder", "baseline"]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "no space left" in done.stderr
        assert "Traceback" not in done.stderr
        subprocess.run(["mount", "-o", "remount,size=16m", disk], check=True)
        extract(root, features=disk, encoder="baseline")
        with FeatureFile(disk / "words" / "text.baseline.h5") as file:
            assert file.complete
    finally:
        subprocess.run(["umount", disk], check=False)
