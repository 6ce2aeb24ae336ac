"""A ladder of runs: what a study did, rung by rung, as the report reads it.

`runs/<corpus>/<name>.ladder.json` holds one. It names runs and repeats none of their figures.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from erc_features.errors import ErcError, RunError
from erc_features.whole_file import whole_file
from erc_fusion.config.parsing import build

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Scaled:
    """The first phase: how wide the head had to be to fit train, without regularisation.

    Attributes:
        train_accuracy: of the last epoch, mean over seeds, 0 to 1.
        fitted: whether that is enough; a rung that never fits lacks information or has a mistake.
    """

    width: int
    train_accuracy: float
    fitted: bool


@dataclass(frozen=True)
class Candidate:
    """The second phase: settings that were tried, and their dev score (0 to 1) over seeds."""

    settings: Mapping[str, Any]
    dev: float
    dev_std: float


@dataclass(frozen=True)
class Rung:
    """One step.

    Attributes:
        name: a word, unique in the ladder: `text`.
        title: for readers: "2. Better text".
        adds: what it changes in the rung before, in words.
        run: the name of its run, in the folder of the corpus's runs; None where there is none.
        not_run: why there is none: "no visual features".
        tried: the candidates among which the run's settings were chosen, on dev.
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
    format_version: int = FORMAT_VERSION

    def before(self, rung: Rung) -> Rung | None:
        """The rung that this one is compared with: the last one before it that was run."""
        earlier = self.rungs[: self.rungs.index(rung)]
        return next((each for each in reversed(earlier) if each.run), None)


def ladder_path(runs: Path, corpus: str, name: str) -> Path:
    """Where a study's ladder is."""
    return runs / corpus / f"{name}.ladder.json"


def write_ladder(ladder: Ladder, runs: Path) -> Path:
    """Write it whole or not at all; raises RunError where it cannot be written."""
    path = ladder_path(runs, ladder.corpus, ladder.name)
    with whole_file(path, "choose another folder with --runs", RunError) as part:
        part.write_text(json.dumps(asdict(ladder), indent=1, ensure_ascii=False) + "\n", "utf-8")
    return path


def read_ladder(path: Path) -> Ladder:
    """Read one; raises RunError if it is absent, damaged, or of a newer format."""
    again = "Run `erc study` again."
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        version = found["format_version"]
        if version <= FORMAT_VERSION:
            return build(Ladder, found, "its ladder", recorded=True)
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror}). {again}") from error
    except (ValueError, KeyError, TypeError, ErcError) as error:
        raise RunError(f"{path} is damaged ({error}). {again}") from error
    raise RunError(
        f"{path}: a ladder of format version {version}; this erc reads up to {FORMAT_VERSION}. "
        "Upgrade erc to read it."
    )
