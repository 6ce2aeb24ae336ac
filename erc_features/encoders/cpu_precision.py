"""The precisions that the CPU has instructions for."""

import warnings
from collections.abc import Iterable
from pathlib import Path

from erc_features.errors import ErcWarning

# Their names in /proc/cpuinfo; x86-64, then 64-bit Arm. Without one of these, oneDNN and torch
# convert every number to fp32 and back.
_INSTRUCTIONS = {
    "bf16": frozenset({"avx512_bf16", "amx_bf16", "bf16"}),
    "fp16": frozenset({"avx512_fp16", "amx_fp16", "asimdhp"}),
}
_CPUINFO = Path("/proc/cpuinfo")


def slow_precision(precision: str, flags: Iterable[str]) -> str:
    """A warning about a precision on a CPU with these instructions; "" if it is no slower.

    Without any flags the CPU is not known, and there is no warning.

    >>> slow_precision("fp32", ["avx2"]), slow_precision("bf16", ["avx512_bf16"])
    ('', '')
    >>> print(slow_precision("bf16", ["avx2"]))
    --precision bf16: this CPU has no instructions for bf16, so it is 4 to 11 times slower here \
than fp32; use --precision fp32.
    """
    wanted, found = _INSTRUCTIONS.get(precision, frozenset()), frozenset(flags)
    if not wanted or not found or wanted & found:
        return ""
    return (
        f"--precision {precision}: this CPU has no instructions for {precision}, so it is 4 to 11 "
        "times slower here than fp32; use --precision fp32."
    )


def warn_of_slow_precision(precision: str, device: str) -> None:
    """Warn (:class:`ErcWarning`) of a precision that the CPU has no instructions for."""
    if device == "cpu" and (slow := slow_precision(precision, cpu_flags())):
        warnings.warn(slow, ErcWarning, stacklevel=2)


def cpu_flags(info: Path = _CPUINFO) -> frozenset[str]:
    """The instructions of the first core; empty if the system does not list them."""
    try:
        lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        name, _, found = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(found.split())
    return frozenset()
