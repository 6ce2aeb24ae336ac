"""What the parts of `gpu.sh` share: the device, the sizes, the time left, what was found."""

import gc
import importlib
import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from measure import markdown

NOT_REACHED = "not reached in time"


@dataclass(frozen=True)
class Sizes:
    """How much is measured; :data:`SMALL` is for a trial of the script itself."""

    texts: int = 13_708
    pictures: int = 2_000
    sounds: int = 3_000
    clips: int = 256
    batch_size: int = 64
    turns: int = 3  # fewer where the time is short
    train_rows: tuple[int, int] = (9_989, 1_109)
    seeds: int = 10
    epochs: int = 3
    fold_rows: int = 10_000
    fold_dim: int = 1_152
    fold_seeds: int = 5
    fold_epochs: int = 2
    long_rows: int = 128  # texts of so many words, for running out of memory
    long_words: int = 300


SMALL = Sizes(24, 4, 6, 2, 4, 2, (96, 32), 2, 1, 200, 8, 2, 1, 8, 12)


class Budget:
    """Seconds that the whole run may take, counted from `began` (of `time.time`)."""

    def __init__(self, seconds: float, began: float | None = None) -> None:
        self.ends = (time.time() if began is None else began) + seconds

    def left(self) -> float:
        return self.ends - time.time()


@dataclass
class Trial:
    """One run of the script.

    Attributes:
        scratch: a folder that is removed afterwards.
        workers: threads that decode.
        cuda: whether the device is a GPU; otherwise no memory of a GPU is read.
    """

    device: str
    small: bool
    sizes: Sizes
    scratch: Path
    budget: Budget
    workers: int
    made: dict[str, object] = field(default_factory=dict)

    @property
    def cuda(self) -> bool:
        return self.device.startswith("cuda")

    def once(self, name: str, make: Callable[[], object]) -> object:
        """What `make` gave when it was first asked for under that name: corpora, checkpoints."""
        if name not in self.made:
            say(f"making {name}")
            self.made[name] = make()
        return self.made[name]

    def has(self, seconds: float) -> bool:
        """Whether so much time is left; always in a trial with small sizes."""
        return self.small or self.budget.left() > seconds


class Peak:
    """The most MB of GPU memory in tensors while it is open, above what was there before; None
    without a GPU."""

    def __init__(self, cuda: bool) -> None:
        self.cuda, self.mb = cuda, None

    def __enter__(self) -> "Peak":
        if self.cuda:
            import torch

            torch.cuda.synchronize()
            self.before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
        return self

    def __exit__(self, *_: object) -> None:
        if self.cuda:
            import torch

            self.mb = (torch.cuda.max_memory_allocated() - self.before) / 1e6


@dataclass(frozen=True)
class Part:
    """A part of the run, with a table of its own.

    Attributes:
        head: of its table.
        needs: modules that it cannot do without.
        seconds: about what it takes on an H200: it is not begun where less is left.
        run: gives lines of the table as they are found, and remarks (str).
    """

    title: str
    head: Sequence[str]
    needs: Sequence[str]
    seconds: float
    run: Callable[[Trial], Iterator["Line | str"]]


@dataclass(frozen=True)
class Line:
    """A line of a table, and the numbers behind it."""

    cells: Sequence[str]
    numbers: dict[str, object]


class Report:
    """What was found, part by part. What was not begun is said to be not reached in time, so what
    is written at any moment is true, even where the run is killed."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.lines: dict[str, list[Line]] = {part.title: [] for part in parts}
        self.remarks: dict[str, list[str]] = {part.title: [NOT_REACHED] for part in parts}
        self.parts, self.failed = parts, False

    def run(self, trial: Trial, written: Callable[[], None]) -> None:
        """Run every part that its time and its modules allow; `written` is called at each step."""
        for part in self.parts:
            if lacking := [problem for name in part.needs if (problem := absent(name))]:
                self.remarks[part.title] = [f"not measured: {'; '.join(lacking)}; {REMEDY}"]
            elif trial.has(part.seconds):
                self.run_part(part, trial, written)
            written()

    def run_part(self, part: Part, trial: Trial, written: Callable[[], None]) -> None:
        say(f"{part.title}: {trial.budget.left():.0f} s left")
        remarks = self.remarks[part.title] = [f"the rest: {NOT_REACHED}"]
        try:
            for found in part.run(trial):
                if isinstance(found, Line):
                    self.lines[part.title].append(found)
                    say(f"  {' | '.join(found.cells)}")
                else:
                    remarks.insert(-1, found)
                    say(f"  {found}")
                written()
            remarks.pop()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the other parts go on
            traceback.print_exc()
            self.failed = True
            remarks[-1] = f"**failed**: {type(error).__name__}: {str(error).strip()[:300]}"
        tidy(trial.cuda)

    def body(self) -> str:
        """Markdown."""
        texts = []
        for part in self.parts:
            lines = self.lines[part.title]
            text = [f"### {part.title}"]
            if lines:
                text.append(markdown([part.head, *(line.cells for line in lines)]))
            text += [f"{remark[0].upper()}{remark[1:]}." for remark in self.remarks[part.title]]
            texts.append("\n\n".join(text))
        return "\n\n".join(texts)

    def document(self) -> str:
        """JSON."""
        return json.dumps({
            part.title: {"remarks": self.remarks[part.title],
                         "lines": [line.numbers for line in self.lines[part.title]]}
            for part in self.parts
        })  # fmt: skip


REMEDY = "`make gpu-wheels` here, and carry build/wheels"


def absent(module: str) -> str:
    """Why a module cannot be imported; empty where it can."""
    try:
        importlib.import_module(module)
    except (ImportError, OSError, RuntimeError) as error:  # libraries that do not fit, too
        return f"no {module} ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
    return ""


def tidy(cuda: bool) -> None:
    """Give the GPU's memory back that nothing uses."""
    gc.collect()
    if cuda:
        import torch

        torch.cuda.empty_cache()


def rate(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.1f}"


def megabytes(number: float | None) -> str:
    return "" if number is None else f"{number:,.0f}"


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
