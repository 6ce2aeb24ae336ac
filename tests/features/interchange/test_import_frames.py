"""(N, K, D): layers, or frames to be pooled; and what to do where the array does not say."""

import pickle
import re

import numpy as np
import pytest
from corpora import text_corpus

from erc_features.corpora.manifest import read_corpus
from erc_features.errors import ErcError
from erc_features.interchange import export_features, import_features
from erc_features.store import FeatureFile, Status

N, T, D = 42, 500, 5


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return read_corpus(text_corpus(tmp_path / "c", (24, 9, 9)))


@pytest.fixture
def lengths():
    found = np.random.default_rng(3).integers(2, T, N)
    found[7] = T  # no padding at all
    return found


@pytest.fixture
def frames(lengths):
    """Padded with zeros at the end; a frame of zeros stands inside of row 0, and counts."""
    x = np.random.default_rng(0).normal(size=(N, T, D)).astype(np.float32)
    for row, length in enumerate(lengths):
        x[row, length:] = 0
    x[0, 1] = 0
    return x


WAYS = {
    "mean": lambda x: x.mean(0),
    "mean+std": lambda x: np.concatenate([x.mean(0), x.std(0)]),
    "max": lambda x: x.max(0),
}


def expected(x, lengths, way):
    rows = (one[:length].astype(np.float64) for one, length in zip(x, lengths, strict=True))
    return np.stack([WAYS[way](one) for one in rows])


def take(source, corpus, modality="audio", **options):
    made = import_features(source, corpus, modality=modality, overwrite=True, **options)
    with FeatureFile(made.path) as file:
        return made, file.x(), file.status.tolist(), file.reason.tolist()


def refused(message, source, corpus, **options):
    with pytest.raises(ErcError) as raised:
        take(source, corpus, **options)
    assert re.search(message, str(raised.value), re.S), raised.value


def by_split(x):
    return {"train": x[:24], "dev": x[24:33], "test": x[33:]}


@pytest.mark.parametrize("way", list(WAYS))
def test_five_hundred_are_no_layers(corpus, frames, lengths, way):
    np.savez("e.npz", **by_split(frames))
    refused(r"\(train\): has the shape \(24, 500, 5\), and 500 vectors a row are more than "
            "networks have layers. Say --frames mean, mean.std or max .* or --layers", "e.npz",
            corpus)  # fmt: skip
    made, x, status, _ = take("e.npz", corpus, frames=way)
    assert np.abs(x[:, 0] - expected(frames, lengths, way)).max() < 1e-6
    assert made.pooling == f"{way} over frames, without the zeros that fill them up"
    assert set(status) == {Status.OK}
    with FeatureFile(made.path) as file:
        assert file.provenance.config["pooling"] == made.pooling
    made, x, _, _ = take("e.npz", corpus, layers=True)
    assert np.array_equal(x, frames) and made.pooling == "none" and not made.notes


@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize("beside", ["lengths", "x_lengths", "mask", "attention_mask"])
def test_lengths_and_masks_beside_an_array_are_used(corpus, frames, lengths, way, beside):
    """What fills up is not zero here, so that only they can say."""
    noise = frames[:, :30].copy()
    ends = np.minimum(lengths, 30)
    said = ends if "lengths" in beside else (np.arange(30) < ends[:, None]).astype(np.int64)
    for row, end in enumerate(ends):
        noise[row, end:] = 9
    arrays = {"x": noise, "key": [u.key for u in corpus.utterances], beside: said}
    np.savez("e.npz", **arrays)
    refused(r"shape \(42, 30, 5\), and lengths or a mask stand beside it", "e.npz", corpus)
    made, x, _, _ = take("e.npz", corpus, frames=way)
    assert np.abs(x[:, 0] - expected(noise, ends, way)).max() < 1e-6
    assert made.pooling in (f"{way} over the true length", f"{way} over frames of the mask")
    assert take("e.npz", corpus, layers=True)[0].shape == (N, 30, D)
    np.savez("e.npz", **(arrays | {beside: said + 0.5}))
    refused("beside it are lengths or a mask of shape .*one whole number a row, at most 30",
            "e.npz", corpus, frames=way)  # fmt: skip
    none = ends.copy()
    none[3] = 0
    np.savez("e.npz", **(arrays | {beside: none if "lengths" in beside else said * (said[:, :1] > 0)
                                   * (np.arange(N) != 3)[:, None]}))  # fmt: skip
    _, x, status, reason = take("e.npz", corpus, frames=way)
    assert status[3] == Status.MISSING and reason[3] == "its sequence has no frames"
    assert not x[3].any() and status.count(Status.OK) == N - 1


def test_a_few_padded_vectors_are_frames_too(corpus, frames):
    few = frames[:, :12].copy()
    few[5, 9:] = 0
    few[9, :3] = 0  # before them, as some tools do
    few[11] = 0  # a row without any
    np.savez("e.npz", **by_split(few))
    refused(r"\(24, 12, 5\), and \d+ of its rows are filled up with zeros, as frames are", "e.npz",
            corpus)  # fmt: skip
    _, x, status, reason = take("e.npz", corpus, frames="mean")
    assert np.abs(x[5, 0] - few[5, :9].mean(0)).max() < 1e-6
    assert np.abs(x[9, 0] - few[9, 3:][few[9, 3:].any(1)].mean(0)).max() < 1e-6
    assert status[11] == Status.MISSING and reason[11] == "its sequence has no frames"
    layers = np.random.default_rng(5).normal(size=(N, 12, D))
    layers[11] = 0  # a row of zeros alone says nothing
    np.savez("e.npz", **by_split(layers))
    assert take("e.npz", corpus)[0].shape == (N, 12, D)


@pytest.mark.parametrize(("count", "noted"), [(1, 0), (13, 0), (25, 0), (32, 0), (49, 1), (64, 1)])
def test_the_hint_is_printed_only_in_doubt(corpus, count, noted):
    np.savez("e.npz", **by_split(np.random.default_rng(5).normal(size=(N, count, D))))
    made, *_ = take("e.npz", corpus)
    assert made.shape == (N, count, D) and len(made.notes) == noted
    if noted:
        assert f"each row is taken as {count} layers of 5. Say --frames" in str(made)
    assert not take("e.npz", corpus, layers=True)[0].notes


@pytest.mark.parametrize("kind", ["npz", "folder", "pkl", "pt"])
def test_arrays_of_several_lengths_are_frames(corpus, frames, lengths, kind):
    """One (T, D) for each utterance, as speech toolkits save hidden states."""
    import torch

    named = {u.key.replace("/d-", "/dia").replace("-seq-", "_utt"): frames[n, : lengths[n]]
             for n, u in enumerate(corpus.utterances)}  # fmt: skip
    source = f"e.{kind}"
    if kind == "npz":
        np.savez(source, **named)
    elif kind == "pkl":
        with open(source, "wb") as file:
            pickle.dump(named, file)
    elif kind == "pt":
        torch.save({name: torch.tensor(x) for name, x in named.items()}, source)
    else:
        for name, x in named.items():
            path = corpus.root.parent / "e.folder" / f"{name}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, x)
    refused("its rows have several numbers of vectors:\n  row 0: .*Pool them with --frames", source,
            corpus)  # fmt: skip
    refused("so these are frames", source, corpus, layers=True)
    made, x, _, _ = take(source, corpus, frames="mean+std")
    whole = expected(frames, lengths, "mean+std")
    assert np.abs(x[:, 0] - whole).max() < 1e-6 and made.shape == (N, 1, 2 * D)
    assert made.pooling == "mean+std over frames, of each row"


def test_mmsas_sequences_are_pooled_as_said(corpus, frames, lengths):
    """(n, 375, 5) of COVAREP and the like; the mean unless another way is said."""
    value, first = {}, 0
    for name, x in (("train", frames[:24]), ("valid", frames[24:33]), ("test", frames[33:])):
        us = corpus.utterances[first : first + len(x)]
        value[name] = {"id": [f"{u.dialogue}$_${u.sequence}" for u in us], "audio": x[:, :375],
                       "audio_lengths": np.minimum(lengths[first : first + len(x)], 375).tolist(),
                       "vision": x[:, 0]}  # fmt: skip
        first += len(x)
    with open("m.pkl", "wb") as file:
        pickle.dump(value, file)
    short = np.minimum(lengths, 375)
    for way in (None, *WAYS):
        made, x, _, _ = take("m.pkl", corpus, frames=way)
        assert np.abs(x[:, 0] - expected(frames, short, way or "mean")).max() < 1e-6
        assert made.pooling == f"{way or 'mean'} over the true length"
    refused("MMSA's sequences are frames; leave out --layers", "m.pkl", corpus, layers=True)
    refused("one vector a row, so there are no frames", "m.pkl", corpus, modality="visual",
            frames="max")  # fmt: skip


def test_the_rows_of_a_table_with_times_are_pooled_as_said(corpus):
    """openSMILE's LLDs, a row a frame."""
    values = np.random.default_rng(4).normal(size=(N, 6, 2))
    lines = ["name;frameTime;F0;loudness"]
    for u, rows in zip(corpus.utterances, values, strict=True):
        name = f"{u.split}/dia{u.dialogue}_utt{u.sequence}"
        lines += [f"'{name}';{t / 100};{a!r};{b!r}" for t, (a, b) in enumerate(rows.tolist())]
    with open("lld.csv", "w") as file:
        file.write("\n".join(lines))
    for way in (None, *WAYS):
        made, x, _, _ = take("lld.csv", corpus, frames=way)
        assert np.abs(x[:, 0] - expected(values, [6] * N, way or "mean")).max() < 1e-6
        assert made.pooling == f"{way or 'mean'} of rows"


def test_there_must_be_frames_to_pool(corpus, frames):
    np.savez("e.npz", **by_split(frames[:, 0]))
    refused("has one vector a row, so there are no frames to pool", "e.npz", corpus, frames="mean")
    np.savez("e.npz", **by_split(frames[:, :3]))
    made, *_ = take("e.npz", corpus, layers=True)
    for kind in ("npz", "parquet", "safetensors"):
        export_features(made.path, f"back.{kind}", kind)
        refused("was exported by erc, and holds layers", f"back.{kind}", corpus, frames="mean")


def test_exported_layers_are_never_doubted(corpus, frames):
    np.savez("e.npz", **by_split(frames[:, :100]))
    made, x, _, _ = take("e.npz", corpus, layers=True)
    for kind in ("npz", "parquet", "safetensors"):
        export_features(made.path, f"back.{kind}", kind)
        again, y, _, _ = take(f"back.{kind}", corpus)
        assert np.array_equal(x, y) and not again.notes


def test_a_frame_of_nan_fails_its_row(corpus, frames):
    frames[3, 0, 0], frames[4, 0, 0] = np.nan, np.inf
    np.savez("e.npz", **by_split(frames))
    for way in WAYS:
        _, _, status, _ = take("e.npz", corpus, frames=way)
        assert status[3] == status[4] == Status.FAILED and status.count(Status.OK) == N - 2
