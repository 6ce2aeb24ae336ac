"""What a head is."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from erc_fusion.model.layers import Linear, Projection, Stack


@dataclass(frozen=True)
class HeadShape:
    """What a head is built for.

    Attributes:
        files: stem -> (L, D), in the order of the columns of `present`.
        width: E, dimensions of the embedding.
        dropout: share of units dropped in training.
        layer_mix: `learned` or `concat`, how a file's layers become one vector.
    """

    files: Mapping[str, tuple[int, int]]
    width: int
    dropout: float
    layer_mix: str = "learned"


class Head(nn.Module, ABC):
    """Fuses the files' embeddings of each utterance, all seeds at once.

    A subclass takes `(stack, shape)`. An utterance's output must not depend on its
    batch-mates, nor a seed's on the other seeds: build it from :mod:`erc_fusion.model.layers`.

    Attributes:
        contrastive: the contrastive loss that the head is made for; unless `none`, it is this
            head's default, and `none` is refused.
        unit: whether the embedding has norm 1.
    """

    contrastive: ClassVar[str] = "none"
    unit: ClassVar[bool] = False

    def __init__(self, stack: Stack, shape: HeadShape) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, x: Mapping[str, Tensor], present: Tensor) -> Tensor:
        """x: stem -> (S, B, L, D), standardised; present (S, B, M) bool -> (S, B, E).

        Only `present` says that a file has no embedding of an utterance; its x is then zero in
        prediction, but not where modality dropout hides it. All files may be absent.
        """

    def logits(self, x: Mapping[str, Tensor], present: Tensor, classifier: Linear) -> Tensor | None:
        """`classifier(self(x, present))`, (S, B, O), where that is less work without the embedding;
        else None."""
        return None

    def weigh(self, x: Mapping[str, Tensor], present: Tensor) -> Tensor | None:
        """Each file's weight in each utterance: (S, B, M), 0 to 1, 0 where absent.

        The arguments are those of `forward`. None unless the head has such weights.
        """
        return None


class Projections(nn.Module):
    """Every file projected to E: {stem: (S, B, L, D)}, (S, B, M) -> M tensors (S, B, E)."""

    def __init__(self, stack: Stack, shape: HeadShape) -> None:
        super().__init__()
        self.stems = tuple(shape.files)
        self.files = nn.ModuleList(
            Projection(stack, *of_file, shape.width, concatenated=shape.layer_mix == "concat")
            for of_file in shape.files.values()
        )

    @property
    def projections(self) -> list[Projection]:
        """Of each stem."""
        return [file for file in self.files if isinstance(file, Projection)]

    def forward(self, x: Mapping[str, Tensor], present: Tensor) -> list[Tensor]:
        return [
            project(x[stem], present[..., m])
            for m, (stem, project) in enumerate(zip(self.stems, self.files, strict=True))
        ]
