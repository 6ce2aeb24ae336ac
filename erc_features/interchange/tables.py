"""CSV and Parquet, those of openSMILE and audformat among them: names in a column, numbers in the
others.

Where a column says when a row is (openSMILE's `frameTime`, audformat's `start` and `end`), the
rows of one utterance are frames of it, and their mean is its embedding. Else two rows of one
utterance are an error.
"""

import csv
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from erc_features.errors import ErcError, listed
from erc_features.interchange.columns import must_be_text, notes_on
from erc_features.interchange.found import Asked, Found, must_be_about
from erc_features.interchange.names import NAMING, Named, names_in
from erc_features.store import Status

_TIMES = {"frametime", "start", "end", "frameindex"}
# Of a corpus, or of a table: a label among the features would be the answer among the questions.
_NO_FEATURES = {
    "", "index", "key", "split", "dialogue", "sequence", "dialogue_id", "utterance_id", "sr no.",
    "speaker", "text", "utterance", "label", "emotion", "sentiment", "class", "status", "reason",
    "season", "episode", "starttime", "endtime",
} | _TIMES | NAMING  # fmt: skip
_GAPS = [
    "",
    "nan",
    "NaN",
    "NAN",
    "NA",
    "N/A",
    "n/a",
    "<NA>",
    "null",
    "NULL",
    "None",
    "#N/A",
    "-nan",
    "-NaN",
]
_TEXTS = NAMING | {"status", "reason", ""}  # read as they stand: 1.10 is no number, NA no gap


def read_csv(asked: Asked) -> Found:
    """A CSV with commas, semicolons or tabs."""
    import pandas as pd

    path = asked.source

    def read() -> Any:
        with open(path, encoding="utf-8-sig") as file:
            head, second = file.readline(), file.readline()
        separator = max(",;\t", key=head.count)
        columns = next(csv.reader([head], delimiter=separator), [])
        if twice := [name for name, count in Counter(columns).items() if count > 1]:
            raise ErcError(f"{path}: column {', '.join(map(repr, twice[:5]))} is there twice.")
        if len(next(csv.reader([second], delimiter=separator), [])) > len(columns):
            raise ErcError(f"{path}: its rows have more cells than its first line has names.")
        # As pandas calls them; what names rows stays text, and an empty cell of numbers is NaN.
        names = [name or f"Unnamed: {n}" for n, name in enumerate(columns)]
        texts = {name for name, cell in zip(names, columns, strict=True)
                 if cell.strip().lower() in _TEXTS}  # fmt: skip
        return pd.read_csv(
            path, sep=separator, encoding="utf-8-sig", low_memory=False, keep_default_na=False,
            dtype=dict.fromkeys(texts, str),
            na_values={name: _GAPS for name in names if name not in texts},
        )  # fmt: skip

    return _from_frame(asked, _read(path, read), "csv")


def read_parquet(asked: Asked) -> Found:
    """A Parquet file: a column of numbers for each of D, or one of lists, `x`."""
    import pyarrow.parquet as pq

    path = asked.source
    metadata = _read(path, lambda: pq.read_metadata(path))
    claimed = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    most = max(64 * 2**20, 200 * path.stat().st_size)
    if max(claimed, metadata.num_rows * metadata.num_columns) > most:
        raise ErcError(
            f"{path}: refused, it claims {metadata.num_rows:,} rows, {claimed:,} bytes, in a file "
            f"of {path.stat().st_size:,}."
        )
    frame = _read(path, lambda: pq.read_table(path).to_pandas())
    said = metadata.metadata or {}
    if b"erc_about" in said:
        must_be_about(asked, said[b"erc_about"].decode(errors="replace"))
    layers = said.get(b"erc_layers", b"1")
    return _from_frame(asked, frame, "parquet", int(layers))


def _read(path: Path, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except ErcError:
        raise
    except Exception as error:
        why = (str(error).splitlines() or [""])[0][:200]
        raise ErcError(
            f"{path}: cannot be read as {path.suffix} ({type(error).__name__}: {why})."
        ) from error


def _from_frame(asked: Asked, frame: Any, kind: str, layers: int = 1) -> Found:
    source = asked.source
    if asked.field is not None:
        raise ErcError(f"{source}: --field is of files with several arrays; this is one table.")
    if any(frame.index.names):  # audformat's file, start, end
        frame = frame.reset_index()
    frame.columns = columns = [str(name).strip() for name in frame.columns]
    if twice := [name for name, count in Counter(columns).items() if count > 1]:
        raise ErcError(f"{source}: column {', '.join(map(repr, twice[:5]))} is there twice.")
    plain = [name for name in frame.columns
             if name.lower() not in _NO_FEATURES and not name.startswith("Unnamed: ")]  # fmt: skip
    if "x" in frame.columns and len(frame) and isinstance(frame["x"].iloc[0], np.ndarray):
        plain, values = [], _lists(source, frame["x"], layers)
    else:
        texts = [name for name in plain if frame[name].dtype.kind not in "fiub"]
        for name in texts:
            must_be_text(source, name, frame[name])
        plain = [name for name in plain if name not in texts]
        if not plain:
            raise ErcError(
                f"{source}: no column of numbers is left as features; it has "
                f"{', '.join(map(repr, frame.columns[:10]))}."
            )
        values = frame[plain].to_numpy(np.float64)[:, None]  # (rows, 1, D)
    named = names_in(source, {name: frame[name].tolist() for name in frame.columns})
    named = _index(asked, frame) if named is None else named
    keys = asked.keys_of(len(frame), named)
    used = named.used if named is not None else frozenset()
    left_out = tuple(
        name for name in frame.columns
        if name not in (*plain, "x") and name not in used and not name.startswith("Unnamed: ")
    )  # fmt: skip
    notes = tuple(notes_on(asked, frame[plain], keys)) if plain else ()
    times = [name for name in frame.columns if name.lower() in _TIMES]
    if len(set(keys)) < len(keys) and times:
        frames = list(zip(keys, *(map(str, frame[name]) for name in times), strict=True))
        if twice := [row for row, count in Counter(frames).items() if count > 1]:
            raise ErcError(f"{source}: {len(twice):,} rows of one utterance are of one time:"
                           f"{listed([', '.join(row) for row in twice], 5)}")  # fmt: skip
        keys, values = _pooled(keys, values)
        return Found(keys, values, kind, "", "mean of rows", left_out=left_out, notes=notes)
    return Found(keys, values, kind, gone=_gone(keys, frame), left_out=left_out, notes=notes)


def _index(asked: Asked, frame: Any) -> Named | None:
    """The names in a column without a name: what pandas writes of an index."""
    first = frame.columns[0] if len(frame.columns) else ""
    if first in ("", "Unnamed: 0"):
        cells, used = [str(cell).strip() for cell in frame[first]], frozenset([first])
    elif type(frame.index).__name__ != "RangeIndex":
        cells, used = [str(cell) for cell in frame.index], frozenset[str]()
    else:
        return None
    if any(asked.names.is_name(cell, asked.split) for cell in cells):
        return Named(cells, (), used)
    counts = [int(cell) for cell in cells if cell.isdecimal() and len(cell) < 16]
    if asked.keys is None and len(counts) == len(cells) and counts != sorted(counts):
        raise ErcError(
            f"{asked.source}: its index, {', '.join(map(str, counts[:5]))}, …, says that the rows "
            "were put in another order. Name them: a column `key`, or --keys FILE."
        )
    return None


def _lists(source: Path, column: Any, layers: int) -> np.ndarray:
    sizes = column.map(len)
    if sizes.nunique() != 1 or layers < 1 or sizes.iloc[0] % layers:
        raise ErcError(f"{source}: the lists of column x have several lengths:"
                       f"{listed(sorted(sizes.unique()), 5)}")  # fmt: skip
    return np.stack(column.to_list()).reshape(len(column), layers, -1)


def _pooled(keys: list[str], values: np.ndarray) -> tuple[list[str], np.ndarray]:
    """The mean of each key's rows, in order of first appearance."""
    order = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    place = np.array([order[key] for key in keys])
    total = np.zeros((len(order), *values.shape[1:]))
    np.add.at(total, place, values)
    return list(order), total / np.bincount(place)[:, None, None]


def _gone(keys: list[str], frame: Any) -> dict[str, tuple[Status, str]]:
    """What `erc export` says of rows without features."""
    if "status" not in frame.columns or "reason" not in frame.columns:
        return {}
    states = {"missing": Status.MISSING, "failed": Status.FAILED}
    rows = zip(keys, frame["status"], frame["reason"], strict=True)
    return {key: (states[s], str(why)) for key, s, why in rows if s in states}
