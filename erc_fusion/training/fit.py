"""Everything up to selection: train and dev in, a trained model out. Test is never used here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from erc_features.errors import ErcError
from erc_features.utterance import Split
from erc_fusion.config.config import FuseConfig
from erc_fusion.inputs.standardise import Standardiser, fit_standardiser
from erc_fusion.inputs.table import FeatureTable
from erc_fusion.model.fusion import Split as Rows
from erc_fusion.model.fusion import build_model
from erc_fusion.training.checkpoint import Weights
from erc_fusion.training.losses import make_objective
from erc_fusion.training.parts import Part
from erc_fusion.training.train import Progress, Trained, predict, prototypes, train


@dataclass(frozen=True)
class Data:
    """Train and dev, standardised, on the device; `files` maps stems to (L, D), `classes` is C."""

    standardiser: Standardiser
    train: Rows
    dev: Rows
    files: Mapping[str, tuple[int, int]]
    classes: int
    device: torch.device


def make_data(table: FeatureTable, device: str) -> Data:
    """What training sees of a table; raises ErcError where there is no such device."""
    place = pick_device(device)
    standardiser = fit_standardiser(table, table.rows(Split.TRAIN))
    train, dev = (
        standardiser.split(table, table.rows(split), place) for split in (Split.TRAIN, Split.DEV)
    )
    files = {source.stem: source.shape[1:] for source in table.sources}
    return Data(standardiser, train, dev, files, len(table.labels), place)


def fit(
    config: FuseConfig, data: Data, progress: Callable[[Progress], None] | None = None
) -> tuple[Trained, Weights]:
    """Train every seed, with early stopping and selection on dev.

    Args:
        config: resolved, see :func:`erc_fusion.fuse.resolve`.
        progress: called after each epoch; what it raises ends the training.

    Raises:
        ErcError: a loss that is not finite.
    """
    labelled = data.train.label[data.train.label >= 0]
    counts = torch.bincount(labelled, minlength=data.classes)
    objective = make_objective(config.loss, counts)
    speakers = len(data.standardiser.speakers)
    model = build_model(config.model, data.files, data.classes, config.seeds, data.device, speakers)
    trained = train(
        model, config.seeds, [Part(data.train, data.dev, objective)], config.training,
        config.monitor, progress,
    )  # fmt: skip
    centres = None
    if objective.contrasts:
        centres = prototypes(predict(trained.model, data.train), data.train.label, data.classes)
    return trained, Weights(trained.model, data.standardiser, centres)


def pick_device(name: str) -> torch.device:
    """The device; `auto` is CUDA if available, and `cuda` raises ErcError if it is not."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ErcError("No CUDA device is available here; use --device cpu or auto.")
    auto = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(auto if name == "auto" else name)
