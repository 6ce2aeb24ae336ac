"""`late`: each modality decides by itself, then the decisions are averaged."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from erc_fusion.model.heads.base import Head, HeadShape, Projections
from erc_fusion.model.heads.linear import sum_of
from erc_fusion.model.layers import Dropout, LayerNorm, Linear, Stack


class LateHead(Head):
    """Decision-level fusion: a perceptron of two layers per file, and a weighted mean of them.

    {stem: (S, B, L, D)} -> (S, B, E). The weights are a softmax of one learned number per file
    over those that the utterance has; they start equal. Nothing else joins the modalities, and
    the perceptrons end in a linear layer, so with the linear classifier and no context the
    logits are the weighted mean of unimodal logits, each file with a classifier of its own: the
    sum rule of Kittler et al. 1998 ("On Combining Classifiers"), with learned weights, on
    logits instead of posteriors. (With a context, embeddings are averaged before it.) None
    present: zeros. Parameters per seed: E · (ΣD + M) + M · E · (E + 3) + M, and layer weights.
    """

    def __init__(self, stack: Stack, shape: HeadShape) -> None:
        super().__init__(stack, shape)
        count, width = len(shape.files), shape.width
        self.project = Projections(stack, shape)
        self.norms = torch.nn.ModuleList(LayerNorm(stack, width) for _ in range(count))
        self.dropout = Dropout(stack, shape.dropout)
        self.out = torch.nn.ModuleList(Linear(stack, width, width) for _ in range(count))
        self.weight = stack.constant(0.0, count)  # (S, M)

    def forward(self, x: Mapping[str, Tensor], present: Tensor) -> Tensor:
        decisions = []
        for m, file in enumerate(self.project(x, present)):
            # ReLU is exact: it cannot round by place in the stack, as GELU can at odd sizes.
            hidden = self.dropout(F.relu(self.norms[m](file)))
            decisions.append(self.out[m](hidden))  # (S, B, E)
        share = self.weigh(x, present)
        return sum_of([share[..., m, None] * one for m, one in enumerate(decisions)])

    def weigh(self, x: Mapping[str, Tensor], present: Tensor) -> Tensor:
        """Each file's weight in the mean; they sum to 1."""
        lowest = torch.finfo(self.weight.dtype).min  # not -inf: with none present that is NaN
        return self.weight[:, None].masked_fill(~present, lowest).softmax(-1) * present
