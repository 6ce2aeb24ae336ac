"""Writing a feature file so that a kill at any moment loses at most the batch in hand."""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np

from erc_features.errors import FeatureFileError, listed
from erc_features.store.create import (
    HDF5_ERRORS,
    REASON,
    Shape,
    create,
    disk_error,
    now,
    sync,
)
from erc_features.store.file import FeatureFile, open_for_reading
from erc_features.store.layout import (
    FORMAT,
    FORMAT_VERSION,
    REASON_BYTES,
    SUFFIX,
    Provenance,
    Rows,
    Status,
    plain,
    read_provenance,
)


class FeatureWriter:
    """A partial feature file, open and locked. Made by :func:`open_writer`.

    Attributes:
        status: (N,) uint8, what is known of each row.
        shape: layers, dimensions and type of `x`.
    """

    def __init__(self, file: h5py.File, partial: Path, final: Path) -> None:
        self._file, self._partial, self._final = file, partial, final
        self.status: np.ndarray = file["status"][()].astype(np.uint8)
        _, layers, dim = file["x"].shape
        self.shape = Shape(layers, dim, file["x"].dtype.name)

    def write(
        self, rows: np.ndarray, x: np.ndarray, status: np.ndarray, reasons: list[str]
    ) -> None:
        """Store one batch: `rows` (b,), `x` (b, L, D), `status` (b,), one reason a row.

        Raises:
            FeatureFileError: the disk is full or broken; every earlier batch is kept.
        """
        order = np.argsort(rows)
        rows, status = rows[order], status[order].astype(np.uint8)
        stored = np.where((status == Status.OK)[:, None, None], x[order], 0)
        texts = np.array([_clip(reasons[i]) for i in order], dtype=REASON)
        try:
            self._file["x"][rows] = stored.astype(self.shape.dtype)
            if any(texts) or (self.status[rows] != Status.PENDING).any():
                self._file["reason"][rows] = texts
            self._file.flush()
            self._file["status"][rows] = status
            self._file.flush()
        except HDF5_ERRORS as error:
            raise disk_error(self._partial, error) from error
        self.status[rows] = status

    def finish(self, record: Mapping[str, Any]) -> None:
        """Mark the file complete, sync it and give it its final name.

        The rename happens while the lock is held, so that no second writer can slip in.
        """
        try:
            for name, value in record.items():
                self._file.attrs[name] = value
            self._file.attrs["finished"] = now()
            self._file.attrs["complete"] = True
            self._file.flush()
            sync(self._partial)
            os.replace(self._partial, self._final)
            sync(self._final.parent)
        except HDF5_ERRORS as error:
            raise disk_error(self._partial, error) from error
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(*HDF5_ERRORS):  # a full disk fails again while closing
            self._file.close()


def open_writer(
    path: Path,
    rows: Rows,
    labels: tuple[str, ...],
    provenance: Provenance,
    shape: Shape,
    *,
    overwrite: bool = False,
    again: Callable[[np.ndarray], np.ndarray] | None = None,
) -> FeatureWriter | None:
    """Create, resume or reopen the feature file at `path` (its final name, `….h5`).

    `again` takes the status of every row (N,) of a complete file and returns the rows to
    compute once more, for `--retry`. Returns None where nothing is left to do.

    Raises:
        FeatureFileError: the file there is of other provenance, damaged, or being written
            by another process; or the folder can't be written, or the disk is full.
    """
    partial = path.with_name(path.name.removesuffix(SUFFIX) + ".h5.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(path.parent, error) from error
    if overwrite:
        _discard(partial, path)
    if path.exists():
        with FeatureFile(path) as found:
            _must_agree(path, found.provenance, provenance, found.shape[1:], found.dtype, shape)
            redo = again(found.status) if again else np.array([], dtype=np.int64)
        if len(redo) == 0:
            return None
        os.replace(path, partial)
        writer = _resume(partial, path)
        assert writer is not None
        _reopen(writer, redo)
        return writer
    writer = _resume(partial, path) if partial.exists() else None
    if writer is None:
        file = create(partial, rows, labels, provenance, shape)
        return FeatureWriter(file, partial, path)
    try:
        _must_agree(
            partial,
            read_provenance(writer._file),
            provenance,
            (writer.shape.layers, writer.shape.dim),
            np.dtype(writer.shape.dtype),
            shape,
        )
        if again and len(redo := again(writer.status)):
            _reopen(writer, redo)
    except BaseException:
        writer._file.close()
        raise
    return writer


def _resume(partial: Path, final: Path) -> FeatureWriter | None:
    """The unfinished file, locked for us; None (and removed) if its creation was cut short."""
    try:
        file = h5py.File(partial, "r+", locking=True)
    except BlockingIOError as error:
        raise _locked(partial) from error
    except PermissionError as error:
        raise disk_error(partial, error) from error
    except OSError:
        # Killed while its first bytes were written: nothing in it was ever marked as done.
        partial.unlink(missing_ok=True)
        return None
    if plain(file.attrs.get("format")) != FORMAT:
        file.close()
        partial.unlink(missing_ok=True)
        return None
    if int(file.attrs["format_version"]) > FORMAT_VERSION:
        file.close()
        open_for_reading(partial).close()
        raise FeatureFileError(f"{partial} is of a newer format version; upgrade erc to resume it.")
    return FeatureWriter(file, partial, final)


def _reopen(writer: FeatureWriter, redo: np.ndarray) -> None:
    writer._file.attrs["complete"] = False
    writer.status[redo] = Status.PENDING
    writer._file["status"][...] = writer.status
    writer._file["reason"][redo] = np.array([b""] * len(redo), dtype=REASON)
    writer._file.flush()


def _must_agree(
    path: Path,
    found: Provenance,
    wanted: Provenance,
    found_shape: tuple[int, ...],
    found_dtype: np.dtype,
    shape: Shape,
) -> None:
    lines = found.differences(wanted)
    if tuple(found_shape) != (shape.layers, shape.dim) or found_dtype.name != shape.dtype:
        lines.append(
            f"x: (N, {found_shape[0]}, {found_shape[1]}) {found_dtype.name} here, "
            f"(N, {shape.layers}, {shape.dim}) {shape.dtype} now"
        )
    if lines:
        raise FeatureFileError(
            f"{path} was made differently:{listed(lines)}\n"
            "Give the new file another name with --name, or replace it with --overwrite."
        )


def _discard(partial: Path, final: Path) -> None:
    """Remove both, unless another process is writing: its lock is tried first."""
    if partial.exists():
        try:
            h5py.File(partial, "r+", locking=True).close()
        except BlockingIOError as error:
            raise _locked(partial) from error
        except OSError:
            pass  # damaged: that is why it is being replaced
    for path in (partial, final):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise disk_error(path, error) from error


def _locked(path: Path) -> FeatureFileError:
    return FeatureFileError(
        f"{path}: another process is writing it. Wait for it, or stop it and run this again: "
        "what it has finished is kept."
    )


def _clip(reason: str) -> bytes:
    """At most 200 bytes, not cut inside a character."""
    return reason.encode()[:REASON_BYTES].decode(errors="ignore").encode()
