"""CSV and Parquet, also of openSMILE and audformat: names in a column, numbers in the others.

If a column gives the time of a row (openSMILE's `frameTime`, audformat's `start` and `end`), the
rows of one utterance are its frames, and their mean, or what `--frames` says, is its embedding.
Otherwise two rows of one utterance are an error.
"""

import csv
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np

from erc_features.errors import ErcError, listed
from erc_features.interchange.base import Asked, Found, must_be_about
from erc_features.interchange.checks import must_be_unique, readable
from erc_features.interchange.columns import (
    choose_columns,
    must_be_text,
    notes_on,
    score_notes,
    scores_in,
)
from erc_features.interchange.frames import Settled, pool, settle
from erc_features.interchange.parquet import ListColumn, read_parquet_table
from erc_features.interchange.row_keys import NAMING, Named, names_in
from erc_features.store import Status

_TIMES = {"frametime", "start", "end", "frameindex"}
# Of a corpus, or of a table: a label among the features would be the answer among the questions.
_NO_FEATURES = {
    "", "index", "key", "split", "dialogue", "sequence", "dialogue_id", "utterance_id", "sr no.",
    "speaker", "text", "utterance", "label", "emotion", "sentiment", "class", "status", "reason",
    "season", "episode", "starttime", "endtime",
} | _TIMES | NAMING  # fmt: skip
# An index of file, start and end as pandas writes it where `DataFrame(index=[(file, start, end)])`
# made it one of tuples, as in nkululeko's `audwav2vec2`.
_TUPLE = re.compile(r"\('([^']+)', Timedelta\(.*\)\)")
# Cells without a number: "not a number" and "null", and what spreadsheets and R write.
_NULLS = ["", "nan", "NaN", "NAN", "-nan", "-NaN", "null", "NULL", "None"]
_GAPS = [*_NULLS, "NA", "<NA>", "N/A", "n/a", "#N/A"]
_TEXTS = NAMING | {"status", "reason", ""}  # read as they stand: 1.10 is no number, NA no gap


def read_csv(asked: Asked) -> Found:
    """A CSV with commas, semicolons or tabs."""
    import pandas as pd

    path = asked.source
    with readable(path):
        with open(path, encoding="utf-8-sig") as file:
            head, second = file.readline(), file.readline()
        separator = max(",;\t", key=head.count)
        columns = next(csv.reader([head], delimiter=separator), [])
        must_be_unique(path, columns)
        if len(next(csv.reader([second], delimiter=separator), [])) > len(columns):
            raise ErcError(f"{path}: its rows have more cells than its first line has names.")
        # As pandas calls them; a column of names stays text, an empty cell of numbers is NaN.
        names = {name or f"Unnamed: {n}": name.strip().lower() for n, name in enumerate(columns)}
        texts = {name for name, plain in names.items() if plain in _TEXTS}
        options: dict[str, Any] = {"dtype": dict.fromkeys(texts, str)}
        options["na_values"] = {name: _GAPS for name in names if name not in texts}
        frame = pd.read_csv(
            path, sep=separator, encoding="utf-8-sig", low_memory=False, keep_default_na=False,
            **options,
        )  # fmt: skip
    return _from_frame(asked, frame, "csv")


def read_parquet(asked: Asked) -> Found:
    """A Parquet file: a column of numbers for each of D, or a column of lists of them."""
    table = read_parquet_table(asked.source)
    exported = b"erc_about" in table.said
    if exported:
        must_be_about(asked, table.said[b"erc_about"].decode(errors="replace"))
    layers = int(table.said.get(b"erc_layers", b"1")) if exported else None
    return _from_frame(asked, table.frame, "parquet", table.lists, table.others, layers)


def _from_frame(
    asked: Asked,
    frame: Any,
    kind: str,
    lists: Mapping[str, ListColumn] = MappingProxyType({}),
    others: Sequence[str] = (),
    exported: int | None = None,
) -> Found:
    """The features in a DataFrame and in further columns of `lists` of numbers.

    Args:
        others: the names of columns that are never read.
        exported: how many layers `x` has, if `erc export` wrote it.
    """
    source = asked.source
    if any(frame.index.names):  # audformat's file, start, end
        frame = frame.reset_index()
    frame.columns = columns = [str(name).strip() for name in frame.columns]
    must_be_unique(source, [*columns, *lists])
    named = names_in(source, {name: frame[name].tolist() for name in columns}, asked.is_name)
    named = _index(asked, frame) if named is None else named
    used = named.used if named is not None else frozenset()
    numeric = [name for name in columns if frame[name].dtype.kind in "fiub" and name not in used]
    if exported is not None and "x" in lists:
        taken, scores = ["x"], {}
    else:
        plain = [name for name in columns if not name.startswith("Unnamed: ")
                 and name.lower() not in _NO_FEATURES]  # fmt: skip
        named_ones = asked.field.split(",") if asked.field else () if lists else plain
        for name in (one.strip() for one in named_ones):
            if name in columns and name not in (*numeric, *used):
                must_be_text(source, name, frame[name])
        scores = scores_in(asked, frame, [*(n for n in plain if n in numeric), *lists])
        taken = choose_columns(asked, frame, lists, numeric, scores, [
            name for name in (*plain, *lists) if (name in numeric or name in lists)
            and name not in scores])  # fmt: skip
    made = _values(asked, frame, lists, taken, exported)
    keys = asked.keys_of(len(frame), named)
    left_out = tuple(
        name for name in (*columns, *lists, *others)
        if name not in taken and name not in used and not name.startswith("Unnamed: ")
    )  # fmt: skip
    notes = [*made.notes]
    if exported is None:
        notes = [*notes_on(asked, frame, taken, keys), *score_notes(scores, taken), *notes]
    field = ",".join(taken) if asked.field or taken[0] in lists else ""
    times = [name for name in columns if name.lower() in _TIMES]
    if len(set(keys)) < len(keys) and times:
        if lists and asked.frames:
            raise ErcError(f"{source}: each row has frames, and several rows are of one utterance; "
                           "pool one of the two before, so that --frames is clear.")  # fmt: skip
        frames = list(zip(keys, *(map(str, frame[name]) for name in times), strict=True))
        if twice := [row for row, count in Counter(frames).items() if count > 1]:
            raise ErcError(f"{source}: {len(twice):,} rows of one utterance are of one time:"
                           f"{listed([', '.join(row) for row in twice], 5)}")  # fmt: skip
        way = asked.frames or "mean"
        keys, values = _pooled(keys, made.x, way)
        made, gone = Settled(values, f"{way} of rows"), {}
    else:
        gone = made.gone(keys) | _gone(keys, frame)
    if asked.frames and made.pooling == "none":
        raise ErcError(f"{source}: has one row and one vector an utterance, so there are no frames "
                       "to pool; leave out --frames.")  # fmt: skip
    return Found(keys, made.x, kind, field, made.pooling, gone, left_out, tuple(notes))


def _values(
    asked: Asked,
    frame: Any,
    lists: Mapping[str, ListColumn],
    taken: Sequence[str],
    exported: int | None,
) -> Settled:
    """The features of every row: columns of numbers together, or columns of lists as layers."""
    if taken[0] not in lists:
        return Settled(frame[list(taken)].to_numpy(np.float64)[:, None])  # (rows, 1, D)
    parts = []
    for name in taken:
        x, rows = lists[name].array(asked.source)
        if exported is not None:
            sizes = getattr(x, "shape", (0, 0))
            if len(sizes) != 2 or exported < 1 or sizes[1] % exported:
                raise ErcError(f"{asked.source}: its x is not of {exported} layers, as it says.")
            x = np.asarray(x).reshape(len(x), exported, -1)
        made = settle(asked, x, name, sure=exported is not None) if len(x) else None
        if made is None:
            raise ErcError(f"{asked.source}: every row of column {name} is null.")
        parts.append(_at(made, rows, len(frame)))
    if len({part.x.shape[2] for part in parts}) > 1:
        shapes = [f"{n} {part.x.shape}" for n, part in zip(taken, parts, strict=True)]
        raise ErcError(f"{asked.source}: columns of several dimensions are no layers of one "
                       f"network:{listed(shapes)}")  # fmt: skip
    if len(parts) == 1:
        return parts[0]
    empty = {row: why for part in parts for row, why in part.empty.items()}
    return replace(parts[0], x=np.concatenate([part.x for part in parts], axis=1), empty=empty)


def _at(made: Settled, rows: Sequence[int], count: int) -> Settled:
    """Features of some rows in their places among all `count` rows; the others have none."""
    if len(rows) == count:
        return made
    x = np.zeros((count, *made.x.shape[1:]), made.x.dtype)
    x[rows] = made.x
    empty = {rows[row]: why for row, why in made.empty.items()}
    empty |= dict.fromkeys(set(range(count)) - set(rows), "its list is null")
    return replace(made, x=x, empty=empty)


def _index(asked: Asked, frame: Any) -> Named | None:
    """The names in a column without a name, as pandas writes an index."""
    first = frame.columns[0] if len(frame.columns) else ""
    if first in ("", "Unnamed: 0"):
        texts = [str(cell).strip() for cell in frame[first]]
        cells, used = [_TUPLE.sub(r"\1", text) for text in texts], frozenset([first])
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


def _pooled(keys: list[str], values: np.ndarray, way: str) -> tuple[list[str], np.ndarray]:
    """Each key's rows pooled, in order of first appearance."""
    places: dict[str, list[int]] = {}
    for row, key in enumerate(keys):
        places.setdefault(key, []).append(row)
    frames = [values[rows].reshape(len(rows), -1) for rows in places.values()]
    pooled, _ = pool(frames, lambda _, one: one, way)
    return list(places), pooled.reshape(len(places), values.shape[1], -1)


def _gone(keys: list[str], frame: Any) -> dict[str, tuple[Status, str]]:
    """The rows without features, as `erc export` writes them."""
    if "status" not in frame.columns or "reason" not in frame.columns:
        return {}
    states = {"missing": Status.MISSING, "failed": Status.FAILED}
    rows = zip(keys, frame["status"], frame["reason"], strict=True)
    return {key: (states[s], str(why)) for key, s, why in rows if s in states}
