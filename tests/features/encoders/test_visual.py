import numpy as np
import pytest
import torch
from checkpoints import tiny_clip
from PIL import Image

from erc_features.encoders import default_name, load_encoder
from erc_features.encoders.base import Settings
from erc_features.errors import EncoderError
from erc_features.utterance import Modality

RANDOM = np.random.default_rng(0)


def picture(high, wide):
    return RANDOM.integers(0, 256, (high, wide, 3)).astype(np.uint8)


SIZES = [(40, 60), (60, 40), (32, 32), (33, 47), (24, 24)]
CLIPS = [
    tuple(picture(*SIZES[int(s)]) for _ in range(n))
    for n, s in zip(RANDOM.integers(1, 6, 100), RANDOM.integers(0, 5, 100), strict=True)
]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return tiny_clip(tmp_path_factory.mktemp("checkpoints") / "tiny-clip")


def load(name, **settings):
    return load_encoder(str(name), Modality.VISUAL, Settings(**settings))


@pytest.mark.parametrize("how", ["mean", "mean+max", "mean+std"])
def test_a_row_does_not_depend_on_its_batch(clip, how):
    encoder = load(clip, pool=how)
    alone = np.concatenate([encoder.encode([frames]) for frames in CLIPS])
    assert alone.shape == (100, 1, 48 if "+" in how else 24)
    for batch in np.array_split(RANDOM.permutation(100), 7):
        assert np.abs(encoder.encode([CLIPS[i] for i in batch]) - alone[batch]).max() < 1e-5


@pytest.mark.parametrize("mode", ["shortest", "squash"])
def test_it_equals_open_clip(tmp_path, mode):
    import open_clip

    folder = tiny_clip(tmp_path / "tiny-clip", mode=mode)
    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    model.eval()
    encoder = load(folder)
    for high, wide in [(240, 426), (90, 50), (32, 32), (1, 1), (3, 200), (31, 33)]:
        frames = (picture(high, wide), picture(high, wide))
        pixels = torch.stack([preprocess(Image.fromarray(frame)) for frame in frames])
        assert torch.equal(encoder.prepare(frames, "cpu"), pixels)  # to the last bit
        with torch.no_grad():
            wanted = model.encode_image(pixels).mean(0).numpy()
        assert np.abs(encoder.encode([frames])[0, 0] - wanted).max() < 1e-5


@pytest.mark.parametrize("filter_", ["bicubic", "bilinear"])
def test_pictures_are_resized_as_pillow_does(filter_):
    from open_clip.transform import image_transform

    from erc_features.encoders.pixels import preprocess

    for size in (224, (96, 64)):
        config = {"size": size, "mean": (0.5,) * 3, "std": (0.25,) * 3,
                  "resize_mode": "shortest", "interpolation": filter_}  # fmt: skip
        theirs = image_transform(size, False, (0.5,) * 3, (0.25,) * 3, interpolation=filter_)
        ours = preprocess(config)
        for high, wide in [(240, 426), (720, 1280), (5, 900), (2, 1)]:
            frame = picture(high, wide)
            assert torch.equal(ours([frame], "cpu")[0], theirs(Image.fromarray(frame)))


def test_hostile_pictures(clip):
    encoder = load(clip)
    black = np.zeros((20, 20, 3), np.uint8)
    items = [(picture(1, 1),), (picture(1, 20_000), picture(1, 1)), (black,), (black + 255,)]
    assert np.isfinite(encoder.encode(items)).all()


def test_random_weights_and_precisions(clip):
    random = load("random:RN50-quickgelu")
    assert random.revision == load("random:RN50-quickgelu").revision
    one, half = load(clip), load(clip, precision="bf16")
    assert half.revision == one.revision
    assert 0 < np.abs(half.encode(CLIPS[:3]) - one.encode(CLIPS[:3])).max() < 0.1


def test_names():
    assert default_name("hf-hub:laion/CLIP-x", Modality.VISUAL) == "CLIP-x"
    assert default_name("random:ViT-B-32", Modality.VISUAL) == "random-ViT-B-32"


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("ViT-B-32/laion2b_s34b_b79k", {}, r"not in the cache .*HF_HOME.*--encoder baseline"),
        ("ViT-B-32/laion", {}, r"ViT-B-32 has no tag 'laion'; it has .*laion2b_s34b_b79k"),
        ("ViT-B-33=x.safetensors", {}, r"architecture 'ViT-B-33'; it has, among others,"),
        ("ViT-B-32=x.safetensors", {}, r"no weights x\.safetensors"),
        ("ViT-B-32/openai=x.safetensors", {}, r"no weights x\.safetensors"),
        ("ViT-B-32=x.pt", {}, r"pickle \(\.bin, \.pt\) is not read"),
        ("RN50/yfcc15m", {}, "pickle|not in the cache"),
        ("ViT-B-32", {}, r"no visual model; ViT-B-32/laion2b_s34b_b79k \(an architecture"),
        ("tiny", {"layers": "0,1"}, "one embedding a frame, so --layers is all"),
        ("tiny", {"pool": "cls"}, "one embedding a frame"),
        ("nobody/such-clip", {}, "not in the cache"),
    ],
)
def test_errors(clip, name, settings, message):
    with pytest.raises(EncoderError, match=message):
        load(clip if name == "tiny" else name, **settings)


def test_weights_of_another_architecture(clip, tmp_path):
    import shutil

    other = tiny_clip(tmp_path / "other", side=64)
    shutil.copy(other / "open_clip_model.safetensors", clip.parent / "o.safetensors")
    folder = tmp_path / "mixed"
    shutil.copytree(clip, folder)
    shutil.copy(other / "open_clip_model.safetensors", folder)
    with pytest.raises(EncoderError, match="not a CLIP that can be loaded"):
        load(folder)
    (folder / "open_clip_config.json").write_text("{")
    with pytest.raises(EncoderError, match="not a CLIP that can be loaded"):
        load(folder)
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(EncoderError, match="no weights"):
        load(folder)
