"""Processes that read files of strangers: one that hangs, crashes or fills the memory costs only
the file that it reads."""

import resource
from collections.abc import Callable
from concurrent.futures import Future
from multiprocessing import get_context
from typing import Any

MEMORY = 4 << 30  # bytes of address space for each process: most of it is code of libraries
_LARGEST = 1 << 30  # bytes of a file that one may write


class Guard:
    """`processes` of them, which stay from one call to the next; use it as a context manager.

    Args:
        seconds: how long one call may take. Its process is then killed, and another one started.
    """

    def __init__(self, processes: int, seconds: float) -> None:
        from pebble import ProcessPool

        self.seconds = seconds
        self._pool = ProcessPool(
            max_workers=processes, initializer=_confine, context=get_context("spawn")
        )

    def submit(self, function: Callable[..., Any], *args: Any) -> Future:
        """Call a function that can be pickled. Its future raises TimeoutError, pebble's
        ProcessExpired, or what the function raised; to cancel it ends its process."""
        return self._pool.schedule(function, args=list(args), timeout=self.seconds)

    def __enter__(self) -> "Guard":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.stop()
        self._pool.join()


def _confine() -> None:
    """Limits of a process that reads files of strangers."""
    import signal

    from erc_features import media

    # Ctrl-C reaches the whole group; the process that serves decides when these end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    media.trust_no_file()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_LARGEST, _LARGEST))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
