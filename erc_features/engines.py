"""Where batches run. `local`: this process, decoding in threads ahead of the encoder."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from time import perf_counter
from typing import Any

import numpy as np

from erc_features.encoders.base import Encoder
from erc_features.errors import MediaError
from erc_features.store import Status

# Batches decoded ahead of the one being encoded: enough to hide a slow one, few enough to
# keep memory flat.
_AHEAD = 3


@dataclass(frozen=True)
class Batch:
    """What became of one batch: rows (b,), x (b, L, D), status (b,), a reason for each row.

    `waited` and `encoded` are the seconds that the encoder waited for decoding, and worked.
    """

    rows: np.ndarray
    x: np.ndarray
    status: np.ndarray
    reasons: list[str]
    waited: float
    encoded: float


def run_local(
    batches: Sequence[np.ndarray],
    load: Callable[[int], Any],
    encoder: Encoder,
    dtype: str,
    workers: int,
) -> Iterator[Batch]:
    """Encode the batches in order. `load` gives the item of a row, or raises MediaError."""
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as threads:

        def start(rows: np.ndarray) -> tuple[np.ndarray, list[Future]]:
            return rows, [threads.submit(load, int(row)) for row in rows]

        coming = iter(batches)
        ahead = deque(start(rows) for rows in islice(coming, _AHEAD))
        try:
            while ahead:
                rows, futures = ahead.popleft()
                began = perf_counter()
                items = [_result(future) for future in futures]
                decoded = perf_counter()
                if (following := next(coming, None)) is not None:
                    ahead.append(start(following))
                x, status, reasons = encode_rows(items, encoder, dtype)
                yield Batch(rows, x, status, reasons, decoded - began, perf_counter() - decoded)
        finally:
            threads.shutdown(wait=True, cancel_futures=True)


def encode_rows(
    items: Sequence[Any], encoder: Encoder, dtype: str
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Encode items, some of which may be the error that took their place.

    Returns:
        x (b, L, D) float32, status (b,) uint8, reasons: a row each, whatever became of it.
    """
    x = np.zeros((len(items), encoder.layers, encoder.dim), np.float32)
    status = np.full(len(items), Status.FAILED, np.uint8)
    reasons = [str(item) if isinstance(item, MediaError) else "" for item in items]
    good = [i for i, item in enumerate(items) if not isinstance(item, MediaError)]
    for i, row in zip(good, _encode([items[i] for i in good], encoder), strict=True):
        if isinstance(row, Exception):
            reasons[i] = f"the encoder failed: {_brief(row)}"
        elif not np.isfinite(row).all():
            reasons[i] = "the embedding holds NaN or infinity"
        elif not _fits(row, dtype):
            reasons[i] = f"{np.abs(row).max():.4g} overflows float16; --dtype float32"
        else:
            x[i], status[i] = row, Status.OK
    return x, status, reasons


def _result(future: Future) -> Any:
    """An item, or the MediaError that takes its place: no one file ends an extraction."""
    try:
        return future.result()
    except MediaError as error:
        return error
    except Exception as error:  # noqa: BLE001 - what decoders raise on broken files is not known
        return MediaError(f"cannot be decoded: {_brief(error)}")


def _encode(items: list[Any], encoder: Encoder) -> list[Any]:
    """A row (L, D) for each item, or the exception that it raised.

    A batch that fails is halved: that finds the one bad item, and fits a small memory.
    """
    if not items:
        return []
    try:
        return list(encoder.encode(items))
    except Exception as error:  # noqa: BLE001 - any encoder, plug-ins too; it becomes a reason
        if len(items) == 1:
            return [error]
        half = len(items) // 2
        return _encode(items[:half], encoder) + _encode(items[half:], encoder)


def _fits(row: np.ndarray, dtype: str) -> bool:
    with np.errstate(over="ignore"):
        return bool(np.isfinite(row.astype(dtype)).all())


def _brief(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
