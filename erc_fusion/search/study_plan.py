"""A study's plan: a ladder of runs as a TOML file has it.

    name = "mine"             # of the study; the file's name if left
    monitor = "weighted_f1"   # the dev score that chooses; --monitor's if left
    scale = 30                # epochs of the first phase, which widens the head until it fits
                              # train, from `width` on; 0 leaves it out
    search_seeds = 3          # of the second phase, which chooses on dev; never the runs' own

    [base]                    # settings of every rung by the names they have in `erc fuse`,
    context = "gru"           # over those of --config

    [search]                  # what the second phase tries: every combination; none: no search
    dropout = [0.3, 0.5, 0.7]

    [[rung]]                  # each builds on the one before it that is run
    name = "text"             # a word, unique
    title = "Better text"     # for readers; the name if left
    adds = "MiniLM's text"    # what it changes, in words; made of `files` and `set` if left
    files = { text = "better", audio = "baseline", visual = "" }
    set = { head = "attention" }
    search = { lr = [1e-3, 3e-4] }   # in place of [search]
    fuses = true              # with fewer than two modalities it is not run

`files` says which file of a modality the rung and those after it take: a file by its stem or by
its name (`minilm` is `text.minilm`), `better` for the one that --text, --visual or --audio names
(without: the only complete one beside what the rung before has), or nothing: do without. Of
several files named, those that are not there are left out; where none is, the rung is not run.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from erc_features.errors import ErcError, choose
from erc_features.utterance import Modality
from erc_fusion.config.config import MONITORS, FuseConfig, with_options

OBJECTIVES = "objectives"
BETTER = "better"
_NOT_A_RUNGS = (
    "corpus", "modalities", "seeds", "monitor", "features", "runs", "name", "device", "overwrite",
)  # fmt: skip


@dataclass(frozen=True)
class Step:
    """A rung as it is planned; see the module for its fields."""

    name: str
    title: str
    adds: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    set: Mapping[str, Any] = field(default_factory=dict)
    search: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    fuses: bool = False

    def grid(self) -> tuple[dict[str, Any], ...]:
        """Every combination of what is searched over; one, empty, where nothing is."""
        return tuple(
            dict(zip(self.search, values, strict=True)) for values in product(*self.search.values())
        )


@dataclass(frozen=True)
class Plan:
    """A ladder as it is planned; see the module for its fields."""

    name: str
    steps: tuple[Step, ...]
    monitor: str | None = None
    scale: int = 30
    search_seeds: int = 3
    base: Mapping[str, Any] = field(default_factory=dict)


def read_plan(path: Path | str) -> Plan:
    """The plan of a TOML file, or the built-in one: `objectives`.

    Raises:
        ErcError: it can't be read, is no TOML, or something in it is unknown or wrong.
    """
    where = Path(path)
    if str(path) == OBJECTIVES:
        where = Path(__file__).with_name(f"{OBJECTIVES}.toml")
    elif not where.exists():
        raise ErcError(f"No ladder {path}; there is `{OBJECTIVES}`, or a TOML file of rungs.")
    try:
        found = tomllib.loads(where.read_text(encoding="utf-8"))
    except OSError as error:
        raise ErcError(f"{where}: cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise ErcError(f"{where}: not a TOML file ({error}).") from error
    return _plan({"name": where.stem} | found, str(where))


def _plan(found: Mapping[str, Any], where: str) -> Plan:
    known = ("name", "monitor", "scale", "search_seeds", "base", "search", "rung")
    _keys(found, known, where)
    name = _typed(found, "name", str, "", where)
    _word(name, f"{where}: name")
    monitor = _typed(found, "monitor", str, "", where)
    if monitor:
        choose(f"monitor in {where}", monitor, MONITORS)
    scale = _typed(found, "scale", int, Plan.scale, where)
    seeds = _typed(found, "search_seeds", int, Plan.search_seeds, where)
    if scale < 0 or seeds < 1:
        raise ErcError(f"{where}: scale is 0 or more, search_seeds 1 or more.")
    base = _settings(_typed(found, "base", dict, {}, where), f"{where}, base")
    search = _search(_typed(found, "search", dict, {}, where), f"{where}, search")
    rungs = _typed(found, "rung", list, [], where)
    if not rungs or not all(isinstance(rung, dict) for rung in rungs):
        raise ErcError(f"{where}: a ladder has rungs, each a table that begins with [[rung]].")
    steps = tuple(
        _step(rung, search, f"{where}, rung {number}") for number, rung in enumerate(rungs, 1)
    )
    names = [step.name for step in steps]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ErcError(f"{where}: rungs of one name: {', '.join(twice)}. Each needs its own.")
    if not steps[0].files:
        raise ErcError(f"{where}, rung {names[0]}: the first one needs `files`.")
    return Plan(name, steps, monitor or None, scale, seeds, base)


def _step(found: Mapping[str, Any], search: Mapping[str, tuple[Any, ...]], where: str) -> Step:
    _keys(found, ("name", "title", "adds", "files", "set", "search", "fuses"), where)
    name = _typed(found, "name", str, "", where)
    _word(name, f"{where}: name")
    files = _typed(found, "files", dict, {}, where)
    for modality, file in files.items():
        choose(f"modality in {where}, files", modality, Modality)
        _typed(files, modality, str, file, f"{where}, files")
    own = _typed(found, "search", dict, None, where)
    return Step(
        name,
        _typed(found, "title", str, name, where),
        _typed(found, "adds", str, "", where),
        files,
        _settings(_typed(found, "set", dict, {}, where), f"{where}, set"),
        search if own is None else _search(own, f"{where}, search"),
        _typed(found, "fuses", bool, False, where),
    )


def _keys(found: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in found:
        choose(f"key in {where}:", key, known)


def _typed(found: Mapping[str, Any], key: str, kind: type, default: Any, where: str) -> Any:
    value = found.get(key, default)
    if key in found and type(value) is not kind:
        words = {str: "a text", int: "a whole number", bool: "true or false", dict: "a table"}
        raise ErcError(f"{where}: {key} must be {words.get(kind, 'a list')}, not {value!r}.")
    return value


def _word(name: str, what: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", name):
        raise ErcError(f"{what} {name!r}: letters, digits, '.', '_' and '-' work.")


def _settings(found: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Settings by their last name; values are checked by the configuration itself."""
    for name in found:
        if name in _NOT_A_RUNGS:
            raise ErcError(f"{where}: {name} is of the whole study, not a rung's to set.")
    try:
        with_options(FuseConfig(), **found)
    except ErcError as error:
        raise ErcError(f"{where}: {error}") from error
    return dict(found)


def _search(found: Mapping[str, Any], where: str) -> dict[str, tuple[Any, ...]]:
    for name, values in found.items():
        if not isinstance(values, list) or not values:
            raise ErcError(f"{where}: {name} must be a list of what to try, not {values!r}.")
        for value in values:
            _settings({name: value}, where)
    return {name: tuple(values) for name, values in found.items()}
