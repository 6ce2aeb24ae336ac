"""The comparison as a table of text cells: what the page, the terminal and papers show alike.

The first line is the majority baseline, then the runs in the order given. Scores are in percent.
"""

from dataclasses import dataclass

from erc_fusion.report.comparison import Comparison
from erc_fusion.report.rows import Row, Stat

NAMES = {"accuracy": "accuracy", "weighted_f1": "weighted F1", "macro_f1": "macro F1"}
NONE = "–"


@dataclass(frozen=True)
class Column:
    """Where a column's numbers come from. `kind`: stat, ensemble or difference."""

    split: str
    metric: str
    kind: str
    interval: bool = False

    @property
    def heading(self) -> str:
        if self.kind == "difference":
            return f"Δ {self.split} {NAMES[self.metric]}"
        return f"{self.kind if self.kind == 'ensemble' else self.split} {NAMES[self.metric]}"


@dataclass(frozen=True)
class Cell:
    """`text` is "59.4 ± 0.6", `interval` "[57.3, 61.5]" or empty; `value` the bare fraction."""

    text: str = NONE
    interval: str = ""
    value: float | None = None
    best: bool = False


@dataclass(frozen=True)
class Line:
    """`row` is None for the majority baseline."""

    name: str
    head: str
    modalities: str
    cells: tuple[Cell, ...]
    row: Row | None = None


@dataclass(frozen=True)
class Table:
    headings: tuple[str, ...]
    lines: tuple[Line, ...]


def columns(comparison: Comparison) -> tuple[Column, ...]:
    split = comparison.split
    found = [
        Column(split, "accuracy", "stat", interval=True),
        Column(split, "weighted_f1", "stat", interval=True),
        Column(split, "macro_f1", "stat"),
    ]
    if split == "test" and any(row.dev for row in comparison.rows):
        if comparison.monitor != "weighted_f1":
            found.append(Column("dev", comparison.monitor, "stat"))  # what runs are chosen by
        found.append(Column("dev", "weighted_f1", "stat"))
    found.append(Column(split, "weighted_f1", "ensemble"))
    if comparison.baseline:
        found.append(Column(split, "accuracy", "difference"))
        found.append(Column(split, "weighted_f1", "difference"))
    return tuple(found)


def tabulate(comparison: Comparison) -> Table:
    """Every cell as text; the best mean of each column is marked (all that read the same)."""
    chosen = columns(comparison)
    majority = comparison.majority(comparison.split)
    lines = []
    if majority:
        cells = tuple(_majority(comparison, column) for column in chosen)
        lines.append(Line(f"majority: {majority.label}", NONE, NONE, cells))
    for row in comparison.rows:
        cells = tuple(_cell(comparison, row, column) for column in chosen)
        lines.append(Line(row.name, row.head, " + ".join(row.modalities), cells, row))
    return Table(tuple(column.heading for column in chosen), _marked(lines, chosen))


def percent(value: float) -> str:
    """0.594 -> "59.4"."""
    return f"{100 * value:.1f}"


def spread(stat: Stat) -> str:
    """ "59.4 ± 0.6"; of one seed "59.4", since one seed has no deviation."""
    if len(stat.seeds) < 2:
        return percent(stat.mean)
    return f"{percent(stat.mean)} ± {percent(stat.std)}"


def interval(stat: Stat) -> str:
    return f"[{percent(stat.low)}, {percent(stat.high)}]"


def signed(value: float) -> str:
    """A difference in points: "+1.2", "−0.4"; a difference that rounds to none is "0.0"."""
    text = f"{100 * value:+.1f}"
    return "0.0" if float(text) == 0 else text.replace("-", "−")


def _cell(comparison: Comparison, row: Row, column: Column) -> Cell:
    result = row.split(column.split)
    if result is None:
        return Cell()
    if column.kind == "ensemble":
        value = getattr(result.ensemble, column.metric)
        return Cell(percent(value), value=value)
    stat = result.stat(column.metric)
    if column.kind == "difference":
        other = comparison.baseline.split(column.split) if comparison.baseline else None
        if other is None or row is comparison.baseline:
            return Cell()
        value = stat.mean - other.stat(column.metric).mean
        return Cell(signed(value), value=value)
    return Cell(spread(stat), interval(stat) if column.interval else "", stat.mean)


def _majority(comparison: Comparison, column: Column) -> Cell:
    scores = comparison.majority(column.split)
    if scores is None or column.kind == "ensemble":
        return Cell()
    value = getattr(scores, column.metric)
    if column.kind == "difference":
        other = comparison.baseline.split(column.split) if comparison.baseline else None
        if other is None:
            return Cell()
        value -= other.stat(column.metric).mean
        return Cell(signed(value), value=value)
    return Cell(percent(value), value=value)


def _marked(lines: list[Line], chosen: tuple[Column, ...]) -> tuple[Line, ...]:
    """Mark the best of each column, where there is a choice."""
    best: dict[int, str] = {}
    for i, column in enumerate(chosen):
        values = [line.cells[i].value for line in lines]
        known = [value for value in values if value is not None]
        if len(known) > 1 and column.kind != "difference":
            best[i] = percent(max(known))
    marked = []
    for line in lines:
        cells = tuple(
            Cell(
                cell.text,
                cell.interval,
                cell.value,
                cell.value is not None and best.get(i) == percent(cell.value),
            )
            for i, cell in enumerate(line.cells)
        )
        marked.append(Line(line.name, line.head, line.modalities, cells, line.row))
    return tuple(marked)
