"""One run's results as plain data: what `metrics.json` holds, checked and typed.

Every number is a fraction in [0, 1] as `metrics.json` has it; only :mod:`.table` turns
fractions into percent.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from erc_features.errors import RunError
from erc_fusion.runs.run import Run


@dataclass(frozen=True)
class Stat:
    """A statistic over seeds; `low` and `high` are the 95% interval of the mean, by dialogue."""

    mean: float
    std: float
    low: float
    high: float
    seeds: tuple[float, ...]

    def overlaps(self, other: "Stat") -> bool:
        return self.low <= other.high and other.low <= self.high


@dataclass(frozen=True)
class Scores:
    """Single predictions' scores: the seeds' ensemble, or the majority class."""

    accuracy: float
    weighted_f1: float
    macro_f1: float
    label: str | None = None  # the class always predicted, of a majority baseline


@dataclass(frozen=True)
class ClassScore:
    """One emotion's scores, means over seeds."""

    label: str
    precision: float
    recall: float
    f1: float
    f1_std: float
    support: int


@dataclass(frozen=True)
class Slice:
    """The scores of some rows, or of another classifier on the same ones (`rows` None)."""

    rows: int | None
    accuracy: Stat
    weighted_f1: Stat


@dataclass(frozen=True)
class Bin:
    """Rows whose largest probability lies in [low, high); means over seeds, None where empty."""

    low: float
    high: float
    rows: float
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class SliceRow:
    """The scores of the rows that share a value: a speaker, a length; means over seeds."""

    value: str
    rows: int
    accuracy: float
    weighted_f1: float


@dataclass(frozen=True)
class Layers:
    """The learned softmax weight of each layer of a feature file: mean and deviation over seeds."""

    weight: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Weight:
    """What the head gives a feature file: mean over rows and seeds, deviation over seeds."""

    mean: float
    std: float


@dataclass(frozen=True)
class SplitResult:
    """A run on dev or test; `confusion` is (C, C), truth by prediction, mean counts over seeds.

    `reliability` and `slices` (by speaker, position, length, missing) are empty for a run that
    an older erc made.
    """

    rows: int
    labelled: int
    accuracy: Stat
    weighted_f1: Stat
    macro_f1: Stat
    ece: Stat
    majority: Scores
    ensemble: Scores
    per_class: tuple[ClassScore, ...]
    confusion: tuple[tuple[float, ...], ...]
    collapsed: tuple[str, ...]
    unseen_text: Slice | None
    prototype: Slice | None
    reliability: tuple[Bin, ...] = ()
    slices: Mapping[str, tuple[SliceRow, ...]] = field(default_factory=dict)

    def stat(self, metric: str) -> Stat:
        """`accuracy`, `weighted_f1`, `macro_f1` or `ece`."""
        found = getattr(self, metric)
        assert isinstance(found, Stat), metric
        return found


@dataclass(frozen=True)
class Row:
    """A line of the report. `dev` or `test` is None where the split has no labelled rows.

    `layers` holds the feature files with more than one layer; `weighing` is by feature file, and
    None where the head weighs none, or the run is of an older erc. `warnings` are what `erc fuse`
    said of it.
    """

    name: str
    head: str
    modalities: tuple[str, ...]
    files: tuple[str, ...]
    labels: tuple[str, ...]
    seeds: tuple[int, ...]
    monitor: str
    best_epoch: tuple[int, ...]
    epochs: tuple[int, ...]
    parameters: int
    dev: SplitResult | None
    test: SplitResult | None
    run: Run = field(repr=False)
    layers: Mapping[str, Layers] = field(default_factory=dict)
    weighing: Mapping[str, Weight] | None = None
    warnings: tuple[str, ...] = ()

    def split(self, name: str) -> SplitResult | None:
        """`dev` or `test`."""
        return {"dev": self.dev, "test": self.test}[name]


def row(run: Run) -> Row:
    """Read a finished run's `metrics.json`.

    Raises:
        RunError: it can't be read, or lacks something.
    """
    metrics = run.metrics
    try:
        _ = list(zip(metrics["modalities"], metrics["files"], strict=True))  # go together
        return Row(
            name=run.name,
            head=metrics["head"],
            modalities=tuple(metrics["modalities"]),
            files=tuple(metrics["files"]),
            labels=tuple(metrics["labels"]),
            seeds=tuple(metrics["seeds"]),
            monitor=metrics["monitor"],
            best_epoch=tuple(metrics["best_epoch"]),
            epochs=tuple(metrics["epochs"]),
            parameters=metrics["parameters"],
            dev=_split(metrics["dev"]),
            test=_split(metrics["test"]),
            run=run,
            layers={
                stem: Layers(_floats(found["weight"]), _floats(found["std"]))
                for stem, found in metrics.get("layers", {}).items()
            },
            weighing=_weighing(metrics.get("weighing")),
            warnings=tuple(map(str, metrics.get("warnings") or ())),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise RunError(
            f"{run.path / 'metrics.json'} is damaged ({type(error).__name__}: {error}). "
            "Run `erc fuse` again with --overwrite."
        ) from error


def _split(found: dict[str, Any] | None) -> SplitResult | None:
    if found is None:
        return None
    return SplitResult(
        rows=found["rows"],
        labelled=found["labelled"],
        accuracy=_stat(found["accuracy"]),
        weighted_f1=_stat(found["weighted_f1"]),
        macro_f1=_stat(found["macro_f1"]),
        ece=_stat(found["ece"]),
        majority=_scores(found["majority"]),
        ensemble=_scores(found["ensemble"]),
        per_class=tuple(
            ClassScore(
                item["label"],
                _number(item["precision"]),
                _number(item["recall"]),
                _number(item["f1"]),
                _number(item["f1_std"]),
                item["support"],
            )
            for item in found["per_class"]
        ),
        confusion=tuple(_floats(line) for line in found["confusion"]),
        collapsed=tuple(found["collapsed"]),
        unseen_text=_slice(found["unseen_text"]),
        prototype=_slice(found["prototype"]),
        reliability=tuple(
            Bin(item["low"], item["high"], item["rows"], item["confidence"], item["accuracy"])
            for item in found.get("reliability", ())
        ),
        slices={
            by: tuple(
                SliceRow(item["value"], item["rows"], item["accuracy"], item["weighted_f1"])
                for item in items
            )
            for by, items in found.get("slices", {}).items()
        },
    )


def _stat(found: dict[str, Any]) -> Stat:
    return Stat(
        mean=_number(found["mean"]),
        std=_number(found["std"]),
        low=_number(found["low"]),
        high=_number(found["high"]),
        seeds=_floats(found["seeds"]),
    )


def _floats(values: list[float]) -> tuple[float, ...]:
    return tuple(_number(value) for value in values)


def _number(value: float) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{number} is no score")  # json reads NaN and Infinity
    return number


def _weighing(found: dict[str, Any] | None) -> dict[str, Weight] | None:
    if found is None:
        return None
    return {
        stem: Weight(_number(each["mean"]), _number(each["std"])) for stem, each in found.items()
    }


def _scores(found: dict[str, Any]) -> Scores:
    return Scores(
        accuracy=_number(found["accuracy"]),
        weighted_f1=_number(found["weighted_f1"]),
        macro_f1=_number(found["macro_f1"]),
        label=found.get("label"),
    )


def _slice(found: dict[str, Any] | None) -> Slice | None:
    if found is None:
        return None
    return Slice(found.get("rows"), _stat(found["accuracy"]), _stat(found["weighted_f1"]))
