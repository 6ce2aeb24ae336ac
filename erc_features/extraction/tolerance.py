"""How far two encodings of one item by one encoder may be apart.

It is `relative` times the largest number of the layer, plus one unit in the last place of the
stored type at that value. The largest number is the new encoding's, so that damage does not widen
its own tolerance. `relative` is

- fp32: 1e-5, times at least 1. Alone and in batches of 64, BERT, RoBERTa, Llama, wav2vec2, WavLM
  and CLIP were at most 1.3e-6 apart on a CPU; MiniLM and a random wav2vec2-base with one thread or
  two, and with the instructions of AVX-512, AVX2 or SSE alone, at most 1.9e-6.
- bf16 5e-2, fp16 5e-3. Kernels for other shapes round at other places, so two sound results are
  no nearer to each other than to fp32, apart from the weights' own rounding, which they share:
  from fp32 they were up to 4.2e-2 and 4.2e-3 away. (On a CPU, alone and in a batch, 0.)
- On CUDA, or between two kinds of device: 1e-4 in fp32, otherwise twice the above.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Tolerance:
    """How far a sound row may be away: `relative` of the layer's largest number (at least `floor`),
    plus one unit in the last place of the stored type. `why` says it in words."""

    relative: float
    floor: float
    why: str


@dataclass(frozen=True)
class Gap:
    """Where stored and new numbers (L, D) differ by more than is allowed.

    Attributes:
        layer: of the L layers, the one that differs most.
        largest: the largest absolute difference there; `allowed` at that dimension.
        cosine: between that layer as stored and as encoded now.
        layers: the number of layers that differ too much.
    """

    layer: int
    largest: float
    allowed: float
    cosine: float
    layers: int


def tolerance_of(precision: str, here: str, there: str) -> Tolerance:
    """The tolerance between encodings in that precision on the devices `here` and `there`.

    >>> tolerance_of("fp32", "cuda:0", "cpu")
    Tolerance(relative=0.0001, floor=1.0, why='fp32 on cuda, stored on cpu')
    """
    here, there = here.partition(":")[0], there.partition(":")[0]
    why = f"{precision} on {here}"
    relative = {"fp32": 1e-5, "bf16": 5e-2, "fp16": 5e-3}[precision]
    if "cuda" in (here, there) or here != there:
        relative = 1e-4 if precision == "fp32" else 2 * relative
    if here != there:
        why = f"{why}, stored on {there or 'an unknown device'}"
    return Tolerance(relative, 1.0 if precision == "fp32" else 0.0, why)


def compare(
    stored: np.ndarray, again: np.ndarray, tolerance: Tolerance
) -> tuple[float, Gap | None]:
    """The largest difference of stored and new numbers (L, D), and the gap if it is too large."""
    here = stored.astype(np.float64)
    now = again.astype(stored.dtype).astype(np.float64)  # rounded as it would be stored
    apart = np.abs(here - now)
    scale = np.maximum(np.abs(now).max(1, keepdims=True), tolerance.floor)  # (L, 1)
    allowed = tolerance.relative * scale + _last_place(now, stored.dtype)
    furthest = float(apart.max())
    beyond = np.where(apart > allowed, apart, 0.0)
    if not beyond.any():
        return furthest, None
    layer, dim = np.unravel_index(beyond.argmax(), beyond.shape)
    lengths = float(np.linalg.norm(here[layer]) * np.linalg.norm(now[layer]))
    cosine = float(here[layer] @ now[layer]) / lengths if lengths else 0.0
    return furthest, Gap(
        int(layer), float(beyond[layer, dim]), float(allowed[layer, dim]), cosine,
        int(beyond.any(1).sum()),
    )  # fmt: skip


def in_words(layer: int | None, largest: float | None, allowed: float | None,
             cosine: float | None) -> str:  # fmt: skip
    """How much a layer differs."""
    return f"layer {layer} by {largest:.3g} where {allowed:.2g} is allowed; cosine {cosine:.4f}"


def _last_place(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The unit in the last place of each number; np.spacing overflows at the largest one.

    >>> _last_place(np.array([0.0, 1.0, 2048.0, 65504.0]), np.dtype("float16")).tolist()
    [5.960464477539063e-08, 0.0009765625, 2.0, 32.0]
    """
    info = np.finfo(dtype)
    _, exponent = np.frexp(np.maximum(np.abs(x), float(info.tiny)))  # x = m 2^e, 0.5 <= m < 1
    return np.ldexp(1.0, exponent - 1 - info.nmant)
