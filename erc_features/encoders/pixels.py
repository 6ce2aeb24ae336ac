"""Preprocessing of pictures on the device: Pillow's resize to the last bit, crop, scale.

Nearly all networks over pictures were trained on what Pillow resized, which the preprocessing of
open_clip and of timm calls, and transformers' with `backend="pil"`. Its resize is two passes of
fixed-point arithmetic, columns then rows, each rounded to 8 bits (Pillow's
src/libImaging/Resample.c); so 32-bit integers give the same pixels on any device.
`torch.nn.functional.interpolate` does not round between the passes. Only DINOv3 documents that one
(`exact=False`), on pictures that were scaled before.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from erc_features.encoders.base import to_device
from erc_features.errors import EncoderError

_BITS = 22  # of a weight's fraction, as in Pillow
_AT_ONCE = 2**25  # pixels resized together on CUDA: 400 MB of 32-bit integers


@dataclass(frozen=True)
class Preprocess:
    """What is done to a picture that is not for training: resized, its centre cropped, scaled.

    Attributes:
        size: height and width that the model takes, after the crop.
        mean, std: of the colours, in units of what `scale` makes of 0 to 255.
        mode: `shortest` (resize the shortest edge, crop the centre) or `squash`.
        interpolation: `bicubic`, `bilinear` or `lanczos`.
        resized: height and width before the crop, of which `shortest` takes the shortest edge;
            None where they are `size`.
        floors: whether a crop whose margins differ by a pixel begins at the smaller margin, as in
            transformers; otherwise the margin is rounded to even, as in torchvision.
        scale: what the colours, 0 to 255, are multiplied with.
        exact: as Pillow does; otherwise as torch does in floating point, without a crop.
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    mode: str = "shortest"
    interpolation: str = "bicubic"
    resized: tuple[int, int] | None = None
    floors: bool = False
    scale: float = 1 / 255
    exact: bool = True

    @property
    def words(self) -> str:
        """What a feature file records.

        >>> Preprocess((224, 224), (0.5,) * 3, (0.25,) * 3, resized=(256, 256)).words
        'shortest 256x256, bicubic, crop 224x224, mean 0.5 0.5 0.5, std 0.25 0.25 0.25'
        """
        before = self.resized or self.size
        crop = [f"crop {_by(self.size)}"] if before != self.size or self.mode != "squash" else []
        mean, std = (" ".join(f"{x:g}" for x in each) for each in (self.mean, self.std))
        more = [] if self.scale == 1 / 255 else [f"scale {self.scale:g}"]
        more += [] if self.exact else ["resized in floating point"]
        said = [f"{self.mode} {_by(before)}", self.interpolation, *crop, f"mean {mean}"]
        return ", ".join([*said, f"std {std}", *more])

    def __call__(self, frames: Sequence[np.ndarray], device: str) -> torch.Tensor:
        """Frames (H, W, 3) uint8, of any sizes -> (F, 3, *size) float32 on the device."""
        dtype = torch.uint8 if self.exact else torch.float32
        out = torch.empty((len(frames), 3, *self.size), dtype=dtype, device=device)
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for i, frame in enumerate(frames):
            by_shape.setdefault(frame.shape, []).append(i)
        for (high, wide, _), numbers in by_shape.items():
            # One at a time on the CPU, whose cache it fits.
            most = max(1, _AT_ONCE // (high * wide)) if device != "cpu" else 1
            for first in range(0, len(numbers), most):
                some = numbers[first : first + most]
                pixels = to_device(np.stack([frames[i] for i in some]), device)
                out[some] = self._resize(pixels) if self.exact else self._interpolate(pixels)
        mean = torch.tensor(self.mean, device=device).view(3, 1, 1)
        std = torch.tensor(self.std, device=device).view(3, 1, 1)
        return (self._scaled(out) if self.exact else out).sub_(mean).div_(std)

    def _scaled(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 -> float32: with 1/255 a division, which has the bits of both libraries."""
        if self.scale == 1 / 255:
            return pixels.float().div_(255)
        return pixels.double().mul_(self.scale).float()

    def _interpolate(self, pixels: torch.Tensor) -> torch.Tensor:
        """(F, H, W, 3) uint8 -> (F, 3, *size) float32, scaled and then resized."""
        scaled = pixels.permute(0, 3, 1, 2) * self.scale
        how = {"size": self.size, "mode": self.interpolation, "antialias": True}
        return torch.nn.functional.interpolate(scaled, **how, align_corners=False)

    def _resize(self, pixels: torch.Tensor) -> torch.Tensor:
        """(F, H, W, 3) uint8 -> (F, 3, *size), resized and cropped."""
        source = (pixels.shape[1], pixels.shape[2])
        target = self._target(source)
        # Only what the crop leaves is computed. As in Pillow, columns come first.
        down, across = (
            resize_weights(*sizes, self.interpolation, str(pixels.device), self.floors)
            for sizes in zip(source, target, self.size, strict=True)
        )
        columns = _resample(pixels.permute(2, 1, 0, 3), *across)  # (W', H, F, 3)
        return _resample(columns.transpose(0, 1), *down).permute(2, 3, 0, 1)  # from (H', W', F, 3)

    def _target(self, source: tuple[int, int]) -> tuple[int, int]:
        """Height and width after the resize, before the crop."""
        resized = self.resized or self.size
        if self.mode == "squash":
            return resized
        if resized[0] == resized[1]:  # torchvision's Resize rounds down, transformers too
            short, side = min(source), resized[0]
            high, wide = (side if n == short else int(side * n / short) for n in source)
        else:
            ratio = min(n / wanted for n, wanted in zip(source, resized, strict=True))
            high, wide = (round(n / ratio) for n in source)
        return high, wide


def preprocess(config: Mapping[str, Any]) -> Preprocess:
    """Read open_clip's `preprocess_cfg`.

    Raises:
        EncoderError: it asks for something that is not implemented here.
    """
    size = config["size"]
    size = (size, size) if isinstance(size, int) else tuple(size)
    if config["resize_mode"] not in ("shortest", "squash") or config["interpolation"] not in (
        "bicubic", "bilinear", "random",
    ):  # fmt: skip
        raise EncoderError(
            f"The model wants its pictures resized by {config['resize_mode']!r} with "
            f"{config['interpolation']!r}; shortest and squash, bicubic and bilinear are known."
        )
    # open_clip makes "random" bicubic outside of training, and a shortest edge if not square.
    square = size[0] == size[1] or config["resize_mode"] == "squash"
    bilinear = config["interpolation"] == "bilinear" and square
    return Preprocess(
        size, tuple(config["mean"]), tuple(config["std"]), config["resize_mode"],
        "bilinear" if bilinear else "bicubic",
    )  # fmt: skip


def _resample(pixels: torch.Tensor, where: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Weighted sums along the first axis: (N, ...) uint8 -> (M, ...) uint8.

    where, weights (K, M): the K pixels that make a new one, and their weights in fixed point.
    """
    flat = pixels.reshape(pixels.shape[0], -1).int()  # (N, R)
    total = torch.full(
        (where.shape[1], flat.shape[1]), 1 << (_BITS - 1), dtype=torch.int32, device=flat.device
    )
    for index, weight in zip(where, weights, strict=True):
        total.addcmul_(flat.index_select(0, index), weight[:, None])
    rounded = (total >> _BITS).clamp_(0, 255).byte()
    return rounded.view(-1, *pixels.shape[1:])


@lru_cache(maxsize=64)
def resize_weights(
    source: int, target: int, count: int, filter_: str, device: str, floors: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pillow's own: which K of `source` pixels make one of `target`, and their weights.

    They are computed only for the `count` pixels in the centre, which the crop leaves: of a picture
    of 1 x 100,000 pixels these are 224 columns out of 22 million.

    Returns:
        where (K, count) int64, weights (K, count) int32 in units of 2^-22; they sum to 1.
    """
    first = (target - count) // 2 if floors else round((target - count) / 2.0)
    scale = source / target
    stretch = max(scale, 1.0)
    support = _SUPPORT[filter_] * stretch
    taps = math.ceil(support) * 2 + 1
    centre = (np.arange(first, first + count) + 0.5) * scale  # (count,)
    # Pillow's int() rounds towards 0; what is below 0 is clamped to 0 anyway.
    low = np.maximum(np.trunc(centre - support + 0.5), 0)
    high = np.minimum(np.trunc(centre + support + 0.5), source)
    where = low + np.arange(taps)[:, None]  # (K, count)
    value = _FILTERS[filter_]((where - centre + 0.5) / stretch) * (where < high)
    fraction = value / value.sum(0)
    fixed = np.trunc(fraction * (1 << _BITS) + np.copysign(0.5, fraction))
    where = np.minimum(where, source - 1).astype(np.int64)
    return (
        torch.from_numpy(where).to(device),
        torch.from_numpy(fixed.astype(np.int32)).to(device),
    )


def _bicubic(x: np.ndarray, a: float = -0.5) -> np.ndarray:
    """Keys 1981, "Cubic Convolution Interpolation for Digital Image Processing"."""
    x = np.abs(x)
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * a
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


def _lanczos(x: np.ndarray) -> np.ndarray:
    """Duchon 1979, "Lanczos Filtering in One and Two Dimensions", of three lobes."""
    return np.where(np.abs(x) < 3.0, np.sinc(x) * np.sinc(x / 3.0), 0.0)


_FILTERS = {
    "bicubic": _bicubic,
    "bilinear": lambda x: np.maximum(1.0 - np.abs(x), 0.0),
    "lanczos": _lanczos,
}
_SUPPORT = {"bicubic": 2.0, "bilinear": 1.0, "lanczos": 3.0}


def _by(size: tuple[int, int]) -> str:
    return "x".join(map(str, size))
