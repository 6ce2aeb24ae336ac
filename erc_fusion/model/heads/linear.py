"""`linear`: no non-linearity anywhere, the probe that other heads must beat."""

from collections.abc import Mapping

from torch import Tensor

from erc_fusion.model.heads.base import Head, HeadShape, Projections
from erc_fusion.model.layers import Dropout, Linear, Stack


class LinearHead(Head):
    """A linear map of the concatenated modalities, {stem: (S, B, L, D)} -> (S, B, E).

    With the classifier a multinomial logistic regression (Alain & Bengio 2016 probe layers
    so), through E dimensions. Parameters per seed: E · (ΣD + M), and ΣL layer weights.
    """

    def __init__(self, stack: Stack, shape: HeadShape) -> None:
        super().__init__(stack, shape)
        self.project = Projections(stack, shape)
        self.dropout = Dropout(stack, shape.dropout)

    def forward(self, x: Mapping[str, Tensor], present: Tensor) -> Tensor:
        # A sum of projections is the projection of the concatenation, without the copy.
        return self.dropout(sum_of(self.project(x, present)))

    def logits(self, x: Mapping[str, Tensor], present: Tensor, classifier: Linear) -> Tensor | None:
        """The product of both matrices comes first, where no dropout stands between them: with
        7 classes and an E of 256 a row then costs 16 columns instead of 256."""
        if self.training and self.dropout.share:
            return None
        files = zip(self.project.stems, self.project.projections, strict=True)
        found = [
            file.through(x[stem], present[..., m], classifier)
            for m, (stem, file) in enumerate(files)
        ]
        assert classifier.bias is not None
        return sum_of(found) + classifier.bias


def sum_of(tensors: list[Tensor]) -> Tensor:
    """The sum of at least one tensor."""
    total = tensors[0]
    for tensor in tensors[1:]:
        total = total + tensor
    return total
