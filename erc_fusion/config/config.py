"""The settings of one `erc fuse`: frozen dataclasses, to and from TOML."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from erc_features.errors import ErcError, choose
from erc_fusion.config.parsing import build, read_toml

MONITORS = ("accuracy", "weighted_f1", "ccc", "map", "micro_f1", "macro_f1")
CLASS_WEIGHTS = ("none", "sqrt", "balanced")
SCHEDULES = ("constant", "cosine")
PRECISIONS = ("fp32", "bf16", "auto")
REACHES = ("whole", "past")
LAYER_MIXES = ("learned", "concat")
# Heads, contexts and losses are checked where they are looked up: plug-ins add to them.
CHOICES = {
    "monitor": MONITORS,
    "class_weights": CLASS_WEIGHTS,
    "device": ("auto", "cpu", "cuda"),
    "reach": REACHES,
    "layer_mix": LAYER_MIXES,
    "schedule": SCHEDULES,
    "precision": PRECISIONS,
}
# Settings that runs of erc 0.1 do not have.
_LATER = (("model", "layer_mix"), ("loss", "target_weight"), ("", "target"))
_BELOW_1 = ("dropout", "modality_dropout", "label_smoothing", "average")
_ABOVE_0 = ("width", "temperature", "lr", "batch_size", "epochs", "patience", "clip")
_AT_LEAST_0 = ("weight_decay", "warmup", "margin", "gamma", "contrastive_weight",
               "target_weight")  # fmt: skip


@dataclass(frozen=True)
class ModelConfig:
    """The network.

    Attributes:
        head: how modalities are fused, see :mod:`erc_fusion.model.heads`.
        context: what an utterance learns from its dialogue, see :mod:`erc_fusion.model.context`.
        reach: how far the context looks: at the `whole` dialogue, or only at the `past`, as in a
            live one.
        speakers: whether the context knows who speaks: which utterances have the same speaker,
            and which of the speakers that are frequent in train.
        width: E, dimensions of the embedding.
        dropout: share of units dropped in training, after the projection.
        modality_dropout: probability that a feature file is hidden from a training row; at least
            one of those that the row has always stays.
        layer_mix: `learned`: one weight for each of a file's layers, which sum to 1; `concat`: a
            projection for each layer, as a classifier on concatenated layers has.
    """

    head: str = "mlp"
    context: str = "none"
    reach: str = "whole"
    speakers: bool = True
    width: int = 256
    dropout: float = 0.5
    modality_dropout: float = 0.1
    layer_mix: str = "learned"


@dataclass(frozen=True)
class LossConfig:
    """What is minimised: `loss + contrastive_weight * contrastive`.

    Attributes:
        loss: of the classes, the set of labels or the numbers that are predicted, see
            :mod:`erc_fusion.training.losses`; of classes and numbers, two with a comma.
        class_weights: `none`; `balanced`: inverse to a class's frequency in train; `sqrt`: inverse
            to the square root of it.
        label_smoothing: share of the target that is spread evenly over all classes.
        contrastive: the loss on L2-normalised embeddings; `auto` takes the head's own default.
        contrastive_weight: its weight beside the classification loss.
        margin: of the triplet loss, in Euclidean distance between unit vectors (0 to 2).
        temperature: of the supervised contrastive loss.
        gamma: of the focal loss: how strongly well-classified rows are played down; 0 is not at
            all.
        target_weight: of the loss of numbers beside that of classes or of a set.
    """

    loss: str = "cross-entropy"
    class_weights: str = "none"
    label_smoothing: float = 0.0
    contrastive: str = "auto"
    contrastive_weight: float = 0.5
    margin: float = 0.3
    temperature: float = 0.1
    gamma: float = 2.0
    target_weight: float = 1.0


@dataclass(frozen=True)
class TrainingConfig:
    """How it is minimised: AdamW with early stopping on dev.

    Attributes:
        lr, weight_decay: of AdamW (Loshchilov & Hutter 2019).
        batch_size: utterances per step and seed; with a context, whole dialogues of about as many.
        epochs: maximum number of epochs.
        patience: stop a seed after this many epochs without an improvement on dev.
        clip: maximum norm of one seed's gradient.
        schedule: of the learning rate after the warm-up: `constant`, or `cosine` down to 0 at the
            last of `epochs` (Loshchilov & Hutter 2017).
        warmup: epochs over which the learning rate rises from 0; may be a fraction.
        average: decay of an exponential moving average of the weights, per step. Where it is
            above 0 (0.99 is usual), the averaged weights are scored on dev and kept.
        precision: of the forward and backward products: `fp32`, `bf16`, or `auto` (bf16 on a CUDA
            device that has it). Weights are always fp32.
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
    """Where a run happens, which is no part of its identity.

    Attributes:
        features, runs: root folders.
        name: of the run's folder; empty: `<head>-<hash of settings and inputs>`.
        device: `auto`, `cpu`, or `cuda`.
        overwrite: repeat a run that is finished already.
        stream: read the features from their files while training, in bounded memory; None: if in
            float32 they would need more than half of the free memory. The results are the same.
    """

    features: str = "features"
    runs: str = "runs"
    name: str = ""
    device: str = "auto"
    overwrite: bool = False
    stream: bool | None = None


@dataclass(frozen=True)
class FuseConfig:
    """Every setting of a run.

    >>> from erc_fusion import FuseConfig, with_options
    >>> config = with_options(FuseConfig(corpus="meld"), head="attention", epochs=30)
    >>> config.model.head, config.training.epochs, config.seeds
    ('attention', 30, (0, 1, 2, 3, 4))

    Attributes:
        corpus: its name (the last component of a path).
        modalities: each a modality or a feature file's stem; empty: every modality that has
            exactly one complete file.
        layers: which layers of every file to use: `all`, `last`, `-4:` or `0,6,12`.
        seeds: all of them, trained side by side: `(100,)` is one seed, `range(100)` a hundred.
        target: what is predicted, columns with commas: `label`, `valence,arousal`; see
            :mod:`erc_fusion.inputs.targets`.
        monitor: the dev score for early stopping and selection: `accuracy` or `weighted_f1`; of
            numbers `ccc`, of a set of labels `map`, `micro_f1` or `macro_f1`.
        folds: cross-validation in the place of the corpus's splits: `speaker`, `session` or another
            column, `dialogue:5`, `5`; see :mod:`erc_fusion.inputs.folds`. Empty: the splits.
        dev: with folds, the share of each fold's other rows to choose on.
    """

    corpus: str = "meld"
    target: str = "label"
    modalities: tuple[str, ...] = ()
    layers: str = "all"
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    monitor: str = "accuracy"
    folds: str = ""
    dev: float = 0.1
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
        ErcError: it can't be read, is not TOML, or has an unknown key or a wrong value.
    """
    return from_tables(read_toml(Path(path)), where=str(path))


def from_tables(tables: Mapping[str, Any], *, where: str = "configuration") -> FuseConfig:
    """The configuration of nested tables, as TOML gives them; errors as of :func:`build`."""
    return build(FuseConfig, tables, where)


def to_toml(config: FuseConfig) -> str:
    """The configuration as TOML; :func:`load_config` reads it back."""
    import tomli_w

    tables = asdict(config)
    if config.place.stream is None:  # which TOML can't say
        del tables["place"]["stream"]
    return tomli_w.dumps(tables)


def with_options(config: FuseConfig, **options: Any) -> FuseConfig:
    """`config` with some settings replaced by their last names; None keeps the present value.

    >>> with_options(FuseConfig(), head="attention", lr=None).model.head
    'attention'

    Raises:
        ErcError: an unknown name, or a value of another type.
    """
    tables = asdict(config)
    # `loss` is the name both of a table and of a setting in it; the setting is meant.
    for name, value in options.items():
        choose("setting", name, DEFAULTS)
        if value is not None:
            inside = (table for table in tables.values() if isinstance(table, dict))
            next((table for table in inside if name in table), tables)[name] = value
    return from_tables(tables, where="options")


def check_config(config: FuseConfig) -> None:
    """Check choices and ranges; raises ErcError with the setting, its value and what it may be."""
    settings = _flat(asdict(config))
    for name, choices in CHOICES.items():
        choose(name.replace("_", " "), settings[name], choices)
    if not config.folds and config.dev != DEFAULTS["dev"]:
        raise ErcError(
            f"--dev {config.dev:g} goes with --folds; without, the corpus's dev split chooses."
        )
    if not config.seeds or len(set(config.seeds)) < len(config.seeds):
        raise ErcError(
            f"seeds must be one or more distinct numbers, not {list(config.seeds)}: --seeds 5 is "
            "seeds 0 to 4, --seeds 3,7 these two, and --seeds 3, (with the comma) only seed 3."
        )
    for names, fine, allowed in (
        (_BELOW_1, lambda value: 0 <= value < 1, "from 0 to below 1"),
        (_ABOVE_0, lambda value: 0 < value < math.inf, "above 0"),
        (_AT_LEAST_0, lambda value: 0 <= value < math.inf, "0 or more"),
    ):
        for name in names:
            if not fine(settings[name]):
                raise ErcError(f"{name} must be {allowed}, not {settings[name]}.")


def parse_list(text: str | None) -> tuple[str, ...] | None:
    """A comma-separated list from the command line; None stays None.

    >>> parse_list("text, audio.wav2vec2-base")
    ('text', 'audio.wav2vec2-base')

    Raises:
        ErcError: it is empty, for example because a shell variable was.
    """
    if text is None:
        return None
    found = tuple(item.strip() for item in text.split(",") if item.strip())
    if not found:
        raise ErcError(f"The list {text!r} is empty. Leave the option out, or name something.")
    return found


def must_have_splits(config: FuseConfig, command: str, *, label: bool = False) -> None:
    """Refuse folds where a command chooses on the corpus's own dev split; with `label`, other
    targets than the corpus's label, too."""
    if label and config.target != "label":
        raise ErcError(f"{command} is about the corpus's label; leave --target out.")
    if config.folds:
        raise ErcError(
            f"{command} chooses on the corpus's dev split and has no folds; leave --folds out, and "
            "give what it finds to `erc fuse --folds`."
        )


def without_place(config: FuseConfig) -> dict[str, Any]:
    """The settings that make up a run's identity: all but where it happens.

    A setting that came later counts only where it is used, so that older runs keep theirs.
    """
    found: dict[str, Any] = {k: v for k, v in asdict(config).items() if k != "place"}
    for table, name in _LATER:
        there = found[table] if table else found
        if there[name] == DEFAULTS[name]:
            del there[name]
    if not config.folds:
        del found["folds"], found["dev"]
    return found


def _flat(tables: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tables.items():
        flat |= _flat(value) if isinstance(value, Mapping) else {name: value}
    return flat


def as_recorded(config: FuseConfig) -> FuseConfig:
    """The configuration to keep with a run, such that `--config` takes it for another one."""
    return replace(config, place=replace(config.place, name="", overwrite=False, stream=None))


DEFAULTS = _flat(asdict(FuseConfig()))  # every setting's, by its last name
