"""One run's results as plain data: what `metrics.json` holds, checked and typed.

Every score is a fraction in [0, 1], as in `metrics.json`; only :mod:`.table` makes percent of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from erc_features.errors import ErcError, RunError
from erc_fusion.config.parsing import build
from erc_fusion.runs.run import Run
from erc_fusion.runs.scores import scores_of


@dataclass(frozen=True)
class Stat:
    """A statistic over seeds; `low` and `high` are the 95% interval of the mean, by dialogue."""

    mean: float
    std: float
    low: float
    high: float
    seeds: tuple[float, ...]


@dataclass(frozen=True)
class Scores:
    """Single predictions' scores: the seeds' ensemble, or the majority class."""

    accuracy: float
    weighted_f1: float
    macro_f1: float
    label: str | None = None  # the class always predicted, of a majority baseline
    uar: float | None = None  # of a run of an older erc


@dataclass(frozen=True)
class NumberErrors:
    """Scores of single predictions of a number, as :class:`NumberScore` has them."""

    ccc: float
    pearson: float
    mae: float
    rmse: float


@dataclass(frozen=True)
class NumberScore:
    """A predicted number's scores; `mae` and `rmse` are in its own unit."""

    rows: int
    ccc: Stat
    pearson: Stat
    mae: Stat
    rmse: Stat
    ensemble: NumberErrors
    mean_of_train: NumberErrors


@dataclass(frozen=True)
class LabelScore:
    """The scores of a label of a set, means over seeds."""

    label: str
    precision: float
    recall: float
    f1: float
    f1_std: float
    support: int
    threshold: float
    average_precision: float | None


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

    rows: int | None = field(default=None, kw_only=True)
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
    """The head's weight of a feature file: mean over rows and seeds, deviation over seeds."""

    mean: float
    std: float


@dataclass(frozen=True)
class SplitResult:
    """A run on dev or test. What it does not predict is None or empty.

    `confusion` is (C, C), truth by prediction, mean counts over seeds. `reliability` and `slices`
    (by speaker, position, length, missing) are empty where an older erc made the run.
    """

    rows: int
    labelled: int
    accuracy: Stat | None = None
    weighted_f1: Stat | None = None
    macro_f1: Stat | None = None
    ece: Stat | None = None
    majority: Scores | None = None
    ensemble: Mapping[str, float] = field(default_factory=dict)
    per_class: tuple[ClassScore, ...] = ()
    confusion: tuple[tuple[float, ...], ...] = ()
    collapsed: tuple[str, ...] = ()
    unseen_text: Slice | None = None
    prototype: Slice | None = None
    micro_f1: Stat | None = None
    samples_f1: Stat | None = None
    map: Stat | None = None
    labels: tuple[LabelScore, ...] = ()
    ccc: Stat | None = None
    pearson: Stat | None = None
    mae: Stat | None = None
    rmse: Stat | None = None
    numbers: Mapping[str, NumberScore] = field(default_factory=dict)
    reliability: tuple[Bin, ...] = ()
    slices: Mapping[str, tuple[SliceRow, ...]] = field(default_factory=dict)
    uar: Stat | None = None

    def stat(self, metric: str) -> Stat:
        """A score by its name; raises KeyError where the run has none of that name."""
        found = self.known(metric)
        if found is None:
            raise KeyError(metric)
        return found

    def known(self, metric: str) -> Stat | None:
        """The same, or None: of another target, or of an older erc that had no `uar`."""
        found = getattr(self, metric)
        assert found is None or isinstance(found, Stat), metric
        return found


@dataclass(frozen=True)
class Spread:
    """Mean and sample deviation over seeds."""

    mean: float
    std: float


@dataclass(frozen=True)
class FoldResult:
    """A run on one fold's held-out rows; scores are None where none of them has a label."""

    name: str
    rows: int
    labelled: int
    accuracy: Spread | None = None
    weighted_f1: Spread | None = None
    uar: Spread | None = None
    micro_f1: Spread | None = None
    macro_f1: Spread | None = None
    ccc: Spread | None = None


@dataclass(frozen=True)
class Row:
    """A line of the report. `dev` or `test` is None where the split has no labelled rows.

    `layers` holds the feature files that have more than one layer. `weighing` is by feature file,
    and None where the head has no such weights, or an older erc made the run. `warnings` are those
    of `erc fuse`. With `folds`, test is over all rows, each held out once.
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
    folds: tuple[FoldResult, ...] = ()

    @property
    def rule(self) -> str:
        """Its folds: `speaker`, `dialogue:5`; "" of a run over the corpus's splits."""
        return str(self.run.config.get("folds", "")) if self.folds else ""

    @property
    def of_folds(self) -> tuple[str, ...]:
        """The names of the scores that its folds have."""
        names = ("accuracy", "weighted_f1", "uar", "micro_f1", "macro_f1", "ccc")
        return tuple(n for n in names if any(getattr(fold, n) for fold in self.folds))

    @property
    def resampled(self) -> str:
        """What its intervals are over: `dialogue`, or `speaker` where speakers are held out."""
        return "speaker" if self.rule.partition(":")[0] == "speaker" else "dialogue"

    @property
    def scores(self) -> tuple[str, ...]:
        """The names of its scores that are shown."""
        return scores_of(self.run.metrics)

    @property
    def target(self) -> str:
        """What it predicts, as `--target` names it."""
        return self.run.target

    def split(self, name: str) -> SplitResult | None:
        """`dev` or `test`."""
        return {"dev": self.dev, "test": self.test}[name]


def row(run: Run) -> Row:
    """Read a run's `metrics.json`; raises RunError if it can't be read or lacks something."""
    try:
        found = build(Row, {**run.metrics, "name": run.name, "run": run}, "metrics", recorded=True)
        if len(found.modalities) != len(found.files):
            raise ErcError("it has not one modality for each file")
        if not (run.metrics.get("task") or {}).get("numbers"):  # else a split may have some only
            for split in filter(None, (found.dev, found.test)):
                if absent := [name for name in found.scores if getattr(split, name) is None]:
                    raise ErcError(f"it has no {', '.join(absent)}")
    except (ErcError, TypeError) as error:
        if isinstance(error, RunError):
            raise
        raise run.damaged("metrics.json", error) from error
    return found
