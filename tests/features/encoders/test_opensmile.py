"""openSMILE's functionals: the package's own numbers of mono at 16 kHz, and reasons for NaN."""

import pickle
import sys
import warnings
import wave

import numpy as np
import pytest
from corpora import media_corpus

from erc_features.encoders import default_name, load_encoder, resolve
from erc_features.encoders.base import Settings
from erc_features.errors import EncoderError, ErcError, ErcWarning
from erc_features.extraction.extract import extract
from erc_features.extraction.verify import verify
from erc_features.media import read_audio
from erc_features.store import FeatureFile
from erc_features.utterance import Modality

opensmile = pytest.importorskip("opensmile", reason="the extra opensmile is not installed")
NAME = "opensmile:eGeMAPSv02"
RANDOM = np.random.default_rng(0)
pytestmark = pytest.mark.filterwarnings("ignore:openSMILE is licensed:UserWarning")


def noise(samples):
    return (0.1 * RANDOM.standard_normal(samples) + 0.02).astype(np.float32)


def load(name=NAME, **settings):
    return load_encoder(name, Modality.AUDIO, Settings(**settings))


def theirs(sounds, features="eGeMAPSv02"):
    smile = opensmile.Smile(opensmile.FeatureSet[features], opensmile.FeatureLevel.Functionals)
    return np.stack([smile.process_signal(s, 16_000).to_numpy()[0] for s in sounds])[:, None]


@pytest.mark.parametrize(("features", "dim"), [("eGeMAPSv02", 88), ("ComParE_2016", 6373)])
def test_it_equals_the_package_alone_and_in_any_batch(features, dim):
    encoder = load(f"opensmile:{features}")
    sounds = [noise(n) for n in (960, 16_000, 1_600, 40_123, 5_000)]
    x = encoder.encode(sounds)
    assert (x.shape, x.dtype) == ((5, 1, dim), np.float32)
    assert np.array_equal(x, theirs(sounds, features))
    assert np.array_equal(encoder.encode(sounds[::-1]), x[::-1])
    assert np.array_equal(pickle.loads(pickle.dumps(encoder)).encode(sounds[:1]), x[:1])  # for Ray


def test_a_sound_that_is_too_short_fails_with_its_reason(tmp_path):
    corpus = media_corpus(tmp_path / "c", 5)
    for row, samples in ((3, 959), (4, 960)):
        with wave.open(str(corpus / f"train/d-0-seq-{row}.wav"), "wb") as file:
            file.setparams((1, 2, 16_000, samples, "NONE", ""))
            file.writeframes((3_000 * RANDOM.standard_normal(samples)).astype("<i2").tobytes())
    (made,) = extract(corpus, modality="audio", encoder=NAME, features=tmp_path / "f")
    assert made.path.name == "audio.opensmile-eGeMAPSv02.h5"
    with FeatureFile(made.path) as file:
        assert file.status.tolist() == [1, 2, 3, 3, 1]
        assert file.reason[3] == "shorter than 60 ms, which eGeMAPSv02 needs"
        assert file.provenance.config["opensmile"] == opensmile.__version__
    assert verify(made.path, corpus=corpus).sound


def test_a_stereo_file_is_mixed_down_and_resampled_first(tmp_path):
    corpus = media_corpus(tmp_path / "c", 3)
    time = np.arange(44_100) / 44_100
    left, right = 0.3 * np.sin(2 * np.pi * 200 * time), 0.3 * np.sin(2 * np.pi * 900 * time)
    path = corpus / "train/d-0-seq-0.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((2, 2, 44_100, len(time), "NONE", ""))
        file.writeframes((32_767 * np.stack([left, right], 1)).astype("<i2").tobytes())
    (made,) = extract(corpus, modality="audio", encoder=NAME, features=tmp_path / "f",
                      dtype="float32")  # fmt: skip
    with FeatureFile(made.path) as file:
        found = file.x()[:1]
    sound = read_audio(path)
    assert np.array_equal(found, theirs([sound]))
    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
    first_channel = smile.process_file(str(path)).to_numpy()[0]  # what the package alone reads
    assert np.abs(found[0, 0] - first_channel).max() > 1


def test_what_is_refused(monkeypatch):
    with pytest.raises(ErcError, match="Unknown feature set of openSMILE 'x'; choose from ComParE"):
        load("opensmile:x")
    with pytest.raises(EncoderError, match="it has no layers, nothing to pool"):
        load(pool="max")
    with pytest.raises(EncoderError, match="on the CPU in fp32"):
        load(precision="bf16")
    with pytest.raises(EncoderError, match="takes audio; --modality audio works"):
        load_encoder(NAME, Modality.TEXT, Settings())
    monkeypatch.setitem(sys.modules, "opensmile", None)
    with pytest.raises(EncoderError, match=r"pip install 'erc\[opensmile\]'"):
        load()


def test_its_name_its_device_and_its_licence():
    assert default_name(NAME, Modality.AUDIO) == "opensmile-eGeMAPSv02"
    assert resolve(NAME, Settings()).device == "cpu"
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        encoder = load()
    assert [one.category for one in told] == [ErcWarning]
    assert "for research and not for products" in str(told[0].message)
    assert encoder.revision != load("opensmile:ComParE_2016").revision
