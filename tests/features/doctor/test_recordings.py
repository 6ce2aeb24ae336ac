"""What the doctor says of recordings: overlaps, ends, and what splits share."""

import base64
import io
import wave

import numpy as np
from corpora import write_rows
from recordings import babble, cut_corpus, record

from erc_features.corpora.manifest import read_corpus
from erc_features.doctor.doctor import doctor
from erc_features.doctor.examples import choose_examples, load_examples
from erc_features.doctor.tables import sentences, tables
from erc_features.extraction.extract import extract
from erc_features.media import read_audio, write_wav
from erc_features.store import FeatureFile, Status


def row(sequence, start, end, file="r.wav", label="joy", **more):
    return {"dialogue": 0, "sequence": sequence, "x_text": f"text {sequence}", "speaker": "A",
            "x_audio": file, "start": start, "end": end, "label": label, **more}  # fmt: skip


def where(found, kind):
    return {d.where: d.detail for d in found.by_kind.get(kind, ())}


def test_segments_of_one_recording_are_a_leak_between_splits_only(tmp_path):
    write_wav(tmp_path / "r.wav", babble(9.0, 16_000, 1)[0])
    times = ("start", "end")
    write_rows(tmp_path / "train.csv", [row(0, "0", "2"), row(1, "2", "3.5"), row(2, "3", "4"),
                                        row(3, "1", "6"), row(4, "8.5", "")], times)  # fmt: skip
    alone = doctor(tmp_path)
    assert alone.shared == ()
    assert not [line for line in sentences(alone) if "share" in line]
    assert where(alone, "overlapping segments") == {
        "train/d-0-seq-1": "overlaps train/d-0-seq-3 by 1.50 s",
        "train/d-0-seq-2": "overlaps train/d-0-seq-3 by 1.00 s",
        "train/d-0-seq-3": "overlaps train/d-0-seq-0 by 1.00 s",
    }
    write_rows(tmp_path / "test.csv", [row(0, "5.5", "7"), row(1, "7", "8"), row(2, "8.6", "9")],
               times)  # fmt: skip
    both = doctor(tmp_path)
    (shared,) = both.shared
    assert (shared.how, shared.splits, len(shared.keys)) == ("one path", ("train", "test"), 8)
    (leak,) = both.leaks
    assert leak.shared_cells == tuple(f"test/d-0-seq-{i}" for i in range(3))
    assert leak.overlapping == ("test/d-0-seq-0", "test/d-0-seq-2")
    assert any("8 rows share a media file" in line for line in sentences(both))
    assert tables(both)


def test_a_whole_file_beside_its_segments_is_said(tmp_path):
    write_wav(tmp_path / "r.wav", babble(3.0, 16_000, 1)[0])
    cut_corpus(tmp_path, [("r.wav", "0", "1"), ("r.wav", "", "")])
    (shared,) = doctor(tmp_path).shared
    assert shared.keys == ("train/d-0-seq-0", "train/d-0-seq-1")


def test_times_that_cut_nothing(tmp_path):
    write_wav(tmp_path / "r.wav", babble(3.0, 16_000, 1)[0])
    cut_corpus(tmp_path, [("r.wav", "1", "0.5"), ("r.wav", "soon", ""), ("r.wav", "2", "3.05"),
                          ("r.wav", "2.5", "4"), ("no.wav", "2.5", "4"), ("r.wav", "1", "1.02"),
                          ("r.wav", "-1", "1")])  # fmt: skip
    found = doctor(tmp_path)
    assert where(found, "segment that cannot be cut") == {
        "train/d-0-seq-0": "it ends before it starts: 1 to 0.5",
        "train/d-0-seq-1": "start 'soon' is not a time; 12.5 and 0:00:12.5 are",
        "train/d-0-seq-6": "start '-1' is negative",
    }
    assert where(found, "segment past the end") == {
        "train/d-0-seq-3": "2.50 s to 4.00 s, but r.wav lasts 3.00 s"
    }
    assert where(found, "too short") == {"train/d-0-seq-5": "0.020 s by its times"}
    assert "malformed time" not in found.by_kind
    assert "train/d-0-seq-4" in where(found, "media file is not there")


def test_pictures_that_end_before_the_sound_does(tmp_path):
    """One file for both: what has sound, and no pictures any more, is said."""
    record(tmp_path / "r.mp4", 6.0, fps=10, seen=3.0)
    times = [("1", "2"), ("2", "3.4"), ("2.5", "3.7"), ("4", "5"), ("4", "7")]
    rows = [
        {"dialogue": 0, "sequence": i, "x_visual": "r.mp4", "x_audio": "r.mp4", "label": "joy",
         "start": start, "end": end} for i, (start, end) in enumerate(times)
    ]  # fmt: skip
    write_rows(tmp_path / "train.csv", rows, ("start", "end"))
    found = where(doctor(tmp_path), "segment past the end")
    assert found["train/d-0-seq-2"] == "2.50 s to 3.70 s, but the pictures of r.mp4 last 3.00 s"
    assert found["train/d-0-seq-4"].startswith("4.00 s to 7.00 s, but r.mp4 lasts 6.0")
    failed = {
        "audio": {"train/d-0-seq-4"},
        "visual": {f"train/d-0-seq-{i}" for i in (2, 3, 4)},
    }
    for modality, keys in failed.items():  # what the doctor foretells is what fails
        (made,) = extract(tmp_path, features=tmp_path / "f", modality=modality, encoder="baseline")
        with FeatureFile(made.path) as file:
            assert set(file.key[file.status == Status.FAILED]) == keys
    assert found.keys() == failed["audio"] | failed["visual"]


def test_a_clipped_recording_is_named_once(tmp_path):
    loud = np.clip(babble(3.0, 16_000, 1)[0] * 20, -1, 1)
    write_wav(tmp_path / "r.wav", loud)
    cut_corpus(tmp_path, [("r.wav", "0", "1"), ("r.wav", "1", "2")])
    assert list(where(doctor(tmp_path), "clipped sound")) == ["r.wav"]


def test_the_page_plays_the_segment(tmp_path):
    record(tmp_path / "r.mp4", 4.0, fps=10)
    cells = [("r.mp4", "2.5", "3.5"), ("r.mp4", "9", ""), ("r.mp4", "0.5", "1")]
    corpus = read_corpus(cut_corpus(tmp_path, cells))
    shown = load_examples(corpus, choose_examples(corpus, 3))
    found = {each.key[-1]: each for of_label in shown.values() for each in of_label}
    assert "starts at 9.00 s, but r.mp4 lasts 4." in found["1"].no_sound
    with wave.open(io.BytesIO(base64.b64decode(found["0"].sound.partition(",")[2]))) as file:
        sound = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768
    whole = read_audio(tmp_path / "r.mp4")
    assert np.abs(sound - whole[40_000:56_000]).max() <= 1 / 32768
