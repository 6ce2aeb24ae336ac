"""The settings of one `erc fuse`: frozen dataclasses, to and from TOML.

The only place where settings are kept; everything else takes them as typed values.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from erc_features.errors import ErcError, choose
from erc_fusion.config.parsing import build, plain

MONITORS = ("accuracy", "weighted_f1")
CLASS_WEIGHTS = ("none", "sqrt", "balanced")
DEVICES = ("auto", "cpu", "cuda")
SCHEDULES = ("constant", "cosine")
PRECISIONS = ("fp32", "bf16", "auto")
REACHES = ("whole", "past")


@dataclass(frozen=True)
class ModelConfig:
    """The network.

    Attributes:
        head: how modalities are fused, see :mod:`erc_fusion.model.heads`.
        context: what an utterance learns of its dialogue, see :mod:`erc_fusion.model.context`.
        reach: of the context: the `whole` dialogue, or the `past` alone, as in a live one.
        speakers: whether the context knows who speaks: same speaker or not, and which of the
            speakers that are frequent in train.
        width: E, dimensions of the embedding.
        dropout: share of units dropped in training, after the projection.
        modality_dropout: probability that a file is hidden from a training row; one of those
            that the row has always stays.
    """

    head: str = "mlp"
    context: str = "none"
    reach: str = "whole"
    speakers: bool = True
    width: int = 256
    dropout: float = 0.5
    modality_dropout: float = 0.1


@dataclass(frozen=True)
class LossConfig:
    """What is minimised: `loss + contrastive_weight * contrastive`.

    Attributes:
        loss: on the logits, see :mod:`erc_fusion.training.losses`.
        class_weights: `none`; `balanced`: inverse to a class's frequency in train; `sqrt`: to its
            square root.
        label_smoothing: share of the target given to all classes alike.
        contrastive: on the unit sphere of embeddings; `auto` is the head's own default.
        contrastive_weight: its weight beside the loss.
        margin: of the triplets, in Euclidean distance between unit vectors (0 to 2).
        temperature: of the supervised contrast.
        gamma: of the focal loss: how much well classified rows are played down; 0 is not at all.
    """

    loss: str = "cross-entropy"
    class_weights: str = "none"
    label_smoothing: float = 0.0
    contrastive: str = "auto"
    contrastive_weight: float = 0.5
    margin: float = 0.3
    temperature: float = 0.1
    gamma: float = 2.0


@dataclass(frozen=True)
class TrainingConfig:
    """How it is minimised: AdamW, stopped early on dev.

    Attributes:
        lr, weight_decay: of AdamW (Loshchilov & Hutter 2019).
        batch_size: utterances a step and seed; with a context, whole dialogues of about as many.
        epochs: at most so many.
        patience: stop a seed after so many epochs without a better dev score.
        clip: largest norm of one seed's gradient.
        schedule: of the learning rate after warming up: `constant`, or `cosine` down to 0 at the
            last of `epochs` (Loshchilov & Hutter 2017).
        warmup: epochs over which the learning rate rises from 0; may be a fraction.
        average: weight of the past in an exponential moving average of the weights, a step;
            dev is scored with the average, and it is kept. 0 is none (0.99 is usual).
        precision: of the forward and backward products: `fp32`, `bf16`, or `auto` (bf16 on a CUDA
            device that has it). Weights are fp32 always.
    """

    lr: float = 1e-3
    weight_decay: float = 1e-2
    batch_size: int = 256
    epochs: int = 60
    patience: int = 8
    clip: float = 1.0
    schedule: str = "constant"
    warmup: float = 0.0
    average: float = 0.0
    precision: str = "fp32"


@dataclass(frozen=True)
class PlaceConfig:
    """Where a run happens. No part of its identity.

    Attributes:
        features, runs: root folders.
        name: of the run's folder; empty: `<head>-<hash of settings and inputs>`.
        device: `auto`, `cpu`, or `cuda`.
        overwrite: run again what is finished already.
    """

    features: str = "features"
    runs: str = "runs"
    name: str = ""
    device: str = "auto"
    overwrite: bool = False


@dataclass(frozen=True)
class FuseConfig:
    """Every setting of a run.

    >>> from erc_fusion import FuseConfig, with_options
    >>> config = with_options(FuseConfig(corpus="meld"), head="attention", epochs=30)
    >>> config.model.head, config.training.epochs, config.seeds
    ('attention', 30, (0, 1, 2, 3, 4))

    Attributes:
        corpus: its name (a path's last component).
        modalities: each a modality or a feature file's stem; empty: every modality that has
            exactly one complete file.
        layers: of every file: `all`, `last`, `-4:` or `0,6,12`, out of those that it has.
        seeds: trained side by side; each is named, so `(100,)` is one seed and `range(100)` are
            a hundred.
        monitor: the dev score that stops and selects: `accuracy` or `weighted_f1`.
    """

    corpus: str = "meld"
    modalities: tuple[str, ...] = ()
    layers: str = "all"
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    monitor: str = "accuracy"
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    place: PlaceConfig = field(default_factory=PlaceConfig)


def load_config(path: str | Path) -> FuseConfig:
    """Read a TOML file; settings that it does not name keep their defaults.

    >>> from pathlib import Path
    >>> config = with_options(FuseConfig(corpus="meld"), head="gated")
    >>> _ = Path("gated.toml").write_text(to_toml(config))
    >>> load_config("gated.toml") == config
    True

    Raises:
        ErcError: it can't be read, is no TOML, or has an unknown key or a wrong value.
    """
    try:
        found = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ErcError(f"{path}: cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise ErcError(f"{path}: not a TOML file ({error}).") from error
    return from_tables(found, where=str(path))


def from_tables(tables: Mapping[str, Any], *, where: str = "configuration") -> FuseConfig:
    """Nested tables, as TOML gives them, to a configuration.

    Raises:
        ErcError: an unknown key (names the valid ones), or a value of another type.
    """
    return build(FuseConfig, tables, where)


def to_tables(config: FuseConfig) -> dict[str, Any]:
    """Nested tables of plain values, the inverse of :func:`from_tables`."""
    return plain(asdict(config))


def to_toml(config: FuseConfig) -> str:
    """The configuration as TOML; :func:`load_config` reads it back."""
    import tomli_w

    return tomli_w.dumps(to_tables(config))


def with_options(config: FuseConfig, **options: Any) -> FuseConfig:
    """`config` with some settings replaced, by their last name; None keeps what stands.

    >>> with_options(FuseConfig(), head="attention", lr=None).model.head
    'attention'

    Raises:
        ErcError: an unknown name, or a value of another type.
    """
    tables = to_tables(config)
    places = {
        leaf: table
        for table in (tables, *(value for value in tables.values() if isinstance(value, dict)))
        for leaf, value in table.items()
        if not isinstance(value, dict)
    }
    # `loss` names both a table and the setting in it: by its last name, the setting.
    for name, value in options.items():
        choose("setting", name, places)
        if value is not None:
            places[name][name] = list(value) if isinstance(value, tuple) else value
    return from_tables(tables, where="options")


def check_config(config: FuseConfig) -> None:
    """Check choices and ranges; heads and the like are checked where they are looked up.

    Raises:
        ErcError: names the setting, its value and what it may be.
    """
    choose("monitor", config.monitor, MONITORS)
    choose("class weights", config.loss.class_weights, CLASS_WEIGHTS)
    choose("device", config.place.device, DEVICES)
    choose("reach", config.model.reach, REACHES)
    choose("schedule", config.training.schedule, SCHEDULES)
    choose("precision", config.training.precision, PRECISIONS)
    if not config.seeds or len(set(config.seeds)) < len(config.seeds):
        raise ErcError(
            f"seeds must be one or more distinct numbers, not {list(config.seeds)}: --seeds 5 is "
            "seeds 0 to 4, --seeds 3,7 these two, --seeds 3, this one."
        )
    model, loss, training = config.model, config.loss, config.training
    for name in ("dropout", "modality_dropout"):
        _within(name, getattr(model, name), 0 <= getattr(model, name) < 1, "from 0 to below 1")
    _within("label_smoothing", smooth := loss.label_smoothing, 0 <= smooth < 1, "from 0 to below 1")
    above = {"width": model.width, "temperature": loss.temperature}
    for name in ("lr", "batch_size", "epochs", "patience", "clip"):
        above[name] = getattr(training, name)
    for name, value in above.items():
        _within(name, value, 0 < value < float("inf"), "above 0")
    _within("average", training.average, 0 <= training.average < 1, "from 0 to below 1")
    least = {"weight_decay": training.weight_decay, "warmup": training.warmup}
    for name in ("margin", "gamma", "contrastive_weight"):
        least[name] = getattr(loss, name)
    for name, value in least.items():
        _within(name, value, 0 <= value < float("inf"), "0 or more")


def parse_list(text: str | None) -> tuple[str, ...] | None:
    """A list as a command line has it; None stays None.

    >>> parse_list("text, audio.wav2vec2-base")
    ('text', 'audio.wav2vec2-base')

    Raises:
        ErcError: nothing is in it, as when a shell's variable was empty.
    """
    if text is None:
        return None
    found = tuple(item for item in (part.strip() for part in text.split(",")) if item)
    if not found:
        raise ErcError(f"A list of nothing: {text!r}. Leave the option out, or name something.")
    return found


def without_place(config: FuseConfig) -> dict[str, Any]:
    """What makes a run itself: every setting but where it happens."""
    tables = to_tables(config)
    del tables["place"]
    return tables


def _flat(tables: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tables.items():
        flat |= _flat(value) if isinstance(value, Mapping) else {name: value}
    return flat


def as_recorded(config: FuseConfig) -> FuseConfig:
    """The configuration to keep with a run: it can be given to `--config` for another one."""
    return replace(config, place=replace(config.place, name="", overwrite=False))


def _within(name: str, value: float, fine: bool, range_: str) -> None:
    if not fine:
        raise ErcError(f"{name} must be {range_}, not {value}.")


DEFAULTS = _flat(asdict(FuseConfig()))  # of every setting, by its last name
