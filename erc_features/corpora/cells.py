"""CSV cells: reading them as they are written, and turning them into plain form.

Every cell is text: "None", "NA" and "nan" are things that people say, not missing values.
"""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from erc_features.errors import CorpusError

# Allow cells of any length: csv's own limit is 131,072 characters.
csv.field_size_limit(2**31 - 1)

# Curly quotes, dashes, ellipses and fixed spaces in plain form. MELD's texts hold U+2019 3,500
# times; HLM12ERC deleted it, which made "company’s" into "companys".
_PLAIN = str.maketrans("‘’‚‛“”„‟‐‑‒–—―\u00a0\u202f", 4 * "'" + 4 * '"' + 6 * "-" + "  ")


@dataclass(frozen=True)
class Table:
    """A CSV file that was read once: its columns, and in `ragged` what is wrong with its rows."""

    path: Path
    columns: tuple[str, ...]
    ragged: tuple[str, ...]
    encoding: str

    @property
    def rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Each row's first line and its cells by column, read again, so that memory stays flat."""
        lines = _lines(self.path, self.encoding)
        next(lines)  # the columns
        for line, cells in lines:
            if len(cells) == len(self.columns):
                yield line, dict(zip(self.columns, cells, strict=True))


def read_table(path: Path) -> Table:
    """Read a CSV as text: UTF-8 with or without a BOM, else cp1252; LF or CRLF; any quoting.

    Rows with too few or too many cells are left out of `rows` and described in `ragged`.
    Blank lines are skipped.

    Raises:
        CorpusError: the file cannot be read, is empty, or has a column name twice.
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
        raise CorpusError(f"{path}: is empty; its first line must name the columns.")
    if twice := sorted({name for name in columns if columns.count(name) > 1}):
        raise CorpusError(f"{path}:1: column {', '.join(map(repr, twice))} is there twice.")
    return Table(path, columns, tuple(ragged), encoding)


def _lines(path: Path, encoding: str) -> Iterator[tuple[int, list[str]]]:
    """The first line and the cells of each row that is not blank."""
    errors = "replace" if encoding == "cp1252" else "strict"
    line = 1
    try:
        with open(path, encoding=encoding, errors=errors, newline="") as file:
            # strict: a quote that is never closed is an error instead of swallowing the rest.
            reader = csv.reader(file, strict=True)
            for cells in reader:
                first, line = line, reader.line_num + 1
                if cells:
                    yield first, cells
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read ({error.strerror}).") from error
    except csv.Error as error:
        raise CorpusError(
            f"{path}:{line}: not CSV ({error}). Look in this row and above it for a quote that is "
            "not closed, or not doubled inside a quoted cell."
        ) from error


def plain_text(text: str) -> str:
    """The text with typographic signs in their plain form.

    Characters from U+0080 to U+009F, which older copies of MELD hold, are first read as the
    cp1252 bytes they were meant to be; other control characters become a space.

    >>> plain_text("company’s"), plain_text("company\\x92s"), plain_text("wait… – no")
    ("company's", "company's", 'wait... - no')
    """
    if not text.isascii():
        text = re.sub(r"[\x80-\x9f]", _read_cp1252, text).translate(_PLAIN).replace("…", "...")
    return "".join(c if c >= " " and c != "\x7f" else " " for c in text)


def _read_cp1252(character: re.Match[str]) -> str:
    return character[0].encode("latin-1").decode("cp1252", "ignore")  # five bytes mean nothing
