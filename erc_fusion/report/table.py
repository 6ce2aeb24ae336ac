"""The comparison as a table of text cells, which the page, the terminal and papers all show.

The first line is the majority baseline; then come a ladder's rungs in order, including those that
were not run, and the other runs in the order given. Scores are in percent, differences in points;
CCC, correlation and errors are as they are.
"""

from dataclasses import dataclass, replace

from erc_fusion.report.comparison import Comparison, Pair
from erc_fusion.report.results import Row, Stat
from erc_fusion.runs.ladder import Rung
from erc_fusion.runs.scores import LOWER, NAMES, number, unit

NONE = "–"
STAR = "*"
LEVEL = 0.05  # of significance, after Holm's correction


@dataclass(frozen=True)
class Column:
    """Where a column's numbers come from.

    `kind`: stat, ensemble, before (difference from the ladder's rung before) or baseline
    (difference from the baseline).
    """

    split: str
    metric: str
    kind: str
    interval: bool = False

    @property
    def difference(self) -> bool:
        return self.kind in ("before", "baseline")

    @property
    def group(self) -> str:
        """The heading's first part: "test", "ensemble", "Δ before"."""
        if self.difference:
            return f"Δ {self.kind}"
        return self.kind if self.kind == "ensemble" else self.split

    @property
    def heading(self) -> str:
        return f"{self.group} {NAMES[self.metric]}"


@dataclass(frozen=True)
class Cell:
    """One score or difference.

    Attributes:
        text: "59.4 ± 0.6", a CCC "0.612 ± 0.006"; a difference is "+1.2", and "+1.2*" where it is
            significant.
        interval: "[57.3, 61.5]" or empty.
        value: as a fraction.
        best: whether it is the best of its column.
        p: of a difference, adjusted by Holm's method; else None.
    """

    text: str = NONE
    interval: str = ""
    value: float | None = None
    best: bool = False
    p: float | None = None


@dataclass(frozen=True)
class Line:
    """`row` is None for the majority baseline, and for a rung without a finished run.

    Attributes:
        name: of the run; of a rung its title: "2. Better text".
        inputs: its modalities or files, see :meth:`Comparison.inputs_of`.
        adds: what a rung changes in the one before, in words; else "".
        note: why a rung has no scores ("not run: no visual features"); else "".
        final: whether it is the ladder's final model.
        rung: the rung, where the line is one of a ladder.
    """

    name: str
    head: str
    inputs: str
    cells: tuple[Cell, ...]
    row: Row | None = None
    adds: str = ""
    note: str = ""
    final: bool = False
    rung: Rung | None = None


@dataclass(frozen=True)
class Table:
    """`columns` and `headings` go with the cells of each line."""

    headings: tuple[str, ...]
    lines: tuple[Line, ...]
    columns: tuple[Column, ...]


def columns(comparison: Comparison) -> tuple[Column, ...]:
    """With a ladder, dev and test with intervals; without one, macro F1, UAR and the ensemble
    too."""
    split, by = comparison.split, comparison.paired_by
    found = [Column(split, metric, "stat", interval=True) for metric in by]
    with_dev = split == "test" and any(row.dev for row in comparison.rows)
    if comparison.ladder:
        found += [Column("dev", metric, "stat", interval=True) for metric in by if with_dev]
        found += [Column(split, metric, "before") for metric in by]
    else:
        more = (m for m in comparison.scores if m not in by)
        found += [Column(split, m, "stat", interval=m == "uar") for m in more]
        # Runs are chosen by the first.
        on_dev = dict.fromkeys((comparison.monitor, comparison.lead))
        found += [Column("dev", metric, "stat") for metric in on_dev if with_dev]
        if any((result := row.split(split)) and result.ensemble for row in comparison.rows):
            found.append(Column(split, comparison.lead, "ensemble"))
    if comparison.baseline:
        found += [Column(split, metric, "baseline") for metric in by]
    return tuple(found)


def tabulate(comparison: Comparison) -> Table:
    """Every cell as text; the best mean of each column is marked (all that read the same)."""
    chosen = columns(comparison)
    majority = comparison.majority(comparison.split)
    lines = []
    if majority:
        cells = tuple(_majority(comparison, column) for column in chosen)
        lines.append(Line(f"majority: {majority.label}", NONE, NONE, cells))
    ladder = comparison.ladder
    for rung in ladder.rungs if ladder else ():
        row = comparison.row_of(rung)
        if row:
            line = _line(comparison, row, chosen, rung)
            final = ladder is not None and rung.name == ladder.final
            lines.append(replace(line, name=rung.title, adds=rung.adds, final=final))
        else:
            why = f"not run: {rung.not_run}" if rung.not_run else "not run"
            note = "not finished" if rung.run else why
            empty = tuple(Cell() for _ in chosen)
            lines.append(Line(rung.title, NONE, NONE, empty, adds=rung.adds, note=note, rung=rung))
    of_rungs = {line.row.name for line in lines if line.row}
    others = (row for row in comparison.rows if row.name not in of_rungs)
    lines += (_line(comparison, row, chosen) for row in others)
    return Table(tuple(column.heading for column in chosen), _marked(lines, chosen), chosen)


def _line(
    comparison: Comparison, row: Row, chosen: tuple[Column, ...], rung: Rung | None = None
) -> Line:
    cells = tuple(_cell(comparison, row, column, rung) for column in chosen)
    inputs = " + ".join(comparison.inputs_of(row))
    return Line(row.name, row.head, inputs, cells, row, rung=rung)


def percent(value: float) -> str:
    """0.594 -> "59.4"."""
    return f"{100 * value:.1f}"


def spread(stat: Stat, name: str = "accuracy") -> str:
    """ "59.4 ± 0.6"; "59.4" for one seed, which has no deviation."""
    return number(name, stat.mean) + (f" ± {number(name, stat.std)}" if len(stat.seeds) > 1 else "")


def interval(stat: Stat, name: str = "accuracy") -> str:
    return f"[{number(name, stat.low)}, {number(name, stat.high)}]"


def signed(value: float, name: str = "accuracy") -> str:
    """A difference in points: "+1.2", "−0.4"; a difference that rounds to none is "0.0"."""
    text = number(name, value)
    if float(text) == 0:
        return number(name, 0.0)
    return text.replace("-", "−") if value < 0 else f"+{text}"


def between(low: float, high: float, name: str = "accuracy") -> str:
    """The interval of a difference in points: "[−0.3, 2.1]"."""
    return f"[{signed(low, name)}, {signed(high, name)}]".replace("+", "")


def unit_of(comparison: Comparison) -> str:
    """What the table's numbers are: "percent", or that some are as they are."""
    plain = [NAMES[name] for name in comparison.scores if not unit(name)]
    if len(plain) == len(comparison.scores):
        return "scores as they are"
    return f"percent, but {' and '.join(plain)} as it is" if plain else "percent"


def probability(p: float) -> str:
    """ "0.012", "0.3"; the smallest "< 0.001"."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _cell(comparison: Comparison, row: Row, column: Column, rung: Rung | None) -> Cell:
    if column.kind == "before":
        return _difference(comparison.before(rung) if rung else None, column.metric)
    if column.kind == "baseline":
        return _difference(comparison.against_baseline(row), column.metric)
    result = row.split(column.split)
    if result is None:
        return Cell()
    if column.kind == "ensemble":
        value = result.ensemble.get(column.metric)
        return Cell() if value is None else Cell(number(column.metric, value), value=value)
    stat = result.known(column.metric)
    if stat is None:
        return Cell()
    shown = interval(stat, column.metric) if column.interval else ""
    return Cell(spread(stat, column.metric), shown, stat.mean)


def _difference(pair: Pair | None, metric: str) -> Cell:
    if pair is None:
        return Cell()
    test, p = pair.tests[metric], pair.holm[metric]
    text = signed(test.difference, metric) + (STAR if p < LEVEL else "")
    return Cell(text, between(test.low, test.high, metric), test.difference, p=p)


def _majority(comparison: Comparison, column: Column) -> Cell:
    scores = comparison.majority(column.split)
    if scores is None or column.kind == "ensemble" or column.difference:
        return Cell()
    value = getattr(scores, column.metric, None)  # numbers have no majority
    return Cell() if value is None else Cell(percent(value), value=value)


def _marked(lines: list[Line], chosen: tuple[Column, ...]) -> tuple[Line, ...]:
    """Mark the best of each column, where there is a choice."""
    by_column = []
    for i, column in enumerate(chosen):
        cells = [line.cells[i] for line in lines]
        name = column.metric
        shown = [cell.value is not None and number(name, cell.value) for cell in cells]
        values = [cell.value for cell in cells if cell.value is not None]
        best = min if name in LOWER else max
        top = number(name, best(values)) if len(values) > 1 and not column.difference else None
        by_column.append([replace(c, best=s == top) for c, s in zip(cells, shown, strict=True)])
    rows = zip(*by_column, strict=True)
    return tuple(replace(line, cells=cells) for line, cells in zip(lines, rows, strict=True))
