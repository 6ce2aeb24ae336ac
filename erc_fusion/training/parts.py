"""Parts of a stack that learn from different rows: the folds of a cross-validation.

A stack of F parts and S seeds has F · S members, part after part. Each part has rows, standardised
by its own train rows; its batches are padded to those of the largest part, so that all members go
through the network together. Without folds there is one part.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from erc_fusion.model.context.base import Dialogues
from erc_fusion.model.fusion import Split
from erc_fusion.training.batches import (
    Batch,
    Layout,
    balanced,
    batches_of,
    gather,
    in_order,
    layout_of_dialogues,
    shuffled,
    whole_dialogues,
)
from erc_fusion.training.losses import UNLABELLED, Objective

# What `gather` gives: x, present, label, dialogues, target.
Found = tuple[Mapping[str, Tensor], Tensor, Tensor, Dialogues | None, Tensor | None]


@dataclass(frozen=True)
class Part:
    """What some members of a stack learn from, choose on, and minimise."""

    train: Split
    dev: Split
    objective: Objective


@dataclass(frozen=True)
class Gathered:
    """A batch of every member: x stem -> (M, B, L, D), present (M, B, F), label (M, B), and
    target (M, B, K + T), where a set of labels or numbers are predicted.

    Padding is absent, and has label -1 and target NaN.

    Attributes:
        counts: real rows of each member; None where none is padded.
    """

    x: Mapping[str, Tensor]
    present: Tensor
    label: Tensor
    dialogues: Dialogues | None
    target: Tensor | None
    counts: Sequence[int] | None


def training_batches(
    splits: Sequence[Split], size: int, orders: Sequence[Sequence[torch.Generator]], *,
    dialogues: bool, classes: bool,
) -> tuple[int, Iterator[Gathered]]:  # fmt: skip
    """The number of an epoch's batches, and those of the members that have an order.

    Args:
        splits: the train rows of every part, also of parts that are out of training.
        orders: a generator for each member still in training, by part.
        dialogues: whether batches are made of whole dialogues.
        classes: whether they have every class equally often.
    """
    layout = _layout(splits, size, dialogues=dialogues)
    going = [(split, own) for split, own in zip(splits, orders, strict=True) if own]
    made = [[*_drawn(split, size, own, layout, dialogues=dialogues, classes=classes)]
            for split, own in going]  # only row numbers: small  # fmt: skip
    most = layout.most if len(splits) > 1 and not classes else 0
    parts = [split for split, _ in going]
    members = [len(own) for _, own in going]
    return layout.count, (
        _joined(parts, step, members, most) for step in zip(*made, strict=True)
    )  # fmt: skip


def _layout(splits: Sequence[Split], size: int, *, dialogues: bool) -> Layout:
    if dialogues:
        return layout_of_dialogues(splits, size)
    rows = max(int(split.labelled.sum()) for split in splits)
    count = batches_of(rows, size)
    return Layout(count, -(-rows // count))


def _drawn(
    split: Split, size: int, orders: Sequence[torch.Generator], layout: Layout, *,
    dialogues: bool, classes: bool,
) -> Iterator[Batch]:  # fmt: skip
    if dialogues:
        return whole_dialogues(split, size, orders, layout)
    label = split.label.cpu()
    pool = torch.nonzero((label != UNLABELLED) if classes else split.labelled.cpu())[:, 0]
    if classes:
        return balanced(pool, label, size, orders, layout.count)
    return shuffled(pool, size, orders, layout.count)


def batches_in_order(
    splits: Sequence[Split], size: int, members: Sequence[int], *, dialogues: bool
) -> Iterator[tuple[Gathered, list[int]]]:
    """Every row of every split in order, and how many rows of each split are in the batch.

    Args:
        members: how many of each part are in the stack; parts with none cost nothing, and change
            nothing for the others.
    """
    made = [[*(whole_dialogues(split, size, None) if dialogues else in_order(split, size))]
            for split in splits]  # fmt: skip
    for step in range(max(map(len, made))):
        batches = [own[min(step, len(own) - 1)] for own in made]
        counts = [b.rows.shape[1] if step < len(own) else 0
                  for b, own in zip(batches, made, strict=True)]  # fmt: skip
        most = max(batch.rows.shape[1] for batch in batches)
        there = [part for part in zip(splits, batches, members, strict=True) if part[2]]
        padded = most if len(splits) > 1 else 0
        yield _joined(*map(list, zip(*there, strict=True)), most=padded), counts


def _joined(
    splits: Sequence[Split], batches: Sequence[Batch], members: Sequence[int], most: int
) -> Gathered:
    """The batch of each split, as one, padded to `most` rows, or to the largest at hand.

    Features are written to their place at once: putting them together afterwards was a twelfth of
    a step.

    Args:
        members: of each split; where its batch is of one, it is the same for all.
    """
    if len(splits) == 1 and batches[0].rows.shape[1] >= most:
        (split,), (batch,) = splits, batches
        return Gathered(*_of_members(gather(split, batch), members[0]), batch.counts)
    most = max(most, *(batch.rows.shape[1] for batch in batches))
    device, total = splits[0].label.device, sum(members)
    x = {
        stem: torch.empty(total, most, *values.shape[1:], device=device)
        for stem, values in splits[0].x.items()
    }
    parts, counts, first = [], [], 0
    for split, batch, count in zip(splits, batches, members, strict=True):
        drawn, rows = batch.rows.shape
        place = {stem: values[first : first + count] for stem, values in x.items()}
        into = {stem: values[:drawn, :rows] for stem, values in place.items()}
        found = gather(split, batch, into)
        for values in place.values():
            values[:, rows:] = 0
            values[drawn:] = values[:1]  # one batch for all
        parts.append(_of_members(({}, *found[1:]), count))
        own = batch.counts or [rows] * drawn
        counts += own if drawn == count else [*own] * count
        first += count
    present = torch.cat([_longer(part[1], most, False) for part in parts])
    label = torch.cat([_longer(part[2], most, UNLABELLED) for part in parts])
    targets = [_longer(part[4], most, torch.nan) for part in parts if part[4] is not None]
    target = torch.cat(targets) if targets else None
    known = [part[3] for part in parts if part[3] is not None]
    if not known:
        return Gathered(x, present, label, None, target, counts)
    groups = max(d.place.shape[1] for d in known)
    turns = max(d.place.shape[2] for d in known)
    place = torch.cat([
        F.pad(d.place, (0, turns - d.place.shape[2], 0, groups - d.place.shape[1]), value=-1)
        for d in known
    ])  # fmt: skip
    speaker = torch.cat([_longer(d.speaker, most, 0) for d in known])
    party = torch.cat([_longer(d.party, most, 0) for d in known])
    return Gathered(x, present, label, Dialogues(place, speaker, party), target, counts)


def _of_members(found: Found, count: int) -> Found:
    """What was gathered, for each of `count` members: the same where it was for one."""
    x, present, label, dialogues, target = found
    if len(label) == count:
        return found
    return (
        {stem: values.expand(count, *values.shape[1:]) for stem, values in x.items()},
        present.expand(count, *present.shape[1:]),
        label.expand(count, -1),
        dialogues and dialogues.expand(count),
        None if target is None else target.expand(count, *target.shape[1:]),
    )


def _longer(values: Tensor, most: int, filling: float) -> Tensor:
    """(M, B, …) -> (M, most, …)."""
    more = most - values.shape[1]
    if not more:
        return values
    padding = values.new_full((values.shape[0], more, *values.shape[2:]), filling)
    return torch.cat([values, padding], 1)
