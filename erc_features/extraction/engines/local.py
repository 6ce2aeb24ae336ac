"""`--engine local`: this process, which decodes in threads ahead of the encoder."""

import ctypes
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from time import perf_counter
from typing import Any

import numpy as np

from erc_features.encoders.base import Encoder
from erc_features.extraction.engines.batch import Batch, items_of, launch_rows, start

# Batches decoded ahead of the one being encoded: enough to hide a slow one, few enough to
# keep memory flat.
AHEAD = 3
_TRIM = 16  # batches


def run_local(
    batches: Sequence[np.ndarray],
    load: Callable[[int], Any],
    encoder: Encoder,
    dtype: str,
    workers: int,
) -> Iterator[Batch]:
    """Encode the batches in order. `load` returns the item of a row, or raises MediaError.

    On CUDA a batch is queued before the one before it is waited for and given to the writer: what
    the device computes meanwhile hides windowing, the copies, and writing. A crash then loses two
    batches, not one. On the CPU nothing would be gained.
    """
    queued: deque[tuple[np.ndarray, Callable[[], Any], float, float]] = deque()
    lag = 1 if encoder.device.startswith("cuda") else 0

    def oldest() -> Batch:
        rows, wait, waited, spent = queued.popleft()
        began = perf_counter()
        x, status, reasons = wait()
        return Batch(rows, x, status, reasons, waited, spent + perf_counter() - began)

    _give_back()  # the memory that reading and planning needed
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as threads:
        coming, done = iter(batches), 0
        ahead = deque((rows, start(rows, load, threads)) for rows in islice(coming, AHEAD))
        try:
            while ahead:
                rows, decoding = ahead.popleft()
                began = perf_counter()
                items = items_of(decoding)
                decoded = perf_counter()
                if (following := next(coming, None)) is not None:
                    ahead.append((following, start(following, load, threads)))
                wait = launch_rows(items, encoder, dtype)
                queued.append((rows, wait, decoded - began, perf_counter() - decoded))
                if len(queued) > lag:
                    yield oldest()
                done += 1
                if done % _TRIM == 0:
                    _give_back()
            while queued:
                yield oldest()
        finally:
            threads.shutdown(wait=True, cancel_futures=True)


def _give_back() -> None:
    """Return freed memory to the system: glibc keeps pieces of it, 40 MB after 20,000 texts."""
    with suppress(OSError, AttributeError):  # another libc
        ctypes.CDLL("libc.so.6").malloc_trim(0)
