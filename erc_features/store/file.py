"""Reading a feature file; the layout is in `layout.py`."""

import json
import os
import weakref
from collections.abc import Iterable
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import h5py
import numpy as np

from erc_features.errors import FeatureFileError, choose, listed
from erc_features.store import layout
from erc_features.store.html import as_html, count_rows
from erc_features.store.remote import Remote, explained, is_url, open_remote
from erc_features.utterance import Split

if TYPE_CHECKING:
    import pandas as pd


_TEXTS = 2**16  # rows of a column of texts read at a time


class _Column(cached_property[np.ndarray]):
    """A column (N,) of a feature file, called as in the file and read when first asked for."""

    def __init__(self) -> None:
        super().__init__(self._of)

    def _of(self, file: "FeatureFile") -> np.ndarray:
        column = file._read(str(self.attrname))
        return column.astype(np.uint8) if self.attrname == "status" else column


class FeatureFile:
    """A feature file, open for reading; nothing is loaded before it is needed.

    Use it as a context manager. Columns are properties of shape (N,): `key`, `split`,
    `speaker`, `text`, `label` (str), `dialogue`, `sequence` (int32), `status` (uint8),
    `reason` (str); `shape` is (N, L, D): rows, layers, dimensions. Of a file at a URL (`https://`,
    `s3://`, `gs://`) only the requested rows are fetched. In Jupyter it is shown as a table.

    >>> with FeatureFile("features/meld/audio.wav2vec2-base.h5") as file:
    ...     x = file.x(file.rows(split="dev"))  # (n, L, D)
    ...     emotions = file.label[file.rows(split="dev")]
    >>> file.shape, x.shape, x.dtype.name, emotions.shape
    ((197, 3, 8), (40, 3, 8), 'float32', (40,))

    Raises:
        FeatureFileError: the file is absent, being written, not HDF5, truncated, not a feature
            file, or of a newer format; or a URL cannot be reached.
    """

    def __init__(self, path: str | Path) -> None:
        self.path: Path | str = path if isinstance(path, str) and is_url(path) else Path(path)
        self._remote = None
        if isinstance(self.path, str):
            self._remote, self._file = open_remote(self.path)
            # HDF5 closes what is left open when Python ends, and then can't call back into it.
            weakref.finalize(self, _close, self._file, self._remote)
        else:
            self._file = _open(self.path)
        try:
            layout.check_layout(self._file, self.path)
            attributes = self._file.attrs
            self.complete = bool(attributes["complete"])
            self.labels: tuple[str, ...] = tuple(json.loads(attributes["labels"]))
            self.provenance = layout.read_provenance(self._file)
            rows, layers, dim = self._file["x"].shape
            self.shape: tuple[int, int, int] = (rows, layers, dim)
            self.dtype: np.dtype = self._file["x"].dtype
        except Exception as error:
            self.close()
            if isinstance(error, (KeyError, ValueError, TypeError, RuntimeError)):
                raise FeatureFileError(
                    f"{self.path}: an attribute of the feature file is absent or damaged "
                    f"({error}). Extract it again with --overwrite."
                ) from error
            if isinstance(error, OSError):
                raise _unreadable(self.path, error) from error
            raise

    @property
    def stem(self) -> str:
        """The file's name without `.h5`: `audio.wav2vec2-base`."""
        name = str(self.path).rpartition("/")[2]
        return name.removesuffix(".partial").removesuffix(layout.SUFFIX)

    @property
    def attributes(self) -> dict[str, Any]:
        """Every attribute of the file, JSON ones decoded."""
        self._must_be_open()
        found = {name: layout.plain(value) for name, value in self._file.attrs.items()}
        for name in ("labels", "config", "versions", "notes"):
            if found.get(name):
                found[name] = json.loads(found[name])
        return found

    key, split, speaker, text, label = _Column(), _Column(), _Column(), _Column(), _Column()
    dialogue, sequence, status, reason = _Column(), _Column(), _Column(), _Column()

    def _must_be_open(self) -> None:
        if not self._file:
            raise FeatureFileError(f"{self.path} is closed: read it inside its `with` block.")

    def _read(self, name: str) -> np.ndarray:
        self._must_be_open()
        try:
            if name in (*layout.TEXT_COLUMNS, "reason") or name.startswith(layout.MORE):
                texts = self._file[name]
                differ = self._remote or name in ("key", "text")
                return texts.asstr()[()] if differ else _often_equal(texts)
            return self._file[name][()]
        except (OSError, ValueError, RuntimeError, TypeError) as error:
            raise _unreadable(self.path, error) from error

    @cached_property
    def more(self) -> dict[str, np.ndarray]:
        """Further columns of the corpus, such as `session`: name -> (N,) str."""
        self._must_be_open()
        names = layout.more_names(self._file)
        return {name.removeprefix(layout.MORE): self._read(name) for name in names}

    @cached_property
    def probe(self) -> np.ndarray | None:
        """The embedding of the built-in input, (L, D) float32; None where it is not recorded."""
        self._must_be_open()
        return self._read("probe") if "probe" in self._file else None

    def rows(
        self, *, keys: Iterable[str] | None = None, split: Split | str | None = None
    ) -> np.ndarray:
        """Row numbers of the keys, in the order given, or of a split; without either, of all rows.

        Raises:
            FeatureFileError: lists the keys that the file does not have.
            ErcError: there is no such split.
        """
        if keys is not None:
            place = {key: row for row, key in enumerate(self.key)}
            wanted = list(keys)
            unknown = [key for key in wanted if key not in place]
            if unknown:
                raise FeatureFileError(
                    f"{self.path}: {len(unknown)} keys are not in it:{listed(unknown)}"
                )
            return np.array([place[key] for key in wanted], dtype=np.int64)
        if split is not None:
            return np.flatnonzero(self.split == choose("split", str(split), Split))
        return np.arange(self.shape[0])

    def x(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Embeddings (n, L, D) of those rows, in their order; no others are read or fetched."""
        self._must_be_open()
        dataset = self._file["x"]
        rows = self.rows() if rows is None else np.asarray(rows, dtype=np.int64)
        if self._remote:
            return self._remote.rows(dataset, rows)
        out = np.empty((len(rows), *dataset.shape[1:]), dtype=dataset.dtype)
        # h5py's own fancy indexing needs sorted, unique rows and is slow; runs are neither.
        breaks = np.flatnonzero(np.diff(rows) != 1) + 1
        for run in np.split(np.arange(len(rows)), breaks) if len(rows) else ():
            first = rows[run[0]]
            try:
                out[run[0] : run[-1] + 1] = dataset[first : first + len(run)]
            except (OSError, RuntimeError) as error:
                raise _unreadable(self.path, error) from error
        return out

    def mapped(self) -> np.ndarray | None:
        """All embeddings (N, L, D) as an array over the file itself, of which nothing is read yet.

        Whoever writes to it changes its own copy, never the file. It stays usable when the file is
        closed. None of a file at a URL, and where x is compressed or in pieces, as another tool
        may have written it.
        """
        self._must_be_open()
        dataset = self._file["x"]
        offset = dataset.id.get_offset()
        if self._remote or offset is None or not dataset.size or not dataset.dtype.isnative:
            return None
        found = np.memmap(self.path, dataset.dtype, "c", offset, dataset.shape)
        return np.asarray(found)

    def to_pandas(
        self,
        *,
        keys: Iterable[str] | None = None,
        split: Split | str | None = None,
        layer: int | None = None,
    ) -> "pd.DataFrame":
        """Rows as a DataFrame indexed by key; with `layer`, also columns x0 … x{D-1}."""
        import pandas as pd

        rows = self.rows(keys=keys, split=split)
        columns = ("split", "dialogue", "sequence", "speaker", "text", "label", "status", "reason")
        frame = pd.DataFrame(
            {name: getattr(self, name)[rows] for name in columns},
            index=pd.Index(self.key[rows], name="key"),
        )
        if layer is None:
            return frame
        names = [f"x{i}" for i in range(self.shape[2])]
        values = pd.DataFrame(self.x(rows)[:, layer], columns=names, index=frame.index)
        return frame.join(values)

    def close(self) -> None:
        _close(self._file, self._remote)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        n, layers, dim = self.shape
        state = "" if self.complete else ", unfinished"
        return f"FeatureFile({str(self.path)!r}, N={n}, L={layers}, D={dim}{state})"

    def _repr_html_(self) -> str:
        n, layers, dim = self.shape
        about = {
            "corpus": self.provenance.corpus,
            "encoder": self.provenance.encoder,
            "x": f"N={n:,}, L={layers}, D={dim}, {self.dtype.name}",
            "labels": ", ".join(self.labels),
            "file": str(self.path),
        }
        if not self.complete:
            about["complete"] = "no: unfinished, or being written"
        try:
            # Of a file elsewhere only the status is read, a byte a row.
            split = np.full(n, "all") if self._remote else self.split.astype(str)
            rows = count_rows(self.status, split)
        except FeatureFileError as error:  # closed, or out of reach
            rows = f"<p>{escape(str(error))}</p>"
        return as_html(self.stem, about, rows)


def _often_equal(texts: h5py.Dataset) -> np.ndarray:
    """A column (N,) in which few texts differ: each of them is in memory once, however many rows
    have it."""
    found, known = np.empty(texts.shape, object), {}
    for first in range(0, len(found), _TEXTS):
        part = texts.asstr()[first : first + _TEXTS]
        found[first : first + _TEXTS] = [known.setdefault(text, text) for text in part]
    return found


def _close(file: h5py.File, remote: Remote | None) -> None:
    file.close()
    if remote:
        remote.close()


def list_features(folder: Path, *, partial: bool = False) -> list[Path]:
    """The feature files of a corpus's folder, by name; with `partial`, unfinished ones too."""
    suffixes = (layout.SUFFIX, layout.PARTIAL) if partial else (layout.SUFFIX,)
    found = [path for suffix in suffixes for path in folder.glob(f"*{suffix}")]
    return sorted(path for path in found if path.is_file())


def _open(path: Path) -> h5py.File:
    if not path.exists():
        raise FeatureFileError(f"{path}: no such file. `erc extract` writes feature files.")
    if path.is_dir():
        raise FeatureFileError(f"{path} is a folder, not a feature file.")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise _unreadable(path, error) from error


def nothing_open() -> bool:
    """Whether every HDF5 file of this process is closed, so that nothing waits to be written."""
    h5f = h5py.h5f
    kinds = h5f.OBJ_FILE | h5f.OBJ_DATASET | h5f.OBJ_GROUP | h5f.OBJ_ATTR
    return not h5f.get_obj_count(h5f.OBJ_ALL, kinds)


def _unreadable(path: Path | str, error: Exception) -> FeatureFileError:
    """What an error of HDF5 means. Only a file that is known to be damaged is called so."""
    if isinstance(path, str):
        return explained(path, error)
    text = str(error)
    if "truncated file" in text:
        what = "is truncated. Extract it again with --overwrite."
    elif "signature not found" in text:
        what = "is not an HDF5 file. `erc extract` writes feature files, `erc import` makes them."
    elif isinstance(error, OSError) and error.errno:
        what = f"cannot be read ({os.strerror(error.errno)})."
    else:
        what = f"is damaged ({text.splitlines()[0][:120]}). Extract it again with --overwrite."
    return FeatureFileError(f"{path} {what}")
