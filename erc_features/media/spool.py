"""A temporary file for what was decoded and does not fit into memory.

It has no name: it is removed from its folder as soon as it is open, so that the system takes its
space back when the process ends, killed or not.
"""

import os
import tempfile
import weakref
from threading import Lock

from erc_features.errors import ErcError


class Spool:
    """Pieces of bytes on disk, written once and read by any thread.

    Args:
        keep: False drops them, where only a pass over a file is wanted.

    Raises:
        ErcError: `add` finds no space, or no temporary file can be made; names the folder.
    """

    def __init__(self, *, keep: bool = True) -> None:
        self._keep = keep
        self._lock = Lock()
        self._handle: int | None = None
        self.size = 0

    def add(self, data: bytes | memoryview) -> int:
        """Write a piece; returns where it is."""
        if not self._keep:
            return 0
        data = memoryview(data).cast("B")
        try:
            with self._lock:
                if self._handle is None:
                    self._handle, path = tempfile.mkstemp(prefix="erc-recordings-")
                    weakref.finalize(self, os.close, self._handle)
                    os.unlink(path)
                at, self.size = self.size, self.size + len(data)
            done = 0
            while done < len(data):  # a full disk writes a part before it fails
                done += os.pwrite(self._handle, data[done:], at + done)
        except OSError as error:
            raise ErcError(
                f"{tempfile.gettempdir()}: recordings are decoded into a temporary file there, and "
                f"it cannot be written ({error.strerror}). TMPDIR=FOLDER names another folder; an "
                "hour of sound takes 230 MB. What was finished is kept."
            ) from error
        return at

    def read(self, at: int, size: int) -> bytes:
        """A part of what was written: `size` bytes from `at`."""
        assert self._handle is not None  # something was written
        parts = []
        while size > 0:
            parts.append(os.pread(self._handle, size, at))
            at, size = at + len(parts[-1]), size - len(parts[-1])
        return b"".join(parts)
