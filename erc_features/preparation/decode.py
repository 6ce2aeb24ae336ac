"""Decodes clips in processes, so that one that crashes or hangs its decoder costs only itself.

The segments of a recording are one piece of work: it is decoded once for all of them.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from erc_features.corpora.downmix import DOWNMIX
from erc_features.corpora.raw import RawSound, Span
from erc_features.errors import ErcError, MediaError

if TYPE_CHECKING:  # PyAV: not before a clip is decoded
    from erc_features.media import Clip, FaceCrop

TIME_LIMIT = 120.0  # seconds; MELD's longest clip, 305 s, takes about 20
_HOUR_LIMIT = 3600.0  # more for each hour of a recording
SOUND_ALONE = "the corpus has sound alone"


@dataclass(frozen=True)
class Decode:
    """How clips are decoded: to `frames` pictures of `height` pixels, and to sound at `rate` Hz,
    mixed down to one channel by the rule `downmix`. With `faces`, the largest face of each frame
    is cut out as well."""

    frames: int = 5
    height: int = 240
    rate: int = 16_000
    downmix: str = DOWNMIX
    faces: "FaceCrop | None" = None

    def as_dict(self) -> dict[str, Any]:
        """The settings, as `corpus.json` says them; `faces` only where they are cut out."""
        found = asdict(self)
        if self.faces is None:
            del found["faces"]
        return found


@dataclass(frozen=True)
class Outcome:
    """What one clip gave: for each missing medium the reason, else ""; the share of samples at
    full scale in its sound; and, where faces were looked for, in how many of how many frames there
    was one."""

    key: str
    no_picture: str = ""
    no_sound: str = ""
    clipped: float = 0.0
    faces: int = 0
    frames: int = 0


@dataclass(frozen=True)
class Task:
    """A clip to decode, and where its picture and sound go, and its faces if they are wanted;
    `parent` is the process that asks. With `audio`, the sound comes from there, and the clip, if
    there is one, gives the picture alone."""

    key: str
    clip: Path | None
    picture: Path
    sound: Path
    decode: Decode
    parent: int
    face: Path | None = None
    segment: Span | None = None
    audio: RawSound | None = None


def no_face(outcome: Outcome) -> str:
    """Why an utterance has no face, where one was looked for and none was found."""
    return outcome.no_picture or f"no face in any of {outcome.frames} frames"


def decode_clips(tasks: list[Task], jobs: int) -> Iterator[Outcome]:
    """Decode clips in `jobs` processes; outcomes come in the order in which clips are finished."""
    if not tasks:
        return
    from pebble import ProcessPool

    waiting: dict[Future, list[Task]] = {}
    groups: dict[object, list[Task]] = {}
    for task in tasks:
        groups.setdefault(_recording(task) or task.key, []).append(task)
    queue = iter(groups.values())
    jobs = min(jobs, len(groups))
    # Only a few are scheduled ahead, so that memory stays flat however many clips there are.
    with ProcessPool(max_workers=jobs, context=get_context("spawn")) as pool:
        try:
            while True:
                for group in queue:
                    work, limit = _work(group)
                    waiting[pool.schedule(work, args=[group], timeout=limit)] = group
                    if len(waiting) >= 4 * jobs:
                        break
                if not waiting:
                    return
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    yield from _outcomes(waiting.pop(future), future)
        finally:
            if waiting:
                pool.stop()


def _recording(task: Task) -> Path | None:
    """The recording that a task is cut from; None where it is all of its files."""
    if task.segment is not None:
        return task.clip
    return task.audio.path if task.audio is not None and task.audio.segment is not None else None


def _work(group: list[Task]) -> tuple[Callable[[list[Task]], list[Outcome]], float]:
    """What decodes a group of tasks, and the seconds that it may take."""
    if _recording(group[0]) is None:
        return decode_whole, TIME_LIMIT
    from erc_features.media import duration

    files = {task.clip for task in group} | {task.audio.path for task in group if task.audio}
    hours = sum(duration(path, longest=float("inf")) for path in files if path is not None) / 3600
    return decode_recording, TIME_LIMIT + _HOUR_LIMIT * hours


def _outcomes(group: list[Task], future: Future) -> list[Outcome]:
    from pebble import ProcessExpired

    error = future.exception()
    if error is None:
        return future.result()
    # Both of pebble's errors are kinds of OSError; any other is the disk's fault, not the clip's,
    # and so is an ErcError: it says where there is no space.
    expired = isinstance(error, TimeoutError | ProcessExpired)
    if isinstance(error, OSError | ErcError) and not expired:
        raise error
    why = why_not(error, _work(group)[1])
    return [Outcome(task.key, why, why) for task in group]


def why_not(error: BaseException, limit: float) -> str:
    """The reason that a row gets for what a decoding process ended with."""
    from pebble import ProcessExpired

    if isinstance(error, TimeoutError):
        return f"decoding took more than {limit:.0f} s"
    if isinstance(error, ProcessExpired):
        return "the decoder crashed"
    return f"{type(error).__name__}: {error}"


def decode_whole(group: list[Task]) -> list[Outcome]:
    """Decode one clip, as :func:`decode_clip`, or two files where the sound has its own."""
    return [decode_pair(task) if task.audio else decode_clip(task) for task in group]


def decode_recording(group: list[Task]) -> list[Outcome]:
    """Decode one recording, in a worker process, and write its segments' pictures and sounds.

    Where the sound of the segments is another recording, that is decoded once as well. The share
    of samples at full scale is that of the segment after it was mixed down.
    """
    from erc_features import media

    wanted, spool = group[0].decode, media.Spool()
    spans: dict[Path, list[Span]] = {}
    for task in group:
        if task.clip is not None and task.segment is not None:
            spans.setdefault(task.clip, []).append(task.segment)
    n, height = wanted.frames, wanted.height
    pictures = {path: media.Pictures(path, of, n, height, spool) for path, of in spans.items()}
    # Faces are cut out of the full frames.
    full = {
        path: media.Pictures(path, of, n, None, spool)
        for path, of in (spans if wanted.faces else {}).items()
    }
    sounds: dict[Path, media.Sound] = {}
    found = []
    for task in group:
        clip, span = task.clip, task.segment
        why, samples, frames, crops, share = {}, None, (), [], 0.0
        heard, part = (task.audio.path, task.audio.segment) if task.audio else (clip, span)
        if part is None:
            one = _whole_sound(task)
            samples, why["sound"], share = one.audio, one.no_sound, one.clipped
        else:
            assert heard is not None  # a segment is one of a file
            try:
                samples = sounds.setdefault(heard, media.Sound(heard, spool)).segment(*part)
                loud = int((abs(samples) >= 32767 / 32768).sum())
                share = loud / len(samples) if loud > 1 else 0.0
            except MediaError as error:
                why["sound"] = str(error)
        try:
            if clip is None or span is None:  # no reader cuts the sound and not the picture
                raise MediaError(SOUND_ALONE if clip is None else "its picture has no times")
            frames = pictures[clip].segment(*span)
            if wanted.faces:
                cut = (wanted.faces.cut(frame) for frame in full[clip].segment(*span))
                crops = [crop for crop in cut if crop is not None]
        except MediaError as error:
            why["picture"] = str(error)
        _write(task, frames, samples, crops)
        found.append(
            Outcome(task.key, why.get("picture", ""), why.get("sound", ""), share, len(crops),
                    len(frames) if full else 0)
        )  # fmt: skip
    return found


def decode_pair(task: Task) -> Outcome:
    """Decode the sound of an utterance and its picture, if there is one, which are two files."""
    from erc_features import media

    wanted = task.decode
    crop = wanted.faces.cut if wanted.faces else None
    picture = media.Clip((), np.empty(0, np.float32), SOUND_ALONE, "")
    if task.clip is not None:
        try:
            picture = media.read_clip(
                task.clip, frames=wanted.frames, height=wanted.height, sound=False, crop=crop
            )
        except MediaError as error:
            picture = replace(picture, no_picture=str(error))
    sound = _whole_sound(task)
    _write(task, picture.frames, sound.audio, picture.crops)
    faces, frames = (len(picture.crops), len(picture.frames)) if crop else (0, 0)
    return Outcome(task.key, picture.no_picture, sound.no_sound, sound.clipped, faces, frames)


def _whole_sound(task: Task) -> "Clip":
    """All of the sound that `task.audio` names."""
    from erc_features import media

    assert task.audio is not None
    path, inside = task.audio.path, task.audio.inside
    try:
        if inside is None:
            return media.read_clip(path, frames=0)
        with tempfile.NamedTemporaryFile(prefix="erc-sound-") as file:
            with open(path, "rb") as table:
                table.seek(inside[0])
                file.write(table.read(inside[1]))
            file.flush()
            return media.read_clip(Path(file.name), frames=0)
    except MediaError as error:
        return media.Clip((), np.empty(0, np.float32), "", str(error))


def decode_clip(task: Task) -> Outcome:
    """Decode one clip, in a worker process, and write its picture, its sound and its faces."""
    from erc_features import media

    wanted = task.decode
    crop = wanted.faces.cut if wanted.faces else None
    assert task.clip is not None
    try:
        clip = media.read_clip(task.clip, frames=wanted.frames, height=wanted.height, crop=crop)
    except MediaError as error:
        return Outcome(task.key, str(error), str(error))
    _write(task, clip.frames, clip.audio, clip.crops)
    faces, frames = (len(clip.crops), len(clip.frames)) if crop else (0, 0)
    return Outcome(task.key, clip.no_picture, clip.no_sound, clip.clipped, faces, frames)


def _write(task: Task, frames: Any, samples: Any, crops: Any) -> None:
    """Write what there is; each file appears whole."""
    from erc_features import media

    for path, data, write in (
        (task.picture, frames, media.write_mosaic),
        (task.sound, samples, media.write_wav),
        (task.face, crops, media.write_mosaic),
    ):
        if path is not None and data is not None and len(data):
            partial = path.with_name(f"{path.stem}.{os.getpid()}.partial{path.suffix}")
            write(partial, data)
            if os.getppid() != task.parent:  # it was killed, and a later run may be at work here
                partial.unlink(missing_ok=True)
                os._exit(1)
            os.replace(partial, path)
    if task.face is not None and not len(crops) and os.getppid() == task.parent:
        task.face.unlink(missing_ok=True)  # of a preparation with other settings
