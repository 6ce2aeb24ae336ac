import subprocess
import sys
import textwrap
import weakref
from pathlib import Path

import numpy as np
import pytest
from checkpoints import tiny_bert
from corpora import media_corpus, text_corpus, write_rows
from hypothesis import given
from hypothesis import strategies as st

from erc_features.corpora.manifest import read_corpus
from erc_features.doctor.doctor import doctor
from erc_features.encoders.base import Settings
from erc_features.errors import CorpusError, ErcError, FeatureFileError, MediaError
from erc_features.extraction import large
from erc_features.extraction.batch_plan import plan
from erc_features.extraction.engines.batch import encode_rows
from erc_features.extraction.extract import extract
from erc_features.extraction.job import feature_stem
from erc_features.extraction.verify import verify
from erc_features.interchange import import_features
from erc_features.media import write_wav
from erc_features.preparation.live_dialogue import read_talk
from erc_features.store import FeatureFile, Shape, Status
from erc_features.store.inspect import inspect
from erc_features.utterance import Modality


@given(
    sizes=st.lists(st.floats(0, 1e4), min_size=1, max_size=60),
    batch_size=st.integers(1, 16),
    cap=st.floats(1, 1e5),
    step=st.sampled_from([None, 1.0, 100.0]),
)
def test_plan_holds_every_row_once_longest_first_within_its_limits(sizes, batch_size, cap, step):
    rows = np.arange(len(sizes)) * 3
    measure = np.array(sizes)
    groups = None if step is None else measure // step
    batches = plan(
        rows, measure, groups=groups, batch_size=batch_size, cost=lambda size: size, cap=cap
    )
    assert sorted(np.concatenate(batches).tolist()) == rows.tolist()
    ordered = measure[np.concatenate(batches) // 3]
    assert (np.diff(ordered) <= 0).all()
    for batch in batches:
        assert len(batch) <= batch_size
        assert len(batch) == 1 or len(batch) * measure[batch // 3].max() <= cap
        assert groups is None or len(set(groups[batch // 3])) == 1


def test_plan_makes_no_more_batches_than_groups_need():
    sizes = np.repeat([3.0, 1.0, 2.0], [5, 4, 3])
    batches = plan(
        np.arange(12), sizes, groups=sizes, batch_size=4, cost=lambda size: size, cap=100
    )
    assert [sizes[batch].tolist() for batch in batches] == [[3] * 4, [3], [2] * 3, [1] * 4]


def test_all_modalities_with_a_status_for_each_row(tmp_path):
    root = media_corpus(tmp_path / "tiny")
    made = extract(root, features=tmp_path / "features", encoder="baseline")
    assert [file.path.name for file in made] == [
        "text.baseline.h5", "visual.baseline.h5", "audio.baseline.h5"]  # fmt: skip
    assert [file.counts for file in made] == [
        {"ok": 5, "missing": 1, "failed": 0},
        {"ok": 4, "missing": 1, "failed": 1},
        {"ok": 4, "missing": 1, "failed": 1},
    ]
    assert sum(made[2].shares.values()) == pytest.approx(1)
    with FeatureFile(tmp_path / "features/tiny/audio.baseline.h5") as file:
        assert file.status.tolist() == [1, 2, 3, 1, 1, 1]
        assert file.reason[1] == "the corpus has no audio for it"
        assert "cannot be opened" in file.reason[2]
        assert not file.x(np.array([1, 2])).any()
    with FeatureFile(tmp_path / "features/tiny/text.baseline.h5") as file:
        assert file.reason[1] == "the text is blank"
    again = extract(root, features=tmp_path / "features", encoder="baseline")
    assert all(file.already for file in again)


def test_retry_takes_failed_rows_and_media_that_came_later(tmp_path):
    root = media_corpus(tmp_path / "tiny")
    features = tmp_path / "features"
    extract(root, features=features, modality="audio", encoder="baseline")
    samples = np.sin(np.arange(8000, dtype=np.float32))
    write_wav(root / "train/d-0-seq-1.wav", samples)
    write_wav(root / "train/d-0-seq-2.wav", samples)
    text = (root / "train.csv").read_text().splitlines()
    text[2] = text[2].replace(",,,joy", ",,train/d-0-seq-1.wav,joy")
    (root / "train.csv").write_text("\n".join(text))
    made = extract(root, features=features, modality="audio", encoder="baseline", retry=True)
    assert made[0].counts == {"ok": 6, "missing": 0, "failed": 0}


def test_retry_harms_no_row_that_is_done(tmp_path):
    """A batch is encoded whole for its failed row; the media of others may be out of reach."""
    root = media_corpus(tmp_path / "tiny")
    features = tmp_path / "features"
    (before,) = extract(root, features=features, modality="audio", encoder="baseline")
    with FeatureFile(before.path) as file:
        x, status = file.x(), file.status
    write_wav(root / "train/d-0-seq-2.wav", np.sin(np.arange(8000, dtype=np.float32)))
    (root / "train/d-0-seq-4.wav").rename(root / "away.wav")
    (made,) = extract(root, features=features, modality="audio", encoder="baseline", retry=True)
    assert made.counts == {"ok": 5, "missing": 1, "failed": 0}
    with FeatureFile(made.path) as file:
        assert np.array_equal(file.x()[status == Status.OK], x[status == Status.OK])


def test_overwrite_keeps_the_old_file_until_the_new_one_is_whole(tmp_path):
    root = text_corpus(tmp_path / "words")
    (made,) = extract(root, features=tmp_path / "f", encoder="baseline")
    before = made.path.read_bytes()

    class Enough(Exception):
        pass

    def stop(stem, done, total):
        raise Enough

    with pytest.raises(Enough):
        extract(root, features=tmp_path / "f", encoder="baseline", dtype="float32",
                overwrite=True, batch_size=4, progress=stop)  # fmt: skip
    assert made.path.read_bytes() == before
    assert extract(root, features=tmp_path / "f", encoder="baseline")[0].already
    (again,) = extract(root, features=tmp_path / "f", encoder="baseline", dtype="float32",
                       overwrite=True)  # fmt: skip
    assert inspect(again.path).dtype == "float32"
    assert [path.name for path in again.path.parent.glob("*.h5*")] == [again.path.name]


def test_bert_of_a_local_folder_and_its_provenance(tmp_path):
    root = text_corpus(tmp_path / "words")
    bert = tiny_bert(tmp_path / "tiny-bert")
    features = tmp_path / "features"
    settings = Settings(layers="-1", pool="mean+max")
    made = extract(root, features=features, modality="text", encoder=str(bert), settings=settings)
    path = features / "words" / "text.tiny-bert+layers-1+poolmean-max.h5"
    assert made[0].path == path
    assert made[0].shape == (42, 1, 32)
    found = inspect(path)
    assert found.complete
    assert found.counts == {"pending": 0, "ok": 41, "missing": 1, "failed": 0}
    assert found.attributes["encoder"] == str(bert.resolve())
    assert found.attributes["config"]["pool"] == "mean+max"
    assert found.not_finite == 0
    assert found.splits["test"] == (9, 9)
    other = tiny_bert(tmp_path / "elsewhere" / "tiny-bert", seed=1)
    with pytest.raises(FeatureFileError, match=r"revision: .* here, .* now(.|\n)*--name"):
        extract(root, features=features, modality="text", encoder=str(other), settings=settings)


def test_the_size_of_a_large_file_is_said_before_it_is_written(tmp_path, monkeypatch):
    corpus, said = text_corpus(tmp_path / "words"), []
    made = {"features": tmp_path, "modality": "text", "encoder": str(tiny_bert(tmp_path / "bert")),
            "say": said.append}  # fmt: skip
    extract(corpus, **made)
    assert said == []  # a small one is no concern
    monkeypatch.setattr(large, "LARGE", 1000)
    (found,) = extract(corpus, **made, overwrite=True)
    layers, dim = found.shape[1:]
    assert f"42 rows of {layers} layers of {dim} numbers" in said[0] and "--layers last" in said[0]
    extract(corpus, **made)
    assert len(said) == 1  # a finished file is not written
    shape = Shape(1, 8, "float32")
    assert "Its disk has 5 bytes, so it will not fit" in large.warn_of_size("x.h5", 9, shape, 5)


def test_a_corpus_whose_words_changed_is_refused(tmp_path):
    root = text_corpus(tmp_path / "words")
    extract(root, features=tmp_path / "f", encoder="baseline")
    before = (tmp_path / "f/words/text.baseline.h5").read_bytes()
    text = (root / "dev.csv").read_text()
    (root / "dev.csv").write_text(text.replace("joy", "anger"))
    with pytest.raises(FeatureFileError, match="fingerprint"):
        extract(root, features=tmp_path / "f", encoder="baseline")
    assert (tmp_path / "f/words/text.baseline.h5").read_bytes() == before


class Fussy:
    """An encoder that fails on a batch that holds a bad item, as a network's own error would."""

    name, modality, layers, dim, revision = "fussy", Modality.TEXT, 1, 2, "r"
    device, cap = "cpu", 1e9

    def cost(self, size):
        return size

    def encode(self, items):
        if any(item == "raise" for item in items):
            raise RuntimeError("no\nmore")
        values = {"nan": np.nan, "huge": 1e6}
        return np.array([[[values.get(i, 1.0), len(i)]] for i in items], np.float32)


def test_a_bad_item_costs_its_own_row():
    items = ["a", "raise", "bb", MediaError("no file x.wav"), "nan", "huge", "ccc"]
    x, status, reasons = encode_rows(items, Fussy(), "float16")
    assert status.tolist() == [1, 3, 1, 3, 3, 3, 1]
    assert x[[0, 2, 6], 0, 1].tolist() == [1, 2, 3]
    assert not x[[1, 3, 4, 5]].any()
    assert reasons[1] == "the encoder failed: RuntimeError: no"
    assert reasons[3] == "no file x.wav"
    assert reasons[4] == "the embedding holds NaN or infinity"
    assert reasons[5] == "1e+06 overflows float16; --dtype float32"
    assert encode_rows(items, Fussy(), "float32")[1].tolist() == [1, 3, 1, 3, 3, 1, 1]


class Hungry(Fussy):
    """Holds a large array while it fails on more than one item, as a full GPU would."""

    def __init__(self):
        self.held = weakref.WeakSet()

    def encode(self, items):
        forward = Large((len(items), 1000))
        self.held.add(forward)
        if len(items) > 1:
            raise RuntimeError("out of memory")
        assert len(self.held) == 1, "the failed batches' tensors are still there"
        return np.ones((1, 1, 2), np.float32)


class Large(np.ndarray):
    """An array that can be referred to weakly, and hashed."""

    __hash__ = object.__hash__


def test_halving_lets_go_of_the_failed_batch():
    status = encode_rows(list("abcdefgh"), Hungry(), "float16")[1]
    assert status.tolist() == [Status.OK] * 8


def test_names_of_files():
    assert feature_stem(Modality.AUDIO, "w", Settings()) == "audio.w"
    stem = feature_stem(Modality.TEXT, "m", Settings("0,6,12", "mean+std", "bf16"))
    assert stem == "text.m+layers0-6-12+poolmean-std+bf16"


def test_errors(tmp_path):
    root = text_corpus(tmp_path / "words")
    f = tmp_path / "f"
    with pytest.raises(CorpusError, match="No corpus at"):
        extract(tmp_path / "none", features=f)
    with pytest.raises(ErcError, match="Unknown modality 'video'; choose from audio, text, visual"):
        extract(root, features=f, modality="video")
    with pytest.raises(CorpusError, match="no utterance has audio; it has text"):
        extract(root, features=f, modality="audio")
    with pytest.raises(ErcError, match="needs --modality"):
        extract(root, features=f, encoder="bert-base-uncased")
    with pytest.raises(ErcError, match="Unknown dtype 'float64'"):
        extract(root, features=f, encoder="baseline", dtype="float64")
    (tmp_path / "file").write_text("")
    with pytest.raises(FeatureFileError, match="cannot be written"):
        extract(root, features=tmp_path / "file", encoder="baseline")
    write_rows(tmp_path / "blank" / "train.csv", [{"dialogue": 0, "sequence": 0, "x_text": " "}])
    with pytest.raises(CorpusError, match="no utterance has text, a picture or sound"):
        extract(tmp_path / "blank", features=f)


KILLED = """
    import os, signal, sys
    from erc_features.extraction.extract import extract
    def progress(stem, done, total):
        if done >= {at}: os.kill(os.getpid(), signal.SIGKILL)
    extract({root!r}, features={features!r}, encoder="baseline", batch_size=4, progress=progress)
"""


@pytest.mark.parametrize(
    "at",
    [20, *(pytest.param(n, marks=pytest.mark.soak) for n in (1, 5, 13, 33, 41))],
)
def test_killed_and_run_again_it_ends_as_undisturbed(tmp_path, at):
    root = text_corpus(tmp_path / "words")
    extract(root, features=tmp_path / "whole", encoder="baseline", batch_size=4)
    code = KILLED.format(at=at, root=str(root), features=str(tmp_path / "f"))
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)
    assert done.returncode == -9
    partial = inspect(tmp_path / "f/words/text.baseline.h5.partial")
    assert partial.counts["ok"] >= at - 1
    extract(root, features=tmp_path / "f", encoder="baseline", batch_size=4)
    same_file(tmp_path / "f/words/text.baseline.h5", tmp_path / "whole/words/text.baseline.h5")


def same_file(one, other):
    with FeatureFile(one) as a, FeatureFile(other) as b:
        assert a.complete
        assert b.complete
        assert np.array_equal(a.x(), b.x())
        assert np.array_equal(a.status, b.status)
        assert a.reason.tolist() == b.reason.tolist()
        assert a.key.tolist() == b.key.tolist()
        assert a.probe.dtype == b.probe.dtype == np.float32
        assert np.array_equal(a.probe, b.probe)
        assert (a.status != Status.PENDING).all()


def test_a_lone_corpus_csv_is_the_corpus_of_its_folder(tmp_path, monkeypatch):
    """Wherever a corpus is named: extract, verify, doctor, import, what is to be predicted; and as
    by its whole path, which fuse calls by the folder's name too."""
    monkeypatch.chdir(tmp_path)
    head = "split,dialogue,sequence,speaker,x_text,x_visual,x_audio,label"
    rows = [f"{split},0,{i},Ann,text {i},,,joy" for i, split in enumerate(("train", "dev", "test"))]
    Path("mine").mkdir()
    Path("mine/corpus.csv").write_text("\n".join([head, *rows]))
    (made,) = extract("mine", encoder="baseline")
    assert str(made.path) == "features/mine/text.baseline.h5" and made.counts["ok"] == 3
    (again,) = extract("mine/corpus.csv", encoder="baseline")
    assert again.already and again.path == made.path
    assert verify(made.path, corpus="mine").sound
    assert doctor("mine").census == doctor("mine/corpus.csv").census
    assert len(doctor("mine").corpus.utterances) == 3
    assert [u.key for u in read_talk("mine")] == [u.key for u in read_corpus("mine").utterances]
    np.save("x.npy", np.ones((3, 4), np.float32))
    keys = "\n".join(u.key for u in read_corpus("mine").utterances)
    Path("keys.txt").write_text(keys)
    made = import_features("x.npy", "mine", modality="audio", keys="keys.txt")
    assert made.counts["ok"] == 3
    # A CSV for each split is the corpus, as before.
    Path("mine/test.csv").write_text("\n".join([head, "test,0,9,Ann,the ninth,,,joy"]))
    assert [u.key for u in read_corpus("mine").utterances] == ["test/d-0-seq-9"]


def test_a_folder_of_another_csv_names_it(tmp_path):
    (tmp_path / "talk.csv").write_text("a,b\n")
    with pytest.raises(CorpusError, match=r"corpus\.csv\. If its talk\.csv is the corpus, name it"):
        read_corpus(tmp_path)
