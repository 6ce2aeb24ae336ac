"""Imported features have no encoder; what needs one refuses them."""

from collections.abc import Mapping
from typing import Any

from erc_features.errors import FeatureFileError

IMPORTED = "imported"  # the attribute `encoder` of such a feature file


def must_have_encoder(what: object, encoder: str, config: Mapping[str, Any]) -> None:
    """Refuse `what`, a file or its stem, if it was imported.

    >>> must_have_encoder("audio.wav2vec2-base", "facebook/wav2vec2-base", {"layers": "all"})

    Raises:
        FeatureFileError: names the source, and what works instead.
    """
    if encoder == IMPORTED:
        raise FeatureFileError(
            f"{what} was imported from {config.get('source', 'another file')}, so its encoder is "
            "not known to erc, and nothing can be encoded with it. `erc extract` makes features "
            "that `erc verify` and `erc predict` can use."
        )
