"""Real encoded clips of any shape, made with PyAV."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def tone(seconds: float, rate: int, hertz: float = 440.0, channels: int = 1) -> np.ndarray:
    """(channels, n) float32."""
    time = np.arange(int(seconds * rate)) / rate
    return np.tile(0.5 * np.sin(2 * np.pi * hertz * time), (channels, 1)).astype(np.float32)


def encode_clip(
    path: Path,
    *,
    seconds: float = 1.0,
    size: tuple[int, int] = (160, 120),
    fps: int = 10,
    rate: int = 44_100,
    layout: str = "stereo",
    picture: bool = True,
    sound: bool = True,
    frame_times: list[float] | None = None,
    index_first: bool = False,
    top: int | None = None,
    pictures: list[np.ndarray] | None = None,
) -> Path:
    """An H.264 and AAC clip. Frame i is grey of level `20 + 200 i / (n - 1)`.

    With `top`, the upper half of every frame has that level. `pictures` are the frames instead,
    (H, W, 3) uint8 each, H and W even.
    """
    if pictures:
        size, seconds = (pictures[0].shape[1], pictures[0].shape[0]), len(pictures) / fps
    times = frame_times or [i / fps for i in range(max(1, round(seconds * fps)))]
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"movflags": "faststart"} if index_first else {}
    with av.open(str(path), "w", options=options) as out:
        if picture:
            video = out.add_stream("libx264", rate=fps, options={"preset": "ultrafast"})
            video.width, video.height, video.pix_fmt = *size, "yuv420p"
            video.codec_context.time_base = Fraction(1, 1000)
        if sound:
            # PCM, packed, where AAC would need more planes than PyAV 18 fills (7.1).
            codec, form = ("pcm_s16le", "s16") if layout == "7.1" else ("aac", "fltp")
            audio = out.add_stream(codec, rate=rate, layout=layout)
        if picture:
            for number, time in enumerate(times):
                level = 20 + round(200 * number / max(1, len(times) - 1))
                pixels = np.full((size[1], size[0], 3), level, np.uint8)
                if top is not None:
                    pixels[: size[1] // 2] = top
                if pictures:
                    pixels = pictures[number]
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
                out.mux(video.encode(frame))
            out.mux(video.encode(None))
        if sound:
            samples = tone(seconds, rate, channels=audio.layout.nb_channels)
            for first in range(0, samples.shape[1], 1024):
                part = np.ascontiguousarray(samples[:, first : first + 1024])
                if form == "s16":
                    part = np.ascontiguousarray((part.T * 32767).astype(np.int16).reshape(1, -1))
                frame = av.AudioFrame.from_ndarray(part, format=form, layout=layout)
                frame.sample_rate, frame.pts = rate, first
                out.mux(audio.encode(frame))
            out.mux(audio.encode(None))
    return path


def rotate(path: Path, degrees: int) -> Path:
    """Write a display rotation into every track header (tkhd) of an mp4, as phones do."""
    one = 0x10000
    matrix = {
        90: (0, one, 0, -one, 0, 0, 0, 0, 0x40000000),
        180: (-one, 0, 0, 0, -one, 0, 0, 0, 0x40000000),
        270: (0, -one, 0, one, 0, 0, 0, 0, 0x40000000),
    }[degrees]
    data = bytearray(path.read_bytes())
    at = data.find(b"tkhd")
    while at >= 0:
        struct.pack_into(">9i", data, at + 4 + 40, *matrix)  # behind version 0's fixed fields
        at = data.find(b"tkhd", at + 4)
    path.write_bytes(data)
    return path
