import re
import subprocess
import wave
from contextlib import contextmanager

import imageio_ffmpeg
import numpy as np
import pytest
from clips import encode_clip, rotate, tone
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from erc_features.errors import MediaError
from erc_features.media import clip as clip_file
from erc_features.media import duration, read_audio, read_clip, read_frames, write_mosaic, write_wav


def levels(frames):
    return [int(frame.mean()) for frame in frames]


def test_one_pass_gives_spaced_frames_and_16_khz_mono(tmp_path):
    path = encode_clip(tmp_path / "a.mp4", seconds=1.1, fps=10)
    clip = read_clip(path, frames=5, height=60)
    assert [frame.shape for frame in clip.frames] == [(60, 80, 3)] * 5
    # 11 frames of level 20 to 220: the frame shown at 0, 1/4, 2/4, 3/4 of the length, the last
    assert np.allclose(levels(clip.frames), [20, 60, 120, 180, 220], atol=4)
    assert abs(len(clip.audio) / 16_000 - 1.1) < 0.1
    spectrum = np.abs(np.fft.rfft(clip.audio))
    assert abs(spectrum.argmax() * 16_000 / len(clip.audio) - 440) < 3


def test_variable_frame_rate_is_picked_by_time(tmp_path):
    times = [0.0, 0.1, 0.2, 0.3, 0.4, 2.0]
    path = encode_clip(tmp_path / "a.mp4", frame_times=times, seconds=2.0, sound=False)
    clip = read_clip(path, frames=3)
    # half way through, the frame of 0.4 s is still on screen
    assert np.allclose(levels(clip.frames), [20, 180, 220], atol=4)


@pytest.mark.parametrize(("rate", "layout"), [(8_000, "mono"), (96_000, "stereo"), (48_000, "5.1")])
def test_any_rate_and_layout(tmp_path, rate, layout):
    path = encode_clip(tmp_path / "a.mp4", rate=rate, layout=layout, picture=False)
    audio = read_audio(path)
    assert audio.dtype == np.float32
    assert abs(len(audio) / 16_000 - 1.0) < 0.15


def test_the_real_clip_with_its_chapters_and_data_stream(real_clips, tmp_path):
    clip = read_clip(real_clips / "dia1_utt0.mp4")
    assert [frame.shape for frame in clip.frames] == [(240, 426, 3)] * 5
    assert abs(len(clip.audio) / 16_000 - 2.46) < 0.05
    assert np.abs(clip.audio).max() > 0.1
    assert len({frame.tobytes() for frame in clip.frames}) == 5
    silent = read_clip(real_clips / "noise_no_audio.mp4")
    assert (len(silent.frames), silent.no_sound) == (5, "no audio stream")


def test_the_files_that_hlm12erc_wrote(real_clips):
    folder = real_clips.parent / "hlm12erc"
    frames = read_frames(folder / "d-1038-seq-17.png", stacked=5)
    assert [frame.shape for frame in frames] == [(240, 426, 3)] * 5
    assert abs(len(read_audio(folder / "d-1038-seq-17.wav")) / 16_000 - 3.69) < 0.01


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotated_clips_stand_upright_as_ffmpeg_shows_them(tmp_path, degrees):
    path = rotate(encode_clip(tmp_path / "a.mp4", size=(160, 80), top=250, sound=False), degrees)
    frame = read_clip(path, frames=1, height=None).frames[0]
    picture = tmp_path / "ffmpeg.png"
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-v",
        "error",
        "-i",
        path,
        "-frames:v",
        "1",
        picture,
    ]
    subprocess.run(command, check=True)
    shown = np.asarray(Image.open(picture).convert("RGB"))
    assert frame.shape == shown.shape == ((160, 80, 3) if degrees != 180 else (80, 160, 3))
    bright, expected = frame.mean(2) > 235, shown.mean(2) > 235
    assert (bright == expected).mean() > 0.97


def test_mosaic_says_how_many_frames_it_holds(tmp_path):
    frames = tuple(np.full((16, 20, 3), 40 * i, np.uint8) for i in range(3))
    write_mosaic(tmp_path / "m.png", frames)
    read = read_frames(tmp_path / "m.png", stacked=1)
    assert len(read) == 3
    assert all(np.array_equal(a, b) for a, b in zip(read, frames, strict=True))
    Image.fromarray(np.zeros((17, 20, 3), np.uint8)).save(tmp_path / "plain.png")
    assert len(read_frames(tmp_path / "plain.png")) == 1
    with pytest.raises(MediaError, match="17 rows of pixels are not 5 frames"):
        read_frames(tmp_path / "plain.png", stacked=5)


def test_wav_round_trip(tmp_path):
    samples = tone(0.3, 16_000)[0]
    write_wav(tmp_path / "a.wav", samples)
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16_000, 1, 2)
    assert np.abs(read_audio(tmp_path / "a.wav") - samples).max() < 1e-4
    assert duration(tmp_path / "a.wav") == pytest.approx(0.3)


@given(
    flips=st.lists(st.tuples(st.integers(0, 43), st.integers(0, 255)), max_size=3),
    length=st.integers(0, 700),
)
def test_a_damaged_wav_is_a_media_error_or_sound(tmp_path_factory, flips, length):
    path = tmp_path_factory.mktemp("wav") / "a.wav"
    write_wav(path, tone(0.02, 16_000)[0])
    data = bytearray(path.read_bytes())
    for at, value in flips:
        data[at] = value
    path.write_bytes(data[:length])
    assert duration(path) >= 0
    try:
        audio = read_audio(path)
    except MediaError:
        return
    assert np.isfinite(audio).all()
    assert len(audio) > 0


@pytest.mark.parametrize("content", [b"", b"hello " * 100, b"\0" * 5000])
def test_what_is_no_clip_gets_a_reason(tmp_path, content):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(MediaError, match="a.mp4 cannot be opened"):
        read_clip(path)


def test_a_clip_cut_short_gets_a_reason_and_not_half_its_content(tmp_path):
    whole = encode_clip(tmp_path / "a.mp4", seconds=6.0, size=(320, 240), index_first=True)
    data = whole.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: len(data) // 2])
    clip = read_clip(cut)
    assert (clip.frames, len(clip.audio)) == ((), 0)
    assert re.search("picture cut off: ends at .* of 6.00 s|damaged video", clip.no_picture)
    assert re.search("sound cut off: ends at .* s|damaged audio", clip.no_sound)


def test_streams_fail_one_by_one(tmp_path):
    only_sound = read_clip(encode_clip(tmp_path / "s.mp4", picture=False))
    assert (only_sound.no_picture, only_sound.no_sound) == ("no video stream", "")
    only_picture = read_clip(encode_clip(tmp_path / "p.mp4", sound=False))
    assert (only_picture.no_picture, only_picture.no_sound) == ("", "no audio stream")


def test_sound_that_is_not_a_number(tmp_path):
    import scipy.io.wavfile

    samples = tone(0.2, 16_000)[0]
    samples[100] = np.nan
    scipy.io.wavfile.write(tmp_path / "nan.wav", 16_000, samples)
    with pytest.raises(MediaError, match="not finite"):
        read_audio(tmp_path / "nan.wav")


def test_a_clip_is_asked_for_its_length_while_it_is_open(tmp_path, monkeypatch):
    """A stream that is read after its container was closed says what is in freed memory:
    a sound was once "cut off" before 7e16 seconds."""
    path = encode_clip(tmp_path / "a.mp4", seconds=0.3)
    is_open = []
    opened, declared = clip_file.open_clip_file, clip_file.declared

    @contextmanager
    def watched(path):
        with opened(path) as container:
            is_open.append(True)
            yield container
            is_open.clear()

    def asked(stream):
        assert is_open, "the file is closed"
        return declared(stream)

    monkeypatch.setattr(clip_file, "open_clip_file", watched)
    monkeypatch.setattr(clip_file, "declared", asked)
    assert len(read_clip(path).audio)
