"""Networks over pictures through transformers: what the library's processor and model give."""

import json
import os
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from corpora import media_corpus
from families import PICTURES, picture_family, processor
from PIL import Image
from safetensors.torch import load_file, save_file

from erc_features.encoders import default_name, load_encoder
from erc_features.encoders.base import Settings
from erc_features.encoders.image_processors import of_processor
from erc_features.encoders.naflex import Fit, patched
from erc_features.errors import EncoderError, FeatureFileError
from erc_features.extraction.dry_run import preview
from erc_features.extraction.extract import extract
from erc_features.extraction.verify import verify
from erc_features.store import FeatureFile
from erc_features.utterance import Modality

RANDOM = np.random.default_rng(0)
FILE = "preprocessor_config.json"
STAGED = ("DINOv3ConvNext", "Swin", "Swinv2", "ConvNext", "ConvNextV2", "ResNet")
PATCHES = ("Siglip", "SiglipVision", "Siglip2", "IJepa")
TWO = ("CLIP", "MetaClip2", "Siglip", "Siglip2")
# Their code is that of another in the list.
TWINS = ("CLIPVision", "MetaClip2", "SiglipVision", "DeiT", "Beit", "Dinov2WithRegisters", "ViTMSN",
         "Swinv2", "ConvNext", "ConvNextV2", "ResNet", "Dinov2", "Beit-class", "IJepa")  # fmt: skip


def picture(high, wide):
    return RANDOM.integers(0, 256, (high, wide, 3)).astype(np.uint8)


SIZES = [(40, 60), (60, 41), (32, 32), (33, 47), (24, 24)]
CLIPS = [tuple(picture(*SIZES[(i + k) % 5]) for k in range(1 + i % 4)) for i in range(5)]
GREY = np.full((30, 30, 3), 127, np.uint8)
HOSTILE = [
    (picture(1, 1),),
    (picture(1, 3_000), picture(1, 1)),
    (GREY,),
    (GREY * 0, GREY * 0 + 255),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root, found = tmp_path_factory.mktemp("families"), {}

    def of(name):
        if name not in found:
            found[name] = picture_family(root / f"tiny-{name}", name)
        return found[name]

    return of


def load(folder, **settings):
    return load_encoder(str(folder), Modality.VISUAL, Settings(**settings))


def plain(folder, name, frames):
    """The library's own: the documented embedding (F, D) of each frame, and its layers."""
    import transformers

    _, kind, given = PICTURES[name]
    batch = processor(kind, **given)(
        [Image.fromarray(frame) for frame in frames], return_tensors="pt"
    )
    cls = getattr(transformers, f"{name.partition('-')[0]}Model")
    model = cls.from_pretrained(folder).eval()
    with torch.no_grad():
        if name in TWO:
            embedding = model.get_image_features(**batch).pooler_output
            model = model.vision_model
        found = model(**batch)
        if name not in TWO:
            last = found.last_hidden_state
            of_class = name in ("ViT", "DeiT", "ViTMSN")
            embedding = (last[:, 0] if of_class else last.mean(1) if name == "IJepa"
                         else found.pooler_output.flatten(1))  # fmt: skip
        if name in STAGED:
            return batch["pixel_values"], embedding, None
        inner = model(**batch, output_hidden_states=True).hidden_states[:-1]
    states = [*inner, found.last_hidden_state]
    if name == "Siglip2":  # its patches, and what pads them to equal numbers
        seen = batch["pixel_attention_mask"][..., None]
        pooled = [(state * seen).sum(1) / seen.sum(1) for state in states]
    else:
        pooled = [state.mean(1) if name in PATCHES else state[:, 0] for state in states]
    return batch["pixel_values"], embedding, torch.stack(pooled, 1)


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.soak if n in TWINS else ()) for n in PICTURES],
)
def test_it_equals_the_library_and_rows_do_not_depend_on_their_batch(made, name):
    folder = made(name)
    encoder = load(folder)
    frames = CLIPS[3]
    pixels, embedding, layers = plain(folder, name, frames)
    if name != "Siglip2":
        assert torch.equal(encoder.prepare(frames, "cpu"), pixels)  # to the last bit
    found = encoder.encode([frames])
    assert found.shape == (1, 1, encoder.dim)
    assert embedding.abs().max() > 0.1
    assert np.abs(found[0, 0] - embedding.mean(0).numpy()).max() < 1e-5
    alone = np.concatenate([encoder.encode([clip]) for clip in CLIPS])
    order = RANDOM.permutation(len(CLIPS))
    assert np.abs(encoder.encode([CLIPS[i] for i in order]) - alone[order]).max() < 1e-5
    assert np.isfinite(encoder.encode(HOSTILE)).all()
    if layers is None:
        with pytest.raises(EncoderError, match="--layers -1 asks for hidden states.*leave"):
            load(folder, layers="-1")
        return
    every = load(folder, layers="0:", pool="mean+max")
    assert (every.layers, every.dim) == (4, 32)
    wanted = torch.cat([layers.mean(0), layers.amax(0)], -1).numpy()
    assert np.abs(every.encode([frames])[0] - wanted).max() < 1e-5


@pytest.mark.parametrize("name", ["CLIP", "DINOv3ViT"])
def test_some_layers_in_parts_and_in_half_precision(made, name):
    folder, frames = made(name), CLIPS[3]
    _, embedding, layers = plain(folder, name, frames)
    wanted = layers.mean(0).numpy()
    some = load(folder, layers="3,1")
    parts = replace(some, at_once=3).encode([*CLIPS[:3], frames])
    assert np.abs(parts[-1] - wanted[[3, 1]]).max() < 1e-5
    last = load(folder, layers="-1").encode([frames])[0, 0]
    assert np.abs(last - wanted[3]).max() < 1e-5
    # `last` is the embedding, which only for DINOv3 is the class token of the last hidden state.
    documented = load(folder, layers="last").encode([frames])[0, 0]
    assert np.abs(documented - embedding.mean(0).numpy()).max() < 1e-5
    same = documented.shape == last.shape and np.abs(documented - last).max() < 1e-5
    assert same == (name == "DINOv3ViT")
    half = load(folder, layers="0:", precision="bf16")
    assert half.revision == some.revision
    assert 0 < np.abs(half.encode([frames])[0] - wanted).max() < 0.05 * np.abs(wanted).max()


@pytest.mark.parametrize(("kind", "given"), [
    ("CLIP", {"size": 40, "crop_size": {"height": 33, "width": 40}}),
    ("CLIP", {"size": {"height": 40, "width": 50}, "crop_size": 31, "resample": 2}),
    ("CLIP", {"size": {"height": 40, "width": 50}, "do_center_crop": False}),
    ("ChineseCLIP", {"size": 33, "crop_size": 32, "do_normalize": False}),
    ("Siglip", {"size": {"height": 33, "width": 48}, "rescale_factor": 1 / 127.5}),
    ("ViT", {"size": 40, "resample": 1}), ("ViT", {"size": 40, "do_rescale": False}),
    ("DeiT", {"size": 40, "crop_size": 33}), ("Pvt", {"size": 32}), ("Blip", {"size": 32}),
    ("Beit", {"size": 40, "do_center_crop": True, "crop_size": 33}),
    ("ConvNext", {"size": 48}),
    pytest.param("ConvNext", {"size": {"shortest_edge": 384}}, marks=pytest.mark.soak),
    ("DINOv3ViT", {"size": {"height": 32, "width": 48}, "resample": 3}),
])  # fmt: skip
def test_pixels_have_the_bits_of_the_librarys_processor(tmp_path, kind, given):
    theirs = processor(kind, **given)
    theirs.save_pretrained(tmp_path)
    said = json.loads((tmp_path / FILE).read_text())
    assert said["image_processor_type"] == f"{kind}ImageProcessor"
    ours = of_processor("x", said, "ViT")
    # As it is in old files: only what was given, named by a feature extractor.
    colours = {key: said[key] for key in ("image_mean", "image_std")}
    old = {**colours, **given, "feature_extractor_type": f"{kind}FeatureExtractor"}
    assert of_processor("x", old, "ViT") == ours
    assert of_processor("x", {**colours, **given}, kind) == ours
    for size in [(60, 90), (90, 50), (31, 33), (1, 1), (3, 200)]:
        frame = picture(*size)
        wanted = theirs(Image.fromarray(frame), return_tensors="pt")["pixel_values"]
        assert torch.equal(ours([frame], "cpu"), wanted)


@pytest.mark.parametrize(("change", "message"), [
    ({"size": None}, r"lacks size\. Add what the weights were trained with"),
    ({"image_mean": None, "image_std": None}, "lacks image_mean and image_std. Add"),
    ({"image_processor_type": "EfficientNetImageProcessor"}, "EfficientNetImageProcessor; those"),
    ({"do_pad": True}, "asks for do_pad, which is not implemented"),
    ({"do_flip_channel_order": True, "do_resize": False}, "do_flip_channel_order, do_resize false"),
    ({"crop_pct": 0.9}, "asks for crop_pct"), ({"resample": 0}, "has resample 0; 1, 2 and 3 work"),
    ({"size": {"longest_edge": 9}}, "height and width, or shortest_edge, work"),
    ({"size": {"shortest_edge": 32, "longest_edge": 64}}, "height and width, or shortest_edge"),
    ({"size": {"shortest_edge": 32}}, "no crop, so pictures differ in size"),
    ({"do_center_crop": True, "crop_size": 64}, r"crops \(64, 64\) from \(32, 32\), beyond"),
    ({"image_mean": [0.5]}, "one number for each of three colours"), ({"size": 0}, "has size 0"),
    ({"size": {"height": 48, "width": 48}}, r"does not take the pictures .*squash 48x48"),
    ("{", "does not say how it takes pictures"), (None, "does not say how it takes pictures"),
])  # fmt: skip
def test_preprocessing_that_is_not_said_or_not_known(made, tmp_path, change, message):
    folder = tmp_path / "tiny-vit"
    shutil.copytree(made("ViT"), folder)
    said = json.loads((folder / FILE).read_text())
    if change is None:
        (folder / FILE).unlink()
    else:
        text = change if isinstance(change, str) else json.dumps(said | change)
        (folder / FILE).write_text(text)
    with pytest.raises(EncoderError, match=message):
        load(folder)


def test_naflex_fits_patches_as_transformers_does(made, tmp_path):
    from transformers.models.siglip2 import image_processing_pil_siglip2 as theirs

    sizes = [*RANDOM.integers(1, 3_000, (30, 2)).tolist(), [1, 1], [1, 4_000], [4_000, 3]]
    for patch, most in ((16, 256), (14, 729), (8, 20)):
        for high, wide in sizes:
            wanted = theirs.get_image_size_for_max_num_patches(high, wide, patch, most)
            assert Fit(patch, most)((high, wide)) == wanted
    encoder = load(made("Siglip2"))
    frame = picture(60, 41)
    wanted = processor("Siglip2", patch_size=8, max_num_patches=20)(
        Image.fromarray(frame), return_tensors="pt"
    )
    size = encoder.fit((60, 41))
    pixels = replace(encoder.prepare, size=size, resized=size)([frame], "cpu")
    ours = patched(pixels, 8)
    assert torch.equal(ours["spatial_shapes"], wanted["spatial_shapes"])
    count = ours["pixel_values"].shape[1]
    assert torch.equal(ours["pixel_values"], wanted["pixel_values"][:, :count])  # the same bits
    assert encoder.recorded["preprocessing"].endswith("up to 20 patches of 8x8")
    folder = tmp_path / "tiny"
    shutil.copytree(made("Siglip2"), folder)
    said = json.loads((folder / FILE).read_text())
    (folder / FILE).write_text(json.dumps(said | {"max_num_patches": None}))
    with pytest.raises(EncoderError, match=r"lacks max_num_patches\. Add what"):
        load(folder)


@pytest.mark.parametrize("name", ["CLIP", "Siglip"])
def test_only_the_half_that_sees_is_loaded_hashed_and_asked_for(made, tmp_path, name):
    folder = tmp_path / "tiny"
    shutil.copytree(made(name), folder)
    state = load_file(folder / "model.safetensors")
    sees = {key: x for key, x in state.items() if "vision" in key or "visual" in key}
    save_file(sees, folder / "model.safetensors", {"format": "pt"})
    one, other = load(made(name)), load(folder)
    assert one.revision == other.revision
    assert not any("text" in key for key in one.model.state_dict())
    assert np.array_equal(one.encode(CLIPS[:2]), other.encode(CLIPS[:2]))
    some = {key: x for key, x in sees.items() if "post_layernorm" not in key}
    save_file(some, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(EncoderError, match="lacks 2 weights .*post_layernorm.*random"):
        load(folder)


def test_a_mask_token_that_a_checkpoint_may_lack(made, tmp_path):
    folder = tmp_path / "tiny"
    shutil.copytree(made("Dinov2"), folder)
    state = load_file(folder / "model.safetensors")
    state.pop("embeddings.mask_token")
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    one, other = load(made("Dinov2")), load(folder)
    assert np.array_equal(one.encode(CLIPS[:2]), other.encode(CLIPS[:2]))


def test_weights_that_are_stored_in_half_precision(made, tmp_path):
    folder = tmp_path / "tiny"
    shutil.copytree(made("Dinov2"), folder)
    state = load_file(folder / "model.safetensors")
    save_file({key: x.half() for key, x in state.items()}, folder / "model.safetensors",
              {"format": "pt"})  # fmt: skip
    whole, half = load(made("Dinov2")), load(folder)  # both computed in fp32
    assert whole.revision != half.revision
    assert 0 < np.abs(whole.encode(CLIPS[:2]) - half.encode(CLIPS[:2])).max() < 1e-2


def test_a_siglip_without_its_head(tmp_path):
    sizes = PICTURES["SiglipVision"][0]
    folder = picture_family(tmp_path / "tiny", "SiglipVision", vision_use_head=False)
    assert load(folder, layers="0:").dim == sizes["hidden_size"]
    with pytest.raises(EncoderError, match="it has no pooler_output; --layers 0: takes its hidden"):
        load(folder)


@pytest.mark.parametrize(("name", "settings", "message"), [
    ("ViT", {"pool": "cls"}, "one of mean, max, mean"), ("ViT", {"history": 2}, "no --history"),
    ("ViT", {"layers": "4"}, "there are layers 0 to 3"),
    ("ViTMAE", {}, "vit_mae is not a network over pictures that erc knows; clip, .* timm:NAME"),
    ("random:dinov9", {}, "no random weights of 'dinov9'.*random:dinov2-base.*random:timm"),
    ("nobody/such-vit", {}, "not in the cache"),
])  # fmt: skip
def test_errors(made, tmp_path, name, settings, message):
    folder = name
    if name in PICTURES:
        folder = made(name)
    elif name == "ViTMAE":
        import transformers

        folder = tmp_path / "tiny"
        transformers.ViTMAEConfig().save_pretrained(folder)
        save_file({"x": torch.zeros(1)}, folder / "model.safetensors")
    with pytest.raises(EncoderError, match=message):
        load(folder, **settings)


def test_an_id_of_the_hub_is_found_in_the_cache(made, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    home = tmp_path / "models--someone--tiny-dinov2"
    shutil.copytree(made("Dinov2"), home / "snapshots" / "abc")
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("abc")
    encoder = load("someone/tiny-dinov2")
    assert encoder.revision == load(made("Dinov2")).revision
    assert default_name("someone/tiny-dinov2", Modality.VISUAL) == "someone-tiny-dinov2"


@pytest.mark.soak
def test_random_weights_of_real_size():
    encoder = load("random:clip-vit-base-patch32")
    assert (encoder.dim, encoder.prepare.size) == (512, (224, 224))
    assert encoder.revision == load("random:clip-vit-base-patch32").revision


def killed(root, features, **what):
    """An extraction in a process that SIGKILL ends after its first batch."""
    child = os.fork()
    if not child:
        extract(root, features=features, batch_size=2, progress=lambda *_: os.kill(os.getpid(), 9),
                **what)  # fmt: skip
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL


def test_sizes_are_foretold_a_kill_loses_nothing_and_verify_is_clean(made, tmp_path):
    root = media_corpus(tmp_path / "tiny")  # a row without a picture, and a broken picture
    folder = tmp_path / "tiny-dinov3"
    shutil.copytree(made("DINOv3ViT"), folder)
    what = {"modality": "visual", "encoder": str(folder), "settings": Settings(layers="0,-1")}
    (seen,) = preview(root, features=tmp_path / "f", **what)
    assert (seen.shape, seen.unit, seen.rows) == ((6, 2, 16), "frames", 5)
    killed(root, tmp_path / "f", **what)
    (partial,) = (tmp_path / "f").rglob("*.partial")
    (done,) = extract(root, features=tmp_path / "f", batch_size=2, **what)
    assert done.path.name == "visual.tiny-dinov3+layers0--1.h5"
    assert not partial.exists()
    (whole,) = extract(root, features=tmp_path / "g", batch_size=2, **what)
    with FeatureFile(done.path) as one, FeatureFile(whole.path) as other:
        assert np.array_equal(one.x(), other.x())
        assert np.array_equal(one.status, other.status)
        assert sorted(set(one.status.tolist())) == [1, 2, 3]
        assert one.provenance.config["preprocessing"].startswith("squash 32x32, bilinear, mean")
    assert verify(done.path, corpus=root).sound
    said = json.loads((folder / FILE).read_text())
    (folder / FILE).write_text(json.dumps(said | {"image_mean": [0.5, 0.5, 0.5]}))
    with pytest.raises(FeatureFileError, match="preprocessing: 'squash.*mean 0.48.* now"):
        extract(root, features=tmp_path / "f", batch_size=2, **what)


def test_one_number_as_size_is_what_the_library_takes_it_for():
    """Both edges or the shortest, by the kind and by `default_to_square`."""
    colours = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": 32}
    for kind, said in (("Siglip", {}), ("ViT", {"default_to_square": False})):
        with pytest.raises(EncoderError, match="so pictures differ in size"):
            of_processor("x", colours | said, kind)
    assert of_processor("x", colours | {"default_to_square": True}, "Siglip").mode == "squash"
    crop = colours | {"do_center_crop": True, "crop_size": 24, "default_to_square": False}
    picture = np.random.default_rng(0).integers(0, 256, (40, 61, 3), dtype=np.uint8)
    wanted = processor("Beit", **crop)(Image.fromarray(picture), return_tensors="np")
    found = of_processor("x", crop, "Beit")([picture], "cpu").numpy()
    assert np.abs(found - wanted["pixel_values"]).max() < 1e-5
