"""What `erc score` found of the runs: on other corpora, and with modalities missing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from erc_fusion.config.parsing import build
from erc_fusion.report.comparison import Comparison
from erc_fusion.report.results import Row, Stat
from erc_fusion.report.table import interval, spread
from erc_fusion.runs.scored import Masked, Scored, read_scored
from erc_fusion.runs.scores import number


@dataclass(frozen=True)
class Place:
    """Where runs were scored: the column of a matrix.

    Attributes:
        rows: how many labelled ones; the runs of a report have the same labels.
    """

    corpus: str
    split: str
    rows: int


@dataclass(frozen=True)
class Line:
    """A run in the matrix: its own test, then a cell for each place; None where not scored.

    Attributes:
        notes: labels that were called otherwise or left out, and what to know.
    """

    row: Row
    own: str
    cells: tuple[tuple[str, str] | None, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Elsewhere:
    """The matrix of the runs by one score.

    Attributes:
        metric: the score's name.
        places, lines: columns and rows of the matrix; empty where no run was scored elsewhere.
        masked: (run, what was found with modalities missing).
    """

    metric: str
    places: tuple[Place, ...]
    lines: tuple[Line, ...]
    masked: tuple[tuple[Row, Scored], ...]


def elsewhere(comparison: Comparison) -> Elsewhere:
    """All that is kept of the comparison's runs; raises RunError where a file is damaged."""
    found = {row.name: read_scored(row.run) for row in comparison.rows}
    lead = comparison.lead
    outside = {
        row.name: [s for s in found[row.name] if s.scores and s.fingerprint != _fingerprint(row)]
        for row in comparison.rows
    }
    places = dict.fromkeys(
        Place(s.corpus, s.split, s.scores["labelled"]) for every in outside.values() for s in every
    )
    lines = [_line(comparison, row, outside[row.name], [*places]) for row in comparison.rows]
    masked = [(row, s) for row in comparison.rows for s in found[row.name] if s.masked]
    return Elsewhere(lead, tuple(places), tuple(lines) if places else (), tuple(masked))


def steps(scored: Scored) -> Sequence[tuple[float, Masked]]:
    """(the largest share that is hidden, the scores), the least hidden first."""
    return sorted(((max(step.shares.values()), step) for step in scored.masked),
                  key=lambda pair: pair[0])  # fmt: skip


def told(scored: Scored) -> tuple[str, ...]:
    """What a reader must know of these scores."""
    found = []
    if scored.mapped:
        pairs = ", ".join(f"{theirs} as {ours}" for theirs, ours in scored.mapped.items())
        found.append(f"{scored.corpus}: {pairs}")
    if scored.left_out:
        listed = ", ".join(f"{name} ({rows:,} rows)" for name, rows in scored.left_out.items())
        found.append(f"{scored.corpus}: left out, as the run has no such label: {listed}")
    return (*found, *(f"{scored.corpus}: {warning}" for warning in scored.warnings))


def as_dicts(found: Elsewhere) -> list[Mapping[str, object]]:
    """For `--json`: a record for each run and place, by the score's own names."""
    return [
        {"run": line.row.name, "corpus": place.corpus, "split": place.split, "rows": place.rows,
         found.metric: cell[0], "interval": cell[1]}
        for line in found.lines
        for place, cell in zip(found.places, line.cells, strict=True)
        if cell
    ]  # fmt: skip


def _fingerprint(row: Row) -> str:
    return row.run.inputs["fingerprint"]


def _line(
    comparison: Comparison, row: Row, scored: Sequence[Scored], places: Sequence[Place]
) -> Line:
    lead = comparison.lead
    by_place = {Place(s.corpus, s.split, s.scores["labelled"]): s for s in scored}
    cells = []
    for place in places:
        kept = by_place.get(place)
        figure = kept.scores.get(lead) if kept else None
        stat = build(Stat, figure, lead, recorded=True) if figure else None
        cells.append((spread(stat, lead), interval(stat, lead)) if stat else None)
    result = row.split(comparison.split)
    stat = result.known(lead) if result else None
    notes = dict.fromkeys(note for s in scored for note in told(s))
    return Line(row, number(lead, stat.mean) if stat else "–", tuple(cells), tuple(notes))
