"""The contents of a pickle: containers, plain values and arrays; and a limit to their size."""

from pathlib import Path
from typing import Any

import numpy as np

from erc_features.errors import ErcError

_LEAST = 64 * 2**20  # bytes that any file may come to
_TIMES = 8  # that a file may come to its size: a pickled small number is 2 bytes, 8 as float64
_NUMBERS = "fiub"  # kinds of dtypes


class Refused(ErcError):
    """A pickle that holds more than data, or claims more than it holds."""


class Budget:
    """The memory in bytes that the contents of a file may still use."""

    def __init__(self, path: Path, size: int) -> None:
        self._path, self._left = path, max(_LEAST, _TIMES * size)

    def spend(self, count: int) -> None:
        """Use `count` bytes; refuse the file if fewer are left."""
        self._left -= count
        if self._left < 0:
            raise Refused(
                f"{self._path}: refused, it would come to far more memory than the file has "
                "bytes. Save the features as .npy, with --keys."
            )


class Array:
    """An array of the pickle; `value` is None until its contents are read."""

    __slots__ = ("value",)

    def __init__(self, value: np.ndarray | list[Any] | None = None) -> None:
        self.value = value


def unwrap(value: Any) -> Any:
    """The array in an :class:`Array`; any other value as it is."""
    return value.value if isinstance(value, Array) else value


def numbers(value: Any, budget: Budget, depth: int = 3) -> np.ndarray | None:
    """`value`, an array or lists of numbers or of arrays, as one array; None if it is neither."""
    value = unwrap(value)
    if isinstance(value, np.ndarray):
        return value if value.dtype.kind in _NUMBERS else None
    if not isinstance(value, (list, tuple)) or not value or not depth:
        return None
    budget.spend(8 * len(value))
    if all(type(one) in (int, float, bool) for one in value):
        return np.array(value, np.float64)
    parts: list[np.ndarray] = []
    for one in value:
        part = numbers(one, budget, depth - 1)
        if part is None or (parts and part.shape != parts[0].shape):
            return None
        budget.spend(part.nbytes)
        parts.append(part)
    return np.stack(parts)
