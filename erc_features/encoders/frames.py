"""Frozen networks over the frames of a clip: each frame gets its layers, pooled over the frames.

Which layers: by default (`--layers all` or `last`) one, the embedding of a frame as the family of
the network documents it. Where a network has hidden states of one width, `--layers 0,6,12`, `-4:`
or `0:` (all of them) take those instead: layer 0 is what goes into the first block, layer i the
output of block i, and `-1` is `last_hidden_state`, after a final norm where there is one. Of each
hidden state it is the class token, or the mean of its patches where there is no class token.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch

from erc_features.encoders.base import (
    POOLS,
    PREPROCESSING,
    Network,
    Settings,
    pool,
    pooled_dim,
)
from erc_features.encoders.launch import to_host
from erc_features.encoders.layers import pick_layers
from erc_features.encoders.pixels import Preprocess
from erc_features.encoders.weights import DTYPES, first_line, place_model
from erc_features.errors import EncoderError
from erc_features.utterance import Modality

# A model and pixels (F, 3, H, W), and the numbers of layers or None for the embedding alone
# -> (F, L, D).
Embed = Callable[[Any, torch.Tensor, tuple[int, ...] | None], torch.Tensor]

_AT_ONCE = 256 * 224 * 224  # pixels that go through a network together, without hidden states
_WITH_LAYERS = 8  # which hold as much memory again for each of a dozen blocks


class Fits(Protocol):
    """From height and width of a frame to those that it is resized to; `words` says how."""

    @property
    def words(self) -> str: ...

    def __call__(self, source: tuple[int, int]) -> tuple[int, int]: ...


@dataclass(frozen=True)
class FrameEncoder(Network):
    """A frozen network over frames, as an :class:`~erc_features.encoders.base.Encoder`.

    Attributes:
        prepare: what is done to a frame before.
        dtype: of the weights.
        embed: what the network makes of frames.
        hidden: numbers of the hidden states to take; None for the embedding alone.
        at_once: the most frames that go through it together; None for all of a batch.
        fit: the size to which a frame of some height and width is resized, where it is not always
            that of `prepare`.
    """

    prepare: Preprocess
    dtype: torch.dtype
    embed: Embed
    hidden: tuple[int, ...] | None = None
    at_once: int | None = None
    fit: Fits | None = None
    modality: Modality = Modality.VISUAL
    cap: float = 256.0  # frames in a batch

    def encode(self, items: Sequence[tuple[np.ndarray, ...]]) -> np.ndarray:
        """Tuples of frames (H, W, 3) uint8, of any sizes -> (B, L, D) float32."""
        return self.launch(items)()

    @torch.inference_mode()
    def launch(self, items: Sequence[tuple[np.ndarray, ...]]) -> Callable[[], np.ndarray]:
        """See :class:`~erc_features.encoders.base.Launches`."""
        counts = [len(frames) for frames in items]
        frames = [frame for item in items for frame in item]
        most = self.at_once or len(frames)
        parts = [self._embed(frames[i : i + most]) for i in range(0, len(frames), most)]
        found = torch.cat(parts) if len(parts) > 1 else parts[0]  # (F, L, D)
        pooled = [pool(of_item.transpose(0, 1), None, self.pooling)
                  for of_item in found.split(counts)]  # fmt: skip
        return to_host(torch.stack(pooled))  # (B, L, D)

    def _embed(self, frames: Sequence[np.ndarray]) -> torch.Tensor:
        if self.fit is None:
            return self._embed_alike(frames, self.prepare)
        sizes = [self.fit((frame.shape[0], frame.shape[1])) for frame in frames]
        found: dict[int, torch.Tensor] = {}
        for size in dict.fromkeys(sizes):
            numbers = [i for i, each in enumerate(sizes) if each == size]
            prepare = replace(self.prepare, size=size, resized=size)
            alike = self._embed_alike([frames[i] for i in numbers], prepare)
            found.update(zip(numbers, alike, strict=True))
        return torch.stack([found[i] for i in range(len(frames))])

    def _embed_alike(self, frames: Sequence[np.ndarray], prepare: Preprocess) -> torch.Tensor:
        pixels = prepare(frames, self.device).to(self.dtype)  # (F, 3, H, W)
        return self.embed(self.model, pixels, self.hidden).float()  # (F, L, D)


def must_apply(name: str, settings: Settings) -> None:
    """Refuse settings that mean nothing for pictures.

    Raises:
        EncoderError: says which do.
    """
    if settings.pool not in POOLS or settings.history:
        raise EncoderError(
            f"--encoder {name}: its network gives one embedding a frame and layer, so --pool is "
            f"one of {', '.join(POOLS)} over the frames, and there is no --history."
        )


def make_encoder(
    name: str, model: Any, revision: str, prepare: Preprocess, embed: Embed, settings: Settings,
    *, blocks: int, fit: Fits | None = None,
) -> FrameEncoder:  # fmt: skip
    """An encoder of a model that was loaded; a black frame is encoded, to see what comes out.

    Args:
        blocks: the number of the last hidden state; 0 where there are none of one width.
        fit: see :class:`FrameEncoder`.

    Raises:
        EncoderError: the model takes other pictures than its preprocessing makes, or it has no
            layers and some are asked for.
    """
    hidden = None
    if settings.layers not in ("all", "last"):
        if not blocks:
            raise EncoderError(
                f"--encoder {name}: --layers {settings.layers} asks for hidden states, which it "
                "lacks or has of several widths. It gives one embedding a frame; leave --layers "
                "out."
            )
        hidden = tuple(pick_layers(settings.layers, blocks + 1))
    dtype = DTYPES[settings.precision]
    model = place_model(model, settings.precision, settings.device)
    try:
        with torch.inference_mode():
            black = torch.zeros(1, 3, *prepare.size, dtype=dtype, device=settings.device)
            found = embed(model, black, hidden)
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        raise EncoderError(
            f"--encoder {name}: it does not take the pictures that its preprocessing makes, "
            f"{prepare.words} ({first_line(error)})."
        ) from error
    # Chosen by the settings alone, so that a batch is always cut at the same frames.
    most = max(1, _AT_ONCE // (prepare.size[0] * prepare.size[1] * (_WITH_LAYERS if hidden else 1)))
    return FrameEncoder(
        name=name,
        revision=revision,
        picked=hidden or (0,),
        dim=pooled_dim(found.shape[-1], settings.pool),
        pooling=settings.pool,
        device=settings.device,
        prepare=prepare,
        dtype=dtype,
        embed=embed,
        hidden=hidden,
        at_once=most,
        fit=fit,
        model=model,
        recorded={PREPROCESSING: f"{prepare.words}, {fit.words}" if fit else prepare.words},
    )
