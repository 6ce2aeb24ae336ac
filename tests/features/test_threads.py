import subprocess
import sys

import pytest

from erc_features.encoders.cpu_precision import cpu_flags, slow_precision, warn_of_slow_precision
from erc_features.errors import ErcWarning
from erc_features.threads import _quota, our_cores

# OpenMP reads its environment when torch loads it, so that is the moment to look; torch itself is
# loaded only where the test is about a torch that was there before.
SHOW = """
import os, sys
class Here:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            show()
            sys.stdout.flush()
            os._exit(0)
def show():
    print(os.environ.get("OMP_WAIT_POLICY"), os.environ.get("GOMP_SPINCOUNT"))
{before}
sys.meta_path.insert(0, Here())
{begin}
import torch
show()
"""


def seen(begin: str, before: str = "", **environment: str) -> str:
    import os

    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
    plain = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run(
        [sys.executable, "-c", SHOW.format(begin=begin, before=before)], env=plain | environment,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.splitlines()[-1]


EXTRACT = (
    "from erc_features.extraction.extract import extract\ntry: extract('nowhere')\n"
    "except Exception: pass"
)
FUSE = (
    "from erc_fusion import FuseConfig, fuse\ntry: fuse(FuseConfig(corpus='nowhere'))\n"
    "except Exception: pass"
)
SEARCH = """
from erc_fusion import FuseConfig
from erc_fusion.search.{name} import {name}
from erc_fusion.search.study_plan import read_plan
try: {name}({plan}FuseConfig(corpus="nowhere"))
except Exception: pass
"""
COMMAND = (
    "from cli import app\ntry: app(['inspect', 'nowhere'])\nexcept (SystemExit, Exception): pass"
)
VERIFY = (
    "from erc_features.extraction.verify import verify\ntry: verify('nowhere')\n"
    "except Exception: pass"
)
BEGINS = {
    "extract": EXTRACT,
    "verify": VERIFY,
    "fuse": FUSE,
    "command": COMMAND,
    "tune": SEARCH.format(name="tune", plan=""),
    "study": SEARCH.format(name="study", plan="read_plan('objectives'), "),
    "overfit": SEARCH.format(name="overfit", plan=""),
}


@pytest.mark.parametrize("begin", BEGINS.values(), ids=BEGINS)
def test_waiting_threads_sleep_before_torch_is_loaded(begin):
    assert seen(begin) == "PASSIVE 0"


def test_what_the_environment_says_stays():
    assert seen(EXTRACT, OMP_WAIT_POLICY="ACTIVE") == "ACTIVE None"
    assert (
        seen(EXTRACT, before="import torch") == "None None"
    )  # OpenMP is loaded: nothing to choose


def test_a_wait_policy_of_the_environment_leaves_the_cap_on_threads(monkeypatch):
    from erc_features import threads

    environment = {"OMP_WAIT_POLICY": "ACTIVE"}
    monkeypatch.setattr(threads.os, "environ", environment)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(threads, "_affinity", lambda: 8)
    monkeypatch.setattr(threads, "_quota", lambda: 3)
    threads.let_waiting_threads_sleep()
    assert environment == {"OMP_WAIT_POLICY": "ACTIVE", "OMP_NUM_THREADS": "3"}


NO_LIMIT = 1 << 16


@pytest.mark.parametrize(
    ("membership", "files", "cores"),
    [
        ("0::/", {"cpu.max": "150000 100000"}, 2),
        ("0::/", {"cpu.max": "50000 100000"}, 1),
        ("0::/", {"cpu.max": "max 100000"}, NO_LIMIT),
        # A group of version 2 within another: the smallest limit on the way counts.
        ("0::/pod/app", {"pod/app/cpu.max": "max 100000", "pod/cpu.max": "300000 100000"}, 3),
        ("0::/pod/app", {"pod/app/cpu.max": "100000 50000", "pod/cpu.max": "300000 100000"}, 2),
        ("0::/other", {"pod/cpu.max": "100000 100000"}, NO_LIMIT),
        # Version 1, with the group's own name, and where the container sees it as the root.
        ("4:cpu,cpuacct:/box", {"cpu/box/cpu.cfs_quota_us": "250000",
                                "cpu/box/cpu.cfs_period_us": "100000"}, 3),
        ("4:cpu,cpuacct:/box", {"cpu/cpu.cfs_quota_us": "100000",
                                "cpu/cpu.cfs_period_us": "100000"}, 1),
        ("4:cpu:/box", {"cpu/box/cpu.cfs_quota_us": "-1",
                        "cpu/box/cpu.cfs_period_us": "100000"}, NO_LIMIT),
        ("5:memory:/box", {"cpu/box/cpu.cfs_quota_us": "100000",
                           "cpu/box/cpu.cfs_period_us": "100000"}, NO_LIMIT),
    ],
)  # fmt: skip
def test_the_cores_that_control_groups_grant(tmp_path, membership, files, cores):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    (tmp_path / "self").write_text(membership + "\n")
    assert _quota(tmp_path, tmp_path / "self") == cores
    assert our_cores() >= 1


def test_without_control_groups_there_is_no_limit(tmp_path):
    assert _quota(tmp_path / "none", tmp_path / "none") == NO_LIMIT


def test_a_precision_without_instructions_is_told(tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nflags\t\t: fpu sse2 avx2 avx512f\n")
    flags = cpu_flags(info)
    assert "avx2" in flags and cpu_flags(tmp_path / "none") == frozenset()
    for precision in ("bf16", "fp16"):
        assert "use --precision fp32" in slow_precision(precision, flags)
        assert slow_precision(precision, [*flags, f"avx512_{precision}"]) == ""
        assert slow_precision(precision, []) == ""
    assert slow_precision("fp32", flags) == ""


def test_extract_warns_of_it_and_auto_never_picks_it(monkeypatch):
    from erc_features.encoders import cpu_precision as processor
    from erc_features.encoders import resolve
    from erc_features.encoders.base import Settings

    monkeypatch.setattr(processor, "cpu_flags", lambda: frozenset({"avx2"}))
    with pytest.warns(ErcWarning, match="no instructions for bf16, so it is 4 to 11 times slower"):
        resolve("any-model", Settings(precision="bf16", device="cpu"))
    assert resolve("any-model", Settings(precision="auto", device="cpu")).precision == "fp32"
    warn_of_slow_precision("bf16", "cuda")  # none on a GPU
