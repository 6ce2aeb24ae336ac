import hashlib
from dataclasses import replace

import h5py
import numpy as np
import pytest
from corpora import media_corpus
from fusion_files import embeddings, make_corpus, write_features

from erc_features.cli.printing import show_inspection
from erc_features.extraction.extract import extract
from erc_features.store import FeatureFile, Status
from erc_features.store import inspect as room
from erc_features.store.inspect import inspect


@pytest.fixture
def planted(tmp_path):
    """A file of 3 layers of 8, its corpus and its x; row 3 is missing."""
    corpus = make_corpus((6, 2, 2))
    x = embeddings(corpus, 3, 8)
    status = np.full(len(x), Status.OK)
    status[3] = Status.MISSING
    return corpus, x, status


def test_dead_dimensions_and_constant_layers(tmp_path, planted, monkeypatch):
    corpus, x, status = planted
    x[:, 0, [2, 5]] = 7.0
    x[:, 1] = np.arange(8)
    x[3, 0, 2] = 0  # a missing row has no part in it, nor have its zeros
    path = write_features(tmp_path, "audio.a", corpus, x, status=status)
    found = inspect(path)
    assert [layer.dead for layer in found.layers] == [2, 8, 0]
    norms = np.linalg.norm(np.delete(x, 3, 0), axis=2)
    for layer, of_rows in zip(found.layers, norms.T, strict=True):
        assert layer.norm == pytest.approx(of_rows.mean(), rel=1e-6)
        assert (layer.least, layer.most) == pytest.approx((of_rows.min(), of_rows.max()), rel=1e-6)
    # Read in other pieces, the same is found: also where only one row is in the last piece.
    monkeypatch.setattr(room, "_CHUNK", 3 * 8 * 4 * 2)
    assert inspect(path).layers[0].dead == 2
    assert [layer.dead for layer in inspect(path).layers] == [2, 8, 0]


def test_duplicates_are_counted_by_group_and_named(tmp_path, planted, capsys):
    corpus, x, status = planted
    x[[6, 9, 12]] = x[5]
    x[8] = x[2]
    x[4, :2] = x[1, :2]  # equal in two layers of three: no duplicate
    x[7] = x[10]
    x[7, 2, 7] = np.nextafter(x[10, 2, 7], np.float32(9))  # nor by one bit
    path = write_features(tmp_path, "audio.a", corpus, x, status=status)
    found = inspect(path)
    keys = corpus.rows.key
    assert (found.duplicates.groups, found.duplicates.rows) == (2, 6)
    assert found.duplicates.explained == 0
    assert found.duplicates.largest == [(4, [keys[i] for i in (5, 6, 9, 12)]),
                                        (2, [keys[2], keys[8]])]  # fmt: skip
    show_inspection(found)
    out = capsys.readouterr().out
    assert "6 in 2 groups: is the same clip there twice?" in out
    assert f"2 equal: {keys[2]}, {keys[8]}" in out


def test_none_where_there_are_none(tmp_path, planted, capsys):
    corpus, x, status = planted
    found = inspect(write_features(tmp_path, "audio.a", corpus, x, status=status))
    assert [layer.dead for layer in found.layers] == [0, 0, 0]
    assert (found.duplicates.groups, found.duplicates.rows, found.duplicates.largest) == (0, 0, [])
    show_inspection(found)
    assert "0 in 0 groups" in capsys.readouterr().out


def test_no_row_and_one_row(tmp_path, planted):
    corpus, x, status = planted
    status[:] = Status.FAILED
    none = inspect(write_features(tmp_path, "audio.none", corpus, x, status=status))
    assert [(layer.norm, layer.least, layer.most, layer.dead) for layer in none.layers] == [
        (0, 0, 0, 0)
    ] * 3
    status[0] = Status.OK
    one = inspect(write_features(tmp_path, "audio.one", corpus, x, status=status))
    assert [layer.dead for layer in one.layers] == [0, 0, 0]
    assert one.layers[2].least == one.layers[2].most == pytest.approx(np.linalg.norm(x[0, 2]))


def test_rows_that_are_not_finite_are_counted_and_left_out(tmp_path, planted):
    corpus, x, status = planted
    x[:, 0, 1] = 4.0
    x[6, 0, 1] = np.nan
    found = inspect(write_features(tmp_path, "audio.a", corpus, x, status=status))
    assert found.not_finite == 1
    assert found.layers[0].dead == 1
    assert np.isfinite(found.layers[0].most)


def test_equal_texts_explain_equal_rows(tmp_path, planted, capsys):
    corpus, x, status = planted
    text = list(corpus.rows.text)
    text[5], text[6], text[9] = "Okay.", " okay. ", "OKAY."
    text[0], text[1] = "yes", "yes!"
    corpus = replace(corpus, rows=replace(corpus.rows, text=text))
    x[[6, 9]] = x[5]
    x[1] = x[0]
    path = write_features(tmp_path, "text.t", corpus, x, status=status)
    found = inspect(path).duplicates
    keys = corpus.rows.key
    assert (found.groups, found.rows, found.explained) == (2, 5, 1)
    assert found.largest == [(2, [keys[0], keys[1]]), (3, [keys[i] for i in (5, 6, 9)])]
    show_inspection(inspect(path))
    out = capsys.readouterr().out
    assert "5 in 2 groups, 1 of them of equal texts" in out
    assert f"2 equal: {keys[0]}, {keys[1]}" in out
    with h5py.File(path, "r+") as file:
        file.attrs["config"] = '{"history": 2}'
    assert inspect(path).duplicates.explained is None  # what was said before counts too


def test_the_same_clip_twice(tmp_path):
    root = media_corpus(tmp_path / "tiny")
    (root / "train/d-0-seq-5.wav").write_bytes((root / "train/d-0-seq-4.wav").read_bytes())
    extract(root, features=tmp_path / "f", modality="audio", encoder="baseline")
    found = inspect(tmp_path / "f/tiny/audio.baseline.h5").duplicates
    assert (found.groups, found.rows, found.explained) == (1, 2, 0)
    assert found.largest == [(2, ["train/d-0-seq-4", "train/d-0-seq-5"])]


def test_hashes_are_of_the_bytes_of_a_row(tmp_path, planted):
    corpus, x, status = planted
    path = write_features(tmp_path, "audio.a", corpus, x, status=status)
    with FeatureFile(path) as file:
        rows = np.flatnonzero(file.status == Status.OK)
        _, _, hashes = room._read(file, rows)
        assert hashes.nbytes == 16 * len(rows)
        expected = hashlib.blake2b(file.x(rows[-1:]).tobytes(), digest_size=16).digest()
        assert hashes[-1].tobytes() == expected


def test_further_columns_are_shown(tmp_path, capsys):
    lines = ["dialogue,sequence,speaker,x_text,x_visual,x_audio,label,valence,emotions,mixed"]
    cells = ["3.5,joy|sad,1", ",|,high", "1e0,,", "-2,joy,1"]
    lines += [f"0,{i},s,text {i},,,joy,{cell}" for i, cell in enumerate(cells)]
    (tmp_path / "train.csv").write_text("\n".join(lines))
    (made,) = extract(tmp_path, features=tmp_path / "f", modality="text", encoder="baseline")
    found = inspect(made.path)
    assert {name: (c.filled, c.values, c.least, c.most) for name, c in found.columns.items()} == {
        "emotions": (3, 3, None, None), "mixed": (3, 2, None, None), "valence": (3, 3, -2, 3.5)
    }  # fmt: skip
    show_inspection(found)
    shown = capsys.readouterr().out
    assert "emotions 3 (3 values), mixed 3 (2 values), valence 3 (-2 to 3.5)" in shown
