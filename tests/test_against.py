"""`--against REV` of the benchmarks: two builds in turns, each of which is the one that it says."""

import json
import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "benchmarks"))

import against  # noqa: E402

# A benchmark whose figure says which tree's packages it had, and what it was told.
SCRIPT = """
import sys
sys.path.append({benchmarks!r})
import against, erc_features
print("a line of its own", sys.argv[1:])
if "--break" in sys.argv:
    sys.exit("it broke")
other = "erc-against-" in erc_features.__file__
against.print_figures({{"work": {{"s": 3.0 if other else 2.0, "CPU s": 1.5}}}})
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "bench.py"
    path.write_text(SCRIPT.format(benchmarks=str(ROOT / "benchmarks")))
    return str(path)


def test_each_build_is_measured_in_turns_and_the_work_tree_goes(script, capsys):
    said: list[str] = []
    given = ["--rows", "3", "--against", "HEAD", "--pairs=2", "--write"]
    found = against.compare(script, given, "HEAD", 2, said.append)
    assert [line.split(":")[0] for line in said] == [
        "turn 1 of 2, this", "turn 1 of 2, HEAD", "turn 2 of 2, HEAD", "turn 2 of 2, this"
    ]  # fmt: skip
    assert found["this"] == [{"work": {"s": 2.0, "CPU s": 1.5}}] * 2
    assert found["HEAD"] == [{"work": {"s": 3.0, "CPU s": 1.5}}] * 2
    first, second = against.medians(found, "HEAD")
    assert (first["before"], first["now"], first["times"]) == (3.0, 2.0, 1.5)
    assert (second["unit"], second["times"]) == ("CPU s", 1.0)
    assert against.table([first], "HEAD")[1] == ("work", "s", "3", "2", "1.50")
    left = subprocess.run(["git", "-C", ROOT, "worktree", "list"], capture_output=True, text=True)
    assert "erc-against-" not in left.stdout


def test_only_what_concerns_the_comparison_is_kept_from_the_children():
    given = ["--against", "HEAD", "--rows", "3", "--pairs", "2", "--write", "--against=x"]
    assert against._own(given) == ["--rows", "3"]


def test_times_is_the_median_of_each_turns_own_and_new_figures_have_none():
    found = {
        "this": [{"a": {"s": n}, "b": {"s": 1.0}} for n in (1.0, 2.0, 4.0)],
        "old": [{"a": {"s": n}} for n in (2.0, 8.0, 4.0)],
    }
    (row,) = against.medians(found, "old")
    assert row == {"what": "a", "unit": "s", "before": 4.0, "now": 2.0, "times": 2.0}


def test_a_revision_that_is_none_and_a_benchmark_that_breaks(script, tmp_path):
    with (
        pytest.raises(SystemExit, match="--against nosuch: no such revision"),
        against.trees("nosuch", tmp_path),
    ):
        pass
    with pytest.raises(SystemExit, match="bench.py with the packages of this failed:(.|\n)*broke"):
        against.compare(script, ["--break"], "HEAD", 1)


def test_the_wrong_packages_are_noticed(tmp_path):
    path = tmp_path / "bench.py"
    said = json.dumps({"tree": "/elsewhere", "figures": {}})
    path.write_text(f"print('figures: ' + {said!r})")
    with pytest.raises(SystemExit, match="erc of /elsewhere was measured in the place"):
        against.compare(str(path), [], "HEAD", 1)


def test_options_of_a_benchmark():
    parser = ArgumentParser()
    against.add_options(parser, turns=4)
    chosen = parser.parse_args(["--against", "HEAD"])
    assert (chosen.against, chosen.pairs, chosen.figures) == ("HEAD", 4, False)
    spent = against.spent(lambda: sum(range(1000)))
    assert set(spent) == {"s", "CPU s"} and spent["s"] >= 0
