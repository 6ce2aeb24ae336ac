"""Checks that the readers of several kinds of files share."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from erc_features.errors import ErcError


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn whatever a library raises on a broken file into an ErcError that names the file."""
    try:
        yield
    except ErcError:
        raise
    except Exception as error:
        why = (str(error).splitlines() or [""])[0][:200]
        if "Python objects" in why:
            why = "it holds Python objects; save numbers, .astype(np.float32)"
        raise ErcError(
            f"{path}: cannot be read as {path.suffix} ({type(error).__name__}: {why})."
        ) from error


def must_be_unique(path: Path, columns: Sequence[str]) -> None:
    """Refuse a table in which two columns have one name."""
    if twice := [name for name, count in Counter(columns).items() if count > 1]:
        raise ErcError(f"{path}: column {', '.join(map(repr, twice[:5]))} is there twice.")
