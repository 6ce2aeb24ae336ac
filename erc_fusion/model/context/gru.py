"""`gru`: recurrence over the dialogue, and over what each speaker says in it."""

import torch
from torch import Tensor

from erc_fusion.model.context.base import (
    Context,
    ContextShape,
    Dialogues,
    SpeakerEmbedding,
)
from erc_fusion.model.layers import Dropout, LayerNorm, Linear, Stack
from erc_fusion.model.recurrence import GRU


class GruContext(Context):
    """A GRU over the dialogue, and one over each speaker's own utterances, added to the embedding.

    Bidirectional for the whole dialogue, like the recurrent baselines of ERC (bc-LSTM, Poria et al.
    2017); forward only for the past. With speakers, a second GRU keeps a state for each party: it
    runs over the utterances of one speaker, like the histories of CMN (Hazarika et al. 2018) and
    the party states of DialogueRNN (Majumder et al. 2019), except that party states do not feed
    each other here. Parameters per seed, roughly: for each GRU 3.5 · E² (whole), 7 · E² (past).
    """

    def __init__(self, stack: Stack, shape: ContextShape) -> None:
        super().__init__(stack, shape)
        width, both = shape.width, not shape.past
        hidden = (width + 1) // 2 if both else width
        self.speaker = SpeakerEmbedding(stack, shape)
        self.dialogue = GRU(stack, width, hidden, bidirectional=both)
        self.party = GRU(stack, width, hidden, bidirectional=both) if shape.speakers else None
        self.dropout = Dropout(stack, shape.dropout)
        self.out = Linear(stack, (1 + shape.speakers) * self.dialogue.outputs, width)
        self.norm = LayerNorm(stack, width)

    def forward(self, embedding: Tensor, dialogues: Dialogues | None) -> Tensor:
        assert dialogues is not None
        place = dialogues.place
        x = self.speaker(embedding, dialogues.speaker)
        states = [self.dialogue(x, place)]
        if self.party is not None:
            states.append(self.party(x, parties(place, dialogues.party)))
        found = self.dropout(torch.cat(states, dim=-1))
        return self.norm(x + self.dropout(self.out(found)))


def parties(place: Tensor, party: Tensor) -> Tensor:
    """Dialogues (S, G, T), who speaks (S, B) -> each party's utterances (S, P, T'), -1 after them.

    >>> parties(torch.tensor([[[0, 1, 2], [3, 4, -1]]]), torch.tensor([[0, 1, 0, 0, 0]])).tolist()
    [[[0, 2], [1, -1], [3, 4]]]
    """
    seeds, count, _ = place.shape
    flat = place.flatten(1)
    among = int(party.max()) + 1
    dialogue = torch.arange(count, device=place.device)[:, None].expand(place.shape).flatten(1)
    number = dialogue * among + party.gather(1, flat.clamp(min=0))
    number, order = number.masked_fill(flat < 0, count * among).sort(dim=1, stable=True)
    at = torch.arange(flat.shape[1], device=place.device).expand_as(flat)
    begins = torch.ones_like(number, dtype=torch.bool)
    begins[:, 1:] = number[:, 1:] != number[:, :-1]
    line = begins.cumsum(1) - 1
    step = at - torch.where(begins, at, 0).cummax(1).values
    seed, where = (number < count * among).nonzero(as_tuple=True)
    line, step = line[seed, where], step[seed, where]
    out = place.new_full((seeds, int(line.max()) + 1, int(step.max()) + 1), -1)
    out[seed, line, step] = flat[seed, order[seed, where]]
    return out
