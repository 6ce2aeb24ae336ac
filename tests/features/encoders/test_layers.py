"""The last layer is `last_hidden_state`, in every family and in every version of transformers."""

import json

import h5py
import numpy as np
import pytest
import torch
from corpora import text_corpus
from families import SOUND, TEXT, family

from erc_features.encoders import load_encoder
from erc_features.encoders.base import Settings
from erc_features.errors import EncoderError, ErcError, FeatureFileError, RunError
from erc_features.extraction.extract import extract
from erc_features.extraction.verify import verify
from erc_features.utterance import Modality, Split, Utterance
from erc_fusion.config.config import FuseConfig, with_options
from erc_fusion.fuse import fuse
from erc_fusion.predict import predict

WORDS = "the great lovely happy text, and no stupid hate at all"
TEXTS = [WORDS[:n] for n in (3, 20, len(WORDS))]
SOUNDS = [
    np.random.default_rng(n).standard_normal(n).astype(np.float32) for n in (400, 4_240, 8_080)
]
FP32_ONLY = {"OpenAIGPT", "XGLM"}  # they compute in float32 beside their weights' type


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("families")
    return lambda name, **more: family(root / f"{name}{len(list(root.iterdir()))}", name, **more)


def load(folder, modality, **settings):
    return load_encoder(str(folder), modality, Settings(**settings))


def plain(folder, each):
    """Of each input the layers (T, D) of the model called plainly; the last without asking for
    the others."""
    from transformers import AutoModel

    model, found = AutoModel.from_pretrained(folder).eval(), []
    with torch.no_grad():
        for inputs in each:
            inner = model(**inputs, output_hidden_states=True).hidden_states[:-1]
            last = model(**inputs).last_hidden_state
            found.append([state[0] for state in (*inner, last)])
    return found


def check(encoder_of, items, wanted, halves=True):
    """wanted: for each item its layers, (T, D)."""
    means = np.stack([[layer.mean(0).numpy() for layer in layers] for layers in wanted])
    every = encoder_of(layers="all")
    x = np.concatenate([every.encode([item]) for item in items])
    assert x.shape == means.shape
    assert np.abs(x - means).max() < 1e-5
    last, two = encoder_of(layers="last"), encoder_of(layers="-2:")
    assert np.abs(last.encode(items[-1:])[:, 0] - means[-1:, -1]).max() < 1e-5
    assert np.abs(two.encode(items[-1:]) - means[-1:, -2:]).max() < 1e-5
    if halves:
        half = encoder_of(layers="last", precision="bf16").encode(items[-1:])
        far = np.abs(half[:, 0] - means[-1:, -1]).max()
        assert 0 < far < 0.1 * max(1, np.abs(means[-1, -1]).max())


@pytest.mark.parametrize("name", [name for name in TEXT if name != "OPT-narrow"])
def test_the_last_layer_of_text_is_the_last_hidden_state(made, name):
    from transformers import AutoTokenizer

    folder = made(name)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    wanted = plain(
        folder, [{"input_ids": tokenizer(text, return_tensors="pt").input_ids} for text in TEXTS]
    )
    check(
        lambda **given: load(folder, Modality.TEXT, **given), TEXTS, wanted, name not in FP32_ONLY
    )


@pytest.mark.parametrize("name", SOUND)
def test_the_last_layer_of_sound_is_the_last_hidden_state(made, name):
    from transformers import AutoFeatureExtractor

    folder = made(name)
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    # SEW takes frames by pairs: a last one alone is zeros in transformers, and left out here.
    # Of one frame, Wav2Vec2-BERT's banks have no variance.
    longer = 320 if name.startswith("SEW") else 480 if name.startswith("Wav2Vec2Bert") else 0
    sounds = [np.pad(sound, (0, longer)) for sound in SOUNDS]
    values = [extractor(sound, sampling_rate=16_000, return_tensors="pt") for sound in sounds]
    # The extractor's own names: input_values, or Wav2Vec2-BERT's banks and their mask.
    wanted = plain(folder, [dict(one) for one in values])
    check(lambda **given: load(folder, Modality.AUDIO, **given), sounds, wanted)


@pytest.mark.parametrize("name", [
    "SEW", "SEWD", "SEW-layer", "Wav2Vec2Conformer-group", "Wav2Vec2Conformer-relative",
    "Wav2Vec2Conformer-rotary", "Wav2Vec2Bert", "Wav2Vec2Bert-relative",
])  # fmt: skip
def test_a_sound_does_not_depend_on_its_batch(made, name):
    random = np.random.default_rng(0)
    lengths = [*random.integers(1, 20_000, 12), *range(8_000, 8_320, 40), 31 * 16_000]
    sounds = [random.standard_normal(n).astype(np.float32) for n in lengths]
    encoder = load(made(name), Modality.AUDIO, pool="mean+std")
    alone = np.concatenate([encoder.encode([sound]) for sound in sounds])
    assert np.isfinite(alone).all()
    order = random.permutation(len(sounds))
    found = encoder.encode([sounds[i] for i in order])
    assert np.abs(found - alone[order]).max() < 1e-5 * max(1, np.abs(alone).max())


def test_a_last_layer_of_another_width_has_a_file_of_its_own(made):
    folder = made("OPT-narrow")
    with pytest.raises(EncoderError, match=r"last layer has 8 dimensions and the others have 16"):
        load(folder, Modality.TEXT)
    assert load(folder, Modality.TEXT, layers="last", pool="max").encode(TEXTS).shape == (3, 1, 8)
    assert load(folder, Modality.TEXT, layers=":-1").encode(TEXTS).shape == (3, 3, 16)


def test_an_adapter_behind_the_last_block(made):
    folder = made("Wav2Vec2-group", add_adapter=True, num_adapter_layers=1)
    with pytest.raises(EncoderError, match=r"add_adapter.*fewer frames.*--layers :-1"):
        load(folder, Modality.AUDIO)
    assert load(folder, Modality.AUDIO, layers=":-1").encode(SOUNDS).shape == (3, 3, 16)


@pytest.mark.parametrize(
    ("name", "modality", "layers", "recorded"),
    [
        ("ModernBert", "text", "all", {"last_layer": "last_hidden_state"}),
        ("BioGpt", "text", "last", {"last_layer": "last_hidden_state"}),
        ("RobertaPreLayerNorm", "text", "-2:", {"last_layer": "last_hidden_state"}),
        ("RobertaPreLayerNorm", "text", ":-1", {}),
        ("Bert", "text", "all", {}),
        ("Wav2Vec2-stable", "audio", "all", {"last_layer": "last_hidden_state"}),
        ("WavLM-stable", "audio", "0,1", {}),
        ("Hubert-layer", "audio", "all", {}),
    ],
)
def test_families_whose_numbers_changed_say_so(made, name, modality, layers, recorded):
    assert load(made(name), Modality(modality), layers=layers).recorded == recorded


def _as_before(path):
    """A file of an erc that took the last of `hidden_states`: it records nothing of it."""
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["config"])
        before = config.pop("last_layer", None)
        file.attrs["config"] = json.dumps(config, sort_keys=True)
    return before


def test_files_of_the_old_last_layer_are_refused_and_others_go_on(made, tmp_path):
    text_corpus(tmp_path / "talk")
    asked = [Utterance(Split.NEW, 0, 0, "", "happy text")]
    for name, before in (("Bert", None), ("ModernBert", "last_hidden_state")):
        given = {"features": tmp_path / "f", "modality": "text", "encoder": str(made(name)),
                 "name": name}  # fmt: skip
        [done] = extract(tmp_path / "talk", **given)
        assert _as_before(done.path) == before
        config = with_options(
            FuseConfig(corpus="talk"), features=str(tmp_path / "f"), runs=str(tmp_path / "r"),
            modalities=(f"text.{name}",), head="linear", seeds=(0,), epochs=1, device="cpu",
        )  # fmt: skip
        run = fuse(config).run
        if before is None:
            assert extract(tmp_path / "talk", **given)[0].already
            assert len(predict(run, asked).rows) == 1
            continue
        message = "last_layer: None here, 'last_hidden_state' now"
        with pytest.raises(FeatureFileError, match=f"(?s){message}.*--overwrite"):
            extract(tmp_path / "talk", **given)
        with pytest.raises(ErcError, match=message):
            verify(done.path, corpus=tmp_path / "talk")
        message = r"(?s)last_layer is None there, 'last_hidden_state' now.*erc extract --overwrite"
        with pytest.raises(RunError, match=message):
            predict(run, asked)
