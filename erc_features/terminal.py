"""What commands show: progress bars and tables in a terminal, plain lines elsewhere."""

import json
import os
import signal
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import mean
from time import monotonic
from types import FrameType
from typing import Any, Protocol

from rich import progress as bars
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)
_SECONDS_BETWEEN_LINES = 10.0
_MOST_SEEDS = 10  # with a column each


class _Rate(bars.ProgressColumn):
    def render(self, task: bars.Task) -> Text:
        return Text(f"{task.speed:.0f}/s" if task.speed else "")


@contextmanager
def bar(*, of_bytes: bool = False) -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function (what, done, total) that draws a progress bar with rate and time left.

    Where standard error is not a terminal, it prints a line every ten seconds instead.
    """
    if err.is_terminal:
        of_counts = bars.MofNCompleteColumn(), _Rate()
        in_bytes = bars.DownloadColumn(), bars.TransferSpeedColumn()
        with _bars(*(in_bytes if of_bytes else of_counts)) as update:
            yield update
        return
    form = size if of_bytes else "{:,}".format
    paces: dict[str, Pace] = {}

    def line(what: str, done: int, total: int) -> None:
        pace = paces.setdefault(what, Pace(done))
        if pace.due():
            rate = pace.rate(done)
            speed = form(round(rate)) if rate >= 10 else f"{rate:.1f}"
            err.print(f"{what}: {form(done)} of {form(total)}, {done / max(total, 1):.0%}, "
                      f"{speed}/s{pace.left(done, total)}", markup=False)  # fmt: skip

    yield line


@contextmanager
def _bars(*more: bars.ProgressColumn) -> Iterator[Callable[..., None]]:
    """Yield a function (what, done, total, **fields) that draws one bar for each `what`."""
    around = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        *more,
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*around, console=err, transient=True) as progress:
        tasks: dict[str, Any] = {}

        def update(what: str, done: float, total: float, **fields: Any) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total, **fields)
            progress.update(tasks[what], completed=done, total=total, **fields)

        yield update


class Pace:
    """Rate and time left, from what has been done since this was made: earlier runs do not count,
    nor does the first batch, which is slow."""

    def __init__(self, done: float = 0) -> None:
        self._begin = self._said = monotonic()
        self._first = done

    def due(self) -> bool:
        """Whether it is time for another line; the next one is then due ten seconds later."""
        if monotonic() - self._said < _SECONDS_BETWEEN_LINES:
            return False
        self._said = monotonic()
        return True

    def rate(self, done: float) -> float:
        """How much is done a second."""
        return (done - self._first) / max(monotonic() - self._begin, 1e-9)

    def left(self, done: float, total: float) -> str:
        """`, about 25 s left`; nothing where it cannot be estimated."""
        rate = self.rate(done)
        return f", about {duration((total - done) / rate)} left" if rate > 0 else ""


def duration(seconds: float) -> str:
    """Seconds in words.

    >>> duration(25.2), duration(754), duration(7400)
    ('25 s', '13 min', '2 h 3 min')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


@dataclass(frozen=True)
class Work:
    """How far one feature file is.

    Attributes:
        what: the file's stem.
        done, total: rows.
        work_done, work_total: in the encoder's unit of cost, earlier runs included.
    """

    what: str
    done: int
    total: int
    work_done: float
    work_total: float


@contextmanager
def working() -> Iterator[Callable[[Work], None]]:
    """Yield a function (amount) that draws a bar of the work, with utterances and time left.

    Where standard error is not a terminal, it prints a line every ten seconds instead.
    """
    if err.is_terminal:
        with _bars(bars.TextColumn("{task.fields[rows]}")) as update:
            yield lambda at: update(
                at.what, at.work_done, at.work_total, rows=f"{at.done:,}/{at.total:,}"
            )
        return
    paces: dict[str, tuple[Pace, Pace]] = {}

    def line(at: Work) -> None:
        work, rows = paces.setdefault(at.what, (Pace(at.work_done), Pace(at.done)))
        if work.due():
            share = at.work_done / max(at.work_total, 1e-9)
            err.print(f"{at.what}: {at.done:,} of {at.total:,} utterances, {share:.0%} of the "
                      f"work, {rows.rate(at.done):,.1f} utterances/s"
                      f"{work.left(at.work_done, at.work_total)}", markup=False)  # fmt: skip

    yield line


@contextmanager
def resumable() -> Iterator[None]:
    """Inside, Ctrl-C (exit code 130) and SIGTERM (143) say how to continue: the same command."""

    def end(number: int, frame: FrameType | None) -> None:
        # An error that leaves the callback of a weak reference, of which h5py has many, goes
        # nowhere, and the work would go on: a moment later, then.
        if frame and frame.f_code.co_filename == weakref.__file__:
            threading.Timer(0.01, os.kill, (os.getpid(), number)).start()
            return
        raise SystemExit(128 + number)

    before = {}
    if threading.current_thread() is threading.main_thread():  # others can't have a handler
        before[signal.SIGTERM] = signal.signal(signal.SIGTERM, end)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not under nohup
            before[signal.SIGINT] = signal.signal(signal.SIGINT, end)
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as stopped:
        err.print("Interrupted. What was written is kept; the same command continues from there.")
        # A KeyboardInterrupt that leaves `python -m` can end it by the signal, without a code.
        raise SystemExit(stopped.code if isinstance(stopped, SystemExit) else 130) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Epoch(Protocol):
    """What :func:`training` shows; `erc_fusion.training.train.Progress` is one."""

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
    """Yield a function (epoch) that shows a live table of dev scores until the end, in percent, and
    a CCC as it is.

    Where standard error is not a terminal, it prints a line every ten seconds instead.
    """
    if err.is_terminal:
        with Live(console=err, transient=True) as live:
            yield lambda at: live.update(_dev_scores(at))
        return
    pace = Pace()

    def line(at: Epoch) -> None:
        if pace.due():
            times, form = _written(at)
            score, best = (format(times * mean(each), form) for each in (at.score, at.best))
            err.print(f"epoch {at.epoch} of {at.epochs}: {at.monitor} on dev {score}, "
                      f"best {best}; {_going(at)}", markup=False)  # fmt: skip

    yield line


def _going(at: Epoch) -> str:
    return f"{sum(at.training)} of {len(at.seeds)} seeds in training"


def _written(at: Epoch) -> tuple[int, str]:
    """By what its scores are multiplied, and their format: a correlation is no percentage."""
    return (1, ".3f") if at.monitor == "ccc" else (100, ".1f")


def _dev_scores(at: Epoch) -> Table:
    """A column for each seed, dim once it has stopped; for more than ten, mean and extremes."""
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

    times, form = _written(at)
    row(f"{at.monitor} on dev", [times * score for score in at.score], form)
    row("best so far", [times * score for score in at.best], form)
    row("epochs since", at.since, ".0f")
    return drawn


def show(*lines: object) -> None:
    """Print lines as they are."""
    for line in lines:
        out.print(str(line), markup=False)


def show_json(value: Any) -> None:
    """Print a value as JSON; what JSON does not know, such as a path, is printed as text."""
    print(json.dumps(value, indent=1, ensure_ascii=False, default=str))


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table: the first column is aligned to the left, the others to the right."""
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        drawn.add_column(column, justify="right" if number else "left")
    for row in rows:
        drawn.add_row(*(Text(str(cell)) for cell in row))
    out.print(drawn)


def size(count: int) -> str:
    """A number of bytes in words.

    >>> size(62_475_020)
    '62.5 MB'
    """
    value = float(count)
    for unit in ("bytes", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.2f} GB"
