"""`erc fuse --log tensorboard`: learning curves as TensorBoard's event files, while it trains.

runs/<corpus>/tensorboard/<run>/seed-<n>/   a scalar for each figure of `history.jsonl`: loss/train,
                                            loss/dev, accuracy/train, …; the step is the epoch
runs/<corpus>/tensorboard/<run>/mean/       their means over seeds, as long as all of them train
runs/<corpus>/tensorboard/<run>/fold-<k>-seed-<n>/   in their place, of each fold, from 1; no mean:
                                            folds may train one after another

They are beside the runs' folders: those hold nothing but a run's own files, and a run does not
depend on whether it was logged.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erc_features.errors import ErcError, RunError, choose
from erc_fusion.runs.run import Run

if TYPE_CHECKING:
    from erc_fusion.training.train import Progress

LOGS = ("tensorboard",)
Record = Mapping[str, Any]  # a line of `history.jsonl`


def check_log(log: str) -> None:
    """Raises ErcError where `log` is unknown, or its package not installed; "" is none."""
    if not log:
        return
    choose("log", log, LOGS)
    try:
        import tensorboard.summary.writer.record_writer  # noqa: F401
    except ImportError as error:
        raise ErcError(
            f"--log tensorboard needs TensorBoard ({error}): pip install 'erc[tensorboard]'"
        ) from error


def events_folder(run: Path) -> Path:
    """Where the curves of a run's folder are."""
    return run.parent / "tensorboard" / run.name


@contextmanager
def followed(
    log: str, run: Path, seeds: Sequence[int], progress: "Callable[[Progress], None] | None",
    folds: int = 0,
) -> "Iterator[Callable[[Progress], None] | None]":  # fmt: skip
    """What to call after each epoch; with a log it writes the curves, or raises RunError, first."""
    if not log:
        yield progress
        return
    with _event_files(events_folder(run), seeds, folds) as write:

        def both(at: "Progress") -> None:
            write(at.records)
            if progress is not None:
                progress(at)

        yield both


def write_events(run: Run) -> None:
    """Write a finished run's curves; raises RunError if that, or reading its history, fails."""
    history = sorted(run.history(), key=itemgetter("epoch"))
    folds = len(run.metrics.get("folds", ()))
    with _event_files(events_folder(run.path), run.metrics["seeds"], folds) as write:
        for _, records in groupby(history, itemgetter("epoch")):
            write(list(records))


@contextmanager
def _event_files(
    folder: Path, seeds: Sequence[int], folds: int = 0
) -> Iterator[Callable[[Sequence[Record]], None]]:
    """A function that writes an epoch's records. Earlier curves of the run are replaced."""
    # Not torch's SummaryWriter: it writes in a thread, where a full disk ends in a traceback.
    from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[attr-defined]
    from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[attr-defined]
    from tensorboard.summary.writer.record_writer import RecordWriter

    members = [{"fold": fold, "seed": seed} for fold in range(folds) for seed in seeds]
    names = [_name(member) for member in members or [{"seed": seed} for seed in seeds]]
    names += [] if folds else ["mean"]
    files: dict[str, RecordWriter] = {}
    opened = ExitStack()

    def add(name: str, **content: Any) -> None:
        files[name].write(Event(wall_time=time.time(), **content).SerializeToString())
        files[name].flush()

    def write(records: Sequence[Record]) -> None:
        scalars = {
            _name(record): {
                f"{metric}/{split}": value
                for split in ("train", "dev")
                for metric, value in record[split].items()
            }
            for record in records
        }
        if not folds and len(records) == len(seeds):
            every = [*scalars.values()]
            scalars["mean"] = {
                tag: sum(each[tag] for each in every) / len(every) for tag in every[0]
            }
        with _writing(folder):
            for name, found in scalars.items():
                values = [
                    Summary.Value(tag=tag, simple_value=value) for tag, value in found.items()
                ]
                add(name, step=records[0]["epoch"], summary=Summary(value=values))

    try:
        with _writing(folder):
            for old in folder.glob("*/events.out.tfevents.*"):
                old.unlink()
            for name in names:
                (folder / name).mkdir(parents=True, exist_ok=True)
                path = folder / name / f"events.out.tfevents.{time.time():.0f}.{os.getpid()}"
                file = opened.enter_context(open(path, "wb"))  # noqa: SIM115
                files[name] = RecordWriter(file)
                add(name, file_version="brain.Event:2")
        yield write
    finally:
        with _writing(folder):
            opened.close()


def _name(record: Record) -> str:
    """The folder of a member's curves."""
    fold = f"fold-{record['fold'] + 1}-" if "fold" in record else ""
    return f"{fold}seed-{record['seed']}"


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{folder}: cannot be written ({error.strerror or error}). Free some space or choose "
            "another folder with --runs, or leave --log out."
        ) from error
