"""Sound encoders through transformers: wav2vec 2.0 (Baevski et al. 2020), HuBERT (Hsu et al.
2021), WavLM (Chen et al. 2022), data2vec (Baevski et al. 2022), MMS (Pratap et al. 2023), SEW and
SEW-D (Wu et al. 2022), Wav2Vec2-Conformer. Whisper and Wav2Vec2-BERT have files of their own.

They return every hidden layer, pooled over time; the last layer is `last_hidden_state`. Sound is
mono at 16 kHz.

- Sound shorter than the network's first frame (400 samples, 25 ms) is padded with silence to
  that length, after its level was normalised.
- Sound longer than 15 s is cut into windows of equal numbers of frames, which overlap by the
  samples that two neighbouring frames share, so that each frame is in one window; the result is
  pooled over all of them.
- Only sounds of equal numbers of frames share a forward pass, so nothing is padded and no mask
  is needed. Padding changes the result of many models, even under a mask: of those whose first
  convolution is normalised over time (`feat_extract_norm="group"`: wav2vec2-base, hubert-base,
  wavlm-base), and of data2vec, whose five positional convolutions carry it into the next frames.
  Samples after the last whole frame (at most 319, 20 ms) are left out, after the level was
  normalised: no frame covers them, only the statistics of a group norm would see them.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
from torch.nn.utils import parametrize

from erc_features.encoders.base import Encoder, Measured, Network, Settings, pooled_dim, to_device
from erc_features.encoders.hidden_states import layers_of, recorded_last
from erc_features.encoders.layers import pick_layers
from erc_features.encoders.moments import Moments, launch_moments, pool_moments
from erc_features.encoders.wav2vec2_bert import make_wav2vec2_bert
from erc_features.encoders.weights import Place, first_line, load_transformer, place_model
from erc_features.encoders.whisper import make_whisper
from erc_features.errors import EncoderError
from erc_features.utterance import Modality

RATE = 16_000
_WINDOW = 15.0  # seconds
_KNOWN = ("wav2vec2", "hubert", "wavlm", "data2vec-audio", "unispeech", "unispeech-sat", "sew",
          "sew-d", "wav2vec2-conformer")  # fmt: skip
# Families that take something else than samples.
_OTHERS = {"whisper": make_whisper, "wav2vec2-bert": make_wav2vec2_bert}


@dataclass(frozen=True)
class Grid:
    """The frames that a stack of convolutions makes of samples."""

    shortest: int  # samples that one frame sees
    hop: int  # samples between frames

    def frames(self, samples: int) -> int:
        return max(1, (samples - self.shortest) // self.hop + 1)

    def samples(self, frames: int) -> int:
        return self.shortest + (frames - 1) * self.hop


@dataclass(frozen=True)
class AudioEncoder(Network):
    """A frozen network over sound, as an :class:`~erc_features.encoders.base.Encoder`.

    Attributes:
        grid: its frames.
        normalise: whether each sound is first scaled to mean 0 and variance 1.
    """

    grid: Grid
    normalise: bool
    modality: Modality = Modality.AUDIO
    cap: float = 240.0  # seconds in a batch
    least_cost: ClassVar[float] = 0.02

    def measure(self, known: Sequence[float]) -> Measured:
        """Sizes in seconds; a group for each number of frames."""
        groups = [self.grid.frames(round(seconds * RATE)) for seconds in known]
        return Measured(np.array(known, np.float64), np.array(groups, np.float64))

    def encode(self, items: Sequence[np.ndarray]) -> np.ndarray:
        """Sounds (n,) float32 at 16 kHz, n >= 1 -> (B, L, D) float32."""
        return self.launch(items)()

    @torch.inference_mode()
    def launch(self, items: Sequence[np.ndarray]) -> Callable[[], np.ndarray]:
        """See :class:`~erc_features.encoders.base.Launches`."""
        windows: list[tuple[int, np.ndarray]] = []
        for i, sound in enumerate(items):
            windows += [(i, window) for window in self._windows(sound)]
        queued = [
            ([windows[at][0] for at in batch], self._forward([windows[at][1] for at in batch]))
            for batch in self._batches([window for _, window in windows])
        ]
        count, how = len(items), self.pooling

        def wait() -> np.ndarray:
            found: list[list[Moments]] = [[] for _ in range(count)]
            for of_items, moments_of_batch in queued:
                for item, moments in zip(of_items, moments_of_batch(), strict=True):
                    found[item].append(moments)
            return np.stack([pool_moments(moments, how) for moments in found])

        return wait

    def _windows(self, sound: np.ndarray) -> list[np.ndarray]:
        """The sound, normalised, as windows of whole frames and at most 15 s."""
        if self.normalise:
            sound = (sound - sound.mean()) / np.sqrt(sound.var() + 1e-7)
        sound = np.pad(sound, (0, max(0, self.grid.shortest - len(sound))))
        frames = self.grid.frames(len(sound))
        most = self.grid.frames(round(_WINDOW * RATE))
        edges = np.linspace(0, frames, math.ceil(frames / most) + 1).round().astype(int)
        return [
            sound[first * self.grid.hop : self.grid.samples(stop)]
            for first, stop in pairwise(edges)
        ]

    def _batches(self, windows: Sequence[np.ndarray]) -> Iterator[list[int]]:
        """Numbers of the windows that go through the network together, longest first."""
        order = sorted(range(len(windows)), key=lambda i: -len(windows[i]))
        batch: list[int] = []
        for i in order:
            longest = len(windows[batch[0]]) if batch else 0
            full = (len(batch) + 1) * longest > self.cap * RATE
            if batch and (full or len(windows[i]) != longest):
                yield batch
                batch = []
            batch.append(i)
        yield batch

    def _forward(self, windows: Sequence[np.ndarray]) -> Callable[[], list[Moments]]:
        """Put B windows of one length through the network."""
        sound = to_device(np.stack(windows), self.device).to(self.model.dtype)  # (B, n)
        layers = layers_of(self.model(sound, output_hidden_states=True))
        return launch_moments([layers[i].float() for i in self.picked], self.pooling)


def load_audio(name: str, modality: Modality, settings: Settings) -> Encoder:
    """Load a Hugging Face id, a local folder, or `random:wav2vec2-base`.

    Raises:
        EncoderError: it cannot be loaded, is no such model, or a setting does not apply to it.
    """
    if settings.pool == "cls" or settings.history:
        raise EncoderError(
            f"--encoder {name}: sound has no first token and no --history; --pool mean, max, "
            "mean+max and mean+std work."
        )
    model, revision, place = load_transformer(name, modality)
    config = model.config
    if config.model_type in _OTHERS:
        return _OTHERS[config.model_type](name, model, revision, place, settings)
    if config.model_type not in _KNOWN:
        raise EncoderError(
            f"--encoder {name}: {config.model_type} is not an encoder of sound; "
            f"{', '.join((*_KNOWN, *_OTHERS))} are."
        )
    # Weights that are stored as direction and length are multiplied out once, not every time.
    for module in model.modules():
        if parametrize.is_parametrized(module):
            for tensor in list(module.parametrizations):
                parametrize.remove_parametrizations(module, tensor)
    grid = Grid(1, 1)
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        grid = Grid(grid.shortest + (kernel - 1) * grid.hop, grid.hop * stride)
    # SEW halves its frames and doubles them again: of an odd number the last would be zeros.
    squeeze = getattr(config, "squeeze_factor", 1)
    grid = Grid(grid.shortest + (squeeze - 1) * grid.hop, squeeze * grid.hop)
    count = config.num_hidden_layers + 1
    picked = pick_layers(settings.layers, count)
    if getattr(config, "add_adapter", False) and count - 1 in picked:
        raise EncoderError(
            f"--encoder {name} --layers {settings.layers}: an adapter follows its last block "
            "(add_adapter), so its last_hidden_state has fewer frames than its other layers. "
            "--layers :-1, without the last layer, works."
        )
    return AudioEncoder(
        name=name,
        revision=revision,
        picked=tuple(picked),
        dim=pooled_dim(config.hidden_size, settings.pool),
        pooling=settings.pool,
        device=settings.device,
        grid=grid,
        normalise=place is None or _normalises(name, place),
        model=place_model(model, settings.precision, settings.device),
        recorded=recorded_last(config, picked, count),
    )


def _normalises(name: str, place: Place) -> bool:
    """Read preprocessor_config.json: where it says nothing, transformers would assume something."""
    from transformers import Wav2Vec2FeatureExtractor

    file = f"--encoder {name}: preprocessor_config.json"
    try:
        found, _ = Wav2Vec2FeatureExtractor.get_feature_extractor_dict(
            place.where, local_files_only=place.local
        )
        says = {key: found[key] for key in ("do_normalize", "sampling_rate") if key in found}
    except (OSError, ValueError, KeyError, ImportError, AttributeError, TypeError) as error:
        raise EncoderError(
            f"{file} does not say how it takes sound ({first_line(error)})."
        ) from error
    if not isinstance(says.get("do_normalize"), bool):
        raise EncoderError(
            f"{file} has no do_normalize: whether each sound is first scaled to mean 0 and "
            'variance 1. Add what the weights were trained with: "do_normalize": true or false.'
        )
    if "sampling_rate" not in says:
        raise EncoderError(f"{file} has no sampling_rate. If it is 16 kHz, add 16000.")
    if says["sampling_rate"] != RATE:
        raise EncoderError(
            f"--encoder {name}: it takes sound at {says['sampling_rate']} Hz; 16,000 Hz works."
        )
    return says["do_normalize"]
