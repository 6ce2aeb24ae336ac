"""`triplet`: the mlp fusion on the unit sphere, HLM12ERC's last objective."""

from collections.abc import Mapping
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from erc_fusion.model.heads.base import Head, HeadShape
from erc_fusion.model.heads.mlp import MlpHead
from erc_fusion.model.layers import Linear, Stack


class TripletHead(Head):
    """The mlp fusion, projected and L2-normalised: {stem: (S, B, L, D)} -> (S, B, E), norm 1.

    Made for metric learning with batch-hard triplets (Hermans et al. 2017); the nearest class
    prototype (Snell et al. 2017) is reported beside the classifier. Parameters per seed: those
    of `mlp` and E · (E + 1).
    """

    contrastive: ClassVar[str] = "triplet"
    unit: ClassVar[bool] = True

    def __init__(self, stack: Stack, shape: HeadShape) -> None:
        super().__init__(stack, shape)
        self.fuse = MlpHead(stack, shape)
        self.project = Linear(stack, shape.width, shape.width)

    def forward(self, x: Mapping[str, Tensor], present: Tensor) -> Tensor:
        return F.normalize(self.project(self.fuse(x, present)), dim=-1)
