"""The sound of a recording: decoded once, then cut into segments.

A segment is exactly the samples of the whole decoded file from `round(start * 16000)` up to, but
not including, `round(end * 16000)` (halves up), so that segments that touch share no sample and
lose none. Time 0 is the first sample.

Why it is decoded whole instead of seeking in the file: one second after a seek, 6 of 100 segments
of an AAC file had other samples than from the beginning (by up to 0.04), none of WAV, FLAC, MP3 and
Opus files; a resampler gives other samples unless it starts in the same phase; and a gap in the
file (:class:`_Clock`) is seen only by who passes it. Only WAVs as `erc prepare` writes them (16
kHz, mono, 16 bits) are read where they are. `benchmarks/bench_segments.py --seek` measures it.
"""

import math
from bisect import bisect_right
from pathlib import Path
from threading import Lock

import av
import av.error
import numpy as np

from erc_features.errors import MediaError
from erc_features.media.clip import (
    LONGEST,
    RATE,
    RATES,
    brief,
    decoded_frames,
    first_stream,
    open_clip_file,
)
from erc_features.media.mix import Mixer
from erc_features.media.sound import duration, open_prepared
from erc_features.media.spool import Spool

# Annotated times are rounded, so a segment may end this much after its recording; it is then cut
# off there. In seconds, as all times here.
SLACK = 0.1
_PIECE = 1 << 20  # samples, 65 s: in memory, and of a piece of the spool


class Sound:
    """The sound of one recording, for any number of threads.

    Args:
        spool: where it is kept once it is decoded; unused for WAVs that need no decoding.
    """

    def __init__(self, path: Path, spool: Spool) -> None:
        self._path, self._spool = path, spool
        self._lock = Lock()
        self._decoded = False
        self._failed = ""
        self._starts: list[int] = []  # of each piece, in samples
        self._pieces: list[tuple[int, int]] = []  # where it is in the spool, and its samples
        self._unsure = math.inf  # the first sample whose time is not sure
        self._why_unsure = ""
        self.clipped = 0.0
        self.length = 0

    def decode(self) -> None:
        """Decode it if it was not decoded yet; other threads that need it wait.

        Raises:
            MediaError: there is no sound; the same for each call.
        """
        with self._lock:
            if not self._decoded:
                try:
                    self._decode()
                except MediaError as error:
                    self._failed = str(error)
                self._decoded = True
        if self._failed:
            raise MediaError(self._failed)

    @property
    def expected_size(self) -> float:
        """Bytes that it will take in the spool, by the length that the file declares."""
        if (prepared := open_prepared(self._path)) is not None:
            prepared.close()
            return 0.0
        return duration(self._path, "audio", longest=math.inf) * RATE * 4

    def prepare(self) -> None:
        """Decode it, unless it is a WAV that need not be decoded."""
        if (prepared := open_prepared(self._path)) is not None:
            prepared.close()
        else:
            self.decode()

    def segment(self, start: float, end: float | None) -> np.ndarray:
        """The samples from `start` to `end`, or to the recording's end: float32 (n,), n >= 1.

        Raises:
            MediaError: there is no sound, the segment is not within it, is empty or too long; or
                the file has a gap before its end, so that its place is not sure.
        """
        first = sample_at(start)
        prepared = open_prepared(self._path)
        if prepared is not None:
            with prepared:
                stop = _stop(self._path, start, end, prepared.getnframes())
                prepared.setpos(first)
                data = prepared.readframes(stop - first)
            if len(data) != 2 * (stop - first):
                raise MediaError(f"{self._path.name} became shorter while it was read")
            return np.frombuffer(data, "<i2").astype(np.float32) / 32768.0
        self.decode()
        stop = _stop(self._path, start, end, self.length)
        if stop > self._unsure:
            raise MediaError(self._why_unsure)
        sound = np.concatenate(self._read(first, stop))
        if not np.isfinite(sound).all():
            raise MediaError("sound holds samples that are not finite numbers")
        return sound

    def _read(self, first: int, stop: int) -> list[np.ndarray]:
        parts = []
        number = bisect_right(self._starts, first) - 1
        while first < stop:
            at, samples = self._pieces[number]
            skipped = first - self._starts[number]
            count = min(stop - first, samples - skipped)
            parts.append(np.frombuffer(self._spool.read(at + 4 * skipped, 4 * count), "<f4"))
            first, number = first + count, number + 1
        return parts

    def _decode(self) -> None:
        with open_clip_file(self._path) as container:
            stream = first_stream(container, "audio")
            if stream is None:
                raise MediaError("no audio stream")
            rate = stream.codec_context.sample_rate
            if not RATES[0] <= rate <= RATES[1]:
                raise MediaError(f"sound has {rate:,} samples per second")
            mixer = Mixer(stream.codec_context.name)
            clock = _Clock((container.start_time or 0) / av.time_base)
            broken = {"audio": ""}
            waiting: list[np.ndarray] = []
            count = 0
            for frame in decoded_frames(container, [stream], broken):
                assert isinstance(frame, av.AudioFrame)
                clock.see(frame)
                new: list[np.ndarray] = []
                try:
                    new = mixer.mix(frame)
                except (av.error.FFmpegError, ValueError) as error:
                    broken["audio"] = brief(error)
                if broken["audio"]:
                    clock.lost(broken["audio"])
                waiting += new
                count += sum(map(len, new))
                if count >= _PIECE:
                    self._keep(waiting)
                    waiting, count = [], 0
            self._keep([*waiting, *mixer.flush()])
        if self.length == 0:
            raise MediaError(broken["audio"] or "no samples")
        self.clipped = mixer.clipped
        if clock.why:
            self._unsure, self._why_unsure = sample_at(clock.unsure), clock.why

    def _keep(self, parts: list[np.ndarray]) -> None:
        samples = np.concatenate(parts) if parts else np.empty(0, np.float32)
        if len(samples):
            # As `read_clip` limits them; NaN stays, and is found where it is.
            samples = np.ascontiguousarray(np.clip(samples, -1.0, 1.0), "<f4")
            self._starts.append(self.length)
            self._pieces.append((self._spool.add(samples.data), len(samples)))
            self.length += len(samples)


class _Clock:
    """Compares a stream's timestamps with the samples that were decoded.

    Where packets are damaged, lost or joined from other files, samples are missing, and every later
    segment would be shifted: cut out of another utterance.

    Args:
        begin: the time at which the file begins, in seconds.
    """

    def __init__(self, begin: float) -> None:
        self._begin = begin
        self._elapsed = 0.0
        self.unsure = math.inf
        self.why = ""

    def see(self, frame: av.AudioFrame) -> None:
        if frame.time is not None:
            gap = frame.time - self._begin - self._elapsed
            if abs(gap) > SLACK:
                kind = "skips" if gap > 0 else "goes back"
                self._note(
                    f"its sound {kind} {abs(gap):.2f} s at {self._elapsed:.2f} s" if self._elapsed
                    else f"its sound begins {gap:.2f} s after the file does"
                )  # fmt: skip
        self._elapsed += frame.samples / frame.sample_rate

    def lost(self, why: str) -> None:
        self._note(f"its sound is damaged at {self._elapsed:.2f} s: {why}")

    def _note(self, what: str) -> None:
        if not self.why:
            self.unsure = self._elapsed
            self.why = (
                f"{what}, so times after that may be those of other words; `ffmpeg -i IN -af "
                "aresample=async=1:first_pts=0 OUT.wav` fills gaps with silence"
            )


def sample_at(seconds: float) -> int:
    """The number of the sample at a time, halves up.

    >>> sample_at(0.5), sample_at(1257.256)
    (8000, 20116096)
    """
    return math.floor(seconds * RATE + 0.5)


def _stop(path: Path, start: float, end: float | None, length: int) -> int:
    """Where a segment of a recording of `length` samples stops."""
    if start < 0:
        raise MediaError(f"starts at {start:.2f} s")
    lasts = f"{path.name} lasts {length / RATE:.2f} s"
    if sample_at(start) >= length:
        raise MediaError(f"starts at {start:.2f} s, but {lasts}")
    if end is not None and end > length / RATE + SLACK:
        raise MediaError(f"ends at {end:.2f} s, but {lasts}")
    stop = length if end is None else min(sample_at(end), length)
    if stop <= sample_at(start):
        raise MediaError("shorter than one sample")
    if stop - sample_at(start) > LONGEST * RATE:
        minutes = (stop - sample_at(start)) / RATE / 60
        raise MediaError(
            f"lasts {minutes:.0f} minutes, but an utterance may last at most {LONGEST / 60:.0f}"
        )
    return stop
