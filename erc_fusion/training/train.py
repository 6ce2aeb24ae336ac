"""The Trainer: epochs, early stopping and best weights, all seeds at once. It never sees test."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from erc_features.errors import ErcError
from erc_fusion.config.config import TrainingConfig
from erc_fusion.evaluation.label_sets import set_scores
from erc_fusion.evaluation.metrics import accuracy, confusions, weighted_f1
from erc_fusion.evaluation.numbers import concordance
from erc_fusion.inputs.targets import Task
from erc_fusion.model.fusion import FusionModel, Split, labelled, load_state
from erc_fusion.model.layers import generator
from erc_fusion.training.allocator import kept_memory
from erc_fusion.training.losses import UNLABELLED, Objective, of_members
from erc_fusion.training.optimize import Descent, autocast
from erc_fusion.training.parts import Part, batches_in_order, training_batches

PREDICT_ROWS = 512  # fixed, so that a prediction does not depend on how many are asked for


@dataclass(frozen=True)
class Progress:
    """What a live display shows after an epoch.

    Attributes:
        epoch, epochs: the epoch that is done, and their maximum number.
        monitor: the name of the score.
        seeds: those of the stack; the tuples below have an entry for each, in this order.
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
        model: with each member's best weights: all seeds of the first part, then of the next.
        history: a record for each seed and epoch, as in `history.jsonl`, and for each part, if
            there are several (`fold`, from 0). Train's figures are means
            over the epoch's batches during training, with dropout; dev's are from the end of the
            epoch, without dropout, in fp32, and with averaged weights where weights are averaged.
            Loss is without the contrastive one in both.
        best_epoch, epochs: of each member, counted from 1.
    """

    model: FusionModel
    history: list[dict[str, Any]]
    best_epoch: tuple[int, ...]
    epochs: tuple[int, ...]

    def best(self, metric: str) -> list[float]:
        """Each member's best dev score of any epoch."""
        found: dict[tuple[int, int], float] = {}
        for record in self.history:
            member, score = (record.get("fold", 0), record["seed"]), record["dev"][metric]
            found[member] = max(found.get(member, score), score)
        return list(found.values())


@dataclass(frozen=True)
class Prediction:
    """For every row of a split: probability (S, N, C), embedding (S, N, E), or (S, N, 0) where it
    was not asked for, and logits (S, N, O): those of the probabilities, and then the numbers,
    standardised."""

    probability: Tensor
    embedding: Tensor
    logits: Tensor


@kept_memory()
def train(
    model: FusionModel,
    seeds: Sequence[int],
    parts: Sequence[Part],
    config: TrainingConfig,
    monitor: str,
    progress: Callable[[Progress], None] | None = None,
    which: Sequence[int] | None = None,
) -> Trained:
    """Train every seed of every part until `monitor` on its dev has not improved for `patience`
    epochs.

    A member of the stack that has stopped leaves it, which does not affect the others. Where
    weights are averaged, the average is scored on dev and kept.

    Args:
        model: of len(which) x len(seeds) members, part after part.
        which: numbers of the parts to train, by default all. The others only have a say in how
            large batches are, so that a part's results are the same with any others.

    Raises:
        ErcError: a loss that is not finite (names seed and epoch).
    """
    descent = Descent(model, config)
    part_of = np.repeat(range(len(parts)) if which is None else which, len(seeds))  # of members
    own = [*seeds] * (len(part_of) // len(seeds))
    orders = [generator(seed, "order") for seed in own]
    active = np.arange(len(own))
    best = {name: value.detach().clone() for name, value in model.named_parameters()}
    score, best_score = np.zeros(len(own)), np.full(len(own), -np.inf)
    best_epoch, last_epoch = np.zeros(len(own), int), np.zeros(len(own), int)
    history: list[tuple[int, dict[str, Any]]] = []
    for epoch in range(1, config.epochs + 1):
        by_part = [[orders[m] for m in active if part_of[m] == p] for p in range(len(parts))]
        on_train = _epoch(model, descent, parts, config, by_part, epoch)
        with descent.averaged():
            on_dev = _evaluate(model, parts, [len(of_part) for of_part in by_part])
            better = on_dev[monitor] > best_score[active]
            here, there = torch.as_tensor(np.flatnonzero(better)), torch.as_tensor(active[better])
            for name, value in model.named_parameters():
                best[name][there.to(value.device)] = value.detach()[here.to(value.device)]
        records: list[dict[str, Any]] = []
        for row, member in enumerate(active.tolist()):
            record: dict[str, Any] = {"seed": int(own[member]), "epoch": epoch}
            if len(parts) > 1:
                record["fold"] = int(part_of[member])
            for split, figures in (("train", on_train), ("dev", on_dev)):
                record[split] = {name: float(values[row]) for name, values in figures.items()}
                if not np.isfinite([*record[split].values()]).all():
                    raise ErcError(
                        f"The loss is no longer finite (seed {record['seed']}, epoch {epoch}), and "
                        "a mean over the other seeds would flatter. Try a smaller --lr."
                    )
            records.append(record)
        history += zip(active.tolist(), records, strict=True)
        score[active] = on_dev[monitor]
        last_epoch[active] = epoch
        best_score[active[better]] = score[active[better]]
        best_epoch[active[better]] = epoch
        going = epoch - best_epoch[active] < config.patience
        if progress is not None:
            on = np.isin(np.arange(len(own)), active[going])
            progress(
                Progress(
                    epoch,
                    config.epochs,
                    monitor,
                    tuple(own),
                    tuple(score.tolist()),
                    tuple(best_score.tolist()),
                    tuple((last_epoch - best_epoch).tolist()),
                    tuple(on.tolist()),
                    tuple(records),
                )
            )
        if not going.any():
            break
        if not going.all():
            descent.keep(torch.as_tensor(np.flatnonzero(going)))
            active = active[going]
    load_state(model, best)
    model.eval()
    history.sort(key=lambda entry: (entry[0], entry[1]["epoch"]))
    found = [record for _, record in history]
    return Trained(model, found, tuple(best_epoch.tolist()), tuple(last_epoch.tolist()))


def predict(
    model: FusionModel, split: Split, task: Task | None = None, *, embeddings: bool = True
) -> Prediction:
    """Every row, labelled or not, in evaluation mode; without a task, all outputs are classes."""
    return predict_parts(model, [split], [model.seeds], task, embeddings=embeddings)[0]


@torch.inference_mode()
def predict_parts(
    model: FusionModel,
    splits: Sequence[Split],
    members: Sequence[int],
    task: Task | None = None,
    *,
    embeddings: bool = True,
) -> list[Prediction]:
    """Each part's rows, by its own members: as many of the stack as `members` says, in order.

    Without `embeddings` these are not kept: they are a hundred times as large as all else.
    """
    model.eval()
    found: list[list[tuple[Tensor, Tensor]]] = [[] for _ in splits]
    dialogues = model.context.dialogues
    for batch, counts in batches_in_order(splits, PREDICT_ROWS, members, dialogues=dialogues):
        logits, embedding = model(batch.x, batch.present, batch.dialogues)
        first = 0
        for own, count, rows in zip(found, members, counts, strict=True):
            part = slice(first, first + count)
            # Dialogues come in order and without padding between them, so rows do too.
            kept = embedding[part, :rows] if embeddings else logits.new_empty(count, rows, 0)
            own.append((logits[part, :rows], kept))
            first += count
    whole = [tuple(torch.cat(each, dim=1) for each in zip(*own, strict=True)) for own in found]
    of_labels = torch.sigmoid if task and task.several else partial(torch.softmax, dim=-1)
    names = len(task.labels) if task else None
    return [
        Prediction(of_labels(outputs[..., :names]), embedding, outputs)
        for outputs, embedding in whole
    ]


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
    parts: Sequence[Part],
    config: TrainingConfig,
    orders: Sequence[Sequence[torch.Generator]],
    epoch: int,
) -> dict[str, np.ndarray]:
    """One pass over the rows; each figure (M,) is a running mean over them."""
    model.train()
    objective = of_members([part.objective for part in parts], [len(own) for own in orders])
    classes = objective.contrasts and not model.context.dialogues
    device = parts[0].train.label.device
    # loss, contrastive, right, labelled, of which with a class
    sums = torch.zeros(5, model.seeds, device=device)
    names = len(objective.task.labels) if objective.task.classes else 0
    count, batches = training_batches(
        [part.train for part in parts], config.batch_size, orders,
        dialogues=model.context.dialogues, classes=classes,
    )  # fmt: skip
    for step, batch in enumerate(batches):
        model.noise.counts = batch.counts
        with autocast(config.precision, device):
            logits, embedding = model(
                batch.x, batch.present, batch.dialogues, embed=objective.contrasts
            )
        logits = logits.float()
        loss = objective.supervised(logits, batch.label, batch.target, balanced=classes)
        contrast = torch.zeros_like(loss)
        if objective.contrasts:
            contrast = objective.contrastive(embedding.float(), batch.label)
        whole = loss + objective.config.contrastive_weight * contrast
        descent.step(whole, epoch - 1 + (step + 0.5) / count)
        known = labelled(batch.label, batch.target).sum(1)
        classed = (batch.label != UNLABELLED).sum(1)
        right = (logits.detach()[..., :names].argmax(-1) == batch.label).sum(1) if names else known
        losses = loss.detach() * known, contrast.detach() * known
        sums += torch.stack([*losses, right, known, classed])
    model.noise.counts = None
    rows = torch.stack([sums[3], sums[3], sums[4]]).clamp(min=1)
    means = (sums[:3] / rows).cpu().double().numpy()
    found = {"loss": means[0]} | ({"accuracy": means[2]} if names else {})
    return found | ({"contrastive": means[1]} if objective.contrasts else {})


def _evaluate(
    model: FusionModel, parts: Sequence[Part], members: Sequence[int]
) -> dict[str, np.ndarray]:
    """Loss and scores on dev of each member still in the stack."""
    task = parts[0].objective.task
    dev = [part.dev for part in parts]
    found = predict_parts(model, dev, members, task, embeddings=False)
    scored = [
        _scores(predicted, part.dev, part.objective)
        for predicted, part, count in zip(found, parts, members, strict=True)
        if count
    ]
    return {name: np.concatenate([each[name] for each in scored]) for name in scored[0]}


def _scores(found: Prediction, dev: Split, objective: Objective) -> dict[str, np.ndarray]:
    seeds, task, target = len(found.logits), objective.task, dev.target
    every = None if target is None else target.expand(seeds, *target.shape)
    loss = objective.supervised(found.logits, dev.label.expand(seeds, -1), every)
    scores = {"loss": loss.cpu().double().numpy()}
    truth = None if target is None else target.cpu().double().numpy()
    names = len(task.labels)
    if task.classes:
        predicted = found.logits[..., :names].argmax(-1).cpu().numpy()
        counts = confusions(dev.label.cpu().numpy(), predicted, names)
        scores |= {"accuracy": accuracy(counts), "weighted_f1": weighted_f1(counts)}
    elif names and truth is not None:
        scores |= set_scores(truth[:, :names], found.probability.cpu().numpy())
    if task.numbers and truth is not None:
        numbers = found.logits[..., names:].cpu().double().numpy()
        scores["ccc"] = concordance(truth[:, -len(task.numbers) :], numbers)
    return scores
