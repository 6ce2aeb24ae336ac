"""Wav2Vec2-BERT (Seamless Communication 2023) over sound, through transformers.

It reads filter banks, 80 bands every 10 ms, brought to mean 0 and variance 1 band by band, two
frames to a position: 20 ms, as its feature extractor makes them. Every hidden layer is pooled over
the positions; the last is `last_hidden_state`.

- Only sounds of equal numbers of positions share a forward pass; nothing is padded. A position of
  which only half is sound, which the extractor masks, is left out.
- Shorter than two positions (880 samples, 55 ms), for which a variance would mean nothing: silence
  is added at its end, up to that length.
- Longer than 15 s: cut into windows of about equal length, each read alone; pooled over all.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, ClassVar

import numpy as np
import torch

from erc_features.encoders.base import Measured, Network, Settings, pooled_dim, to_device
from erc_features.encoders.hidden_states import layers_of
from erc_features.encoders.layers import pick_layers
from erc_features.encoders.moments import Moments, moments_of, pool_moments
from erc_features.encoders.weights import Place, first_line, place_model
from erc_features.errors import EncoderError
from erc_features.utterance import Modality

RATE = 16_000
_WINDOW = 15.0  # seconds
_FRAME, _HOP = 400, 160  # samples that a filter bank sees, and between two
_SHORTEST = _FRAME + 3 * _HOP  # two positions


@dataclass(frozen=True)
class Wav2Vec2Bert(Network):
    """A frozen Wav2Vec2-BERT, as an :class:`~erc_features.encoders.base.Encoder`.

    Attributes:
        extractor: its feature extractor.
    """

    extractor: Any
    modality: Modality = Modality.AUDIO
    cap: float = 240.0  # seconds in a batch
    least_cost: ClassVar[float] = 0.02

    def measure(self, known: Sequence[float]) -> Measured:
        """Sizes in seconds; one group a number of positions."""
        groups = [_positions(round(seconds * RATE)) for seconds in known]
        return Measured(np.array(known, np.float64), np.array(groups, np.float64))

    @torch.inference_mode()
    def encode(self, items: Sequence[np.ndarray]) -> np.ndarray:
        """Sounds (n,) float32 at 16 kHz, n >= 1 -> (B, L, D) float32."""
        windows = [
            (i, self._banks(window))
            for i, sound in enumerate(items)
            for window in np.array_split(sound, max(1, math.ceil(len(sound) / _WINDOW / RATE)))
        ]
        windows.sort(key=lambda window: -len(window[1]))
        found: list[list[Moments]] = [[] for _ in items]
        for length, alike in groupby(windows, key=lambda window: len(window[1])):
            together = list(alike)
            most = max(1, int(self.cap / (0.02 * length)))
            for first in range(0, len(together), most):
                batch = together[first : first + most]
                banks = to_device(np.stack([bank for _, bank in batch]), self.device)
                states = layers_of(
                    self.model(banks.to(self.model.dtype), output_hidden_states=True)
                )
                moments = moments_of([states[i].float() for i in self.picked], self.pooling)
                for (i, _), of_row in zip(batch, moments, strict=True):
                    found[i].append(of_row)
        return np.stack([pool_moments(moments, self.pooling) for moments in found])

    def _banks(self, sound: np.ndarray) -> np.ndarray:
        """(positions, 160) float32 of whole positions."""
        padded = np.pad(sound, (0, max(0, _SHORTEST - len(sound))))
        banks = self.extractor(padded, sampling_rate=RATE, return_tensors="np").input_features[0]
        return banks[: _positions(len(padded))].astype(np.float32)


def _positions(samples: int) -> int:
    return ((max(samples, _SHORTEST) - _FRAME) // _HOP + 1) // 2


def make_wav2vec2_bert(
    name: str, model: Any, revision: str, place: Place | None, settings: Settings
) -> Wav2Vec2Bert:
    """A Wav2Vec2-BERT that was loaded.

    Raises:
        EncoderError: its preprocessor_config.json is absent or of another kind; it has an adapter,
            so that its last layer has fewer positions than the others.
    """
    from transformers import SeamlessM4TFeatureExtractor

    config = model.config
    picked = tuple(pick_layers(settings.layers, config.num_hidden_layers + 1))
    if config.add_adapter and config.num_hidden_layers in picked:
        raise EncoderError(
            f"--encoder {name} --layers {settings.layers}: an adapter follows its last block "
            "(add_adapter), so its last_hidden_state has fewer frames than its other layers. "
            "--layers :-1, without the last layer, works."
        )
    extractor = SeamlessM4TFeatureExtractor()
    if place is not None:
        file = f"--encoder {name}: preprocessor_config.json"
        try:
            extractor = SeamlessM4TFeatureExtractor.from_pretrained(
                place.where, local_files_only=place.local
            )
        except (OSError, ValueError, TypeError) as error:
            raise EncoderError(
                f"{file} does not say how it takes sound ({first_line(error)})."
            ) from error
        for what, wanted in (("sampling_rate", RATE), ("num_mel_bins", 80), ("stride", 2)):
            if (says := getattr(extractor, what, None)) != wanted:
                raise EncoderError(f"{file} has {what} {says}; {wanted} works.")
    return Wav2Vec2Bert(
        name=name,
        revision=revision,
        picked=picked,
        dim=pooled_dim(config.hidden_size, settings.pool),
        pooling=settings.pool,
        device=settings.device,
        extractor=extractor,
        model=place_model(model, settings.precision, settings.device),
        recorded={},
    )
