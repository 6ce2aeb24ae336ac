"""A study's plan: a ladder of runs as a TOML file has it.

    name = "mine"             # of the study; by default the file's name
    monitor = "weighted_f1"   # the dev score that chooses; by default --monitor's
    scale = 30                # epochs of the first phase, which widens the head, starting from
                              # `width`, until it fits train; 0 skips it
    search_seeds = 3          # of the second phase, which chooses on dev; never the runs' own

    [base]                    # settings of every rung, named as in `erc fuse`; they take
    context = "gru"           # precedence over those of --config

    [search]                  # what the second phase tries: every combination; none: no search
    dropout = [0.3, 0.5, 0.7]

    [[rung]]                  # each builds on the last one before it that is run
    name = "text"             # a word, unique
    title = "Better text"     # for readers; by default the name
    adds = "MiniLM's text"    # what it changes, in words; by default made from `files` and `set`
    files = { text = "better", audio = "baseline", visual = "" }
    set = { head = "attention" }
    search = { lr = [1e-3, 3e-4] }   # instead of [search]
    fuses = true              # with fewer than two modalities it is not run

`files` says which file of a modality the rung and those after it use: a file by its stem or name
(`minilm` is `text.minilm`), `better` for the one that --text, --visual or --audio names (by default
the only complete one other than that of the rung before), or "" for none. Of several files named,
those that are not there are left out; if none is there, the rung is not run.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from erc_features.errors import ErcError, choose
from erc_features.utterance import Modality
from erc_fusion.config.config import MONITORS, FuseConfig, with_options
from erc_fusion.config.parsing import build, read_toml

OBJECTIVES = "objectives"
BETTER = "better"
_NOT_A_RUNGS = (
    "corpus", "modalities", "seeds", "monitor", "features", "runs", "name", "device", "overwrite",
)  # fmt: skip
_KEYS = ("name", "monitor", "scale", "search_seeds", "base", "search", "rung")


@dataclass(frozen=True)
class Step:
    """A rung as it is planned; the module's docstring explains the fields."""

    name: str
    title: str
    adds: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    set: Mapping[str, Any] = field(default_factory=dict)
    search: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    fuses: bool = False

    def grid(self) -> tuple[dict[str, Any], ...]:
        """Every combination of what is searched over; a single empty one where nothing is."""
        return tuple(
            dict(zip(self.search, values, strict=True)) for values in product(*self.search.values())
        )


@dataclass(frozen=True)
class Plan:
    """A ladder as it is planned; the module's docstring explains the fields."""

    name: str
    steps: tuple[Step, ...]
    monitor: str | None = None
    scale: int = 30
    search_seeds: int = 3
    base: Mapping[str, Any] = field(default_factory=dict)
    search: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)


def read_plan(path: Path | str) -> Plan:
    """The plan of a TOML file, or the built-in `objectives`; raises ErcError if it is wrong."""
    where = Path(path)
    if str(path) == OBJECTIVES:
        where = Path(__file__).with_name(f"{OBJECTIVES}.toml")
    elif not where.exists():
        raise ErcError(f"No ladder {path}; there is `{OBJECTIVES}`, or a TOML file of rungs.")
    return _plan({"name": where.stem} | read_toml(where), str(where))


def _plan(found: Mapping[str, Any], where: str) -> Plan:
    for key in found:
        choose(f"key in {where}:", key, _KEYS)
    rungs = found.get("rung")
    if not isinstance(rungs, list) or not rungs or not all(isinstance(r, dict) for r in rungs):
        raise ErcError(f"{where}: a ladder has rungs, each a table that begins with [[rung]].")
    known = {key: value for key, value in found.items() if key != "rung"}
    plan: Plan = build(Plan, known | {"steps": ()}, where)
    _must_be_a_word(plan.name, where)
    if plan.monitor is not None:
        choose(f"monitor in {where}", plan.monitor, MONITORS)
    if plan.scale < 0 or plan.search_seeds < 1:
        raise ErcError(f"{where}: scale must be 0 or more, and search_seeds 1 or more.")
    _must_be_settings(plan.base, f"{where}, base")
    _must_be_a_search(plan.search, f"{where}, search")
    search = {"search": plan.search}
    steps = tuple(
        _step(search | rung, f"{where}, rung {number}") for number, rung in enumerate(rungs, 1)
    )
    names = [step.name for step in steps]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ErcError(f"{where}: more than one rung is called {', '.join(twice)}. Rename one.")
    if not steps[0].files:
        raise ErcError(f"{where}, rung {names[0]}: the first rung needs `files`.")
    return replace(plan, steps=steps)


def _step(found: Mapping[str, Any], where: str) -> Step:
    for key in found:
        choose(f"key in {where}:", key, Step.__dataclass_fields__)
    step: Step = build(Step, {"name": "", "title": found.get("name", ""), **found}, where)
    _must_be_a_word(step.name, where)
    for modality in step.files:
        choose(f"modality in {where}, files", modality, Modality)
    _must_be_settings(step.set, f"{where}, set")
    _must_be_a_search(step.search, f"{where}, search")
    return step


def _must_be_a_word(name: str, where: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", name):
        raise ErcError(f"{where}: name {name!r}: use letters, digits, '.', '_' and '-'.")


def _must_be_a_search(search: Mapping[str, tuple[Any, ...]], where: str) -> None:
    for name, values in search.items():
        if not values:
            raise ErcError(f"{where}: {name} must be a list of what to try, not [].")
        for value in values:
            _must_be_settings({name: value}, where)


def _must_be_settings(found: Mapping[str, Any], where: str) -> None:
    """By their last names, and a rung's to set; the configuration itself checks the values."""
    for name in found:
        if name in _NOT_A_RUNGS:
            raise ErcError(f"{where}: {name} belongs to the whole study, so a rung can't set it.")
    try:
        with_options(FuseConfig(), **found)
    except ErcError as error:
        raise ErcError(f"{where}: {error}") from error
