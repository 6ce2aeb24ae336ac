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
from erc_fusion.batches import (
    Batch,
    balanced,
    gather,
    in_order,
    shuffled,
    whole_dialogues,
)
from erc_fusion.config import TrainingConfig
from erc_fusion.losses import UNLABELLED, Objective
from erc_fusion.metrics import accuracy, confusions, weighted_f1
from erc_fusion.model import FusionModel, Split, load_state
from erc_fusion.stacked import ALIGNED, generator

PREDICT_ROWS = 512  # fixed: a prediction does not depend on how many are asked for


@dataclass(frozen=True)
class Progress:
    """What a progress bar shows after an epoch.

    Attributes:
        epoch, epochs: done, and at most.
        training, seeds: seeds still in training, and all.
        dev: mean dev score of those still in training.
        best: mean over all seeds of the best dev score so far.
    """

    epoch: int
    epochs: int
    training: int
    seeds: int
    dev: float
    best: float


@dataclass(frozen=True)
class Trained:
    """A trained model.

    Attributes:
        model: with each seed's best weights.
        history: a record for each seed and epoch, as `history.jsonl` has them. Train's figures
            are means over the epoch's batches as they were trained, with dropout; dev's are of
            the epoch's end, without. Loss is the classification loss on both.
        best_epoch, epochs: of each seed, from 1.
    """

    model: FusionModel
    history: list[dict[str, Any]]
    best_epoch: tuple[int, ...]
    epochs: tuple[int, ...]


@dataclass(frozen=True)
class Prediction:
    """For every row of a split: probability (S, N, C), embedding (S, N, E), logits (S, N, C)."""

    probability: Tensor
    embedding: Tensor
    logits: Tensor


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

    A seed that has stopped leaves the stack; the others do not notice.

    Raises:
        ErcError: a loss that is not finite (names seed and epoch).
    """
    optimizer = _optimizer(model, config)
    orders = [generator(seed, "order") for seed in seeds]
    active = np.arange(len(seeds))
    best = {name: value.detach().clone() for name, value in model.named_parameters()}
    best_score = np.full(len(seeds), -1.0)
    best_epoch, last_epoch = np.zeros(len(seeds), int), np.zeros(len(seeds), int)
    history: list[dict[str, Any]] = []
    for epoch in range(1, config.epochs + 1):
        on_train = _epoch(model, optimizer, train, objective, config, orders)
        on_dev = _evaluate(model, dev, objective)
        for row, seed in enumerate(active):
            at = {"seed": int(seeds[int(seed)]), "epoch": epoch}
            history.append(at | {"train": _row(on_train, row), "dev": _row(on_dev, row)})
            _must_be_finite(history[-1])
        score = on_dev[monitor]
        last_epoch[active] = epoch
        better = score > best_score[active]
        best_score[active[better]] = score[better]
        best_epoch[active[better]] = epoch
        _copy(model, best, better, active)
        if progress is not None:
            counts = (epoch, config.epochs, len(active), len(seeds))
            progress(Progress(*counts, float(score.mean()), float(best_score.mean())))
        going = epoch - best_epoch[active] < config.patience
        if not going.any():
            break
        if not going.all():
            _keep(model, optimizer, torch.as_tensor(np.flatnonzero(going)))
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
        x, present, _ = gather(split, batch)
        place = batch.place if batch.place is None else _for_all(batch.place, model)
        found = model(
            {stem: _for_all(values, model) for stem, values in x.items()},
            _for_all(present, model),
            place if place is None else place.to(present.device),
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
    optimizer: torch.optim.Optimizer,
    split: Split,
    objective: Objective,
    config: TrainingConfig,
    orders: list[torch.Generator],
) -> dict[str, np.ndarray]:
    """One pass over the rows; (S,) running means over them."""
    model.train()
    classes = objective.contrasts and not model.context.dialogues
    device = split.label.device
    sums = torch.zeros(4, model.seeds, device=device)  # loss, contrastive, right, labelled
    for batch in _batches(model, split, objective, config, orders):
        x, present, label = gather(split, batch)
        place = None if batch.place is None else batch.place.to(device)
        model.noise.counts = batch.counts
        logits, embedding = model(x, present, place)
        loss = objective.classification(logits, label, balanced=classes)
        contrast = objective.contrastive(embedding, label)
        optimizer.zero_grad()
        (loss + objective.config.contrastive_weight * contrast).sum().backward()
        _clip(model, config.clip)
        optimizer.step()
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


def _optimizer(model: FusionModel, config: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW, fused where that rounds a seed alike at every place in the stack.

    The fused kernel rounds what is left over after its last whole vector in another way, so it
    may have only parameters that are whole vectors for each seed: nearly all of the weights.
    """
    groups: dict[bool, list[torch.nn.Parameter]] = {True: [], False: []}
    for parameter in model.parameters():
        groups[parameter[0].numel() % ALIGNED == 0].append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "fused": fused, "foreach": False}
            for fused, parameters in groups.items()
            if parameters
        ],
        lr=config.lr,
        weight_decay=config.weight_decay,
    )


def _clip(model: FusionModel, most: float) -> None:
    """Scale each seed's gradient to a norm of at most `most`."""
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    # (S, P) and not (P, S): torch sums along and across rows in different orders, and one seed's
    # (P, 1) it sums along.
    norms = torch.stack([torch.linalg.vector_norm(g.flatten(1), dim=1) for g in grads], dim=1)
    scale = (most / torch.linalg.vector_norm(norms, dim=1).clamp(min=1e-12)).clamp(max=1)  # (S,)
    if bool((scale < 1).any()):
        for grad in grads:
            grad.mul_(scale.view(-1, *[1] * (grad.dim() - 1)))


def _copy(
    model: FusionModel, best: dict[str, Tensor], better: np.ndarray, active: np.ndarray
) -> None:
    here, there = torch.as_tensor(np.flatnonzero(better)), torch.as_tensor(active[better])
    for name, value in model.named_parameters():
        device = value.device
        best[name][there.to(device)] = value.detach()[here.to(device)]


def _keep(model: FusionModel, optimizer: torch.optim.Optimizer, rows: Tensor) -> None:
    """Leave only some seeds in the stack: weights, the optimizer's moments, generators."""
    for parameter in model.parameters():
        rows = rows.to(parameter.device)
        moments = optimizer.state[parameter]
        parameter.data = parameter.data[rows]
        parameter.grad = None
        for name, value in moments.items():
            if value.dim():  # the number of steps is one for all
                moments[name] = value[rows]
    model.noise.generators = [model.noise.generators[row] for row in rows.tolist()]


def _for_all(values: Tensor, model: FusionModel) -> Tensor:
    """(1, …) -> (S, …), without a copy."""
    return values.expand(model.seeds, *values.shape[1:])


def _row(figures: dict[str, np.ndarray], row: int) -> dict[str, float]:
    return {name: float(values[row]) for name, values in figures.items()}


def _must_be_finite(record: dict[str, Any]) -> None:
    if not np.isfinite([*record["train"].values(), *record["dev"].values()]).all():
        raise ErcError(
            f"The loss is not finite any more (seed {record['seed']}, epoch {record['epoch']}). "
            "Try a smaller --lr."
        )
