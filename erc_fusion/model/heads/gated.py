"""`gated`: each modality's share of each dimension is decided by all of them."""

from collections.abc import Mapping

import torch
from torch import Tensor

from erc_fusion.model.heads.base import Head, HeadShape, Projections
from erc_fusion.model.heads.linear import sum_of
from erc_fusion.model.layers import Dropout, Linear, Stack


class GatedHead(Head):
    """The Gated Multimodal Unit (Arevalo et al. 2017, arXiv 1702.01992), for M modalities.

    {stem: (S, B, L, D)} -> (S, B, E). h_m = tanh(W_m x_m) and z_m = σ(Z_m [W_1 x_1 … W_M x_M])
    are (S, B, E); the output is Σ z_m · h_m. The gates read the projected modalities, while the
    paper's read the x_m: Z_m is E x M·E, whatever the encoders' widths. An absent file's h_m is
    0, whatever its gate, and so is what the other gates read of it. With none present: zeros.
    Parameters per seed: E · (ΣD + M) + M · E · (M · E + 1), and layer weights.
    """

    def __init__(self, stack: Stack, shape: HeadShape) -> None:
        super().__init__(stack, shape)
        every = len(shape.files) * shape.width
        self.project = Projections(stack, shape)
        self.gates = Linear(stack, every, every)
        self.dropout = Dropout(stack, shape.dropout)

    def forward(self, x: Mapping[str, Tensor], present: Tensor) -> Tensor:
        files = self.project(x, present)
        gates = self._gates(files)
        fused = sum_of([z * torch.tanh(file) for z, file in zip(gates, files, strict=True)])
        return self.dropout(fused)  # (S, B, E)

    def weigh(self, x: Mapping[str, Tensor], present: Tensor) -> Tensor:
        """The mean of each file's gate over the dimensions."""
        gates = self._gates(self.project(x, present))
        return torch.stack([z.mean(-1) for z in gates], dim=-1) * present

    def _gates(self, files: list[Tensor]) -> tuple[Tensor, ...]:
        """M tensors (S, B, E), 0 to 1."""
        return sigmoid(self.gates(torch.cat(files, dim=-1))).chunk(len(files), dim=-1)


def sigmoid(x: Tensor) -> Tensor:
    """The logistic function, by an identity.

    `torch.sigmoid` rounds differently after its last whole vector, so that at odd sizes a seed's
    result would depend on its place in the stack; tanh does not.
    """
    return torch.tanh(x * 0.5) * 0.5 + 0.5
