"""Encoders without weights: the "basic approaches to each modality" of HLM12ERC's Objective 1.

text    hashed word and character n-grams (Weinberger et al. 2009, "Feature Hashing for Large
        Scale Multitask Learning")
audio   statistics of MFCCs (Davis and Mermelstein 1980) and of prosody: pitch, energy, tempo
visual  histograms of colour and of gradients (Dalal and Triggs 2005, "Histograms of Oriented
        Gradients for Human Detection"), mean and deviation over the frames

Each is a formula over one item, so a row cannot depend on its batch-mates; L = 1. Text does not
need torch, whose import takes longer than encoding a small corpus.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from erc_features.encoders.base import Settings, one_thread
from erc_features.encoders.hashed_ngrams import encode_ngrams
from erc_features.errors import EncoderError
from erc_features.utterance import Modality

_VERSION = 1  # a change of a formula is a new version, and so a new revision

_WORDS, _CHARACTERS = 1024, 1024

_RATE = 16_000
_MFCC = 20
_FRAME, _HOP = 400, 160  # 25 ms, 10 ms
_SHORTEST = 1_600  # samples, 0.1 s: shorter sound is padded with silence
_PITCH = (60.0, 500.0)  # Hz

_SIDE, _CELLS, _ANGLES, _BINS = 64, 8, 8, 8


@dataclass(frozen=True)
class Baseline:
    """A formula as an :class:`~erc_features.encoders.base.Encoder`."""

    modality: Modality
    dim: int
    name: str = "baseline"
    layers: int = 1
    device: str = "cpu"
    cap: float = float("inf")

    @property
    def revision(self) -> str:
        return hashlib.sha256(f"baseline {self.modality} {_VERSION}".encode()).hexdigest()

    def cost(self, size: float) -> float:
        return size

    def encode(self, items: Sequence[Any]) -> np.ndarray:
        """(B, 1, D) float32 of texts, of sounds (n,), or of tuples of frames (H, W, 3)."""
        if self.modality == Modality.TEXT:
            return encode_text(items)
        formula = encode_sound if self.modality == Modality.AUDIO else encode_frames
        with one_thread():
            return np.stack([formula(item) for item in items])[:, None]


def load_baseline(name: str, modality: Modality, settings: Settings) -> Baseline:
    """The baseline of a modality. It has one layer, nothing to pool, and runs on the CPU.

    Raises:
        EncoderError: a setting asks for something else.
    """
    right = {"layers": ("all", "last"), "pool": ("mean",), "precision": ("auto", "fp32"),
             "device": ("auto", "cpu"), "history": (0,), "prompt": ("",)}  # fmt: skip
    if wrong := [f"--{name}" for name in right if getattr(settings, name) not in right[name]]:
        raise EncoderError(
            f"--encoder baseline takes no {', '.join(wrong)}: it is one formula, on the CPU."
        )
    if modality == Modality.TEXT:
        return Baseline(modality, _WORDS + _CHARACTERS)
    if modality == Modality.AUDIO:
        return Baseline(modality, 4 * _MFCC + len(_prosody(np.zeros(_SHORTEST, np.float32))))
    return Baseline(modality, 2 * (3 * _BINS + _CELLS * _CELLS * _ANGLES))


def encode_text(texts: Sequence[str]) -> np.ndarray:
    """Texts -> (B, 1, 2048): word 1-2-grams and character 2-5-grams, each of length 1."""
    found = np.stack([encode_ngrams(text, _WORDS, _CHARACTERS) for text in texts])
    return found.astype(np.float32)[:, None]


def encode_sound(samples: np.ndarray) -> np.ndarray:
    """Sound (n,) at 16 kHz -> (D,): mean and deviation of 20 MFCCs and of their change; prosody."""
    import torch

    samples = np.pad(samples, (0, max(0, _SHORTEST - len(samples))))
    mfcc = _mfcc()(torch.from_numpy(samples))  # (20, T)
    change = mfcc.diff(dim=1)
    parts = [mfcc.mean(1), mfcc.std(1), change.mean(1), change.std(1)]
    return np.concatenate([torch.cat(parts).numpy(), _prosody(samples)]).astype(np.float32)


@cache
def _mfcc() -> Any:
    from torchaudio.transforms import MFCC

    return MFCC(
        _RATE,
        n_mfcc=_MFCC,
        log_mels=True,
        melkwargs={"n_fft": 512, "win_length": _FRAME, "hop_length": _HOP, "n_mels": 40},
    )


def _prosody(samples: np.ndarray) -> np.ndarray:
    """Length, loudness, pitch, voicing, brightness and tempo of sound (n,): (16,).

    Pitch is the lag of the highest autocorrelation of each 50 ms between 60 and 500 Hz, in
    semitones above 60 Hz; a frame is voiced where that correlation is over 0.4.
    """
    frames = np.lib.stride_tricks.sliding_window_view(samples, 800)[::_HOP]  # (T, 800)
    frames = frames * np.hanning(800).astype(np.float32)
    energy = np.log(np.mean(frames**2, axis=1) + 1e-8)  # (T,)
    spectrum = np.abs(np.fft.rfft(frames, 1600)) ** 2  # (T, 801), 10 Hz a bin
    correlation = np.fft.irfft(spectrum)[:, :800]
    correlation = correlation / (correlation[:, :1] + 1e-8)
    shortest, longest = int(_RATE / _PITCH[1]), int(_RATE / _PITCH[0])
    lags = correlation[:, shortest : longest + 1]
    pitch = 12 * np.log2(_RATE / (shortest + lags.argmax(1)) / _PITCH[0])
    voiced = (lags.max(1) > 0.4) & (energy > energy.max() - 6)
    heard = pitch[voiced] if voiced.any() else np.zeros(1)
    power = spectrum.sum(1) + 1e-8
    brightness = (spectrum * np.arange(801)).sum(1) / power / 100  # kHz
    flatness = np.exp(np.log(spectrum + 1e-8).mean(1)) / (power / 801)
    smooth = np.convolve(energy, np.ones(7) / 7, mode="same")
    rise = (smooth[1:-1] > smooth[:-2]) & (smooth[1:-1] >= smooth[2:])
    seconds = len(samples) / _RATE
    peaks = (rise & (smooth[1:-1] > np.median(energy))).sum()
    crossings = np.mean(np.signbit(samples[1:]) != np.signbit(samples[:-1]))
    return np.array(
        [
            np.log(seconds),
            energy.mean(), energy.std(), energy.max(), np.percentile(energy, 75),
            heard.mean(), heard.std(), np.percentile(heard, 10), np.percentile(heard, 90),
            np.abs(np.diff(heard)).mean() if len(heard) > 1 else 0.0,
            voiced.mean(),
            brightness.mean(), brightness.std(), flatness.mean(), crossings,
            peaks / seconds,
        ]
    )  # fmt: skip


def encode_frames(frames: Sequence[np.ndarray]) -> np.ndarray:
    """Frames (H, W, 3) uint8 -> (D,): mean and deviation of their histograms over the frames."""
    found = np.stack([_histograms(frame) for frame in frames])  # (F, 3 * 8 + 8 * 8 * 8)
    return np.concatenate([found.mean(0), found.std(0)]).astype(np.float32)


def _histograms(frame: np.ndarray) -> np.ndarray:
    import torch
    import torch.nn.functional as F

    pixels = torch.from_numpy(np.array(frame)).permute(2, 0, 1).float() / 255
    small = F.interpolate(pixels[None], size=(_SIDE, _SIDE), mode="area")[0].numpy()
    colour = [np.histogram(channel, bins=_BINS, range=(0, 1))[0] for channel in small]
    grey = small.mean(0)
    down, across = np.gradient(grey)
    strength = np.hypot(down, across)
    angle = (np.arctan2(down, across) % np.pi) / np.pi * _ANGLES  # unsigned orientation
    which = np.minimum(angle.astype(int), _ANGLES - 1)
    cell = np.repeat(np.arange(_CELLS), _SIDE // _CELLS)
    place = (cell[:, None] * _CELLS + cell[None, :]) * _ANGLES + which
    gradients = np.bincount(place.ravel(), strength.ravel(), _CELLS * _CELLS * _ANGLES)
    gradients = np.sqrt(gradients / (gradients.sum() + 1e-3))
    return np.concatenate([np.concatenate(colour) / _SIDE**2, gradients])
