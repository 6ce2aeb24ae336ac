"""What a context is, and what it is told about the dialogues."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from erc_fusion.model.layers import Linear, Stack


@dataclass(frozen=True)
class Dialogues:
    """The dialogues of a batch of B utterances.

    Attributes:
        place: (S, G, T) int64, where in B the t-th utterance of the g-th dialogue is, -1 past its
            end; a seed's empty dialogues come last.
        speaker: (S, B) int64, from 1 a speaker that is frequent in train, 0 any other.
        party: (S, B) int64, who speaks within the dialogue, numbered from 0 in each.
    """

    place: Tensor
    speaker: Tensor
    party: Tensor

    def expand(self, seeds: int) -> "Dialogues":
        """(1, …) -> (S, …), without a copy."""
        parts = (self.place, self.speaker, self.party)
        return Dialogues(*(part.expand(seeds, *part.shape[1:]) for part in parts))


@dataclass(frozen=True)
class ContextShape:
    """What a context is built for.

    Attributes:
        width: E, dimensions of the embedding.
        dropout: share of units dropped in training.
        past: whether an utterance only sees those before it, as in a live dialogue.
        speakers: whether it knows who speaks.
        frequent: how many speakers are frequent in train.
    """

    width: int
    dropout: float
    past: bool = False
    speakers: bool = True
    frequent: int = 0


class Context(nn.Module, ABC):
    """(S, B, E) -> (S, B, E); a subclass takes `(stack, shape)`.

    An utterance's output must not depend on other dialogues, nor a seed's on the other seeds.

    Attributes:
        dialogues: whether batches must be whole dialogues, and are described to it.
    """

    dialogues: ClassVar[bool] = True

    def __init__(self, stack: Stack, shape: ContextShape) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, embedding: Tensor, dialogues: Dialogues | None) -> Tensor:
        """Embeddings that know their dialogue; `None` where the class's `dialogues` is false."""


class NoContext(Context):
    """Each utterance by itself."""

    dialogues: ClassVar[bool] = False

    def forward(self, embedding: Tensor, dialogues: Dialogues | None) -> Tensor:
        return embedding


class SpeakerEmbedding(nn.Module):
    """(S, B, E) plus a learned embedding of each utterance's frequent speaker (S, B).

    It starts at zero, where it stays for other speakers. Parameters per seed: E per speaker.
    """

    def __init__(self, stack: Stack, shape: ContextShape) -> None:
        super().__init__()
        self.known = None
        if shape.speakers and shape.frequent:
            self.known = Linear(stack, shape.frequent, shape.width, bias=False)
            nn.init.zeros_(self.known.weight)

    def forward(self, embedding: Tensor, speaker: Tensor) -> Tensor:
        if self.known is None:
            return embedding
        # A product with one-hot rows: the gradient of an index would be summed in any order.
        hot = F.one_hot(speaker, self.known.weight.shape[1] + 1)[..., 1:]
        return embedding + self.known(hot.to(embedding.dtype))


class Sequences:
    """Puts the rows of a batch into sequences and back; each row is in at most one.

    `places` (S, G, T) each say which of B `rows` is where, -1 for none; sequences of one place are
    of one length. A row's columns may be split among `heads`, H: (S, B, H·D) <-> for each place
    (S, G, H, T, D).
    """

    def __init__(self, places: Sequence[Tensor], rows: int, heads: int = 1) -> None:
        self.places, self.heads = places, heads
        seeds = len(places[0])
        self._shape = (seeds, rows)
        self._sizes = [place.numel() * heads for place in places]
        total, device = seeds * rows * heads, places[0].device
        row = torch.cat([_rows(place, rows, heads) for place in places])
        cell = row.new_full((total + 1,), sum(self._sizes))
        cell[row] = torch.arange(len(row), device=device)
        # What there is none for is another of the same seed's, times 0: what is not finite in a
        # seed must not come into others.
        first = self._sizes[0] // seeds * torch.arange(seeds, device=device)
        filled = torch.cat([_rows(place.clamp(min=0), rows, heads) for place in places])
        empty = cell[:-1] == sum(self._sizes)
        self._to_cells = _Way(filled, (row < total).float()[:, None])
        self._to_rows = _Way(
            torch.where(empty, first.repeat_interleave(rows * heads), cell[:-1]),
            (~empty).float()[:, None],
        )

    def read(self, x: Tensor) -> list[Tensor]:
        """(S, B, H·D) -> each (S, G, H, T, D), some row past the end (no gradient there)."""
        flat = x.reshape(len(self._to_rows.index), -1)
        cells = _Take.apply(flat, self._to_cells, self._to_rows, False)
        return [
            part.view(*place.shape[:2], self.heads, place.shape[2], -1)
            for part, place in zip(cells.split(self._sizes), self.places, strict=True)
        ]

    def write(self, x: Sequence[Tensor]) -> Tensor:
        """Each (S, G, H, T, D) -> (S, B, H·D), zero for rows in no sequence."""
        cells = torch.cat([part.flatten(0, 3) for part in x])
        rows = _Take.apply(cells, self._to_rows, self._to_cells, True)
        return rows.view(*self._shape, -1)


def _rows(place: Tensor, rows: int, heads: int) -> Tensor:
    """(S, G, T) -> (S·G·H·T,), which of S · B · H rows is there; the number of them for none."""
    seeds = len(place)
    row = place + rows * torch.arange(seeds, device=place.device)[:, None, None]
    head = torch.arange(heads, device=place.device)[:, None]
    row = row[:, :, None] * heads + head  # (S, G, H, T)
    return row.masked_fill(place[:, :, None] < 0, seeds * rows * heads).flatten()


def by_length(place: Tensor, unit: int) -> list[Tensor]:
    """Sequences (S, G, T) as some of (S, G', T'): those of at most `unit`, twice it, and so on.

    Where one goes depends on its own length only.

    >>> found = by_length(torch.tensor([[[0, 1, 2], [3, -1, -1], [4, 5, -1]]]), 1)
    >>> [part.tolist() for part in found]
    [[[[3]]], [[[4, 5]]], [[[0, 1, 2, -1]]]]
    """
    lengths = (place >= 0).sum(-1)
    longest, found, above, size = int(lengths.max()), [], 0, unit
    while above < longest:
        here = (lengths > above) & (lengths <= size)
        count = int(here.sum(1).max())
        if count:
            order = here.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :count]
            chosen = place.take_along_dim(order[..., None], 1)
            chosen = chosen.masked_fill(~here.gather(1, order)[..., None], -1)[..., :size]
            found.append(F.pad(chosen, (0, size - chosen.shape[-1]), value=-1))
        above, size = size, 2 * size
    return found


@dataclass(frozen=True)
class _Way:
    """Rows by `index` (n,), of which those count where `there` (n, 1) is 1, not 0."""

    index: Tensor
    there: Tensor

    def take(self, x: Tensor) -> Tensor:
        """(m, D) -> (n, D)."""
        taken = x.index_select(0, self.index)
        return taken.mul_(self.there.to(x.dtype))  # a fifth of masked_fill_'s time


class _Take(torch.autograd.Function):
    """Rows of x one way; with `zeros`, 0 where there is none, else anything, without a gradient.

    The gradient is taken the other way. That of plain indexing adds row by row: several times
    slower on the CPU, and in any order on a GPU.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, way: _Way, back: _Way, zeros: bool) -> Tensor:
        ctx.back = back
        return way.take(x) if zeros else x.index_select(0, way.index)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.back.take(grads[0]), None, None, None
