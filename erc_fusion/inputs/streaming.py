"""Embeddings that stay on the disk: a table whose x is mapped, and read a few rows at a time.

A mapped array is used as any other; its pages are the file's own, which the system lends, and takes
back when memory is short. A finished feature file never changes in place (a new one takes its
name), so what is mapped stays what it was.
"""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from erc_features import terminal
from erc_features.errors import ErcError
from erc_features.store import FeatureFile
from erc_fusion.inputs.free_memory import free_memory

SHARE = 0.5  # of the free memory that a float32 copy may take before it is streamed
KEPT = 2**28  # bytes of disk that a copy leaves free


@dataclass(frozen=True)
class Streaming:
    """Whether and how a table is streamed.

    Attributes:
        wanted: `--stream`; None decides by the memory that is free.
        folder: where a copy is made if a file can't be mapped as it is; None: it is read into
            memory then.
        say: is told, in a sentence, what was decided, and of a copy before it is made.
    """

    wanted: bool | None = None
    folder: Path | None = None
    say: Callable[[str], None] = lambda line: None

    def decide(self, numbers: int) -> bool:
        """Whether a table of so many numbers is streamed; says so where nobody asked for it."""
        if self.wanted is not None:
            return self.wanted
        needed, free = 4 * numbers, free_memory()
        if needed <= SHARE * free:
            return False
        self.say(
            f"Features are streamed from their files: in float32 they are {terminal.size(needed)}, "
            f"and {terminal.size(free)} of memory are free. --no-stream reads them at once."
        )
        return True

    def array(self, stem: str, shape: tuple[int, ...], dtype: np.dtype, why: str) -> np.ndarray:
        """An array to fill, in a file without a name: it is gone when nobody uses it any more,
        whatever ends the process.

        Raises:
            ErcError: the disk has no room for it, or the folder can't be written.
        """
        size = int(np.prod(shape)) * dtype.itemsize
        if self.folder is None or not size:
            return np.empty(shape, dtype)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            status = os.statvfs(self.folder)
            if status.f_bavail * status.f_frsize < size + KEPT:
                free = terminal.size(status.f_bavail * status.f_frsize)
                raise ErcError(
                    f"{stem} must be copied to be streamed ({why}), which takes "
                    f"{terminal.size(size)} in {self.folder}; {free} are free there. Choose --runs "
                    "on another disk, fewer --layers, or --no-stream."
                )
            self.say(
                f"{stem} is copied to be streamed ({why}): {terminal.size(size)} in {self.folder}, "
                "deleted at the end."
            )
            with tempfile.TemporaryFile(dir=self.folder) as file:
                os.posix_fallocate(file.fileno(), 0, size)  # a full disk shows here, not as SIGBUS
                return np.asarray(np.memmap(file, dtype, "r+", shape=shape))
        except OSError as error:
            raise ErcError(
                f"{self.folder}: {stem} can't be copied there to be streamed "
                f"({error.strerror or error}). Choose another --runs, or --no-stream."
            ) from error


def mapped(
    file: FeatureFile, rows: np.ndarray, layers: Sequence[int]
) -> tuple[np.ndarray | None, str]:
    """(those layers of the rows as an array over the file itself, "") or (None, why it can't be).

    Its rows are read once, when they are checked.
    """
    if not np.array_equal(rows, np.arange(file.shape[0])):
        return None, "its rows are in another order"
    steps = np.unique(np.diff(layers))
    if len(steps) > 1 or (len(steps) and steps[0] < 1):
        return None, "its layers are not evenly spaced"
    x = file.mapped()
    if x is None:
        return None, "it is compressed, in pieces, or at a URL"
    step = int(steps[0]) if len(steps) else 1
    return x[:, layers[0] : layers[-1] + 1 : step], ""


def blocks(rows: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` rows, in order."""
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))
