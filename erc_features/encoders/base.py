"""What an encoder is, and what encoders share: layers, pooling, the hash of weights."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from erc_features.errors import EncoderError, choose
from erc_features.utterance import Modality

if TYPE_CHECKING:
    import torch

POOLS = ("mean", "max", "mean+max", "mean+std", "cls")
PRECISIONS = ("fp32", "bf16", "fp16")


class Encoder(Protocol):
    """A frozen network, or a formula: items to embeddings. Pure: no paths, no disk, no HDF5.

    An item is a text (str), the frames of a clip (a tuple of (H, W, 3) uint8 RGB arrays), or
    sound ((n,) float32 in [-1, 1] at 16 kHz). An item's size is its characters, its frames or
    its seconds.

    Attributes:
        name: what `encoder` says in a feature file.
        layers, dim: L and D of what `encode` returns.
        revision: sha256 over the weights, or over the formula's name and version.
        device: where it runs.
        cap: the most that a batch may cost; a batch costs its rows times its largest item.
    """

    @property
    def name(self) -> str: ...
    @property
    def modality(self) -> Modality: ...
    @property
    def layers(self) -> int: ...
    @property
    def dim(self) -> int: ...
    @property
    def revision(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def cap(self) -> float: ...

    def cost(self, size: float) -> float:
        """What an item of that size costs, in the unit of `cap`."""
        ...

    def encode(self, items: Sequence[Any]) -> np.ndarray:
        """Embeddings (B, L, D) float32. A row does not depend on its batch-mates."""
        ...


@dataclass(frozen=True)
class Settings:
    """How to encode. What differs from the defaults becomes part of the file's name."""

    layers: str = "all"
    pool: str = "mean"
    precision: str = "fp32"
    device: str = "auto"

    def __post_init__(self) -> None:
        choose("pooling", self.pool, POOLS)
        choose("precision", self.precision, PRECISIONS)
        pick_layers(self.layers, 1000)


def pick_layers(layers: str, count: int) -> list[int]:
    """Layer numbers of `all`, `last`, a slice (`-4:`) or a list (`0,6,12`) out of `count`.

    Layer 0 is what goes into the first block.

    >>> pick_layers("-4:", 13), pick_layers("0,6,12", 13), pick_layers("last", 13)
    ([9, 10, 11, 12], [0, 6, 12], [12])

    Raises:
        EncoderError: it is none of these, or names a layer that the model doesn't have.
    """
    everything = list(range(count))
    if layers == "all":
        return everything
    if layers == "last":
        return everything[-1:]
    if match := re.fullmatch(r"(-?\d+)?:(-?\d+)?", layers):
        picked = everything[slice(*(int(part) if part else None for part in match.groups()))]
    elif re.fullmatch(r"-?\d+(,-?\d+)*", layers):
        numbers = [int(part) for part in layers.split(",")]
        picked = [n + count if n < 0 else n for n in numbers]
    else:
        raise EncoderError(f"Unknown layers {layers!r}; all, last, -4: and 0,6,12 work.")
    if not picked or any(n not in everything for n in picked):
        raise EncoderError(f"--layers {layers}: the model has layers 0 to {count - 1}.")
    return picked


def pool(hidden: "torch.Tensor", mask: "torch.Tensor", how: str) -> "torch.Tensor":
    """Pool over time. hidden (B, T, D) float32, mask (B, T) bool -> (B, D) or (B, 2 D)."""
    import torch

    if how == "cls":
        return hidden[:, 0]
    if how == "mean+max":
        return torch.cat([pool(hidden, mask, "mean"), pool(hidden, mask, "max")], -1)
    keep = mask[..., None]
    if how == "max":
        return hidden.masked_fill(~keep, -torch.inf).amax(1)
    count = keep.sum(1)  # (B, 1)
    mean = (hidden * keep).sum(1) / count
    if how == "mean":
        return mean
    square = ((hidden - mean[:, None]) ** 2 * keep).sum(1) / count
    return torch.cat([mean, square.sqrt()], -1)


def pooled_dim(dim: int, how: str) -> int:
    """D after pooling: concatenating poolings double it."""
    return dim * (2 if "+" in how else 1)


def weights_revision(state: Mapping[str, "torch.Tensor"]) -> str:
    """sha256 over weights: sorted name, dtype, shape, bytes. One rule, wherever they are from."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}\t{tensor.dtype}\t{tuple(tensor.shape)}\n".encode())
        if tensor.numel():
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@contextmanager
def one_thread() -> Iterator[None]:
    """Small tensors on one thread: more only wait for each other (5 times slower when busy)."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def pick_device(device: str) -> str:
    """`auto` is CUDA where there is one, else the CPU.

    Raises:
        EncoderError: CUDA was asked for and there is none; never a silent fallback.
    """
    import torch

    kind = device.split(":")[0]
    choose("device", kind, ("auto", "cpu", "cuda"))
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if kind == "cuda" and not torch.cuda.is_available():
        raise EncoderError(
            "--device cuda: this machine has no CUDA device that torch can use. "
            "--device cpu works; --device auto takes what there is."
        )
    return device
