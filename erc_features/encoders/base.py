"""What an encoder is, and what encoders share: pooling, devices, the hash of weights."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from erc_features.encoders.layers import pick_layers
from erc_features.errors import EncoderError, ErcError, choose
from erc_features.utterance import Modality

if TYPE_CHECKING:
    import torch

# What `Recorded` encoders of erc record in a feature file's config.
LAST_LAYER, PREPROCESSING, MODULES, WORDS = "last_layer", "preprocessing", "modules", "words"
POOLS = ("mean", "max", "mean+max", "mean+std")  # over tokens, frames or time
TEXT_POOLS = ("cls", "last", "mask", "model")  # of texts only
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
WINDOWS = ("reference", "tight")
REACHES = ("past", "whole")
# Settings that a feature file's config has only where they mean something.
_OPTIONAL = ("history", "window", "reach", "prompt")


@dataclass(frozen=True, slots=True)
class Turn:
    """An utterance in its dialogue: the item of text encoders with `--history`.

    Attributes:
        dialogue: (speaker, text) of what is read together, oldest first. With `--reach whole`
            and `--history all`, all turns of a dialogue hold the same tuple.
        at: which of them is the utterance itself.
    """

    dialogue: tuple[tuple[str, str], ...]
    at: int

    @property
    def speaker(self) -> str:
        return self.dialogue[self.at][0]

    @property
    def text(self) -> str:
        return self.dialogue[self.at][1]

    @property
    def before(self) -> tuple[tuple[str, str], ...]:
        return self.dialogue[: self.at]

    @property
    def after(self) -> tuple[tuple[str, str], ...]:
        return self.dialogue[self.at + 1 :]


class Encoder(Protocol):
    """A frozen network or a formula from items to embeddings, without access to files.

    An item is a text (str, or a :class:`Turn` where there is history), the frames of a clip (a
    tuple of (H, W, 3) uint8 RGB arrays), or sound ((n,) float32 in [-1, 1] at 16 kHz). An
    item's size is its characters, its frames or its seconds, unless the encoder
    :class:`Measures` it.

    Attributes:
        name: the attribute `encoder` of a feature file.
        layers, dim: L and D of the result of `encode`.
        revision: sha256 over the weights, or over the formula's name and version.
        device: the device that it runs on.
        cap: the largest cost of a batch, which is its rows times the cost of its largest item.
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
        """The cost of an item of that size, in the unit of `cap`."""
        ...

    def encode(self, items: Sequence[Any]) -> np.ndarray:
        """Embeddings (B, L, D) float32. A row does not depend on its batch-mates."""
        ...


@dataclass(frozen=True)
class Measured:
    """What a plan needs to know of n items before any of them is decoded.

    Attributes:
        sizes: (n,) in the unit that the encoder's `cost` takes.
        groups: (n,) only items of one group may share a batch.
        notes: what the encoder will leave out -> the number of items concerned.
    """

    sizes: np.ndarray
    groups: np.ndarray
    notes: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))


@runtime_checkable
class Measures(Protocol):
    """An encoder that measures items itself, by a pure function of the items, so that an
    interrupted extraction makes the same plan again and reports the same notes."""

    def measure(self, known: Sequence[Any]) -> Measured:
        """Measure items by what is known before decoding: texts or turns, frames, or seconds."""
        ...


@runtime_checkable
class Recorded(Protocol):
    """An encoder whose numbers depend on more than its weights and the settings.

    Attributes:
        recorded: what else they depend on, for the feature file's config: it must agree to resume.
    """

    @property
    def recorded(self) -> Mapping[str, Any]: ...


@runtime_checkable
class Explains(Protocol):
    """An encoder that knows why the embedding of an item is not finite."""

    def why(self, item: Any) -> str:
        """The reason, as a feature file keeps it."""
        ...


def measure(encoder: Encoder, known: Sequence[Any]) -> Measured:
    """The encoder's own measures; otherwise characters, frames or seconds, in one group."""
    if isinstance(encoder, Measures):
        return encoder.measure(known)
    texts = [k.text if isinstance(k, Turn) else k for k in known]
    sizes = [float(len(t) if isinstance(t, str) else t) for t in texts]
    return Measured(np.array(sizes, np.float64), np.zeros(len(known)))


@dataclass(frozen=True)
class Settings:
    """How to encode. Settings other than the defaults become part of the file's name.

    Attributes:
        history: how many earlier utterances are encoded with each text, or "all" of them.
        window: for encoders that pad every sound to a fixed length (Whisper), see `whisper.py`.
        reach: with "whole", as many later utterances are encoded with each text as earlier ones.
        prompt: words around each text, or the name of a prompt of the checkpoint, see `prompt.py`.
    """

    layers: str = "all"
    pool: str = "mean"
    precision: str = "fp32"
    device: str = "auto"
    history: int | str = 0
    window: str = "reference"
    reach: str = "past"
    prompt: str = ""

    def __post_init__(self) -> None:
        choose("pooling", self.pool, (*POOLS, *TEXT_POOLS))
        choose("precision", self.precision, PRECISIONS)
        choose("window", self.window, WINDOWS)
        choose("reach", self.reach, REACHES)
        if self.history != "all" and (isinstance(self.history, str) or self.history < 0):
            raise ErcError("--history is a number of utterances, 0 or more, or all.")
        if self.reach == "whole" and not self.history:
            raise ErcError("--reach whole needs --history: a number of utterances, or all.")
        pick_layers(self.layers, 1000)


def settings_of(config: Mapping[str, Any], device: str) -> Settings:
    """The settings that a feature file records in its config.

    Raises:
        KeyError, ErcError: it records none, or wrong ones.
    """
    default = Settings()
    later = {key: config.get(key, getattr(default, key)) for key in _OPTIONAL}
    return Settings(config["layers"], config["pool"], config["precision"], device, **later)


def pool(hidden: "torch.Tensor", mask: "torch.Tensor | None", how: str) -> "torch.Tensor":
    """Pool over time, in float32: hidden (B, T, D) -> (B, D) or (B, 2 D).

    mask (B, T) is true for the positions to pool; None means all of them.
    """
    import torch

    if how == "cls":
        return hidden[:, 0].float()
    if how == "mean" and mask is None:  # without a copy of it all in float32
        return hidden.mean(1, dtype=torch.float32)
    hidden = hidden.float()
    if "+" in how:
        return torch.cat([pool(hidden, mask, part) for part in how.split("+")], -1)
    if how == "max":
        seen = hidden if mask is None else hidden.masked_fill(~mask[..., None], -torch.inf)
        return seen.amax(1)
    mean = _mean(hidden, mask)  # (B, D)
    if how == "mean":
        return mean
    return _mean((hidden - mean[:, None]) ** 2, mask).sqrt()


def _mean(hidden: "torch.Tensor", mask: "torch.Tensor | None") -> "torch.Tensor":
    if mask is None:
        return hidden.mean(1)
    return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def pooled_dim(dim: int, how: str) -> int:
    """D after pooling: `mean+max` and `mean+std` double it."""
    return dim * (2 if "+" in how else 1)


@dataclass(frozen=True)
class Network:
    """What frozen networks have in common; the classes of each modality add `encode`.

    Attributes:
        picked: numbers of the layers to return.
        dim: D after pooling.
        pooling: how to pool over time, one of `POOLS`.
        model: on the device, in evaluation mode.
        recorded: see :class:`Recorded`.
    """

    name: str
    revision: str
    picked: tuple[int, ...]
    dim: int
    pooling: str
    device: str
    model: Any
    recorded: Mapping[str, Any]
    least_cost: ClassVar[float] = 1.0

    @property
    def layers(self) -> int:
        return len(self.picked)

    def cost(self, size: float) -> float:
        """The size itself: tokens, frames or seconds."""
        return max(size, self.least_cost)


def weights_revision(state: Mapping[str, "torch.Tensor"]) -> str:
    """sha256 over weights sorted by name: name, dtype, shape and bytes, whatever their source."""
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
    """Compute on one thread: for small tensors more are up to 5 times slower on busy cores."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def pick_device(device: str) -> str:
    """The device; `auto` is CUDA where there is one, and otherwise the CPU.

    Raises:
        EncoderError: CUDA was asked for and there is none; it never falls back silently.
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


def pick_precision(precision: str, device: str) -> str:
    """The precision; `auto` is bf16 on a CUDA device that supports it, and otherwise fp32."""
    import torch

    if precision != "auto":
        return precision
    return "bf16" if device.startswith("cuda") and torch.cuda.is_bf16_supported() else "fp32"


def to_device(array: np.ndarray, device: str) -> "torch.Tensor":
    """The array on the device; to CUDA from pinned memory, without waiting for the copy."""
    import torch

    tensor = torch.from_numpy(array)
    if device.startswith("cuda"):
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
