"""Clips: one pass over a clip gives its frames and its sound.

PyAV decodes: moviepy 2.2 raises IndexError on the chapter track of real MELD clips.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np

from erc_features.errors import MediaError
from erc_features.media.mix import RATE, Mixer

# An utterance lasts seconds; MELD's longest clip, a whole scene by mistake, 305 s.
LONGEST = 30 * 60.0
# A clip that ends before this share of its declared length was cut off.
_WHOLE = 0.8
# Other rates show a damaged or hostile header: resampling 33 MHz takes minutes, 1 Hz all memory.
RATES = (2_000, 400_000)
PIXELS = 50e6  # 8K has 33 million
# What FFmpeg may read of a stranger's file: formats that hold their media, and name no other file.
# By its first bytes it would also take a playlist (HLS, DASH, concat), and open what that names.
_SELF_CONTAINED = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "flv", "wav", "mp3", "ogg",
                   "flac", "aac")  # fmt: skip
_options: dict[str, str] = {}  # of every file that this process opens


@dataclass(frozen=True)
class Clip:
    """What one pass over a clip gave.

    Attributes:
        frames: pictures (H, W, 3) uint8 RGB, evenly spaced; empty where there is none.
        audio: samples (n,) float32 in [-1, 1], mono at `RATE`; empty where there is none.
        no_picture, no_sound: why `frames` or `audio` is empty; "" where it is not.
        clipped: the share of samples at full scale in the source, before channels are mixed
            down, in the channel that has most of them.
        crops: what `crop` made of the frames in their full size; fewer where it made nothing.
    """

    frames: tuple[np.ndarray, ...]
    audio: np.ndarray
    no_picture: str
    no_sound: str
    clipped: float = 0.0
    crops: tuple[np.ndarray, ...] = ()


# Of a frame (H, W, 3) uint8, a part; or None.
Crop = Callable[[np.ndarray], np.ndarray | None]


class _Picker:
    """Keeps only the frames that are on screen at n times, while all frames pass by.

    Frame i is the one on screen at `duration * i / (n - 1)`; a single frame is the middle one.
    """

    def __init__(
        self, n: int, duration: float, height: int | None, crop: Crop | None = None
    ) -> None:
        self._targets = [duration * (i / (n - 1) if n > 1 else 0.5) for i in range(n)]
        self._height, self._crop = height, crop
        self._last: av.VideoFrame | None = None
        self._start = 0.0
        self.end = 0.0
        self.frames: list[np.ndarray] = []
        self.crops: list[np.ndarray] = []

    def see(self, frame: av.VideoFrame, time: float) -> None:
        if self._last is None:
            self._last, self._start = frame, time
        self.end = max(self.end, time - self._start)
        passed = [target for target in self._targets[:-1] if target < time - self._start]
        while len(self.frames) < len(passed):
            self._keep()
        self._last = frame

    def finish(self) -> tuple[np.ndarray, ...]:
        while self._last is not None and len(self.frames) < len(self._targets):
            self._keep()
        return tuple(self.frames)

    def _keep(self) -> None:
        assert self._last is not None
        self.frames.append(to_rgb(self._last, self._height))
        if self._crop and (part := self._crop(to_rgb(self._last, None))) is not None:
            self.crops.append(part)


def read_clip(
    path: Path,
    *,
    frames: int = 5,
    height: int | None = 240,
    sound: bool = True,
    crop: Crop | None = None,
) -> Clip:
    """Decode a clip once.

    A stream that is absent, damaged or cut off gives an empty result with its reason, so that one
    broken stream does not cost the other.

    Args:
        frames: how many pictures, from the first to the last; 0 for none.
        height: the height of the pictures in pixels, in proportion; None keeps their size.
        sound: whether to decode the audio stream.
        crop: called with each of the frames in its full size; None leaves that frame out.

    Raises:
        MediaError: the file cannot be opened at all, or lasts more than 30 minutes.
    """
    with open_clip_file(path) as container:
        video = first_stream(container, "video") if frames else None
        audio = first_stream(container, "audio") if sound else None
        broken = {"video": "", "audio": ""}
        if video is not None and video.width * video.height > PIXELS:
            broken["video"], video = "pictures are too large for an utterance", None
        if audio is not None and not RATES[0] <= audio.codec_context.sample_rate <= RATES[1]:
            rate = audio.codec_context.sample_rate
            broken["audio"], audio = f"sound has {rate:,} samples per second", None
        duration = declared_duration(container, video)
        # Now: the memory that a stream describes itself in is freed with its container.
        sounding = declared(audio) if audio is not None else 0.0
        picker = _Picker(frames, duration, height, crop)
        mixer = Mixer(audio.codec_context.name if audio is not None else "")
        chunks: list[np.ndarray] = []
        count = 0  # of samples
        streams = [stream for stream in (video, audio) if stream is not None]
        for frame in decoded_frames(container, streams, broken):
            if isinstance(frame, av.VideoFrame):
                time = frame.time if frame.time is not None else picker.end
                picker.see(frame, time)
                if time > LONGEST:
                    raise _too_long(path, time)
                continue
            try:
                new = mixer.mix(frame)
            except (av.error.FFmpegError, ValueError) as error:
                broken["audio"] = brief(error)
                continue
            chunks += new
            count += sum(map(len, new))
            if count > LONGEST * RATE:
                raise _too_long(path, count / RATE)
        if chunks:
            chunks += mixer.flush()
        pictures = picker.finish()
        samples = np.concatenate(chunks) if chunks else np.empty(0, np.float32)

    no_picture = no_sound = ""
    if frames and not pictures:
        no_picture = broken["video"] or ("no video stream" if video is None else "no frames")
    elif frames and picker.end < duration * _WHOLE - 0.5:
        no_picture = f"picture cut off: ends at {picker.end:.2f} s of {duration:.2f} s"
    if sound and len(samples) == 0:
        no_sound = broken["audio"] or ("no audio stream" if audio is None else "no samples")
    elif sound and not np.isfinite(samples).all():
        no_sound = "sound holds samples that are not finite numbers"
    elif sound and audio is not None:
        length = len(samples) / RATE
        if length < sounding * _WHOLE - 0.5:
            no_sound = f"sound cut off: ends at {length:.2f} s of {sounding:.2f} s"
    return Clip(
        () if no_picture else pictures,
        np.empty(0, np.float32) if no_sound else np.clip(samples, -1.0, 1.0),
        no_picture,
        no_sound,
        0.0 if no_sound else mixer.clipped,
        () if no_picture else tuple(picker.crops),
    )


def trust_no_file() -> None:
    """From now on, this process opens only formats that hold all their media, and nothing but the
    file itself: for files of strangers. Bits of what can be opened stay the same."""
    _options["format_whitelist"] = ",".join(_SELF_CONTAINED)
    _options["protocol_whitelist"] = "file"
    _options["enable_drefs"] = "0"  # tracks in other files, FFmpeg's own default


def open_clip_file(path: Path) -> av.container.InputContainer:
    if not path.is_file():
        raise MediaError(f"no file {path.name}")
    try:
        # metadata_errors: titles in old code pages do not concern us.
        return av.open(str(path), "r", metadata_errors="ignore", options=dict(_options))
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"{path.name} cannot be opened ({brief(error)})") from error


def first_stream(container: av.container.InputContainer, kind: str) -> Any:
    """The first stream of a kind, "audio" or "video", that FFmpeg can decode; None without one."""
    # A stream whose codec FFmpeg does not know has no codec context.
    known = (s for s in container.streams if s.type == kind and s.codec_context is not None)
    stream = next(known, None)
    if stream is not None:
        stream.codec_context.thread_count = 1  # parallel over clips, not inside one
    return stream


def decoded_frames(
    container: av.container.InputContainer, streams: list[av.stream.Stream], broken: dict[str, str]
) -> Iterator[av.VideoFrame | av.AudioFrame]:
    """Decoded frames of the streams in file order; why a packet fails goes to `broken`."""
    if not streams:
        return
    packets = container.demux(*streams)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except (av.error.FFmpegError, OSError) as error:
            for kind in broken:
                broken[kind] = broken[kind] or brief(error)
            return
        kind = packet.stream.type
        try:
            for frame in packet.decode():
                if isinstance(frame, av.VideoFrame | av.AudioFrame):
                    yield frame
        except (av.error.FFmpegError, ValueError) as error:
            broken[kind] = f"damaged {kind} ({brief(error)})"


def declared_duration(
    container: av.container.InputContainer,
    stream: av.stream.Stream | None,
    longest: float = LONGEST,
) -> float:
    """The length in seconds that the stream declares, else the container's, else 0.

    Raises:
        MediaError: it is more than `longest`.
    """
    seconds = declared(stream) if stream is not None else 0.0
    if not seconds and container.duration:
        seconds = container.duration / av.time_base
    if seconds > longest:
        raise _too_long(Path(container.name), seconds)
    return max(seconds, 0.0)


def declared(stream: av.stream.Stream) -> float:
    """The length in seconds that a stream declares; 0 where it declares none."""
    if stream.duration is None or stream.time_base is None:
        return 0.0
    return float(stream.duration * stream.time_base)


def to_rgb(frame: av.VideoFrame, height: int | None) -> np.ndarray:
    """The frame upright and `height` pixels high: (H, W, 3) uint8."""
    turned = int(frame.rotation) % 360
    sideways = turned in (90, 270)
    high, wide = (frame.width, frame.height) if sideways else (frame.height, frame.width)
    scale = (height or high) / high
    size = (max(1, round(high * scale)), max(1, math.floor(wide * scale)))
    target = size if sideways else size[::-1]
    pixels = frame.reformat(width=target[0], height=target[1], format="rgb24").to_ndarray()
    return np.ascontiguousarray(np.rot90(pixels, turned // 90)) if turned else pixels


def _too_long(path: Path, seconds: float) -> MediaError:
    return MediaError(
        f"{path.name} lasts {seconds / 60:.0f} minutes, but an utterance may last at most "
        f"{LONGEST / 60:.0f}"
    )


def brief(error: Exception) -> str:
    """The first line of an error's message, without its path and number."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text.splitlines()[0][:100]
