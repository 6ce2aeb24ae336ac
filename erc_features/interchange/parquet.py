"""Parquet: plain columns as a table, and columns of lists of numbers as arrays.

The lists may be of any kind that Arrow has: of one length or of several, nested, fixed-size, large,
and the `Array2D` of Hugging Face `datasets`, which is a list of lists with a name of its own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from erc_features.errors import ErcError, listed
from erc_features.interchange.checks import must_be_unique, readable

SUFFIXES = (".parquet", ".pq")
_LEAST, _TIMES = 64 * 2**20, 200  # bytes that any file may hold in memory; and times its size
_MOST_VALUES = 2**27  # that any file may hold: repeated values take almost no room in it


@dataclass(frozen=True)
class ListColumn:
    """A column of lists of numbers, still in Arrow's memory.

    Attributes:
        depth: 1 for lists of numbers, 2 for lists of lists.
        kind: the name of its type.
    """

    name: str
    depth: int
    kind: str
    column: Any

    def array(self, source: Path) -> tuple[np.ndarray | list[np.ndarray], list[int]]:
        """(n, D), (n, K, D), or n arrays (T, D) where T differs; and the n rows that are not null.

        Raises:
            ErcError: the vectors are of several lengths; names the rows.
        """
        where = f"{source} (column {self.name})"
        if self.depth not in (1, 2):
            raise ErcError(
                f"{where}: its lists are {self.depth} deep; (D,) and (K, D) can be read."
            )
        rows = np.flatnonzero(~np.asarray(self.column.is_null()))
        lists = _storage(self.column.combine_chunks()).drop_null()
        sizes, inner = _lengths(lists), _storage(lists.flatten())
        if self.depth == 1:
            _must_be_equal(where, sizes, rows)
            return _numbers(inner).reshape(len(rows), sizes[0] if len(sizes) else 1), rows.tolist()
        owners = np.repeat(rows, sizes)  # the row of each vector
        if inner.null_count:
            gap = owners[np.asarray(inner.is_null())][0]
            raise ErcError(f"{where}: a vector is null in row {gap}.")
        widths = _lengths(inner)
        _must_be_equal(where, widths, owners)
        flat = _numbers(inner.flatten())
        vectors = flat.reshape(len(widths), widths[0] if len(widths) else 1)
        if len(set(sizes.tolist())) == 1 and sizes[0]:
            return vectors.reshape(len(rows), sizes[0], -1), rows.tolist()
        return np.split(vectors, np.cumsum(sizes)[:-1]), rows.tolist()


@dataclass(frozen=True)
class ParquetTable:
    """The contents of a Parquet file.

    Attributes:
        frame: the plain columns as a DataFrame.
        lists: the columns of lists of numbers by name.
        others: columns that are neither: lists of texts, structures, bytes.
        said: the metadata of the file.
    """

    frame: Any
    lists: Mapping[str, ListColumn]
    others: tuple[str, ...]
    said: Mapping[bytes, bytes]


def read_parquet_table(
    path: Path, wanted: Callable[[str], bool] = lambda name: True
) -> ParquetTable:
    """A Parquet file, or those of its columns that are `wanted`.

    Raises:
        ErcError: it is not one, or claims far more than its size warrants.
    """
    with readable(path):
        return _read(path, wanted)


def _read(path: Path, wanted: Callable[[str], bool]) -> ParquetTable:
    import pyarrow.parquet as pq

    metadata = pq.read_metadata(path)
    size = path.stat().st_size
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    claimed = sum(group.total_byte_size for group in groups)
    most = max(_LEAST, _TIMES * size)
    if max(claimed, metadata.num_rows * metadata.num_columns) > most:
        raise ErcError(
            f"{path}: refused, it claims {metadata.num_rows:,} rows, {claimed:,} bytes, in a file "
            f"of {size:,}."
        )
    schema = pq.read_schema(path)
    values = sum(group.column(n).num_values for group in groups for n in range(group.num_columns))
    fixed = max((_fixed(field.type) for field in schema), default=1)
    if max(values, fixed * metadata.num_rows) > max(_MOST_VALUES, most):
        raise ErcError(
            f"{path}: refused, its lists claim {max(values, fixed * metadata.num_rows):,} numbers "
            f"in a file of {size:,} bytes."
        )
    table = pq.read_table(path)
    lists, others, plain = {}, [], []
    for n, field in enumerate(table.schema):
        # pandas calls an index without a name so.
        if not wanted(field.name) and not field.name.startswith("__index_level_"):
            continue
        if depth := _depth(field.type):
            must_be_unique(path, [*lists, field.name])
            lists[field.name] = ListColumn(field.name, depth, str(field.type), table.column(n))
        elif _is_plain(field.type):
            plain.append(n)
        else:
            others.append(field.name)
    frame = table.select(plain).to_pandas()
    return ParquetTable(frame, lists, tuple(others), metadata.metadata or {})


def _is_list(kind: Any) -> bool:
    import pyarrow.types as types

    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def _depth(kind: Any) -> int:
    """How deep lists of numbers are nested; 0 for anything else."""
    import pyarrow.types as types

    kind, depth = _stored(kind), 0
    while _is_list(kind):
        kind, depth = _stored(kind.value_type), depth + 1
    return depth if types.is_integer(kind) or types.is_floating(kind) else 0


def _fixed(kind: Any) -> int:
    """How many numbers a row of fixed-size lists takes, even if it is null."""
    import pyarrow.types as types

    kind, count = _stored(kind), 1
    while _is_list(kind):
        count *= max(1, kind.list_size) if types.is_fixed_size_list(kind) else 1
        kind = _stored(kind.value_type)
    return count


def _is_plain(kind: Any) -> bool:
    import pyarrow.types as types

    nested = types.is_nested(kind) or isinstance(kind, _extension())
    return not nested and not (
        types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind)
    )


def _extension() -> type:
    import pyarrow as pa

    return pa.BaseExtensionType


def _stored(kind: Any) -> Any:
    return kind.storage_type if isinstance(kind, _extension()) else kind


def _storage(array: Any) -> Any:
    return array.storage if isinstance(array.type, _extension()) else array


def _lengths(array: Any) -> np.ndarray:
    from pyarrow.compute import call_function

    return _numbers(call_function("list_value_length", [array]))


def _numbers(array: Any) -> np.ndarray:
    """A one-dimensional array; gaps become NaN."""
    return _storage(array).to_numpy(zero_copy_only=False)


def _must_be_equal(where: str, sizes: np.ndarray, rows: np.ndarray) -> None:
    """Refuse vectors of several lengths in an ErcError that names the rows with uncommon ones."""
    found, counts = np.unique(sizes, return_counts=True)
    if len(found) < 2 and not (len(found) and found[0] == 0):
        return
    most = int(found[counts.argmax()]) if len(found) else 0
    other = [f"row {rows[n]}: {sizes[n]} numbers" for n in np.flatnonzero(sizes != most)]
    if not other:
        raise ErcError(f"{where}: its lists are empty.")
    raise ErcError(
        f"{where}: its vectors have several lengths; most have {most}, and {len(other):,} not:"
        f"{listed(other, 5)}\nFeatures have one length. Frames would be lists of such vectors; a "
        "contour, with one number per frame, must be pooled first."
    )
