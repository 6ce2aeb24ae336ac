"""`erc export`, and back: equal keys, values, masks."""

import json
import pickle

import numpy as np
import pytest
from corpora import text_corpus
from typer.testing import CliRunner

import cli
from erc_features.corpora.manifest import read_corpus
from erc_features.errors import ErcError
from erc_features.extraction.job import rows_of
from erc_features.interchange import export_features, import_features
from erc_features.store import FeatureFile, Provenance, Shape, Status, open_writer


@pytest.fixture
def corpus(tmp_path):
    return read_corpus(text_corpus(tmp_path / "c", (24, 9, 9)))


def write(folder, corpus, stem, layers=1, dtype="float16"):
    """A feature file of random numbers, of all statuses, and keys out of order in time."""
    random = np.random.default_rng(0)
    n = len(corpus.utterances)
    made = Provenance(corpus.name, corpus.fingerprint, stem.split(".")[0], "enc", "r" * 64, {})
    path = folder / corpus.name / f"{stem}.h5"
    shape = Shape(layers, 7, dtype)
    with open_writer(path, rows_of(corpus), corpus.labels, made, shape, {}) as writer:
        status = random.choice([1, 1, 1, 2, 3], n).astype(np.uint8)
        reasons = ["" if s == 1 else f"why “{i}”" for i, s in enumerate(status)]
        writer.write(np.arange(n), random.normal(size=(n, layers, 7)), status, reasons)
        writer.finish({})
    return path


SUFFIXES = {"npz": ".npz", "parquet": ".parquet", "safetensors": ".safetensors", "mmsa": ".pkl"}


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("kind", SUFFIXES)
def test_round_trip(tmp_path, corpus, kind, layers, dtype):
    source = write(tmp_path / "f", corpus, "audio.a", layers, dtype)
    to = tmp_path / f"out/there{SUFFIXES[kind]}"
    layer = -1 if kind == "mmsa" else None
    made = export_features(source, to, kind, layer=layer)
    assert made.rows == 42 and made.size == to.stat().st_size
    back = import_features(to, corpus, modality="audio", features=tmp_path / "g", dtype=dtype)
    with FeatureFile(source) as a, FeatureFile(back.path) as b:
        assert made.ok == (a.status == Status.OK).sum()
        assert a.key.tolist() == b.key.tolist()
        stored = a.x()[:, -1:] if kind == "mmsa" else a.x()
        assert stored.dtype == b.dtype and np.array_equal(stored, b.x())
        if kind == "mmsa":  # which knows ok or not, and no reasons
            assert np.array_equal(a.status == Status.OK, b.status == Status.OK)
        else:
            assert np.array_equal(a.status, b.status)
            assert a.reason.tolist() == b.reason.tolist()
        assert a.label.tolist() == b.label.tolist()


def test_what_other_tools_read(tmp_path, corpus):
    """Without erc: numpy, pandas, safetensors, and MMSA's own way of loading."""
    import pandas as pd
    from safetensors.numpy import load_file

    audio = write(tmp_path / "f", corpus, "audio.a", 3)
    text = write(tmp_path / "f", corpus, "text.a")
    with FeatureFile(audio) as file:
        x, keys, status = file.x(), file.key.tolist(), file.status
    export_features(audio, tmp_path / "a.npz", "npz")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert arrays["key"].tolist() == keys
        assert np.array_equal(arrays["x"], x) and np.array_equal(arrays["status"], status)
        assert json.loads(str(arrays["about"]))["modality"] == "audio"
    export_features(audio, tmp_path / "a.parquet", "parquet")
    frame = pd.read_parquet(tmp_path / "a.parquet")
    assert frame["key"].tolist() == keys
    assert np.array_equal(np.stack(frame["x"]).reshape(x.shape), x.astype(np.float32))
    assert frame["status"].tolist() == [Status(s).name.lower() for s in status]
    export_features(audio, tmp_path / "a.safetensors", "safetensors")
    assert np.array_equal(load_file(tmp_path / "a.safetensors")["x"], x)
    export_features([text, audio], tmp_path / "a.pkl", "mmsa", layer=0)
    with open(tmp_path / "a.pkl", "rb") as file:
        data = pickle.load(file)
    assert list(data) == ["train", "valid", "test"]
    for split, count in (("train", 24), ("valid", 9), ("test", 9)):
        part = data[split]
        assert part["text"].astype(np.float32).shape == (count, 1, 7)
        assert part["audio"].shape == (count, 1, 7) and len(part["audio_lengths"]) == count
        assert np.array(part["regression_labels"]).astype(np.float32).shape == (count,)
        assert len(part["raw_text"]) == len(part["id"]) == count


def test_what_cannot_be_exported(tmp_path, corpus):
    source = write(tmp_path / "f", corpus, "audio.a", 3)
    for kind, options, message in (
        ("hdf5", {}, "Unknown format 'hdf5'; choose from mmsa, npz, parquet, safetensors"),
        ("mmsa", {}, "has 3 layers, and MMSA has none: choose one, --layer -1"),
        ("mmsa", {"layer": 3}, "has no layer 3"),
        ("npz", {"layer": 1}, "mmsa takes --layer"),
    ):
        with pytest.raises(ErcError, match=message):
            export_features(source, tmp_path / "x", kind, **options)
    with pytest.raises(ErcError, match="one file for each modality"):
        export_features([source, source], tmp_path / "x", "mmsa", layer=0)
    assert not list(tmp_path.glob("x*"))
    (tmp_path / "x").write_text("mine")
    with pytest.raises(ErcError, match="is there already; --overwrite replaces it"):
        export_features(source, tmp_path / "x", "npz")
    assert (tmp_path / "x").read_text() == "mine"


def test_the_command(tmp_path, corpus):
    source = write(tmp_path / "f", corpus, "audio.a")
    to = tmp_path / "a.npz"
    arguments = ["export", str(source), "--to", str(to), "--as", "npz"]
    done = CliRunner().invoke(cli.app, [*arguments, "--json"])
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == 42
    assert CliRunner().invoke(cli.app, arguments).exit_code == 1
    done = CliRunner().invoke(cli.app, [*arguments, "--overwrite"])
    assert "42 rows" in done.stdout
    for verb in ("import", "export"):
        out = " ".join(CliRunner().invoke(cli.app, [verb, "--help"]).stdout.split())
        assert f"Example: erc {verb}" in out
