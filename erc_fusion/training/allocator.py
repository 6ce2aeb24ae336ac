"""How the C library keeps memory while a model trains."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # malloc.h
_MB = 2**20


@contextmanager
def kept_memory() -> Iterator[None]:
    """Freed memory stays with the process inside the context, and goes back afterwards.

    A step frees all that it made, tensors of some 10 MB, and glibc returns such blocks to the
    system. Getting them back, page by page, took a tenth of a step. Only glibc has these settings.
    """
    _set(_MMAP_THRESHOLD, 32 * _MB)  # its largest
    _set(_TRIM_THRESHOLD, 2**31 - 1)
    _set(_TOP_PAD, 128 * _MB)
    try:
        yield
    finally:
        _set(_TRIM_THRESHOLD, 64 * _MB)  # where its own rule ends after blocks of 32 MB
        _set(_TOP_PAD, 0)
        with suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)


def _set(what: int, value: int) -> None:
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").mallopt(what, value)
