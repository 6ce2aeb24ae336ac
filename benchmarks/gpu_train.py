"""The parts of `gpu.sh` about `erc fuse`: many seeds at once, and folds, against loops."""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from gpu_trial import NOT_REACHED, Line, Part, Peak, Trial, megabytes, rate

ASKED = 8
_NEEDS = ("torch", "h5py", "sklearn", "scipy", "pandas", "pyarrow")
_HEAD = ("", "erc", "plain loops", f"times the loops' ({ASKED})", "erc, a seed at a time",
         "times that", "GPU MB")  # fmt: skip


def parts() -> list[Part]:
    return [
        Part("`erc fuse`, ten seeds at once", _HEAD, _NEEDS, 30.0, seeds),
        Part("`erc fuse --folds`, ten folds at once", _HEAD, _NEEDS, 30.0, folds),
    ]


def seeds(trial: Trial) -> Iterator[Line | str]:
    """A line for each case of bench_fuse.py."""
    from bench_fuse import CASES, Case, make_split, run_erc, run_plain

    sizes = trial.sizes
    on_train, on_dev = (make_split(rows, trial.device) for rows in sizes.train_rows)
    for name, (head, context) in CASES.items():
        case = Case(name, head, context, sizes.seeds, sizes.epochs, trial.device)
        one = replace(case, seeds=1)
        if not trial.has(20):
            yield f"{name}: {NOT_REACHED}"
            continue
        for first in (run_erc, partial(run_plain, loader=False)):  # what is done only once
            first(replace(one, epochs=1), on_train, on_dev)
        with Peak(trial.cuda) as peak:
            run_erc(case, on_train, on_dev)

        def singles(one: Case = one, count: int = sizes.seeds) -> float:
            return sum(run_erc(one, on_train, on_dev) for _ in range(count))

        found = turns(trial, {
            "erc": partial(run_erc, case, on_train, on_dev),
            "plain": partial(run_plain, case, on_train, on_dev, False),
            "singles": singles,
        })  # fmt: skip
        yield line(f"{name}, {sizes.seeds} seeds, {sizes.epochs} epochs", found, peak.mb)
    yield (
        f"{sizes.train_rows[0]:,} + {sizes.train_rows[1]:,} rows as in bench_fuse.py, dev scored "
        "every epoch; plain loops train one nn.Module after another, batches cut on the device"
    )


def folds(trial: Trial) -> Iterator[Line | str]:
    from bench_folds import FOLDS, make_table, run_erc, run_plain

    from erc_fusion.inputs.folds import make_folds

    sizes = trial.sizes
    table = make_table(sizes.fold_rows, sizes.fold_dim)
    apart = make_folds(table, f"dialogue:{FOLDS}")
    work = (table, apart, sizes.fold_epochs, sizes.fold_seeds)
    run_erc(table, apart[:1], 1, 1, trial.device)  # what is done only once
    with Peak(trial.cuda) as peak:
        run_erc(*work, trial.device)
    found = turns(trial, {
        "erc": partial(run_erc, *work, trial.device),
        "plain": partial(run_plain, *work, loader=False, device=trial.device),
    })  # fmt: skip
    yield line(
        f"mlp, {FOLDS} folds x {sizes.fold_seeds} seeds, {sizes.fold_epochs} epochs", found, peak.mb
    )
    yield f"{sizes.fold_rows:,} rows x {sizes.fold_dim:,} as in bench_folds.py" + (
        "" if trial.cuda else "; CPU seconds"
    )


def turns(trial: Trial, lines: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Seconds of each line in turns, as many as the time allows, at least one."""
    found: dict[str, list[float]] = {name: [] for name in lines}
    for _ in range(trial.sizes.turns):
        began = time.perf_counter()
        for name, run in lines.items():
            found[name].append(run())
        if not trial.has(100 + time.perf_counter() - began):
            break
    return found


def line(name: str, found: dict[str, list[float]], peak: float | None) -> Line:
    """Medians, and medians of each turn's ratio."""
    middle = {what: statistics.median(seconds) for what, seconds in found.items()}
    times = {
        what: statistics.median(s / e for s, e in zip(seconds, found["erc"], strict=True))
        for what, seconds in found.items()
    }
    singles = "singles" in found
    cells = (
        name, f"{middle['erc']:.2f} s", f"{middle['plain']:.2f} s", rate(times["plain"]),
        f"{middle['singles']:.2f} s" if singles else "",
        rate(times["singles"]) if singles else "", megabytes(peak),
    )  # fmt: skip
    return Line(cells, {"name": name, "turns": found, "times": times, "peak_mb": peak})
