"""The stacked network of a run: head, context, classifier."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from erc_fusion.config.config import ModelConfig
from erc_fusion.model.context import load_context
from erc_fusion.model.context.base import ContextShape, Dialogues, NoContext
from erc_fusion.model.heads import load_head
from erc_fusion.model.heads.base import HeadShape
from erc_fusion.model.layers import Linear, Stack, masked


@dataclass(frozen=True)
class Split:
    """The rows of one split on the device, in order of dialogue and sequence.

    Attributes:
        x: stem -> (N, L, D) float32, standardised, zero where absent.
        present: (N, M) bool.
        label: (N,) int64, -1 where unlabelled.
        target: (N, K + T) float32: 1 for each label of the row's set, then its numbers,
            standardised; NaN where unlabelled. None where only a class is predicted.
        dialogue: (N,) int64, numbered from 0 without gaps.
        speaker: (N,) int64, from 1 a speaker that is frequent in train, 0 any other; None: all 0.
        party: (N,) int64, who speaks within the dialogue, numbered from 0 in each; None: each
            utterance has another speaker.
    """

    x: Mapping[str, Tensor]
    present: Tensor
    label: Tensor
    dialogue: Tensor
    speaker: Tensor | None = None
    party: Tensor | None = None
    target: Tensor | None = None

    @property
    def labelled(self) -> Tensor:
        """(N,) bool, whether anything of what is predicted is known of the row."""
        return labelled(self.label, self.target)

    def __len__(self) -> int:
        return len(self.label)


def labelled(label: Tensor, target: Tensor | None) -> Tensor:
    """label (…), -1 where unlabelled, and target (…, O), NaN there -> (…) bool."""
    known = label != -1
    return known if target is None else known | ~target.isnan().all(-1)


class FusionModel(nn.Module):
    """All seeds' networks: head -> context -> classifier; raises ErcError if one is unknown."""

    def __init__(
        self,
        config: ModelConfig,
        files: Mapping[str, tuple[int, int]],
        outputs: int,
        stack: Stack,
        speakers: int = 0,
    ) -> None:
        super().__init__()
        shape = HeadShape(files, config.width, config.dropout, config.layer_mix)
        self.noise = stack.noise
        self.modality_dropout = config.modality_dropout if len(files) > 1 else 0.0
        self.head = load_head(config.head)(stack, shape)
        around = ContextShape(
            config.width, config.dropout, config.reach == "past", config.speakers, speakers
        )
        self.context = load_context(config.context)(stack, around)
        self.classifier = Linear(stack, config.width, outputs)

    def forward(
        self,
        x: Mapping[str, Tensor],
        present: Tensor,
        dialogues: Dialogues | None = None,
        *,
        embed: bool = True,
    ) -> tuple[Tensor, Tensor | None]:
        """x: stem -> (S, B, L, D), present (S, B, M) -> logits (S, B, O), embedding (S, B, E).

        The O outputs are the logits of the classes or labels, then the numbers.
        `dialogues` are needed where the context looks at them. Without `embed` the embedding is
        None where that saves work; logits are then rounded otherwise.
        """
        if self.training and self.modality_dropout > 0:
            present = self._hide(present)
        if not (embed or self.head.unit) and isinstance(self.context, NoContext):
            logits = self.head.logits(x, present, self.classifier)
            if logits is not None:
                return logits, None
        embedding = self.head(x, present)
        if dialogues is not None:
            # An utterance without any embedding keeps its place in the dialogue, as zeros.
            embedding = masked(embedding, present.any(-1))
        embedding = self.context(embedding, dialogues)
        if not self.head.unit:
            return self.classifier(embedding), embedding
        # Components of a unit vector are about E ** -0.5, too small for the classifier: it would
        # spend its epochs growing. A context leaves the sphere, so the norm is taken again.
        embedding = nn.functional.normalize(embedding, dim=-1)
        return self.classifier(embedding * embedding.shape[-1] ** 0.5), embedding

    def _hide(self, present: Tensor) -> Tensor:
        """Modality dropout (Neverova et al. 2016); each utterance keeps at least one file."""
        like = present.to(self.classifier.weight.dtype)
        kept = present & (self.noise.keep(1 - self.modality_dropout, like) > 0)
        return torch.where(kept.any(-1, keepdim=True), kept, present)

    @property
    def seeds(self) -> int:
        """S, the seeds that are in the stack now."""
        return len(self.classifier.weight)

    @property
    def parameters_per_seed(self) -> int:
        return sum(parameter[0].numel() for parameter in self.parameters())


def build_model(
    config: ModelConfig,
    files: Mapping[str, tuple[int, int]],
    outputs: int,
    seeds: tuple[int, ...],
    device: torch.device | str = "cpu",
    speakers: int = 0,
) -> FusionModel:
    """A model with each seed's initial weights, on `device`, that knows `speakers` by name."""
    return FusionModel(config, files, outputs, Stack(seeds, device), speakers).to(device)


def load_state(model: FusionModel, state: Mapping[str, Tensor]) -> None:
    """Replace every weight; the number of seeds may change, nothing else."""
    parameters = dict(model.named_parameters())
    assert parameters.keys() == state.keys()
    for name, parameter in parameters.items():
        assert parameter.shape[1:] == state[name].shape[1:]
        parameter.data = state[name].to(parameter.device)
