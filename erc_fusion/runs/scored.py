"""What `erc score` found: a finished run on another corpus, or with modalities missing.

runs/<corpus>/scores/<run>/<corpus>.<split>.json        on another corpus, or another split
runs/<corpus>/scores/<run>/<corpus>.<split>.masked.json with some rows' modalities hidden

They stand beside the runs' folders, which hold nothing but a run's own files. `identity` says of
which run they are: once it is trained anew they count no more.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from erc_features.errors import ErcError, RunError
from erc_features.whole_file import whole_file
from erc_fusion.config.parsing import build
from erc_fusion.runs.run import Run

FORMAT_VERSION = 1


@dataclass(frozen=True)
class MaskedScore:
    """A score with some modalities missing: means over seeds, then over the repeats.

    Attributes:
        std, low, high: sample deviation and 2.5% and 97.5% quantiles over the repeats, which hide
            other rows each; they say nothing of other dialogues or seeds.
    """

    mean: float
    std: float
    low: float
    high: float


@dataclass(frozen=True)
class Masked:
    """Shares of the rows that have a modality, hidden at random: {"audio": 0.3}; and the scores."""

    shares: Mapping[str, float]
    scores: Mapping[str, MaskedScore]


@dataclass(frozen=True)
class Scored:
    """What `erc score` found.

    Attributes:
        run: the name of the run; identity: the hash of its settings and inputs.
        corpus, fingerprint, split: what it was scored on; split is `all` of several.
        mapped: the corpus's label -> the run's.
        left_out: labels of the corpus that the run does not have -> their rows, which do not count.
        scores: as a split's in `metrics.json`.
        masked: with modalities missing, the least hidden first; `repeats` times each.
        files: stem -> the feature file.
        warnings: what to know.
    """

    run: str
    identity: str
    corpus: str
    fingerprint: str
    split: str
    mapped: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)
    masked: tuple[Masked, ...] = ()
    repeats: int = 0
    files: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    format_version: int = FORMAT_VERSION


def scores_folder(run: Path) -> Path:
    """Where the scores of a run's folder are."""
    return run.parent / "scores" / run.name


def write_scored(run: Run, found: Scored) -> Path:
    """Write what was found, whole or not at all; returns where.

    Raises:
        ErcError: it can't be written.
    """
    kind = ".masked" if found.masked else ""
    path = scores_folder(run.path) / f"{found.corpus}.{found.split}{kind}.json"
    with whole_file(path, "free some space, or choose another folder with --runs") as part:
        text = json.dumps(asdict(found), indent=1, ensure_ascii=False)
        part.write_text(text + "\n", encoding="utf-8")
    return path


def read_scored(run: Run) -> tuple[Scored, ...]:
    """All that `erc score` found of this run as it is now, by corpus and split.

    Raises:
        RunError: a file is damaged, or of a newer erc.
    """
    every = []
    for path in sorted(scores_folder(run.path).glob("*.json")):
        try:
            kept = json.loads(path.read_bytes())
            if kept.get("format_version", 0) > FORMAT_VERSION:
                raise RunError(f"{path} was written by a newer erc; upgrade to read it.")
            every.append(build(Scored, kept, str(path), recorded=True))
        except RunError:
            raise
        except (OSError, ValueError, AttributeError, ErcError) as error:
            raise RunError(f"{path} is damaged ({error}). Run `erc score` again.") from error
    return tuple(each for each in every if each.identity == run.inputs.get("identity"))
