"""How the benchmarks measure: lines in turns, the machine, resident memory; RESULTS.md."""

import os
import shlex
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from time import perf_counter

RESULTS = Path(__file__).resolve().parent / "RESULTS.md"
_HEAD = """# Results

The latest figures of the benchmarks, with a section for each machine and command. With `--write`, a
benchmark replaces its own section. LOG.md records what was learnt from these figures.

Extraction rates are in utterances/s, scores in percent. The docstring of each script
explains the columns of its tables; a number in parentheses in a heading or cell is the target.
"""


def in_turns(
    lines: Mapping[str, Callable[[], float]],
    turns: int,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, list[float]]:
    """Measure each line once a turn, one after the other: a busy minute troubles them all alike.

    A line is a function that works and returns what was measured of it.
    """
    found: dict[str, list[float]] = {name: [] for name in lines}
    for turn in range(turns):
        for name, line in lines.items():
            found[name].append(line())
            say(f"turn {turn + 1} of {turns}, {name}: {found[name][-1]:,.1f}")
    return found


def rate(run: Callable[[], object], rows: int) -> Callable[[], float]:
    """A line for :func:`in_turns`: rows a second of one call."""

    def measured() -> float:
        began = perf_counter()
        run()
        return rows / (perf_counter() - began)

    return measured


def machine() -> dict[str, str | int | float]:
    """What a figure depends on; `load` is the number of processes that wanted the cores."""
    import torch

    info = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in info if line.startswith("model name")]
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "cpu": names[0] if names else "unknown",
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(pages / 2**30),
        "gpu": gpu,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1),
    }


class Memory:
    """The largest resident set, in MB, of this process and its children while it is open."""

    def __enter__(self) -> "Memory":
        self.most, self._on = 0.0, True
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._on = False
        self._thread.join()

    def _watch(self) -> None:
        while self._on:
            self.most = max(self.most, sum(map(resident, family(os.getpid()))))
            time.sleep(0.1)


def family(root: int) -> set[int]:
    """A process and all below it."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int(
                    (entry / "stat").read_text().rpartition(")")[2].split()[1]
                )
            except (OSError, IndexError):
                continue
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def resident(pid: int) -> float:
    """MB; 0 of a process that has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 1e6
    except (OSError, IndexError):
        return 0.0


def command_of(script: str, arguments: Sequence[str] | None) -> str:
    """What was typed, without `--write`; None: the arguments of this process."""
    given = sys.argv[1:] if arguments is None else arguments
    return shlex.join([script, *(a for a in given if a != "--write")])


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """A table; the first line is its head."""
    first, *rest = (f"| {' | '.join(line)} |" for line in lines)
    return "\n".join([first, "| --- " * len(lines[0]) + "|", *rest])


def write_section(
    script: str,
    arguments: Sequence[str] | None,
    where: Mapping[str, object],
    body: str,
    path: Path = RESULTS,
) -> None:
    """Put a section into RESULTS.md, in the place of that of the same machine and command."""
    on = where["gpu"] if where["gpu"] != "none" else where["cpu"]
    heading = f"## {on}, {where['cores']} cores: `{command_of(script, arguments)}`\n"
    facts = ", ".join(f"{name} {value}" for name, value in where.items())
    put_section(heading, f"{heading}\n{date.today()}; {facts}\n\n{body}\n", path)


def put_section(heading: str, section: str, path: Path = RESULTS) -> None:
    """Put a section, which begins with its heading, in the place of that with the same heading."""
    before = path.read_text() if path.exists() else _HEAD
    head, *sections = before.split("\n## ")
    others = ["## " + text.strip("\n") + "\n" for text in sections]
    kept = [section if other.startswith(heading) else other for other in others]
    if section not in kept:
        kept.append(section)
    path.write_text("\n".join([head.strip("\n") + "\n", *kept]))
