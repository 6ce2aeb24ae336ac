"""How large a feature file will be, said before hours are spent on it."""

from collections.abc import Iterator

from erc_features.store import Shape, expected_size
from erc_features.terminal import size

LARGE = 200_000_000  # bytes; below, the size is no concern


def warn_of_size(name: str, rows: int, shape: Shape, free: int) -> str:
    """What to know of a large file before it is written; "" of a small one that fits.

    >>> said = warn_of_size("text.bert.h5", 13_708, Shape(13, 1536, "float16"), 10**12)
    >>> said.split(": ")[0], said.split(": ", 2)[-1]
    ('text.bert.h5 will be about 552.9 MB', '--layers -4: 173.9 MB, --layers last 47.6 MB.')

    Args:
        name: of the file.
        free: bytes on its disk.
    """
    whole = expected_size(rows, shape)
    if whole < min(LARGE, free):
        return ""
    several = f"{shape.layers} layers of " if shape.layers > 1 else ""
    said = f"{name} will be about {size(whole)}: {rows:,} rows of {several}{shape.dim:,} numbers."
    if whole > free:
        said += f" Its disk has {size(free)}, so it will not fit."
    smaller = ", ".join(f"{option} {size(expected_size(rows, other))}"
                        for option, other in _smaller(shape))  # fmt: skip
    return f"{said} Smaller: {smaller}." if smaller else said


def _smaller(shape: Shape) -> Iterator[tuple[str, Shape]]:
    if shape.dtype == "float32":
        yield "--dtype float16", Shape(shape.layers, shape.dim, "float16")
    if shape.layers > 4:
        yield "--layers -4:", Shape(4, shape.dim, shape.dtype)
    if shape.layers > 1:
        yield "--layers last", Shape(1, shape.dim, shape.dtype)
