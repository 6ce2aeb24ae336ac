"""How a run comes into its folder: whole, in one step, whatever kills the process.

runs/<corpus>/.<name>.writing/    there only while `erc fuse` is at work, or where it was killed;
                                  locked by the process that is at work
  new/                            the run that is being written, DONE last; once it has its place,
                                  the run that it replaced, until that is deleted
  old/                            that run too, where two folders cannot change places in one step

At every moment a finished run is either in its folder, or in one of these two while the folder is
missing. :func:`recover` puts it back: every reader and the next `erc fuse` begin with it.
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
    """The folder beside a run's where it is written."""
    place = Path(os.path.realpath(path))  # of a link, where it leads
    return place.parent / f".{place.name}{_SUFFIX}"


def new(path: Path) -> Path:
    """Where the run of the folder `path` is written, until it is whole."""
    return work_of(path) / "new"


@contextmanager
def claim(path: Path) -> Iterator[None]:
    """Write the run of the folder `path`, alone; what a killed process left of it goes.

    Raises:
        RunError: another process is at it, or the place can't be written.
    """
    work = work_of(path)
    try:
        handle = _lock(work, make=True)
    except BlockingIOError as error:
        raise RunError(f"{path}: another process is running it; wait for it.") from error
    except OSError as error:
        raise RunError(f"{path}: cannot be written ({error.strerror}); choose --runs.") from error
    assert handle is not None  # it was made
    try:
        try:
            _put_back(path, work)
            _empty(work)
            new(path).mkdir()
        except OSError as error:
            raise RunError(
                f"{work}: cannot be written ({error.strerror}); choose --runs."
            ) from error
        yield
    finally:
        with suppress(OSError):
            _put_back(path, work, ("old",))  # the new one could not take its place
            _empty(work)
            work.rmdir()
        os.close(handle)


def settle(path: Path, ours: frozenset[str]) -> None:
    """Give the whole run in :func:`new` its place; the run that was there is deleted.

    Args:
        ours: names of a run's files. Any other that someone laid beside them stays there.
    """
    place, written = Path(os.path.realpath(path)), new(path)
    sync(written)
    replaced = None
    if os.path.lexists(place):
        replaced = written
        if not exchange(written, place):
            replaced = written.with_name("old")
            os.rename(place, replaced)
            os.rename(written, place)
    else:
        os.rename(written, place)
    sync(place.parent)
    if replaced is not None:
        # DONE first: half of a run must not look finished.
        for name in (DONE, *sorted(os.listdir(replaced))):
            with suppress(FileNotFoundError):
                if name in ours:
                    (replaced / name).unlink()
                elif not os.path.lexists(place / name):
                    os.rename(replaced / name, place / name)


def recover(path: Path) -> None:
    """Put back the run of `path` where a process was killed while it gave it its place."""
    work = work_of(path)
    if os.path.lexists(path) or not work.is_dir():
        return
    with suppress(OSError):  # someone is at work, or these runs may only be read
        handle = _lock(work, make=False)
        if handle is not None:
            try:
                _put_back(path, work)
            finally:
                os.close(handle)


def waiting(folder: Path) -> list[Path]:
    """Folders of runs below the folder of a corpus that :func:`recover` may bring back."""
    found = folder.glob(f".*{_SUFFIX}")
    return [folder / work.name[1 : -len(_SUFFIX)] for work in found]


def exchange(one: Path, other: Path) -> bool:
    """Let two folders change places in one step; False where this system has no such step.

    Raises:
        OSError: it has, and it failed.
    """
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)  # Linux
    if renameat2 is None:
        return False
    if renameat2(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _CANNOT:  # NFS and the like
        return False
    raise OSError(code, os.strerror(code), str(one))


def _put_back(path: Path, work: Path, names: tuple[str, ...] = ("new", "old")) -> None:
    for name in names:  # the new one first: it was whole, or the old one would be in its place
        if not os.path.lexists(path) and (work / name / DONE).is_file():
            os.rename(work / name, os.path.realpath(path))


def _empty(work: Path) -> None:
    for name in ("new", "old"):
        with suppress(FileNotFoundError):
            (work / name / DONE).unlink()
        if (work / name).exists():
            shutil.rmtree(work / name)


def _lock(work: Path, *, make: bool) -> int | None:
    """A handle that holds the lock of the folder; None where it is not there, unless made."""
    while True:
        if make:
            work.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(work, os.O_RDONLY)
        except FileNotFoundError:
            if make:
                continue
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), os.stat(work)):
                    return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # the process before us took its folder away meanwhile
