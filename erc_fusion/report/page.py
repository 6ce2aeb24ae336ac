"""The comparison as one self-contained HTML file: no scripts, nothing fetched, pictures as SVG."""

import errno
import json
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from erc_features.errors import ErcError, RunError
from erc_fusion.report import plots
from erc_fusion.report.comparison import Comparison
from erc_fusion.report.rows import Row, Slice
from erc_fusion.report.summary import sentences, warnings
from erc_fusion.report.table import interval, percent, spread, tabulate
from erc_fusion.runs import DONE

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Section:
    """What the page says of one run. Pictures are SVG elements, `confusion` "" without labels."""

    row: Row
    open: bool
    headline: str
    warnings: tuple[str, ...]
    loss: str
    accuracy: str
    confusion: str
    classes: str
    facts: tuple[tuple[str, str], ...]
    settings: str
    files: tuple[dict[str, str], ...]
    versions: str
    commands: tuple[tuple[str, str], ...]


def write(comparison: Comparison, to: Path) -> Path:
    """Write the page to `to`, whole or not at all.

    Raises:
        RunError: a run lacks a file, or one is damaged.
        ErcError: `to` is a folder or can't be written.
    """
    part = to.with_name(f".{to.name}.{os.getpid()}.part")
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        if to.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        part.touch()  # a place that can't be written shows before the pictures, which take seconds
        try:
            part.write_text(render(comparison), encoding="utf-8")
            os.replace(part, to)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise ErcError(
            f"{to}: the report cannot be written ({error.strerror}); choose another file with --to."
        ) from error
    return to


def render(comparison: Comparison) -> str:
    """The page as text."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, svg=Markup, thousands=lambda n: f"{n:,}")
    best = comparison.best or comparison.rows[0]
    return environment.get_template("page.html").render(
        style=Markup((_HERE / "style.css").read_text(encoding="utf-8")),  # ours: nothing to escape
        comparison=comparison,
        split=comparison.split,
        counts=_counts(comparison),
        dates=_dates([row.run.path for row in comparison.rows]),
        sentences=sentences(comparison),
        table=tabulate(comparison),
        overviews=[
            plots.overview(comparison, metric, f"overview-{metric}")
            for metric in ("accuracy", "weighted_f1")
            if comparison.majority(comparison.split)
        ],
        sections=[
            _section(comparison, row, number, opened=row is best)
            for number, row in enumerate(comparison.rows, start=1)
        ],
        version=_version(),
    )


def _section(comparison: Comparison, row: Row, number: int, *, opened: bool) -> Section:
    split, result = comparison.split, row.split(comparison.split)
    history = row.run.history()
    inputs = row.run.inputs
    headline = ""
    if result:
        headline = (
            f"{split} accuracy {spread(result.accuracy)}, weighted F1 {spread(result.weighted_f1)}"
        )
    try:
        return Section(
            row=row,
            open=opened,
            headline=headline,
            warnings=warnings(row, split),
            loss=plots.curves(row, history, "loss", f"run-{number}-loss"),
            accuracy=plots.curves(row, history, "accuracy", f"run-{number}-accuracy"),
            confusion=plots.confusion(row, result, split, f"run-{number}-confusion")
            if result
            else "",
            classes=plots.classes(row, result, split, f"run-{number}-classes") if result else "",
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


def _facts(row: Row, split: str) -> tuple[tuple[str, str], ...]:
    """Pairs of name and value that have no picture."""
    result = row.split(split)
    facts = [
        ("Seeds", ", ".join(map(str, row.seeds))),
        (
            "Epoch kept",
            f"{', '.join(map(str, row.best_epoch))} (by dev {row.monitor.replace('_', ' ')})",
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
    path = row.run.path / "config.toml"
    assert isinstance(row.run.config, dict)  # reads it, and says so where it is absent or damaged
    return path.read_text(encoding="utf-8").strip()


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


def _counts(comparison: Comparison) -> str:
    counts = comparison.corpus.counts
    parts = [f"{split} {count:,}" for split, count in counts.items()]
    return " · ".join(parts)


def _dates(paths: Sequence[Path]) -> str:
    """ "20 Nov 2026" or "20 Nov 2026 to 22 Nov 2026": when the runs were finished, in UTC."""
    days = []
    for path in paths:
        try:
            text = (path / DONE).read_text(encoding="utf-8").strip()
            days.append(datetime.fromisoformat(text).date())
        except (OSError, ValueError):
            continue  # DONE counts by being there; its text is a courtesy
    ends = dict.fromkeys(f"{day.day} {day:%b %Y}" for day in (min(days), max(days))) if days else {}
    return " to ".join(ends)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("erc")
    except PackageNotFoundError:
        return ""
