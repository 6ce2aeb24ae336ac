import json
import shutil
import tarfile

import pytest
from clips import encode_clip
from corpora import annotate

from erc_features.corpora.manifest import read_corpus
from erc_features.errors import CorpusError
from erc_features.media import read_audio, read_frames
from erc_features.preparation.decode import Decode
from erc_features.preparation.journal import JOURNAL
from erc_features.preparation.prepare import prepare


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Two splits whose ids collide; one clip missing, one cut, one without sound; extras."""
    root = tmp_path_factory.mktemp("raw") / "MELD.Raw"
    good = ("00:00:01,000", "0:00:02,000")
    annotate(
        root / "train_sent_emo.csv",
        [("my company’s", "neutral", 0, 0, *good), ("None", "joy", 0, 1, *good),
         ("cut", "joy", 0, 3, "00:00:01,0", "x"), ("gone", "fear", 1, 0, *good)],
    )  # fmt: skip
    annotate(root / "csvs" / "test_sent_emo.csv", [("other", "anger", 0, 0, *good)])
    clips = root / "train" / "train_splits"
    encode_clip(clips / "dia0_utt0.mp4", seconds=0.4)
    encode_clip(clips / "dia0_utt1.mp4", seconds=0.4, sound=False)
    data = encode_clip(clips / "dia0_utt3.mp4", seconds=0.4).read_bytes()
    (clips / "dia0_utt3.mp4").write_bytes(data[: len(data) // 2])
    (clips / "._dia1_utt0.mp4").write_bytes(b"a Mac's")
    test = root / "test" / "output_repeated_splits_test"
    encode_clip(test / "dia0_utt0.mp4", seconds=0.6, fps=5)
    encode_clip(test / "final_videos_testdia0_utt0.mp4", seconds=0.4)
    return root


def test_every_row_is_there_with_its_media_or_its_reason(raw, tmp_path):
    made = prepare(raw, tmp_path / "meld", decode=Decode(frames=3, height=48), jobs=2)
    corpus = read_corpus(tmp_path / "meld")
    by_key = {u.key: u for u in corpus.utterances}
    assert list(by_key) == ["train/d-0-seq-0", "train/d-0-seq-1", "train/d-0-seq-3",
                            "train/d-1-seq-0", "test/d-0-seq-0"]  # fmt: skip
    assert by_key["train/d-0-seq-0"].x_text == "my company's"
    assert by_key["train/d-0-seq-1"].x_text == "None"
    assert by_key["train/d-0-seq-0"].more["start"] == "00:00:01,000"
    cells = {key: (u.x_visual, u.x_audio) for key, u in by_key.items()}
    assert cells["train/d-0-seq-0"] == ("train/d-0-seq-0.png", "train/d-0-seq-0.wav")
    assert cells["train/d-0-seq-1"] == ("train/d-0-seq-1.png", "")
    assert cells["train/d-0-seq-3"] == cells["train/d-1-seq-0"] == ("", "")
    assert cells["test/d-0-seq-0"] == ("test/d-0-seq-0.png", "test/d-0-seq-0.wav")
    missing = corpus.info["missing"]
    assert missing["audio"]["train/d-0-seq-1"] == "no audio stream"
    assert "cannot be opened" in missing["visual"]["train/d-0-seq-3"]
    assert missing["visual"]["train/d-1-seq-0"] == "no such clip"
    # the colliding ids did not share a picture or a sound
    root = tmp_path / "meld"
    assert len(read_frames(root / "train/d-0-seq-0.png")) == 3
    assert len(read_audio(root / "test/d-0-seq-0.wav")) > len(
        read_audio(root / "train/d-0-seq-0.wav")
    )
    kinds = {defect.kind for defect in made.defects}
    assert kinds == {"missing clip", "malformed time", "no sound", "no picture and sound"}
    assert (made.pictures, made.sounds, made.already) == (3, 2, False)


def test_again_is_nothing_to_do_and_otherwise_needs_force(raw, tmp_path):
    to = tmp_path / "meld"
    first = prepare(raw, to, decode=Decode(2, 32))
    assert prepare(raw, to, decode=Decode(2, 32)).already
    with pytest.raises(CorpusError, match=r"frames: 2 there, 4 now(.|\n)*--force"):
        prepare(raw, to, decode=Decode(4, 32))
    again = prepare(raw, to, decode=Decode(4, 32), force=True)
    assert again.corpus.fingerprint == first.corpus.fingerprint
    assert len(read_frames(to / "train/d-0-seq-0.png")) == 4


def test_an_interrupted_preparation_goes_on_and_ends_the_same(raw, tmp_path):
    whole = prepare(raw, tmp_path / "a" / "meld", decode=Decode(2, 32))
    to = tmp_path / "b" / "meld"

    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(raw, to, decode=Decode(2, 32), jobs=1, progress=stop)
    with pytest.raises(CorpusError, match="No corpus at"):
        read_corpus(to)
    with open(to / JOURNAL, "a") as journal:
        journal.write('{"key": "train/d-0')  # a line cut by a kill
    counts = []
    made = prepare(raw, to, decode=Decode(2, 32), progress=lambda done, total: counts.append(done))
    assert counts[0] == 3  # two were not decoded again
    for split in ("train", "test"):
        assert (to / f"{split}.csv").read_bytes() == (
            tmp_path / "a" / "meld" / f"{split}.csv"
        ).read_bytes()
    assert made.corpus.info["missing"] == whole.corpus.info["missing"]
    assert not (to / JOURNAL).exists()


@pytest.mark.parametrize("outer", [False, True])
def test_archives_are_unpacked_beside_themselves(raw, tmp_path, outer):
    """MELD.Raw as it is distributed: a tar.gz for each split, and all that in one."""
    packed = tmp_path / "MELD.Raw"
    packed.mkdir()
    for split, folder in (("train", "train_splits"), ("test", "output_repeated_splits_test")):
        with tarfile.open(packed / f"{split}.tar.gz", "w:gz") as archive:
            archive.add(raw / split / folder, folder)
    shutil.copy(raw / "train_sent_emo.csv", packed)
    shutil.copy(raw / "csvs" / "test_sent_emo.csv", packed)
    source = packed
    if outer:
        source = tmp_path / "MELD.Raw.tar.gz"
        with tarfile.open(source, "w:gz") as archive:
            archive.add(packed, "MELD.Raw")
        shutil.rmtree(packed)
    made = prepare(source, tmp_path / "meld", decode=Decode(2, 32))
    assert (made.pictures, made.sounds) == (3, 2)
    assert prepare(source, tmp_path / "meld", decode=Decode(2, 32)).already


def test_strict_refuses_before_anything_is_written(raw, tmp_path):
    with pytest.raises(CorpusError, match=r"--strict(.|\n)*missing clip: train/d-1-seq-0"):
        prepare(raw, tmp_path / "meld", strict=True)
    assert not (tmp_path / "meld").exists()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("t", "bliss", 0, 0, "", ""), "train_sent_emo.csv:2: Emotion 'bliss' is not one of anger"),
        (("t", "joy", "x", 0, "", ""), "train_sent_emo.csv:2: Dialogue_ID and Utterance_ID"),
    ],
)
def test_rows_that_cannot_be_read_are_named(tmp_path, row, message):
    annotate(tmp_path / "raw" / "train_sent_emo.csv", [row, ("t", "joy", 1, 0, "", "")])
    with pytest.raises(CorpusError, match=message):
        prepare(tmp_path / "raw", tmp_path / "meld")


def test_nothing_known_there(tmp_path):
    with pytest.raises(CorpusError, match=r"erc sample.*erc download"):
        prepare(tmp_path / "none", tmp_path / "meld")
    (tmp_path / "raw").mkdir()
    with pytest.raises(CorpusError, match="train_sent_emo.csv"):
        prepare(tmp_path / "raw", tmp_path / "meld")


def test_a_folder_that_cannot_be_written(raw, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(CorpusError, match="cannot be written"):
        prepare(raw, tmp_path / "file" / "meld")


def test_the_real_annotations(meld_annotations, tmp_path):
    made = prepare(meld_annotations, tmp_path / "meld")
    assert made.rows == {"train": 9989, "dev": 1109, "test": 2610}
    assert (made.pictures, made.sounds) == (0, 0)
    assert sum(defect.kind == "no media" for defect in made.defects) == 3
    info = json.loads((tmp_path / "meld" / "corpus.json").read_text())
    assert info["labels"] == ["anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise"]
    places = {defect.where: defect.kind for defect in made.defects}
    assert places["test/d-155-seq-3"] == "no duration"
    assert places["test/d-38-seq-4"] == places["test/d-220-seq-0"] == "whole scene"
    assert places["train/d-338-seq-3"] == "too short"
    assert not any("’" in u.x_text or "…" in u.x_text for u in made.corpus.utterances)
