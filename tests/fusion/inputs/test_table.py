"""Joining feature files by key."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from fusion_files import LABELS, Corpus, embeddings, make_corpus, write_features

from erc_features.errors import ErcError
from erc_features.store import Status
from erc_fusion.inputs.sources import find_sources
from erc_fusion.inputs.standardise import fit_standardiser, from_tensors
from erc_fusion.inputs.table import load_table


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return make_corpus(blank=("train/d-1-seq-0", "test/d-1-seq-2"))


@pytest.fixture
def folder(tmp_path: Path, corpus: Corpus) -> Path:
    """Text and audio, the audio file's rows shuffled and one of them missing."""
    folder = tmp_path / "tiny"
    write_features(folder, "text.small", corpus, embeddings(corpus, 2, 6))
    status = np.full(len(corpus.rows), Status.OK)
    status[3] = Status.MISSING
    order = np.random.default_rng(5).permutation(len(corpus.rows))
    x = embeddings(corpus, 1, 4, seed=2)
    write_features(folder, "audio.small", corpus, x, status=status, order=order)
    return folder


def test_joins_by_key_and_not_by_position(folder: Path, corpus: Corpus) -> None:
    table = load_table(find_sources(folder))
    assert [source.stem for source in table.sources] == ["text.small", "audio.small"]
    assert table.key.tolist() == corpus.rows.key  # the corpus is made in canonical order
    np.testing.assert_array_equal(table.x["text.small"], embeddings(corpus, 2, 6))
    audio = embeddings(corpus, 1, 4, seed=2)
    audio[3] = 0
    np.testing.assert_array_equal(table.x["audio.small"], audio)
    expected = np.ones((len(table), 2), bool)
    expected[3, 1] = False
    np.testing.assert_array_equal(table.present, expected)
    blank = np.array([label == "" for label in corpus.rows.label])
    assert blank.sum() == 2
    np.testing.assert_array_equal(table.label, np.where(blank, -1, corpus.target))
    assert table.corpus == "tiny"
    assert set(table.key[table.rows("dev")]) == {k for k in corpus.rows.key if "dev" in k}


def test_rows_in_another_order_give_the_same_table(
    folder: Path, tmp_path: Path, corpus: Corpus
) -> None:
    other = tmp_path / "other" / "tiny"
    order = np.random.default_rng(9).permutation(len(corpus.rows))
    write_features(other, "text.small", corpus, embeddings(corpus, 2, 6), order=order)
    first = load_table(find_sources(folder, ["text"]))
    second = load_table(find_sources(other))
    np.testing.assert_array_equal(first.key, second.key)
    np.testing.assert_array_equal(first.x["text.small"], second.x["text.small"])
    np.testing.assert_array_equal(first.text, second.text)


def test_choosing_files(folder: Path, corpus: Corpus) -> None:
    def stems(*modalities: str) -> list[str]:
        return [source.stem for source in find_sources(folder, modalities)]

    write_features(folder, "text.other", corpus, embeddings(corpus, 1, 3))
    with pytest.raises(ErcError, match=r"(?s)modality 'text'.*text\.other\n.*--modalities text"):
        stems()  # text is not clear any more, and is not left out without a word
    with pytest.raises(ErcError, match=r"--modalities text\.other,audio\.small`"):
        stems()  # nor does the command to type leave out sound
    assert stems("audio", "text.other") == ["text.other", "audio.small"]
    assert stems("text.small", "text.other") == ["text.other", "text.small"]
    with pytest.raises(ErcError, match=r"(?s)modality 'text'.*text\.other\n.*--modalities text"):
        stems("text")
    with pytest.raises(ErcError, match=r"Unknown modality or feature file 'txt'.*audio\.small"):
        stems("txt")
    with pytest.raises(ErcError, match=r"No complete .*'visual'.*erc extract .*visual"):
        stems("visual")
    with pytest.raises(ErcError, match="names a file twice"):
        stems("audio", "audio.small")


def test_nothing_there_says_extract(tmp_path: Path) -> None:
    with pytest.raises(ErcError, match=r"No feature files in .*nowhere.*`erc extract`"):
        find_sources(tmp_path / "nowhere")


def test_unfinished_files_are_refused(tmp_path: Path, corpus: Corpus) -> None:
    folder = tmp_path / "tiny"
    write_features(folder, "text.small", corpus, embeddings(corpus, 1, 3), finish=False)
    with pytest.raises(ErcError, match=r"no complete feature file.*text\.small.*resumes"):
        find_sources(folder)
    write_features(folder, "audio.small", corpus, embeddings(corpus, 1, 3))
    with pytest.raises(ErcError, match=r"'text'\. text\.small is not finished"):
        find_sources(folder, ["text"])
    with pytest.raises(ErcError, match=r"text\.small is not finished.*resumes"):
        find_sources(folder, ["text.small"])
    with pytest.raises(ErcError, match=r"'text'\. text\.small is not finished"):
        find_sources(folder)
    with h5py.File(folder / "audio.small.h5", "r+") as file:
        file["status"][4] = int(Status.PENDING)
    with pytest.raises(ErcError, match=r"audio\.small\.h5 is incomplete \(1 rows pending\)"):
        find_sources(folder, ["audio"])


def test_fingerprints_must_agree(folder: Path, corpus: Corpus) -> None:
    write_features(folder, "visual.v", corpus, embeddings(corpus, 1, 3), fingerprint="e" * 64)
    with pytest.raises(ErcError, match="not of one corpus") as caught:
        find_sources(folder)
    assert "e" * 64 in str(caught.value) and "f" * 64 in str(caught.value)
    assert "visual.v.h5" in str(caught.value) and "text.small.h5" in str(caught.value)


def test_labels_must_agree(folder: Path, corpus: Corpus) -> None:
    x = embeddings(corpus, 1, 3)
    path = write_features(folder, "visual.v", corpus, x, labels=LABELS[::-1])
    with pytest.raises(ErcError, match="different label sets"):
        find_sources(folder)
    path.unlink()
    path = write_features(folder, "visual.v", corpus, x)
    with h5py.File(path, "r+") as file:
        file["label"][0] = "joy" if corpus.rows.label[0] != "joy" else "anger"
    with pytest.raises(ErcError, match=r"(?s)visual\.v\.h5: labels differ .*train/d-0-seq-0"):
        load_table(find_sources(folder))


def test_nan_in_a_row_that_is_ok(folder: Path) -> None:
    with h5py.File(folder / "text.small.h5", "r+") as file:
        file["x"][7, 1, 2] = np.nan
        key = file["key"].asstr()[7]
    with pytest.raises(ErcError, match=rf"(?s)text\.small\.h5: 1 rows .*NaN.*{key}"):
        load_table(find_sources(folder))


def test_standardised_by_train_rows_that_are_ok(folder: Path, corpus: Corpus) -> None:
    with h5py.File(folder / "text.small.h5", "r+") as file:
        file["x"][:, 0, 0] = 0.1  # a constant column
    table = load_table(find_sources(folder))
    train = table.rows("train")
    fitted = fit_standardiser(table, train)
    split = fitted.split(table, train, "cpu")
    for m, source in enumerate(table.sources):
        x = split.x[source.stem].numpy()
        ok = table.present[train, m]
        assert np.all(x[~ok] == 0)
        raw = table.x[source.stem][train].astype(np.float64)
        deviation = raw[ok].std(0)
        assert (deviation[0, 0] < 1e-6) == (source.stem == "text.small")
        deviation = np.where(deviation < 1e-6, 1, deviation)
        expected = ((raw - raw[ok].mean(0)) / deviation).clip(-3, 3)
        np.testing.assert_allclose(x[ok], expected[ok], atol=1e-5)
    again = from_tensors(fitted.tensors())
    dev = table.rows("dev")
    for stem, values in fitted.split(table, dev, "cpu").x.items():
        np.testing.assert_array_equal(again.split(table, dev, "cpu").x[stem], values)
    assert split.dialogue[0] == 0 and split.dialogue[-1] == 23
    assert split.speaker is not None and not split.speaker.any()  # s0 and s1 are not frequent
    assert split.party is not None
    assert split.party.tolist() == [s % 2 for s in table.sequence[train].tolist()]
