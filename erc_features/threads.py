"""How many cores this process may use, and what its threads do while they wait.

torch computes with OpenMP, whose threads spin while they wait for the slowest of them, and so take
the core that it needs. Beside a program that kept one of two cores busy, a tiny network on two
threads ran at 373 rows a second with threads that spin and at 33,180 with threads that sleep, and
one of MiniLM's size at 27 and 334 (`benchmarks/bench_busy.py`). Numbers do not change: a product
is divided as before.
"""

import os
import sys
from pathlib import Path, PurePosixPath

_ASLEEP = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}
_NO_LIMIT = 1 << 16  # cores


def let_waiting_threads_sleep() -> None:
    """Let OpenMP's threads sleep while they wait, and have no more of them than our cores.

    OpenMP reads this once, when torch loads it, so call it before. Variables that are already set
    in the environment keep their values.
    """
    if "torch" in sys.modules:
        return
    if "OMP_WAIT_POLICY" not in os.environ:
        for name, value in _ASLEEP.items():
            os.environ.setdefault(name, value)
    if our_cores() < _affinity():  # torch sees the affinity, but not what a control group grants
        os.environ.setdefault("OMP_NUM_THREADS", str(our_cores()))


def our_cores() -> int:
    """The number of cores that this process may use: a container may be granted a few of many."""
    return max(1, min(_affinity(), _quota()))


def _affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quota(
    root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")
) -> int:
    """Cores, rounded up, that our control groups (version 1 or 2) grant; very many without a limit.

    A group is also bound by the limits of the groups above it, so the smallest one counts.
    """
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    # In a container the roots are often its own group, whatever name the host has for that.
    least = _NO_LIMIT
    for line in (*lines, "0::/", "0:cpu:/"):
        _, controllers, group = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        folder, files = root, ("cpu.max",)
        if controllers:  # version 1
            folder, files = root / "cpu", ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        for place in (path := PurePosixPath(group), *path.parents):
            try:
                texts = [(folder / str(place)[1:] / file).read_text("utf-8") for file in files]
                most, period = map(int, " ".join(texts).split())
                least = min(least, -(-most // period) if most > 0 else _NO_LIMIT)
            except (OSError, ValueError, ZeroDivisionError):  # no such file, or "max"
                continue
    return least
