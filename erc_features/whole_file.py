"""Files that are written whole: under another name first, then put in place in one step."""

import errno
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from erc_features.errors import ErcError

_PART = ".part"


@contextmanager
def whole_file(
    path: Path | str, advice: str = "choose another place", error: type[ErcError] = ErcError
) -> Iterator[Path]:
    """Where to write what will be `path`: it takes its place when the block ends without an error.

    Whatever stops the process, `path` is what it was before or the whole new file. A place that
    can't be written shows at once, before the work of the block. What a killed process left is
    removed.

    >>> with whole_file("runs/meld/answers.csv") as part:
    ...     _ = part.write_text("key,label")
    >>> Path("runs/meld/answers.csv").read_text()
    'key,label'

    Args:
        path: its folders are made where they are missing.
        advice: the end of the message where it can't be written.
        error: the class of that error.

    Raises:
        ErcError: `path` is a folder or can't be written; names the reason.
    """
    path = Path(path)
    here = f".{path.name}.{platform.node()}."
    part = path.with_name(f"{here}{os.getpid()}{_PART}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        for old in os.listdir(path.parent):
            if old.startswith(here) and old.endswith(_PART) and not _lives(old[len(here) : -5]):
                path.with_name(old).unlink(missing_ok=True)
        part.touch()
        try:
            yield part
            sync(part)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as failed:
        why = failed.strerror or failed
        raise error(f"{path}: cannot be written ({why}); {advice}.") from failed


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _lives(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, ValueError):
        return False
    except OSError:  # another user's
        pass
    return True
