"""Pooling the states of a text's tokens: over all of them, or taking the state of one."""

from collections.abc import Sequence

import numpy as np
import torch

from erc_features.encoders.base import pool, to_device
from erc_features.encoders.tokens import Tokens

_ONE = ("cls", "last", "mask")


def pool_tokens(
    states: Sequence[torch.Tensor], tokens: Sequence[Tokens], rows: Sequence[int], how: str
) -> list[torch.Tensor]:
    """Each of the layers (S, T, D) -> (B, D) or (B, 2 D), in float32.

    Args:
        states: of S sequences.
        tokens: of B items, each of which says which of its sequence's tokens are its own.
        rows: which sequence each of the B items is part of.
        how: `cls` is the first token of the sequence, `last` its last, `mask` the one that a
            prompt asks to be filled in; all others pool over the item's own tokens.
    """
    device = states[0].device
    if how in _ONE:
        places = torch.tensor([_place(t, how) for t in tokens], device=device)
        which = torch.tensor(rows, device=device)
        return [state[which, places].float() for state in states]
    if len(states[0]) < len(rows):  # several items share a sequence
        own = [(row, slice(*t.own)) for row, t in zip(rows, tokens, strict=True)]
        return [
            torch.cat([pool(state[row, None, part], None, how) for row, part in own])
            for state in states
        ]
    mask = own_tokens(tokens, states[0].shape[1])
    seen = None if mask.all() else to_device(mask, str(device))
    return [pool(state, seen, how) for state in states]


def own_tokens(tokens: Sequence[Tokens], longest: int) -> np.ndarray:
    """(B, T) bool, which tokens are each item's own."""
    own = np.zeros((len(tokens), longest), bool)
    for i, t in enumerate(tokens):
        own[i, slice(*t.own)] = True
    return own


def _place(tokens: Tokens, how: str) -> int:
    return {"cls": 0, "last": len(tokens.ids) - 1, "mask": tokens.mask}[how]
