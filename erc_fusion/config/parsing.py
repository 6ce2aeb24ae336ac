"""Nested tables, as TOML and JSON give them, to frozen dataclasses, type by type."""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from erc_features.errors import ErcError

_WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file's tables; raises ErcError if it can't be read or is not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ErcError(f"{path}: cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise ErcError(f"{path}: not a TOML file ({error}).") from error


def build(kind: Any, values: Any, where: str, *, recorded: bool = False) -> Any:
    """The dataclass `kind` from nested tables of plain values.

    A field may be a plain value, another dataclass, a tuple or a mapping of such, or `… | None`.
    A whole number may stand for a real one; nothing else is converted. A value that already is
    the dataclass of its field stays as it is.

    Args:
        where: what was read, for messages.
        recorded: the values are results that some erc wrote, not settings that a person chose:
            unknown keys are ignored, and every number must be finite.

    Raises:
        ErcError: an unknown or missing key (names the valid ones), or a value of another type.
    """
    return _value(kind, values, where, "", recorded)


def _value(kind: Any, value: Any, where: str, name: str, recorded: bool) -> Any:
    def inner(kind: Any, value: Any, name: str) -> Any:
        return _value(kind, value, where, name, recorded)

    def must_be(what: str) -> ErcError:
        return ErcError(f"{where}: {f'{name} ' if name else ''}must be {what}, not {value!r}.")

    if kind is Any or (is_dataclass(kind) and isinstance(value, kind)):
        return value
    args, origin = get_args(kind), get_origin(kind) or kind
    if origin is UnionType:
        (other,) = (arg for arg in args if arg is not NoneType)
        return None if value is None else inner(other, value, name)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise must_be("a list")
        return tuple(inner(args[0], item, name) for item in value)
    if (origin is Mapping or is_dataclass(kind)) and not isinstance(value, Mapping):
        raise must_be("a table")
    if origin is Mapping:
        return {key: inner(args[1], item, f"{name}.{key}") for key, item in value.items()}
    if is_dataclass(kind):
        prefix = f"{name}." if name else ""
        hints = get_type_hints(kind)
        names = [item.name for item in fields(kind)]
        unknown = [key for key in value if key not in names]
        if unknown and not recorded:
            known = ", ".join(prefix + known for known in names)
            raise ErcError(
                f"{where}: unknown setting {prefix + unknown[0]!r}; choose from {known}."
            )
        for item in fields(kind):
            if item.name not in value and item.default is item.default_factory is MISSING:
                raise ErcError(f"{where}: {prefix}{item.name} is missing.")
        return kind(
            **{key: inner(hints[key], value[key], prefix + key) for key in names if key in value}
        )
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise must_be(_WORDS[kind])
    if recorded and kind is float and not math.isfinite(value):
        raise must_be("a finite number")
    return value
