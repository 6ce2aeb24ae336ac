"""What verbs look like in a terminal: progress bars, tables, plain lines elsewhere."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from pathlib import Path

    from erc_features.extract import Extracted
    from erc_features.inspect import Inspection
    from erc_features.prepare import Prepared

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)
_SECONDS_BETWEEN_LINES = 10.0


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.0f}/s" if task.speed else "")


@contextmanager
def bar(*, of_bytes: bool = False) -> Iterator[Callable[[str, int, int], None]]:
    """A function (what, done, total) that draws a bar with rate and time left.

    Where standard error is no terminal, it prints a line now and then.
    """
    if not err.is_terminal:
        yield _plain_lines(size if of_bytes else str)
        return
    counts = (DownloadColumn(), TransferSpeedColumn()) if of_bytes else (
        MofNCompleteColumn(), _Rate())  # fmt: skip
    columns = (TextColumn("{task.description}"), BarColumn(), *counts, TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        tasks: dict[str, Any] = {}

        def update(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=total)

        yield update


def _plain_lines(form: Callable[[int], str]) -> Callable[[str, int, int], None]:
    said: dict[str, float] = {}

    def update(what: str, done: int, total: int) -> None:
        last = said.setdefault(what, monotonic())
        if monotonic() - last >= _SECONDS_BETWEEN_LINES:
            said[what] = monotonic()
            err.print(f"{what}: {form(done)} of {form(total)}", markup=False)

    return update


def show(*lines: object) -> None:
    """Print lines as they are."""
    for line in lines:
        out.print(str(line), markup=False)


def show_json(value: Any) -> None:
    """Print a value as JSON; paths and the like as text."""
    print(json.dumps(value, indent=1, ensure_ascii=False, default=str))


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; the first column to the left, the others to the right."""
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        drawn.add_column(column, justify="right" if number else "left")
    for row in rows:
        drawn.add_row(*(Text(str(cell)) for cell in row))
    out.print(drawn)


def size(count: int) -> str:
    """A number of bytes as people read it.

    >>> size(62_475_020)
    '62.5 MB'
    """
    value = float(count)
    for unit in ("bytes", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.2f} GB"


def show_prepared(prepared: "Prepared") -> None:
    """The summary of `erc prepare`."""
    corpus = prepared.corpus
    rows = ", ".join(f"{count} {split}" for split, count in prepared.rows.items())
    if prepared.already:
        show(f"{corpus.root}: nothing to do, it is prepared already.")
    show(f"{corpus.root}: {rows} utterances; {prepared.pictures} with a picture, "
         f"{prepared.sounds} with sound.")  # fmt: skip
    kinds: dict[str, list[str]] = {}
    for defect in prepared.defects:
        kinds.setdefault(defect.kind, []).append(defect.where)
    if kinds:
        show("Defects (every row is kept; corpus.json has the details):")
    for kind, places in sorted(kinds.items()):
        more = f" and {len(places) - 3} more" if len(places) > 3 else ""
        show(f"  {kind}: {len(places)} ({', '.join(places[:3])}{more})")


def show_extracted(files: Sequence["Extracted"]) -> None:
    """The summary of `erc extract`: two lines for each file, and why rows failed."""
    for file in files:
        rows = ", ".join(f"{count:,} {name}" for name, count in file.counts.items())
        _, layers, dim = file.shape
        show(f"{file.path}: {rows}; {layers} x {dim} a row, {size(file.size)}")
        if file.already:
            show("  nothing to do, it is complete")
        else:
            shares = ", ".join(f"{share:.0%} {what}" for what, share in file.shares.items())
            show(f"  {file.rate:,.0f} utterances/s over {file.seconds:.1f} s: {shares}")
        for reason, count in list(file.failures.items())[:5]:
            show(f"  {count:,} failed: {reason}")
        show(*(f"  {count:,} {note}" for note, count in file.notes.items()))


def show_inspection(found: "Inspection") -> None:
    """What `erc inspect` prints."""
    attributes = found.attributes
    state = "complete" if found.complete else "unfinished"
    show(f"{found.path}: {state}, {size(found.size)}")
    facts: Mapping[str, object] = {
        "corpus": f"{attributes['corpus']} ({attributes['fingerprint'][:12]})",
        "modality": attributes["modality"],
        "encoder": f"{attributes['encoder']} (revision {attributes['revision'][:12]})",
        "config": ", ".join(f"{k} {v}" for k, v in attributes["config"].items()),
        "x": f"(N, L, D) = {found.shape} {found.dtype}",
        "status": ", ".join(f"{count:,} {name}" for name, count in found.counts.items() if count),
        "splits": ", ".join(f"{s} {n:,} ({ok:,} ok)" for s, (n, ok) in found.splits.items()),
        "labels": ", ".join(f"{name or '(none)'} {n:,}" for name, n in found.labels.items()),
        "norm by layer": " ".join(f"{norm:.2f}" for norm in found.norms),
        "not finite": found.not_finite,
        "notes": ", ".join(f"{n:,} {what}" for what, n in (attributes.get("notes") or {}).items())
        or "-",
        "written": f"{attributes['created']} to {attributes.get('finished', '-')} on "
        f"{attributes.get('device', '-')}",
        "versions": ", ".join(f"{k} {v}" for k, v in attributes.get("versions", {}).items()),
    }
    for name, value in facts.items():
        show(f"  {name:<14} {value}")
    for reason, count in list(found.reasons.items())[:10]:
        show(f"  {count:>6} rows: {reason}")


def show_run(path: "Path", metrics: Mapping[str, Any], *, already: bool) -> None:
    """The summary of `erc fuse`: its scores, what the user should know, and where it is."""
    rows = []
    for split in ("dev", "test"):
        found = metrics[split]
        if found is None:
            show(f"{split} has no labelled rows: no scores.")
            continue
        scores = [found[name] for name in ("accuracy", "weighted_f1", "macro_f1")]
        rows.append(
            [
                split,
                found["labelled"],
                *(f"{100 * s['mean']:.1f} ± {100 * s['std']:.1f}" for s in scores),
                f"{100 * found['majority']['weighted_f1']:.1f}",
            ]
        )
    seeds = len(metrics["seeds"])
    show(f"{metrics['head']} on {', '.join(metrics['files'])}; percent over {seeds} seeds:")
    table(("split", "rows", "accuracy", "weighted F1", "macro F1", "majority's wF1"), rows)
    show(*(f"Warning: {warning}" for warning in metrics["warnings"]))
    if already:
        show(f"{path}: already run; --overwrite runs it again.")
    else:
        show(f"{path}: done in {metrics['seconds']['total']:.1f} s.")
