"""Which rows go through the network together: each seed has its own order.

Every seed has the same number of batches in an epoch, and what a seed draws depends only on its
own generator. With folds, so has every fold, and batches are as large as those of the largest:
both follow from all folds, never from which of them are still in training. All index tensors are
made on the CPU.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from erc_features.errors import ErcError
from erc_fusion.inputs.standardise import Standardised
from erc_fusion.model.context.base import Dialogues
from erc_fusion.model.fusion import Split


@dataclass(frozen=True)
class Batch:
    """Rows of a split, one set per seed (or one for all, S = 1).

    Attributes:
        rows: (S, B) int64.
        real: (S, B) bool, false where a seed's batch is padded.
        counts: real rows of each seed; None where none is padded.
        place: (S, G, T) int64, where in B the dialogues' utterances are, -1 past their end (from
            the start where a seed has fewer dialogues); None where batches are not made of whole
            dialogues.
    """

    rows: Tensor
    real: Tensor
    counts: Sequence[int] | None = None
    place: Tensor | None = None


def shuffled(
    pool: Tensor, size: int, generators: Sequence[torch.Generator], count: int = 0
) -> Iterator[Batch]:
    """Every row of `pool` once, in batches of at most `size` whose sizes differ by at most one.

    `count` is the number of batches, where another pool decides it.
    """
    order = torch.stack([pool[torch.randperm(len(pool), generator=g)] for g in generators])
    yield from map(_plain, order.tensor_split(count or batches_of(len(pool), size), dim=1))


def batches_of(rows: int, size: int) -> int:
    """The number of batches of at most `size` rows."""
    return max(1, -(-rows // size))


def balanced(
    pool: Tensor, label: Tensor, size: int, generators: Sequence[torch.Generator], count: int = 0
) -> Iterator[Batch]:
    """Batches of P classes x K utterances (Hermans et al. 2017); as many as `shuffled` gives.

    `label` (N,) is that of every row of the split, and P is all their classes. All rows of a class
    are used before any is repeated; a class of fewer than K rows is in a batch more than once.

    Raises:
        ErcError: `size` leaves a class less than two rows.
    """
    classes = [pool[label[pool] == c] for c in label[pool].unique()]
    each = size // len(classes)
    if each < 2:
        raise ErcError(
            f"--batch-size {size}: with a contrastive loss a batch holds at least two rows of each "
            f"of {len(classes)} classes; the minimum is {2 * len(classes)}."
        )
    count = count or batches_of(len(pool), size)
    drawn = [_draw(classes, each, count, g) for g in generators]
    yield from map(_plain, torch.stack(drawn, dim=1))  # (count, S, P·K)


@dataclass(frozen=True)
class Layout:
    """What all batches of an epoch have in common.

    Attributes:
        count: of batches.
        most: rows that no order can exceed: batches are padded to it, and not to the largest at
            hand, since a sum over more rows of zeros is rounded in another order, so that a seed's
            result would depend on the others'.
        longest: utterances of the longest dialogue, to which dialogues are padded, for the same
            reason; 0 where batches are not made of dialogues.
    """

    count: int
    most: int
    longest: int = 0


def layout_of_dialogues(splits: Sequence[Split], size: int) -> Layout:
    """For batches of about `size` utterances of each of the splits."""
    longest = [int(_lengths(split).max()) for split in splits]
    rows = [len(split) for split in splits]
    # A dialogue goes into the batch where it begins. Each batch is as long as the longest dialogue,
    # so none is empty.
    fit = min(n // long for n, long in zip(rows, longest, strict=True))
    count = max(1, min(batches_of(max(rows), size), fit))
    most = max(-(-n // count) + long - 1 for n, long in zip(rows, longest, strict=True))
    return Layout(count, most, max(longest))


def whole_dialogues(
    split: Split, size: int, generators: Sequence[torch.Generator] | None,
    layout: Layout | None = None,
) -> Iterator[Batch]:  # fmt: skip
    """Whole dialogues, about `size` utterances per batch; in order without generators (S = 1)."""
    lengths = _lengths(split)
    starts = lengths.cumsum(0) - lengths
    layout = layout or layout_of_dialogues([split], size)
    batches = layout.count
    if generators is None:
        whole = torch.arange(len(lengths))
        for chosen in whole[None].tensor_split(min(batches, len(whole)), dim=1):
            yield _of_dialogues(starts[chosen], lengths[chosen])
        return
    orders = [torch.randperm(len(lengths), generator=g) for g in generators]
    begins = [(lengths[order].cumsum(0) - lengths[order]) * batches for order in orders]
    for batch in range(batches):
        chosen = [o[b // len(split) == batch] for o, b in zip(orders, begins, strict=True)]
        padded = torch.nn.utils.rnn.pad_sequence(chosen, batch_first=True, padding_value=-1)
        here = padded >= 0
        yield _of_dialogues(starts[padded], lengths[padded] * here, layout.most, layout.longest)


def _lengths(split: Split) -> Tensor:
    """(G,) of the split's dialogues."""
    return split.dialogue.cpu().unique_consecutive(return_counts=True)[1]


def in_order(split: Split, size: int) -> Iterator[Batch]:
    """Every row once, in order, the same for all seeds (S = 1)."""
    yield from map(_plain, torch.arange(len(split))[None].split(size, dim=1))


def gather(
    split: Split, batch: Batch, into: Mapping[str, Tensor] | None = None
) -> tuple[Mapping[str, Tensor], Tensor, Tensor, Dialogues | None, Tensor | None]:
    """(x: stem -> (S, B, L, D), present (S, B, M), label (S, B), dialogues for the context,
    target (S, B, K + T), if any).

    Padding is absent, and has label -1 and target NaN. Dialogues are None where the batch is not
    made of them. With `into`, of such shapes, x is written there.
    """
    device = split.label.device
    rows, real = batch.rows.to(device), batch.real.to(device)
    if into is None:
        flat = rows.flatten()
        x = {
            stem: values.index_select(0, flat).unflatten(0, rows.shape)
            for stem, values in split.x.items()
        }
    else:
        for stem, values in split.x.items():
            _take(values, rows, into[stem])
        x = into
    present = split.present[rows] & real[..., None]
    label = split.label[rows].masked_fill(~real, -1)
    target = split.target
    if target is not None:
        target = target[rows].masked_fill(~real[..., None], torch.nan)
    if batch.place is None:
        return x, present, label, None, target
    speaker = torch.zeros_like(rows) if split.speaker is None else split.speaker[rows]
    each = torch.arange(rows.shape[1], device=device).expand_as(rows)
    party = each if split.party is None else split.party[rows]
    return x, present, label, Dialogues(batch.place.to(device), speaker, party), target


def _take(values: Tensor | Standardised, rows: Tensor, into: Tensor) -> None:
    if isinstance(values, Standardised):
        values.take(rows, into)
    else:
        into.copy_(values.index_select(0, rows.flatten()).view_as(into))


def _plain(rows: Tensor) -> Batch:
    return Batch(rows, torch.ones_like(rows, dtype=torch.bool))


def _draw(classes: list[Tensor], each: int, count: int, source: torch.Generator) -> Tensor:
    """(count, classes · each) rows."""
    columns = []
    for members in classes:
        rounds = range(-(-count * each // len(members)))
        stream = [members[torch.randperm(len(members), generator=source)] for _ in rounds]
        columns.append(torch.cat(stream)[: count * each].view(count, each))
    return torch.cat(columns, dim=1)


def _of_dialogues(starts: Tensor, lengths: Tensor, size: int = 0, longest: int = 0) -> Batch:
    """The dialogues of starts and lengths (S, G), length 0 for none.

    Padded to at least `size` rows, and `longest` utterances per dialogue.
    """
    step = torch.arange(max(longest, int(lengths.max())))  # (T,)
    inside = step < lengths[..., None]  # (S, G, T)
    before = lengths.cumsum(1) - lengths
    place = torch.where(inside, before[..., None] + step, -1)
    counts = lengths.sum(1)
    seed, _, _ = inside.nonzero(as_tuple=True)
    rows = torch.zeros(len(starts), max(size, int(counts.max())), dtype=torch.int64)
    rows[seed, place[inside]] = (starts[..., None] + step)[inside]
    real = torch.arange(rows.shape[1]) < counts[:, None]
    return Batch(rows, real, counts.tolist(), place)
