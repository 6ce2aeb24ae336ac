"""The encoder of Whisper (Radford et al. 2023, "Robust Speech Recognition via Large-Scale Weak
Supervision") over sound, through transformers.

Whisper reads log-mel spectrograms of 30 s: 3,000 mel frames, 1,500 positions of 20 ms. Every
hidden layer is pooled over the positions that the sound reaches, ceil(samples / 320), and never
over the silence behind it; longer sound is read in windows of 30 s and pooled over all of them.

- `--window reference`: each window is padded with silence to 30 s, as the model documents.
  Its positions attend to the silence too.
- `--window tight`: only the positions that the sound reaches go through the network, at about a
  tenth of the work for sounds of 3 s. These are other numbers (no silence is attended to), so the
  feature file says so in its name and provenance.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch.nn.functional import gelu

from erc_features.encoders.base import Measured, Network, Settings, pooled_dim
from erc_features.encoders.hidden_states import layers_of
from erc_features.encoders.layers import pick_layers
from erc_features.encoders.moments import Moments, moments_of, pool_moments
from erc_features.encoders.weights import Place, first_line, place_model
from erc_features.errors import EncoderError
from erc_features.utterance import Modality

RATE = 16_000
_WINDOW = 30  # seconds
_HOP = 320  # samples of a position: two mel frames


@dataclass(frozen=True)
class WhisperAudio(Network):
    """Whisper's encoder, as an :class:`~erc_features.encoders.base.Encoder`.

    Attributes:
        mels: (mel bands, 201), the filters of its feature extractor.
        tight: whether only the positions of the sound go through the network.
        cap: the most seconds in a batch, silence included.
    """

    mels: torch.Tensor
    tight: bool
    modality: Modality = Modality.AUDIO
    cap: float = 240.0
    least_cost: ClassVar[float] = 0.02

    def cost(self, size: float) -> float:
        """Seconds that go through the network."""
        return super().cost(size) if self.tight else _WINDOW * max(1, -(-size // _WINDOW))

    def measure(self, known: Sequence[float]) -> Measured:
        """Sizes in seconds; sounds of any lengths may share a batch."""
        return Measured(np.array(known, np.float64), np.zeros(len(known)))

    @torch.inference_mode()
    def encode(self, items: Sequence[np.ndarray]) -> np.ndarray:
        """Sounds (n,) float32 at 16 kHz, n >= 1 -> (B, L, D) float32."""
        length = _WINDOW * RATE
        windows = [
            (i, sound[first : first + length])
            for i, sound in enumerate(items)
            for first in range(0, len(sound), length)
        ]
        found: list[list[Moments]] = [[] for _ in items]
        for batch in self._batches([len(window) for _, window in windows]):
            spectra = [self._spectrum(windows[at][1]) for at in batch]
            counts = [-(-len(windows[at][1]) // _HOP) for at in batch]
            if self.tight:
                cut = zip(spectra, counts, strict=True)
                states = self._tight([spectrum[:, : 2 * count] for spectrum, count in cut])
            else:
                states = self._reference(spectra)
            for row, (at, count) in enumerate(zip(batch, counts, strict=True)):
                of_row = [states[layer][row : row + 1, :count].float() for layer in self.picked]
                found[windows[at][0]] += moments_of(of_row, self.pooling)
        return np.stack([pool_moments(moments, self.pooling) for moments in found])

    def _batches(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """Numbers of windows that go through the network together, longest first."""
        order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
        batch: list[int] = []
        for i in order:
            longest = lengths[batch[0]] / RATE if batch and self.tight else _WINDOW
            if batch and (len(batch) + 1) * longest > self.cap:
                yield batch
                batch = []
            batch.append(i)
        yield batch

    def _spectrum(self, sound: np.ndarray) -> torch.Tensor:
        """The log-mel spectrogram of at most 30 s, (mel bands, 2 ceil(n / 320) + 2) float32.

        These are the first frames of the feature extractor's, which pads to 30 s first: all that
        see the sound. Silence has the least power there is, so the largest, from which it
        measures, is among ours.
        """
        frames = min(2 * -(-len(sound) // _HOP) + 2, 100 * _WINDOW)
        # Silence behind them: the transform reflects at the end of what it gets.
        behind = 160 * (frames + 2) + 400 - len(sound)
        padded = torch.from_numpy(np.pad(sound, (0, behind)))
        window = torch.hann_window(400)
        power = torch.stft(padded, 400, 160, window=window, return_complex=True).abs() ** 2
        log = (self.mels @ power[:, :frames]).clamp(min=1e-10).log10()
        return (log.maximum(log.max() - 8.0) + 4.0) / 4.0

    def _reference(self, spectra: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The layers (B, 1500, D) of spectra that silence extends to 30 s."""
        whole = torch.stack([_silence(spectrum, 3000) for spectrum in spectra])  # (B, mels, 3000)
        found = self.model(whole.to(self.device, self.model.dtype), output_hidden_states=True)
        return layers_of(found)

    def _tight(self, spectra: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The layers (B, T, D) of spectra alone: shorter ones are masked, and what is behind
        their ends is zero before each convolution, as it is behind the longest."""
        model = self.model
        longest = max(spectrum.shape[1] for spectrum in spectra)
        whole = torch.zeros(len(spectra), len(self.mels), longest)
        for row, spectrum in enumerate(spectra):
            whole[row, :, : spectrum.shape[1]] = spectrum
        lengths = torch.tensor([spectrum.shape[1] for spectrum in spectra])
        inside = (torch.arange(longest) < lengths[:, None]).to(self.device)  # (B, 2 T)
        hidden = gelu(model.conv1(whole.to(self.device, self.model.dtype))) * inside[:, None]
        hidden = gelu(model.conv2(hidden)).transpose(1, 2)  # (B, T, D)
        hidden = hidden + model.embed_positions.weight[: hidden.shape[1]]
        mask = None
        if bool((lengths < longest).any()):
            least = torch.finfo(self.model.dtype).min
            mask = torch.where(inside[:, None, None, ::2], 0.0, least).to(self.model.dtype)
        states = [hidden]
        for layer in model.layers:
            hidden = _block(layer, hidden, mask)
            states.append(hidden)
        states[-1] = model.layer_norm(states[-1])
        return states


def _silence(spectrum: torch.Tensor, frames: int) -> torch.Tensor:
    """Behind the sound is the least that its spectrogram may hold: its largest less 8 decades."""
    least = ((spectrum.max() * 4.0 - 4.0 - 8.0).clamp(min=-10.0) + 4.0) / 4.0
    whole = least.expand(spectrum.shape[0], frames).clone()
    whole[:, : spectrum.shape[1]] = spectrum
    return whole


def _block(layer: Any, hidden: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Through one block; transformers before 5 gives a tuple and wants a mask of heads."""
    from inspect import signature

    heads = (None,) if "layer_head_mask" in signature(layer.forward).parameters else ()
    found = layer(hidden, mask, *heads)
    return found[0] if isinstance(found, tuple) else found


def make_whisper(
    name: str, model: Any, revision: str, place: Place | None, settings: Settings
) -> WhisperAudio:
    """The encoder half of a Whisper that was loaded.

    Raises:
        EncoderError: its preprocessor_config.json is absent or of another kind of spectrogram.
    """
    config = model.config
    return WhisperAudio(
        name=name,
        revision=revision,
        picked=tuple(pick_layers(settings.layers, config.encoder_layers + 1)),
        dim=pooled_dim(config.d_model, settings.pool),
        pooling=settings.pool,
        device=settings.device,
        mels=_filters(name, config.num_mel_bins, place),
        tight=settings.window == "tight",
        model=place_model(model, settings.precision, settings.device),
        recorded={"window": settings.window},
    )


def _filters(name: str, bands: int, place: Place | None) -> torch.Tensor:
    """(bands, 201): of its feature extractor; with 128 bands a few of the lowest are empty."""
    from transformers import WhisperFeatureExtractor

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "At least one mel filter", UserWarning)
        if place is None:
            return _tensor(WhisperFeatureExtractor(feature_size=bands))
        file = f"--encoder {name}: preprocessor_config.json"
        try:
            extractor = WhisperFeatureExtractor.from_pretrained(
                place.where, local_files_only=place.local
            )
        except (OSError, ValueError, TypeError) as error:
            raise EncoderError(
                f"{file} does not say how it takes sound ({first_line(error)})."
            ) from error
    for what, wanted in (
        ("feature_size", bands), ("sampling_rate", RATE), ("chunk_length", _WINDOW),
        ("n_fft", 400), ("hop_length", 160), ("dither", 0.0),
    ):  # fmt: skip
        if (says := getattr(extractor, what, wanted)) != wanted:
            raise EncoderError(f"{file} has {what} {says}; {wanted} works.")
    return _tensor(extractor)


def _tensor(extractor: Any) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(extractor.mel_filters.T)).float()
