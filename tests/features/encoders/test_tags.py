"""Weights as a file, or in a folder: their preprocessing and activation are found or asked for."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from checkpoints import tiny_bert, tiny_clip, tiny_sound
from corpora import media_corpus
from PIL import Image
from safetensors.torch import load_file, save_file

from erc_features.encoders import load_encoder
from erc_features.encoders.base import Settings
from erc_features.encoders.open_clip_tags import of_file
from erc_features.encoders.pixels import preprocess
from erc_features.errors import EncoderError, ErcError, FeatureFileError
from erc_features.extraction.extract import extract
from erc_features.extraction.verify import verify
from erc_features.utterance import Modality

RANDOM = np.random.default_rng(0)
FRAME = RANDOM.integers(0, 256, (90, 160, 3)).astype(np.uint8)

# By their files: every test worker reads this list, and only one of them needs open_clip itself.
FOUND = find_spec("open_clip")
assert FOUND and FOUND.origin
ARCHITECTURES = sorted(path.stem for path in Path(FOUND.origin).parent.glob("model_configs/*.json"))


def pretrained(architecture, tag):
    from open_clip.pretrained import get_pretrained_cfg

    return get_pretrained_cfg(architecture, tag)


@pytest.fixture
def known_tags(monkeypatch):
    """Gives tiny-known these tags."""
    from open_clip.pretrained import _PRETRAINED

    return lambda tags: monkeypatch.setitem(_PRETRAINED, "tiny-known", tags)


@pytest.fixture(scope="module")
def laion():
    return pretrained("ViT-B-32", "laion2b_s34b_b79k")


@pytest.fixture(scope="module")
def siglip():
    return pretrained("ViT-B-16-SigLIP", "webli")


def load(name, modality=Modality.VISUAL, **settings):
    return load_encoder(str(name), modality, Settings(**settings))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A tiny CLIP; open_clip knows its architecture as tiny-known."""
    import open_clip

    folder = tiny_clip(tmp_path_factory.mktemp("checkpoints") / "tiny-clip")
    known = folder.parent / "tiny-known.json"
    config = json.loads((folder / "open_clip_config.json").read_text())
    known.write_text(json.dumps(config["model_cfg"]))
    open_clip.add_model_config(known)
    return folder


@pytest.fixture
def file(clip):
    return clip / "open_clip_model.safetensors"


def needs(architecture, tag):
    config = dict(pretrained(architecture, tag))
    return json.dumps({k: v for k, v in config.items() if k not in ("url", "hf_hub")})


def test_these_are_the_architectures_of_open_clip():
    import open_clip

    assert set(ARCHITECTURES) == {a for a in open_clip.list_models() if not a.startswith("tiny-")}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_has_what_its_tags_agree_on_or_asks(architecture):
    import open_clip
    from open_clip.transform import PreprocessCfg, image_transform_v2

    tags = open_clip.list_pretrained_tags_by_model(architecture)
    name = f"{architecture}=w.safetensors"
    if len({needs(architecture, tag) for tag in tags}) != 1:
        asked = rf"{architecture}/TAG=w\.safetensors" if tags else "no weights of .* folder"
        with pytest.raises(EncoderError, match=asked) as raised:
            of_file(name, architecture, "w.safetensors")
        assert all(tag in str(raised.value) for tag in tags)
        return
    found = of_file(name, architecture, "w.safetensors")
    wanted = pretrained(architecture, tags[0])
    assert {key: found[key] for key in found if key not in ("url", "hf_hub")} == {
        key: wanted[key] for key in wanted if key not in ("url", "hf_hub")
    }
    size = open_clip.get_model_config(architecture)["vision_cfg"].get("image_size", 224)
    part = {key: wanted[key] for key in ("mean", "std", "interpolation", "resize_mode")}
    theirs = image_transform_v2(PreprocessCfg(size=size, **part), is_train=False)
    ours = preprocess({**part, "size": size})([FRAME], "cpu")[0]
    assert torch.equal(ours, theirs(Image.fromarray(FRAME)))  # to the last bit


def test_every_tag_of_siglip_squashes_and_scales_by_a_half():
    import open_clip

    tags = [(a, tag) for a, tag in open_clip.list_pretrained() if "siglip" in a.lower()]
    assert {a for a, _ in tags if "SigLIP2" in a} and len(tags) >= 30
    for architecture, tag in tags:
        wanted = preprocess({**pretrained(architecture, tag), "size": 224})
        assert (wanted.mode, wanted.mean, wanted.std) == ("squash", (0.5,) * 3, (0.5,) * 3)
        built = open_clip.get_model_config(architecture)["vision_cfg"]
        # A tower of timm: the same code loads it as the next test's.
        assert built["timm_model_name"].startswith("vit_")
        assert (built["timm_pool"], built["timm_proj"]) == ("map", "none")


def test_a_tower_of_timm_in_open_clip_loads_as_any_other(tmp_path):
    """As all of SigLIP's are, whose smallest has 93 M parameters: timm's ViT, an attention head."""
    import open_clip

    vision = {"image_size": 160, "timm_model_name": "test_vit", "timm_model_pretrained": False,
              "timm_pool": "map", "timm_proj": "none"}  # fmt: skip
    text = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
    config = {"model_cfg": {"embed_dim": 64, "vision_cfg": vision, "text_cfg": text},
              "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic",
                                 "resize_mode": "squash"}}  # fmt: skip
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(3)
    model = open_clip.model.CLIP(64, vision, text)
    save_file(model.state_dict(), tmp_path / "open_clip_model.safetensors")
    theirs, transform = open_clip.create_model_from_pretrained(f"local-dir:{tmp_path}")
    pixels = transform(Image.fromarray(FRAME))[None]
    encoder = load(tmp_path)
    assert torch.equal(encoder.prepare([FRAME], "cpu"), pixels)
    with torch.no_grad():
        embedding = theirs.eval().encode_image(pixels)[0].numpy()
    assert np.abs(encoder.encode([(FRAME,)])[0, 0] - embedding).max() < 1e-5


def test_what_the_table_holds():
    """The cases of the two faults, so that the table above can't agree on nothing."""
    found = of_file("x", "ViT-B-16-SigLIP", "w")
    assert found["resize_mode"] == "squash"
    assert tuple(found["mean"]) == tuple(found["std"]) == (0.5, 0.5, 0.5)
    assert of_file("x", "ViT-L-14-336", "w")["quick_gelu"]
    for asks in ("ViT-B-16", "ViT-B-32", "ViT-L-14", "ViT-H-14", "ViT-H-14-quickgelu"):
        with pytest.raises(EncoderError, match="differ in what they need"):
            of_file("x", asks, "w")


def test_a_real_architecture_from_a_file_equals_open_clip_with_its_tag(tmp_path):
    """PE-Core-T-16-384, whose one tag squashes and scales by a half, as SigLIP's do."""
    import open_clip

    wanted = pretrained("PE-Core-T-16-384", "meta")
    torch.manual_seed(0)
    model, _, transform = open_clip.create_model_and_transforms(
        "PE-Core-T-16-384", pretrained=None, image_mean=wanted["mean"], image_std=wanted["std"],
        image_interpolation=wanted["interpolation"], image_resize_mode=wanted["resize_mode"],
    )  # fmt: skip
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    encoder = load(f"PE-Core-T-16-384={tmp_path}/w.safetensors")
    pixels = transform(Image.fromarray(FRAME))[None]
    assert torch.equal(encoder.prepare([FRAME], "cpu"), pixels)
    with torch.no_grad():
        embedding = model.eval().encode_image(pixels)[0].numpy()
    apart = np.abs(encoder.encode([(FRAME,)])[0, 0] - embedding).max()
    assert apart < 1e-4 * np.abs(embedding).max()  # a new model's numbers are small: 5e-5


@pytest.mark.parametrize("tag", ["gelu", "quick", "squash"])
def test_a_tag_decides_activation_and_preprocessing(known_tags, laion, siglip, file, tag):
    import open_clip

    tags = {"gelu": laion, "quick": {**laion, "quick_gelu": True}, "squash": siglip}
    known_tags(tags)
    encoder = load(f"tiny-known/{tag}={file}")
    wanted = tags[tag]
    model, _, transform = open_clip.create_model_and_transforms(
        "tiny-known", pretrained=None, force_quick_gelu=tag == "quick",
        image_mean=wanted["mean"], image_std=wanted["std"],
        image_interpolation=wanted["interpolation"], image_resize_mode=wanted["resize_mode"],
    )  # fmt: skip
    model.load_state_dict(load_file(file))
    pixels = transform(Image.fromarray(FRAME))[None]
    assert torch.equal(encoder.prepare([FRAME], "cpu"), pixels)
    with torch.no_grad():
        embedding = model.eval().encode_image(pixels)[0].numpy()
    assert np.abs(encoder.encode([(FRAME,)])[0, 0] - embedding).max() < 1e-5
    others = [load(f"tiny-known/{other}={file}") for other in tags if other != tag]
    assert all(np.abs(other.encode([(FRAME,)])[0, 0] - embedding).max() > 1e-4 for other in others)
    with pytest.raises(EncoderError, match=r"(?s)gelu: shortest.*quick: .*QuickGELU.*squash: sq"):
        load(f"tiny-known={file}")
    with pytest.raises(EncoderError, match=r"no tag 'other'; it has gelu, quick, squash"):
        load(f"tiny-known/other={file}")


def test_a_file_and_a_folder_are_the_same(known_tags, laion, clip, file):
    known_tags({"one": laion, "two": laion})
    for name in (f"tiny-known={file}", f"tiny-known/two={file}"):
        one, other = load(clip), load(name)
        assert one.revision == other.revision
        assert np.array_equal(one.encode([(FRAME,)]), other.encode([(FRAME,)]))
    assert load("random:tiny-known").revision != one.revision


def test_an_architecture_without_tags_asks_for_a_folder(clip, file):
    with pytest.raises(EncoderError, match=r"no weights of tiny-known.*open_clip_config\.json"):
        load(f"tiny-known={file}")
    with pytest.raises(EncoderError, match="tiny-known has no tag 'x'; it has none"):
        load(f"tiny-known/x={file}")


@pytest.mark.parametrize("lacks", ["mean", "std", "preprocess_cfg"])
def test_a_folder_that_does_not_say_how_it_takes_pictures(clip, tmp_path, lacks):
    folder = tmp_path / "clip"
    shutil.copytree(clip, folder)
    config = json.loads((folder / "open_clip_config.json").read_text())
    (config if lacks in config else config["preprocess_cfg"]).pop(lacks)
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(EncoderError, match=r'lacks .*Add what they were .*"preprocess_cfg": \{'):
        load(folder)


def test_files_of_the_old_preprocessing_are_refused_and_others_go_on(
    known_tags, laion, siglip, file, tmp_path
):
    corpus = media_corpus(tmp_path / "tiny")
    given = {"features": tmp_path / "f", "modality": "visual", "encoder": f"tiny-known={file}"}
    words = "squash, bicubic, mean 0.5 0.5 0.5, std 0.5 0.5 0.5"
    for name, tag in (("same", laion), ("other", siglip)):
        known_tags({"one": tag})
        [done] = extract(corpus, name=name, **given)
        with h5py.File(done.path, "r+") as opened:
            config = json.loads(opened.attrs["config"])
            before = config.pop("preprocessing", None)
            opened.attrs["config"] = json.dumps(config, sort_keys=True)
        if name == "same":
            assert before is None
            assert extract(corpus, name=name, **given)[0].already
            continue
        assert before.startswith(words)
        with pytest.raises(FeatureFileError, match=f"preprocessing: None here, '{words}.*' now"):
            extract(corpus, name=name, **given)
        with pytest.raises(ErcError, match=f"preprocessing: None here, '{words}.*' now"):
            verify(done.path, corpus=corpus)


@pytest.mark.parametrize("lacks", ["do_normalize", "sampling_rate"])
def test_a_model_of_sound_that_does_not_say_how_it_takes_it(tmp_path, lacks):
    folder = tiny_sound(tmp_path / "w", "Wav2Vec2", normalise=False)
    path = folder / "preprocessor_config.json"
    config = json.loads(path.read_text())
    config.pop(lacks)
    path.write_text(json.dumps(config))
    with pytest.raises(EncoderError, match=rf"preprocessor_config\.json has no {lacks}"):
        load(folder, Modality.AUDIO)


@pytest.mark.parametrize("says", [None, True, False])
def test_a_cased_vocabulary_is_not_made_lower_case_in_silence(tmp_path, says):
    folder = tiny_bert(tmp_path / "tiny-cased")
    for file in folder.glob("*token*"):
        file.unlink()
    count = json.loads((folder / "config.json").read_text())["vocab_size"]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "The", "the", "Great", "great"]
    (folder / "vocab.txt").write_text("\n".join(words + [f"word{i}" for i in range(count - 9)]))
    if says is None:
        with pytest.raises(EncoderError, match=r"'Great'.*\{\"do_lower_case\": false\}"):
            load(folder, Modality.TEXT)
        return
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": says}))
    upper, lower = load(folder, Modality.TEXT).encode(["The Great", "the great"])
    assert np.array_equal(upper, lower) == says
