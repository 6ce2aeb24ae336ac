"""`attention`: modalities as tokens that attend to one another."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from erc_features.errors import ErcError
from erc_fusion.model.heads.base import Head, HeadShape, Projections
from erc_fusion.model.layers import Attention, Dropout, LayerNorm, Linear, Readout, Stack

HEADS = 4


class AttentionHead(Head):
    """Self-attention over modality tokens, read out by learned queries.

    {stem: (S, B, L, D)} -> (S, B, E). Each file is one token (S, B, M, E). They attend to one
    another (Vaswani et al. 2017, pre-normalised), then are averaged by learned queries (Yang et
    al. 2016). Only tokens of one utterance attend to each other: HLM12ERC and TelME attend over
    the batch, so a prediction there depends on its batch-mates. Absent files are masked out. With
    none present the embedding consists of biases alone.
    Parameters per seed: E · ΣD + 6 · E² and terms in E.
    """

    def __init__(self, stack: Stack, shape: HeadShape) -> None:
        super().__init__(stack, shape)
        if shape.width % HEADS:
            raise ErcError(
                f"width {shape.width} does not divide into {HEADS} attention heads; "
                f"choose a multiple of {HEADS}."
            )
        width = shape.width
        self.project = Projections(stack, shape)
        self.norms = torch.nn.ModuleList(LayerNorm(stack, width) for _ in range(4))
        self.among = Attention(stack, width, HEADS)
        self.read = Readout(stack, width, HEADS)
        self.hidden = Linear(stack, width, width)
        self.dropout = Dropout(stack, shape.dropout)

    def forward(self, x: Mapping[str, Tensor], present: Tensor) -> Tensor:
        read = self.read(self._tokens(x, present), present)
        return self.dropout(F.gelu(self.hidden(self.norms[3](read))))  # (S, B, E)

    def weigh(self, x: Mapping[str, Tensor], present: Tensor) -> Tensor:
        """The queries' mean weight of each file's token; they sum to 1."""
        return self.read.shares(self._tokens(x, present), present).mean(-1)

    def _tokens(self, x: Mapping[str, Tensor], present: Tensor) -> Tensor:
        """(S, B, M, E), normalised, after they have attended to one another."""
        files = [self.dropout(self.norms[0](file)) for file in self.project(x, present)]
        tokens = torch.stack(files, dim=2)
        return self.norms[2](tokens + self.among(self.norms[1](tokens), present))
