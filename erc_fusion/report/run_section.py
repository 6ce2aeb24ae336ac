"""What the page says of one run: its pictures, and every setting and hash to repeat it by."""

import json
import shlex
from dataclasses import dataclass
from typing import Any

from erc_features.errors import RunError
from erc_fusion.report import plots_inputs, plots_run
from erc_fusion.report.comparison import Comparison
from erc_fusion.report.results import Row, Slice
from erc_fusion.report.summary import warnings
from erc_fusion.report.table import NAMES, interval, percent, spread
from erc_fusion.runs.ladder import Rung
from erc_fusion.runs.run import Run


@dataclass(frozen=True)
class Section:
    """What the page says of one run. Pictures are SVG elements, "" where their data is absent."""

    row: Row
    open: bool
    headline: str
    warnings: tuple[str, ...]
    loss: str
    accuracy: str
    confusion: str
    classes: str
    reliability: str
    layers: tuple[str, ...]
    weighing: str
    rung: Rung | None
    facts: tuple[tuple[str, str], ...]
    settings: str
    files: tuple[dict[str, str], ...]
    versions: str
    commands: tuple[tuple[str, str], ...]


def section(
    comparison: Comparison, row: Row, number: int, *, opened: bool, rung: Rung | None = None
) -> Section:
    """What the page says of its run `number`.

    Args:
        opened: whether it stands open.
        rung: the ladder's step that this run is.

    Raises:
        RunError: a file of the run is absent or damaged.
    """
    split, result = comparison.split, row.split(comparison.split)
    history = _history(row)
    inputs = row.run.inputs
    name = f"run-{number}"
    scores = (plots_run.confusion, plots_run.classes, plots_run.reliability)
    drawn = dict.fromkeys((draw.__name__ for draw in scores), "")
    headline = ""
    try:
        if result:
            headline = f"{split} accuracy {spread(result.accuracy)}, "
            headline += f"weighted F1 {spread(result.weighted_f1)}"
            for draw in scores:
                drawn[draw.__name__] = draw(row, result, split, f"{name}-{draw.__name__}")
        shares = row.weighing or {}  # of one modality it is all
        return Section(
            row=row,
            open=opened,
            headline=headline,
            warnings=warnings(row, split),
            loss=plots_run.curves(row, history, "loss", f"{name}-loss"),
            accuracy=plots_run.curves(row, history, "accuracy", f"{name}-accuracy"),
            **drawn,
            layers=tuple(
                plots_inputs.layers(stem, found, f"{name}-layers-{i}")
                for i, (stem, found) in enumerate(row.layers.items())
            ),
            weighing=plots_inputs.weighing(shares, f"{name}-weighing") if len(shares) > 1 else "",
            rung=rung,
            facts=_facts(row, split),
            settings=_settings(row),
            files=tuple(_file(file) for file in inputs.get("files", ())),
            versions=", ".join(f"{k} {v}" for k, v in (inputs.get("versions") or {}).items()),
            commands=_commands(row),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{row.run.path} is damaged ({type(error).__name__}: {error}). "
            "Run `erc fuse` again with --overwrite."
        ) from error


def _history(row: Row) -> list[dict[str, Any]]:
    history = row.run.history()
    there = {entry.get("seed") for entry in history}
    absent = [str(seed) for seed in row.seeds if seed not in there]
    if absent:
        raise RunError(
            f"{row.run.path / 'history.jsonl'} is damaged (no epoch of seed {', '.join(absent)}). "
            "Run `erc fuse` again with --overwrite."
        )
    return history


def _facts(row: Row, split: str) -> tuple[tuple[str, str], ...]:
    """Pairs of name and value that have no picture."""
    result = row.split(split)
    facts = [
        ("Seeds", ", ".join(map(str, row.seeds))),
        (
            "Epoch kept",
            f"{', '.join(map(str, row.best_epoch))} (by dev {NAMES.get(row.monitor, row.monitor)})",
        ),
        ("Epochs run", ", ".join(map(str, row.epochs))),
        ("Parameters", f"{row.parameters:,} a seed"),
    ]
    if result:
        facts.append(("Calibration error", f"{spread(result.ece)} % {interval(result.ece)}"))
        both = f"accuracy {percent(result.ensemble.accuracy)}"
        both += f", weighted F1 {percent(result.ensemble.weighted_f1)}"
        facts.append(("Ensemble of the seeds", both))
        if result.unseen_text:
            rows = result.unseen_text.rows
            name = f"{split.capitalize()} texts not in train"
            facts.append(
                (
                    f"{name} ({rows:,} rows)" if rows else name,
                    _slice(result.unseen_text),
                )
            )
        if result.prototype:
            facts.append(("Nearest class prototype", _slice(result.prototype)))
    return tuple(facts)


def _slice(part: Slice) -> str:
    return (
        f"accuracy {spread(part.accuracy)} {interval(part.accuracy)}, "
        f"weighted F1 {spread(part.weighted_f1)} {interval(part.weighted_f1)}"
    )


def _settings(row: Row) -> str:
    run = Run(row.run.path)  # what is there now: `row.run` may have read another one
    if not run.config:  # which says so where it is absent or damaged
        raise RunError(
            f"{run.path / 'config.toml'} is damaged (it is empty). "
            "Run `erc fuse` again with --overwrite."
        )
    return (run.path / "config.toml").read_text(encoding="utf-8").strip()


def _file(file: dict[str, Any]) -> dict[str, str]:
    config = file.get("config") or {}
    return {
        "stem": file["stem"],
        "modality": file["modality"],
        "encoder": file["encoder"],
        "revision": str(file["revision"]),
        "shape": " × ".join(map(str, file["shape"])),
        "config": config if isinstance(config, str) else json.dumps(config, ensure_ascii=False),
        "path": str(file["path"]),
    }


def _commands(row: Row) -> tuple[tuple[str, str], ...]:
    again = f"erc fuse --config {shlex.quote(str(row.run.path / 'config.toml'))}"
    made = row.run.inputs.get("command")
    if isinstance(made, list):
        made = shlex.join(map(str, made))
    return (("To repeat it", again), *((("It was made by", made),) if made else ()))
