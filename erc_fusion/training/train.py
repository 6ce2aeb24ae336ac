"""The Trainer: epochs, early stopping and best weights, all seeds at once. It never sees test."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from erc_features.errors import ErcError
from erc_fusion.config.config import TrainingConfig
from erc_fusion.evaluation.metrics import accuracy, confusions, weighted_f1
from erc_fusion.model.fusion import FusionModel, Split, load_state
from erc_fusion.model.layers import generator
from erc_fusion.training.allocator import kept_memory
from erc_fusion.training.batches import (
    Batch,
    balanced,
    gather,
    in_order,
    shuffled,
    whole_dialogues,
)
from erc_fusion.training.losses import UNLABELLED, Objective
from erc_fusion.training.optimize import Descent, autocast

PREDICT_ROWS = 512  # fixed, so that a prediction does not depend on how many are asked for


@dataclass(frozen=True)
class Progress:
    """What a live display shows after an epoch.

    Attributes:
        epoch, epochs: the epoch that is done, and their maximum number.
        monitor: the name of the score.
        seeds: all of them; the tuples below have an entry for each, in this order.
        score, best: dev score (0 to 1) of the latest epoch, and the best so far.
        since: epochs since the best.
        training: whether it has not stopped.
        records: this epoch's part of :attr:`Trained.history`.
    """

    epoch: int
    epochs: int
    monitor: str
    seeds: tuple[int, ...]
    score: tuple[float, ...]
    best: tuple[float, ...]
    since: tuple[int, ...]
    training: tuple[bool, ...]
    records: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class Trained:
    """A trained model.

    Attributes:
        model: with each seed's best weights.
        history: a record for each seed and epoch, as in `history.jsonl`. Train's figures are means
            over the epoch's batches during training, with dropout; dev's are from the end of the
            epoch, without dropout, in fp32, and with averaged weights where weights are averaged.
            Loss is the classification loss in both.
        best_epoch, epochs: of each seed, counted from 1.
    """

    model: FusionModel
    history: list[dict[str, Any]]
    best_epoch: tuple[int, ...]
    epochs: tuple[int, ...]

    def best(self, metric: str) -> list[float]:
        """Each seed's best dev score of any epoch."""
        found: dict[int, float] = {}
        for record in self.history:
            seed, score = record["seed"], record["dev"][metric]
            found[seed] = max(found.get(seed, score), score)
        return list(found.values())


@dataclass(frozen=True)
class Prediction:
    """For every row of a split: probability (S, N, C), embedding (S, N, E), logits (S, N, C)."""

    probability: Tensor
    embedding: Tensor
    logits: Tensor


@kept_memory()
def train(
    model: FusionModel,
    seeds: Sequence[int],
    train: Split,
    dev: Split,
    objective: Objective,
    config: TrainingConfig,
    monitor: str,
    progress: Callable[[Progress], None] | None = None,
) -> Trained:
    """Train every seed until `monitor` on dev has not improved for `patience` epochs.

    A seed that has stopped leaves the stack, which does not affect the others. Where weights are
    averaged, the average is scored on dev and kept.

    Raises:
        ErcError: a loss that is not finite (names seed and epoch).
    """
    descent = Descent(model, config)
    orders = [generator(seed, "order") for seed in seeds]
    active = np.arange(len(seeds))
    best = {name: value.detach().clone() for name, value in model.named_parameters()}
    score, best_score = np.zeros(len(seeds)), np.full(len(seeds), -1.0)
    best_epoch, last_epoch = np.zeros(len(seeds), int), np.zeros(len(seeds), int)
    history: list[dict[str, Any]] = []
    for epoch in range(1, config.epochs + 1):
        on_train = _epoch(model, descent, train, objective, config, orders, epoch)
        with descent.averaged():
            on_dev = _evaluate(model, dev, objective)
            better = on_dev[monitor] > best_score[active]
            here, there = torch.as_tensor(np.flatnonzero(better)), torch.as_tensor(active[better])
            for name, value in model.named_parameters():
                best[name][there.to(value.device)] = value.detach()[here.to(value.device)]
        for row, seed in enumerate(active):
            record: dict[str, Any] = {"seed": int(seeds[int(seed)]), "epoch": epoch}
            for split, figures in (("train", on_train), ("dev", on_dev)):
                record[split] = {name: float(values[row]) for name, values in figures.items()}
                if not np.isfinite([*record[split].values()]).all():
                    raise ErcError(
                        f"The loss is no longer finite (seed {record['seed']}, epoch {epoch}), and "
                        "a mean over the other seeds would flatter. Try a smaller --lr."
                    )
            history.append(record)
        score[active] = on_dev[monitor]
        last_epoch[active] = epoch
        best_score[active[better]] = score[active[better]]
        best_epoch[active[better]] = epoch
        going = epoch - best_epoch[active] < config.patience
        if progress is not None:
            on = np.isin(np.arange(len(seeds)), active[going])
            progress(
                Progress(
                    epoch,
                    config.epochs,
                    monitor,
                    tuple(seeds),
                    tuple(score.tolist()),
                    tuple(best_score.tolist()),
                    tuple((last_epoch - best_epoch).tolist()),
                    tuple(on.tolist()),
                    tuple(history[-len(active) :]),
                )
            )
        if not going.any():
            break
        if not going.all():
            descent.keep(torch.as_tensor(np.flatnonzero(going)))
            orders = [order for order, on in zip(orders, going, strict=True) if on]
            active = active[going]
    load_state(model, best)
    model.eval()
    history.sort(key=lambda record: (seeds.index(record["seed"]), record["epoch"]))
    return Trained(model, history, tuple(best_epoch.tolist()), tuple(last_epoch.tolist()))


@torch.inference_mode()
def predict(model: FusionModel, split: Split) -> Prediction:
    """Every row, labelled or not, in evaluation mode."""
    model.eval()
    found = []
    for batch in _batches(model, split, PREDICT_ROWS):
        x, present, _, dialogues = gather(split, batch)  # of one set of rows for all seeds
        x = {stem: values.expand(model.seeds, *values.shape[1:]) for stem, values in x.items()}
        present = present.expand(model.seeds, *present.shape[1:])
        found.append(model(x, present, dialogues and dialogues.expand(model.seeds)))
    # Dialogues come in order and without padding, so rows do too.
    logits, embedding = (torch.cat(parts, dim=1) for parts in zip(*found, strict=True))
    return Prediction(logits.softmax(-1), embedding, logits)


def prototypes(found: Prediction, label: Tensor, classes: int) -> Tensor:
    """The mean unit embedding of each class, (S, C, E); NaN where a class has no rows."""
    unit = torch.nn.functional.normalize(found.embedding, dim=-1)
    rows = [unit[:, label == c].mean(1) for c in range(classes)]
    return torch.nn.functional.normalize(torch.stack(rows, dim=1), dim=-1)


def nearest(found: Prediction, centres: Tensor) -> np.ndarray:
    """The class of the nearest prototype by cosine (Snell et al. 2017): (S, N)."""
    unit = torch.nn.functional.normalize(found.embedding, dim=-1)
    cosine = unit @ centres.transpose(1, 2)  # (S, N, C)
    return cosine.nan_to_num(nan=-2.0).argmax(-1).cpu().numpy()


def _epoch(
    model: FusionModel,
    descent: Descent,
    split: Split,
    objective: Objective,
    config: TrainingConfig,
    orders: list[torch.Generator],
    epoch: int,
) -> dict[str, np.ndarray]:
    """One pass over the rows; each figure (S,) is a running mean over them."""
    model.train()
    classes = objective.contrasts and not model.context.dialogues
    device = split.label.device
    sums = torch.zeros(4, model.seeds, device=device)  # loss, contrastive, right, labelled
    if classes:
        label = split.label.cpu()
        pool = torch.nonzero(label != UNLABELLED)[:, 0]
        batches = [*balanced(pool, label, config.batch_size, orders)]
    else:
        batches = [*_batches(model, split, config.batch_size, orders)]  # only row numbers: small
    for step, batch in enumerate(batches):
        x, present, label, dialogues = gather(split, batch)
        model.noise.counts = batch.counts
        with autocast(config.precision, device):
            logits, embedding = model(x, present, dialogues)
        logits, embedding = logits.float(), embedding.float()
        loss = objective.classification(logits, label, balanced=classes)
        contrast = objective.contrastive(embedding, label)
        whole = loss + objective.config.contrastive_weight * contrast
        descent.step(whole, epoch - 1 + (step + 0.5) / len(batches))
        labelled = (label != UNLABELLED).sum(1)
        right = (logits.detach().argmax(-1) == label).sum(1)
        losses = loss.detach() * labelled, contrast.detach() * labelled
        sums += torch.stack([*losses, right, labelled])
    model.noise.counts = None
    means = (sums[:3] / sums[3].clamp(min=1)).cpu().double().numpy()
    found = {"loss": means[0], "accuracy": means[2]}
    return found | ({"contrastive": means[1]} if objective.contrasts else {})


def _batches(
    model: FusionModel, split: Split, size: int, orders: list[torch.Generator] | None = None
) -> Iterator[Batch]:
    """What the context needs, in each seed's own order; every row in order without `orders`."""
    if model.context.dialogues:
        return whole_dialogues(split, size, orders)
    if orders is None:
        return in_order(split, size)
    return shuffled(torch.nonzero(split.label.cpu() != UNLABELLED)[:, 0], size, orders)


def _evaluate(model: FusionModel, split: Split, objective: Objective) -> dict[str, np.ndarray]:
    logits = predict(model, split).logits
    loss = objective.classification(logits, split.label.expand(model.seeds, -1))
    predicted = logits.argmax(-1).cpu().numpy()
    counts = confusions(split.label.cpu().numpy(), predicted, logits.shape[-1])
    return {
        "loss": loss.cpu().double().numpy(),
        "accuracy": accuracy(counts),
        "weighted_f1": weighted_f1(counts),
    }
