"""The contexts: what an utterance learns of its dialogue, after the head, before the classifier."""

from erc_features.errors import choose
from erc_fusion.context.base import Context, NoContext
from erc_fusion.context.gru import GruContext
from erc_fusion.context.transformer import TransformerContext

CONTEXTS: dict[str, type[Context]] = {
    "none": NoContext,
    "gru": GruContext,
    "transformer": TransformerContext,
}


def load_context(name: str) -> type[Context]:
    """The class of a context.

    Raises:
        ErcError: unknown (names the choices).
    """
    return CONTEXTS[choose("context", name, CONTEXTS)]
