"""Draws the sample corpus's speakers: a talking head with an expression, frame by frame."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

WIDTH, HEIGHT, FPS = 160, 120, 12
_SCALE = 2  # frames are drawn larger, then reduced, because PIL draws without smoothing

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Look:
    """A speaker's appearance, the same in every clip."""

    skin: Colour
    hair: Colour
    shirt: Colour
    width: float  # of the head, relative to its height
    long_hair: bool


class Expression(NamedTuple):
    """What a face shows: numbers from about -1 to 1, and a light that suits it, as in films."""

    curve: float  # of the mouth; above 0 is a smile
    gape: float  # how far the mouth is open
    slant: float  # of the brows; above 0 is a frown
    lift: float  # of the brows
    eyes: float  # how far they are open
    light: Colour


LOOKS = {
    "Ada": Look((241, 200, 170), (120, 70, 30), (60, 120, 180), 0.78, True),
    "Bruno": Look((224, 172, 130), (40, 30, 25), (150, 60, 60), 0.90, False),
    "Chidi": Look((120, 80, 55), (20, 18, 18), (200, 180, 80), 0.82, False),
    "Dora": Look((250, 215, 195), (225, 190, 100), (170, 90, 160), 0.74, True),
    "Emil": Look((235, 190, 160), (170, 80, 40), (80, 140, 90), 0.86, False),
    "Farah": Look((185, 130, 95), (35, 22, 20), (215, 215, 220), 0.80, True),
}
EXPRESSIONS = {
    "rest": Expression(0.05, 0.05, 0.0, 0.0, 0.5, (186, 184, 178)),
    "smile": Expression(0.95, 0.25, -0.1, 0.2, 0.4, (222, 196, 142)),
    "wide": Expression(-0.1, 0.9, -0.2, 1.0, 1.0, (172, 196, 224)),
    "frown": Expression(-0.9, 0.05, 0.9, -0.5, 0.35, (140, 132, 142)),
}


def draw_frames(
    rng: np.random.Generator, speaker: str, face: str, seconds: float, loudness: np.ndarray
) -> np.ndarray:
    """Draw a clip: (T, HEIGHT, WIDTH, 3) uint8, T = seconds * FPS rounded.

    Args:
        rng: decides the camera, the light and how strongly the expression shows.
        speaker: a name in LOOKS.
        face: a name in EXPRESSIONS.
        loudness: (n,) from 0 to 1 over the clip; opens the mouth.
    """
    look = LOOKS[speaker]
    strength = rng.uniform(0.55, 1.1)
    expression = _blend(EXPRESSIONS["rest"], EXPRESSIONS[face], strength)
    light = np.clip(np.array(expression.light) + rng.normal(0, 18, 3) + rng.normal(0, 12), 40, 255)
    place = rng.normal([0.5, 0.52], [0.05, 0.02])
    size = rng.uniform(0.9, 1.1)
    sway, phase = rng.uniform(0.004, 0.015), rng.uniform(0, 2 * np.pi)
    blink = rng.uniform(0, seconds)

    frames = []
    for t in np.arange(round(seconds * FPS)) / FPS:
        x = place[0] + sway * np.sin(2 * np.pi * 0.8 * t + phase)
        mouth = loudness[min(int(t / seconds * len(loudness)), len(loudness) - 1)]
        shut = abs(t - blink) < 0.06
        frames.append(_draw(look, expression, light, (x, place[1]), size, mouth, shut))
    return np.stack(frames)


def _blend(rest: Expression, full: Expression, strength: float) -> Expression:
    def mix(a: Sequence[float], b: Sequence[float]) -> list[float]:
        return [x + (y - x) * strength for x, y in zip(a, b, strict=True)]

    red, green, blue = map(int, mix(rest.light, full.light))
    return Expression(*mix(rest[:5], full[:5]), light=(red, green, blue))


def _draw(
    look: Look,
    expression: Expression,
    light: np.ndarray,
    place: tuple[float, float],
    size: float,
    mouth: float,
    shut: bool,
) -> np.ndarray:
    """Draw a frame (HEIGHT, WIDTH, 3) uint8. Lengths are in units of half the head's height."""
    unit = HEIGHT * _SCALE * 0.34 * size
    cx, cy = place[0] * WIDTH * _SCALE, place[1] * HEIGHT * _SCALE

    def at(x: float, y: float) -> tuple[float, float]:
        return cx + x * unit, cy + y * unit

    def lit(colour: Colour) -> Colour:
        red, green, blue = (np.array(colour) * (light + 40) / 255).astype(int).tolist()
        return red, green, blue

    def box(x: float, y: float, rx: float, ry: float) -> tuple[float, float, float, float]:
        return (*at(x - rx, y - ry), *at(x + rx, y + ry))

    picture = Image.new("RGB", (WIDTH * _SCALE, HEIGHT * _SCALE), tuple(int(v) for v in light))
    draw = ImageDraw.Draw(picture)
    w = look.width
    draw.ellipse(box(0, 1.75, 1.3, 0.8), fill=lit(look.shirt))
    draw.ellipse(
        box(0, -0.15 + 0.35 * look.long_hair, w + 0.12, 1.0 + 0.2 * look.long_hair),
        fill=lit(look.hair),
    )
    draw.ellipse(box(0, 0.08, w, 0.95), fill=lit(look.skin))

    for side in (-1, 1):
        x = side * 0.36 * w / 0.8
        eye = 0.02 if shut else 0.04 + 0.14 * expression.eyes
        draw.ellipse(box(x, -0.12, 0.17, eye), fill=lit((250, 250, 250)))
        if not shut:
            draw.ellipse(box(x, -0.12, 0.07, min(0.07, eye)), fill=(25, 25, 30))
        y, tilt = -0.42 - 0.14 * expression.lift, 0.13 * expression.slant
        ends = [at(x - side * 0.2, y + tilt), at(x + side * 0.2, y - tilt)]
        draw.line(ends, fill=lit(look.hair), width=int(0.09 * unit))

    # The mouth is the area between two parabolas that meet in its corners.
    gape = 0.05 + 0.2 * max(0.0, expression.gape) + 0.12 * mouth
    xs = np.linspace(-1, 1, 13)
    bow = 0.22 * expression.curve * (1 - xs**2)
    edge = gape * (1 - xs**2)
    half = 0.38 - 0.1 * max(0.0, expression.gape)
    lower, upper = (
        [at(half * x, y) for x, y in zip(xs, 0.5 + bow + lip, strict=True)] for lip in (edge, -edge)
    )
    draw.polygon(lower + upper[::-1], fill=lit((120, 30, 35)))
    return np.asarray(picture.reduce(_SCALE))
