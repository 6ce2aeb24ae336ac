"""Real encoded clips of any shape, made with PyAV."""

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
) -> Path:
    """An H.264 and AAC clip. Frame i is grey of level `20 + 200 i / (n - 1)`."""
    times = frame_times or [i / fps for i in range(max(1, round(seconds * fps)))]
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"movflags": "faststart"} if index_first else {}
    with av.open(str(path), "w", options=options) as out:
        if picture:
            video = out.add_stream("libx264", rate=fps, options={"preset": "ultrafast"})
            video.width, video.height, video.pix_fmt = *size, "yuv420p"
            video.codec_context.time_base = Fraction(1, 1000)
        if sound:
            audio = out.add_stream("aac", rate=rate, layout=layout)
        if picture:
            for number, time in enumerate(times):
                level = 20 + round(200 * number / max(1, len(times) - 1))
                frame = av.VideoFrame.from_ndarray(
                    np.full((size[1], size[0], 3), level, np.uint8), format="rgb24"
                )
                frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
                out.mux(video.encode(frame))
            out.mux(video.encode(None))
        if sound:
            samples = tone(seconds, rate, channels=audio.layout.nb_channels)
            for first in range(0, samples.shape[1], 1024):
                part = np.ascontiguousarray(samples[:, first : first + 1024])
                frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=layout)
                frame.sample_rate, frame.pts = rate, first
                out.mux(audio.encode(frame))
            out.mux(audio.encode(None))
    return path
