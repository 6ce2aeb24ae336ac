"""The comparison for the terminal and for other programs."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from erc_fusion.report.comparison import Comparison
from erc_fusion.report.rows import Row, SplitResult
from erc_fusion.report.summary import sentences, warnings
from erc_fusion.report.table import tabulate

if TYPE_CHECKING:
    import rich.table


def rich_table(comparison: Comparison) -> "rich.table.Table":
    """The headline table, in 80 columns; names are never read as rich's markup.

    Deviations stand only beside intervals here; the page and :func:`as_dict` have all.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = tabulate(comparison)
    title = (
        f"{comparison.corpus.name}: percent, mean ± deviation over seeds, [95% interval]; "
        "wF1: weighted F1"
    )
    shown = Table(
        title=Text(title, style="bold"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=0,
    )
    shown.add_column("run", overflow="fold", min_width=16)
    for heading in table.headings:
        shown.add_column(_brief(heading), justify="right", no_wrap=True)
    for line in table.lines:
        name = Text(line.name)
        if line.row is not None:
            name.append(f"\n{line.head}: {line.modalities}", style="dim")
        cells = [
            Text(
                f"{cell.text}\n{cell.interval}" if cell.interval else cell.text.split(" ±")[0],
                style="bold" if cell.best else "",
            )
            for cell in line.cells
        ]
        shown.add_row(name, *cells, style="dim" if line.row is None else "")
    return shown


def _brief(heading: str) -> str:
    """A heading a few columns wide: "dev weighted F1" -> "dev", "wF1" in two lines."""
    words = (
        heading.replace("weighted F1", "wF1")
        .replace("accuracy", "acc.")
        .replace("Δ test", "Δ")
        .split()
    )
    return "\n".join(words)


def as_dict(comparison: Comparison) -> dict[str, Any]:
    """Everything the table says, as numbers (fractions), for `--json`."""
    baseline, best = comparison.baseline, comparison.best
    return {
        "corpus": comparison.corpus.name,
        "fingerprint": comparison.corpus.fingerprint,
        "counts": comparison.corpus.counts,
        "labels": list(comparison.corpus.labels),
        "best_on_dev": best.name if best else None,
        "baseline": baseline.name if baseline else None,
        "summary": list(sentences(comparison)),
        "majority": {
            split: asdict(scores)
            for split in ("dev", "test")
            if (scores := comparison.majority(split)) is not None
        },
        "runs": [_run(comparison, row) for row in comparison.rows],
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
    }


def _split(result: SplitResult | None) -> dict[str, Any] | None:
    return None if result is None else asdict(result)
