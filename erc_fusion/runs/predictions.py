"""`predictions.parquet` as columns of numpy, without pandas, whose import takes a second.

pyarrow imports it too, in `pa.array`, `pq.read_table` and every `to_numpy`; hence the buffers.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

PREDICTIONS = "predictions.parquet"


def write_predictions(path: Path, columns: Mapping[str, np.ndarray]) -> None:
    """Columns (n,) of numbers or of texts to a Parquet file.

    Raises:
        OSError: it can't be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = [_texts(pa, c) if c.dtype.kind in "OU" else _numbers(pa, c) for c in columns.values()]
    pq.write_table(pa.Table.from_arrays(arrays, names=list(columns)), path)


def read_predictions(path: Path) -> dict[str, np.ndarray]:
    """The columns (n,) of a Parquet file: numbers, and texts as object arrays.

    Raises:
        OSError: it can't be read.
        ValueError: it is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        table = file.read()
    columns: dict[str, np.ndarray] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        numbers = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
        kind = column.type.to_pandas_dtype() if numbers and not column.null_count else object
        columns[name] = np.array(column.to_pylist(), dtype=kind)
    return columns


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
