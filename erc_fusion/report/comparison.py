"""The runs of one report, side by side, and the corpus that all of them share."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erc_features.errors import RunError, listed
from erc_fusion.report.results import Row, Scores, row
from erc_fusion.runs.ladder import Ladder, Rung
from erc_fusion.runs.run import Run
from erc_fusion.runs.scores import paired_of

if TYPE_CHECKING:
    from erc_fusion.evaluation.paired_test import Paired


@dataclass(frozen=True)
class Corpus:
    """What the runs were trained and scored on."""

    name: str
    fingerprint: str
    counts: dict[str, int]  # utterances by split
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Pair:
    """One run against another on :attr:`Comparison.split`, by metric: :attr:`Comparison.paired_by`.

    Attributes:
        holm: the adjusted p (Holm 1979); a family is all pairs of a report by one metric, each
            pair once.
    """

    tests: Mapping[str, "Paired"]
    holm: Mapping[str, float]

    @property
    def reversed(self) -> "Pair":
        """The second run against the first; p is two-sided and stays the same."""
        tests = {
            metric: replace(test, difference=-test.difference, low=-test.high, high=-test.low)
            for metric, test in self.tests.items()
        }
        return Pair(tests, self.holm)


@dataclass(frozen=True)
class Comparison:
    """Runs of one corpus, in the order given; a ladder's first, in the order of its rungs.

    Attributes:
        baseline: the run that `--baseline` names, else the ladder's first; None without either.
        paired: by the names of two rows, the first against the second, in both orders.
    """

    corpus: Corpus
    rows: tuple[Row, ...]
    baseline: Row | None
    unfinished: tuple[Path, ...]
    ladder: Ladder | None = None
    paired: Mapping[tuple[str, str], Pair] = field(default_factory=dict)

    @property
    def scores(self) -> tuple[str, ...]:
        """The names of the scores that are shown, those of `paired_by` first."""
        every = max((row.scores for row in self.rows), key=len)  # an older run may lack one
        # A split may have no truth of a number, or of the classes beside it.
        splits = [split for row in self.rows for split in (row.dev, row.test) if split]
        return tuple(n for n in every if any(split.known(n) for split in splits)) or every

    @property
    def paired_by(self) -> tuple[str, ...]:
        """The scores by which runs are compared in pairs, of those that `split` has."""
        results = [result for row in self.rows if (result := row.split(self.split))]
        names = paired_of(self.scores)
        return tuple(n for n in names if any(own.known(n) for own in results)) or names

    @property
    def lead(self) -> str:
        """The score by which runs are told apart without pairs."""
        return "weighted_f1" if "weighted_f1" in self.paired_by else self.paired_by[0]

    @property
    def split(self) -> str:
        """The split whose results are shown: test, or dev where no test row has a label."""
        return "test" if any(row.test for row in self.rows) else "dev"

    @property
    def monitor(self) -> str:
        """What runs are chosen by on dev: their common monitor, else the first score."""
        monitors = {self.ladder.monitor} if self.ladder else {row.monitor for row in self.rows}
        common = monitors.pop() if len(monitors) == 1 else ""
        return common if common in self.scores else self.scores[0]

    @property
    def mixed(self) -> bool:
        """Whether some runs are over folds and others over the corpus's splits: they learned from
        other rows and are scored on others."""
        return len({bool(row.folds) for row in self.rows}) > 1

    @property
    def best(self) -> Row | None:
        """The run that dev chooses (the first of equals); of a ladder, its final model; None where
        dev is not the same for all."""
        if self.mixed:
            return self.final
        monitor, rows = self.monitor, reversed(self.rows)
        scores = {stat.mean: row for row in rows if row.dev and (stat := row.dev.known(monitor))}
        return self.final or (scores[max(scores)] if scores else None)

    @property
    def final(self) -> Row | None:
        """The run of the ladder's final rung; None without a ladder, or while it is unfinished."""
        if self.ladder is None:
            return None
        rung = next((each for each in self.ladder.rungs if each.name == self.ladder.final), None)
        return self.row_of(rung) if rung else None

    def inputs_of(self, row: Row) -> tuple[str, ...]:
        """A run's inputs: "text" where this report has only one such file, else "text.minilm"."""
        every = {
            pair for each in self.rows for pair in zip(each.modalities, each.files, strict=True)
        }
        files = Counter(modality for modality, _ in every)
        return tuple(
            modality if files[modality] == 1 else stem
            for modality, stem in zip(row.modalities, row.files, strict=True)
        )

    def row_of(self, rung: Rung) -> Row | None:
        """The run of a rung; None where it was not run, or is unfinished."""
        return next((row for row in self.rows if row.name == rung.run), None)

    def before(self, rung: Rung) -> Pair | None:
        """A rung against the last one before it that was run; None where there is none."""
        row, other = self.row_of(rung), self._before(rung)
        return self.paired.get((row.name, other.name)) if row and other else None

    def against_baseline(self, row: Row) -> Pair | None:
        """A run against the baseline; None for the baseline itself, and without one."""
        return self.paired.get((row.name, self.baseline.name)) if self.baseline else None

    def _before(self, rung: Rung) -> Row | None:
        rungs = self.ladder.rungs[: self.ladder.rungs.index(rung)] if self.ladder else ()
        rows = (self.row_of(earlier) for earlier in reversed(rungs))
        return next((row for row in rows if row and row.split(self.split)), None)

    def couples(self) -> tuple[tuple[str, str], ...]:
        """Names of the rows to compare, each pair once: rungs with those before, then baselines."""
        rungs = self.ladder.rungs if self.ladder else ()
        wanted = [(self.row_of(rung), self._before(rung)) for rung in rungs]
        wanted += [(each, self.baseline) for each in self.rows]
        found: dict[frozenset[str], tuple[str, str]] = {}
        for one, other in wanted:
            scored = one and other and one.split(self.split) and other.split(self.split)
            alike = one and other and bool(one.folds) == bool(other.folds)
            if one and other and scored and alike and one is not other:
                found.setdefault(frozenset((one.name, other.name)), (one.name, other.name))
        return tuple(found.values())

    def majority(self, split: str) -> Scores | None:
        """The scores of predicting train's most frequent class for every row of `split`."""
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
    waiting = dict.fromkeys([*unfinished, *(run.path for run in given.values() if not run.done)])
    if not finished:
        message = "No finished run to report. Train one with `erc fuse`, or say where runs are "
        message += "with --runs."
        if waiting:
            message += f" Not finished:{listed(waiting)}\nRun the same `erc fuse` again."
        raise RunError(message)
    corpus = _corpus(finished)
    if ladder and (ladder.corpus, ladder.fingerprint) != (corpus.name, corpus.fingerprint):
        raise RunError(
            f"The study {ladder.name!r} is of {ladder.corpus}, fingerprint "
            f"{ladder.fingerprint[:12]}, these runs of {corpus.name}, {corpus.fingerprint[:12]}, "
            "and their figures can't be compared. Run `erc study` again, or choose with --corpus."
        )
    rows = _ordered([row(run) for run in finished], ladder)
    _must_have_one_target(rows)
    place = baseline and baseline.path.resolve()
    base = next((each for each in rows if each.run.path.resolve() == place), None)
    found = Comparison(corpus, rows, base, tuple(waiting), ladder)
    if base is None and ladder is not None:
        first = next((each for each in map(found.row_of, ladder.rungs) if each), None)
        found = replace(found, baseline=first)
    return replace(found, paired=_pairs(found))


def _must_have_one_target(rows: Sequence[Row]) -> None:
    groups: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for each in rows:
        groups.setdefault((each.target, each.labels), []).append(str(each.run.path))
    if len(groups) > 1:
        lines = [f"{target}: {', '.join(paths)}" for (target, _), paths in groups.items()]
        raise RunError(
            f"These runs predict {len(groups)} different things, whose scores can't be compared:"
            f"{listed(lines)}\nName the runs of one, or choose with --target."
        )


def _ordered(rows: list[Row], ladder: Ladder | None) -> tuple[Row, ...]:
    """The ladder's rows first, rung by rung. A second run of one name is called by its path."""
    names: set[str] = set()
    for i, each in enumerate(rows):
        rows[i] = replace(each, name=str(each.run.path)) if each.name in names else each
        names.add(rows[i].name)
    runs = dict.fromkeys(rung.run for rung in (ladder.rungs if ladder else ()) if rung.run)
    order = {name: place for place, name in enumerate(runs)}
    return tuple(sorted(rows, key=lambda row: order.get(row.name, len(order))))


def _pairs(comparison: Comparison) -> dict[tuple[str, str], Pair]:
    """All couples by each metric; each run's predictions are read once."""
    couples = comparison.couples()
    if not couples:
        return {}
    from erc_fusion.evaluation import paired_test as paired

    by = comparison.paired_by

    rows = {row.name: row for row in comparison.rows}
    names = dict.fromkeys(name for couple in couples for name in couple)
    read = {name: paired.outcomes(rows[name].run, comparison.split) for name in names}
    tests = [
        {metric: paired.compare(read[first], read[second], metric) for metric in by}
        for first, second in couples
    ]
    adjusted = {metric: paired.holm([test[metric].p for test in tests]) for metric in by}
    found: dict[tuple[str, str], Pair] = {}
    for i, (first, second) in enumerate(couples):
        pair = Pair(tests[i], {metric: adjusted[metric][i] for metric in by})
        found |= {(first, second): pair, (second, first): pair.reversed}
    return found


def _corpus(runs: list[Run]) -> Corpus:
    """The one corpus of all `runs`; raises RunError where there are several."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((needed(run, "corpus"), needed(run, "fingerprint")), []).append(run)
    if len(groups) > 1:
        lines = [
            f"{name}, fingerprint {fingerprint[:12]}: {', '.join(str(run.path) for run in runs)}"
            for (name, fingerprint), runs in groups.items()
        ]
        names = list(dict.fromkeys(name for name, _ in groups))
        if len(names) == len(groups):
            what = f"These runs are of {len(groups)} corpora"
            every = " ".join(f"--corpus {name}" for name in names)
            choose = f"Choose one with --corpus {names[0]}, or name the runs of one corpus; "
            choose += f"{every} shows each on the others."
        else:
            what = f"These runs saw {len(groups)} versions of a corpus (texts or labels changed)"
            first = next(iter(groups.values()))[0].path
            choose = f"Name the runs of one version, for instance: erc report {first}"
        raise RunError(f"{what}, and their figures can't be compared:{listed(lines)}\n{choose}")
    counts = runs[0].inputs.get("counts") or {}
    return Corpus(*next(iter(groups)), dict(counts), tuple(needed(runs[0], "labels")))


def needed(run: Run, key: str) -> Any:
    """What every run's `inputs.json` has; raises RunError where it has not."""
    try:
        return run.inputs[key]
    except KeyError:
        raise run.damaged("inputs.json", f"no {key!r}") from None
