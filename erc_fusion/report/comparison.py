"""The runs of one report, side by side, and the corpus that all of them share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erc_features.errors import RunError, listed
from erc_fusion.report.results import Row, Scores, row
from erc_fusion.runs.ladder import Ladder, Rung
from erc_fusion.runs.run import Run

if TYPE_CHECKING:
    from erc_fusion.evaluation.paired_test import Paired

PAIRED = ("accuracy", "weighted_f1")  # what runs are compared by in pairs


@dataclass(frozen=True)
class Corpus:
    """What the runs were trained and scored on."""

    name: str
    fingerprint: str
    counts: dict[str, int]  # utterances by split
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Pair:
    """One run against another on :attr:`Comparison.split`, by metric (accuracy, weighted_f1).

    Attributes:
        holm: p adjusted (Holm 1979); a family is all pairs of a report by one metric, each pair
            once.
    """

    tests: Mapping[str, "Paired"]
    holm: Mapping[str, float]

    @property
    def reversed(self) -> "Pair":
        """The other run against the one; p is two-sided and stays."""
        tests = {
            metric: replace(test, difference=-test.difference, low=-test.high, high=-test.low)
            for metric, test in self.tests.items()
        }
        return Pair(tests, self.holm)


@dataclass(frozen=True)
class Comparison:
    """Runs of one corpus, in the order given; a ladder's first, in the order of its rungs.

    Attributes:
        baseline: what `--baseline` names, else the ladder's first run; None without either.
        paired: by the names of two rows, the first against the second, both ways round.
    """

    corpus: Corpus
    rows: tuple[Row, ...]
    baseline: Row | None
    unfinished: tuple[Path, ...]
    ladder: Ladder | None = None
    paired: Mapping[tuple[str, str], Pair] = field(default_factory=dict)

    @property
    def split(self) -> str:
        """Where results are read: test, or dev where no test row has a label."""
        return "test" if any(row.test for row in self.rows) else "dev"

    @property
    def monitor(self) -> str:
        """What runs are chosen by on dev: their common monitor, else the seed's: accuracy."""
        monitors = {self.ladder.monitor} if self.ladder else {row.monitor for row in self.rows}
        common = monitors.pop() if len(monitors) == 1 else "accuracy"
        return common if common in ("accuracy", "weighted_f1", "macro_f1") else "accuracy"

    @property
    def best(self) -> Row | None:
        """The run that dev chooses (the first of equals); of a ladder, its final model."""
        if self.final:
            return self.final
        scored = [(row, row.dev.stat(self.monitor).mean) for row in self.rows if row.dev]
        return max(scored, key=lambda pair: pair[1])[0] if scored else None

    @property
    def final(self) -> Row | None:
        """The run of the ladder's final rung; None without a ladder, or while it is unfinished."""
        if self.ladder is None:
            return None
        rung = next((each for each in self.ladder.rungs if each.name == self.ladder.final), None)
        return self.row_of(rung) if rung else None

    def inputs_of(self, row: Row) -> tuple[str, ...]:
        """What a run was given: modalities, and files where a modality has several in the report.

        "text" where it can mean one file only; else "text.minilm", or "text.roberta".
        """
        files: dict[str, set[str]] = {}
        for each in self.rows:
            for modality, stem in zip(each.modalities, each.files, strict=True):
                files.setdefault(modality, set()).add(stem)
        return tuple(
            modality if len(files[modality]) == 1 else stem
            for modality, stem in zip(row.modalities, row.files, strict=True)
        )

    def row_of(self, rung: Rung) -> Row | None:
        """The run of a rung; None where it was not run, or is unfinished."""
        return next((row for row in self.rows if row.name == rung.run), None)

    def before(self, rung: Rung) -> Pair | None:
        """A rung against the last one before it that was run; None where there is no such."""
        row, other = self.row_of(rung), self._before(rung)
        return self.paired.get((row.name, other.name)) if row and other else None

    def against_baseline(self, row: Row) -> Pair | None:
        """None for the baseline itself, and without one."""
        return self.paired.get((row.name, self.baseline.name)) if self.baseline else None

    def _before(self, rung: Rung) -> Row | None:
        earlier = self.ladder.before(rung) if self.ladder else None
        while self.ladder and earlier:
            row = self.row_of(earlier)
            if row and row.split(self.split):
                return row
            earlier = self.ladder.before(earlier)  # unfinished
        return None

    def couples(self) -> tuple[tuple[str, str], ...]:
        """Names of the rows to compare, each pair once: rungs with those before, then baselines."""
        rungs = self.ladder.rungs if self.ladder else ()
        wanted = [(self.row_of(rung), self._before(rung)) for rung in rungs]
        wanted += [(each, self.baseline) for each in self.rows]
        found: dict[frozenset[str], tuple[str, str]] = {}
        for one, other in wanted:
            if one is None or other is None or one is other:
                continue
            if one.split(self.split) and other.split(self.split):
                found.setdefault(frozenset((one.name, other.name)), (one.name, other.name))
        return tuple(found.values())

    def majority(self, split: str) -> Scores | None:
        """Train's most frequent class predicted for every row of `split`."""
        found = (row.split(split) for row in self.rows)
        return next((result.majority for result in found if result), None)


def compare(
    runs: Sequence[Run],
    *,
    baseline: Run | None = None,
    unfinished: Sequence[Path] = (),
    ladder: Ladder | None = None,
) -> Comparison:
    """Read the runs and test them in pairs.

    A run named twice counts once; `baseline` comes first unless it is among them.

    Raises:
        RunError: no run is finished, one is damaged, they are of several corpora, or the ladder
            is of another one.
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
    corpus = _corpus(finished)
    if ladder is not None:
        _check_ladder(ladder, corpus)
    rows = _ordered([row(run) for run in finished], ladder)
    base = next((each for each in rows if baseline and _same(each.run, baseline)), None)
    found = Comparison(corpus, rows, base, tuple(waiting), ladder)
    if base is None and ladder is not None:
        first = next((each for each in map(found.row_of, ladder.rungs) if each), None)
        found = replace(found, baseline=first)
    return replace(found, paired=_pairs(found))


def _same(one: Run, other: Run) -> bool:
    return one.path.resolve() == other.path.resolve()


def _ordered(rows: list[Row], ladder: Ladder | None) -> tuple[Row, ...]:
    """The ladder's rows first, rung by rung. A second run of one name is called by its path."""
    names: set[str] = set()
    for i, each in enumerate(rows):
        rows[i] = replace(each, name=str(each.run.path)) if each.name in names else each
        names.add(rows[i].name)
    if ladder is None:
        return tuple(rows)
    order = list(dict.fromkeys(rung.run for rung in ladder.rungs if rung.run))
    return tuple(
        sorted(rows, key=lambda row: order.index(row.name) if row.name in order else len(order))
    )


def _check_ladder(ladder: Ladder, corpus: Corpus) -> None:
    if (ladder.corpus, ladder.fingerprint) != (corpus.name, corpus.fingerprint):
        raise RunError(
            f"The study {ladder.name!r} is of {ladder.corpus}, fingerprint "
            f"{ladder.fingerprint[:12]}, these runs of {corpus.name}, {corpus.fingerprint[:12]}, "
            "and their figures can't be compared. Run `erc study` again, or choose with --corpus."
        )


def _pairs(comparison: Comparison) -> dict[tuple[str, str], Pair]:
    """All couples by each metric; predictions are read once for all."""
    couples = comparison.couples()
    if not couples:
        return {}
    from erc_fusion.evaluation import paired_test as paired

    rows = {row.name: row for row in comparison.rows}
    names = dict.fromkeys(name for couple in couples for name in couple)
    read = {name: paired.outcomes(rows[name].run, comparison.split) for name in names}
    tests = [
        {metric: paired.compare(read[first], read[second], metric) for metric in PAIRED}
        for first, second in couples
    ]
    adjusted = {metric: paired.holm([test[metric].p for test in tests]) for metric in PAIRED}
    pairs = [
        Pair(test, {metric: adjusted[metric][i] for metric in PAIRED})
        for i, test in enumerate(tests)
    ]
    there = dict(zip(couples, pairs, strict=True))
    return there | {(second, first): pair.reversed for (first, second), pair in there.items()}


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
