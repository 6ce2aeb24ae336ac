"""Where the tests spend their time: CPU seconds of each file and test, children included.

    python benchmarks/bench_tests.py                        # as `make test` runs them
    python benchmarks/bench_tests.py -q tests/fusion        # any arguments of pytest

CPU seconds, not wall: the cores are shared. A child counts for the test that waits for it, so one
that a later test ends is that test's. `collect` is what a worker did before its first test.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import pytest

HERE = Path(__file__).resolve()
RECORDS = "ERC_TEST_TIMES"
USUAL = ["-q", "-n", "2", "--dist", "loadfile"]


def spent() -> tuple[float, float]:
    """CPU seconds so far, user and system: of this process, of its children that ended."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    own, children = (each.ru_utime + each.ru_stime for each in used)
    return own, children


class Recorder:
    """Writes a line a test; the lines of several workers are appended to one file."""

    def __init__(self, path: Path) -> None:
        self.path, self.began = path, False

    def write(self, name: str, own: float, children: float) -> None:
        with open(self.path, "a") as file:
            file.write(json.dumps([name, own, children]) + "\n")

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item):
        before = spent()
        if not self.began:
            self.began = True
            self.write("collect", *before)
        result = yield
        own, children = (now - then for now, then in zip(spent(), before, strict=True))
        self.write(item.nodeid, own, children)
        return result


def pytest_configure(config) -> None:
    if RECORDS in os.environ:
        config.pluginmanager.register(Recorder(Path(os.environ[RECORDS])))


def table(lines: list[list], title: str, rows: int) -> None:
    print(f"\n{title:72} {'own':>7} {'children':>9} {'all':>7}")
    for name, own, children in sorted(lines, key=lambda line: -(line[1] + line[2]))[:rows]:
        print(f"{name[-72:]:72} {own:7.1f} {children:9.1f} {own + children:7.1f}")


def main(arguments: list[str]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        records = Path(folder) / "times.jsonl"
        path = os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH")]))
        code = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", HERE.stem, *(arguments or USUAL)],
            env=os.environ | {RECORDS: str(records), "PYTHONPATH": path}, check=False,
        ).returncode  # fmt: skip
        lines = [json.loads(line) for line in records.read_text().splitlines()]
    files: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for name, own, children in lines:
        file = files[name.partition("::")[0]]
        file[0] += own
        file[1] += children
    table(lines, "test", 150)
    table([[name, *both] for name, both in files.items()], "file", 100)
    print(f"\n{len(lines)} lines; user and system CPU of all: {sum(spent()):.0f} s")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
