"""The Trainer: epochs, early stopping and best weights, all seeds at once.

It is given train and dev. Test never comes here.
"""

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

PREDICT_ROWS = 512  # fixed: a prediction does not depend on how many are asked for


@dataclass(frozen=True)
class Progress:
    """What a live display shows after an epoch.

    Attributes:
        epoch, epochs: done, and at most.
        monitor: the name of the score.
        seeds: their numbers, all of them; the rest is of each, in their order.
        score, best: dev score (0 to 1) of its latest epoch, and the best so far.
        since: epochs since the best.
        training: it has not stopped.
        records: the epoch's of :attr:`Trained.history`, of the seeds that trained in it.
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
        history: a record for each seed and epoch, as `history.jsonl` has them. Train's figures
            are means over the epoch's batches as they were trained, with dropout; dev's are of
            the epoch's end, without, in fp32, and with the weights' average where there is one.
            Loss is the classification loss on both.
        best_epoch, epochs: of each seed, from 1.
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
    """Train every seed until `patience` epochs bring no better `monitor` on dev.

    A seed that has stopped leaves the stack; the others do not notice. Where weights are
    averaged, the average is what dev scores and what is kept.

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
            _copy(model, best, better, active)
        for row, seed in enumerate(active):
            at = {"seed": int(seeds[int(seed)]), "epoch": epoch}
            history.append(at | {"train": _row(on_train, row), "dev": _row(on_dev, row)})
            _must_be_finite(history[-1])
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
    batches = (
        whole_dialogues(split, PREDICT_ROWS, None)
        if model.context.dialogues
        else in_order(split, PREDICT_ROWS)
    )
    logits, embeddings = [], []
    for batch in batches:
        x, present, _, dialogues = gather(split, batch)
        found = model(
            {stem: _for_all(values, model) for stem, values in x.items()},
            _for_all(present, model),
            None if dialogues is None else dialogues.expand(model.seeds),
        )
        logits.append(found[0])
        embeddings.append(found[1])
    # Dialogues come in order and unpadded (one set of rows for all seeds), so rows do too.
    stacked = torch.cat(logits, dim=1)
    return Prediction(stacked.softmax(-1), torch.cat(embeddings, dim=1), stacked)


def prototypes(found: Prediction, label: Tensor, classes: int) -> Tensor:
    """The mean unit embedding of each class, (S, C, E); NaN where it has no rows."""
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
    """One pass over the rows; (S,) running means over them."""
    model.train()
    classes = objective.contrasts and not model.context.dialogues
    device = split.label.device
    sums = torch.zeros(4, model.seeds, device=device)  # loss, contrastive, right, labelled
    batches = list(_batches(model, split, objective, config, orders))  # row numbers alone: small
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
        sums += torch.stack(
            [loss.detach() * labelled, contrast.detach() * labelled, right, labelled]
        )
    model.noise.counts = None
    means = (sums[:3] / sums[3].clamp(min=1)).cpu().double().numpy()
    found = {"loss": means[0], "accuracy": means[2]}
    return found | ({"contrastive": means[1]} if objective.contrasts else {})


def _batches(
    model: FusionModel,
    split: Split,
    objective: Objective,
    config: TrainingConfig,
    orders: list[torch.Generator],
) -> Iterator[Batch]:
    if model.context.dialogues:
        return whole_dialogues(split, config.batch_size, orders)
    label = split.label.cpu()
    pool = torch.nonzero(label != UNLABELLED)[:, 0]
    if objective.contrasts:
        return balanced(pool, label, config.batch_size, orders)
    return shuffled(pool, config.batch_size, orders)


def _evaluate(model: FusionModel, split: Split, objective: Objective) -> dict[str, np.ndarray]:
    found = predict(model, split)
    target = split.label.expand(model.seeds, -1)
    loss = objective.classification(found.logits, target)
    truth = split.label.cpu().numpy()
    predicted = found.logits.argmax(-1).cpu().numpy()
    counts = confusions(truth, predicted, found.logits.shape[-1])
    return {
        "loss": loss.cpu().double().numpy(),
        "accuracy": accuracy(counts),
        "weighted_f1": weighted_f1(counts),
    }


def _copy(
    model: FusionModel, best: dict[str, Tensor], better: np.ndarray, active: np.ndarray
) -> None:
    here, there = torch.as_tensor(np.flatnonzero(better)), torch.as_tensor(active[better])
    for name, value in model.named_parameters():
        device = value.device
        best[name][there.to(device)] = value.detach()[here.to(device)]


def _for_all(values: Tensor, model: FusionModel) -> Tensor:
    """(1, …) -> (S, …), without a copy."""
    return values.expand(model.seeds, *values.shape[1:])


def _row(figures: dict[str, np.ndarray], row: int) -> dict[str, float]:
    return {name: float(values[row]) for name, values in figures.items()}


def _must_be_finite(record: dict[str, Any]) -> None:
    if not np.isfinite([*record["train"].values(), *record["dev"].values()]).all():
        raise ErcError(
            f"The loss is not finite any more (seed {record['seed']}, epoch {record['epoch']}), "
            "and a mean over the other seeds would flatter. Try a smaller --lr."
        )
