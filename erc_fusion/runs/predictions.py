"""`predictions.parquet` as columns of numpy, without pandas, whose import takes a second.

pyarrow imports it too, in `pa.array`, `pq.read_table` and every `to_numpy`; hence the buffers.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

PREDICTIONS = "predictions.parquet"
ROWS = 2**17  # in a group of the file, and in memory as Python's objects


def write_predictions(path: Path, blocks: Iterable[Mapping[str, np.ndarray]]) -> None:
    """Blocks of columns (n,) of numbers or of texts to a Parquet file, one after another.

    Raises:
        OSError: it can't be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    def table_of(columns: Mapping[str, np.ndarray]) -> Any:
        every = columns.values()
        arrays = [_texts(pa, c) if c.dtype.kind in "OU" else _numbers(pa, c) for c in every]
        return pa.Table.from_arrays(arrays, names=list(columns))

    tables = map(table_of, blocks)
    first = next(tables)
    with pq.ParquetWriter(path, first.schema) as writer:
        waiting = [first]
        for table in tables:
            if sum(map(len, waiting)) + len(table) > ROWS:
                writer.write_table(pa.concat_tables(waiting).combine_chunks())
                waiting = []
            waiting.append(table)
        writer.write_table(pa.concat_tables(waiting).combine_chunks())


def read_predictions(path: Path) -> dict[str, np.ndarray]:
    """The columns (n,) of a Parquet file: numbers, and texts as object arrays.

    A text that occurs often, as each does once for every seed, is in memory once.

    Raises:
        OSError: it can't be read.
        ValueError: it is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    parts: dict[str, list[np.ndarray]] = {}
    with pq.ParquetFile(path) as file:
        for field in file.schema_arrow:
            numbers = pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
            parts[field.name] = [np.empty(0, field.type.to_pandas_dtype() if numbers else object)]
        known: dict[Any, Any] = {}  # one object for each text
        for batch in file.iter_batches(ROWS):
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                values, kind = column.to_pylist(), parts[name][0].dtype
                if kind.kind == "O" or column.null_count:
                    kind, values = object, [known.setdefault(value, value) for value in values]
                parts[name].append(np.array(values, dtype=kind))
    return {name: np.concatenate(found) for name, found in parts.items()}


def _numbers(pa: Any, column: np.ndarray) -> Any:
    values = np.ascontiguousarray(column)
    kind = pa.from_numpy_dtype(values.dtype)
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values)])


def _texts(pa: Any, column: np.ndarray) -> Any:
    texts = [text.encode() for text in column.tolist()]
    ends = np.cumsum([0, *map(len, texts)], dtype=np.int64)
    return pa.LargeStringArray.from_buffers(
        len(texts), pa.py_buffer(ends), pa.py_buffer(b"".join(texts))
    )
