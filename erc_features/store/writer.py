"""Writing a feature file so that a kill at any moment loses at most the batch in hand."""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from erc_features.errors import FeatureFileError, listed
from erc_features.store.create import (
    FINISHED_BYTES,
    HDF5_ERRORS,
    NOTES_BYTES,
    REASON,
    Shape,
    create,
    disk_error,
    now,
)
from erc_features.store.file import FeatureFile
from erc_features.store.layout import REASON_BYTES, SUFFIX, Provenance, Rows, Status, check_layout
from erc_features.store.lock import only_writer
from erc_features.store.probe import ProbeMaker
from erc_features.whole_file import sync

_CHUNK = 1024  # rows read at a time


class FeatureWriter:
    """A partial feature file, open and locked. Made by :func:`open_writer`.

    Rows are numbered as in the corpus at hand, which may stand in another order than the file:
    the key decides.

    Attributes:
        status: (N,) uint8, what is known of each row.
        shape: layers, dimensions and type of `x`.
        finished: whether :meth:`finish` was called.
    """

    def __init__(self, file: h5py.File, partial: Path, final: Path, rows: Rows) -> None:
        self._file, self._partial, self._final = file, partial, final
        place = {key: number for number, key in enumerate(file["key"].asstr()[()])}
        self._place = np.array([place[key] for key in rows.key], dtype=np.int64)
        self.status: np.ndarray = file["status"][()].astype(np.uint8)[self._place]
        _, layers, dim = file["x"].shape
        self.shape = Shape(layers, dim, file["x"].dtype.name)
        self._reasons = any(
            file["reason"][first : first + _CHUNK].any() for first in range(0, len(place), _CHUNK)
        )
        self.finished = False

    def write(
        self, rows: np.ndarray, x: np.ndarray, status: np.ndarray, reasons: list[str]
    ) -> None:
        """Store one batch: `rows` (b,), `x` (b, L, D), `status` (b,), one reason a row.

        Only rows that are pending are written: a batch is encoded whole for one of them, and what
        became of the others this time is not to harm what is there.

        Raises:
            FeatureFileError: the disk is full or broken; every earlier batch is kept.
        """
        wanted = np.flatnonzero(self.status[rows] == Status.PENDING)
        if len(wanted) == 0:
            return
        order = wanted[np.argsort(self._place[rows[wanted]])]  # h5py wants ascending places
        rows, status = rows[order], status[order].astype(np.uint8)
        places = self._place[rows]
        stored = x[order].astype(self.shape.dtype, copy=False)
        stored[status != Status.OK] = 0
        texts = [_clip(reasons[i]) for i in order]
        try:
            self._file["x"][places] = stored
            # As created, reasons are empty; only a row that is computed once more may have one.
            if self._reasons or any(texts):
                self._file["reason"][places] = np.array(texts, REASON)
            self._file.flush()
            self._file["status"][places] = status
            self._file.flush()
        except HDF5_ERRORS as error:
            raise disk_error(self._partial, error) from error
        self.status[rows] = status

    def reopen(self, rows: np.ndarray) -> None:
        """Make those rows pending again, for `--retry`."""
        self.status[rows] = Status.PENDING
        self._file["status"][np.sort(self._place[rows])] = int(Status.PENDING)
        self._file.flush()

    def finish(self, notes: Mapping[str, Any]) -> None:
        """Mark the file complete, sync it and give it its final name.

        `complete`, `finished` and `notes` have had their place since creation: no metadata
        changes size, so that a kill between two writes leaves a file that opens.
        """
        try:
            _set(self._file, "notes", _fitting(notes))
            _set(self._file, "finished", now().encode()[:FINISHED_BYTES])
            _set(self._file, "complete", True)
            self._file.flush()
            self._file.close()
            sync(self._partial)
            os.replace(self._partial, self._final)
            sync(self._final.parent)
        except HDF5_ERRORS as error:
            raise disk_error(self._partial, error) from error
        self.finished = True


@contextmanager
def open_writer(
    path: Path,
    rows: Rows,
    labels: tuple[str, ...],
    provenance: Provenance,
    shape: Shape,
    record: Mapping[str, Any],
    *,
    overwrite: bool = False,
    again: Callable[[np.ndarray], np.ndarray] | None = None,
    probe: ProbeMaker | None = None,
) -> Iterator[FeatureWriter | None]:
    """Create or resume the feature file at `path` (its final name, `….h5`), locked while open.

    Yields None where nothing is left to do. `record` becomes attributes that need not agree
    to resume: versions, device, engine, workers. With `overwrite` everything is computed anew;
    the finished file that is there stays until the new one takes its place.

    `again`, for `--retry`, takes the status of every row (N,) and returns the rows to compute
    once more. They are computed in a copy: the finished file stays, and can be used, until
    the copy takes its place.

    `probe` is asked for the probe of a new file before there is one, and compares that of a file
    to which rows are added; a file that keeps none is gone on with, and gets none.

    Raises:
        ErcError: the file there is of other provenance, its encoder gives other numbers than its
            probe; it is damaged, or being written by another process; or the folder can't be
            written, or the disk is full.
    """
    partial = path.with_name(path.name.removesuffix(SUFFIX) + ".h5.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(path.parent, error) from error
    with only_writer(path):
        if overwrite:
            _remove(partial)
        wanted = (labels, provenance, shape)
        complete = path.exists() and not overwrite
        if complete:
            _must_agree(path, *wanted)
            if again is None:  # what an interrupted --overwrite left beside it is no reason
                yield None
                return
        if partial.exists():
            _must_agree(partial, *wanted, probe)
            _reserve_places(partial)
        if not partial.exists() and complete:
            with FeatureFile(path) as file:
                order = file.rows(keys=rows.key)
                redo = again(file.status[order]) if again else order[:0]
                if len(redo) and probe:
                    probe.must_agree(file)
            if len(redo) == 0:
                yield None
                return
            _copy(path, partial)
            _reserve_places(partial)
        elif not partial.exists():
            made = probe.make() if probe else None
            create(partial, rows, labels, provenance, shape, record, made)
        with _writer(partial, path, rows) as writer:
            if again and len(redo := again(writer.status)):
                writer.reopen(redo)
            yield writer


@contextmanager
def _writer(partial: Path, final: Path, rows: Rows) -> Iterator[FeatureWriter]:
    try:
        # The lock is ours, see lock.py; HDF5's own would also stop those who only look, and
        # looking does no harm: see layout.py.
        file = h5py.File(partial, "r+", locking=False)
    except HDF5_ERRORS as error:
        raise disk_error(partial, error) from error
    try:
        check_layout(file, partial)
        writer = FeatureWriter(file, partial, final, rows)
        if writer.status.all() and bool(file.attrs["complete"]):
            _set(file, "complete", False)  # the copy that a --retry works on
        yield writer
    finally:
        with suppress(*HDF5_ERRORS):  # a full disk fails again while closing
            file.close()


def _must_agree(
    path: Path,
    labels: tuple[str, ...],
    provenance: Provenance,
    shape: Shape,
    probe: ProbeMaker | None = None,
) -> None:
    """Refuse other provenance, and another probe. Other labels are no reason: they are
    put right, in a copy."""
    with FeatureFile(path) as file:
        lines = file.provenance.differences(provenance)
        _, layers, dim = file.shape
        found = Shape(layers, dim, file.dtype.name)
        same_labels = file.labels == labels
        if found != shape:
            lines.append(
                f"x: (N, {found.layers}, {found.dim}) {found.dtype} here, "
                f"(N, {shape.layers}, {shape.dim}) {shape.dtype} now"
            )
        if not lines and probe:
            probe.must_agree(file)
    if lines:
        raise FeatureFileError(
            f"{path} was made differently:{listed(lines)}\n"
            "Give the new file another name with --name, or replace it with --overwrite."
        )
    if not same_labels:
        _relabel(path, labels)


def _relabel(path: Path, labels: tuple[str, ...]) -> None:
    """The corpus's labels were reordered or extended since: no embedding depends on them."""
    copy = path.with_name(path.name + ".new")
    _copy(path, copy)
    with h5py.File(copy, "r+", locking=False) as file:
        file.attrs["labels"] = json.dumps(list(labels), ensure_ascii=False)
    sync(copy)
    os.replace(copy, path)


def _reserve_places(partial: Path) -> None:
    """The places that `finish` writes into, in a copy, where an older erc reserved none."""
    places = {"finished": FINISHED_BYTES, "notes": NOTES_BYTES}
    with h5py.File(partial, "r", locking=False) as file:
        absent = [name for name, size in places.items() if name not in file.attrs
                  or file.attrs.get_id(name).dtype != np.dtype(f"S{size}")]  # fmt: skip
    if not absent:
        return
    copy = partial.with_name(partial.name + ".new")
    _copy(partial, copy)
    with h5py.File(copy, "r+", locking=False) as file:
        for name in absent:
            file.attrs[name] = np.bytes_(b" " * places[name])
    sync(copy)
    os.replace(copy, partial)


def _copy(path: Path, copy: Path) -> None:
    """A copy that has its name only once it is whole."""
    new = copy.with_name(copy.name + ".new")
    try:
        shutil.copyfile(path, new)
        sync(new)
        os.replace(new, copy)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise disk_error(copy, error) from error


def _remove(*paths: Path) -> None:
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise disk_error(path, error) from error


def _fitting(notes: Mapping[str, Any]) -> bytes:
    """As JSON, without the last ones where all don't fit."""
    kept = dict(notes)
    while len(text := json.dumps(kept).encode()) > NOTES_BYTES:
        kept.popitem()
    return text


def _set(file: h5py.File, name: str, value: Any) -> None:
    """Overwrite an attribute's bytes in place; h5py's own assignment makes a new one."""
    attribute = h5py.h5a.open(file.id, name.encode())
    attribute.write(np.array(value, dtype=attribute.dtype))


def _clip(reason: str) -> bytes:
    """At most 200 bytes, not cut inside a character."""
    return reason.encode()[:REASON_BYTES].decode(errors="ignore").encode()
