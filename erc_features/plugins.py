"""Tables of "module:name" strings, and the entry points that add to them."""

import os
import sys
from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from erc_features.errors import ErcError


def with_plugins(group: str, table: Mapping[str, str]) -> dict[str, str]:
    """`table` and what installed packages add to it under the entry point group `group`.

    Raises:
        ErcError: two things have one name, so that a result would depend on what else is
            installed; names both.
    """
    found = dict(table)
    for point in _installed(group, tuple((place, _changed(place)) for place in sys.path)):
        if found.get(point.name, point.value) != point.value:
            raise ErcError(
                f"Two plug-ins of {group} are called {point.name!r}: {found[point.name]} and "
                f"{point.value}. Uninstall one of them."
            )
        found[point.name] = point.value
    return found


@lru_cache(maxsize=16)
def _installed(group: str, places: tuple[tuple[str, int], ...]) -> tuple[EntryPoint, ...]:
    """The entry points of a group. To look reads a file of every package that is installed, 60 ms,
    and a study asks at every model, so it is done again only where `places` have changed.
    """
    return tuple(entry_points(group=group))


def _changed(place: str) -> int:
    """When something was last put into a folder of sys.path, or removed, in ns; 0 if none is."""
    try:
        return os.stat(place or ".").st_mtime_ns
    except OSError:
        return 0


def load(target: str) -> Any:
    """The object that "module:name" names.

    Raises:
        ErcError: the module or the name isn't there, or the module raises when it is imported.
    """
    module, _, name = target.partition(":")
    try:
        return getattr(import_module(module), name)
    except Exception as error:  # importing a plug-in runs code of others
        raise ErcError(
            f"The plug-in {target} can't be loaded: {type(error).__name__}: {error}. Repair its "
            "package or uninstall it."
        ) from error
