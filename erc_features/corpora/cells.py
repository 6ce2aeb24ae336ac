"""CSV cells: reading them as they stand, and their plain form.

Every cell is text: "None", "NA" and "nan" are things people say, not missing values.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from erc_features.errors import CorpusError

# A cell of any length: csv's own limit is 131,072 characters.
csv.field_size_limit(2**31 - 1)

# Curly quotes, dashes and ellipses in their plain form. MELD's texts hold U+2019 3,500 times;
# HLM12ERC deleted it, which made "company’s" into "companys".
_PLAIN = str.maketrans(
    {
        "‘": "'",
        "’": "'",
        "‚": "'",
        "‛": "'",
        "“": '"',
        "”": '"',
        "„": '"',
        "‟": '"',
        "‐": "-",
        "‑": "-",
        "‒": "-",
        "–": "-",
        "—": "-",
        "―": "-",
        "…": "...",
        "\u00a0": " ",
        "\u202f": " ",
    }
)
# The five bytes of cp1252 that mean nothing, and line and paragraph breaks in a cell.
_UNDEFINED = dict.fromkeys((0x81, 0x8D, 0x8F, 0x90, 0x9D), "")


@dataclass(frozen=True)
class Table:
    """A CSV file that was read through once: its columns, and what is wrong with its rows."""

    path: Path
    columns: tuple[str, ...]
    ragged: tuple[str, ...]
    encoding: str

    @property
    def rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Each row's first line, and its cells by column. Read again, so that memory is flat."""
        lines = _lines(self.path, self.encoding)
        next(lines)  # the columns
        for line, cells in lines:
            if len(cells) == len(self.columns):
                yield line, dict(zip(self.columns, cells, strict=True))


def read_table(path: Path) -> Table:
    """Read a CSV as text: UTF-8 with or without a BOM, else cp1252; LF or CRLF; any quoting.

    Rows with too few or too many cells are not in `rows` but described in `ragged`.
    Blank lines are passed over.

    Raises:
        CorpusError: the file can't be read, is empty, or has a column name twice.
    """
    try:
        return _scan(path, "utf-8-sig")
    except UnicodeDecodeError:
        return _scan(path, "cp1252")


def _scan(path: Path, encoding: str) -> Table:
    columns: tuple[str, ...] | None = None
    ragged: list[str] = []
    for line, cells in _lines(path, encoding):
        if columns is None:
            columns = tuple(cell.strip() for cell in cells)
        elif len(cells) != len(columns):
            ragged.append(f"{path}:{line}: {len(cells)} cells, not {len(columns)}")
    if columns is None:
        raise CorpusError(f"{path}: is empty; the first line names the columns.")
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise CorpusError(f"{path}:1: column {', '.join(map(repr, twice))} is there twice.")
    return Table(path, columns, tuple(ragged), encoding)


def _lines(path: Path, encoding: str) -> Iterator[tuple[int, list[str]]]:
    """The first line and the cells of each row that is not blank."""
    errors = "replace" if encoding == "cp1252" else "strict"
    line = 1
    try:
        with open(path, encoding=encoding, errors=errors, newline="") as file:
            # strict: a quote that is never closed is an error, and does not swallow the rest.
            reader = csv.reader(file, strict=True)
            for cells in reader:
                first, line = line, reader.line_num + 1
                if cells:
                    yield first, cells
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read ({error.strerror}).") from error
    except csv.Error as error:
        raise CorpusError(
            f"{path}:{line}: not CSV ({error}). Is a quote in this row or above it not closed, or "
            "not doubled inside a quoted cell?"
        ) from error


def plain_text(text: str) -> str:
    """Text as written, but with typographic signs in their plain form.

    Leftovers of cp1252 in Unicode (U+0080 to U+009F, as in older copies of MELD) are first
    read as what they were meant to be; other control characters become a space.

    >>> plain_text("company’s"), plain_text("company\\x92s"), plain_text("wait… – no")
    ("company's", "company's", 'wait... - no')
    """
    if not text.isascii():
        text = "".join(_from_cp1252(c) if "\x80" <= c <= "\x9f" else c for c in text)
        text = text.translate(_PLAIN)
    return "".join(c if c >= " " and c != "\x7f" else " " for c in text)


def _from_cp1252(character: str) -> str:
    if ord(character) in _UNDEFINED:
        return ""
    return bytes([ord(character)]).decode("cp1252")
