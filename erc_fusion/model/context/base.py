"""What a context is, and what it is told about the dialogues."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from erc_fusion.model.layers import Linear, Stack
from erc_fusion.model.recurrence import take


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

    `place` (S, G, T) says which of B `rows` is where, -1 for none. A row's columns may be split
    among `heads`, H: (S, B, H·D) <-> (S, G, H, T, D).
    """

    def __init__(self, place: Tensor, rows: int, heads: int = 1) -> None:
        self.place, self.rows, self.heads = place, rows, heads
        seeds, cells = len(place), place.numel() * heads
        row = place + rows * torch.arange(seeds, device=place.device)[:, None, None]
        head = torch.arange(heads, device=place.device)[:, None]
        row = row[:, :, None] * heads + head  # (S, G, H, T)
        self._rows = row.masked_fill(place[:, :, None] < 0, seeds * rows * heads).flatten()
        cell = place.new_full((seeds * rows * heads + 1,), cells)
        cell[self._rows] = torch.arange(cells, device=place.device)
        self._cells = cell[:-1]  # (S·B·H,)

    def read(self, x: Tensor) -> Tensor:
        """(S, B, H·D) -> (S, G, H, T, D), zero past the end."""
        seeds, count, longest = self.place.shape
        flat = x.reshape(seeds * self.rows * self.heads, -1)
        cells = _Take.apply(flat, self._rows, self._cells)
        return cells.view(seeds, count, self.heads, longest, -1)

    def write(self, x: Tensor) -> Tensor:
        """(S, G, H, T, D) -> (S, B, H·D), zero for rows in no sequence."""
        rows = _Take.apply(x.flatten(0, 3), self._cells, self._rows)
        return rows.view(len(self.place), self.rows, -1)


class _Take(torch.autograd.Function):
    """Rows of x (n, D) by `index` (m,), where n means a row of zeros; `inverse` (n,) likewise.

    The gradient is taken in the same way. That of plain indexing adds row by row: several times
    slower on the CPU, and in any order on a GPU.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(inverse)
        return take(x, index)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (inverse,) = ctx.saved_tensors
        return take(grads[0], inverse), None, None
