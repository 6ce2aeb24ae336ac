"""Creating a feature file at its full size, so that later only its numbers change."""

import errno
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from erc_features.errors import FeatureFileError
from erc_features.store.layout import (
    FORMAT,
    FORMAT_VERSION,
    MORE,
    REASON_BYTES,
    TEXT_COLUMNS,
    Provenance,
    Rows,
    Status,
)
from erc_features.store.probe import DEVICE, INPUT, Probe
from erc_features.whole_file import sync

# HDF5 reports the disk's errors as any of these, with the number only in the text.
HDF5_ERRORS = (OSError, ValueError, RuntimeError)
_FULL = (errno.EFBIG, errno.ENOSPC, errno.EDQUOT)
# Bytes of the attributes that `finish` writes into.
PLACES = {"finished": 25, "notes": 1000}
REASON = h5py.string_dtype("utf-8", REASON_BYTES)


@dataclass(frozen=True)
class Shape:
    """L layers of D dimensions, stored as float16 or float32."""

    layers: int
    dim: int
    dtype: str = "float16"


def expected_size(rows: int, shape: Shape) -> int:
    """Approximate bytes of a feature file: embeddings, and a status, a reason and text per row."""
    return rows * (shape.layers * shape.dim * np.dtype(shape.dtype).itemsize + 400)


def create(
    partial: Path,
    rows: Rows,
    labels: tuple[str, ...],
    provenance: Provenance,
    shape: Shape,
    record: Mapping[str, Any],
    probe: Probe | None = None,
) -> None:
    """Make a partial feature file with all rows pending. It has its name only once it is whole.

    Raises:
        FeatureFileError: the folder cannot be written, or the disk is full.
    """
    n = len(rows)
    attributes = asdict(provenance) | {
        "config": json.dumps(dict(provenance.config), sort_keys=True),
        "labels": json.dumps(list(labels), ensure_ascii=False),
        "format_version": FORMAT_VERSION,
        "created": now(),
        "complete": False,
        **{name: np.bytes_(b" " * size) for name, size in PLACES.items()},
        **record,
    }
    with replacing(partial) as new:
        # HDF5 fails late and noisily on a full disk, so the space is asked for here first.
        with open(new, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, expected_size(n, shape)))
        new.unlink()
        with h5py.File(new, "x", locking=False) as file:
            utf8 = h5py.string_dtype("utf-8")
            for name in TEXT_COLUMNS:
                texts = np.array(getattr(rows, name), dtype=object)
                file.create_dataset(name, data=texts, dtype=utf8)
            for name, texts in rows.more.items():
                file.create_dataset(f"{MORE}{name}", data=np.array(texts, dtype=object), dtype=utf8)
            for name in ("dialogue", "sequence"):
                file.create_dataset(name, data=np.array(getattr(rows, name), dtype=np.int32))
            status = h5py.enum_dtype({s.name.lower(): int(s) for s in Status}, basetype="u1")
            _allocate(file, "x", (n, shape.layers, shape.dim), np.dtype(shape.dtype))
            _allocate(file, "status", (n,), status)
            _allocate(file, "reason", (n,), REASON)
            for name, value in attributes.items():
                file.attrs[name] = value
            if probe is not None:
                file.create_dataset("probe", data=probe.x.astype("<f4"))
                file.attrs[INPUT], file.attrs[DEVICE] = probe.input, probe.device
            file.attrs["format"] = FORMAT  # last: without it the file is not yet one


def _allocate(file: h5py.File, name: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """A contiguous dataset whose bytes are written now, as zeros: h5py's high level cannot."""
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5py.h5d.CONTIGUOUS)
    plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plist.set_fill_time(h5py.h5d.FILL_TIME_ALLOC)
    space = h5py.h5s.create_simple(shape)
    kind = h5py.h5t.py_create(dtype, logical=True)
    h5py.h5d.create(file.id, name.encode(), kind, space, plist)


@contextmanager
def replacing(final: Path) -> Iterator[Path]:
    """Yield a path to write to, which takes the place of `final` when the block ends.

    Raises:
        FeatureFileError: it cannot be written; `final` is as it was.
    """
    new = final.with_name(final.name + ".new")
    with disk_errors(final):
        try:
            new.unlink(missing_ok=True)  # left by a process that was killed
            yield new
            sync(new)
            os.replace(new, final)
        except HDF5_ERRORS:
            with suppress(OSError):
                new.unlink(missing_ok=True)
            raise


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn errors of HDF5 and the disk into what a user can do about a full or read-only disk.

    Raises:
        FeatureFileError: names `path` and the reason.
    """
    try:
        yield
    except HDF5_ERRORS as error:
        text = str(error)
        number = error.errno if isinstance(error, OSError) else None
        if number in _FULL or any(f"errno = {n}," in text for n in _FULL):
            raise FeatureFileError(
                f"{path}: no space left to write it. What was finished is kept: free some space, "
                "or choose another folder with --features, and run the same command again."
            ) from error
        why = os.strerror(number) if number else text
        raise FeatureFileError(
            f"{path}: cannot be written ({why}). Choose a folder that you may write to."
        ) from error


def now() -> str:
    """The current time in UTC, as ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
