"""What the page says about one run: its plots, and every setting and hash needed to repeat it."""

import json
import shlex
from collections.abc import Sequence
from statistics import median
from typing import Any

from erc_features.errors import RunError
from erc_fusion.report import plots, plots_run
from erc_fusion.report.comparison import Comparison
from erc_fusion.report.results import Row, Slice
from erc_fusion.report.summary import warnings
from erc_fusion.report.table import interval, spread
from erc_fusion.runs.ladder import Rung
from erc_fusion.runs.run import Run
from erc_fusion.runs.scores import NAMES, number, paired_of


def section(
    comparison: Comparison, row: Row, number: int, *, opened: bool, rung: Rung | None = None
) -> dict[str, Any]:
    """What `run.html` says about run `number`. Plots are SVG elements, "" where data is absent.

    Args:
        opened: whether it is shown open.
        rung: the ladder's step that this run is.

    Raises:
        RunError: a file of the run is absent or damaged.
    """
    split, result = comparison.split, row.split(comparison.split)
    history = _history(row)
    inputs = row.run.inputs
    name = f"run-{number}"
    scores = (plots_run.confusion, plots_run.classes, plots_run.reliability)
    headline = ""
    if result:
        shown = [name for name in paired_of(row.scores) if getattr(result, name)]
        headline = f"{split} "
        headline += ", ".join(f"{NAMES[name]} {spread(result.stat(name), name)}" for name in shown)
    curve = "accuracy" if "accuracy" in row.scores else row.monitor
    try:
        shares = row.weighing or {}  # a single file's would be all of it
        return {
            "row": row,
            "open": opened,
            "headline": headline,
            "warnings": warnings(row, split),
            "rung": rung,
            "facts": _facts(row, split),
            "settings": _settings(row),
            "files": tuple(_file(file) for file in inputs.get("files", ())),
            "versions": ", ".join(f"{k} {v}" for k, v in (inputs.get("versions") or {}).items()),
            "commands": _commands(row),
            # Drawn last: a damaged file shows before the seconds that this takes.
            "loss": plots_run.curves(row, history, "loss", f"{name}-loss"),
            "curve": curve,
            "accuracy": plots_run.curves(row, history, curve, f"{name}-accuracy"),
            **{
                draw.__name__: draw(row, result, split, f"{name}-{draw.__name__}")
                if result and result.per_class
                else ""
                for draw in scores
            },
            "layers": tuple(
                plots.layers(stem, found, f"{name}-layers-{i}")
                for i, (stem, found) in enumerate(row.layers.items())
            ),
            "weighing": plots.weighing(shares, f"{name}-weighing") if len(shares) > 1 else "",
        }
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
        raise row.run.damaged("history.jsonl", f"no epoch of seed {', '.join(absent)}")
    return history


def _facts(row: Row, split: str) -> dict[str, str]:
    """What has no plot, by name."""
    result = row.split(split)
    kept = f"{_epochs(row, row.best_epoch)} (by dev {NAMES.get(row.monitor, row.monitor)})"
    facts = {
        "Seeds": ", ".join(map(str, row.seeds)),
        **({"Folds": f"{len(row.folds)} (--folds {row.rule})"} if row.folds else {}),
        "Epoch kept": kept,
        "Epochs run": _epochs(row, row.epochs),
        "Parameters": f"{row.parameters:,} a seed",
    }
    if result:
        if result.ece:
            facts["Calibration error"] = f"{spread(result.ece)} % {interval(result.ece)}"
        if result.ensemble:
            both = [f"{NAMES[name]} {number(name, result.ensemble[name])}"
                    for name in paired_of(row.scores) if name in result.ensemble]  # fmt: skip
            facts["Ensemble of the seeds"] = ", ".join(both)
        if result.unseen_text:
            rows = result.unseen_text.rows
            name = f"{split.capitalize()} texts not in train"
            facts[f"{name} ({rows:,} rows)" if rows else name] = _slice(result.unseen_text)
        if result.prototype:
            facts["Nearest class prototype"] = _slice(result.prototype)
    return facts


def _epochs(row: Row, epochs: Sequence[int]) -> str:
    """One for each seed; with folds, which have as many each, their range."""
    if not row.folds or not epochs:
        return ", ".join(map(str, epochs))
    return f"{min(epochs)} to {max(epochs)}, median {median(epochs):g}"


def _slice(part: Slice) -> str:
    return (
        f"accuracy {spread(part.accuracy)} {interval(part.accuracy)}, "
        f"weighted F1 {spread(part.weighted_f1)} {interval(part.weighted_f1)}"
    )


def _settings(row: Row) -> str:
    run = Run(row.run.path)  # what is there now: `row.run` may have read another one
    if not run.config:  # which says so where it is absent or damaged
        raise run.damaged("config.toml", "it is empty")
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


def _commands(row: Row) -> dict[str, str]:
    again = f"erc fuse --config {shlex.quote(str(row.run.path / 'config.toml'))}"
    made = row.run.inputs.get("command")
    if isinstance(made, list):  # as an older erc wrote it
        made = shlex.join(map(str, made))
    return {"To repeat it": again} | ({"It was made by": made} if made else {})
