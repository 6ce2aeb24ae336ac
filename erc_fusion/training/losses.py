"""What is minimised. Every loss is one value per seed, (S,); seeds never share a term.

Rows with target -1 (unlabelled, or padding) are left out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from erc_features.errors import choose
from erc_fusion.config.config import LossConfig
from erc_fusion.inputs.targets import Task
from erc_fusion.training.target_losses import NUMBERS, bce

UNLABELLED = -1


def cross_entropy(logits: Tensor, target: Tensor, weight: Tensor, config: LossConfig) -> Tensor:
    """Weighted cross-entropy with label smoothing (Szegedy et al. 2016).

    logits (S, B, C), target (S, B), weight (C,) of each class -> (S,), the weighted mean over
    labelled rows; 0 for a seed without any.
    """
    return _mean_over_rows(logits.log_softmax(-1), target, weight, config)


def focal(logits: Tensor, target: Tensor, weight: Tensor, config: LossConfig) -> Tensor:
    """Focal loss (Lin et al. 2017) in its softmax form: -(1 - p)^gamma log p of the row's class.

    Shapes and the weighted mean over rows are those of :func:`cross_entropy`, which it equals at
    gamma 0; the weight of a row's class is the paper's alpha. With label smoothing, every class has
    such a term, with its share of the target.
    """
    # The slope of a power below 1 is infinite at 0, where p is 1.
    rest = (1 - logits.softmax(-1)).clamp(min=1e-12)
    # Seed by seed: torch rounds powers differently after a tensor's last whole vector (AVX), so a
    # seed's result would depend on its place in the stack.
    factor = torch.stack([own.pow(config.gamma) for own in rest])
    return _mean_over_rows(factor * logits.log_softmax(-1), target, weight, config)


def dice(logits: Tensor, target: Tensor, weight: Tensor, config: LossConfig) -> Tensor:
    """Soft Dice loss over the batch, with V-Net's squared denominator (Milletari et al. 2016).

    1 - 2 Σ w·p·g / (Σ w·p² + Σ w·g²) over the labelled rows, for each class: p is the probability,
    g the one-hot target (with label smoothing; the loss is 0 at p = g), w the weight of the row's
    class. Then the mean over the classes that occur in a seed's rows with a weight above 0, which
    also press down the p of the others.

    logits (S, B, C), target (S, B), weight (C,) -> (S,); 0 for a seed without labelled rows.
    """
    classes = logits.shape[-1]
    p = logits.softmax(-1)
    hot = torch.nn.functional.one_hot(target.clamp(min=0), classes).to(p.dtype)
    g = (1 - config.label_smoothing) * hot + config.label_smoothing / classes
    w = _row_weights(target, weight)[..., None]
    terms = torch.stack([2 * w * p * g, w * (p.square() + g.square()), w * hot])
    # Rows last: then torch sums in the same order for any number of seeds.
    above, below, count = terms.transpose(2, 3).contiguous().sum(-1)  # (S, C) each
    occurs = count > 0
    losses = (1 - above / below.masked_fill(~occurs, 1)) * occurs
    return losses.sum(1) / occurs.sum(1).clamp(min=1)


def batch_hard_triplet(unit: Tensor, target: Tensor, config: LossConfig) -> Tensor:
    """Batch-hard triplets (Hermans et al. 2017, "In Defense of the Triplet Loss").

    unit (S, B, E) of norm 1, target (S, B) -> (S,): the mean over anchors of
    max(0, margin + distance to the farthest of its class - distance to the nearest other).
    Anchors without a positive or without a negative are left out.
    """
    same, other = _pairs(target)
    square = (2 - 2 * unit @ unit.transpose(1, 2)).clamp(min=1e-6)  # the root's slope is bounded
    distance = square.sqrt()  # (S, B, B)
    farthest = distance.masked_fill(~same, -torch.inf).amax(-1)
    nearest = distance.masked_fill(~other, torch.inf).amin(-1)
    anchor = same.any(-1) & other.any(-1)
    gap = (farthest - nearest).masked_fill(~anchor, -torch.inf)
    return (config.margin + gap).clamp(min=0).sum(1) / anchor.sum(1).clamp(min=1)


def supervised_contrast(unit: Tensor, target: Tensor, config: LossConfig) -> Tensor:
    """Supervised contrastive loss, L_out of Khosla et al. 2020.

    unit (S, B, E) of norm 1, target (S, B) -> (S,), the mean over anchors that have a positive.
    """
    same, other = _pairs(target)
    scores = unit @ unit.transpose(1, 2) / config.temperature  # (S, B, B)
    everyone = same | other
    everyone |= ~everyone.any(-1, keepdim=True)  # a logsumexp over nothing has no gradient
    log_p = scores - scores.masked_fill(~everyone, -torch.inf).logsumexp(-1, keepdim=True)
    positives = same.sum(-1)
    row = -(log_p * same).sum(-1) / positives.clamp(min=1)
    return row.sum(1) / (positives > 0).sum(1).clamp(min=1)


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor, LossConfig], Tensor]] = {
    "cross-entropy": cross_entropy,
    "focal": focal,
    "dice": dice,
}
CONTRASTS: dict[str, Callable[[Tensor, Tensor, LossConfig], Tensor]] = {
    "none": lambda unit, target, config: unit.new_zeros(len(unit)),
    "triplet": batch_hard_triplet,
    "supcon": supervised_contrast,
}


@dataclass(frozen=True)
class Objective:
    """The losses of a run.

    Attributes:
        config: with `contrastive` decided (not `auto`).
        task: what is predicted.
        weight: (C,) of each class, or (S, C), for rows that are drawn as they occur; (K,) of each
            label of a set, where a row has it.
        balanced: (C,) the same for batches that draw every class equally often: rows are weighted
            by their class's frequency in train, so that the classifier still learns the
            distribution of the corpus.
    """

    config: LossConfig
    task: Task
    weight: Tensor
    balanced: Tensor

    @property
    def contrasts(self) -> bool:
        return self.config.contrastive != "none"

    @cached_property
    def losses(self) -> tuple[str, str]:
        """(loss of the labels, loss of the numbers)."""
        return self.task.losses(self.config.loss)

    def supervised(
        self, outputs: Tensor, label: Tensor, target: Tensor | None, *, balanced: bool = False
    ) -> Tensor:
        """outputs (S, B, O), label (S, B), target (S, B, K + T) -> (S,)."""
        if target is None:
            return self.classification(outputs, label, balanced=balanced)
        of_labels, of_numbers = self.losses
        first, more = len(self.task.labels), len(self.task.numbers)
        found = outputs.new_zeros(len(outputs))
        if self.task.classes:
            found = self.classification(outputs[..., :first], label, balanced=balanced)
        elif of_labels:
            found = bce(outputs[..., :first], target[..., :first], self.weight)
        if more:
            loss = NUMBERS[of_numbers](outputs[..., first:], target[..., -more:])
            found = found + (self.config.target_weight if first else 1.0) * loss
        return found

    def classification(self, logits: Tensor, target: Tensor, *, balanced: bool = False) -> Tensor:
        """logits (S, B, C), target (S, B) -> (S,)."""
        weight = self.balanced if balanced else self.weight
        return LOSSES[self.losses[0]](logits, target, weight, self.config)

    def contrastive(self, embedding: Tensor, target: Tensor) -> Tensor:
        """embedding (S, B, E) of any norm, target (S, B) -> (S,), without its weight."""
        unit = torch.nn.functional.normalize(embedding, dim=-1)
        return CONTRASTS[self.config.contrastive](unit, target, self.config)


def make_objective(
    config: LossConfig, counts: Tensor, task: Task | None = None, rows: int = 0
) -> Objective:
    """The objective for `counts` (C,) train rows of each class, or of each label of a set.

    Args:
        task: what is predicted; by default as many classes as there are counts.
        rows: of a set, the train rows whose set is known.

    Raises:
        ErcError: an unknown loss, or one that does not fit what is predicted.
    """
    task = task or Task(labels=tuple(map(str, range(len(counts)))))
    task.losses(config.loss)
    choose("contrastive loss", config.contrastive, CONTRASTS)
    power = {"none": 0.0, "sqrt": 0.5, "balanced": 1.0}[config.class_weights]
    if not task.classes:  # the more rows lack a label, the more those count that have it
        positive = ((rows - counts) / counts.clamp(min=1)).float() ** power
        return Objective(config, task, torch.where(counts > 0, positive, 1.0), positive)
    share = counts.float() / counts.sum()
    weight = (len(counts) * share.clamp(min=1e-12)) ** -power
    if power:
        weight = torch.where(counts > 0, weight, 0.0)
    return Objective(config, task, weight, weight * share * (counts > 0).sum())


def of_members(objectives: Sequence[Objective], members: Sequence[int]) -> Objective:
    """The objective of a stack whose parts have these objectives, and as many members each: its
    weights are (M, C). That of the only part is itself."""
    if len(objectives) == 1:
        return objectives[0]
    weights = (
        torch.cat([getattr(each, name).expand(count, -1)
                   for each, count in zip(objectives, members, strict=True)])
        for name in ("weight", "balanced")
    )  # fmt: skip
    return Objective(objectives[0].config, objectives[0].task, *weights)


def _mean_over_rows(log_p: Tensor, target: Tensor, weight: Tensor, config: LossConfig) -> Tensor:
    """log_p (S, B, C) -> (S,): the smoothed target's mean of -log_p, then that over rows."""
    smoothing = config.label_smoothing
    picked = log_p.gather(-1, target.clamp(min=0)[..., None])[..., 0]
    row = -(1 - smoothing) * picked - smoothing * log_p.mean(-1)  # (S, B)
    weights = _row_weights(target, weight)
    return (row * weights).sum(1) / weights.sum(1).clamp(min=1e-12)


def _row_weights(target: Tensor, weight: Tensor) -> Tensor:
    """target (S, B), weight (C,) or (S, C) -> (S, B)."""
    known = target.clamp(min=0)
    own = weight[known] if weight.dim() == 1 else weight.gather(1, known)
    return own * (target != UNLABELLED)


def _pairs(target: Tensor) -> tuple[Tensor, Tensor]:
    """(same class, another class) for every pair of rows, (S, B, B); never a row with itself."""
    known = (target != UNLABELLED)[:, :, None] & (target != UNLABELLED)[:, None]
    equal = target[:, :, None] == target[:, None]
    alone = torch.eye(target.shape[1], dtype=torch.bool, device=target.device)
    return known & equal & ~alone, known & ~equal
