"""The pictures of a recording: one pass over the video keeps the frames of all its segments.

Of a segment, frame i of n is the one on screen at `start + (end - start) * i / (n - 1)`, and the
last one the last before `end`, as in a clip that was cut out; a single frame is the middle one.
Time 0 is the first frame. Frames are kept on disk as PNGs, which give back the same pixels.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

import av
import numpy as np
from PIL import Image

from erc_features.errors import MediaError
from erc_features.media.clip import (
    LONGEST,
    PIXELS,
    declared_duration,
    decoded_frames,
    first_stream,
    open_clip_file,
    to_rgb,
)
from erc_features.media.recording import SLACK
from erc_features.media.spool import Spool

# A frame stays on screen, so a segment may end this much after the last one ends, in seconds.
PICTURE_SLACK = 0.5
_SAME = 1e-6  # seconds; timestamps are fractions, and times are not

Span = tuple[float, float | None]  # start and end in seconds; None is the recording's end


class Pictures:
    """The frames of one recording's segments, for any number of threads.

    Args:
        spans: the segments; all of them are taken in one pass.
        frames: n, of each segment.
        height: of the frames in pixels.
        spool: where they are kept.
    """

    def __init__(
        self, path: Path, spans: Sequence[Span], frames: int, height: int | None, spool: Spool
    ) -> None:
        self._path, self._spool, self._height, self._count = path, spool, height, frames
        self._lock = Lock()
        self._spans = list(dict.fromkeys(spans))
        self._kept: dict[Span, list[tuple[int, int]]] = {}
        self._failed: dict[Span, str] | str = ""
        self._decoded = False

    def decode(self) -> None:
        """Take the frames of all segments, if that was not done yet; other threads wait."""
        with self._lock:
            if not self._decoded:
                try:
                    self._failed = self._decode()
                except MediaError as error:
                    self._failed = str(error)
                self._decoded = True

    def segment(self, start: float, end: float | None) -> tuple[np.ndarray, ...]:
        """The n frames of a segment, one of `spans`: (H, W, 3) uint8 RGB each.

        Raises:
            MediaError: there are no pictures, or the segment is not within them.
        """
        self.decode()
        if isinstance(self._failed, str):
            raise MediaError(self._failed)
        if (start, end) in self._failed:
            raise MediaError(self._failed[start, end])
        found = []
        for at, size in self._kept[start, end]:
            with Image.open(io.BytesIO(self._spool.read(at, size))) as picture:
                found.append(np.asarray(picture))
        return tuple(found)

    def _decode(self) -> dict[Span, str]:
        """Fill `_kept`; returns why other segments have no frames."""
        with open_clip_file(self._path) as container:
            stream = first_stream(container, "video")
            if stream is None:
                raise MediaError("no video stream")
            if stream.width * stream.height > PIXELS:
                raise MediaError("pictures are too large for an utterance")
            length = declared_duration(container, stream, float("inf"))
            begin = (container.start_time or 0) / av.time_base
            targets, failed = self._targets(length)
            broken = {"video": ""}
            joined = False  # to other pictures, whose times begin again
            last: av.VideoFrame | None = None
            zero = time = stop = 0.0
            place: tuple[int, int] | None = None  # of `last` in the spool, once it is kept
            done = 0
            for frame in decoded_frames(container, [stream], broken):
                assert isinstance(frame, av.VideoFrame)
                if frame.time is not None and last is None:
                    zero = frame.time
                    if zero - begin > SLACK:
                        raise MediaError(
                            f"its pictures begin {zero - begin:.2f} s after the file does, so "
                            "times may be those of other pictures"
                        )
                now = frame.time - zero if frame.time is not None else time
                if now < time - PICTURE_SLACK:
                    broken["video"] = f"they go back {time - now:.2f} s there"
                    joined = True
                    break
                while last is not None and done < len(targets) and targets[done][0] < now - _SAME:
                    place = place or self._keep(last)
                    self._kept.setdefault(targets[done][1], []).append(place)
                    done += 1
                if done == len(targets):
                    break
                last, place, time = frame, None, max(time, now)
                stop = time + _on_screen(frame, stream)
            if last is None and targets:
                raise MediaError(broken["video"] or "no frames")
            for target, span in targets[done:]:
                if last is not None and target <= stop + PICTURE_SLACK and not joined:
                    place = place or self._keep(last)
                    self._kept.setdefault(span, []).append(place)
        why = f" ({broken['video']})" if broken["video"] else ""
        name = self._path.name
        for start, end in self._spans:
            if (start, end) in failed or len(self._kept.get((start, end), ())) == self._count:
                continue
            where = "starts" if end is None or start >= stop else "ends"
            at = start if where == "starts" or end is None else end
            failed[start, end] = (
                f"{where} at {at:.2f} s, but the pictures of {name} last {stop:.2f} s{why}"
            )
        return failed

    def _targets(self, length: float) -> tuple[list[tuple[float, Span]], dict[Span, str]]:
        """The times whose frames are wanted, in order, each with its segment."""
        targets, failed = [], {}
        for start, end in self._spans:
            if end is None and length <= start:
                says = f"lasts {length:.2f} s" if length else "does not say how long it is"
                failed[start, end] = f"starts at {start:.2f} s, but {self._path.name} {says}"
                continue
            stop = length if end is None else end
            if not 0 <= start < stop:
                failed[start, end] = f"starts at {start:.2f} s and ends at {stop:.2f} s"
                continue
            if stop - start > LONGEST:
                failed[start, end] = (
                    f"lasts {(stop - start) / 60:.0f} minutes, but an utterance may last at most "
                    f"{LONGEST / 60:.0f}"
                )
                continue
            n = self._count
            times = [start + (stop - start) * (i / (n - 1) if n > 1 else 0.5) for i in range(n)]
            if n > 1:  # the frame that begins at the end belongs to what follows
                times[-1] = max(times[-1] - 2 * _SAME, start)
            targets += [(time, (start, end)) for time in times]
        return sorted(targets, key=lambda target: target[0]), failed

    def _keep(self, frame: av.VideoFrame) -> tuple[int, int]:
        file = io.BytesIO()
        # Level 1, as in `write_mosaic`.
        Image.fromarray(to_rgb(frame, self._height)).save(file, "PNG", compress_level=1)
        data = file.getbuffer()
        return self._spool.add(data), len(data)


def _on_screen(frame: av.VideoFrame, stream: av.VideoStream) -> float:
    """For how many seconds a frame is shown; 0 where the file does not say it."""
    if frame.duration and frame.time_base:
        return float(frame.duration * frame.time_base)
    return float(1 / stream.average_rate) if stream.average_rate else 0.0
