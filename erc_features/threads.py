"""How many cores are ours, and what threads do while they wait.

torch computes with OpenMP, whose threads spin while they wait for the slowest of them, and so take
the core that it needs. Beside a program that kept one of two cores busy, a tiny network on two
threads ran at 373 rows a second with threads that spin and at 33,180 with threads that sleep, and
one of MiniLM's size at 27 and 334 (`benchmarks/bench_busy.py`). Numbers do not change: a product
is divided as before.
"""

import os
import sys
from pathlib import Path

_ASLEEP = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}


def let_waiting_threads_sleep() -> None:
    """Choose for OpenMP's threads to sleep while they wait, and no more of them than our cores.

    Read once, when torch loads OpenMP, so it does nothing afterwards. What the environment says
    already stays.
    """
    if "torch" in sys.modules or "OMP_WAIT_POLICY" in os.environ:
        return
    for name, value in _ASLEEP.items():
        os.environ.setdefault(name, value)
    if our_cores() < _affinity():  # torch sees the affinity, but not what a control group grants
        os.environ.setdefault("OMP_NUM_THREADS", str(our_cores()))


def our_cores() -> int:
    """Cores that this process may use: a container may have been granted a few of many."""
    return max(1, min(_affinity(), _quota()))


def _affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quota(limit: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Whole cores that the control group grants; very many where it sets no limit."""
    try:
        most, period = limit.read_text(encoding="utf-8").split()
        return max(1, -(-int(most) // int(period)))
    except (OSError, ValueError):  # no control group, or "max"
        return 1 << 16
