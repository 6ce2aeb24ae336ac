"""The runs of one report, side by side, and the corpus that all of them share."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erc_features.errors import RunError, listed
from erc_fusion.report.rows import Row, Scores, row
from erc_fusion.runs import Run


@dataclass(frozen=True)
class Corpus:
    """What the runs were trained and scored on."""

    name: str
    fingerprint: str
    counts: dict[str, int]  # utterances by split
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """Runs of one corpus, in the order given."""

    corpus: Corpus
    rows: tuple[Row, ...]
    baseline: Row | None
    unfinished: tuple[Path, ...]

    @property
    def split(self) -> str:
        """Where results are read: test, or dev where no test row has a label."""
        return "test" if any(row.test for row in self.rows) else "dev"

    @property
    def monitor(self) -> str:
        """What runs are chosen by on dev: their common monitor, else the seed's: accuracy."""
        monitors = {row.monitor for row in self.rows}
        common = monitors.pop() if len(monitors) == 1 else "accuracy"
        return common if common in ("accuracy", "weighted_f1", "macro_f1") else "accuracy"

    @property
    def best(self) -> Row | None:
        """The run that dev chooses (the first of equals)."""
        scored = [(row, row.dev.stat(self.monitor).mean) for row in self.rows if row.dev]
        return max(scored, key=lambda pair: pair[1])[0] if scored else None

    def majority(self, split: str) -> Scores | None:
        """Train's most frequent class predicted for every row of `split`."""
        found = (row.split(split) for row in self.rows)
        return next((result.majority for result in found if result), None)


def compare(
    runs: Sequence[Run], *, baseline: Run | None = None, unfinished: Sequence[Path] = ()
) -> Comparison:
    """Read the runs. A run named twice counts once; `baseline` comes first unless it is among them.

    Raises:
        RunError: no run is finished, one is damaged, or they are of several corpora.
    """
    if baseline is not None and not baseline.done:
        raise RunError(f"{baseline.path}: not a finished run; --baseline needs one.")
    given = {run.path.resolve(): run for run in runs}
    if baseline is not None and baseline.path.resolve() not in given:
        given = {baseline.path.resolve(): baseline, **given}
    for run in given.values():
        if not run.path.is_dir():
            raise RunError(f"{run.path}: no run there. Train one with `erc fuse`.")
    finished = [run for run in given.values() if run.done]
    waiting = list(
        dict.fromkeys([*unfinished, *(run.path for run in given.values() if not run.done)])
    )
    if not finished:
        raise RunError(_nothing(waiting))
    rows = tuple(row(run) for run in finished)
    return Comparison(
        corpus=_corpus(finished),
        rows=rows,
        baseline=next((each for each in rows if baseline and _same(each.run, baseline)), None),
        unfinished=tuple(waiting),
    )


def _same(one: Run, other: Run) -> bool:
    return one.path.resolve() == other.path.resolve()


def _corpus(runs: list[Run]) -> Corpus:
    """The one corpus of all `runs`; raises RunError where there are several."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        inputs = run.inputs
        corpus, fingerprint = _needed(run, "corpus"), _needed(run, "fingerprint")
        groups.setdefault((corpus, fingerprint), []).append(run)
    if len(groups) > 1:
        raise RunError(_mixed(groups))
    name, fingerprint = next(iter(groups))
    inputs = runs[0].inputs
    counts = inputs.get("counts") or {}
    return Corpus(name, fingerprint, dict(counts), tuple(_needed(runs[0], "labels")))


def _needed(run: Run, key: str) -> Any:
    try:
        return run.inputs[key]
    except KeyError:
        raise RunError(
            f"{run.path / 'inputs.json'} is damaged (no {key!r}). "
            "Run `erc fuse` again with --overwrite."
        ) from None


def _mixed(groups: dict[tuple[str, str], list[Run]]) -> str:
    lines = [
        f"{name}, fingerprint {fingerprint[:12]}: {', '.join(str(run.path) for run in runs)}"
        for (name, fingerprint), runs in groups.items()
    ]
    names = list(dict.fromkeys(name for name, _ in groups))
    if len(names) == len(groups):
        what = f"These runs are of {len(groups)} corpora"
        choose = f"Choose one with --corpus {names[0]}, or name the runs of one corpus."
    else:
        what = f"These runs saw {len(groups)} versions of a corpus (its texts or labels changed)"
        first = next(iter(groups.values()))[0].path
        choose = f"Name the runs of one version, for instance: erc report {first}"
    return f"{what}, and their figures can't be compared:{listed(lines)}\n{choose}"


def _nothing(waiting: list[Path]) -> str:
    message = (
        "No finished run to report. Train one with `erc fuse`, or say where runs are with --runs."
    )
    if waiting:
        message += f" Not finished:{listed(waiting)}\nRun the same `erc fuse` again."
    return message
