"""A file of `--keys`: one name a line, or a table with a column of names, CSV or Parquet."""

import csv
from pathlib import Path

from erc_features.errors import ErcError, listed
from erc_features.interchange.checks import must_be_unique
from erc_features.interchange.parquet import SUFFIXES, read_parquet_table
from erc_features.interchange.row_keys import COLUMNS, HEADS, NAMING


def read_columns(path: Path) -> dict[str, list[str]]:
    """The columns of the table by name; a single column without a header is `key`.

    Raises:
        ErcError: it cannot be read, or a row has too few or too many cells.
    """
    if path.suffix in SUFFIXES:
        return _of_parquet(path)
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            head = file.readline()
            file.seek(0)
            separator = max(",;\t", key=head.count)
            rows = [[cell.strip() for cell in row] for row in csv.reader(file, delimiter=separator)
                    if row]  # fmt: skip
    except (OSError, ValueError, csv.Error) as error:
        raise ErcError(
            f"{path}: the list of keys cannot be read ({error}). It is a text with one name a "
            "line, a CSV, or a .parquet."
        ) from error
    if not rows:
        raise ErcError(f"{path}: the list of keys is empty; it has one key a row.")
    if len(rows[0]) == 1 and rows[0][0].lower() not in HEADS:
        rows.insert(0, ["key"])
    columns = [cell.lower() for cell in rows[0]]
    must_be_unique(path, columns)
    wrong = [f"row {n}: {len(row)} cells" for n, row in enumerate(rows) if len(row) != len(columns)]
    if wrong:
        raise ErcError(f"{path}: not {len(columns)} cells a row:{listed(wrong, 5)}")
    return {name: [row[i] for row in rows[1:]] for i, name in enumerate(columns)}


def _of_parquet(path: Path) -> dict[str, list[str]]:
    """The columns of a Parquet file that name rows."""
    if not path.is_file():
        raise ErcError(f"{path}: the list of keys cannot be read (no such file).")
    table = read_parquet_table(path, wanted=lambda name: name.strip().lower() in NAMING).frame
    if any(table.index.names):  # names that pandas keeps in its index
        table = table.reset_index()
    columns = [str(name).strip().lower() for name in table.columns]
    must_be_unique(path, columns)
    named = [i for i, name in enumerate(columns) if name in NAMING]
    if not named:
        raise ErcError(f"{path}: none of its columns names the rows. {COLUMNS}")
    if gaps := [columns[i] for i in named if table.iloc[:, i].isna().any()]:
        raise ErcError(f"{path}: column {', '.join(gaps)} has gaps; each row has a name.")
    return {columns[i]: [str(cell).strip() for cell in table.iloc[:, i]] for i in named}
