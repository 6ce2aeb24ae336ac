"""Decoding clips in processes: one that crashes or hangs its decoder costs that clip alone."""

import os
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from pebble import ProcessExpired, ProcessPool

from erc_features.corpora.downmix import DOWNMIX
from erc_features.errors import MediaError

# A whole scene of 305 s decodes in about 20 s; what takes longer than this hangs.
TIME_LIMIT = 120.0


@dataclass(frozen=True)
class Decode:
    """How clips are decoded: `frames` pictures of `height` pixels; sound at `rate` Hz, mixed down
    to one channel by the rule `downmix`."""

    frames: int = 5
    height: int = 240
    rate: int = 16_000
    downmix: str = DOWNMIX


@dataclass(frozen=True)
class Outcome:
    """What one clip gave; a reason for each medium that it did not give; and the share of its
    sound's samples that are at full scale in the clip."""

    key: str
    no_picture: str = ""
    no_sound: str = ""
    clipped: float = 0.0


@dataclass(frozen=True)
class Task:
    key: str
    clip: Path
    picture: Path
    sound: Path
    decode: Decode
    parent: int


def decode_clips(tasks: list[Task], jobs: int) -> Iterator[Outcome]:
    """Decode in processes: a clip that crashes or hangs its decoder costs that clip alone."""
    if not tasks:
        return
    waiting: dict[Future, Task] = {}
    queue = iter(tasks)
    jobs = min(jobs, len(tasks))
    # Few are scheduled ahead, so that memory stays flat however many clips there are.
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
    error = future.exception()
    if error is None:
        return future.result()
    # Both of pebble's are kinds of OSError; any other is the disk's, not the clip's.
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
    """One clip, in a worker process: its picture and sound written, or the reasons why not."""
    from erc_features import media

    try:
        clip = media.read_clip(task.clip, frames=task.decode.frames, height=task.decode.height)
    except MediaError as error:
        return Outcome(task.key, str(error), str(error))
    for path, data, write in (
        (task.picture, clip.frames, media.write_mosaic),
        (task.sound, clip.audio, media.write_wav),
    ):
        if len(data):
            partial = path.with_name(f"{path.stem}.{os.getpid()}.partial{path.suffix}")
            write(partial, data)  # type: ignore[arg-type]
            if os.getppid() != task.parent:  # killed: a later run may be at work here by now
                partial.unlink(missing_ok=True)
                os._exit(1)
            os.replace(partial, path)
    return Outcome(task.key, clip.no_picture, clip.no_sound, clip.clipped)
