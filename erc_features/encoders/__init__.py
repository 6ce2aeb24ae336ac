"""Encoders by name. `ENCODERS` holds "module:function" strings; nothing is imported before use.

A factory takes (name, modality, settings) and returns an :class:`~.base.Encoder`. Packages add
encoders through entry points of the group `erc.encoders`. A name that is not in the table is a
Hugging Face id or a local folder.
"""

import re
from pathlib import Path

from erc_features.encoders.base import Encoder, Settings
from erc_features.errors import EncoderError
from erc_features.plugins import load, with_plugins
from erc_features.utterance import Modality

ENCODERS = {"baseline": "erc_features.encoders.baseline:load_baseline"}
PRETRAINED = {Modality.TEXT: "erc_features.encoders.text:load_text"}
DEFAULTS = {
    Modality.TEXT: "bert-base-uncased",
    Modality.VISUAL: "baseline",
    Modality.AUDIO: "baseline",
}
_NAMELESS = re.compile(r"model|checkpoint.*|[0-9a-f]{40}|\.*")


def load_encoder(encoder: str, modality: Modality, settings: Settings) -> Encoder:
    """Load an encoder by its name, a Hugging Face id or a local folder.

    Raises:
        EncoderError: it is unknown, can't serve the modality, or its weights can't be had.
    """
    table = with_plugins("erc.encoders", ENCODERS)
    target = table.get(encoder) or PRETRAINED.get(modality)
    looks_like_one = "/" in encoder or "\\" in encoder or Path(encoder).exists()
    if target is None or (
        encoder not in table and not looks_like_one and encoder not in DEFAULTS.values()
        and "-" not in encoder
    ):  # fmt: skip
        known = ", ".join(sorted(table))
        also = (
            ", or a Hugging Face id or local folder of a text model"
            if modality == Modality.TEXT
            else ""
        )
        raise EncoderError(f"Unknown {modality} encoder {encoder!r}; choose from {known}{also}.")
    return load(target)(encoder, modality, settings)


def default_name(encoder: str) -> str:
    """The name of a feature file: the last component of the encoder's id or folder.

    Raises:
        EncoderError: that component says nothing ("model", "checkpoint-500", a snapshot's hash).
    """
    last = Path(encoder).name
    if _NAMELESS.fullmatch(last):
        raise EncoderError(
            f"--encoder {encoder}: {last!r} says nothing about what it is; "
            "give the feature file a name with --name."
        )
    return clean_name(last)


def clean_name(name: str) -> str:
    """`name` with `-` for every character outside `[A-Za-z0-9._-]`."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", name)
