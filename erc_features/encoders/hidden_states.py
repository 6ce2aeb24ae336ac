"""A transformer's layers: what `hidden_states` holds, and the last layer, `last_hidden_state`.

`hidden_states` is what goes into the first block, then what comes out of each. Whether its last
is normalised, where a final norm stands behind the blocks, depends on the version of transformers:
of 4.57.3 and 5.23.0, one gives it before and the other after that norm in ModernBERT, BioGPT,
RoBERTa-PreLayerNorm, and in every wav2vec 2.0, HuBERT, WavLM and UniSpeech with
`do_stable_layer_norm`. `last_hidden_state` is the same in both, and so are all the others.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from erc_features.encoders.base import LAST_LAYER

# Families whose features of the last layer depended on the version of transformers, when erc
# took the last of `hidden_states`; beside those with `do_stable_layer_norm`.
_AMBIGUOUS = ("modernbert", "biogpt", "roberta-prelayernorm")


def layers_of(found: Any) -> list[torch.Tensor]:
    """The layers of a model's output, (B, T, D) each; the last is its `last_hidden_state`."""
    return [*found.hidden_states[:-1], found.last_hidden_state]


def recorded_last(config: Any, picked: Sequence[int], count: int) -> Mapping[str, str]:
    """What a feature file records of the last layer, so that files of an erc that took the last
    of `hidden_states` are not mixed with new ones. Nothing for families where both were equal.

    Args:
        config: the model's.
        picked: which of its `count` layers.
    """
    ambiguous = config.model_type in _AMBIGUOUS or getattr(config, "do_stable_layer_norm", False)
    return {LAST_LAYER: "last_hidden_state"} if ambiguous and count - 1 in picked else {}
