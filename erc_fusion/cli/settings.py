"""The settings of a run as options, each described once for `fuse`, `tune` and `study` alike."""

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from erc_features.cli.options import CORPUS, INPUTS, OUTPUT, option
from erc_fusion.config.config import (
    CHOICES,
    DEFAULTS,
    FuseConfig,
    load_config,
    parse_list,
    with_options,
)
from erc_fusion.config.seeds import parse_seeds
from erc_fusion.model.heads import HEADS

MODEL, LOSS, TRAINING = "Model", "Loss", "Training"  # headings of `--help`
SEEDS = "how many (5 means the seeds 0 to 4), or, with a comma, which ones (3,7 or 100,)."


class Setting(NamedTuple):
    """How `--help` describes a setting.

    Attributes:
        under: its heading.
        help: one or more sentences.
        takes: its choices, or what its value looks like; those of :data:`CHOICES` where it is
            not said.
        default: in words, where :data:`DEFAULTS` has none that a reader could use.
    """

    under: str
    help: str
    takes: str | None = None
    default: str | None = None


SETTINGS: dict[str, Setting] = {
    "corpus": Setting(INPUTS, "Name or folder of the corpus.", None, f"$ERC_CORPUS or {CORPUS}"),
    "features": Setting(INPUTS, "Folder that holds the feature files."),
    "modalities": Setting(
        INPUTS,
        "Modalities, or stems of feature files, separated by commas.",
        "text,audio.NAME",
        "every modality that has a file",
    ),
    "target": Setting(
        INPUTS,
        "What to predict: label, or columns of the corpus. Numbers (valence,arousal) are a "
        "regression, joy|surprise in a cell is a set of labels, other names are classes; numbers "
        "may stand beside label.",
        "label|COLUMN,…",
    ),
    "layers": Setting(INPUTS, "Layers to read from each file.", "all|last|-4:|0,6,12"),
    "config": Setting(INPUTS, "TOML file of settings; options given here override it."),
    "head": Setting(MODEL, "How the modalities are fused.", "|".join(HEADS)),
    "context": Setting(MODEL, "What reads the dialogue around an utterance.",
                       "none|gru|transformer"),
    "reach": Setting(MODEL, "Part of the dialogue that the context reads."),
    "speakers": Setting(MODEL, "Tell the context who speaks.", None, "speakers"),
    "width": Setting(MODEL, "Dimensions of the embedding."),
    "layer_mix": Setting(
        MODEL,
        "How an encoder's layers become one vector: a learned weighted mean, or all of them.",
    ),
    "dropout": Setting(MODEL, "Dropout rate after the projection."),
    "modality_dropout": Setting(MODEL, "Probability of hiding a file from a training row."),
    "loss": Setting(
        LOSS,
        "Loss on the outputs: the first three of classes, bce of a set of labels, ccc and mse of "
        "numbers; with classes and numbers, one of each.",
        "cross-entropy|focal|dice|bce|ccc|mse",
        "cross-entropy, bce, ccc",
    ),
    "target_weight": Setting(LOSS, "Weight of the loss of numbers beside classes or a set."),
    "gamma": Setting(LOSS, "Focusing parameter of the focal loss."),
    "class_weights": Setting(
        LOSS,
        "Weights of the classes: inverse to their frequency in train (balanced), or to its "
        "square root (sqrt).",
    ),
    "label_smoothing": Setting(LOSS, "Label smoothing."),
    "contrastive": Setting(LOSS, "Contrastive loss on the embeddings.",
                           "auto|none|triplet|supcon", "auto, the head's own"),
    "contrastive_weight": Setting(LOSS, "Weight of the contrastive loss."),
    "margin": Setting(LOSS, "Margin of the triplet loss."),
    "temperature": Setting(LOSS, "Temperature of the supervised contrastive loss (supcon)."),
    "seeds": Setting(TRAINING, f"Seeds to train: {SEEDS}", "N|N,…", "5"),
    "folds": Setting(
        TRAINING,
        "Cross-validation in the place of the corpus's splits, each row predicted once: speaker, "
        "session or another column leaves out each of its values; dialogue:5 or speaker:5 deals "
        "them to 5 folds.",
        "UNIT",
        "the corpus's splits",
    ),
    "dev": Setting(
        TRAINING,
        "With --folds, about the share of each fold's other rows to choose the epoch on; at most "
        "0.5.",
    ),
    "monitor": Setting(TRAINING, "Score on dev that stops training and selects the epoch."),
    "epochs": Setting(TRAINING, "Maximum number of epochs."),
    "patience": Setting(TRAINING, "Epochs without improvement on dev before a seed stops."),
    "batch_size": Setting(TRAINING, "Utterances in a batch."),
    "lr": Setting(TRAINING, "Learning rate of AdamW."),
    "weight_decay": Setting(TRAINING, "Weight decay of AdamW."),
    "clip": Setting(TRAINING, "Maximum gradient norm of a seed."),
    "schedule": Setting(TRAINING, "Learning rate after warm-up."),
    "warmup": Setting(TRAINING, "Epochs over which the learning rate rises from 0."),
    "average": Setting(
        TRAINING, "Decay of the exponential moving average of the weights; 0.99 is usual.", None,
        "0, no average",
    ),
    "precision": Setting(TRAINING, "Precision of the forward and backward passes."),
    "device": Setting(TRAINING, "Device to train on."),
    "stream": Setting(
        TRAINING,
        "Read features from their files while training, in bounded memory, to the same results.",
        None,
        "where float32 features would need more than half of the free memory",
    ),
    "runs": Setting(OUTPUT, "Folder that holds the runs."),
    "name": Setting(OUTPUT, "Name of the run.", None, "HEAD-HASH, of settings and inputs"),
    "overwrite": Setting(OUTPUT, "Train again, and replace, a run that is finished."),
}  # fmt: skip
_READERS: dict[str, Callable[[str], Any]] = {"modalities": parse_list, "seeds": parse_seeds}
_KINDS = {"config": Path, "corpus": str, "modalities": str, "seeds": str, "stream": bool}


def takes_settings(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command options for these settings of :class:`FuseConfig`, and `--config`.

    The command takes them together, as its parameter `settings`: those of the file, replaced by
    what was given on the command line.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def run(**given: Any) -> None:
            options = {name: given.pop(name) for name in names}
            for name, read in _READERS.items():
                if options.get(name) is not None:
                    options[name] = read(options[name])
            file = given.pop("config")
            default = FuseConfig(corpus=os.environ.get("ERC_CORPUS", str(CORPUS)))
            settings = with_options(load_config(file) if file else default, **options)
            command(settings=settings, **given)

        own = list(inspect.signature(command).parameters.values())
        place = next(i for i, parameter in enumerate(own) if parameter.name == "settings")
        own[place : place + 1] = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_annotation(name)
            )
            for name in (*names, "config")
        ]
        keyword = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own]
        run.__signature__ = inspect.Signature(keyword)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in keyword}
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        return run

    return decorate


def takes_of(name: str) -> str | None:
    """What the option of a setting takes, `constant|cosine`; None where any value may do."""
    return SETTINGS[name].takes or "|".join(CHOICES.get(name, ())) or None


def _annotation(name: str) -> Any:
    about = SETTINGS[name]
    if name == "overwrite":
        return Annotated[bool | None, option(about.help, "--overwrite", under=about.under)]
    kind = _KINDS.get(name) or type(DEFAULTS[name])
    default = about.default or DEFAULTS.get(name)
    text = about.help if default is None else f"{about.help} [default: {default}]"
    return Annotated[kind | None, option(text, under=about.under, takes=takes_of(name))]
