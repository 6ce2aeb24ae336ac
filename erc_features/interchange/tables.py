"""CSV and Parquet, those of openSMILE and audformat among them: names in a column, numbers in the
others.

Where a column says when a row is (openSMILE's `frameTime`, audformat's `start` and `end`), the
rows of one utterance are frames of it, and their mean is its embedding. Else two rows of one
utterance are an error.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from erc_features.errors import ErcError, listed
from erc_features.interchange.found import Asked, Found
from erc_features.interchange.names import names_in
from erc_features.store import Status

_TIMES = {"frametime", "start", "end", "frameindex"}
# Of a corpus, or of a table: a label among the features would be the answer among the questions.
_NO_FEATURES = {
    "", "index", "key", "split", "dialogue", "sequence", "dialogue_id", "utterance_id", "sr no.",
    "speaker", "text", "utterance", "label", "emotion", "sentiment", "class", "status", "reason",
    "season", "episode", "starttime", "endtime", "file", "filename", "name", "path", "id",
} | _TIMES  # fmt: skip


def read_csv(asked: Asked) -> Found:
    """A CSV with commas, semicolons or tabs."""
    import pandas as pd

    path = asked.source

    def read() -> Any:
        with open(path, encoding="utf-8-sig") as file:
            head = file.readline()
        separator = max(",;\t", key=head.count)
        return pd.read_csv(path, sep=separator, encoding="utf-8-sig", low_memory=False)

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
    layers = (metadata.metadata or {}).get(b"erc_layers", b"1")
    return _from_frame(asked, frame, "parquet", int(layers))


def _read(path: Path, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except Exception as error:
        why = (str(error).splitlines() or [""])[0][:200]
        raise ErcError(
            f"{path}: cannot be read as {path.suffix} ({type(error).__name__}: {why})."
        ) from error


def _from_frame(asked: Asked, frame: Any, kind: str, layers: int = 1) -> Found:
    source = asked.source
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
        plain = [name for name in plain if name not in texts]
        if not plain:
            raise ErcError(
                f"{source}: no column of numbers is left as features; it has "
                f"{', '.join(map(repr, frame.columns[:10]))}."
            )
        values = frame[plain].to_numpy(np.float64)[:, None]  # (rows, 1, D)
    left_out = tuple(name for name in frame.columns if name not in (*plain, "x"))
    named = names_in({name: frame[name].tolist() for name in set(frame.columns)})
    if asked.keys is not None or named is None:
        keys, used = asked.keys_of(len(frame)), set()
    else:
        keys, used = asked.names.resolve(source, named[0], asked.split), named[1]
    left_out = tuple(
        name for name in left_out if name not in used and not name.startswith("Unnamed: ")
    )
    timed = any(name.lower() in _TIMES for name in frame.columns)
    if len(set(keys)) < len(keys) and timed:
        keys, values = _pooled(keys, values)
        return Found(keys, values, kind, pooling="mean of rows", left_out=left_out)
    return Found(keys, values, kind, gone=_gone(keys, frame), left_out=left_out)


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
