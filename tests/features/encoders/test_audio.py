import json

import numpy as np
import pytest
import torch
from checkpoints import tiny_bert, tiny_sound
from clips import tone
from corpora import media_corpus

from erc_features.encoders import load_encoder
from erc_features.encoders.base import Settings, measure
from erc_features.errors import EncoderError
from erc_features.extraction.extract import extract
from erc_features.utterance import Modality

RANDOM = np.random.default_rng(0)
KINDS = [
    ("Wav2Vec2", "group"), ("Wav2Vec2", "layer"), ("Hubert", "group"), ("Hubert", "layer"),
    ("WavLM", "group"), ("WavLM", "layer"), ("Data2VecAudio", "layer"),
]  # fmt: skip
NAMES = ["-".join(kind) for kind in KINDS]


def noise(samples):
    return (0.1 * RANDOM.standard_normal(samples) + 0.02).astype(np.float32)


# Lengths at random, and runs of them that share their number of frames.
SOUNDS = [noise(n) for n in [*RANDOM.integers(1, 24_000, 60), *range(8_000, 8_400, 10)]]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    root = tmp_path_factory.mktemp("checkpoints")
    return {
        name: tiny_sound(root / name, *kind, normalise=name != "WavLM-group")
        for name, kind in zip(NAMES, KINDS, strict=True)
    }


def load(name, **settings):
    return load_encoder(str(name), Modality.AUDIO, Settings(**settings))


@pytest.mark.parametrize("name", NAMES)
def test_a_row_does_not_depend_on_its_batch(checkpoints, name):
    encoder = load(checkpoints[name], pool="mean+std")
    alone = np.concatenate([encoder.encode([sound]) for sound in SOUNDS])
    assert alone.shape == (100, 3, 32)
    for batch in np.array_split(RANDOM.permutation(100), 3):
        assert np.abs(encoder.encode([SOUNDS[i] for i in batch]) - alone[batch]).max() < 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_it_equals_a_plain_forward(checkpoints, name):
    from transformers import AutoFeatureExtractor, AutoModel

    extractor = AutoFeatureExtractor.from_pretrained(checkpoints[name])
    model = AutoModel.from_pretrained(checkpoints[name]).eval()
    encoder = load(checkpoints[name], pool="mean+max")
    for samples in (400, 719, 720, 16_000, 20_017):
        sound = noise(samples)
        values = extractor(sound, sampling_rate=16_000, return_tensors="pt").input_values
        if name.endswith("group"):  # it sees samples of no frame, through its statistics
            values = values[:, : 400 + (samples - 400) // 320 * 320]
        with torch.no_grad():
            found = model(values, output_hidden_states=True)
        states = torch.cat([*found.hidden_states[:-1], found.last_hidden_state])
        wanted = torch.cat([states.mean(1), states.amax(1)], -1).numpy()
        assert np.abs(encoder.encode([sound])[0] - wanted).max() < 1e-5


@pytest.mark.parametrize("how", ["mean", "max", "mean+std"])
def test_long_sound_is_pooled_over_the_frames_of_all_its_windows(checkpoints, how):
    from transformers import AutoModel

    folder = checkpoints["Wav2Vec2-layer"]
    model = AutoModel.from_pretrained(folder).eval()
    encoder = load(folder, pool=how)
    sound = noise(50 * 16_000 + 123)  # 2500 frames in 4 windows
    normal = (sound - sound.mean()) / np.sqrt(sound.var() + 1e-7)
    states = []
    for first, stop in ((0, 625), (625, 1250), (1250, 1875), (1875, 2500)):
        window = normal[320 * first : 400 + 320 * (stop - 1)]
        with torch.no_grad():
            found = model(torch.from_numpy(window)[None], output_hidden_states=True)
        states.append(torch.cat([*found.hidden_states[:-1], found.last_hidden_state]))
        assert states[-1].shape[1] == stop - first
    frames = torch.cat(states, 1)  # (L, T, D)
    wanted = {
        "mean": lambda: frames.mean(1),
        "max": lambda: frames.amax(1),
        "mean+std": lambda: torch.cat([frames.mean(1), frames.std(1, correction=0)], -1),
    }[how]()
    assert np.abs(encoder.encode([sound])[0] - wanted.numpy()).max() < 1e-5


@pytest.mark.parametrize("name", ["Wav2Vec2-group", "Data2VecAudio-layer"])
def test_hostile_sounds(checkpoints, name):
    encoder = load(checkpoints[name])
    sounds = [
        np.zeros(1, np.float32), np.ones(1, np.float32), np.zeros(16_000, np.float32),
        noise(399), noise(401), np.full(5_000, 1.0, np.float32), tone(0.5, 16_000, 440)[0],
    ]  # fmt: skip
    x = encoder.encode(sounds)
    assert np.isfinite(x).all()
    # Too short: silence at its end, after its level was normalised.
    short = sounds[3]
    padded = np.pad((short - short.mean()) / np.sqrt(short.var() + 1e-7), (0, 1))
    with torch.no_grad():
        states = encoder.model(torch.from_numpy(padded)[None], output_hidden_states=True)
    assert np.abs(x[3] - torch.cat(states.hidden_states)[:, 0].numpy()).max() < 1e-5
    broken = encoder.encode([noise(9_000), np.full(9_000, np.nan, np.float32)])
    assert np.isfinite(broken[0]).all()
    assert np.isnan(broken[1]).any()


def test_sounds_of_equal_frames_are_planned_together(checkpoints):
    found = measure(load(checkpoints["Wav2Vec2-group"]), [1.0, 1.004, 1.005, 0.0, 20.0])
    assert found.sizes.tolist() == [1.0, 1.004, 1.005, 0.0, 20.0]
    assert found.groups.tolist() == [49, 49, 50, 1, 999]


def test_layers_precisions_and_revisions(checkpoints):
    for name in NAMES:
        full = load(checkpoints[name], layers="-2:")
        half = load(checkpoints[name], layers="-2:", precision="bf16")
        assert full.revision == half.revision
        a, b = full.encode(SOUNDS[:4]), half.encode(SOUNDS[:4])
        assert a.shape == (4, 2, 16)
        assert 0 < np.abs(a - b).max() < 0.2
    assert len({load(checkpoints[name]).revision for name in NAMES}) == len(NAMES)


def test_random_weights_are_wav2vec2s_own_size():
    encoder = load("random:facebook/wav2vec2-base")
    assert (encoder.layers, encoder.dim) == (13, 768)
    assert sum(p.numel() for p in encoder.model.parameters()) > 90e6


def test_errors(checkpoints, tmp_path):
    import shutil

    with pytest.raises(EncoderError, match="sound has no first token"):
        load(checkpoints["WavLM-group"], pool="cls")
    with pytest.raises(EncoderError, match="no --history"):
        load(checkpoints["WavLM-group"], history=2)
    with pytest.raises(EncoderError, match="bert is not an encoder of sound; wav2vec2, hubert"):
        load(tiny_bert(tmp_path / "tiny-bert"))
    with pytest.raises(EncoderError, match=r"facebook/wav2vec2-base: not a folder, not in the"):
        load("facebook/wav2vec2-base")
    folder = tmp_path / "rate"
    shutil.copytree(checkpoints["WavLM-group"], folder)
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"sampling_rate": 8000}))
    with pytest.raises(EncoderError, match="sound at 8000 Hz"):
        load(folder)
    file.unlink()
    with pytest.raises(EncoderError, match=r"preprocessor_config\.json"):
        load(folder)


def test_extract_of_clips_and_of_prepared_sound(checkpoints, tmp_path):
    root = media_corpus(tmp_path / "tiny")
    made = extract(root, features=tmp_path / "f", modality="audio",
                   encoder=str(checkpoints["Hubert-group"]),
                   settings=Settings(precision="auto"))  # fmt: skip
    precision = "+bf16" if torch.cuda.is_available() else ""
    assert made[0].path.name == f"audio.Hubert-group{precision}.h5"
    assert made[0].counts == {"ok": 4, "missing": 1, "failed": 1}
    assert made[0].shape == (6, 3, 16)
