"""Whisper's encoder: `reference` is the model called plainly, `tight` reads the sound alone."""

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import tiny_sound, tiny_whisper
from clips import tone
from corpora import media_corpus

from erc_features.encoders import load_encoder
from erc_features.encoders.base import Settings, measure
from erc_features.errors import EncoderError, ErcError, FeatureFileError
from erc_features.extraction.extract import extract
from erc_features.extraction.verify import verify
from erc_features.media import read_audio
from erc_features.store import FeatureFile
from erc_features.utterance import Modality

RANDOM = np.random.default_rng(0)
LENGTHS = [1, 160, 319, 320, 321, 7_999, 16_000, 40_123]


def noise(samples):
    return (0.1 * RANDOM.standard_normal(samples) + 0.02).astype(np.float32)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_whisper(tmp_path_factory.mktemp("whisper") / "tiny")


def load(name, **settings):
    return load_encoder(str(name), Modality.AUDIO, Settings(**settings))


def plain(folder, sound):
    """Layers (L, T, D) of the model called as its page shows; T positions of 20 ms."""
    from transformers import AutoFeatureExtractor, WhisperModel

    extractor = AutoFeatureExtractor.from_pretrained(folder)
    model = WhisperModel.from_pretrained(folder).eval().encoder
    features = extractor(sound, sampling_rate=16_000, return_tensors="pt").input_features
    with torch.no_grad():
        inner = model(features, output_hidden_states=True).hidden_states[:-1]
        last = model(features).last_hidden_state
    return torch.cat([*inner, last])[:, : -(-len(sound) // 320)]


def by_hand(folder, sound):
    """The same of the sound's own positions: each step of the network, written out."""
    from transformers import AutoFeatureExtractor, WhisperModel

    model = WhisperModel.from_pretrained(folder).eval().encoder
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    features = extractor(sound, sampling_rate=16_000, return_tensors="pt").input_features
    count = -(-len(sound) // 320)
    with torch.no_grad():
        gelu = torch.nn.functional.gelu
        x = gelu(model.conv2(gelu(model.conv1(features[..., : 2 * count])))).transpose(1, 2)
        x = x + model.embed_positions.weight[:count]
        states = [x]
        for layer in model.layers:
            attention, norm = layer.self_attn, layer.self_attn_layer_norm(states[-1])
            heads, size = attention.num_heads, attention.head_dim
            q, k, v = (
                project(norm).view(1, count, heads, size).transpose(1, 2)
                for project in (attention.q_proj, attention.k_proj, attention.v_proj)
            )
            share = (q * size**-0.5 @ k.transpose(2, 3)).softmax(-1)
            joined = (share @ v).transpose(1, 2).reshape(1, count, heads * size)
            x = states[-1] + attention.out_proj(joined)
            states.append(x + layer.fc2(gelu(layer.fc1(layer.final_layer_norm(x)))))
        states[-1] = model.layer_norm(states[-1])
    return torch.cat(states)


@pytest.mark.parametrize(("window", "wanted"), [("reference", plain), ("tight", by_hand)])
def test_it_equals_the_plain_model(tiny, window, wanted):
    encoder = load(tiny, window=window, pool="mean+max")
    assert (encoder.layers, encoder.dim, encoder.recorded) == (3, 32, {"window": window})
    for samples in LENGTHS:
        sound = noise(samples)
        states = wanted(tiny, sound)
        pooled = torch.cat([states.mean(1), states.amax(1)], -1).numpy()
        assert np.abs(encoder.encode([sound])[0] - pooled).max() < 1e-5


def test_tight_is_not_reference_but_near(tiny):
    sound = noise(40_000)
    loose, tight = (load(tiny, window=w).encode([sound])[0] for w in ("reference", "tight"))
    assert np.abs(loose - tight).max() > 1e-3
    cosine = (
        (loose * tight).sum(-1) / np.linalg.norm(loose, axis=-1) / np.linalg.norm(tight, axis=-1)
    )
    assert cosine.min() > 0.8


@pytest.mark.parametrize("window", ["reference", "tight"])
def test_a_row_does_not_depend_on_its_batch(tiny, window):
    many = 12 if window == "reference" else 60
    sounds = [noise(n) for n in [*RANDOM.integers(1, 48_000, many), *LENGTHS]]
    encoder = load(tiny, window=window, pool="mean+std")
    alone = np.concatenate([encoder.encode([sound]) for sound in sounds])
    for batch in np.array_split(RANDOM.permutation(len(sounds)), 3):
        assert np.abs(encoder.encode([sounds[i] for i in batch]) - alone[batch]).max() < 1e-5


@pytest.mark.parametrize(("window", "wanted"), [("reference", plain), ("tight", by_hand)])
def test_longer_sound_is_read_in_windows_of_30_s(tiny, window, wanted):
    sound = noise(65 * 16_000)
    parts = [wanted(tiny, sound[first : first + 480_000]) for first in (0, 480_000, 960_000)]
    assert [part.shape[1] for part in parts] == [1500, 1500, 250]
    frames = torch.cat(parts, 1)
    pooled = torch.cat([frames.mean(1), frames.std(1, correction=0)], -1).numpy()
    found = load(tiny, window=window, pool="mean+std").encode([sound])[0]
    assert np.abs(found - pooled).max() < 1e-5 * np.abs(pooled).max()


def test_hostile_sounds(tiny):
    sounds = [np.zeros(1, np.float32), np.ones(1, np.float32), np.zeros(16_000, np.float32),
              np.full(5_000, 1.0, np.float32), tone(0.5, 16_000, 440)[0]]  # fmt: skip
    for window in ("reference", "tight"):
        encoder = load(tiny, window=window)
        assert np.isfinite(encoder.encode(sounds)).all()
        broken = encoder.encode([noise(9_000), np.full(9_000, np.nan, np.float32)])
        assert np.isfinite(broken[0]).all()
        assert np.isnan(broken[1]).any()


def test_what_a_batch_costs_is_what_goes_through_the_network(tiny):
    loose, tight = load(tiny), load(tiny, window="tight")
    assert [loose.cost(size) for size in (0.1, 3, 30, 31)] == [30, 30, 30, 60]
    assert [tight.cost(size) for size in (0.001, 3, 31)] == [0.02, 3, 31]
    assert measure(tight, [1.0, 2.5]).groups.tolist() == [0, 0]


def test_layers_precisions_and_the_decoder_that_is_not_kept(tiny):
    whole = load(tiny, pool="mean+max")
    sound = [noise(12_000)]
    last = load(tiny, layers="last", pool="mean+max")
    assert np.array_equal(last.encode(sound)[:, 0], whole.encode(sound)[:, -1])
    for window in ("reference", "tight"):
        fp32, bf16 = (
            load(tiny, window=window, precision=p).encode(sound) for p in ("fp32", "bf16")
        )
        assert 0 < np.abs(fp32 - bf16).max() < 0.1 * np.abs(fp32).max()
    assert not any("decoder" in name for name in whole.model.state_dict())
    assert load(tiny).revision == whole.revision == load(tiny, window="tight").revision


def test_extract_verify_and_the_name_of_the_file(tiny, tmp_path):
    corpus = media_corpus(tmp_path / "c", 4)
    at = {"modality": "audio", "encoder": str(tiny), "features": tmp_path / "f"}
    loose, tight = (
        extract(corpus, **at, settings=Settings(window=window))[0]
        for window in ("reference", "tight")
    )
    assert (loose.path.name, tight.path.name) == ("audio.tiny.h5", "audio.tiny+tight.h5")
    for made, window in ((loose, "reference"), (tight, "tight")):
        with FeatureFile(made.path) as file:
            assert file.provenance.config["window"] == window
            assert file.probe.shape == (3, 16)
        assert verify(made.path, corpus=corpus).sound
    shutil.copy(tight.path, loose.path)
    with pytest.raises(FeatureFileError, match="'tight'.*'reference'"):
        extract(corpus, **at)


def test_what_is_refused(tiny, tmp_path):
    wav2vec2 = tiny_sound(tmp_path / "w", "Wav2Vec2")
    with pytest.raises(EncoderError, match=r"--window tight: it does not pad .*leave --window out"):
        load(wav2vec2, window="tight")
    with pytest.raises(EncoderError, match="--window tight"):
        load_encoder("baseline", Modality.AUDIO, Settings(window="tight"))
    with pytest.raises(ErcError, match="Unknown window 'loose'; choose from reference, tight"):
        Settings(window="loose")
    with pytest.raises(EncoderError, match="no first token"):
        load(tiny, pool="cls")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # transformers' own, of empty mel filters
        bands = tiny_whisper(tmp_path / "bands", num_mel_bins=128)
    assert load(bands).mels.shape == (128, 201)
    change(bands, feature_size=80)
    with pytest.raises(EncoderError, match="feature_size 80; 128 works"):
        load(bands)
    change(bands, feature_size=128, sampling_rate=8_000)
    with pytest.raises(EncoderError, match="sampling_rate 8000; 16000 works"):
        load(bands)
    (bands / "preprocessor_config.json").unlink()
    with pytest.raises(EncoderError, match=r"preprocessor_config.json does not say how"):
        load(bands)


def change(folder: Path, **values: object) -> None:
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.mark.soak
def test_real_whisper_is_the_plain_model_and_tight_is_near(encoders, real_clips):
    folder = encoders / "whisper-base"
    sounds = [read_audio(real_clips / "dia1_utt0.mp4"), noise(40_123)]
    loose, tight = (load(folder, window=window).encode(sounds) for window in ("reference", "tight"))
    assert loose.shape == (len(sounds), 7, 512)
    for sound, x in zip(sounds, loose, strict=True):
        wanted = plain(folder, sound).mean(1).numpy()
        assert np.abs(x - wanted).max() < 1e-5 * np.abs(wanted).max()
    unit = [x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (loose, tight)]
    cosine = (unit[0] * unit[1]).sum(-1)  # (B, L)
    assert cosine[0].min() > 0.9
    alone = np.concatenate([load(folder, window="tight").encode([sound]) for sound in sounds])
    assert np.abs(alone - tight).max() < 1e-5 * np.abs(tight).max()
