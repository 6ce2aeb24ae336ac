"""A transformer's layers: what `hidden_states` holds, and the last layer, `last_hidden_state`.

`hidden_states` is the input of the first block, then the output of each. Where a final norm follows
the blocks, it depends on the version of transformers whether the last of them is normalised: of
4.57.3 and 5.23.0, one returns it before and the other after that norm in ModernBERT, BioGPT,
RoBERTa-PreLayerNorm, and in every wav2vec 2.0, HuBERT, WavLM and UniSpeech with
`do_stable_layer_norm`. `last_hidden_state` is the same in both, and so are all the others.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from erc_features.encoders.base import LAST_LAYER

# Families whose last layer depended on the version of transformers, when erc took the last of
# `hidden_states`; in addition to those with `do_stable_layer_norm`.
_AMBIGUOUS = ("modernbert", "biogpt", "roberta-prelayernorm")


def layers_of(found: Any) -> list[torch.Tensor]:
    """The layers of a model's output, each (B, T, D); the last is its `last_hidden_state`."""
    return [*found.hidden_states[:-1], found.last_hidden_state]


def recorded_last(config: Any, picked: Sequence[int], count: int) -> Mapping[str, str]:
    """What a feature file records of the last layer, so that files of an erc that took the last
    of `hidden_states` are not mixed with new ones. It is nothing where both were equal.

    Args:
        config: the model's.
        picked: which of its `count` layers.
    """
    ambiguous = config.model_type in _AMBIGUOUS or getattr(config, "do_stable_layer_norm", False)
    return {LAST_LAYER: "last_hidden_state"} if ambiguous and count - 1 in picked else {}
