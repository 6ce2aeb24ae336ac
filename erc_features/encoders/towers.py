"""Networks over pictures through transformers, or their vision half where they have two.

The embedding of a frame is what each family documents:

- CLIP (Radford et al. 2021), MetaCLIP 2: `get_image_features`, the projected class token, not
  normalised. A checkpoint of the vision half without a projection: `pooler_output`, the class
  token after the last norm.
- SigLIP (Zhai et al. 2023), SigLIP 2 (Tschannen et al. 2025; of any resolution: `naflex.py`):
  `pooler_output`, the attention head over all patches; there is no projection.
- ViT (Dosovitskiy et al. 2021), DeiT, DINOv2 (Oquab et al. 2024), also with registers, DINOv3
  (Siméoni et al. 2025), MSN: the class token of `last_hidden_state`, after the last norm. ViT's
  `pooler_output` is not it: a dense layer that most checkpoints leave untrained.
- I-JEPA: the mean of the patches of `last_hidden_state`.
- BEiT: `pooler_output`, the class token or the mean of the patches, as its configuration says.
- Swin, Swin V2, ConvNeXt, ConvNeXt V2, ResNet, DINOv3's ConvNeXt: `pooler_output`, the mean of the
  last feature map. The widths of their stages differ, so they have no `--layers`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from erc_features.encoders.base import Settings
from erc_features.encoders.frames import FrameEncoder, make_encoder, must_apply
from erc_features.encoders.hidden_states import layers_of
from erc_features.encoders.image_processors import of_processor, read_processor
from erc_features.encoders.naflex import KIND, Fit, of_naflex, patched
from erc_features.encoders.pixels import Preprocess
from erc_features.encoders.weights import load_transformer
from erc_features.errors import EncoderError
from erc_features.utterance import Modality

CLASS, PATCHES = "the class token", "the mean of the patches"


@dataclass(frozen=True)
class Family:
    """How a family is loaded, and what stands for a frame.

    Attributes:
        cls: its class in transformers; AutoModel's where it is empty.
        embedding: the field of its output that is the embedding; or CLASS or PATCHES of
            `last_hidden_state`.
        tokens: CLASS or PATCHES, what stands for a frame in a hidden state; empty if it has no
            hidden states of one width.
        processor: the image processor that transformers takes if none is named.
        given: what its class is made with.
    """

    cls: str
    embedding: str
    tokens: str
    processor: str
    given: dict[str, Any] = field(default_factory=dict)


_NO_POOLER = {"add_pooling_layer": False}
_SIGLIP = Family("SiglipVisionModel", "pooler_output", PATCHES, "Siglip")
_NAFLEX = Family("Siglip2VisionModel", "pooler_output", PATCHES, KIND)
_CLIP = Family("CLIPVisionModelWithProjection", "image_embeds", CLASS, "CLIP")
_META = Family("MetaClip2VisionModelWithProjection", "image_embeds", CLASS, "CLIP")
_DINO = Family("", CLASS, CLASS, "Bit")
_NET = Family("", "pooler_output", "", "ConvNext")
FAMILIES = {
    "clip": _CLIP, "clip_vision_model": _CLIP, "metaclip_2": _META,
    "metaclip_2_vision_model": _META,
    "siglip": _SIGLIP, "siglip_vision_model": _SIGLIP,
    "siglip2": _NAFLEX, "siglip2_vision_model": _NAFLEX,
    "vit": Family("ViTModel", CLASS, CLASS, "ViT", _NO_POOLER),
    "deit": Family("DeiTModel", CLASS, CLASS, "DeiT", _NO_POOLER),
    "dinov2": _DINO, "dinov2_with_registers": _DINO,
    "dinov3_vit": Family("", CLASS, CLASS, "DINOv3ViT"),
    "dinov3_convnext": Family("", "pooler_output", "", "DINOv3ViT"),
    "vit_msn": Family("", CLASS, CLASS, "ViT"),
    "ijepa": Family("IJepaModel", PATCHES, PATCHES, "ViT", _NO_POOLER),
    "beit": Family("", "pooler_output", CLASS, "Beit"),
    "swin": Family("", "pooler_output", "", "ViT"),
    "swinv2": Family("", "pooler_output", "", "ViT"),
    "convnext": _NET, "convnextv2": _NET, "resnet": _NET,
}  # fmt: skip
# What hides patches in training: no embedding depends on it.
_UNUSED = ("embeddings.mask_token",)


def load_tower(name: str, modality: Modality, settings: Settings) -> FrameEncoder:
    """A Hugging Face id, a local folder, or `random:` and an architecture.

    Raises:
        EncoderError: it cannot be loaded, is none of these families, does not say how it takes
            pictures, or a setting does not apply to it.
    """
    must_apply(name, settings)
    model, revision, place = load_transformer(
        name, modality, pick=partial(_pick, name), unused=_UNUSED
    )
    config = model.config
    family = _family(name, config, type(model).__name__.endswith("WithProjection"))
    fit: Fit | None = None
    if place is None:
        size = config.image_size
        half = (0.5, 0.5, 0.5)  # nobody trained these weights, so any will do
        prepare = Preprocess((size, size), half, half, mode="squash")
    elif family.processor == KIND:
        prepare, fit = of_naflex(name, read_processor(name, place))
    else:
        prepare = of_processor(name, read_processor(name, place), family.processor)
    embed = partial(embed_frames, family=family, fit=fit)
    blocks = config.num_hidden_layers if family.tokens else 0
    return make_encoder(
        name, model.eval(), revision, prepare, embed, settings, blocks=blocks, fit=fit
    )


def embed_frames(
    model: Any, pixels: torch.Tensor, hidden: Sequence[int] | None, *, family: Family,
    fit: Fit | None = None,
) -> torch.Tensor:  # fmt: skip
    """(F, 3, H, W) -> (F, 1, D) of embeddings, or (F, L, D) of hidden states."""
    given = patched(pixels, fit.patch) if fit else {"pixel_values": pixels}
    if hidden is not None:
        layers = layers_of(model(**given, output_hidden_states=True))
        return torch.stack([_of_tokens(layers[i], family.tokens) for i in hidden], 1)
    found = model(**given)
    if family.embedding in (CLASS, PATCHES):
        return _of_tokens(found.last_hidden_state, family.embedding)[:, None]
    embedding = getattr(found, family.embedding)
    if embedding is None:
        raise ValueError(f"it has no {family.embedding}; --layers 0: takes its hidden states")
    return embedding.flatten(1)[:, None]  # ResNet's is (F, D, 1, 1)


def _of_tokens(state: torch.Tensor, tokens: str) -> torch.Tensor:
    """(F, T, D) -> (F, D)."""
    return state[:, 0] if tokens == CLASS else state.mean(1, dtype=torch.float32).to(state.dtype)


def _pick(name: str, config: Any) -> tuple[Any, Any, dict[str, Any]]:
    """The class to load, its configuration and what it is made with: of two halves, the one that
    sees.

    Raises:
        EncoderError: it is none of the families.
    """
    import transformers

    # A configuration of both halves always has a projection.
    seeing = getattr(config, "vision_config", config)
    projects = any("WithProjection" in each for each in config.architectures or ())
    family = _family(name, config, seeing is not config or projects)
    if "projection_dim" in config.to_dict():
        seeing.projection_dim = config.projection_dim
    cls = getattr(transformers, family.cls) if family.cls else transformers.AutoModel
    return cls, seeing, family.given


def _family(name: str, config: Any, projects: bool) -> Family:
    """The family of a model's configuration; `projects` says whether a CLIP has its projection."""
    kind = config.model_type
    if kind == "timm_wrapper":
        raise EncoderError(f"--encoder {name}: it is a model of timm; --encoder timm:{name} works.")
    if kind not in FAMILIES:
        raise EncoderError(
            f"--encoder {name}: {kind} is not a network over pictures that erc knows; "
            f"{', '.join(FAMILIES)} are, and many others through timm:NAME."
        )
    if kind == "clip_vision_model" and not projects:
        return Family("CLIPVisionModel", "pooler_output", CLASS, "CLIP")
    return FAMILIES[kind]
