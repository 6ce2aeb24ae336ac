"""Nested tables, as TOML and JSON give them, to frozen dataclasses, type by type."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

from erc_features.errors import ErcError


def build(kind: Any, values: Any, where: str, prefix: str = "") -> Any:
    """A frozen dataclass, nested ones too, of nested tables.

    Raises:
        ErcError: an unknown key (names the valid ones), or a value of another type.
    """
    if not isinstance(values, Mapping):
        raise ErcError(f"{where}: {prefix[:-1]} must be a table, not {values!r}.")
    hints = get_type_hints(kind)
    names = [item.name for item in fields(kind)]
    for name in values:
        if name not in names:
            raise ErcError(
                f"{where}: unknown setting {prefix + name!r}; "
                f"choose from {', '.join(prefix + known for known in names)}."
            )
    built = {
        name: build(hints[name], value, where, f"{prefix}{name}.")
        if is_dataclass(hints[name])
        else _value(hints[name], value, f"{where}: {prefix}{name}")
        for name, value in values.items()
    }
    return kind(**built)


def _value(kind: Any, value: Any, what: str) -> Any:
    """`value` as `kind`; a whole number may stand for a real one, nothing else is converted."""
    if get_origin(kind) is tuple:
        if not isinstance(value, list | tuple):
            raise ErcError(f"{what} must be a list, not {value!r}.")
        return tuple(_value(get_args(kind)[0], item, what) for item in value)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        words: dict[type, str] = {
            int: "a whole number",
            float: "a number",
            str: "a text",
            bool: "true or false",
        }
        raise ErcError(f"{what} must be {words[kind]}, not {value!r}.")
    return value


def plain(value: Any) -> Any:
    """`value` with lists for tuples, as TOML and JSON have them."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return list(value) if isinstance(value, tuple) else value
