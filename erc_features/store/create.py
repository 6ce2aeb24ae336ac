"""Creating a feature file, complete in size, so that later nothing but numbers changes."""

import errno
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import h5py
import numpy as np

from erc_features.errors import FeatureFileError
from erc_features.store.layout import (
    FORMAT,
    FORMAT_VERSION,
    REASON_BYTES,
    TEXT_COLUMNS,
    Provenance,
    Rows,
    Status,
)

# HDF5 reports the disk's errors as any of these, the number only in its text.
HDF5_ERRORS = (OSError, ValueError, RuntimeError)
_FULL = (errno.EFBIG, errno.ENOSPC, errno.EDQUOT)
REASON = h5py.string_dtype("utf-8", REASON_BYTES)


@dataclass(frozen=True)
class Shape:
    """L layers of D dimensions, stored as float16 or float32."""

    layers: int
    dim: int
    dtype: str = "float16"


def create(
    partial: Path, rows: Rows, labels: tuple[str, ...], provenance: Provenance, shape: Shape
) -> h5py.File:
    _reserve(partial, len(rows) * (shape.layers * shape.dim * np.dtype(shape.dtype).itemsize + 400))
    try:
        file = h5py.File(partial, "x", locking=True)
    except FileExistsError as error:
        raise FeatureFileError(f"{partial}: another process has just begun it.") from error
    except OSError as error:
        raise disk_error(partial, error) from error
    try:
        _fill(file, rows, labels, provenance, shape)
        file.flush()
        sync(partial)
        file.attrs["format"] = FORMAT  # last: without it the file is not yet one
        file.flush()
    except HDF5_ERRORS as error:
        with suppress(*HDF5_ERRORS):
            file.close()
        partial.unlink(missing_ok=True)
        raise disk_error(partial, error) from error
    return file


def _reserve(partial: Path, count: int) -> None:
    """Fail now, and cleanly, if the file will not fit: HDF5 fails late and noisily."""
    trial = partial.with_name(partial.name + ".space")
    try:
        handle = os.open(trial, os.O_CREAT | os.O_WRONLY)
        try:
            os.posix_fallocate(handle, 0, max(1, count))
        finally:
            os.close(handle)
            trial.unlink()
    except OSError as error:
        raise disk_error(partial, error) from error


def _fill(
    file: h5py.File, rows: Rows, labels: tuple[str, ...], provenance: Provenance, shape: Shape
) -> None:
    n = len(rows)
    utf8 = h5py.string_dtype("utf-8")
    for name in TEXT_COLUMNS:
        file.create_dataset(name, data=np.array(getattr(rows, name), dtype=object), dtype=utf8)
    for name in ("dialogue", "sequence"):
        file.create_dataset(name, data=np.array(getattr(rows, name), dtype=np.int32))
    status = h5py.enum_dtype({s.name.lower(): int(s) for s in Status}, basetype="u1")
    _allocate(file, "x", (n, shape.layers, shape.dim), np.dtype(shape.dtype))
    _allocate(file, "status", (n,), status)
    _allocate(file, "reason", (n,), REASON)
    attributes = asdict(provenance) | {
        "config": json.dumps(dict(provenance.config), sort_keys=True),
        "labels": json.dumps(list(labels), ensure_ascii=False),
        "format_version": FORMAT_VERSION,
        "created": now(),
        "complete": False,
    }
    for name, value in attributes.items():
        file.attrs[name] = value


def _allocate(file: h5py.File, name: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """A contiguous dataset whose bytes are written now, zeros: h5py's high level can't say so."""
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5py.h5d.CONTIGUOUS)
    plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plist.set_fill_time(h5py.h5d.FILL_TIME_ALLOC)
    space = h5py.h5s.create_simple(shape)
    kind = h5py.h5t.py_create(dtype, logical=True)
    h5py.h5d.create(file.id, name.encode(), kind, space, plist)


def disk_error(path: Path, error: Exception) -> FeatureFileError:
    """What to tell a user whose disk is full, read-only or broken."""
    text = str(error)
    number = error.errno if isinstance(error, OSError) else None
    if number in _FULL or any(f"errno = {n}," in text for n in _FULL):
        return FeatureFileError(
            f"{path}: no space left to write it. What was finished is kept: free some space, "
            "or choose another folder with --features, and run the same command again."
        )
    why = os.strerror(number) if number else text
    return FeatureFileError(
        f"{path}: cannot be written ({why}). Choose a folder that you may write to."
    )


def now() -> str:
    """This moment in UTC, ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
