"""Preprocessing of pictures from the preprocessor_config.json of a model of transformers.

The reference is transformers' image processor with `backend="pil"`: Pillow's resize is what the
weights were trained on, and has the same bits everywhere. The library's default since version 5,
torchvision's resize of tensors, puts up to one number in 200 a level of 255 beside it. DINOv3
alone has no other: its pictures are scaled first and resized in floating point, and so they are
here.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from erc_features.encoders.pixels import Preprocess
from erc_features.encoders.weights import Place, first_line
from erc_features.errors import EncoderError

FILE = "preprocessor_config.json"
_FILTERS = {1: "lanczos", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers
# What says nothing about pixels, and what is read below.
_SILENT = ("image_processor_type", "feature_extractor_type", "processor_class", "do_convert_rgb",
           "data_format", "input_data_format", "device", "return_tensors",
           "disable_grouping", "do_reduce_labels", "reduce_labels", "auto_map",
           "_valid_processor_keys", "use_fast", "backend", "image_seq_length")  # fmt: skip
_READ = ("size", "resample", "crop_size", "crop_pct", "do_resize", "do_center_crop", "do_rescale",
         "rescale_factor", "do_normalize", "image_mean", "image_std",
         "default_to_square")  # fmt: skip


@dataclass(frozen=True)
class _Kind:
    """What a processor of transformers does where its file says nothing, from its class.

    Attributes:
        square: whether a `size` of one number is both edges; otherwise it is the shortest.
        crops: whether it crops.
        resample: its filter.
    """

    square: bool
    crops: bool
    resample: int = 3


_KINDS = {
    "CLIP": _Kind(square=False, crops=True),
    "ChineseCLIP": _Kind(square=False, crops=True),
    "Bit": _Kind(square=False, crops=True),
    "Siglip": _Kind(square=False, crops=False),
    "ViT": _Kind(square=True, crops=False, resample=2),
    "DeiT": _Kind(square=True, crops=True),
    "Beit": _Kind(square=True, crops=False),
    "Pvt": _Kind(square=True, crops=False),
    "Blip": _Kind(square=True, crops=False),
    "ConvNext": _Kind(square=False, crops=False),
    "DINOv3ViT": _Kind(square=True, crops=False, resample=2),
}


def read_processor(name: str, place: Place) -> Mapping[str, Any]:
    """The preprocessor_config.json of a checkpoint, or what its processor_config.json has of it.

    Raises:
        EncoderError: there is none, or it is not JSON.
    """
    from transformers import BaseImageProcessor

    try:
        found, _ = BaseImageProcessor.get_image_processor_dict(
            place.where, local_files_only=place.local
        )
    except (OSError, ValueError, TypeError) as error:
        raise EncoderError(
            f"--encoder {name}: {FILE} does not say how it takes pictures ({first_line(error)})."
        ) from error
    return found


def kind_of(said: Mapping[str, Any], family: str) -> str:
    """`CLIP` of `CLIPImageProcessor`, `CLIPImageProcessorFast` or `CLIPFeatureExtractor`.

    Args:
        family: the kind that transformers takes for a model whose file doesn't name one.

    >>> kind_of({"image_processor_type": "CLIPImageProcessorFast"}, "ViT"), kind_of({}, "ViT")
    ('CLIP', 'ViT')
    """
    stated = said.get("image_processor_type") or said.get("feature_extractor_type")
    if not stated:
        return family
    plain = str(stated).removesuffix("Fast").removesuffix("Pil")
    return plain.removesuffix("ImageProcessor").removesuffix("FeatureExtractor")


def of_processor(name: str, said: Mapping[str, Any], family: str) -> Preprocess:
    """What a preprocessor_config.json asks for.

    Raises:
        EncoderError: it lacks size, mean or standard deviation, which would be guessed; or it
            asks for something that is not implemented here.
    """
    which = kind_of(said, family)
    if which not in _KINDS:
        raise _refuse(name, f"is of {which}ImageProcessor; those of {', '.join(_KINDS)} are known")
    kind = _KINDS[which]
    does = {"do_resize": True, "do_center_crop": kind.crops, "do_rescale": True,
            "do_normalize": True}  # fmt: skip
    does |= {key: bool(said[key]) for key in does if said.get(key) is not None}
    needed = ["size", *(["image_mean", "image_std"] if does["do_normalize"] else [])]
    if absent := [key for key in needed if said.get(key) is None]:
        raise _refuse(
            name, f"lacks {' and '.join(absent)}. Add what the weights were trained with, as in "
            '"size": {"height": 224, "width": 224}, "image_mean": [0.5, 0.5, 0.5], "image_std": '
            "[0.5, 0.5, 0.5]",
        )  # fmt: skip
    unknown = sorted(
        key for key in set(said) - {*_SILENT, *_READ} if said[key] not in (None, False)
    )
    if said.get("crop_pct") is not None and which != "ConvNext":
        unknown.append("crop_pct")
    if not does["do_resize"]:
        unknown.append("do_resize false")
    if unknown:
        raise _refuse(name, f"asks for {', '.join(unknown)}, which is not implemented")
    if said.get("default_to_square") is not None:
        kind = replace(kind, square=bool(said["default_to_square"]))
    filter_ = _FILTERS.get(kind.resample if said.get("resample") is None else said["resample"])
    if filter_ is None:
        raise _refuse(name, f"has resample {said['resample']}; 1, 2 and 3 work")
    mode, resized = _size(name, said["size"], kind)
    size = resized
    if which == "ConvNext":
        if mode != "shortest" or does["do_center_crop"]:
            raise _refuse(name, f"has size {said['size']}; a shortest_edge and no crop work")
        if resized[0] >= 384:
            mode = "squash"
        else:
            share = 224 / 256 if said.get("crop_pct") is None else said["crop_pct"]
            resized = (int(size[0] / share),) * 2
    elif does["do_center_crop"]:
        size = _pair(name, "crop_size", said.get("crop_size") or 224, ("height", "width"))
    elif mode == "shortest":
        raise _refuse(name, f"has size {said['size']} and no crop, so pictures differ in size")
    if any(cut > whole for cut, whole in zip(size, resized, strict=True)):
        raise _refuse(name, f"crops {size} from {resized}, beyond the edge of the picture")
    exact = which != "DINOv3ViT"
    if not exact and (mode != "squash" or size != resized or filter_ == "lanczos"):
        raise _refuse(name, "of DINOv3ViT needs height and width, resample 2 or 3, and no crop")
    factor = said.get("rescale_factor")
    return Preprocess(
        size=size,
        mean=_colours(name, said, "image_mean") if does["do_normalize"] else (0.0,) * 3,
        std=_colours(name, said, "image_std") if does["do_normalize"] else (1.0,) * 3,
        mode=mode,
        interpolation=filter_,
        resized=resized,
        floors=True,
        scale=(1 / 255 if factor is None else float(factor)) if does["do_rescale"] else 1.0,
        exact=exact,
    )


def _size(name: str, said: Any, kind: _Kind) -> tuple[str, tuple[int, int]]:
    """`squash` or `shortest`, and what is resized to."""
    if isinstance(said, Mapping) and set(said) == {"shortest_edge"}:
        return "shortest", (said["shortest_edge"],) * 2
    squash = kind.square or not isinstance(said, int)
    return "squash" if squash else "shortest", _pair(name, "size", said, ("height", "width"))


def _pair(name: str, what: str, said: Any, keys: tuple[str, str]) -> tuple[int, int]:
    found = said
    if isinstance(said, Mapping):
        found = [said[key] for key in keys] if set(said) == set(keys) else None
    if isinstance(found, int | float) and not isinstance(found, bool):
        found = [found, found]
    if not isinstance(found, list | tuple) or len(found) != 2 or not all(
        (isinstance(edge, int) and edge > 0) or (isinstance(edge, float) and edge > 0
        and math.floor(edge) == edge) for edge in found
    ):  # fmt: skip
        raise _refuse(name, f"has {what} {said}; height and width, or shortest_edge, work")
    return int(found[0]), int(found[1])


def _colours(name: str, said: Mapping[str, Any], key: str) -> tuple[float, ...]:
    found = said[key]
    if not isinstance(found, list | tuple) or len(found) != 3:
        raise _refuse(name, f"has {key} {found}; one number for each of three colours works")
    return tuple(float(x) for x in found)


def _refuse(name: str, why: str) -> EncoderError:
    return EncoderError(f"--encoder {name}: {FILE} {why}.")
