"""How loud 40 bands of pitch are, and how much that changes: no weights, one formula."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torchaudio.transforms import MelSpectrogram

from erc_features.encoders.base import Settings, pick_device, to_device
from erc_features.errors import EncoderError
from erc_features.utterance import Modality

RATE, BANDS = 16_000, 40
FORMULA = "loudness 1"  # its name and version: another formula is another version


@dataclass(frozen=True)
class Loudness:
    """Log-mel energies of 25 ms every 10 ms (Davis and Mermelstein 1980), mean and deviation."""

    name: str
    device: str
    mel: MelSpectrogram
    modality: Modality = Modality.AUDIO
    layers: int = 1
    dim: int = 2 * BANDS
    revision: str = hashlib.sha256(FORMULA.encode()).hexdigest()
    cap: float = 600.0  # seconds of sound in a batch

    def cost(self, size: float) -> float:
        """Seconds."""
        return size

    def encode(self, items: Sequence[np.ndarray]) -> np.ndarray:
        """Sounds (n,) float32 at 16 kHz -> (B, 1, 80) float32, each for itself."""
        return np.stack([self._row(to_device(item, self.device)) for item in items])

    def _row(self, sound: torch.Tensor) -> np.ndarray:  # (n,) -> (1, 80)
        bands = (self.mel(sound) + 1e-6).log()  # (40, T); silence is -13.8, not minus infinity
        return torch.cat([bands.mean(1), bands.std(1, correction=0)])[None].cpu().numpy()


def load_loudness(name: str, modality: Modality, settings: Settings) -> Loudness:
    """What the entry point names. Loads nothing that takes time: there are no weights."""
    if modality != Modality.AUDIO:
        raise EncoderError(f"--encoder {name} takes sound; --modality audio works.")
    if replace(settings, device="auto") != Settings():
        raise EncoderError(
            f"--encoder {name} is one formula in float32: it has no --layers, --pool, --precision "
            "or --history to choose."
        )
    device = pick_device(settings.device)
    mel = MelSpectrogram(RATE, 512, 400, 160, n_mels=BANDS, pad_mode="constant")
    return Loudness(name, device, mel.to(device))
