"""Decodes clips in processes, so that one that crashes or hangs its decoder costs only itself."""

import os
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erc_features.corpora.downmix import DOWNMIX
from erc_features.errors import MediaError

if TYPE_CHECKING:  # PyAV: not before a clip is decoded
    from erc_features.media import FaceCrop

TIME_LIMIT = 120.0  # seconds; MELD's longest clip, 305 s, takes about 20


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
    `parent` is the process that asks."""

    key: str
    clip: Path
    picture: Path
    sound: Path
    decode: Decode
    parent: int
    face: Path | None = None


def no_face(outcome: Outcome) -> str:
    """Why an utterance has no face, where one was looked for and none was found."""
    return outcome.no_picture or f"no face in any of {outcome.frames} frames"


def decode_clips(tasks: list[Task], jobs: int) -> Iterator[Outcome]:
    """Decode clips in `jobs` processes; outcomes come in the order in which clips are finished."""
    if not tasks:
        return
    from pebble import ProcessPool

    waiting: dict[Future, Task] = {}
    queue = iter(tasks)
    jobs = min(jobs, len(tasks))
    # Only a few are scheduled ahead, so that memory stays flat however many clips there are.
    with ProcessPool(max_workers=jobs, context=get_context("spawn")) as pool:
        try:
            while True:
                for task in queue:
                    future = pool.schedule(decode_clip, args=[task], timeout=TIME_LIMIT)
                    waiting[future] = task
                    if len(waiting) >= 4 * jobs:
                        break
                if not waiting:
                    return
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    yield _outcome(waiting.pop(future), future)
        finally:
            if waiting:
                pool.stop()


def _outcome(task: Task, future: Future) -> Outcome:
    from pebble import ProcessExpired

    error = future.exception()
    if error is None:
        return future.result()
    # Both of pebble's errors are kinds of OSError; any other is the disk's fault, not the clip's.
    if isinstance(error, TimeoutError):
        why = f"decoding took more than {TIME_LIMIT:.0f} s"
    elif isinstance(error, ProcessExpired):
        why = "the decoder crashed"
    elif isinstance(error, OSError):
        raise error
    else:
        why = f"{type(error).__name__}: {error}"
    return Outcome(task.key, why, why)


def decode_clip(task: Task) -> Outcome:
    """Decode one clip, in a worker process, and write its picture, its sound and its faces."""
    from erc_features import media

    wanted = task.decode
    crop = wanted.faces.cut if wanted.faces else None
    try:
        clip = media.read_clip(task.clip, frames=wanted.frames, height=wanted.height, crop=crop)
    except MediaError as error:
        return Outcome(task.key, str(error), str(error))
    for path, data, write in (
        (task.picture, clip.frames, media.write_mosaic),
        (task.sound, clip.audio, media.write_wav),
        (task.face, clip.crops, media.write_mosaic),
    ):
        if path is not None and len(data):
            partial = path.with_name(f"{path.stem}.{os.getpid()}.partial{path.suffix}")
            write(partial, data)  # type: ignore[arg-type]
            if os.getppid() != task.parent:  # it was killed, and a later run may be at work here
                partial.unlink(missing_ok=True)
                os._exit(1)
            os.replace(partial, path)
    if task.face is not None and not clip.crops and os.getppid() == task.parent:
        task.face.unlink(missing_ok=True)  # of a preparation with other settings
    faces, frames = (len(clip.crops), len(clip.frames)) if crop else (0, 0)
    return Outcome(task.key, clip.no_picture, clip.no_sound, clip.clipped, faces, frames)
