import shutil

import pytest
from checkpoints import tiny_bert
from corpora import media_corpus, text_corpus
from typer.testing import CliRunner

import cli
from erc_features.encoders.base import Settings
from erc_features.errors import EncoderError
from erc_features.extraction.dry_run import preview
from erc_features.extraction.extract import extract
from erc_features.media import read_audio
from erc_features.store import FeatureFile


def test_says_what_extract_then_does(tmp_path):
    root = media_corpus(tmp_path / "tiny")
    features = tmp_path / "features"
    seen = preview(root, features=features, encoder="baseline")
    assert not features.exists()
    assert [(p.modality, p.state, p.done, p.missing) for p in seen] == [
        ("text", "new", 0, 1), ("visual", "new", 0, 1), ("audio", "new", 0, 1)]  # fmt: skip
    made = extract(root, features=features, encoder="baseline")
    for before, after in zip(seen, made, strict=True):
        assert before.path == after.path
        assert before.shape[1:] == after.shape[1:] and before.shape[0] == 6
        assert before.rows == 6 - after.counts["missing"]
    seconds = sum(len(read_audio(path)) for path in sorted(root.rglob("*.wav"))
                  if not path.stem.endswith(("seq-1", "seq-2"))) / 16_000  # fmt: skip
    assert seen[2].unit == "hours of audio"
    assert seen[2].amount * 3600 == pytest.approx(seconds, abs=0.1)
    again = preview(root, features=features, encoder="baseline")
    assert {(p.state, p.batches[0]) for p in again} == {("complete", 0)}


def test_an_unfinished_file_and_one_made_differently(tmp_path):
    root = text_corpus(tmp_path / "words")
    bert = tiny_bert(tmp_path / "tiny-bert")
    features = tmp_path / "f"
    what = {"features": features, "modality": "text", "encoder": str(bert), "batch_size": 4}

    class Enough(Exception):
        pass

    def stop(stem, done, total):
        if done > 10:
            raise Enough

    with pytest.raises(Enough):
        extract(root, **what, progress=stop)
    (seen,) = preview(root, **what)
    with FeatureFile(seen.path.with_name(seen.path.name + ".partial")) as file:
        pending = int((file.status == 0).sum())
    assert seen.state == "unfinished" and seen.rows - seen.done == pending > 0
    assert 0 < seen.batches[0] < seen.batches[1]
    before = sorted(features.rglob("*"))
    tiny_bert(tmp_path / "other" / "tiny-bert", seed=1)
    shutil.rmtree(bert)
    shutil.move(tmp_path / "other" / "tiny-bert", bert)
    (seen,) = preview(root, **what)
    assert "revision" in seen.differences[0]
    assert sorted(features.rglob("*")) == before
    with pytest.raises(EncoderError, match="--device cuda"):
        preview(root, **what, settings=Settings(device="cuda"))


def test_on_the_command_line(tmp_path):
    root = text_corpus(tmp_path / "words")
    arguments = ["extract", "--corpus", str(root), "--features", str(tmp_path / "f"), "--dry-run"]
    done = CliRunner().invoke(cli.app, [*arguments, "--encoder", "baseline"])
    assert done.exit_code == 0, done.stderr
    characters = "41 of 42 rows have text, 0 are done"
    assert "text.baseline.h5: new; baseline on cpu, fp32" in done.stdout
    assert characters in done.stdout and "42 x 1 x 2048 float16" in done.stdout
    assert not (tmp_path / "f").exists()
    (seen,) = preview(root, features=tmp_path / "f", encoder="baseline")
    (made,) = extract(root, features=tmp_path / "f", encoder="baseline")
    assert seen.size == pytest.approx(made.size, rel=0.15)
    assert seen.free > 0
