"""Frozen encoders by name: they turn items into float32 embeddings (B, L, D), each row alone.

No corpus, no HDF5 and no file but those of weights may enter.

`ENCODERS` holds "module:function" strings, which are imported when they are used.

A factory takes (name, modality, settings) and returns an :class:`~.base.Encoder`. Packages add
encoders through entry points of the group `erc.encoders`. A name that is not in the table is a
Hugging Face id, a local folder, `random:` and an architecture, or for pictures an architecture
of open_clip with a tag or a file, or `timm:` and a model of timm.
"""

import re
from dataclasses import replace
from pathlib import Path

from erc_features.encoders.base import (
    TEXT_POOLS,
    Encoder,
    Recorded,
    Settings,
    pick_device,
    pick_precision,
)
from erc_features.encoders.cpu_precision import warn_of_slow_precision
from erc_features.errors import EncoderError
from erc_features.plugins import load, with_plugins
from erc_features.utterance import Modality

__all__ = [
    "DEFAULTS",
    "ENCODERS",
    "base",
    "clean_name",
    "default_name",
    "launch",
    "layers",
    "load_encoder",
    "resolve",
]

ENCODERS = {"baseline": "erc_features.encoders.baseline:load_baseline"}
PRETRAINED = {
    Modality.TEXT: "erc_features.encoders.text:load_text",
    Modality.VISUAL: "erc_features.encoders.visual:load_visual",
    Modality.AUDIO: "erc_features.encoders.audio:load_audio",
}
# Families by what stands before the colon: `opensmile:eGeMAPSv02`.
PREFIXES = {
    "opensmile:": "erc_features.encoders.opensmile:load_opensmile",
    "timm:": "erc_features.encoders.timm:load_timm",
    "random:timm:": "erc_features.encoders.timm:load_timm",
}
DEFAULTS = {
    Modality.TEXT: "bert-base-uncased",
    Modality.VISUAL: "ViT-B-32/laion2b_s34b_b79k",
    Modality.AUDIO: "facebook/wav2vec2-base",
}
_RANDOM, _HUB, _TIMM = "random:", "hf-hub:", "timm:"
_ALSO = {
    Modality.TEXT: "a Hugging Face id or local folder of a text model",
    Modality.VISUAL: "an open_clip model such as ViT-B-32/laion2b_s34b_b79k, timm:NAME, or a "
    "Hugging Face id or local folder of a model of pictures",
    Modality.AUDIO: "a Hugging Face id or local folder of a model of sound",
}
_NAMELESS = re.compile(r"model|checkpoint.*|[0-9a-f]{40}|\.*")


def load_encoder(encoder: str, modality: Modality, settings: Settings) -> Encoder:
    """Load an encoder by its name, a Hugging Face id or a local folder.

    Raises:
        EncoderError: it is unknown, cannot encode the modality, or its weights cannot be loaded.
    """
    table = with_plugins("erc.encoders", ENCODERS)
    only_texts = settings.pool in TEXT_POOLS and settings.pool != "cls"
    if modality != Modality.TEXT and (settings.prompt or only_texts):
        what = "--prompt" if settings.prompt else f"--pool {settings.pool}"
        raise EncoderError(f"{what} is for texts; leave it out for --modality {modality}.")
    if encoder in table:
        found = _of_window(load(table[encoder])(encoder, modality, settings), settings)
        if found.modality != modality:
            raise EncoderError(
                f"--encoder {encoder} takes {found.modality}; --modality {found.modality} works."
            )
        return found
    for prefix, place in PREFIXES.items():
        if encoder.startswith(prefix):
            given = settings if _is_formula(encoder) else _resolved(settings)
            return _of_window(load(place)(encoder, modality, given), settings)
    # Ids of the hub without an owner have a dash ("bert-base-uncased"); misspelt names have none.
    if not (set(encoder) & set("-/\\:=") or Path(encoder).exists()):
        raise EncoderError(
            f"Unknown {modality} encoder {encoder!r}; choose from {', '.join(sorted(table))}, or "
            f"{_ALSO[modality]}."
        )
    found = load(PRETRAINED[modality])(encoder, modality, _resolved(settings))
    return _of_window(found, settings)


def _of_window(encoder: Encoder, settings: Settings) -> Encoder:
    """The encoder, if it has that window."""
    recorded = encoder.recorded if isinstance(encoder, Recorded) else {}
    if settings.window not in ("reference", recorded.get("window")):
        raise EncoderError(
            f"--encoder {encoder.name} --window {settings.window}: it does not pad what it reads, "
            "as Whisper pads sound to 30 s; leave --window out."
        )
    return encoder


def resolve(encoder: str, settings: Settings) -> Settings:
    """`settings` with the device and precision that `auto` means on this machine.

    Raises:
        EncoderError: CUDA was asked for and there is none.
    """
    if _is_formula(encoder):
        # On the CPU; they refuse anything else themselves.
        device = "cpu" if settings.device == "auto" else settings.device
        precision = "fp32" if settings.precision == "auto" else settings.precision
        return replace(settings, device=device, precision=precision)
    settings = _resolved(settings)
    warn_of_slow_precision(settings.precision, settings.device)
    return settings


def _is_formula(encoder: str) -> bool:
    return encoder == "baseline" or encoder.startswith("opensmile:")


def _resolved(settings: Settings) -> Settings:
    device = pick_device(settings.device)
    return replace(settings, device=device, precision=pick_precision(settings.precision, device))


def default_name(encoder: str, modality: Modality | None = None) -> str:
    """The name of a feature file: the last component of the encoder's id or folder.

    For open_clip's `architecture/tag`, `architecture=file` and `architecture/tag=file` it has all
    parts.

    >>> default_name("facebook/wav2vec2-base"), default_name("random:bert-base-uncased")
    ('wav2vec2-base', 'random-bert-base-uncased')
    >>> default_name("ViT-B-32/laion2b_s34b_b79k", Modality.VISUAL)
    'ViT-B-32-laion2b_s34b_b79k'
    >>> default_name("ViT-B-32=clips/tuned.safetensors", Modality.VISUAL)
    'ViT-B-32-tuned'
    >>> default_name("ViT-B-32/openai=clips/tuned.safetensors", Modality.VISUAL)
    'ViT-B-32-openai-tuned'
    >>> default_name("timm:vit_tiny_patch16_224.augreg_in21k", Modality.VISUAL)
    'timm-vit_tiny_patch16_224.augreg_in21k'

    Raises:
        EncoderError: that component is no name ("model", "checkpoint-500", a snapshot's hash).
    """
    if encoder.startswith(_RANDOM):
        return "random-" + default_name(encoder.removeprefix(_RANDOM), modality)
    if encoder.startswith(_TIMM):
        return "timm-" + default_name(encoder.removeprefix(_TIMM).removeprefix(_HUB))
    architecture, has_file, file = encoder.partition("=")
    if has_file and file.endswith(".safetensors"):
        return clean_name(f"{architecture}-{Path(file).stem}")
    is_hub = encoder.startswith(_HUB)
    if modality == Modality.VISUAL and not is_hub and not Path(encoder).exists():
        return clean_name(encoder)
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
