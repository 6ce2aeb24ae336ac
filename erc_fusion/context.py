"""What an utterance learns of its dialogue, after the head and before the classifier.

A context that looks at dialogues is given whole ones: `place` (S, G, T) says where in the
batch the t-th utterance of the g-th dialogue stands, -1 past its end.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from erc_features.errors import choose
from erc_fusion.stacked import GRU, Dropout, LayerNorm, Linear, Stack


class Context(nn.Module, ABC):
    """(S, B, E) -> (S, B, E); a subclass takes `(stack, width, dropout)`.

    Attributes:
        dialogues: batches must be whole dialogues, and `place` is given.
    """

    dialogues: ClassVar[bool] = True

    def __init__(self, stack: Stack, width: int, dropout: float) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, embedding: Tensor, place: Tensor | None) -> Tensor:
        """Embeddings that know their dialogue; `place` None where `dialogues` is false."""


class NoContext(Context):
    """Each utterance by itself."""

    dialogues: ClassVar[bool] = False

    def forward(self, embedding: Tensor, place: Tensor | None) -> Tensor:
        return embedding


class GruContext(Context):
    """A bidirectional GRU over the whole dialogue, added to the embedding.

    As the recurrent baselines of ERC (bc-LSTM, Poria et al. 2017). A dialogue of one is
    allowed. Parameters a seed: about 2.5 · E² + E².
    """

    def __init__(self, stack: Stack, width: int, dropout: float) -> None:
        super().__init__(stack, width, dropout)
        self.gru = GRU(stack, width, (width + 1) // 2)
        self.dropout = Dropout(stack, dropout)
        self.out = Linear(stack, 2 * self.gru.hidden, width)
        self.norm = LayerNorm(stack, width)

    def forward(self, embedding: Tensor, place: Tensor | None) -> Tensor:
        assert place is not None
        real = place >= 0  # (S, G, T)
        seed = torch.arange(len(place), device=place.device)[:, None, None]
        sequences = embedding[seed, place.clamp(min=0)] * real[..., None]  # (S, G, T, E)
        seen = self.gru(sequences, real.sum(-1))
        where = torch.nonzero(real, as_tuple=True)
        back = seen.new_zeros(*embedding.shape[:2], seen.shape[-1])
        back = back.index_put((where[0], place[real]), seen[real])
        return self.norm(embedding + self.dropout(self.out(self.dropout(back))))


CONTEXTS: dict[str, type[Context]] = {"none": NoContext, "gru": GruContext}


def load_context(name: str) -> type[Context]:
    """The class of a context.

    Raises:
        ErcError: unknown (names the choices).
    """
    return CONTEXTS[choose("context", name, CONTEXTS)]
