"""`mlp`: concatenation and two layers, the default."""

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from erc_fusion.model.heads.base import Head, HeadShape, Projections
from erc_fusion.model.heads.linear import sum_of
from erc_fusion.model.layers import Dropout, LayerNorm, Linear, Stack


class MlpHead(Head):
    """Early fusion: the modalities concatenated, then a perceptron of two layers.

    {stem: (S, B, L, D)} -> (S, B, E). The fusion of HLM12ERC's baseline and of MELD's own
    (Poria et al. 2019). Parameters per seed: E · (ΣD + M) + E · (E + 1) + 2 · E, and layer weights.
    """

    def __init__(self, stack: Stack, shape: HeadShape) -> None:
        super().__init__(stack, shape)
        self.project = Projections(stack, shape)
        self.norm = LayerNorm(stack, shape.width)
        self.dropout = Dropout(stack, shape.dropout)
        self.hidden = Linear(stack, shape.width, shape.width)

    def forward(self, x: Mapping[str, Tensor], present: Tensor) -> Tensor:
        # Dropout after the projection: over the wide input it would cost as much as the product.
        first = self.dropout(F.gelu(self.norm(sum_of(self.project(x, present)))))
        return self.dropout(F.gelu(self.hidden(first)))  # (S, B, E)
