"""The comparison for the terminal and for other programs."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from erc_fusion.report.comparison import Comparison, Pair
from erc_fusion.report.published import published_for
from erc_fusion.report.results import Row, SplitResult
from erc_fusion.report.summary import footnotes, sentences, warnings
from erc_fusion.report.table import Cell, Line, Table, tabulate

if TYPE_CHECKING:
    import rich.console
    import rich.table
    import rich.text


def rich_table(comparison: Comparison) -> "rich.console.Group":
    """The headline table, in 80 columns; names are never read as rich's markup.

    Scores first; then, where there are any, the differences in a table of their own. Deviations
    stand only beside intervals here; the page and :func:`as_dict` have all.
    """
    from rich.console import Group
    from rich.text import Text

    table = tabulate(comparison)
    scores = [i for i, column in enumerate(table.columns) if not column.difference]
    differences = [i for i, column in enumerate(table.columns) if column.difference]
    parts: list[rich.table.Table | rich.text.Text] = [
        _part(
            table,
            scores,
            f"{comparison.corpus.name}: percent, mean ± deviation over seeds, [95% interval]; "
            "wF1: weighted F1",
            wide=comparison.ladder is not None,
        )
    ]
    if comparison.paired:
        title = f"Differences on {comparison.split} in points, [95% interval]; *: significant"
        parts.append(_part(table, differences, title, wide=True))
        parts += [Text(note, style="dim") for note in footnotes(comparison)]
    if comparison.unfinished:
        waiting = ", ".join(map(str, comparison.unfinished))
        parts.append(Text(f"Not finished: {waiting}; run the same `erc fuse` again."))
    return Group(*parts)


def _part(table: Table, chosen: list[int], title: str, *, wide: bool) -> "rich.table.Table":
    """Some columns of the table; `wide` where they are few enough for names at length."""
    from rich import box
    from rich.table import Table as Drawn
    from rich.text import Text

    of_differences = all(table.columns[i].difference for i in chosen)
    shown = Drawn(
        title=Text(title, style="bold"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=0,
    )
    what = "rung" if any(line.rung for line in table.lines) else "run"
    shown.add_column(what, overflow="fold", min_width=20 if wide else 16)
    for i in chosen:
        shown.add_column(_brief(table.headings[i]), justify="right", no_wrap=True)
    for line in table.lines:
        if of_differences and line.row is None:
            continue  # the majority, and what was not run, differ by nothing known
        name = Text(line.name)
        for more in () if of_differences else _under(line):
            name.append(f"\n{more}", style="dim")
        if line.final:
            name.append("\nthe final model", style="bold")
        cells = [
            Text(_figure(line.cells[i]), style="bold" if line.cells[i].best else "") for i in chosen
        ]
        shown.add_row(name, *cells, style="dim" if line.row is None else "")
    return shown


def _under(line: Line) -> tuple[str, ...]:
    """What stands under a line's name."""
    if line.rung is None:
        return (f"{line.head}: {line.inputs}",) if line.row else ()
    return tuple(filter(None, (line.adds, line.note)))


def _figure(cell: Cell) -> str:
    return f"{cell.text}\n{cell.interval}" if cell.interval else cell.text.split(" ±")[0]


def _brief(heading: str) -> str:
    """A heading a few columns wide: "dev weighted F1" -> "dev", "wF1" in two lines."""
    words = (
        heading.replace("weighted F1", "wF1").replace("accuracy", "acc.").replace("Δ ", "Δ\u00a0")
    )
    return "\n".join(words.split(" "))


def as_dict(comparison: Comparison) -> dict[str, Any]:
    """Everything the table says, as numbers (fractions), for `--json`."""
    baseline, best = comparison.baseline, comparison.best
    return {
        "corpus": comparison.corpus.name,
        "fingerprint": comparison.corpus.fingerprint,
        "counts": comparison.corpus.counts,
        "labels": list(comparison.corpus.labels),
        "split": comparison.split,
        "ladder": _ladder(comparison),
        "best_on_dev": best.name if best else None,
        "baseline": baseline.name if baseline else None,
        "summary": [*sentences(comparison), *footnotes(comparison)],
        "majority": {
            split: asdict(scores)
            for split in ("dev", "test")
            if (scores := comparison.majority(split)) is not None
        },
        "runs": [_run(comparison, row) for row in comparison.rows],
        "published": [asdict(figure) for figure in published_for(comparison)],
        "unfinished": [str(path) for path in comparison.unfinished],
    }


def _run(comparison: Comparison, row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "path": str(row.run.path),
        "head": row.head,
        "modalities": list(row.modalities),
        "files": list(row.files),
        "seeds": list(row.seeds),
        "monitor": row.monitor,
        "warnings": list(warnings(row, comparison.split)),
        "dev": _split(row.dev),
        "test": _split(row.test),
        "layers": {stem: asdict(layers) for stem, layers in row.layers.items()},
        "weighing": _weighing(row),
        "paired": _paired(comparison, row),
    }


def _weighing(row: Row) -> dict[str, dict[str, float]] | None:
    if row.weighing is None:
        return None
    return {stem: asdict(weight) for stem, weight in row.weighing.items()}


def _ladder(comparison: Comparison) -> dict[str, Any] | None:
    """Each rung with its tests against the one before it."""
    if comparison.ladder is None:
        return None
    rungs = [asdict(r) | {"before": _tests(comparison.before(r))} for r in comparison.ladder.rungs]
    return asdict(comparison.ladder) | {"rungs": rungs}


def _paired(comparison: Comparison, row: Row) -> dict[str, dict[str, dict[str, Any]] | None]:
    """Against the rung before (of the run's first rung) and the baseline."""
    rungs = comparison.ladder.rungs if comparison.ladder else ()
    first = next((rung for rung in rungs if rung.run == row.name), None)
    return {
        "before": _tests(comparison.before(first)) if first else None,
        "baseline": _tests(comparison.against_baseline(row)),
    }


def _tests(pair: Pair | None) -> dict[str, dict[str, Any]] | None:
    """Each metric's test, `p_holm` beside its `p`."""
    if pair is None:
        return None
    return {
        metric: asdict(test) | {"p_holm": pair.holm[metric]} for metric, test in pair.tests.items()
    }


def _split(result: SplitResult | None) -> dict[str, Any] | None:
    return None if result is None else asdict(result)
