import shutil
from dataclasses import asdict
from json import dumps

import h5py
import numpy as np
import pytest
from checkpoints import WORDS, tiny_bert, tiny_clip, tiny_sound
from corpora import media_corpus, text_corpus

from erc_features.cli.printing import show_verified
from erc_features.corpora.manifest import read_corpus
from erc_features.encoders.base import Settings
from erc_features.errors import ErcError, FeatureFileError
from erc_features.extraction.extract import extract
from erc_features.extraction.tolerance import tolerance_of
from erc_features.extraction.verify import verify
from erc_features.media import write_wav
from erc_features.store import FeatureFile, Status


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A text corpus, a tiny BERT, and the file of all its layers in float16."""
    folder = tmp_path_factory.mktemp("verify")
    root = text_corpus(folder / "words")
    bert = tiny_bert(folder / "tiny-bert")
    (file,) = extract(root, features=folder / "f", modality="text", encoder=str(bert))
    return root, bert, file.path


@pytest.fixture
def mine(made, tmp_path):
    """The same, with a copy of the file to harm."""
    root, bert, path = made
    return root, bert, shutil.copy(path, tmp_path / path.name)


def test_a_sound_file(made, capsys):
    root, _, path = made
    seen = []
    found = verify(path, corpus=root, progress=lambda *call: seen.append(call))
    assert found.sound
    assert (found.complete, found.ok, found.compared) == (True, 41, 32)
    assert found.largest < 2e-3
    assert found.tolerance.relative == 1e-5
    assert seen[-1] == ("text.tiny-bert", 32, 32)
    assert verify(path, corpus=read_corpus(root), rows=500).compared == 41
    show_verified(found)
    assert "32 of 41 ok rows" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["float32", "float16"])
def test_a_row_that_was_changed_is_named_with_the_size_of_it(made, tmp_path, kind, capsys):
    root, bert, _ = made
    (file,) = extract(root, features=tmp_path, modality="text", encoder=str(bert), dtype=kind)
    with h5py.File(file.path, "r+") as stored:
        before = stored["x"][7].astype(np.float64)
        changed = before[1, 3] + 0.25
        stored["x"][7, 1, 3] = changed
        stored["x"][9, 2] = -stored["x"][9, 2]
    found = verify(file.path, corpus=root, rows=41)
    assert [row.key for row in found.differing] == ["train/d-1-seq-3", "train/d-2-seq-1"]
    assert not found.sound
    one, turned = found.differing
    assert one.layer == 1
    assert one.largest == pytest.approx(0.25, abs=2e-3)
    unit = np.spacing(np.abs(before[1, 3]).astype(kind))
    top = max(1, np.abs(before[1]).max())
    assert one.allowed == pytest.approx(1e-5 * top + unit, rel=1e-3)
    assert 0.9 < one.cosine < 0.9999
    assert turned.layer == 2
    assert turned.cosine == pytest.approx(-1)
    assert found.largest == turned.largest > 1
    dumps(asdict(found), default=str, allow_nan=False)  # as --json prints it
    show_verified(found)
    out = capsys.readouterr().out
    assert "2 rows differ" in out
    assert "train/d-1-seq-3: layer 1 by 0.25 where" in out


def test_as_little_as_two_units_in_the_last_place(mine):
    root, _, path = mine
    with h5py.File(path, "r+") as stored:
        value = stored["x"][0, 0, 0]
        stored["x"][0, 0, 0] = value + 3 * np.spacing(value)
    found = verify(path, corpus=root, rows=41)
    assert [(row.key, row.layer) for row in found.differing] == [("train/d-0-seq-0", 0)]
    assert found.differing[0].largest == pytest.approx(3 * abs(np.spacing(value)), rel=0.51)


def test_rows_outside_the_sample_are_not_claimed(mine):
    root, _, path = mine
    bad = [2, 10, 20, 30]
    with h5py.File(path, "r+") as stored:
        keys = stored["key"].asstr()[()]
        stored["x"][bad] = stored["x"][bad] + np.float16(1)
        before = stored["x"][()]
    for seed in range(4):
        found = verify(path, corpus=root, rows=8, seed=seed)
        assert found.compared == 8
        assert {row.key for row in found.differing} <= set(keys[bad])
    everywhere = [verify(path, corpus=root, rows=8, seed=seed) for seed in (0, 0)]
    assert everywhere[0].differing == everywhere[1].differing  # a seed's sample is a sample
    assert len(verify(path, corpus=root, rows=41).differing) == 4
    with h5py.File(path, "r") as stored:
        assert np.array_equal(stored["x"][()], before)


def test_the_longest_the_shortest_and_each_split_are_in_the_sample(mine):
    root, _, path = mine
    with h5py.File(path, "r+") as stored:
        stored["x"][:] = stored["x"][:] + np.float16(1)
    tokens = {
        u.key: sum(1 if word in WORDS else len(word) for word in u.x_text.split())
        for u in read_corpus(root).utterances
        if u.cell("text")
    }
    for seed in range(3):
        found = verify(path, corpus=root, rows=8, seed=seed)
        drawn = [row.key for row in found.differing]
        assert len(set(drawn)) == 8
        assert {key.split("/")[0] for key in drawn} == {"train", "dev", "test"}
        counts = [tokens[key] for key in drawn]
        assert (min(counts), max(counts)) == (min(tokens.values()), max(tokens.values()))
        assert len(set(counts)) >= 4
    (alone,) = verify(path, corpus=root, rows=1).differing
    assert tokens[alone.key] == max(tokens.values())


def test_not_a_number(mine, capsys):
    root, _, path = mine
    with h5py.File(path, "r+") as stored:
        stored["x"][5, 0, 0] = np.nan
    found = verify(path, corpus=root, rows=41)
    assert [(row.key, row.largest) for row in found.differing] == [("train/d-1-seq-1", None)]
    show_verified(found)
    assert "train/d-1-seq-1: it holds NaN or infinity" in capsys.readouterr().out


def test_other_weights_another_corpus_and_a_folder_that_moved(mine, tmp_path):
    root, bert, path = mine
    other = tiny_bert(tmp_path / "other", seed=1)
    with pytest.raises(ErcError, match=r"revision: \w+ here, \w+ now(.|\n)*--encoder") as caught:
        verify(path, corpus=root, encoder=str(other))
    assert "encoder:" not in str(caught.value)
    changed = shutil.copytree(root, tmp_path / "changed")
    (changed / "dev.csv").write_text((root / "dev.csv").read_text().replace("joy", "anger"))
    with pytest.raises(ErcError, match=r"fingerprint: .*\n.*--corpus"):
        verify(path, corpus=changed)
    moved = shutil.copytree(bert, tmp_path / "moved")
    assert verify(path, corpus=root, encoder=str(moved), rows=4).sound
    with h5py.File(path, "r+") as stored:
        stored.attrs["encoder"] = str(tmp_path / "gone")
    with pytest.raises(ErcError, match=r"was in .*gone, which is not there now.*--encoder"):
        verify(path, corpus=root)
    assert verify(path, corpus=root, encoder=str(moved), rows=4).sound


def test_errors(mine, tmp_path):
    root, _, path = mine
    with pytest.raises(ErcError, match="which corpus was it made from"):
        verify(path)
    with pytest.raises(ErcError, match="--rows is at least 1"):
        verify(path, corpus=root, rows=0)
    with pytest.raises(FeatureFileError, match="no such file"):
        verify(tmp_path / "none.h5", corpus=root)
    with h5py.File(path, "r+") as stored:
        stored.attrs["config"] = '{"layers": "all"}'
    with pytest.raises(FeatureFileError, match="don't say how `erc extract` made it"):
        verify(path, corpus=root)


def test_media_that_came_back_went_or_changed(tmp_path):
    root = media_corpus(tmp_path / "tiny", 8)
    features = tmp_path / "f"
    paths = {
        name: extract(root, features=features, modality=name, encoder="baseline")[0].path
        for name in ("audio", "visual")
    }
    found = {name: verify(path, corpus=root) for name, path in paths.items()}
    for each in found.values():
        assert each.sound
        assert (each.ok, each.compared, each.largest, each.mendable) == (6, 6, 0, ())
    samples = np.sin(np.arange(8000, dtype=np.float32))
    for row in (1, 2, 4):  # missing, failed, ok
        write_wav(root / f"train/d-0-seq-{row}.wav", samples)
    (root / "train/d-0-seq-5.wav").write_bytes(b"RIFF garbage")
    text = (root / "train.csv").read_text().splitlines()
    text[2] = text[2].replace(",,,joy", ",,train/d-0-seq-1.wav,joy")
    text[1] = text[1].replace("train/d-0-seq-0.wav", "")
    (root / "train.csv").write_text("\n".join(text))
    found = verify(paths["audio"], corpus=root)
    assert [(row.key[-1], row.was) for row in found.mendable] == [("2", "failed"), ("1", "missing")]
    assert "cannot be opened" in found.mendable[0].reason
    gone, changed, broken = found.differing
    assert (gone.key, gone.reason) == ("train/d-0-seq-0", "the corpus has no audio for it now")
    assert (changed.key, changed.layer) == ("train/d-0-seq-4", 0)
    assert changed.largest > 0.1
    assert broken.key == "train/d-0-seq-5"
    assert "cannot be opened" in broken.reason
    assert verify(paths["visual"], corpus=root).sound


def test_other_decoding_is_another_file(tmp_path):
    root = media_corpus(tmp_path / "tiny")
    extract(root, features=tmp_path / "f", modality="visual", encoder="baseline")
    (root / "corpus.json").write_text('{"decode": {"frames": 2, "height": 32}}')
    with pytest.raises(ErcError, match=r"frames: 5 here, 2 now\n  height: None here, 32 now"):
        verify(tmp_path / "f/tiny/visual.baseline.h5", corpus=root)


class Stop(Exception):
    pass


def test_what_is_done_of_an_unfinished_file(made, tmp_path):
    root, bert, _ = made

    def stop(_stem, done, _total):
        if done > 15:
            raise Stop

    with pytest.raises(Stop):
        extract(root, features=tmp_path, modality="text", encoder=str(bert), batch_size=4,
                progress=stop)  # fmt: skip
    path = tmp_path / "words" / "text.tiny-bert.h5.partial"
    found = verify(path, corpus=root, rows=100)
    with FeatureFile(path) as file:
        ok = np.flatnonzero(file.status == Status.OK)
    assert found.sound
    assert not found.complete
    assert found.ok == found.compared == len(ok) < 41
    with h5py.File(path, "r+") as stored:
        stored["x"][ok[3]] = 0
    assert len(verify(path, corpus=root, rows=100).differing) == 1
    with h5py.File(path, "r+") as stored:
        stored["status"][:] = 0
    with pytest.raises(FeatureFileError, match="no row is ok"):
        verify(path, corpus=root)


@pytest.mark.soak
def test_in_other_precisions_with_history_and_of_other_modalities(made, tmp_path):
    root, bert, _ = made
    media = media_corpus(tmp_path / "tiny", 8)
    clip, sound = tiny_clip(tmp_path / "clip"), tiny_sound(tmp_path / "sound", "Wav2Vec2")
    for corpus, modality, encoder, settings in (
        (root, "text", bert, Settings(precision="bf16", layers="0,-1", pool="mean+max")),
        (root, "text", bert, Settings(history=3, pool="mean+std")),
        (media, "visual", clip, Settings(precision="bf16")),
        (media, "audio", sound, Settings(precision="bf16", layers="-2:")),
    ):
        (file,) = extract(corpus, features=tmp_path / "f", modality=modality, encoder=str(encoder),
                          settings=settings)  # fmt: skip
        found = verify(file.path, corpus=corpus, rows=10)
        assert found.sound, found
        assert found.tolerance.relative == (5e-2 if settings.precision == "bf16" else 1e-5)
        with h5py.File(file.path, "r+") as stored:
            stored["x"][0, -1] = np.roll(stored["x"][0, -1], 1)
        (differing,) = verify(file.path, corpus=corpus, rows=41).differing
        assert differing.key == "train/d-0-seq-0"


def test_tolerances_and_why():
    def tolerance(precision, here, there):
        found = tolerance_of(precision, here, there)
        return found.relative, found.why

    assert tolerance("fp32", "cpu", "cpu") == (1e-5, "fp32 on cpu")
    assert tolerance("fp32", "cuda", "cuda:1") == (1e-4, "fp32 on cuda")
    assert tolerance("fp32", "cpu", "cuda") == (1e-4, "fp32 on cpu, stored on cuda")
    assert tolerance("bf16", "cpu", "cpu")[0] == 5e-2
    assert tolerance("bf16", "cuda", "cuda")[0] == 1e-1
    assert tolerance("fp16", "cpu", "") == (
        1e-2, "fp16 on cpu, stored on an unknown device")  # fmt: skip


def test_columns_that_were_changed_in_the_file(made, tmp_path):
    root, _, path = made
    copy = tmp_path / path.name
    copy.write_bytes(path.read_bytes())
    with h5py.File(copy, "r+") as file:
        file["label"][...] = file["label"][()][::-1]
    with pytest.raises(ErcError, match="its own texts, speakers and labels give"):
        verify(copy, corpus=root)
