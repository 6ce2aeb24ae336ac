"""Decoding and encoding one batch: every item becomes a row, whatever happens to it."""

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from erc_features.encoders.base import Encoder, Explains
from erc_features.encoders.launch import launcher
from erc_features.errors import EncoderError, ErcError, MediaError
from erc_features.store import Status

_PIECES = 8  # of a batch, decoded in parallel


@dataclass(frozen=True)
class Batch:
    """The result of one batch: rows (b,), x (b, L, D), status (b,), and a reason for each row.

    `waited` and `encoded` are the seconds that the encoder waited for decoding and computed.
    """

    rows: np.ndarray
    x: np.ndarray
    status: np.ndarray
    reasons: list[str]
    waited: float
    encoded: float


def start(rows: np.ndarray, load: Callable[[int], Any], threads: Executor) -> list[Future]:
    """Begin to decode a batch's items in a few pieces: a future for each text would cost more
    than the text."""
    pieces = np.array_split(rows, min(len(rows), _PIECES))
    return [threads.submit(load_items, load, piece.tolist()) for piece in pieces]


def items_of(decoding: Sequence[Future]) -> list[Any]:
    """Wait for the items; a MediaError takes the place of one that cannot be decoded."""
    return [item for future in decoding for item in future.result()]


def encode_rows(
    items: Sequence[Any], encoder: Encoder, dtype: str
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Encode items, some of which may be a MediaError: x (b, L, D) of `dtype`, status (b,) uint8,
    and a reason for each row that failed."""
    good = [item for item in items if not isinstance(item, MediaError)]
    return _rows(items, lambda: _encode(good, encoder), encoder, dtype)


def launch_rows(
    items: Sequence[Any], encoder: Encoder, dtype: str
) -> Callable[[], tuple[np.ndarray, np.ndarray, list[str]]]:
    """:func:`encode_rows`, queued on the encoder's device; what is returned waits for it.

    A batch that fails, when it is queued or later, is encoded again in halves, at once.
    """
    good = [item for item in items if not isinstance(item, MediaError)]
    try:
        wait = launcher(encoder)(good) if good else None
    except Exception:  # noqa: BLE001 - any encoder; encoding it again finds out why
        wait = None

    def found() -> list[Any]:
        if wait is not None:
            with suppress(Exception):
                return _checked(np.asarray(wait(), np.float32), len(good), encoder)
        return _encode(good, encoder)

    if good and wait is None:
        made = _rows(items, found, encoder, dtype)  # before more is queued
        return lambda: made
    return lambda: _rows(items, found, encoder, dtype)


def _rows(
    items: Sequence[Any], encoded: Callable[[], list[Any]], encoder: Encoder, dtype: str
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    x = np.zeros((len(items), encoder.layers, encoder.dim), np.float32)
    status = np.full(len(items), Status.FAILED, np.uint8)
    reasons = [str(item) if isinstance(item, MediaError) else "" for item in items]
    good = [i for i, item in enumerate(items) if not isinstance(item, MediaError)]
    for i, row in zip(good, encoded(), strict=True):
        if isinstance(row, Exception):
            reasons[i] = f"the encoder failed: {_brief(row)}"
        else:
            x[i], status[i] = row, Status.OK
    with np.errstate(over="ignore"):
        stored = x.astype(dtype)
    for i in np.flatnonzero(~np.isfinite(stored).all((1, 2))):
        largest = np.abs(x[i]).max()
        reasons[i] = "the embedding holds NaN or infinity"
        if isinstance(encoder, Explains):
            reasons[i] = encoder.why(items[int(i)])
        if np.isfinite(largest):
            reasons[i] = f"{largest:.4g} overflows {dtype}; --dtype float32"
        stored[i], status[i] = 0, Status.FAILED
    return stored, status, reasons


def load_items(load: Callable[[int], Any], rows: Sequence[int]) -> list[Any]:
    """Items, or MediaErrors in their places: a single file must not end an extraction."""
    items: list[Any] = []
    for row in rows:
        try:
            items.append(load(row))
        except MediaError as error:
            items.append(error)
        except ErcError:  # no file's fault: no space for what is decoded
            raise
        except Exception as error:  # noqa: BLE001 - decoders raise anything on broken files
            items.append(MediaError(f"cannot be decoded: {_brief(error)}"))
    return items


def _encode(items: list[Any], encoder: Encoder) -> list[Any]:
    """A row (L, D) for each item, or the exception that it raised.

    A batch that fails is halved, which finds a bad item and fits a small memory.
    """
    if not items:
        return []
    rows, failure = None, None
    try:
        rows = np.asarray(encoder.encode(items), np.float32)
    except Exception as error:  # noqa: BLE001 - any encoder, plug-ins too; it becomes a reason
        # Its traceback would hold every tensor of the failed batch.
        failure = error.with_traceback(None)
        failure.__context__ = failure.__cause__ = None
    if rows is None:
        if len(items) == 1:
            return [failure]
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            torch.cuda.empty_cache()  # what the failed batch held
        half = len(items) // 2
        return _encode(items[:half], encoder) + _encode(items[half:], encoder)
    return _checked(rows, len(items), encoder)


def _checked(rows: np.ndarray, count: int, encoder: Encoder) -> list[Any]:
    wanted = (count, encoder.layers, encoder.dim)
    if rows.shape != wanted:
        raise EncoderError(
            f"The encoder {encoder.name} gave {rows.shape} for {count} "
            f"item{'s' * (count > 1)}; its own `layers` and `dim` say (B, L, D) = {wanted}."
        )
    return list(rows)


def _brief(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
