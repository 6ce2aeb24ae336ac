"""Everything up to selection: train and dev in, a trained model out. Test is never used here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from erc_features.errors import ErcError
from erc_features.utterance import Split
from erc_fusion.config.config import FuseConfig
from erc_fusion.evaluation.label_sets import thresholds
from erc_fusion.inputs.folds import Fold
from erc_fusion.inputs.standardise import (
    Standardiser,
    fit_standardiser,
    is_large,
    on_device,
)
from erc_fusion.inputs.table import FeatureTable
from erc_fusion.inputs.targets import Task
from erc_fusion.model.fusion import FusionModel, build_model, load_state
from erc_fusion.model.fusion import Split as Rows
from erc_fusion.training.checkpoint import Weights
from erc_fusion.training.losses import Objective, make_objective
from erc_fusion.training.parts import Part
from erc_fusion.training.reduced import fits, prototypes_in_blocks
from erc_fusion.training.train import Progress, Trained, predict, prototypes, train

TOGETHER = 2**27  # bytes of a stack of folds on a CPU


@dataclass(frozen=True)
class Data:
    """Train and dev, standardised, on the device; `files` maps stems to (L, D)."""

    standardiser: Standardiser
    train: Rows
    dev: Rows
    files: Mapping[str, tuple[int, int]]
    task: Task
    device: torch.device


def make_data(table: FeatureTable, device: str) -> Data:
    """What training sees of a table; raises ErcError where there is no such device."""
    place, train, dev = pick_device(device), table.rows(Split.TRAIN), table.rows(Split.DEV)
    large = is_large(table, len(train) + len(dev))
    return _data(table, train, dev, place, on_device(table, place) if large else None)


def make_folded_data(table: FeatureTable, folds: Sequence[Fold], device: str) -> list[Data]:
    """What training sees of each fold, over one copy of the table's features."""
    place = pick_device(device)
    raw = on_device(table, place)
    return [_data(table, fold.train, fold.dev, place, raw) for fold in folds]


def _data(
    table: FeatureTable, train: np.ndarray, dev: np.ndarray, place: torch.device,
    raw: Mapping[str, torch.Tensor] | None = None,
) -> Data:  # fmt: skip
    standardiser = fit_standardiser(table, train)
    learn, choose = (standardiser.split(table, rows, place, raw) for rows in (train, dev))
    files = {source.stem: source.shape[1:] for source in table.sources}
    return Data(standardiser, learn, choose, files, table.task, place)


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
    trained, weights = fit_folds(config, [data], progress)
    return trained, weights[0]


def fit_folds(
    config: FuseConfig, folds: Sequence[Data], progress: Callable[[Progress], None] | None = None
) -> tuple[Trained, list[Weights]]:
    """Train every seed on every fold, in one stack; arguments and errors are those of `fit`.

    On a CPU, where larger stacks gain nothing, stacks are of so many folds as need about 128 MB,
    one after another; the results have the same bits.
    """
    parts = [Part(each.train, each.dev, _objective(config, each)) for each in folds]
    first = folds[0]
    speakers = max(len(each.standardiser.speakers) for each in folds)

    def build(seeds: tuple[int, ...]) -> FusionModel:
        return build_model(
            config.model, first.files, first.task.outputs, seeds, first.device, speakers
        )

    each = len(folds)
    if each > 1 and first.device.type == "cpu":
        each = max(1, TOGETHER // (len(config.seeds) * _bytes(config, first, build((0,)))))
    found = []
    for start in range(0, len(folds), each):
        which = range(start, min(start + each, len(folds)))
        model = build(config.seeds * len(which))
        found.append(
            train(model, config.seeds, parts, config.training, config.monitor, progress, which)
        )
    trained = _joined(found)
    model = trained.model
    weights, count = [], len(config.seeds)
    for number, (data, part) in enumerate(zip(folds, parts, strict=True)):
        own = model
        if len(folds) > 1:
            own, rows = build(config.seeds), slice(number * count, (number + 1) * count)
            of_fold = {name: value.detach()[rows] for name, value in model.named_parameters()}
            load_state(own, of_fold)
            own.eval()
        centres = None
        if part.objective.contrasts:
            classes = len(data.task.labels)
            if fits(own, len(data.train)):
                found = predict(own, data.train, data.task)
                centres = prototypes(found, data.train.label, classes)
            else:
                centres = prototypes_in_blocks(own, data.train, classes)
        limits = None
        if data.task.several and data.dev.target is not None:
            on_dev = predict(own, data.dev, data.task, embeddings=False)
            probability = on_dev.probability.cpu().numpy()
            known = data.dev.target[:, : probability.shape[-1]].cpu().numpy()
            limits = torch.from_numpy(thresholds(known, probability))
        weights.append(Weights(own, data.standardiser, centres, data.task, limits))
    return trained, weights


def _bytes(config: FuseConfig, data: Data, one: FusionModel) -> int:
    """About what a member takes: weights, gradients, two moments, best weights; and a batch, with
    what its forward pass keeps for the backward one."""
    columns = sum(layers * dim for layers, dim in data.files.values()) + 16 * config.model.width
    return 4 * (5 * one.parameters_per_seed + config.training.batch_size * columns)


def _joined(found: Sequence[Trained]) -> Trained:
    """Stacks of folds as one, in order."""
    if len(found) == 1:
        return found[0]
    model = found[0].model
    names = [name for name, _ in model.named_parameters()]
    every = [dict(each.model.named_parameters()) for each in found]
    load_state(model, {name: torch.cat([of[name].detach() for of in every]) for name in names})
    history = [record for each in found for record in each.history]
    best, last = (
        tuple(epoch for each in found for epoch in getattr(each, name))
        for name in ("best_epoch", "epochs")
    )
    return Trained(model, history, best, last)


def _objective(config: FuseConfig, data: Data) -> Objective:
    task, target = data.task, data.train.target
    if task.several and target is not None:
        sets = target[:, : len(task.labels)]
        known = ~sets.isnan().any(-1)
        return make_objective(config.loss, sets[known].sum(0), task, int(known.sum()))
    labelled = data.train.label[data.train.label >= 0]
    return make_objective(config.loss, torch.bincount(labelled, minlength=len(task.labels)), task)


def pick_device(name: str) -> torch.device:
    """The device; `auto` is CUDA if available, and `cuda` raises ErcError if it is not."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ErcError("No CUDA device is available here; use --device cpu or auto.")
    auto = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(auto if name == "auto" else name)
