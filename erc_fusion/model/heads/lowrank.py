"""`lowrank`: products of the modalities, without the tensor of all of them."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from erc_fusion.model.heads.base import Head, HeadShape, Projections
from erc_fusion.model.heads.linear import sum_of
from erc_fusion.model.layers import Dropout, LayerNorm, Linear, Stack

RANK = 4


class LowRankHead(Head):
    """Low-rank Multimodal Fusion (Liu et al. 2018, arXiv 1806.00064), of rank 4.

    {stem: (S, B, L, D)} -> (S, B, E). Each file's hidden vector h_m (E) with a 1 appended has
    factors W_m (r, E + 1, E), and the output is Σ_r w_r · (Π_m [h_m; 1] W_mr - 1): all products
    of one, two, … M modalities, as Tensor Fusion (Zadeh et al. 2017) has them, at a cost linear
    in M. The row of W_m for the appended 1 is kept as its difference from 1. So a product of
    small factors begins near Σ_m h_m W_mr instead of vanishing, weight decay draws a modality
    towards having no effect, and an absent one's factor is exactly 1. The paper's bias is left to
    the classifier, so with none present the output is zeros.
    Parameters per seed: E · (ΣD + M) + M · E · (r · (E + 1) + 2) + r, and layer weights.
    """

    def __init__(self, stack: Stack, shape: HeadShape) -> None:
        super().__init__(stack, shape)
        count, width = len(shape.files), shape.width
        self.project = Projections(stack, shape)
        self.norms = torch.nn.ModuleList(LayerNorm(stack, width) for _ in range(count))
        self.dropout = Dropout(stack, shape.dropout)
        self.factors = torch.nn.ModuleList(Linear(stack, width, RANK * width) for _ in range(count))
        self.weight = stack.constant(RANK**-0.5, RANK)  # (S, r): the sum varies as one factor

    def forward(self, x: Mapping[str, Tensor], present: Tensor) -> Tensor:
        product = None
        for m, file in enumerate(self.project(x, present)):
            # ReLU is exact: it cannot round by place in the stack, as GELU can at odd sizes.
            hidden = self.dropout(F.relu(self.norms[m](file)))
            factor = 1 + self.factors[m](hidden) * present[..., m, None]  # (S, B, r·E)
            product = factor if product is None else product * factor
        assert product is not None
        ranks = (product - 1).chunk(RANK, dim=-1)
        return sum_of([self.weight[:, r, None, None] * one for r, one in enumerate(ranks)])
