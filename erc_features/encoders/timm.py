"""Networks over pictures through timm (Wightman 2019, PyTorch Image Models): `timm:NAME`.

NAME is an architecture with the tag of its weights (`vit_small_patch14_dinov2.lvd142m`), whose
files are in the hub's cache or on the hub; a repository of the hub (`owner/name`); or a folder
with the config.json and model.safetensors that timm's `save_for_hf` writes. `random:timm:NAME`
builds an architecture with random weights.

The embedding of a frame is what timm documents as its features: the model without its classifier
(`num_classes=0`), pooled as its architecture pools. The data configuration that timm keeps with the
weights decides the preprocessing. `--layers` works for transformers of one width; layer i is the
output of block i, by `forward_intermediates`.
"""

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from erc_features.encoders import weights as stored
from erc_features.encoders.base import Settings, weights_revision
from erc_features.encoders.frames import FrameEncoder, make_encoder, must_apply
from erc_features.encoders.pixels import Preprocess
from erc_features.errors import EncoderError
from erc_features.utterance import Modality

PREFIX = "timm:"
_HUB, _WEIGHTS = "hf-hub:", "model.safetensors"
_SAID = ("input_size", "interpolation", "mean", "std", "crop_pct")
# Arguments of timm's `create_model` that are no model's: some of them name files to unpickle.
_NOT_OF_MODELS = ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path",
                  "cache_dir", "scriptable", "exportable", "no_jit",
                  "pretrained_strict", "features_only")  # fmt: skip
_FORMS = (
    "timm:vit_small_patch14_dinov2.lvd142m (an architecture and a tag), timm:owner/name (of the "
    f"hub), or timm:FOLDER with {stored.CONFIG} and {_WEIGHTS}"
)


def load_timm(name: str, modality: Modality, settings: Settings) -> FrameEncoder:
    """`timm:` or `random:timm:` and a model.

    Raises:
        EncoderError: it is unknown, cannot be reached or loaded, does not say how it takes
            pictures, or a setting does not apply to it.
    """
    if modality != Modality.VISUAL:
        raise EncoderError(f"--encoder {name} takes pictures; --modality visual works.")
    must_apply(name, settings)
    plain = name.removeprefix(stored.RANDOM).removeprefix(PREFIX)
    if stored.is_random(name):
        architecture, _, tag = plain.partition(".")
        said = _known(name, architecture, tag)
        model, revision = _build(name, architecture, {}, None)
    else:
        config, weights = _files(name, plain.removeprefix(_HUB))
        architecture, said, given = config
        model, revision = _build(name, architecture, given, weights)
        if Path(plain).is_dir():
            name = f"{PREFIX}{Path(plain).resolve()}"
    prepare = _preprocess(name, said)
    return make_encoder(name, model, revision, prepare, _embed, settings, blocks=_blocks(model))


def _files(name: str, plain: str) -> tuple[tuple[str, Mapping[str, Any], dict[str, Any]], Path]:
    """The architecture, its data configuration and its arguments; and the weights."""
    folder = Path(plain)
    if folder.is_dir():
        config, weights = folder / stored.CONFIG, folder / _WEIGHTS
    elif "/" in plain:
        config, weights = (
            stored.fetch(name, plain, file, _FORMS) for file in (stored.CONFIG, _WEIGHTS)
        )
    else:
        architecture, _, tag = plain.partition(".")
        said = _known(name, architecture, tag)
        repository = str(said.get("hf_hub_id") or "")
        if not repository:
            raise EncoderError(f"--encoder {name}: timm names no weights of it; {_FORMS} work.")
        repository += plain if repository.endswith("/") else ""
        file = str(said.get("hf_hub_filename") or _WEIGHTS)
        _must_be_safe(name, Path(file))
        return (architecture, said, {}), stored.fetch(name, repository, file, _FORMS)
    _must_be_safe(name, weights)
    try:
        read = json.loads(config.read_text(encoding="utf-8"))
        # Older timm wrote the data configuration at the top.
        said = read.get("pretrained_cfg") or read
        given = dict(read.get("model_args") or {})
        if refused := sorted(set(given) & set(_NOT_OF_MODELS)):
            raise ValueError(f"model_args has {', '.join(refused)}")
        if read.get("global_pool"):
            given.setdefault("global_pool", read["global_pool"])
        return (read["architecture"].partition(".")[0], said, given), weights
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise EncoderError(
            f"--encoder {name}: {config} is no configuration of timm "
            f"({stored.first_line(error)}); {_FORMS} work."
        ) from error


def _must_be_safe(name: str, weights: Path) -> None:
    folder = weights.parent
    if weights.suffix != ".safetensors" or (folder != Path() and not weights.is_file()):
        raise EncoderError(
            f"--encoder {name}: no weights {weights}, as safetensors; a pickle (.bin, .pth) is not "
            "read. timm's save_for_hf(…, safe_serialization=True) writes safetensors."
        )


def _known(name: str, architecture: str, tag: str) -> Mapping[str, Any]:
    """What timm knows of an architecture's tag, by default its first.

    Raises:
        EncoderError: there is none such; names those that there are, or similar ones.
    """
    from difflib import get_close_matches

    import timm
    from timm.models import get_pretrained_cfg

    if not timm.is_model(architecture):
        near = get_close_matches(architecture, timm.list_models(), 5)
        near = near or ["vit_base_patch16_224", "convnext_tiny", "resnet50"]
        raise EncoderError(
            f"--encoder {name}: timm has no architecture {architecture!r}; it has, among others, "
            f"{', '.join(near)}. {_FORMS} work."
        )
    whole = f"{architecture}.{tag}" if tag else architecture
    try:
        found = get_pretrained_cfg(whole, allow_unregistered=False)
    except RuntimeError:
        found = None
    if found is None:
        tags = [each.partition(".")[2] for each in timm.list_pretrained(f"{architecture}.*")]
        raise EncoderError(
            f"--encoder {name}: {architecture} has no tag {tag!r}; it has "
            f"{', '.join(tags) or 'none'}."
        )
    return found.to_dict()


def _build(
    name: str, architecture: str, given: Mapping[str, Any], weights: Path | None
) -> tuple[Any, str]:
    """The model without its classifier, and the revision of its weights."""
    import timm
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not timm.is_model(architecture):
        _known(name, architecture, "")
    given = {key: value for key, value in given.items() if key != "num_classes"}
    try:
        with stored.quiet(), stored.random_weights():
            model = timm.create_model(architecture, pretrained=False, num_classes=0, **given)
        model.eval()
        if weights is None:
            return model, weights_revision(model.state_dict())
        state, wanted = load_file(weights), model.state_dict()
        # timm's own functions would resample weights of another shape without a word.
        both = set(wanted) & set(state)
        other = sorted(key for key in both if state[key].shape != wanted[key].shape)
        if other:
            raise EncoderError(
                f"--encoder {name}: {other[0]} has shape {tuple(state[other[0]].shape)} in its "
                f"checkpoint and {tuple(wanted[other[0]].shape)} in the model. Is {stored.CONFIG} "
                "that of these weights?"
            )
        if set(wanted) - set(state):
            # Weights of another layout, which the architecture's own function rewrites.
            rewrite = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
            state = rewrite(state, model) if rewrite else state
        absent = sorted(set(wanted) - set(state))
        if absent:
            raise EncoderError(
                f"--encoder {name}: its checkpoint lacks {len(absent)} weights that the model has "
                f"({', '.join(absent[:3])}, …), which would be random. Is {stored.CONFIG} that of "
                "these weights?"
            )
        model.load_state_dict({key: state[key] for key in wanted})
    except (
        OSError, ValueError, KeyError, RuntimeError, TypeError, AssertionError, SafetensorError,
    ) as error:  # fmt: skip
        raise EncoderError(
            f"--encoder {name}: not a model of timm that can be loaded "
            f"({stored.first_line(error)}). {_FORMS} work."
        ) from error
    return model, weights_revision(model.state_dict())


def _preprocess(name: str, said: Mapping[str, Any]) -> Preprocess:
    """What timm's `transforms_imagenet_eval` does with this data configuration.

    Raises:
        EncoderError: it lacks an entry, which timm would guess; or it asks for something that is
            not implemented here.
    """
    if absent := [key for key in _SAID if not said.get(key)]:
        raise EncoderError(
            f"--encoder {name}: it does not say how it takes pictures; its pretrained_cfg lacks "
            f"{', '.join(absent)}. Add what the weights were trained with."
        )
    mode, filter_ = said.get("crop_mode") or "center", said["interpolation"]
    share, channels = said["crop_pct"], said["input_size"][0]
    if (mode not in ("center", "squash") or filter_ not in ("bicubic", "bilinear", "lanczos")
            or channels != 3 or share > 1):  # fmt: skip
        raise EncoderError(
            f"--encoder {name}: it wants {channels} colours, resized by {filter_!r}, crop_mode "
            f"{mode!r} and crop_pct {share}; 3 colours, bicubic, bilinear and lanczos, center and "
            "squash, up to 1 are known."
        )
    high, wide = said["input_size"][1:]
    return Preprocess(
        size=(high, wide),
        mean=tuple(said["mean"]),
        std=tuple(said["std"]),
        mode="squash" if mode == "squash" else "shortest",
        interpolation=filter_,
        resized=(math.floor(high / share), math.floor(wide / share)),
    )


def _blocks(model: Any) -> int:
    """The number of blocks of one width whose outputs timm gives; 0 if there are none."""
    blocks = dict(model.named_children()).get("blocks")
    about = getattr(model, "feature_info", None)
    if not isinstance(blocks, torch.nn.Sequential | torch.nn.ModuleList) or not about:
        return 0
    places = [each["module"] for each in about]
    widths = {each["num_chs"] for each in about}
    alike = len(widths) == 1 and places == [f"blocks.{i}" for i in range(len(blocks))]
    return len(blocks) if alike and callable(getattr(model, "forward_intermediates", None)) else 0


def _embed(model: Any, pixels: torch.Tensor, hidden: tuple[int, ...] | None) -> torch.Tensor:
    """(F, 3, H, W) -> (F, 1, D) of features, or (F, L, D) of hidden states."""
    if hidden is None:
        found = model(pixels)
        if found.ndim != 2:
            raise ValueError(f"it does not pool: its features have shape {tuple(found.shape)}")
        return found[:, None]
    last, prefix = len(model.blocks), model.num_prefix_tokens
    has_class = getattr(model, "cls_token", None) is not None

    def of_frame(tokens: torch.Tensor, patches: torch.Tensor) -> torch.Tensor:
        return tokens[:, 0] if has_class else patches.mean(1, dtype=torch.float32).to(patches.dtype)

    before: list[torch.Tensor] = []  # what goes into the first block is not an intermediate
    hook = model.blocks[0].register_forward_pre_hook(lambda _, given: before.append(given[0]))
    try:
        inner = sorted({i - 1 for i in hidden if 0 < i < last}) or [0]
        final, states = model.forward_intermediates(
            pixels, indices=inner, output_fmt="NLC", return_prefix_tokens=True
        )
    finally:
        hook.remove()
    found = {
        0: of_frame(before[0], before[0][:, prefix:]),
        last: of_frame(final, final[:, prefix:]),
    }
    for i, state in zip(inner, states, strict=True):  # patches, and the tokens before them
        patches, tokens = state if prefix else (state, state)
        found.setdefault(i + 1, of_frame(tokens, patches))
    return torch.stack([found[i] for i in hidden], 1)
