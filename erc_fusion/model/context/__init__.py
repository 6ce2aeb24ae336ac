"""The contexts: what an utterance learns from its dialogue, between the head and the classifier.

A context sees embeddings (S, B, E) and the order of dialogues: no label and no file may enter.
"""

from erc_features.errors import choose
from erc_fusion.model.context.base import Context, NoContext
from erc_fusion.model.context.gru import GruContext
from erc_fusion.model.context.transformer import TransformerContext

__all__ = ["CONTEXTS", "base", "load_context"]

CONTEXTS: dict[str, type[Context]] = {
    "none": NoContext,
    "gru": GruContext,
    "transformer": TransformerContext,
}


def load_context(name: str) -> type[Context]:
    """The class of a context; raises ErcError where it is unknown (names the choices)."""
    return CONTEXTS[choose("context", name, CONTEXTS)]
