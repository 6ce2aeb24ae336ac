"""A ladder of runs: what a study did, rung by rung, as the report reads it.

`runs/<corpus>/<name>.ladder.json` holds one. It names runs and repeats none of their figures.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_origin, get_type_hints

from erc_features.errors import RunError
from erc_features.whole_file import whole_file

FORMAT_VERSION = 1
_ENDING = ".ladder.json"
_Made = TypeVar("_Made")


@dataclass(frozen=True)
class Scaled:
    """The first phase: how wide the head had to be to fit train, without regularisation.

    Attributes:
        train_accuracy: of the last epoch, mean over seeds, 0 to 1.
        fitted: that is enough; a rung that never fits lacks information or has a mistake in it.
    """

    width: int
    train_accuracy: float
    fitted: bool


@dataclass(frozen=True)
class Candidate:
    """The second phase: settings tried, and the dev score (0 to 1) of their seeds."""

    settings: Mapping[str, Any]
    dev: float
    dev_std: float


@dataclass(frozen=True)
class Rung:
    """One step.

    Attributes:
        name: a word, unique in the ladder: `text`.
        title: for readers: "2. Better text".
        adds: what it changes of the rung before, in words.
        run: the name of its run, in the folder of the corpus's runs; None where there is none.
        not_run: why there is none: "no visual features".
        tried: the choice of the run's settings was made among these, on dev.
        identity: a hash of all that both phases and the run depend on; empty in older files.
    """

    name: str
    title: str
    adds: str
    run: str | None = None
    not_run: str = ""
    scaled: Scaled | None = None
    tried: tuple[Candidate, ...] = ()
    identity: str = ""


@dataclass(frozen=True)
class Ladder:
    """A study's rungs in order; each builds on the one before that was run.

    Attributes:
        monitor: the dev score that chose.
        final: the rung that is best on dev; None where none was run.
        fingerprint: of the corpus.
    """

    name: str
    corpus: str
    fingerprint: str
    monitor: str
    rungs: tuple[Rung, ...] = ()
    final: str | None = None
    format_version: int = field(default=FORMAT_VERSION)

    def before(self, rung: Rung) -> Rung | None:
        """The rung that this one is compared with: the last one before it that was run."""
        earlier = self.rungs[: self.rungs.index(rung)]
        return next((each for each in reversed(earlier) if each.run), None)


def ladder_path(runs: Path, corpus: str, name: str) -> Path:
    """Where a study's ladder is."""
    return runs / corpus / f"{name}{_ENDING}"


def write_ladder(ladder: Ladder, runs: Path) -> Path:
    """Write it whole or not at all.

    Raises:
        RunError: it cannot be written.
    """
    path = ladder_path(runs, ladder.corpus, ladder.name)
    with whole_file(path, "choose another folder with --runs", RunError) as part:
        part.write_text(json.dumps(asdict(ladder), indent=1, ensure_ascii=False) + "\n", "utf-8")
    return path


def read_ladder(path: Path) -> Ladder:
    """Read one.

    Raises:
        RunError: it is absent, damaged, or of a newer format.
    """
    again = "Run `erc study` again."
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        version = found["format_version"]
        if version > FORMAT_VERSION:
            raise RunError(
                f"{path}: a ladder of format version {version}; this erc reads up to "
                f"{FORMAT_VERSION}. Upgrade erc to read it."
            )
        return _checked(Ladder(**found | {"rungs": tuple(map(_rung, found["rungs"]))}))
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror}). {again}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{path} is damaged ({error}). {again}") from error


def _rung(found: dict[str, Any]) -> Rung:
    scaled = found["scaled"] and _checked(Scaled(**found["scaled"]))
    tried = tuple(_checked(Candidate(**each)) for each in found["tried"])
    return _checked(Rung(**found | {"scaled": scaled, "tried": tried}))


def _checked(made: _Made) -> _Made:
    """What was made, if every field is of its type; JSON's whole numbers may be real ones."""
    for name, hint in get_type_hints(type(made)).items():
        value = getattr(made, name)
        kind = hint if isinstance(hint, UnionType) else get_origin(hint) or hint
        fine = isinstance(value, float | int if kind is float else kind)
        if isinstance(value, bool):
            fine = kind is bool
        if not fine or (isinstance(value, float) and not math.isfinite(value)):
            raise TypeError(f"{name} of a {type(made).__name__.lower()} is {value!r}")
    return made
