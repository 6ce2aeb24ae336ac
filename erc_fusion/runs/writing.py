"""How a run gets into its folder: whole and in one step, whatever kills the process.

runs/<corpus>/.<name>.writing/    exists only while `erc fuse` is at work, or where it was killed;
                                  locked by the process that is at work
  new/                            the run that is being written, DONE last; after it has taken its
                                  place, the run that it replaced, until that is deleted
  old/                            the replaced run, where two folders can't be swapped in one step

At every moment a finished run is either in its folder, or in one of these two while the folder is
missing. :func:`recover` puts it back; every reader and the next `erc fuse` begin with that.
"""

import ctypes
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from erc_features.errors import RunError
from erc_features.whole_file import sync

DONE = "DONE"
_SUFFIX = ".writing"
_HERE = -100  # AT_FDCWD: a path is relative to the working directory
_EXCHANGE = 2  # RENAME_EXCHANGE of renameat2(2)
_CANNOT = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM, errno.EXDEV)


def work_of(path: Path) -> Path:
    """The folder beside the run's own in which it is written."""
    place = Path(os.path.realpath(path))  # for a link, where it leads
    return place.parent / f".{place.name}{_SUFFIX}"


def new(path: Path) -> Path:
    """Where the run of the folder `path` is written until it is complete."""
    return work_of(path) / "new"


@contextmanager
def claim(path: Path) -> Iterator[None]:
    """Be the only process that writes the run of `path`; raises RunError if that can't be."""
    work, handle = work_of(path), None
    try:
        try:
            handle = _lock(work, make=True)
            _put_back(path, work)
            _empty(work)
            new(path).mkdir()
        except BlockingIOError as error:
            raise RunError(f"{path}: another process is running it; wait for it.") from error
        except OSError as error:
            raise RunError(
                f"{path}: cannot be written ({error.strerror}); choose --runs."
            ) from error
        yield
    finally:
        if handle is not None:
            with suppress(OSError):
                _put_back(path, work, ("old",))  # the new one could not take its place
                _empty(work)
                work.rmdir()
            os.close(handle)


def settle(path: Path, ours: frozenset[str]) -> None:
    """Move the complete run in :func:`new` to its place and delete the run that was there.

    Args:
        ours: names of a run's files. Other files that someone put beside them stay there.
    """
    place, written = Path(os.path.realpath(path)), new(path)
    sync(written)
    if not os.path.lexists(place):
        os.rename(written, place)
        sync(place.parent)
        return
    replaced = written
    if not exchange(written, place):
        replaced = written.with_name("old")
        os.rename(place, replaced)
        os.rename(written, place)
    sync(place.parent)
    # DONE first: half of a run must not look finished.
    for name in (DONE, *sorted(os.listdir(replaced))):
        with suppress(FileNotFoundError):
            if name in ours:
                (replaced / name).unlink()
            elif not os.path.lexists(place / name):
                os.rename(replaced / name, place / name)


def recover(path: Path) -> None:
    """Put back the run of `path` where a process was killed while moving it to its place."""
    work = work_of(path)
    if os.path.lexists(path) or not work.is_dir():
        return
    with suppress(OSError):  # another process is at work, or these runs are read-only
        handle = _lock(work)
        try:
            _put_back(path, work)
        finally:
            os.close(handle)


def waiting(folder: Path) -> list[Path]:
    """The runs of a corpus's folder that :func:`recover` may bring back."""
    return [folder / work.name[1 : -len(_SUFFIX)] for work in folder.glob(f".*{_SUFFIX}")]


def exchange(one: Path, other: Path) -> bool:
    """Swap two folders in one step; False if this system can't, OSError if it can but fails."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)  # Linux
    if renameat2 is None:
        return False
    if renameat2(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code not in _CANNOT:  # as NFS and the like
        raise OSError(code, os.strerror(code), str(one))
    return False


def _put_back(path: Path, work: Path, names: tuple[str, ...] = ("new", "old")) -> None:
    for name in names:  # the new one first: the old one leaves its place only for a complete one
        if not os.path.lexists(path) and (work / name / DONE).is_file():
            os.rename(work / name, os.path.realpath(path))


def _empty(work: Path) -> None:
    for name in ("new", "old"):
        with suppress(FileNotFoundError):
            (work / name / DONE).unlink()
        if (work / name).exists():
            shutil.rmtree(work / name)


def _lock(work: Path, *, make: bool = False) -> int:
    """A handle that holds the lock of the folder; OSError where it is not there, unless made."""
    while True:
        if make:
            work.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(work, os.O_RDONLY)
        except FileNotFoundError:
            if make:
                continue  # the process before us took its folder away meanwhile
            raise
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), os.stat(work)):
                    return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # likewise: it is the lock of a folder that is gone
