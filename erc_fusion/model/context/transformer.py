"""`transformer`: self-attention over the utterances of a dialogue."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from erc_fusion.model.context.base import (
    Context,
    ContextShape,
    Dialogues,
    Sequences,
    SpeakerEmbedding,
    by_length,
)
from erc_fusion.model.layers import ALIGNED, Dropout, LayerNorm, Linear, Stack

LAYERS = 2
HEADS = 4
REACH = 10  # utterances; all larger distances are the same


@dataclass(frozen=True)
class Pairs:
    """Utterances i and j of each dialogue: `relation` (S, G, H, T, T), the number of how they are
    related; `hidden` (S, G, 1, T, T) or as large, whether i does not see j."""

    relation: Tensor
    hidden: Tensor


class TransformerContext(Context):
    """Two layers of self-attention over the dialogue (Vaswani et al. 2017, pre-normalised).

    An utterance attends to another by what both say, how far apart they are (Shaw et al. 2018), and
    whether they have the same speaker, as in DialogXL (Shen et al. 2021). For the past, it sees
    itself and those before it. Parameters per seed: about 16 · E².
    """

    def __init__(self, stack: Stack, shape: ContextShape) -> None:
        super().__init__(stack, shape)
        self.past, self.speakers = shape.past, shape.speakers
        self.speaker = SpeakerEmbedding(stack, shape)
        self.layers = nn.ModuleList(Layer(stack, shape) for _ in range(LAYERS))
        self.norm = LayerNorm(stack, shape.width)

    def forward(self, embedding: Tensor, dialogues: Dialogues | None) -> Tensor:
        assert dialogues is not None
        # Every dialogue takes whole cache lines, see ALIGNED, and is among those of its length:
        # scores are pairs, and beside the longest dialogue most would be of padding.
        places = by_length(dialogues.place, ALIGNED)
        sequences = Sequences(places, embedding.shape[1], HEADS)
        pairs = [self._pairs(place, dialogues.party) for place in places]
        x = self.speaker(embedding, dialogues.speaker)
        for layer in self.layers:
            x = layer(x, sequences, pairs)
        return self.norm(x)

    def _pairs(self, place: Tensor, party: Tensor) -> Pairs:
        relation = distances(place.shape[-1], self.past, place.device)
        if self.speakers:
            who = party.gather(1, place.clamp(min=0).flatten(1)).view_as(place)
            same = who[..., :, None] == who[..., None, :]  # (S, G, T, T)
            relation = relation + same * _distances(self.past)
        step = torch.arange(place.shape[-1], device=place.device)
        seen = (place >= 0)[..., None, :]
        if self.past:
            seen = seen & (step <= step[:, None])
        seen = seen | (step == step[:, None])  # cells past the end: else a softmax of nothing
        relation = relation[:, :, None].expand(*place.shape[:2], HEADS, *relation.shape[-2:])
        return Pairs(relation, ~seen[:, :, None])


class Layer(nn.Module):
    """x + attention(norm(x)), then x + perceptron(norm(x)) of 2E units."""

    def __init__(self, stack: Stack, shape: ContextShape) -> None:
        super().__init__()
        width = shape.width
        self.norms = nn.ModuleList(LayerNorm(stack, width) for _ in range(2))
        self.attention = RelativeAttention(stack, shape)
        self.hidden = Linear(stack, width, 2 * width)
        self.out = Linear(stack, 2 * width, width)
        self.dropout = Dropout(stack, shape.dropout)

    def forward(self, x: Tensor, sequences: Sequences, pairs: list[Pairs]) -> Tensor:
        found = self.attention(self.norms[0](x), sequences, pairs)
        x = x + self.dropout(found)
        # ReLU, since GELU rounds differently after the last whole vector at odd sizes.
        hidden = self.dropout(F.relu(self.hidden(self.norms[1](x))))
        return x + self.dropout(self.out(hidden))


class RelativeAttention(nn.Module):
    """Attention within dialogues: (q_i · k_j + q_i · r) / sqrt(D), r by the relation of i and j.

    These are Shaw et al. 2018's representations on the keys, shared among attention heads. Weights
    have no dropout: dialogues are padded together, so a seed would draw for the others' sizes.
    """

    def __init__(self, stack: Stack, shape: ContextShape) -> None:
        super().__init__()
        width, self.size = shape.width, -(-shape.width // HEADS)
        inner, relations = HEADS * self.size, _distances(shape.past) * (1 + shape.speakers)
        self.query = Linear(stack, width, inner)
        self.key = Linear(stack, width, inner, bias=False)  # see :class:`layers.Attention`
        self.value = Linear(stack, width, inner)
        self.relation = Linear(stack, self.size, relations, bias=False)
        self.out = Linear(stack, inner, width)

    def forward(self, x: Tensor, sequences: Sequences, pairs: list[Pairs]) -> Tensor:
        """x (S, B, E), and the pairs of each place of the sequences -> (S, B, E)."""
        query = self.query(x)
        towards = self.relation(query.unflatten(-1, (HEADS, self.size))).flatten(2)  # (S, B, H·R)
        parts = (query, self.key(x), self.value(x), towards)
        read = zip(*(sequences.read(part) for part in parts), pairs, strict=True)
        return self.out(sequences.write([self._mix(*each) for each in read]))

    def _mix(self, q: Tensor, k: Tensor, v: Tensor, r: Tensor, pairs: Pairs) -> Tensor:
        """q, k, v (S, G, H, T, D), r (S, G, H, T, R) -> (S, G, H, T, D)."""
        scores = q @ k.transpose(-1, -2) + r.gather(-1, pairs.relation)  # (S, G, H, T, T)
        scores = (scores * self.size**-0.5).masked_fill(pairs.hidden, float("-inf"))
        return scores.softmax(-1).to(v.dtype) @ v


def distances(longest: int, past: bool, device: torch.device | str = "cpu") -> Tensor:
    """(1, 1, T, T): how far j is after i, clipped, and shifted to begin at 0.

    >>> distances(3, past=False)[0, 0].tolist()
    [[10, 11, 12], [9, 10, 11], [8, 9, 10]]
    """
    step = torch.arange(longest, device=device)
    after = (step - step[:, None]).clamp(-REACH, 0 if past else REACH)
    return (after + REACH)[None, None]


def _distances(past: bool) -> int:
    """How many different distances there are."""
    return REACH + 1 if past else 2 * REACH + 1
