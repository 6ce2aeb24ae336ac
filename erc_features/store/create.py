"""Creating a feature file, complete in size, so that later nothing but numbers changes."""

import errno
import json
import os
from collections.abc import Mapping
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
    REASON_BYTES,
    TEXT_COLUMNS,
    Provenance,
    Rows,
    Status,
)
from erc_features.store.probe import DEVICE, INPUT, Probe
from erc_features.whole_file import sync

# HDF5 reports the disk's errors as any of these, the number only in its text.
HDF5_ERRORS = (OSError, ValueError, RuntimeError)
_FULL = (errno.EFBIG, errno.ENOSPC, errno.EDQUOT)
FINISHED_BYTES, NOTES_BYTES = 25, 1000
REASON = h5py.string_dtype("utf-8", REASON_BYTES)


@dataclass(frozen=True)
class Shape:
    """L layers of D dimensions, stored as float16 or float32."""

    layers: int
    dim: int
    dtype: str = "float16"


def expected_size(rows: int, shape: Shape) -> int:
    """Bytes of a feature file, nearly: the embeddings, a status, a reason and some text a row."""
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
    """Make a partial feature file, all rows pending. It has its name only once it is whole.

    Raises:
        FeatureFileError: the folder can't be written, or the disk is full.
    """
    new = partial.with_name(partial.name + ".new")
    try:
        new.unlink(missing_ok=True)  # of a creation that was killed
        _reserve(new, expected_size(len(rows), shape))
        with h5py.File(new, "x", locking=False) as file:
            _fill(file, rows, labels, provenance, shape, record)
            if probe is not None:
                _keep(file, probe)
            file.attrs["format"] = FORMAT  # last: without it the file is not yet one
        sync(new)
        os.replace(new, partial)
    except HDF5_ERRORS as error:
        new.unlink(missing_ok=True)
        raise disk_error(partial, error) from error


def _reserve(path: Path, count: int) -> None:
    """Fail now, and cleanly, if the file will not fit: HDF5 fails late and noisily."""
    handle = os.open(path, os.O_CREAT | os.O_WRONLY)
    try:
        os.posix_fallocate(handle, 0, max(1, count))
    finally:
        os.close(handle)
        path.unlink()


def _fill(
    file: h5py.File,
    rows: Rows,
    labels: tuple[str, ...],
    provenance: Provenance,
    shape: Shape,
    record: Mapping[str, Any],
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
        # Places of a fixed size, which `finish` writes into.
        "finished": np.bytes_(b" " * FINISHED_BYTES),
        "notes": np.bytes_(b" " * NOTES_BYTES),
        **record,
    }
    for name, value in attributes.items():
        file.attrs[name] = value


def _keep(file: h5py.File, probe: Probe) -> None:
    file.create_dataset("probe", data=probe.x.astype("<f4"))
    file.attrs[INPUT], file.attrs[DEVICE] = probe.input, probe.device


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
