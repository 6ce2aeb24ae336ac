"""Pictures with a real face: the portrait of Grace Hopper (United States Navy, public domain) that
matplotlib has in its package."""

from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image

# Where it is in the portrait of 512 x 600: left, top, right, bottom, from brow to chin.
PLACE = (182, 121, 353, 332)


def portrait(height: int = 600) -> Image.Image:
    """The portrait, 0.853 times as wide as high."""
    path = Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg"
    with Image.open(path) as picture:
        return picture.convert("RGB").resize((round(height * 512 / 600), height))


def wall(width: int, height: int, *faces: tuple[int, int, int]) -> np.ndarray:
    """A wall (height, width, 3) uint8 where portraits hang: left, top and height of each."""
    y, x = np.mgrid[0:height, 0:width]
    picture = np.stack([60 + y % 120, 90 + x % 120, 160 - y % 120], -1).astype(np.uint8)
    canvas = Image.fromarray(picture)
    for left, top, high in faces:
        canvas.paste(portrait(high), (left, top))
    return np.asarray(canvas)
