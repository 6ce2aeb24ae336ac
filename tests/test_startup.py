"""What commands import, and how `erc` ends. Each import named here costs from a tenth of a second
to two (`benchmarks/bench_startup.py`)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from corpora import text_corpus

ROOT = Path(__file__).resolve().parents[1]
COMPILER = {"torch._dynamo", "sympy"}
TABLES = {"pandas", "sklearn", "scipy.stats"}
MEDIA = {"av", "moviepy", "PIL", "pebble"}
PICTURES = {"matplotlib"}
OURS = {"erc_fusion.fuse", "erc_fusion.predict", "erc_fusion.search.tune", "erc_features.doctor"}
RUN = "runs/meld/r"
FILE = "features/meld/text.baseline.h5"
EXTRACT = ("extract", "--encoder", "baseline")
FUSE = ("fuse", "--head", "linear", "--seeds", "1", "--epochs", "1", "--name", "r")
# In this order each finds what it needs.
COMMANDS: dict[tuple[str, ...], set[str]] = {
    ("--help",): {"numpy", "h5py", "torch", "pyarrow"} | COMPILER | TABLES | MEDIA | PICTURES,
    EXTRACT: {"torch", "pyarrow", "scipy", "transformers"} | TABLES | MEDIA | PICTURES | OURS,
    ("inspect", FILE): {"torch", "pyarrow", "scipy"} | TABLES | MEDIA | PICTURES | OURS,
    ("verify", FILE): {"transformers"} | COMPILER | TABLES | MEDIA | PICTURES | OURS,
    FUSE: COMPILER | TABLES | MEDIA | PICTURES | (OURS - {"erc_fusion.fuse"}),
    ("report",): {"torch", "av"} | TABLES | OURS,
    ("predict", RUN, "--text", "Oh"): COMPILER | TABLES | MEDIA | PICTURES
    | (OURS - {"erc_fusion.predict"}),
}  # fmt: skip

# What is registered with atexit runs, and what is printed arrives, whichever way `erc` ends.
CODE = """
import atexit, sys, cli
atexit.register(lambda: print("IMPORTED", *sys.modules))
{more}
cli.main()
"""


def erc(folder: Path, *arguments: str, more: str = "") -> subprocess.CompletedProcess[str]:
    code = [sys.executable, "-c", CODE.format(more=more), *arguments]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(code, cwd=folder, env=env, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], set[str]]:
    """Command -> all that it had imported at its end."""
    folder = tmp_path_factory.mktemp("startup")
    text_corpus(folder / "data" / "meld", (30, 9, 9))
    found = {}
    for command in COMMANDS:
        ended = erc(folder, *command)
        assert ended.returncode == 0, ended.stderr
        found[command] = set(ended.stdout.rpartition("IMPORTED ")[2].split())
    return found


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_nothing_is_imported_that_is_not_needed(command, done):
    assert "cli" in done[command]
    assert not COMMANDS[command] & done[command]


# Says so where `_leave_at_once` came back.
ENDS = """
import h5py
leave = cli._leave_at_once
cli._leave_at_once = lambda: (leave(), print("USUAL"))
"""


@pytest.mark.parametrize(
    ("more", "usual"),
    [
        ("", False),
        ("file = h5py.File('open.h5', 'w'); file['x'] = [1]", True),
        ("import threading; stop = threading.Event(); threading.Thread(target=stop.wait, "
         "args=(2,)).start()", True),
        ("sys.modules['ray'] = sys", True),
    ],
)  # fmt: skip
def test_it_leaves_at_once_only_where_nothing_is_at_stake(more, usual, tmp_path):
    ended = erc(tmp_path, "--help", more=ENDS + more)
    assert ended.returncode == 0, ended.stderr
    assert "Usage: " in ended.stdout and "IMPORTED" in ended.stdout
    assert ("USUAL" in ended.stdout) == usual
    if "open.h5" in more:
        import h5py

        with h5py.File(tmp_path / "open.h5") as file:
            assert file["x"][0] == 1


def test_exit_codes_stay(tmp_path):
    assert erc(tmp_path, "report").returncode == 1
    assert erc(tmp_path, "fuse", "--no-such").returncode == 2
    raised = erc(tmp_path, "--help", more="cli.app = lambda: 1 / 0")
    assert raised.returncode == 1 and "ZeroDivisionError" in raised.stderr
