"""What verbs look like in a terminal: progress bars, tables, plain lines elsewhere."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import mean
from time import monotonic
from typing import Any, Protocol

from rich.console import Console
from rich.live import Live
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

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)
_SECONDS_BETWEEN_LINES = 10.0
_MOST_SEEDS = 10  # with a column each


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


class Epoch(Protocol):
    """What :func:`training` shows; `erc_fusion.train.Progress` is one."""

    @property
    def epoch(self) -> int: ...
    @property
    def epochs(self) -> int: ...
    @property
    def monitor(self) -> str: ...
    @property
    def seeds(self) -> Sequence[int]: ...
    @property
    def score(self) -> Sequence[float]: ...
    @property
    def best(self) -> Sequence[float]: ...
    @property
    def since(self) -> Sequence[int]: ...
    @property
    def training(self) -> Sequence[bool]: ...


@contextmanager
def training() -> Iterator[Callable[[Epoch], None]]:
    """A function (epoch) that shows a live table of dev scores in percent, gone at the end.

    Where standard error is no terminal, it prints a line now and then.
    """
    if err.is_terminal:
        with Live(console=err, transient=True) as live:
            yield lambda at: live.update(_dev_scores(at))
        return
    said = monotonic()

    def line(at: Epoch) -> None:
        nonlocal said
        if monotonic() - said >= _SECONDS_BETWEEN_LINES:
            said = monotonic()
            score, best = 100 * mean(at.score), 100 * mean(at.best)
            err.print(f"epoch {at.epoch} of {at.epochs}: {at.monitor} on dev {score:.1f}, "
                      f"best {best:.1f}; {_going(at)}", markup=False)  # fmt: skip

    yield line


def _going(at: Epoch) -> str:
    return f"{sum(at.training)} of {len(at.seeds)} seeds in training"


def _dev_scores(at: Epoch) -> Table:
    """A column for each seed, dim once it has stopped; of more than ten, mean and extremes."""
    drawn = Table(box=None, pad_edge=False, header_style="bold", caption=_going(at))
    drawn.add_column(f"epoch {at.epoch}/{at.epochs}")
    few = len(at.seeds) <= _MOST_SEEDS
    for seed, on in zip(at.seeds, at.training, strict=True) if few else ():
        drawn.add_column(f"seed {seed}", justify="right", style="" if on else "dim")
    for name in ("mean",) if few else ("mean", "min", "max"):
        drawn.add_column(name, justify="right")

    def row(name: str, values: Sequence[float], form: str) -> None:
        of_all = (mean(values),) if few else (mean(values), min(values), max(values))
        cells = (*values, *of_all) if few else of_all
        drawn.add_row(name, *(format(value, form) for value in cells))

    row(f"{at.monitor} on dev", [100 * score for score in at.score], ".1f")
    row("best so far", [100 * score for score in at.best], ".1f")
    row("epochs since", at.since, ".0f")
    return drawn


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
