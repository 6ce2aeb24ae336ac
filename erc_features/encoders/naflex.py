"""SigLIP 2 of any resolution (NaFlex; Tschannen et al. 2025), through transformers.

A picture keeps its shape: it is resized to whole patches, as many as its `max_num_patches` allows,
and read as a row of patches. Pictures of equal shape go through the network together, so nothing
is padded; transformers pads to `max_num_patches` under a mask, which changes nothing.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from erc_features.encoders.image_processors import FILE, of_processor
from erc_features.encoders.pixels import Preprocess
from erc_features.errors import EncoderError

KIND = "Siglip2"
_SMALLEST, _LARGEST, _EPSILON = 1e-6, 100.0, 1e-5  # of the search for a scale, as in transformers


@dataclass(frozen=True)
class Fit:
    """Which size a picture is resized to: of whole patches of side `patch`, `most` in all."""

    patch: int
    most: int

    @property
    def words(self) -> str:
        """What a feature file records."""
        return f"up to {self.most} patches of {self.patch}x{self.patch}"

    def __call__(self, source: tuple[int, int]) -> tuple[int, int]:
        """Height and width, for those of a picture: transformers' own search, step by step.

        >>> Fit(16, 256)((240, 426)), Fit(16, 256)((1, 1))
        ((192, 336), (112, 112))
        """
        low, high = _SMALLEST, _LARGEST
        while high - low >= _EPSILON:
            scale = (low + high) / 2
            size = self._scaled(source, scale)
            enough = math.prod(edge // self.patch for edge in size) <= self.most
            low, high = (scale, high) if enough else (low, scale)
        return self._scaled(source, low)

    def _scaled(self, source: tuple[int, int], scale: float) -> tuple[int, int]:
        high, wide = (
            max(self.patch, math.ceil(edge * scale / self.patch) * self.patch) for edge in source
        )
        return high, wide


def of_naflex(name: str, said: Mapping[str, Any]) -> tuple[Preprocess, Fit]:
    """What a preprocessor_config.json of Siglip2ImageProcessor asks for.

    Raises:
        EncoderError: it does not say how many patches of which size; or see `of_processor`.
    """
    if absent := [key for key in ("patch_size", "max_num_patches") if not said.get(key)]:
        raise EncoderError(
            f"--encoder {name}: {FILE} lacks {' and '.join(absent)}. Add what the weights were "
            'trained with, as in "patch_size": 16, "max_num_patches": 256.'
        )
    fit = Fit(said["patch_size"], said["max_num_patches"])
    side = math.isqrt(fit.most) * fit.patch
    plain = {key: x for key, x in said.items() if key not in ("patch_size", "max_num_patches")}
    # All but the size is as ViT's processor takes it: squashed to a size, by default bilinear.
    plain |= {"image_processor_type": "ViTImageProcessor", "size": {"height": side, "width": side}}
    return of_processor(name, plain, "ViT"), fit


def patched(pixels: torch.Tensor, patch: int) -> dict[str, torch.Tensor]:
    """(F, 3, H, W) as the network takes it: (F, patches, patch * patch * 3), all of them seen."""
    count, _, high, wide = pixels.shape
    down, across = high // patch, wide // patch
    rows = pixels.reshape(count, 3, down, patch, across, patch).permute(0, 2, 4, 3, 5, 1)
    return {
        "pixel_values": rows.reshape(count, down * across, -1),
        "pixel_attention_mask": torch.ones(
            count, down * across, dtype=torch.int32, device=pixels.device
        ),
        "spatial_shapes": torch.tensor([[down, across]] * count, device=pixels.device),
    }
