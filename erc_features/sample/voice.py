"""Synthesises the sample corpus's voices: harmonics under moving formants, in syllables.

A minimal source-filter model (Fant 1960): a harmonic source with vibrato and a spectral tilt,
weighted by two formants per syllable, plus breath noise.
"""

from dataclasses import dataclass

import numpy as np

RATE = 16_000  # Hz


@dataclass(frozen=True, slots=True)
class Prosody:
    """How a kind of voice differs from the speaker's usual voice."""

    pitch: float  # factor on the speaker's pitch
    swing: float  # depth of the pitch contour, as a share of the pitch
    energy: float  # peak amplitude, from 0 to 1
    tempo: float  # syllables per second
    breath: float  # noise, as a share of the harmonics
    tilt: float  # how the harmonics' amplitudes fall: k ** -tilt


PITCHES = {  # Hz
    "Ada": 205.0, "Bruno": 112.0, "Chidi": 125.0, "Dora": 225.0, "Emil": 138.0, "Farah": 190.0,
}  # fmt: skip
PROSODIES = {
    "level": Prosody(1.0, 0.06, 0.32, 4.4, 0.03, 1.0),
    "excited": Prosody(1.25, 0.15, 0.60, 6.0, 0.02, 0.6),
    "startled": Prosody(1.60, 0.28, 0.38, 4.0, 0.06, 0.9),
    "subdued": Prosody(0.86, 0.03, 0.17, 3.3, 0.12, 1.4),
}
_VOWELS = np.array([[730, 1090], [530, 1840], [270, 2290], [570, 840], [300, 870]])  # F1, F2 in Hz


def speak(
    rng: np.random.Generator, speaker: str, voice: str, seconds: float
) -> tuple[np.ndarray, np.ndarray]:
    """Synthesise one utterance.

    Args:
        rng: decides the syllables, and how this utterance differs from the kind's prosody.
        speaker: a name in PITCHES.
        voice: a name in PROSODIES.

    Returns:
        The samples, (seconds * RATE,) float32 from -1 to 1, and the loudness of each
        hundredth of a second, (n,) from 0 to 1.
    """
    prosody = PROSODIES[voice]
    t = np.arange(int(seconds * RATE)) / RATE  # (N,)
    tempo = prosody.tempo * rng.lognormal(0, 0.12)
    base = PITCHES[speaker] * prosody.pitch * rng.lognormal(0, 0.08)
    energy = min(0.95, prosody.energy * rng.lognormal(0, 0.25))
    tilt = prosody.tilt + rng.normal(0, 0.15)
    swing = prosody.swing * rng.lognormal(0, 0.3)

    count = max(2, round(seconds * tempo))
    place = t / seconds * count  # the syllable, and how far into it
    syllable = np.minimum(place.astype(int), count - 1)
    stress = rng.uniform(0.6, 1.0, count)[syllable]
    envelope = stress * np.sin(np.pi * (place - syllable)) ** 0.6  # (N,)

    contour = 1 + swing * np.sin(2 * np.pi * rng.uniform(0.5, 1.2) * t + rng.uniform(0, 6.3))
    vibrato = 1 + 0.01 * np.sin(2 * np.pi * 5.5 * t)
    phase = 2 * np.pi * np.cumsum(base * contour * vibrato) / RATE

    formants = _VOWELS[rng.integers(len(_VOWELS), size=count)] * rng.normal(1, 0.04, (count, 1))
    harmonics = np.arange(1, int(4000 / base) + 1)
    gaps = (harmonics[None, :, None] * base - formants[:, None, :]) / 120.0  # (count, K, 2)
    gains = (0.08 + (1 / (1 + gaps**2)).sum(-1)) * harmonics**-tilt  # (count, K)
    # sin(k p) = 2 cos(p) sin((k - 1) p) - sin((k - 2) p): cheaper than np.sin.
    before, sine, twice_cosine = np.zeros_like(t), np.sin(phase), 2 * np.cos(phase)
    tone = np.zeros_like(t)
    for gain in gains.T:
        tone += gain[syllable] * sine
        before, sine = sine, twice_cosine * sine - before

    tone /= np.abs(tone).max()
    sound = envelope * (tone + prosody.breath * rng.normal(0, 1, len(t)))
    sound = energy * sound / np.abs(sound).max() + rng.normal(0, 0.002, len(t))
    hops = envelope[: len(envelope) // 160 * 160].reshape(-1, 160)
    return sound.astype(np.float32), hops.mean(1)
