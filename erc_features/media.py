"""The only room that opens audio, video or pictures.

PyAV decodes (moviepy 2.2 raises IndexError on the chapter track of real MELD clips), Pillow
reads and writes pictures. One pass over a clip gives its frames and its sound.
"""

import math
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import av.error
import numpy as np
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from erc_features.errors import MediaError

RATE = 16_000
PICTURES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff"})
# An utterance lasts seconds; MELD's longest clip, a whole scene by mistake, 305 s.
LONGEST = 30 * 60.0
# A clip that ends before this share of the length it declares was cut off.
_WHOLE = 0.8
_FRAMES_FIELD = "frames"


@dataclass(frozen=True)
class Clip:
    """What one pass over a clip gave.

    Attributes:
        frames: pictures (H, W, 3) uint8 RGB, evenly spaced; empty where there is none.
        audio: samples (n,) float32 in [-1, 1], mono at `RATE`; empty where there is none.
        no_picture, no_sound: why `frames` or `audio` is empty; "" where it is not.
    """

    frames: tuple[np.ndarray, ...]
    audio: np.ndarray
    no_picture: str
    no_sound: str


class _Picker:
    """Keeps the frames shown at n given times while frames pass by, and no others.

    Frame i is the one on screen at `duration * i / (n - 1)`; one frame is the middle one.
    """

    def __init__(self, n: int, duration: float, height: int | None) -> None:
        self._targets = [duration * (i / (n - 1) if n > 1 else 0.5) for i in range(n)]
        self._height = height
        self._last: av.VideoFrame | None = None
        self._start = 0.0
        self.end = 0.0
        self.frames: list[np.ndarray] = []

    def see(self, frame: av.VideoFrame, time: float) -> None:
        if self._last is None:
            self._last, self._start = frame, time
        self.end = max(self.end, time - self._start)
        while len(self.frames) < len(self._targets) - 1 and self._next < time - self._start:
            self._keep()
        self._last = frame

    @property
    def _next(self) -> float:
        return self._targets[len(self.frames)]

    def finish(self) -> tuple[np.ndarray, ...]:
        while self._last is not None and len(self.frames) < len(self._targets):
            self._keep()
        return tuple(self.frames)

    def _keep(self) -> None:
        assert self._last is not None
        self.frames.append(_to_rgb(self._last, self._height))


def read_clip(path: Path, *, frames: int = 5, height: int | None = 240, sound: bool = True) -> Clip:
    """Decode a clip once.

    Args:
        frames: how many pictures, from the first to the last; 0 for none.
        height: of the pictures, in pixels, keeping their proportions; None leaves them.
        sound: whether to decode the audio stream.

    A stream that is absent, damaged or cut off is an empty result with its reason; so one
    broken stream does not cost the other.

    Raises:
        MediaError: the file can't be opened at all, or lasts more than 30 minutes.
    """
    with _open(path) as container:
        video = _first(container, "video") if frames else None
        audio = _first(container, "audio") if sound else None
        duration = _duration(container, video)
        picker = _Picker(frames, duration, height)
        resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
        chunks: list[np.ndarray] = []
        heard = 0
        broken = {"video": "", "audio": ""}
        streams = [stream for stream in (video, audio) if stream is not None]
        for frame in _frames(container, streams, broken):
            if isinstance(frame, av.VideoFrame):
                time = frame.time if frame.time is not None else picker.end
                picker.see(frame, time)
                if time > LONGEST:
                    raise _too_long(path, time)
                continue
            try:
                new = [part.to_ndarray()[0] for part in resampler.resample(frame)]
            except (av.error.FFmpegError, ValueError) as error:
                broken["audio"] = _brief(error)
                continue
            chunks += new
            heard += sum(map(len, new))
            if heard > LONGEST * RATE:
                raise _too_long(path, heard / RATE)
        if chunks:
            chunks += [part.to_ndarray()[0] for part in resampler.resample(None)]
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
        length, declared = len(samples) / RATE, _declared(audio)
        if length < declared * _WHOLE - 0.5:
            no_sound = f"sound cut off: ends at {length:.2f} s of {declared:.2f} s"
    return Clip(
        () if no_picture else pictures,
        np.empty(0, np.float32) if no_sound else np.clip(samples, -1.0, 1.0),
        no_picture,
        no_sound,
    )


def read_audio(path: Path) -> np.ndarray:
    """Sound of any file that PyAV opens, mono at 16 kHz: float32 (n,), n >= 1.

    Raises:
        MediaError: with the reason, where there is none.
    """
    prepared = _open_prepared(path)
    if prepared is not None:
        with prepared:
            data = prepared.readframes(prepared.getnframes())
        if len(data) == 2 * prepared.getnframes() > 0:
            return np.frombuffer(data, "<i2").astype(np.float32) / 32768.0
    clip = read_clip(path, frames=0)
    if clip.no_sound:
        raise MediaError(clip.no_sound)
    return clip.audio


def read_frames(path: Path, *, stacked: int = 1, wanted: int = 5) -> tuple[np.ndarray, ...]:
    """The pictures of a mosaic, a picture or a clip: (H, W, 3) uint8 RGB each.

    Args:
        stacked: how many frames a picture holds, one above the other, where its own PNG text
            field `frames` doesn't say.
        wanted: how many frames to take of a clip.

    Raises:
        MediaError: with the reason, where there is none.
    """
    if path.suffix.lower() not in PICTURES:
        clip = read_clip(path, frames=wanted, sound=False)
        if clip.no_picture:
            raise MediaError(clip.no_picture)
        return clip.frames
    try:
        with Image.open(path) as picture:
            field = str(getattr(picture, "text", {}).get(_FRAMES_FIELD, stacked))
            count = int(field) if field.isdigit() else 0
            pixels = np.asarray(picture.convert("RGB"))
    except FileNotFoundError as error:
        raise MediaError(f"no file {path.name}") from error
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError) as error:
        raise MediaError(f"not a picture that can be read ({_brief(error)})") from error
    except Image.DecompressionBombError as error:
        raise MediaError("a picture too large to be one of an utterance") from error
    if count < 1 or pixels.shape[0] % count:
        raise MediaError(f"{pixels.shape[0]} rows of pixels are not {field} frames of one height")
    return tuple(np.split(pixels, count))


def write_mosaic(path: Path, frames: tuple[np.ndarray, ...]) -> None:
    """Stack the frames, (H, W, 3) uint8 each, into one PNG that says how many they are."""
    note = PngImagePlugin.PngInfo()
    note.add_text(_FRAMES_FIELD, str(len(frames)))
    # Level 1: 33 ms against 137 for 8% of size (a 426x1200 mosaic of a real clip).
    Image.fromarray(np.vstack(frames)).save(path, "PNG", compress_level=1, pnginfo=note)


def write_wav(path: Path, samples: np.ndarray) -> None:
    """Write samples (n,) in [-1, 1] as 16 kHz mono 16-bit PCM."""
    pcm = np.round(samples * 32767.0).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(pcm.tobytes())


def duration(path: Path) -> float:
    """Length in seconds as the file declares it, without decoding; 0 where it can't tell."""
    prepared = _open_prepared(path)
    if prepared is not None:
        with prepared:
            return prepared.getnframes() / RATE
    try:
        with _open(path) as container:
            return _duration(container, None)
    except MediaError:
        return 0.0


def _open_prepared(path: Path) -> wave.Wave_read | None:
    """A WAV as :func:`write_wav` leaves it, which needs no decoder: 0.1 ms instead of 10.

    None for anything else, and where less is there than its header says.
    """
    try:
        file = wave.open(str(path), "rb")  # noqa: SIM115 - the caller closes it
    except (OSError, EOFError, RuntimeError, ValueError, wave.Error):
        return None  # wave raises all of these on damaged headers
    size = 44 + file.getnframes() * 2
    if file.getparams()[:3] == (1, 2, RATE) and path.stat().st_size >= size:
        return file
    file.close()
    return None


def _open(path: Path) -> av.container.InputContainer:
    if not path.is_file():
        raise MediaError(f"no file {path.name}")
    try:
        # metadata_errors: titles in old code pages are none of our business.
        return av.open(str(path), "r", metadata_errors="ignore")
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"{path.name} cannot be opened ({_brief(error)})") from error


def _first(container: av.container.InputContainer, kind: str) -> av.stream.Stream | None:
    # A stream of a codec that ffmpeg doesn't know has no codec context.
    known = (s for s in container.streams if s.type == kind and s.codec_context is not None)
    stream = next(known, None)
    if stream is not None:
        stream.codec_context.thread_count = 1  # parallel over clips, not inside one
    return stream


def _frames(
    container: av.container.InputContainer, streams: list[av.stream.Stream], broken: dict[str, str]
) -> Iterator[av.VideoFrame | av.AudioFrame]:
    """Decoded frames of the streams as they come; a packet that can't be decoded is noted."""
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
                broken[kind] = broken[kind] or _brief(error)
            return
        kind = packet.stream.type
        try:
            for frame in packet.decode():
                if isinstance(frame, av.VideoFrame | av.AudioFrame):
                    yield frame
        except (av.error.FFmpegError, ValueError) as error:
            broken[kind] = f"damaged {kind} ({_brief(error)})"


def _duration(container: av.container.InputContainer, video: av.stream.Stream | None) -> float:
    """Seconds: the video stream's own length, else the container's, else 0."""
    seconds = _declared(video) if video is not None else 0.0
    if not seconds and container.duration:
        seconds = container.duration / av.time_base
    if seconds > LONGEST:
        raise _too_long(Path(container.name), seconds)
    return max(seconds, 0.0)


def _declared(stream: av.stream.Stream) -> float:
    if stream.duration is None or stream.time_base is None:
        return 0.0
    return float(stream.duration * stream.time_base)


def _to_rgb(frame: av.VideoFrame, height: int | None) -> np.ndarray:
    """The frame upright, at a height of `height` pixels: (H, W, 3) uint8."""
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
        f"{path.name} lasts {seconds / 60:.0f} minutes; an utterance at most {LONGEST / 60:.0f}"
    )


def _brief(error: Exception) -> str:
    """The message of an error without its path and number."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text.splitlines()[0][:100]


def write_jpeg(path: Path, pixels: np.ndarray) -> None:
    """Write pixels, (H, W, 3) uint8, as a JPEG small enough to stand inside a page."""
    Image.fromarray(pixels).save(path, "JPEG", quality=80)
