"""Runs of several training corpora, each on every corpus: the matrix of `erc report --corpus A
--corpus B`."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from erc_features.errors import RunError, listed
from erc_features.utterance import corpus_name
from erc_fusion.config.parsing import build
from erc_fusion.report.comparison import Comparison, Corpus, compare
from erc_fusion.report.elsewhere import told
from erc_fusion.report.matrix_runs import gather
from erc_fusion.report.results import Row, Stat
from erc_fusion.runs.scored import Scored, read_scored
from erc_fusion.runs.scores import NAMES

_SPLITS = ("all", "test", "dev", "train")  # in this order, where several were scored


@dataclass(frozen=True)
class Entry:
    """A run on a corpus: a cell of the matrix.

    Attributes:
        own: whether it was trained there. Then it is the run's own test, or all rows of its folds.
        split, rows: what was scored, and how many rows have a label that counts; "" and 0 where
            nothing was.
        scores: by name; a run of an older erc lacks some.
        mapped, left_out: as `Scored` has them.
        notes: what to know of the scores.
        missing: why there is no score; "" where there is one.
        command: what would make it, or one over the same rows as the diagonal's; "" where it is, or
            nothing would.
    """

    corpus: str
    own: bool
    split: str = ""
    rows: int = 0
    scores: Mapping[str, Stat] = field(default_factory=dict)
    mapped: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    missing: str = ""
    command: str = ""


@dataclass(frozen=True)
class Line:
    """A run, the corpus that it was trained on, why it is shown, and an entry for each corpus."""

    row: Row
    corpus: Corpus
    chosen: str
    entries: tuple[Entry, ...]

    @property
    def name(self) -> str:
        """Where it was trained, and what it is called: "iemocap/best"; a path is whole already."""
        return self.row.name if "/" in self.row.name else f"{self.corpus.name}/{self.row.name}"


@dataclass(frozen=True)
class Matrix:
    """Runs by training corpus, scored by test corpus.

    Attributes:
        corpora: the columns. One of which no run is shown was only scored on.
        scores: the names of those that are shown, the first first.
        notes: what to know of the whole.
        unfinished: folders of runs without DONE.
    """

    corpora: tuple[str, ...]
    lines: tuple[Line, ...]
    scores: tuple[str, ...]
    notes: tuple[str, ...]
    unfinished: tuple[Path, ...] = ()

    @property
    def gaps(self) -> tuple[tuple[Line, Entry], ...]:
        """The cells without a score."""
        return tuple((li, entry) for li in self.lines for entry in li.entries if entry.missing)


def make_matrix(
    root: Path, corpora: Sequence[str], named: Sequence[Path] = (), *, target: str | None = None
) -> Matrix:
    """Read a run of each corpus, and what `erc score` found of it on the others.

    Args:
        root: the folder of runs.
        corpora: names or folders, in the order to show.
        named: the runs to show. Of a corpus of which none is named, it is the one that dev chooses.
        target: only runs that predict this.

    Raises:
        RunError: a corpus has neither a run nor scores of one, dev chooses none of its runs, the
            runs predict different things, or a file is damaged.
    """
    names = list(dict.fromkeys(map(corpus_name, corpora)))
    found = gather(root, names, named, target)
    chosen = [
        (comparison, row, why)
        for name in names
        if found.runs[name]
        for comparison in [compare(found.runs[name])]
        for row, why in _chosen(comparison, name in found.named)
    ]
    if not chosen:
        raise RunError(
            f"No finished run of {', '.join(names)} in {root}. Train one with `erc fuse`, or say "
            "where runs are with --runs."
        )
    _must_predict_the_same([row for _, row, _ in chosen])
    kept = {row.run.path: [s for s in read_scored(row.run) if s.scores] for _, row, _ in chosen}
    columns = {
        name: _Column(name, [(row, by.corpus) for by, row, _ in chosen if by.corpus.name == name],
                      [s for every in kept.values() for s in every if s.corpus == name])
        for name in names
    }  # fmt: skip
    for name, column in columns.items():
        if not column.own and not column.scored:
            waiting = ", ".join(str(path) for path in found.unfinished if path.parent.name == name)
            raise RunError(
                f"No finished run of {name} in {root / name}, and no run of this report was scored "
                f"on it. `erc fuse --corpus {name}` trains one; `erc score RUN {name}` scores one."
                + (f" Not finished: {waiting}; run the same `erc fuse` again." if waiting else "")
            )
    scores = max((row.scores for _, row, _ in chosen), key=len)  # an older run may lack one
    first = [name for name in ("weighted_f1", "uar") if name in scores]
    shown = tuple(dict.fromkeys([*first, *scores]))
    lines = tuple(
        Line(row, by.corpus, why, tuple(
            _entry(row, by.corpus, columns[name], kept[row.run.path], shown) for name in names))
        for by, row, why in chosen
    )  # fmt: skip
    others = {s.corpus for every in kept.values() for s in every} - {*names}
    notes = (*_notes(lines, columns), *_more(sorted(others)))
    return Matrix(tuple(names), lines, shown, notes, tuple(found.unfinished))


def _chosen(comparison: Comparison, named: bool) -> list[tuple[Row, str]]:
    """The runs of a corpus to show, and why; never by test."""
    rows = comparison.rows
    if named or len(rows) == 1:
        only = f"the only run of {comparison.corpus.name} that predicts {rows[0].target}"
        return [(row, "named" if named else only) for row in rows]
    best = comparison.best
    if best is None:
        why = "some are over folds and others over splits" if comparison.mixed else "none has dev"
        raise RunError(
            f"Dev chooses none of the {len(rows)} runs of {comparison.corpus.name} ({why}). Name "
            f"the one to show, for instance: {rows[0].run.path}"
        )
    return [(best, f"highest dev {NAMES[comparison.monitor]} of {len(rows)} runs")]


def _must_predict_the_same(rows: Sequence[Row]) -> None:
    """As a comparison, but corpora may have other labels."""
    groups: dict[tuple[object, ...], list[str]] = {}
    for row in rows:
        task = row.run.metrics.get("task") or {}
        kind = (row.target, bool(row.labels), bool(task.get("several")),
                *(task.get("numbers") or ()))  # fmt: skip
        groups.setdefault(kind, []).append(str(row.run.path))
    if len(groups) > 1:
        lines = [f"{kind[0]}: {', '.join(paths)}" for kind, paths in groups.items()]
        raise RunError(
            f"These runs predict {len(groups)} different things, whose scores can't be compared:"
            f"{listed(lines)}\nName the runs of one, or choose with --target."
        )


class _Column:
    """A corpus that runs are scored on.

    Attributes:
        own: the runs that were trained on it.
        scored: what others were scored there.
        home: as the runs were trained on it; None where none was.
        order: the splits, those first that cells had best be of: the same rows as the diagonal's,
            or as every other's.
    """

    def __init__(
        self, name: str, own: Sequence[tuple[Row, Corpus]], scored: Sequence[Scored]
    ) -> None:
        self.name, self.own, self.scored = name, own, scored
        self.home = own[0][1] if own else None
        if own:
            first = "test" if any(row.test and not row.folds for row, _ in own) else "all"
        else:
            by_run: dict[str, set[str]] = {}
            for each in scored:
                by_run.setdefault(each.identity, set()).add(each.split)
            shared = set.intersection(*by_run.values()) if by_run else set()
            first = next((split for split in _SPLITS if split in shared), "all")
        self.order = (first, *(split for split in _SPLITS if split != first))


def _entry(
    row: Row, trained: Corpus, column: _Column, kept: Sequence[Scored], shown: Sequence[str]
) -> Entry:
    name = column.name
    if trained.name == name:
        test = row.test
        if test is None:
            return Entry(name, True, missing=f"no row of {name}'s test has a label")
        known = {score: stat for score in shown if (stat := test.known(score))}
        return Entry(name, True, "all" if row.folds else "test", test.labelled, known)
    here = [s for s in kept if s.corpus == name]
    same = [s for s in here if column.home is None or s.fingerprint == column.home.fingerprint]
    found = {s.split: s for s in same}
    one = next((found[split] for split in column.order if split in found), None)
    if one is None:
        return _gap(row, column, stale=bool(here))
    scores = {
        score: build(Stat, one.scores[score], score, recorded=True)
        for score in shown
        if one.scores.get(score)
    }
    notes = told(one)
    if one.fingerprint == trained.fingerprint:
        notes += (f"{name}: the very corpus that it was trained on, by another name",)
    command, best = "", column.order[0]
    if column.home and one.split != best:
        command = _command(row, column, ",".join(f"{a}={b}" for a, b in one.mapped.items()))
        notes += (f"{name}: scored on {one.split}, and the run trained there on {best}; "
                  f"`{command}` takes the same rows",)  # fmt: skip
    return Entry(name, False, one.split, one.scores["labelled"], scores, one.mapped, one.left_out,
                 notes, command=command)  # fmt: skip


def _command(row: Row, column: _Column, mapped: str) -> str:
    """What scores the run on the column's rows."""
    words = ["erc", "score", str(row.run.path), column.name]
    features = row.run.config.get("place", {}).get("features", "features")
    words += ["--features", str(features)] if features != "features" else []
    words += ["--split", column.order[0]] if column.order[0] != "all" else []
    return shlex.join([*words, "--map", mapped] if mapped else words)


def _gap(row: Row, column: _Column, stale: bool) -> Entry:
    """Where nothing is kept: why, and the command."""
    name, why, home = column.name, "not scored", column.home
    if stale and home:
        why = (
            f"scored on another version of {name}, whose texts or labels are not those of the "
            f"run trained there ({home.fingerprint[:12]})"
        )
    unknown = [label for label in home.labels if label not in row.labels] if home else []
    none = home and len(unknown) == len(home.labels) and unknown
    command = _command(row, column, "THEIRS=OURS" if none else "")
    notes = ()
    if unknown:
        lacks = [label for label in row.labels if home and label not in home.labels]
        ours = f"; it has {', '.join(lacks)} of its own" if lacks else ""
        notes = (
            f"{name}: the run has no {', '.join(unknown)}{ours}. --map THEIRS=OURS says which are "
            "the same; rows of the others are left out",
        )
    return Entry(name, False, notes=notes, missing=why, command=command)


def _notes(lines: Sequence[Line], columns: Mapping[str, _Column]) -> list[str]:
    found = []
    for i, (name, column) in enumerate(columns.items()):
        cells = [line.entries[i] for line in lines if not line.entries[i].missing]
        rows = {(cell.split, cell.rows) for cell in cells}
        if len(rows) > 1:
            each = ", ".join(f"{count:,} of {split}" for split, count in sorted(rows))
            found.append(f"The scores on {name} are not over the same rows ({each}).")
        versions = {s.fingerprint for s in column.scored}
        if not column.home and len(versions) > 1:
            found.append(f"Runs were scored on {len(versions)} versions of {name}, whose texts or "
                         "labels differ: do not compare them.")  # fmt: skip
    if len({frozenset(line.row.labels) for line in lines}) > 1:
        found.append(
            "The runs do not predict the same labels. Where a run predicts a label that the other "
            "corpus lacks, it is wrong; rows of a label that the run lacks are left out."
        )
    prints: dict[str, list[str]] = {}
    for line in lines:
        names = prints.setdefault(line.corpus.fingerprint, [])
        names += [line.corpus.name] if line.corpus.name not in names else []
    found += [f"{' and '.join(names)} are one corpus: texts, speakers and labels are equal."
              for names in prints.values() if len(names) > 1]  # fmt: skip
    return found


def _more(others: Sequence[str]) -> list[str]:
    more = " ".join(f"--corpus {name}" for name in others)
    return [f"These runs were scored elsewhere, too: {more} adds it."] if others else []
