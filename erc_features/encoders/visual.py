"""The image tower of a CLIP through open_clip (Radford et al. 2021, "Learning Transferable
Visual Models From Natural Language Supervision"; Cherti et al. 2023, open_clip's weights).

It has one layer: the projected embedding of each frame, not normalised, pooled over the frames.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from erc_features.encoders import open_clip_tags as tags
from erc_features.encoders import weights as stored
from erc_features.encoders.base import Settings, pooled_dim, weights_revision
from erc_features.encoders.frames import FrameEncoder, must_apply
from erc_features.encoders.pixels import preprocess
from erc_features.encoders.towers import load_tower
from erc_features.errors import EncoderError
from erc_features.utterance import Modality

HUB = "hf-hub:"
_FOLDER = "local-dir:"  # as open_clip spells one
_FORMS = (
    "ViT-B-32/laion2b_s34b_b79k (an architecture and a tag of open_clip), "
    "ViT-B-32/laion2b_s34b_b79k=file.safetensors (with the weights), a folder with "
    f"{tags.CONFIG} and {tags.WEIGHTS}, or hf-hub:owner/name"
)


def load_visual(name: str, modality: Modality, settings: Settings) -> FrameEncoder:
    """Load a CLIP by open_clip's architecture and tag, from a file, a folder or the hub, or as
    `random:` and an architecture; or a network of transformers, where it is one.

    Raises:
        EncoderError: a setting does not apply; it cannot be loaded, is no such model, or its
            weights are not safetensors.
    """
    if _is_tower(name):
        return load_tower(name, modality, settings)
    must_apply(name, settings)
    if settings.layers not in ("all", "last"):
        raise EncoderError(
            f"--encoder {name}: a CLIP of open_clip gives one embedding a frame, so --layers is "
            "all. The same CLIP in the format of transformers has hidden states."
        )
    tower, config, recorded = _load(name)
    prepare = preprocess(config)
    tower.eval()
    revision = weights_revision(tower.state_dict())
    with torch.inference_mode():
        width = _embed(tower, torch.zeros(1, 3, *prepare.size), None).shape[-1]
    return FrameEncoder(
        name=name,
        revision=revision,
        picked=(0,),
        dim=pooled_dim(width, settings.pool),
        pooling=settings.pool,
        device=settings.device,
        dtype=stored.DTYPES[settings.precision],
        prepare=prepare,
        embed=_embed,
        model=stored.place_model(tower, settings.precision, settings.device),
        recorded=recorded,
    )


def _embed(tower: Any, pixels: torch.Tensor, hidden: tuple[int, ...] | None) -> torch.Tensor:
    """(F, 3, H, W) -> (F, 1, D). CoCa's tower returns the tokens too."""
    found = tower(pixels)
    return (found[0] if isinstance(found, tuple) else found)[:, None]


def _is_tower(name: str) -> bool:
    """Whether this is a network of transformers: it has no configuration of open_clip."""
    if stored.is_random(name):
        return name in stored.architectures(Modality.VISUAL)
    if name.startswith(HUB) or "=" in name:
        return False
    folder = Path(name)
    if folder.is_dir():
        return (folder / stored.CONFIG).is_file() and not (folder / tags.CONFIG).is_file()
    architecture, _, tag = name.partition("/")
    from open_clip import list_models

    if not tag or "/" in tag or architecture in list_models():
        return False
    return not stored.has_file(name, tags.CONFIG)


def _load(name: str) -> tuple[Any, Mapping[str, Any], Mapping[str, str]]:
    """The tower on the CPU, as stored; its preprocessing; what a feature file records of it."""
    from open_clip import list_models

    architecture, has_file, file = name.partition("=")
    first, _, tag = name.removeprefix(stored.RANDOM).partition("/")
    if stored.is_random(name):
        if first not in list_models():
            known = ", ".join(stored.architectures(Modality.VISUAL))
            raise EncoderError(
                f"--encoder {name}: no random weights of {first!r}: it is no architecture of "
                f"open_clip, as in random:ViT-B-32, and of transformers there are {known}. "
                "random:timm:NAME makes those of timm."
            )
        # Weights that nobody trained need no preprocessing but the architecture's own.
        return *_tower(name, tags.known(name, first), None), {}
    if Path(name).is_dir():
        return *_tower(name, f"{_FOLDER}{name}", Path(name) / tags.WEIGHTS), {}
    if has_file:
        architecture, _, tag = architecture.partition("/")
        tags.known(name, architecture)
        _must_be_safe(name, Path(file))
        needs = (
            tags.of_tag(name, architecture, tag) if tag else tags.of_file(name, architecture, file)
        )
        return *_tower(name, architecture, Path(file), needs), tags.recorded_of(architecture, needs)
    if tag and first in list_models() and not name.startswith(HUB):
        config = tags.of_tag(name, first, tag)
        repository, _, file = config.get("hf_hub", "").rpartition("/")
        if not repository or (file and not file.endswith(".safetensors")):
            raise EncoderError(
                f"--encoder {name}: its weights are a pickle, which is not read; {_FORMS} work."
            )
        return *_tower(
            name, first, stored.fetch(name, repository, file or tags.WEIGHTS, _FORMS), config
        ), {}
    repository = name.removeprefix(HUB)
    if "/" not in repository:
        raise EncoderError(f"--encoder {name}: no visual model; {_FORMS} work.")
    config = stored.fetch(name, repository, tags.CONFIG, _FORMS)
    weights = stored.fetch(name, repository, tags.WEIGHTS, _FORMS)
    return *_tower(name, f"{_FOLDER}{config.parent}", weights), {}


def _must_be_safe(name: str, weights: Path) -> None:
    if weights.suffix != ".safetensors" or not weights.is_file():
        raise EncoderError(
            f"--encoder {name}: no weights {weights}, as safetensors; a pickle (.bin, .pt) is not "
            f"read. {_FORMS} work."
        )


def _tower(
    name: str, model: str, weights: Path | None, tag: Mapping[str, Any] | None = None
) -> tuple[Any, Mapping[str, Any]]:
    """Build a model, keep its image tower, and load its weights; with the preprocessing.

    `model` is an architecture, or `local-dir:` and a folder; `tag` is what open_clip knows of
    the weights: their activation and their preprocessing.
    """
    if weights is not None:
        _must_be_safe(name, weights)
    from open_clip import create_model
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if model.startswith(_FOLDER):
            config = Path(model.removeprefix(_FOLDER)) / tags.CONFIG
            tags.must_say(name, config, json.loads(config.read_text(encoding="utf-8")))
        with stored.quiet(), stored.random_weights():
            tower: Any = create_model(
                model,
                load_weights=False,
                pretrained_image=False,
                pretrained_text=False,
                force_quick_gelu=bool(tag and tag.get("quick_gelu")),
                force_preprocess_cfg=dict(tag or {}),
            ).visual
        if weights is not None:
            state = {
                key.removeprefix("module.").removeprefix("visual."): value
                for key, value in load_file(weights).items()
                if key.removeprefix("module.").startswith("visual.")
            }
            tower.load_state_dict(state)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, SafetensorError) as error:
        no_json = isinstance(error, json.JSONDecodeError)
        reason = f"{tags.CONFIG} is not JSON" if no_json else stored.first_line(error)
        raise EncoderError(
            f"--encoder {name}: not a CLIP that can be loaded ({reason}). {_FORMS} work."
        ) from error
    return tower, tower.preprocess_cfg
