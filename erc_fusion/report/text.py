"""The comparison for the terminal and for other programs."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from erc_fusion.report.comparison import Comparison, Pair
from erc_fusion.report.elsewhere import as_dicts, elsewhere
from erc_fusion.report.published import published_for
from erc_fusion.report.results import Row
from erc_fusion.report.summary import footnotes, sentences, warnings
from erc_fusion.report.table import Line, Table, tabulate, unit_of

if TYPE_CHECKING:
    import rich.console
    import rich.table
    import rich.text


def rich_table(comparison: Comparison) -> "rich.console.Group":
    """The headline table, in 80 columns; names are never read as rich's markup.

    Scores come first, then the differences, if any, in a table of their own. Deviations are shown
    only beside intervals here; the page and :func:`as_dict` have all.
    """
    from rich.console import Group
    from rich.text import Text

    table = tabulate(comparison)
    title = f"{comparison.corpus.name}: {unit_of(comparison)}, mean ± deviation over seeds, "
    title += "[95% interval]"
    title += "; wF1: weighted F1" if "weighted_f1" in comparison.scores else ""
    parts: list[rich.table.Table | rich.text.Text] = [
        _part(table, title, differences=False, wide=comparison.ladder is not None)
    ]
    if comparison.paired:
        title = f"Differences on {comparison.split} in points, [95% interval]; *: significant"
        parts.append(_part(table, title, differences=True, wide=True))
        parts += [Text(note, style="dim") for note in footnotes(comparison)]
    if comparison.unfinished:
        waiting = ", ".join(map(str, comparison.unfinished))
        parts.append(Text(f"Not finished: {waiting}; run the same `erc fuse` again."))
    return Group(*parts)


def _part(table: Table, title: str, *, differences: bool, wide: bool) -> "rich.table.Table":
    """The columns of scores, or of differences; `wide` where there is room for long names."""
    from rich import box
    from rich.table import Table as Drawn
    from rich.text import Text

    chosen = [i for i, column in enumerate(table.columns) if column.difference == differences]
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
        if differences and line.row is None:
            continue  # nothing is known of how the majority, and what was not run, differ
        name = Text(line.name)
        for more in () if differences else _under(line):
            name.append(f"\n{more}", style="dim")
        if line.final:
            name.append("\nthe final model", style="bold")
        texts = []
        for i, cell in ((i, line.cells[i]) for i in chosen):
            # 80 columns hold the intervals of what runs are compared by.
            both = cell.interval and table.columns[i].metric != "uar"
            text = f"{cell.text}\n{cell.interval}" if both else cell.text.split(" ±")[0]
            texts.append(Text(text, style="bold" if cell.best else ""))
        shown.add_row(name, *texts, style="dim" if line.row is None else "")
    return shown


def _under(line: Line) -> tuple[str, ...]:
    """What is printed below a line's name."""
    if line.rung is None:
        if line.row is None:
            return ()
        over = (f"folds: {line.row.rule}",) if line.row.folds else ()
        return (f"{line.head}: {line.inputs}", *over)
    return tuple(filter(None, (line.adds, line.note)))


def _brief(heading: str) -> str:
    """A heading a few characters wide: "dev weighted F1" -> "dev", "wF1" on two lines."""
    short = heading.replace("weighted F1", "wF1").replace("accuracy", "acc.")
    return short.replace("Δ ", "Δ\u00a0").replace(" ", "\n")


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
        "elsewhere": [dict(each) for each in as_dicts(elsewhere(comparison))],
        "published": [asdict(figure) for figure in published_for(comparison)],
        "unfinished": [str(path) for path in comparison.unfinished],
    }


def _run(comparison: Comparison, row: Row) -> dict[str, Any]:
    found = asdict(row)
    rungs = comparison.ladder.rungs if comparison.ladder else ()
    first = next((rung for rung in rungs if rung.run == row.name), None)
    return {
        "name": row.name,
        "path": str(row.run.path),
        "head": row.head,
        "modalities": list(row.modalities),
        "files": list(row.files),
        "seeds": list(row.seeds),
        "monitor": row.monitor,
        "warnings": list(warnings(row, comparison.split)),
        **{name: found[name] for name in ("dev", "test", "layers", "weighing", "folds")},
        "paired": {
            "before": _tests(comparison.before(first)) if first else None,
            "baseline": _tests(comparison.against_baseline(row)),
        },
    }


def _ladder(comparison: Comparison) -> dict[str, Any] | None:
    """Each rung with its tests against the one before it."""
    if comparison.ladder is None:
        return None
    rungs = [asdict(r) | {"before": _tests(comparison.before(r))} for r in comparison.ladder.rungs]
    return asdict(comparison.ladder) | {"rungs": rungs}


def _tests(pair: Pair | None) -> dict[str, dict[str, Any]] | None:
    """Each metric's test, `p_holm` beside its `p`."""
    if pair is None:
        return None
    return {
        metric: asdict(test) | {"p_holm": pair.holm[metric]} for metric, test in pair.tests.items()
    }
