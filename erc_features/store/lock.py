"""One writer at a time for a feature file, under its unfinished and its final name."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from erc_features.errors import FeatureFileError


@contextmanager
def only_writer(path: Path) -> Iterator[None]:
    """Hold the lock of the feature file `path` (its final name).

    It is a flock on a small file beside it, which is removed at the end; the lock ends with the
    process, even if that is killed.

    Raises:
        FeatureFileError: another process holds it, or the folder cannot be locked or written.
    """
    name = path.with_name(f".{path.name}.lock")
    handle = _lock(name, path)
    try:
        yield
    finally:
        name.unlink(missing_ok=True)  # while it is held: nobody else can hold this one
        os.close(handle)


def _lock(name: Path, path: Path) -> int:
    while True:
        try:
            handle = os.open(name, os.O_CREAT | os.O_RDWR, 0o666)
        except OSError as error:
            raise FeatureFileError(
                f"{path.parent}: cannot be written ({error.strerror}). "
                "Choose a folder that you may write to."
            ) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(handle).st_ino == os.stat(name).st_ino:
                return handle
        except FileNotFoundError:
            pass  # removed by its last holder between our opening and locking it
        except OSError as error:
            os.close(handle)
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise FeatureFileError(
                    f"{path}: another process is writing it. Wait for it, or stop it and run this "
                    "again: what it has finished is kept."
                ) from error
            raise FeatureFileError(
                f"{path.parent}: its file system cannot lock files ({error.strerror}), so two "
                "writers could harm each other. Choose another folder with --features."
            ) from error
        os.close(handle)
