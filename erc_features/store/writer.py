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
    HDF5_ERRORS,
    PLACES,
    REASON,
    Shape,
    create,
    disk_errors,
    now,
    replacing,
)
from erc_features.store.file import FeatureFile
from erc_features.store.layout import (
    MORE,
    PARTIAL,
    REASON_BYTES,
    SUFFIX,
    Provenance,
    Rows,
    Status,
    check_layout,
)
from erc_features.store.lock import only_writer
from erc_features.store.probe import ProbeMaker
from erc_features.whole_file import sync

_CHUNK = 1024  # rows read at a time


class FeatureWriter:
    """A partial feature file, open and locked. It is made by :func:`open_writer`.

    Rows are numbered as in the corpus given, whose order may differ from the file's: rows are
    matched by key.

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

        Only pending rows are written. A batch is encoded whole even for a single pending row, and
        this time's result of the other rows must not harm what is stored.

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
        # At most 200 bytes, not cut inside a character.
        texts = [reasons[i].encode()[:REASON_BYTES].decode(errors="ignore").encode() for i in order]
        with disk_errors(self._partial):
            self._file["x"][places] = stored
            # Reasons are created empty; only a row that is computed again may have one.
            if self._reasons or any(texts):
                self._file["reason"][places] = np.array(texts, REASON)
            self._file.flush()
            self._file["status"][places] = status
            self._file.flush()
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

        Args:
            notes: stored as JSON; the last ones are left out where they do not all fit.
        """
        kept = dict(notes)
        while len(text := json.dumps(kept).encode()) > PLACES["notes"]:
            kept.popitem()
        with disk_errors(self._partial):
            _set(self._file, "notes", text)
            _set(self._file, "finished", now().encode()[: PLACES["finished"]])
            _set(self._file, "complete", True)
            self._file.flush()
            self._file.close()
            sync(self._partial)
            os.replace(self._partial, self._final)
            sync(self._final.parent)
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
    the existing finished file stays until the new one takes its place.

    `again`, for `--retry`, takes the status of every row (N,) and returns the rows to compute
    again. They are computed in a copy: the finished file stays, and can be used, until
    the copy takes its place.

    `probe` makes the probe of a new file, and compares the probe of a file to which rows are
    added. A file without a probe is resumed, and gets none.

    Raises:
        ErcError: the existing file has another provenance, or its encoder gives other numbers
            than its probe; it is damaged, or being written by another process; or the folder
            cannot be written, or the disk is full.
    """
    partial = path.with_name(path.name.removesuffix(SUFFIX) + PARTIAL)
    with disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    with only_writer(path):
        if overwrite:
            with disk_errors(partial):
                partial.unlink(missing_ok=True)
        wanted = (rows, labels, provenance, shape)
        complete = path.exists() and not overwrite
        if complete:
            _must_agree(path, *wanted)
            if again is None:  # what an interrupted --overwrite left beside it is no reason
                yield None
                return
        if partial.exists():
            _must_agree(partial, *wanted, probe)
        elif complete:
            with FeatureFile(path) as file:
                order = file.rows(keys=rows.key)
                redo = again(file.status[order]) if again else order[:0]
                if len(redo) and probe:
                    probe.must_agree(file)
            if len(redo) == 0:
                yield None
                return
            with replacing(partial) as new:
                shutil.copyfile(path, new)
        else:
            made = probe.make() if probe else None
            create(partial, rows, labels, provenance, shape, record, made)
        _reserve_places(partial)
        with _writer(partial, path, rows) as writer:
            if again and len(redo := again(writer.status)):
                writer.reopen(redo)
            yield writer


@contextmanager
def _writer(partial: Path, final: Path, rows: Rows) -> Iterator[FeatureWriter]:
    with disk_errors(partial):
        # The lock is ours (lock.py). HDF5's own would also stop those who only read, which does
        # no harm (layout.py).
        file = h5py.File(partial, "r+", locking=False)
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
    rows: Rows,
    labels: tuple[str, ...],
    provenance: Provenance,
    shape: Shape,
    probe: ProbeMaker | None = None,
) -> None:
    """Refuse another provenance, and another probe. Labels that were reordered or extended since,
    and further columns that were added or corrected, are so in a copy: no embedding depends on
    them."""
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
        columns = {} if lines else _changed(file, rows)
    if lines:
        raise FeatureFileError(
            f"{path} was made differently:{listed(lines)}\n"
            "Give the new file another name with --name, or replace it with --overwrite."
        )
    if not same_labels or columns:
        said = {"labels": json.dumps(list(labels), ensure_ascii=False)}
        _set_attributes(path, {} if same_labels else said, columns)


def _changed(file: FeatureFile, rows: Rows) -> dict[str, np.ndarray]:
    """The further columns of a corpus that a file lacks or has otherwise, in the file's order."""
    if not rows.more:
        return {}
    place = {key: n for n, key in enumerate(rows.key)}
    order = [place.get(key, -1) for key in file.key.tolist()]
    if -1 in order:  # of other rows, which is refused elsewhere
        return {}
    found = {name: np.array(texts, dtype=object)[order] for name, texts in rows.more.items()}
    return {
        name: texts
        for name, texts in found.items()
        if name not in file.more or (file.more[name] != texts).any()
    }


def _reserve_places(partial: Path) -> None:
    """Reserve the places that `finish` writes into, where an older erc reserved none."""
    with h5py.File(partial, "r", locking=False) as file:
        absent = {name: np.bytes_(b" " * size) for name, size in PLACES.items()
                  if name not in file.attrs
                  or file.attrs.get_id(name).dtype != np.dtype(f"S{size}")}  # fmt: skip
    if absent:
        _set_attributes(partial, absent)


def _set_attributes(
    path: Path, values: Mapping[str, Any], columns: Mapping[str, np.ndarray] | None = None
) -> None:
    """Set attributes whose size changes, and further columns: in a copy, which then takes the
    file's place."""
    with replacing(path) as copy:
        shutil.copyfile(path, copy)
        with h5py.File(copy, "r+", locking=False) as file:
            for name, value in values.items():
                file.attrs[name] = value
            for name, texts in (columns or {}).items():
                if (where := f"{MORE}{name}") in file:
                    del file[where]
                file.create_dataset(where, data=texts, dtype=h5py.string_dtype("utf-8"))


def _set(file: h5py.File, name: str, value: Any) -> None:
    """Overwrite an attribute's bytes in place; h5py's own assignment makes a new one."""
    attribute = h5py.h5a.open(file.id, name.encode())
    attribute.write(np.array(value, dtype=attribute.dtype))
