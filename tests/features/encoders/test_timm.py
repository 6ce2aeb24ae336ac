"""Networks over pictures through timm: what its own transform and model give."""

import json
import os
import shutil
import signal

import numpy as np
import pytest
import torch
from corpora import media_corpus
from PIL import Image
from safetensors.torch import load_file, save_file

from erc_features.encoders import default_name, load_encoder, resolve
from erc_features.encoders.base import Settings
from erc_features.errors import EncoderError
from erc_features.extraction.dry_run import preview
from erc_features.extraction.extract import extract
from erc_features.extraction.verify import verify
from erc_features.store import FeatureFile
from erc_features.utterance import Modality

RANDOM = np.random.default_rng(0)
_VIT = {"img_size": 32, "embed_dim": 16, "depth": 3, "num_heads": 2}
# Architecture, its arguments, what its data configuration has in place of the published.
KINDS = {
    "class": ("vit_tiny_patch16_224", {**_VIT, "patch_size": 8}, {}),
    "registers": ("vit_small_patch14_reg4_dinov2", {**_VIT, "img_size": 28}, {}),
    "map": ("vit_base_patch16_siglip_224", _VIT, {}),
    "gap": ("vit_medium_patch16_reg4_gap_256", _VIT, {"interpolation": "bilinear"}),
    "eva": ("vit_small_patch16_dinov3", {**_VIT, "embed_dim": 32}, {"crop_pct": 0.9}),
    "stages": ("test_convnext", {}, {"crop_pct": 0.95, "input_size": (3, 32, 48)}),
    "squash": ("test_resnet", {}, {"crop_mode": "squash", "crop_pct": 0.875}),
}
TWINS = ("registers", "map", "eva")  # their code is that of another in the list


def picture(high, wide):
    return RANDOM.integers(0, 256, (high, wide, 3)).astype(np.uint8)


SIZES = [(40, 60), (60, 41), (32, 32), (33, 47), (24, 24)]
CLIPS = [tuple(picture(*SIZES[(i + k) % 5]) for k in range(1 + i % 4)) for i in range(5)]
HOSTILE = [(picture(1, 1),), (picture(1, 3_000), picture(1, 1)), (np.zeros((9, 9, 3), np.uint8),)]


def made_of(folder, kind, **data):
    """A folder as timm's `save_for_hf` writes it, with its classifier; and the model."""
    import timm
    from families import move_norms
    from timm.models import save_for_hf

    architecture, given, changed = KINDS[kind]
    side = given.get("img_size", 48)
    overlay = {"input_size": (3, side, side)} | changed | data
    torch.manual_seed(0)
    model = timm.create_model(
        architecture, num_classes=5, pretrained_cfg_overlay=overlay, **given
    ).eval()
    move_norms(model)
    save_for_hf(model, folder, safe_serialization=True)
    return folder, model


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root, found = tmp_path_factory.mktemp("timm"), {}

    def of(kind):
        if kind not in found:
            found[kind] = made_of(root / f"tiny-{kind}", kind)
        return found[kind]

    return of


def load(folder, **settings):
    name = str(folder)
    name = name if name.startswith(("timm:", "random:")) else f"timm:{name}"
    return load_encoder(name, Modality.VISUAL, Settings(**settings))


def states_of(model, pixels):
    """What goes into the first block, and out of each; the last through the final norm."""
    found = []
    hooks = [model.blocks[0].register_forward_pre_hook(lambda _, given: found.append(given[0]))]
    hooks += [b.register_forward_hook(lambda _, i, out: found.append(out)) for b in model.blocks]
    with torch.no_grad():
        last = model.forward_features(pixels)
    for hook in hooks:
        hook.remove()
    return [*found[:-1], last]


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=pytest.mark.soak if k in TWINS else ()) for k in KINDS]
)
def test_it_equals_timm_and_rows_do_not_depend_on_their_batch(made, kind):
    from timm.data import create_transform, resolve_model_data_config

    folder, model = made(kind)
    encoder = load(folder)
    transform = create_transform(**resolve_model_data_config(model), is_training=False)
    for size in [(60, 90), (90, 50), (31, 33), (1, 1), (3, 200)]:
        frame = picture(*size)
        wanted = transform(Image.fromarray(frame))[None]
        assert torch.equal(encoder.prepare([frame], "cpu"), wanted)  # to the last bit
    frames = CLIPS[3]
    pixels = torch.stack([transform(Image.fromarray(frame)) for frame in frames])
    with torch.no_grad():
        features = model.forward_head(model.forward_features(pixels), pre_logits=True)
    assert encoder.encode([frames]).shape == (1, 1, encoder.dim)
    assert features.abs().max() > 0.01
    assert np.abs(encoder.encode([frames])[0, 0] - features.mean(0).numpy()).max() < 1e-5
    alone = np.concatenate([encoder.encode([clip]) for clip in CLIPS])
    order = RANDOM.permutation(len(CLIPS))
    assert np.abs(encoder.encode([CLIPS[i] for i in order]) - alone[order]).max() < 1e-5
    assert np.isfinite(encoder.encode(HOSTILE)).all()
    if kind in ("stages", "squash"):
        with pytest.raises(EncoderError, match="--layers 0: asks for hidden states.*leave"):
            load(folder, layers="0:")
        return
    first = 0 if kind in ("map", "gap") else None  # no class token: the mean of the patches
    layers = [
        state[:, 0] if first is None else state[:, model.num_prefix_tokens :].mean(1)
        for state in states_of(model, pixels)
    ]
    wanted = torch.stack(layers, 1).mean(0).numpy()
    for asked, numbers in (("0:", [0, 1, 2, 3]), ("3,1", [3, 1]), ("-1", [3]), ("0", [0])):
        found = load(folder, layers=asked).encode([frames])[0]
        assert np.abs(found - wanted[numbers]).max() < 1e-5
    half = load(folder, precision="bf16")
    assert half.revision == encoder.revision
    assert 0 < np.abs(half.encode([frames]) - alone[3]).max() < 0.1 * np.abs(alone[3]).max()


@pytest.mark.parametrize(("name", "settings", "message"), [
    ("timm:vit_tiny_patch16_225", {}, "no architecture 'vit_tiny_patch16_225'.*vit_tiny_patch16_2"),
    ("timm:vit_tiny_patch16_224.x", {}, "has no tag 'x'; it has augreg_in21k"),
    ("timm:test_vit.r160_in1k", {}, "not in the cache.*local folder"),
    ("timm:nobody/such", {}, "not in the cache"),
    ("random:timm:test_vit", {"pool": "cls"}, "one of mean, max, mean"),
    ("random:timm:test_vit", {"history": 2}, "no --history"),
    ("random:timm:test_vit", {"window": "tight"}, "leave --window out"),
    ("random:timm:test_vit", {"layers": "99"}, "there are layers 0 to "),
])  # fmt: skip
def test_errors(name, settings, message):
    with pytest.raises(EncoderError, match=message):
        load(name, **settings)


@pytest.mark.parametrize(("change", "message"), [
    ({"mean": None, "crop_pct": None}, "pretrained_cfg lacks mean, crop_pct. Add what"),
    ({"interpolation": "nearest"}, "resized by 'nearest'"), ({"crop_pct": 1.15}, "crop_pct 1.15"),
    ({"crop_mode": "border"}, "crop_mode 'border'"), ({"input_size": [1, 32, 32]}, "wants 1 colo"),
    ({"input_size": [3, 48, 48]}, "does not take the pictures .*crop 48x48"),
    ("{", "is no configuration of timm"), ("[]", "is no configuration of timm"),
    ({"model_args": {"checkpoint_path": "x.pth"}}, "model_args has checkpoint_path"),
    ({"model_args": {**_VIT, "patch_size": 8, "depth": 4}}, "lacks 12 weights .*random"),
    ({"model_args": {**_VIT, "num_heads": 3}}, "not a model of timm that can be .*num_heads"),
    ({"model_args": {**_VIT, "patch_size": 16}}, r"has shape .* in its checkpoint"),
    ({"architecture": "vit_of_mine"}, "no architecture 'vit_of_mine'"),
    ("no weights", "as safetensors; a pickle .* is not read.*safe_serialization=True"),
    ("few weights", r"lacks 1 weights that the model has \(norm.weight"),
])  # fmt: skip
def test_folders_that_are_refused(made, tmp_path, change, message):
    folder = tmp_path / "tiny"
    shutil.copytree(made("class")[0], folder)
    config, weights = folder / "config.json", folder / "model.safetensors"
    said = json.loads(config.read_text())
    if change == "no weights":
        weights.rename(folder / "pytorch_model.bin")
    elif change == "few weights":
        state = {key: x for key, x in load_file(weights).items() if key != "norm.weight"}
        save_file(state, weights)
    elif isinstance(change, str):
        config.write_text(change)
    else:
        top = {key: x for key, x in change.items() if key in ("model_args", "architecture")}
        change = {} if top else change
        config.write_text(
            json.dumps({**said, **top, "pretrained_cfg": said["pretrained_cfg"] | change})
        )
    with pytest.raises(EncoderError, match=message):
        load(folder)


def test_names_and_its_modality(made, monkeypatch):
    folder, _ = made("class")
    for name, stem in [
        ("timm:vit_small_patch14_dinov2.lvd142m", "timm-vit_small_patch14_dinov2.lvd142m"),
        (f"timm:{folder}", "timm-tiny-class"), ("timm:hf-hub:owner/vit-x", "timm-vit-x"),
        ("random:timm:vit_tiny_patch16_224", "random-timm-vit_tiny_patch16_224"),
    ]:  # fmt: skip
        assert default_name(name, Modality.VISUAL) == stem
    with pytest.raises(EncoderError, match="give the feature file a name with --name"):
        default_name("timm:models/checkpoint-5", Modality.VISUAL)
    with pytest.raises(EncoderError, match="--modality visual works"):
        load_encoder("timm:test_vit", Modality.TEXT, Settings())
    assert resolve("timm:test_vit", Settings(precision="auto")).device in ("cpu", "cuda")
    monkeypatch.chdir(folder.parent)
    assert load("timm:tiny-class").name == f"timm:{folder.resolve()}"
    random = load("random:timm:test_vit")
    assert random.revision == load("random:timm:test_vit").revision


@pytest.mark.parametrize("name", ["timm:test_vit.r160_in1k", "timm:someone/tiny-vit"])
def test_weights_of_the_hubs_cache(made, tmp_path, monkeypatch, name):
    import timm
    from huggingface_hub import constants
    from timm.models import save_for_hf

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    known = name.endswith("in1k")
    repository = "timm--test_vit.r160_in1k" if known else "someone--tiny-vit"
    home = tmp_path / f"models--{repository}"
    if known:
        torch.manual_seed(1)
        save_for_hf(timm.create_model("test_vit"), home / "snapshots/abc", safe_serialization=True)
    else:
        shutil.copytree(made("class")[0], home / "snapshots/abc")
    (home / "refs").mkdir()
    (home / "refs/main").write_text("abc")
    encoder = load(name)
    assert encoder.name == name
    assert np.isfinite(encoder.encode(CLIPS[:1])).all()
    if not known:
        assert encoder.revision == load(made("class")[0]).revision


def test_sizes_are_foretold_a_kill_loses_nothing_and_verify_is_clean(made, tmp_path):
    root = media_corpus(tmp_path / "tiny")  # a row without a picture, and a broken picture
    what = {"modality": "visual", "encoder": f"timm:{made('class')[0]}"}
    (seen,) = preview(root, features=tmp_path / "f", **what)
    assert (seen.shape, seen.unit, seen.rows) == ((6, 1, 16), "frames", 5)
    child = os.fork()
    if not child:
        extract(root, features=tmp_path / "f", batch_size=2,
                progress=lambda *_: os.kill(os.getpid(), 9), **what)  # fmt: skip
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert list((tmp_path / "f").rglob("*.partial"))
    (done,) = extract(root, features=tmp_path / "f", batch_size=2, **what)
    assert done.path.name == "visual.timm-tiny-class.h5"
    (whole,) = extract(root, features=tmp_path / "g", batch_size=2, **what)
    with FeatureFile(done.path) as one, FeatureFile(whole.path) as other:
        assert np.array_equal(one.x(), other.x())
        assert sorted(set(one.status.tolist())) == [1, 2, 3]
    assert verify(done.path, corpus=root).sound
