"""The network of BERT (Devlin et al. 2019) and RoBERTa (Liu et al. 2019) as a plain loop.

transformers' forward does for every layer what only training or decoding needs: it asks for hooks,
caches, masks and attention weights, copies what could be changed in place, and computes the pooler.
On MiniLM and MELD's short texts that is a tenth of the time. The loop here calls the same operators
on the same shapes, so its numbers are equal to the last bit, and :func:`quicken` checks that.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

# Classes of transformers whose layers are BERT's; other families differ in them or in their order.
_CLASSES = ("BertModel", "RobertaModel", "XLMRobertaModel", "CamembertModel")
_CHECKED = ((1, 1), (2, 3), (7, 13))  # (B, T): with one token, an odd number, more than a vector


@dataclass(frozen=True)
class States:
    """What a forward pass gives, by transformers' names: L + 1 layers, each (B, T, D)."""

    hidden_states: Sequence[torch.Tensor]

    @property
    def last_hidden_state(self) -> torch.Tensor:
        return self.hidden_states[-1]


def quicken(model: Any) -> Any:
    """Let a placed model of the BERT family compute all layers of texts without padding in the
    plain loop; whatever else it is asked for, it does as before.

    A model of another family, or one whose loop is not equal to the last bit on a few random texts,
    stays as it is. The weights are the model's own, not copies.
    """
    if not _is_known(model):
        return model
    whole = model.forward
    if not _is_equal(model, whole):
        return model

    def forward(*args: Any, **given: Any) -> Any:
        ids = given.get("input_ids")
        asked = {name for name, value in given.items() if value is not None}
        if args or ids is None or asked != {"input_ids", "output_hidden_states"}:
            return whole(*args, **given)
        return States(_layers(model, ids))

    model.forward = forward
    return model


def _is_known(model: Any) -> bool:
    config = model.config
    return (
        type(model).__name__ in _CLASSES
        and type(model).__module__.startswith("transformers.")
        and config.hidden_act == "gelu"
        and getattr(config, "_attn_implementation", None) == "sdpa"
        and not config.is_decoder
        and not config.chunk_size_feed_forward
        and not model.training
    )


@torch.inference_mode()
def _is_equal(model: Any, whole: Callable[..., Any]) -> bool:
    """Whether the loop gives what transformers gives; a version may have moved something."""
    random = torch.Generator().manual_seed(0)
    first = min(10, model.config.vocab_size - 1)  # of RoBERTa, positions count from the padding
    try:
        for shape in _CHECKED:
            ids = torch.randint(first, model.config.vocab_size, shape, generator=random)
            ids = ids.to(model.device)
            wanted = whole(input_ids=ids, attention_mask=None, output_hidden_states=True)
            states = [*wanted.hidden_states[:-1], wanted.last_hidden_state]
            found = _layers(model, ids)
            if len(found) != len(states) or not all(map(torch.equal, found, states)):
                return False
    except (AttributeError, TypeError, RuntimeError):
        return False
    return True


def _layers(model: Any, ids: torch.Tensor) -> list[torch.Tensor]:
    """ids (B, T), none of it padding -> L + 1 layers, each (B, T, D)."""
    x = model.embeddings(input_ids=ids)  # (B, T, D)
    heads = (*ids.shape, model.config.num_attention_heads, -1)
    found = [x]
    for layer in model.encoder.layer:
        own, out = layer.attention.self, layer.attention.output
        q, k, v = (
            _linear(x, part).view(heads).transpose(1, 2) for part in (own.query, own.key, own.value)
        )  # (B, H, T, D / H)
        mixed = F.scaled_dot_product_attention(q, k, v, scale=own.scaling)
        mixed = mixed.transpose(1, 2).reshape(x.shape)  # (B, T, D)
        x = _norm(_linear(mixed, out.dense).add_(x), out.LayerNorm)
        # In place: half of what would be written here goes to main memory and back.
        wide = torch.ops.aten.gelu_(_linear(x, layer.intermediate.dense))  # (B, T, 4 D)
        x = _norm(_linear(wide, layer.output.dense).add_(x), layer.output.LayerNorm)
        found.append(x)
    return found


def _linear(x: torch.Tensor, part: torch.nn.Linear) -> torch.Tensor:
    return F.linear(x, part.weight, part.bias)


def _norm(x: torch.Tensor, part: torch.nn.LayerNorm) -> torch.Tensor:
    return F.layer_norm(x, part.normalized_shape, part.weight, part.bias, part.eps)
