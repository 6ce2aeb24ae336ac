"""The runs of one report, side by side, and the corpus that all of them share."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erc_features.errors import RunError, listed
from erc_fusion.ladder import Ladder, Rung
from erc_fusion.report.rows import Row, Scores, row
from erc_fusion.runs import Run

if TYPE_CHECKING:
    from erc_fusion.paired import Paired

PAIRED = ("accuracy", "weighted_f1")  # what runs are compared by in pairs


@dataclass(frozen=True)
class Corpus:
    """What the runs were trained and scored on."""

    name: str
    fingerprint: str
    counts: dict[str, int]  # utterances by split
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Pairs:
    """One run's paired tests on :attr:`Comparison.split`, by metric (accuracy, weighted_f1).

    Attributes:
        before: against the ladder's rung before it that was run; None for the first one, and
            without a ladder.
        baseline: against the baseline; None for the baseline itself, and without one.
        before_holm, baseline_holm: their p adjusted (Holm 1979), one family for each metric: all
            comparisons of that kind in this report.
    """

    before: Mapping[str, "Paired"] | None = None
    baseline: Mapping[str, "Paired"] | None = None
    before_holm: Mapping[str, float] | None = None
    baseline_holm: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Comparison:
    """Runs of one corpus, in the order given; a ladder's first, in the order of its rungs.

    Attributes:
        baseline: what `--baseline` names, else the ladder's first run; None without either.
        paired: by the name of a row; a row that is compared with nothing is left out.
    """

    corpus: Corpus
    rows: tuple[Row, ...]
    baseline: Row | None
    unfinished: tuple[Path, ...]
    ladder: Ladder | None = None
    paired: Mapping[str, Pairs] = field(default_factory=dict)

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

    def row_of(self, rung: Rung) -> Row | None:
        """The run of a rung; None where it was not run, or is unfinished."""
        return next((row for row in self.rows if row.name == rung.run), None)

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


def _pairs(comparison: Comparison) -> dict[str, Pairs]:
    """Every run against the rung before it and against the baseline, where there are such."""
    split, base = comparison.split, comparison.baseline
    scored = {each.name: each for each in comparison.rows if each.split(split)}
    others = _rungs_before(comparison.ladder, scored)
    bases = {name: base.name for name in scored if base and base.name in scored}
    if base:
        bases.pop(base.name, None)
    couples = dict.fromkeys([*others.items(), *bases.items()])
    tested = _tested(scored, couples, split) if couples else {}
    before = {name: tested[name, other] for name, other in others.items()}
    against = {name: tested[name, other] for name, other in bases.items()}
    before_holm, against_holm = _adjusted(before), _adjusted(against)
    return {
        name: Pairs(
            before.get(name), against.get(name), before_holm.get(name), against_holm.get(name)
        )
        for name in scored
        if name in before or name in against
    }


def _tested(
    rows: Mapping[str, Row], couples: Iterable[tuple[str, str]], split: str
) -> dict[tuple[str, str], dict[str, "Paired"]]:
    """Each couple by each metric; predictions are read once for all."""
    from erc_fusion import paired

    couples = tuple(couples)
    names = dict.fromkeys(name for couple in couples for name in couple)
    read = {name: paired.outcomes(rows[name].run, split) for name in names}
    return {
        (first, second): {
            metric: paired.compare(read[first], read[second], metric) for metric in PAIRED
        }
        for first, second in couples
    }


def _rungs_before(ladder: Ladder | None, scored: Mapping[str, Row]) -> dict[str, str]:
    """Of each run of the ladder but the first, the run before it.

    A final rung that names an earlier rung's run again is that run, compared where it first was.
    """
    names = dict.fromkeys(rung.run for rung in ladder.rungs if rung.run) if ladder else {}
    there = [name for name in names if name in scored]
    return dict(zip(there[1:], there, strict=False))


def _adjusted(tests: Mapping[str, Mapping[str, "Paired"]]) -> dict[str, dict[str, float]]:
    if not tests:
        return {}
    from erc_fusion.paired import holm

    by_metric = {metric: holm([test[metric].p for test in tests.values()]) for metric in PAIRED}
    return {
        name: {metric: by_metric[metric][i] for metric in PAIRED} for i, name in enumerate(tests)
    }


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
