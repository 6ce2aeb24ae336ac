"""The built-in input of each modality, whose embedding a feature file keeps as its probe.

It is a sentence, or a turn with its history; 2 s of a synthetic voice; or a drawn face. All are
made with whole numbers, so that every machine and every version of numpy has the same bits. Any
change here needs a new `INPUT`: probes of different inputs cannot be compared.
"""

from typing import Any

import numpy as np

from erc_features.encoders.base import Settings, Turn
from erc_features.utterance import Modality

INPUT = 1
KINDS = {
    Modality.TEXT: "a fixed built-in sentence",
    Modality.AUDIO: "2 s of a built-in synthetic voice",
    Modality.VISUAL: "a built-in drawing of a face",
}

_SENTENCE = "Oh, you can't be serious! I waited 25 minutes for you — and the café was closed."
_BEFORE = (
    ("Ann", "Where have you been all day?"),
    ("Ben", "At work. Why, did something happen?"),
    ("Ann", "We said noon, remember?"),
)

_RATE, _SYLLABLE = 16_000, 4_000  # Hz, samples
# Two formants a vowel of 80 and 120 Hz width, as round(2 r cos(2 pi F / rate) 2^14) and
# round(r^2 2^14) with r = exp(-pi width / rate).
_VOWELS = {
    "a": ((30941, 15877), (29117, 15630)),  # 730, 1090 Hz
    "i": ((32076, 15877), (19913, 15630)),  # 270, 2290 Hz
    "e": ((31561, 15877), (24007, 15630)),  # 530, 1840 Hz
    "u": ((32034, 15877), (30155, 15630)),  # 300, 870 Hz
    "o": ((31453, 15877), (30279, 15630)),  # 570, 840 Hz
}
_SAID = "aieouaei"
_PITCH = (118, 131, 145, 162, 150, 138, 171, 112)  # Hz at the beginning of each, then the last

_HEIGHT, _WIDTH = 240, 320


def built_in(modality: Modality, settings: Settings) -> Any:
    """The item as an encoder takes it: str or Turn, sound (32000,), or two frames."""
    if modality == Modality.TEXT:
        if not settings.history and "{speaker}" not in settings.prompt:
            return _SENTENCE
        most = len(_BEFORE) if settings.history == "all" else int(settings.history)
        said = (*(_BEFORE[-most:] if most else ()), ("Ben", _SENTENCE))
        return Turn(said, len(said) - (2 if settings.reach == "whole" else 1))
    return voice() if modality == Modality.AUDIO else (face(4), face(16))


def voice() -> np.ndarray:
    """Eight syllables in 2 s: float32 (32000,), whole numbers divided by 2^15.

    A saw-tooth of moving pitch and some breath through two formants (Fant 1960).
    """
    found = np.zeros(len(_SAID) * _SYLLABLE, np.int64)
    phase, noise = 0, 1
    state = [0, 0, 0, 0]  # of each formant, its last two outputs
    for n in range(len(found)):
        syllable, at = divmod(n, _SYLLABLE)
        following = _PITCH[min(syllable + 1, len(_PITCH) - 1)]
        pitch = _PITCH[syllable] * (_SYLLABLE - at) + following * at  # Hz times 4000
        phase = (phase + (pitch << 12) // (_RATE * _SYLLABLE // 1024)) & 0x3FFFFF
        noise = (1_103_515_245 * noise + 12_345) & 0x7FFFFFFF
        x = ((phase >> 9) - 4096) + ((noise >> 16) % 512 - 256)
        x = x * (at * (_SYLLABLE - at) // 4_000) >> 10  # swells and falls: 0 to 1000
        for formant, (a, b) in enumerate(_VOWELS[_SAID[syllable]]):
            before, older = state[2 * formant : 2 * formant + 2]
            x = ((x << 10) + a * before - b * older) >> 14
            state[2 * formant : 2 * formant + 2] = x, before
        found[n] = x
    # Half of full scale; the breath's last bits stay under it, so that no stretch is silent.
    found = found * 16_384 // int(np.abs(found).max())
    return found.astype(np.float32) / np.float32(32_768)


def face(gape: int) -> np.ndarray:
    """A face whose mouth is open by `gape` pixels to each side: (240, 320, 3) uint8 RGB."""
    y, x = np.mgrid[0:_HEIGHT, 0:_WIDTH].astype(np.int64)
    picture = np.stack([60 + y // 3, 90 + x // 4, 160 - y // 4], -1)  # the light falls on a wall
    picture += ((7 * x + 13 * y + x * y // 5) % 9)[..., None]  # and has grain

    def paint(across: int, down: int, width: int, height: int, colour: tuple[int, ...]) -> None:
        inside = (x - across) ** 2 * height**2 + (y - down) ** 2 * width**2 <= (width * height) ** 2
        shade = (x - across + y - down)[inside, None] // 6
        picture[inside] = np.array(colour) - shade

    paint(160, 260, 110, 60, (60, 120, 180))  # shoulders
    paint(160, 112, 76, 92, (110, 66, 32))  # hair
    paint(160, 124, 62, 80, (232, 190, 160))
    for eye in (134, 186):
        paint(eye, 108, 13, 7, (245, 245, 245))
        paint(eye + 2, 108, 6, 6, (40, 34, 30))
        paint(eye, 92, 15, 3, (104, 62, 30))  # brows
    paint(160, 130, 6, 14, (214, 166, 138))
    paint(160, 162, 26, gape, (122, 32, 36))
    return picture.clip(0, 255).astype(np.uint8)
