"""Long recordings in real files of every kind, and corpora that cut utterances out of them."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from corpora import write_rows

# ending -> codec, sample format, rate and layout
SOUNDS = {
    "wav": ("pcm_s16le", "s16", 44_100, "stereo"),
    "flac": ("flac", "s16", 48_000, "stereo"),
    "mp3": ("libmp3lame", "fltp", 44_100, "stereo"),
    "ogg": ("libopus", "flt", 48_000, "stereo"),
    "mp4": ("aac", "fltp", 44_100, "mono"),
}


def babble(seconds: float, rate: int, channels: int) -> np.ndarray:
    """Noise whose pitch and level wander, so that no moment is like another: (channels, n)."""
    random = np.random.default_rng(7)
    time = np.arange(int(seconds * rate)) / rate
    sweep = np.sin(2 * np.pi * (150 + 20 * time) * time) * (0.3 + 0.2 * np.sin(time))
    noise = random.normal(0, 0.03, (channels, len(time)))
    return (sweep + noise).astype(np.float32)


def record(path: Path, seconds: float = 12.0, *, fps: int = 0, skip: float = 0.0,
           seen: float = 0.0) -> Path:  # fmt: skip
    """A recording of the kind that its ending says. With `fps` it has pictures too, for the first
    `seen` seconds or all: frame i is grey of level i % 240. With `skip`, its second half comes so
    many seconds later."""
    codec, form, rate, layout = SOUNDS[path.suffix[1:]]
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as out:
        video = (
            out.add_stream("libx264", rate=fps, options={"preset": "ultrafast"}) if fps else None
        )
        audio = out.add_stream(codec, rate=rate, layout=layout)
        if video is not None:
            video.width, video.height, video.pix_fmt, video.gop_size = 64, 48, "yuv420p", 25
            for number in range(int((seen or seconds) * fps)):
                frame = av.VideoFrame.from_ndarray(
                    np.full((48, 64, 3), number % 240, np.uint8), format="rgb24"
                )
                frame.pts, frame.time_base = number, Fraction(1, fps)
                out.mux(video.encode(frame))
            out.mux(video.encode(None))
        sound = babble(seconds, rate, audio.layout.nb_channels)
        step = 960 if codec == "libopus" else 1152
        for first in range(0, sound.shape[1], step):
            part = np.ascontiguousarray(sound[:, first : first + step])
            if form in ("s16", "flt"):  # packed
                part = part.T.reshape(1, -1)
                part = (part * 32767).astype(np.int16) if form == "s16" else part
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), form, layout)
            late = int(skip * rate) if first > sound.shape[1] / 2 else 0
            frame.sample_rate, frame.pts = rate, first + late
            frame.time_base = Fraction(1, rate)
            out.mux(audio.encode(frame))
        out.mux(audio.encode(None))
    return path


def cut_corpus(root: Path, cells: list[tuple[str, str, str]], medium: str = "x_audio") -> Path:
    """A corpus of one row for each (file, start, end)."""
    rows = [
        {"dialogue": 0, "sequence": i, "speaker": "A", "x_text": f"text {i}",
         "label": "joy" if i % 2 else "fear", medium: file, "start": start, "end": end}
        for i, (file, start, end) in enumerate(cells)
    ]  # fmt: skip
    write_rows(root / "train.csv", rows, ("start", "end"))
    return root
