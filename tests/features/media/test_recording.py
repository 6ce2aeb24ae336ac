"""Segments of recordings: the samples of the whole file, sliced; the frames on screen."""

import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from recordings import SOUNDS, babble, record

from erc_features.errors import ErcError, MediaError
from erc_features.media import Pictures, Sound, Spool, read_audio, read_clip, write_wav
from erc_features.media.recording import sample_at


@pytest.mark.parametrize("ending", SOUNDS)
def test_a_segment_is_the_whole_file_sliced_to_the_bit(tmp_path, ending):
    path = record(tmp_path / f"r.{ending}", 6.0, fps=10 if ending == "mp4" else 0)
    whole = read_audio(path)
    sound = Sound(path, Spool())
    spans = [(t / 9, t / 9 + 0.05 + t / 60) for t in range(45)] + [(0.0, None), (5.5, None)]
    random.Random(1).shuffle(spans)  # any order, overlapping
    for start, end in spans:
        stop = None if end is None else round(end * 16_000)
        assert np.array_equal(sound.segment(start, end), whole[round(start * 16_000) : stop])


def test_segments_that_touch_share_no_sample_and_lose_none(tmp_path):
    path = record(tmp_path / "r.flac", 3.0)
    sound, edges = Sound(path, Spool()), [0.0, 0.30004, 1.1, 1.1000313, 2.7]
    parts = [sound.segment(a, b) for a, b in zip(edges, [*edges[1:], None], strict=True)]
    assert np.array_equal(np.concatenate(parts), read_audio(path))


def test_a_prepared_wav_is_read_where_it_is(tmp_path):
    path, spool = tmp_path / "r.wav", Spool()
    write_wav(path, babble(5.0, 16_000, 1)[0])
    assert np.array_equal(Sound(path, spool).segment(1.0, 2.5), read_audio(path)[16_000:40_000])
    assert spool.size == 0


@pytest.mark.parametrize("ending", ["flac", "wav"])
def test_a_segment_that_is_not_there_says_so(tmp_path, ending):
    path = record(tmp_path / f"r.{ending}", 2.0)
    sound = Sound(path, Spool())
    assert len(sound.segment(1.0, 2.09)) == len(read_audio(path)) - 16_000  # rounded times
    for span, why in (
        ((2.0, 3.0), "starts at 2.00 s, but r.* lasts 2.00 s"),
        ((7.0, None), "starts at 7.00 s, but r.* lasts 2.00 s"),
        ((1.0, 2.2), "ends at 2.20 s, but r.* lasts 2.00 s"),
        ((1.0, 1.00001), "shorter than one sample"),
    ):
        with pytest.raises(MediaError, match=why):
            sound.segment(*span)


def test_a_file_without_sound_says_it_for_each_segment(tmp_path):
    (tmp_path / "r.mp3").write_bytes(b"garbage" * 100)
    for path, why in ((tmp_path / "r.mp3", "cannot be opened"), (tmp_path / "no.mp3", "no file")):
        sound = Sound(path, Spool())
        for _ in range(2):
            with pytest.raises(MediaError, match=why):
                sound.segment(0.0, 1.0)


def test_after_a_gap_times_would_be_those_of_other_words(tmp_path):
    path = record(tmp_path / "r.mp4", 4.0, skip=1.5)
    sound = Sound(path, Spool())
    assert np.array_equal(sound.segment(0.5, 1.9), read_audio(path)[8000:30400])
    with pytest.raises(MediaError, match=r"its sound skips 1.5\d s at 2.\d\d s.*aresample"):
        sound.segment(2.5, 3.0)


def test_a_damaged_file_gives_what_comes_before_the_damage(tmp_path):
    path = record(tmp_path / "r.flac", 8.0)
    data = bytearray(path.read_bytes())
    whole = read_audio(path)
    data[len(data) // 2 : len(data) // 2 + 30_000] = os.urandom(30_000)
    path.write_bytes(data)
    sound = Sound(path, Spool())
    assert np.array_equal(sound.segment(1.0, 2.0), whole[16_000:32_000])
    with pytest.raises(MediaError, match="damaged at|skips"):
        sound.segment(6.5, 7.0)


def test_threads_decode_it_once(tmp_path):
    path, spool = record(tmp_path / "r.mp3", 3.0), Spool()
    whole, sound = read_audio(path), Sound(path, spool)
    with ThreadPoolExecutor(8) as threads:
        parts = list(threads.map(lambda i: sound.segment(i / 10, i / 10 + 0.5), range(20)))
    assert all(np.array_equal(p, whole[sample_at(i / 10) :][:8000]) for i, p in enumerate(parts))
    assert spool.size == 4 * len(whole)


def test_the_temporary_file_has_no_name(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    spool = Spool()
    assert spool.read(spool.add(b"abc") + 1, 2) == b"bc"
    assert not list(tmp_path.iterdir())


@pytest.mark.soak
def test_a_full_disk_is_no_fault_of_a_file(tmp_path):
    """A process that may write no more than 1 MB to a file."""
    path = record(tmp_path / "r.flac", 20.0)
    limited = (
        "import resource, signal\nfrom pathlib import Path\n"
        "from erc_features.media import Sound, Spool\n"
        "from erc_features.errors import ErcError, MediaError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6))\n"
        f"try: Sound(Path({str(path)!r}), Spool()).segment(0.0, 1.0)\n"
        "except ErcError as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", limited], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("ErcError") and "TMPDIR" in done.stdout
    assert issubclass(MediaError, ErcError)


def levels(frames: tuple[np.ndarray, ...]) -> list[int]:
    return [round(float(frame.mean())) for frame in frames]


def test_the_frames_of_a_segment_are_those_on_screen(tmp_path):
    path = record(tmp_path / "r.mp4", 12.0, fps=10)  # frame i is shown from i / 10, level i
    spans = [(2.0, 3.0), (2.5, 2.9), (0.0, 12.0), (11.0, None), (2.0, 3.0), (7.05, 7.08)]
    pictures = Pictures(path, spans, 5, None, Spool())
    near = {span: levels(pictures.segment(*span)) for span in reversed(spans)}
    assert near[2.0, 3.0] == pytest.approx([20, 22, 25, 27, 29], abs=2)
    assert near[2.5, 2.9] == pytest.approx([25, 26, 27, 28, 28], abs=2)
    assert near[0.0, 12.0] == pytest.approx([0, 30, 60, 90, 119], abs=2)
    assert near[11.0, None] == pytest.approx([110, 112, 115, 117, 119], abs=2)
    assert near[7.05, 7.08] == pytest.approx([70] * 5, abs=2)
    one = Pictures(path, [(2.0, 3.0)], 1, None, Spool()).segment(2.0, 3.0)
    assert levels(one) == pytest.approx([25], abs=2)


def test_a_segment_of_all_has_the_frames_of_the_clip(tmp_path):
    path = record(tmp_path / "r.mp4", 3.0, fps=10)
    clip = read_clip(path, frames=5, height=40, sound=False).frames
    cut = Pictures(path, [(0.0, None)], 5, 40, Spool()).segment(0.0, None)
    assert all(np.array_equal(a, b) for a, b in zip(clip, cut, strict=True))


def test_frames_that_are_not_there_say_so(tmp_path):
    path = record(tmp_path / "r.mp4", 3.0, fps=10)
    spans = [(2.5, 3.4), (2.5, 3.9), (3.2, 5.0), (9.0, None), (1.0, 2.0)]
    pictures = Pictures(path, spans, 5, None, Spool())
    assert len(pictures.segment(1.0, 2.0)) == len(pictures.segment(2.5, 3.4)) == 5
    for span, why in (
        ((2.5, 3.9), "ends at 3.90 s, but the pictures of r.mp4 last 3.00 s"),
        ((3.2, 5.0), "starts at 3.20 s, but the pictures of r.mp4 last 3.00 s"),
        ((9.0, None), "starts at 9.00 s, but r.mp4 lasts 3.00 s"),
    ):
        with pytest.raises(MediaError, match=why):
            pictures.segment(*span)
    sound_only = record(tmp_path / "r.mp3", 2.0)
    with pytest.raises(MediaError, match="no video stream"):
        Pictures(sound_only, [(0.0, 1.0)], 5, None, Spool()).segment(0.0, 1.0)
    with pytest.raises(MediaError, match="no file"):
        Pictures(Path(tmp_path / "no.mp4"), [(0.0, 1.0)], 5, None, Spool()).segment(0.0, 1.0)
