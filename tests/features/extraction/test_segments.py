"""Recordings in extraction: each utterance is exactly its segment, or says why it is none."""

import json
import random
import signal
import subprocess
import sys

import numpy as np
import pytest
from checkpoints import tiny_sound
from corpora import media_corpus, write_rows
from recordings import babble, cut_corpus, record
from test_extract import same_file

from erc_features.corpora.manifest import read_corpus
from erc_features.doctor.doctor import doctor
from erc_features.encoders import load_encoder
from erc_features.encoders.base import Settings
from erc_features.errors import CorpusError, ErcError, FeatureFileError
from erc_features.extraction.dry_run import preview
from erc_features.extraction.extract import extract
from erc_features.extraction.verify import verify
from erc_features.media import Pictures, Spool, read_audio, write_wav
from erc_features.preparation.decode import Decode
from erc_features.preparation.live_dialogue import prepare_talk, read_talk
from erc_features.store import FeatureFile
from erc_features.utterance import Modality

HOSTILE = {  # start, end -> status and reason
    ("soon", "2"): "start 'soon' is not a time",
    ("1", "1:2"): "end '1:2' is not a time",
    ("nan", "2"): "start 'nan' is not a time",
    ("-1", "2"): "start '-1' is negative",
    ("3", "2"): "it ends before it starts: 3 to 2",
    ("2", "2.0"): "its end is its start: 2 to 2.0",
    ("2", "2.00001"): "shorter than one sample",
    ("5.5", "7"): "ends at 7.00 s, but r.mp3 lasts 6.",
    ("90", ""): "starts at 90.00 s, but r.mp3 lasts 6.",
    ("1e300", ""): "start '1e300' is not a time",
}


def test_each_row_is_its_own_segment_of_the_whole_file(tmp_path):
    record(tmp_path / "c" / "r.mp3", 6.0)
    record(tmp_path / "c" / "s.mp4", 6.0, fps=10)
    whole = {name: read_audio(tmp_path / "c" / name) for name in ("r.mp3", "s.mp4")}
    good = [("r.mp3", "0:00:01.5", "3"), ("s.mp4", "00:00:00,250", "00:00:02,000"),
            ("r.mp3", "1", "3.25"), ("r.mp3", "", "1.5"), ("s.mp4", "5", ""),
            ("s.mp4", "", ""), ("r.mp3", "0 days 00:00:04.5", "0.50e1")]  # fmt: skip
    bad = [("r.mp3", *times) for times in HOSTILE] + [("no.mp3", "1", "2")]
    root = cut_corpus(tmp_path / "c", good + bad)
    (made,) = extract(root, features=tmp_path / "f", modality="audio", encoder="baseline",
                      dtype="float32", batch_size=3)  # fmt: skip
    assert made.counts == {"ok": len(good), "missing": 0, "failed": len(bad)}
    assert made.recordings == 3 and made.decoded == 4 * sum(map(len, whole.values()))
    encoder = load_encoder("baseline", Modality.AUDIO, Settings())
    spans = [(1.5, 3), (0.25, 2), (1, 3.25), (0, 1.5), (5, None), (0, None), (4.5, 5)]
    with FeatureFile(made.path) as file:
        for row, ((name, *_), (start, end)) in enumerate(zip(good, spans, strict=True)):
            stop = None if end is None else int(end * 16_000)
            item = whole[name][int(start * 16_000) : stop]
            assert np.array_equal(file.x(np.array([row])), encoder.encode([item])), row
        reasons = file.reason[len(good) :].tolist()
    for reason, wanted in zip(reasons, [*HOSTILE.values(), "no file no.mp3"], strict=True):
        assert reason.startswith(wanted)
    found = verify(made.path, corpus=root)
    assert found.sound and found.compared == len(good) and not found.mendable
    record(root / "no.mp3", 2.5)  # its row can be encoded now
    (again,) = extract(root, features=tmp_path / "f", modality="audio", encoder="baseline",
                       dtype="float32", batch_size=3, retry=True)  # fmt: skip
    assert again.counts == {"ok": len(good) + 1, "missing": 0, "failed": len(bad) - 1}
    noted = {d.where: d.kind for d in doctor(root).defects if "segment" in d.kind}
    assert {noted[f"train/d-0-seq-{len(good) + i}"] for i in range(6)} == {
        "segment that cannot be cut"
    }
    assert noted["train/d-0-seq-14"] == noted["train/d-0-seq-15"] == "segment past the end"
    assert noted["train/d-0-seq-2"] == "overlapping segments"


def test_frames_of_segments(tmp_path):
    record(tmp_path / "c" / "r.mp4", 6.0, fps=10)
    cells = [("r.mp4", "1", "2"), ("r.mp4", "0.5", "5"), ("r.mp4", "5", "9"), ("r.mp4", "x", "")]
    root = cut_corpus(tmp_path / "c", cells, "x_visual")
    (root / "corpus.json").write_text(json.dumps({"decode": {"frames": 3, "height": 32}}))
    (made,) = extract(root, features=tmp_path / "f", encoder="baseline", modality="visual",
                      dtype="float32")  # fmt: skip
    spans = [(1.0, 2.0), (0.5, 5.0)]
    pictures = Pictures(root / "r.mp4", spans, 3, 32, Spool())
    encoder = load_encoder("baseline", Modality.VISUAL, Settings())
    with FeatureFile(made.path) as file:
        assert file.status.tolist() == [1, 1, 3, 3]
        x = encoder.encode([pictures.segment(*span) for span in spans])
        assert np.array_equal(file.x(np.array([0, 1])), x)
        assert file.reason[2] == "ends at 9.00 s, but the pictures of r.mp4 last 6.00 s"
        assert file.reason[3].startswith("start 'x' is not a time")
    assert verify(made.path, corpus=root).sound


def test_changed_times_are_another_file(tmp_path):
    (tmp_path / "c").mkdir()
    write_wav(tmp_path / "c" / "r.wav", babble(4.0, 16_000, 1)[0])
    cells = [("r.wav", "0.5", "1.5"), ("r.wav", "2", "3")]
    root = cut_corpus(tmp_path / "c", cells)
    what = {"features": tmp_path / "f", "encoder": "baseline"}
    text, audio = extract(root, **what)
    cut_corpus(root, [("r.wav", "00:00:00,500", "1.50"), ("r.wav", "0:00:02", "3.0")])
    assert all(file.already for file in extract(root, **what))  # the same times
    cut_corpus(root, [("r.wav", "0.5", "1.5"), ("r.wav", "2", "3.1")])
    with pytest.raises(FeatureFileError, match="segments: '[0-9a-f]{16}' here, '[0-9a-f]{16}' now"):
        extract(root, modality="audio", **what)
    with pytest.raises(ErcError, match="segments: '[0-9a-f]{16}' here, '[0-9a-f]{16}' now"):
        verify(audio.path, corpus=root)
    (shown,) = preview(root, modality="audio", **what)
    assert shown.differences[0].startswith("segments: ")
    assert extract(root, modality="text", **what)[0].already  # texts have no times
    with FeatureFile(text.path) as file:
        assert "segments" not in file.provenance.config


def test_what_prepare_made_is_never_cut(tmp_path):
    """Its columns start and end are those of an episode; what is in its files stays whole."""
    root = media_corpus(tmp_path / "m")
    lines = (root / "train.csv").read_text().splitlines()
    times = ["start,end", *["00:20:57,256,00:20:59,100"] * (len(lines) - 1)]
    times = [t.replace("57,256,", '57,256","').join('""') if ":" in t else t for t in times]
    (root / "train.csv").write_text(
        "\n".join(f"{line},{time}" for line, time in zip(lines, times, strict=True))
    )
    assert read_corpus(root).utterances[0].more["start"] == "00:20:57,256"
    what = {"features": tmp_path / "f", "modality": "audio", "encoder": "baseline"}
    with pytest.raises(CorpusError, match=r'begin after the end.*1257.26 s.*"segments": false'):
        extract(root, **what)
    with pytest.raises(CorpusError, match='"segments": false'):
        read_talk(root)
    for info in ({"segments": False}, {"prepared_from": {}, "decode": {"downmix": "normalised"}}):
        (root / "corpus.json").write_text(json.dumps(info))
        (made,) = extract(root, overwrite=True, **what)
        assert made.counts == {"ok": 4, "missing": 1, "failed": 1}
        with FeatureFile(made.path) as file:
            assert "segments" not in file.provenance.config
        talk = read_talk(root / "train.csv")
        assert not any(u.more.get("start") for u in talk)
        assert not [d for d in doctor(root).defects if "segment" in d.kind]
    # The same rows in another folder, by absolute paths.
    rows = [{"dialogue": 0, "sequence": 0, "x_audio": str(root / "train/d-0-seq-0.wav"),
             "label": "joy", "start": "00:20:57,256", "end": "00:20:59,100"}]  # fmt: skip
    other = write_rows(tmp_path / "other" / "train.csv", rows, ("start", "end")).parent
    assert extract(other, **what)[0].counts["ok"] == 1
    (root / "corpus.json").write_text(json.dumps({"segments": "no"}))
    with pytest.raises(CorpusError, match="'segments' is 'no'; true, where"):
        extract(root, **what)


def test_a_talk_is_cut_like_a_corpus(tmp_path):
    record(tmp_path / "c" / "r.mp4", 4.0, fps=10)
    cells = [("r.mp4", "0.5", "1.5"), ("r.mp4", "2", "3")]
    root = cut_corpus(tmp_path / "c", cells)
    (made,) = extract(root, features=tmp_path / "f", modality="audio", encoder="baseline")
    talk = prepare_talk(read_talk(root / "train.csv"), tmp_path / "talk", ["joy"], Decode())
    (again,) = extract(talk, features=tmp_path / "g", modality="audio", encoder="baseline")
    with FeatureFile(made.path) as one, FeatureFile(again.path) as two:
        assert np.array_equal(one.x(), two.x()) and one.x().any()


def test_a_dry_run_counts_the_hours_of_segments(tmp_path):
    record(tmp_path / "c" / "r.flac", 6.0)
    root = cut_corpus(
        tmp_path / "c", [("r.flac", "1", "2"), ("r.flac", "4", ""), ("r.flac", "x", "")]
    )
    (shown,) = preview(root, features=tmp_path / "f", modality="audio", encoder="baseline")
    assert shown.amount * 3600 == pytest.approx(3.0)
    assert (shown.recordings, shown.temporary) == (1, 6 * 64_000)
    assert shown.hours * 3600 == pytest.approx(6.0) and shown.seconds is not None


def mixed_up(folder, count):
    """Segments of two recordings in random order, some of which overlap."""
    record(folder / "r.ogg", 8.0)
    record(folder / "s.flac", 8.0)
    dice = random.Random(0)
    spans = [(name, i * 6 / count, i * 6 / count + dice.uniform(0.2, 2)) for i in range(count)
             for name in ("r.ogg", "s.flac")]  # fmt: skip
    dice.shuffle(spans)
    return cut_corpus(folder, [(n, f"{a:.3f}", f"{b:.3f}") for n, a, b in spans])


def test_interrupted_and_resumed_it_ends_as_undisturbed(tmp_path):
    root = mixed_up(tmp_path / "c", 5)
    what = {"modality": "audio", "encoder": "baseline", "batch_size": 2, "workers": 2}
    (whole,) = extract(root, features=tmp_path / "whole", **what)

    def stop(stem, done, total):
        if done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(root, features=tmp_path / "f", progress=stop, **what)
    (resumed,) = extract(root, features=tmp_path / "f", **what)
    same_file(whole.path, resumed.path)


@pytest.mark.soak
def test_killed_and_resumed_it_ends_as_undisturbed(tmp_path):
    root = mixed_up(tmp_path / "c", 60)
    encoder = str(tiny_sound(tmp_path / "w2v", "Wav2Vec2"))
    what = {"modality": "audio", "encoder": encoder, "batch_size": 2, "workers": 2}
    (whole,) = extract(root, features=tmp_path / "whole", **what)
    code = (
        "from erc_features.extraction.extract import extract\n"
        f"extract({str(root)!r}, features={str(tmp_path / 'f')!r}, **{what!r},\n"
        "        progress=lambda stem, done, total: print(done, flush=True))"
    )
    for rows in (10, 50, 90):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        while int(process.stdout.readline()) < rows:
            pass
        process.send_signal(signal.SIGKILL)
        process.communicate()
    (resumed,) = extract(root, features=tmp_path / "f", **what)
    same_file(whole.path, resumed.path)
    assert verify(resumed.path, corpus=root).sound


@pytest.mark.parametrize("decode", [None, [], {"frames": "x"}, {"frames": 0}, {"height": -1}])
def test_a_decode_that_says_nothing_is_refused(tmp_path, decode):
    """`frames` 0 was recorded, and 5 were taken."""
    root = cut_corpus(tmp_path, [("no.mp4", "1", "2")], "x_visual")
    (root / "corpus.json").write_text(json.dumps({"decode": decode}))
    with pytest.raises(CorpusError, match=r"corpus.json: (decode|frames in|height in)"):
        extract(root, features=tmp_path / "f", modality="visual", encoder="baseline")


def test_clips_with_times_of_an_episode_are_no_recordings(tmp_path):
    """Each clip is one utterance of 1 s; the first times of the episode are within their clips."""
    cells = []
    for i in range(8):
        (tmp_path / "c").mkdir(exist_ok=True)
        write_wav(tmp_path / f"c/{i}.wav", babble(1.0, 16_000, 1)[0])
        cells.append((f"{i}.wav", f"{0.4 * i:.1f}", f"{0.4 * i + 0.5:.1f}"))
    root = cut_corpus(tmp_path / "c", cells)
    what = {"features": tmp_path / "f", "modality": "audio", "encoder": "baseline"}
    with pytest.raises(
        CorpusError,
        match=r'5 of 8 that were tried end after.*7 starts at 2.80 s.*"segments": false',
    ):
        extract(root, **what)
    (root / "corpus.json").write_text('{"segments": false}')
    (made,) = extract(root, **what)
    assert made.counts["ok"] == 8 and made.recordings == 0
    # Most are positions: recordings of one utterance each, and two wrong rows.
    (root / "corpus.json").unlink()
    right = [(f"{i}.wav", "0.2", "0.8") for i in range(6)] + cells[6:]
    (made,) = extract(cut_corpus(root, right), overwrite=True, **what)
    assert made.counts == {"ok": 6, "missing": 0, "failed": 2}
