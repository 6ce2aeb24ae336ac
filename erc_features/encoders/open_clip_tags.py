"""What open_clip's weights need in addition to their architecture: preprocessing and activation.

open_clip keeps both with the tag of the weights, not with the architecture. Built without a tag,
ViT-B-16-SigLIP crops and scales as CLIP does, and OpenAI's weights run with GELU in place of the
QuickGELU that they were trained with.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from erc_features.encoders.base import PREPROCESSING
from erc_features.errors import EncoderError, listed

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
_PREPARED = ("mean", "std", "interpolation", "resize_mode")
_WHERE = ("url", "hf_hub")  # of a tag's weights; all else that it says is what they need


def known(name: str, architecture: str) -> str:
    """The architecture, if open_clip has it.

    Raises:
        EncoderError: it does not; names similar ones.
    """
    from difflib import get_close_matches

    from open_clip import list_models

    if architecture not in list_models():
        near = get_close_matches(architecture, list_models(), 5) or ["ViT-B-32", "ViT-L-14"]
        raise EncoderError(
            f"--encoder {name}: open_clip has no architecture {architecture!r}; it has, among "
            f"others, {', '.join(near)}."
        )
    return architecture


def of_tag(name: str, architecture: str, tag: str) -> Mapping[str, Any]:
    """What open_clip knows of a tag: where its weights are, and what they need.

    Raises:
        EncoderError: the architecture has no such tag; names the tags that it has.
    """
    from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

    found: Mapping[str, Any] = get_pretrained_cfg(architecture, tag)
    if not found:
        tags = ", ".join(list_pretrained_tags_by_model(architecture)) or "none"
        raise EncoderError(f"--encoder {name}: {architecture} has no tag {tag!r}; it has {tags}.")
    return found


def of_file(name: str, architecture: str, file: str) -> Mapping[str, Any]:
    """What weights in a file need, if all tags of their architecture need the same.

    Raises:
        EncoderError: the tags differ, so that the file's tag is asked for; or there is no tag.
    """
    from open_clip.pretrained import list_pretrained_tags_by_model

    tags = list_pretrained_tags_by_model(architecture)
    if not tags:
        raise EncoderError(
            f"--encoder {name}: open_clip has no weights of {architecture}, so nothing says how "
            f"these take pictures. Put them into a folder, as {WEIGHTS}, with an {CONFIG} that "
            "says so (model_cfg, and preprocess_cfg with mean, std, interpolation and "
            "resize_mode), and give the folder."
        )
    needs = {tag: in_words(of_tag(name, architecture, tag)) for tag in tags}
    if len(set(needs.values())) > 1:
        lines = [
            f"{', '.join(tag for tag in tags if needs[tag] == each)}: {each}"
            for each in dict.fromkeys(needs.values())
        ]
        raise EncoderError(
            f"--encoder {name}: weights of {architecture} differ in what they need, and the file "
            f"doesn't say which these are:{listed(lines)}\nName the tag that they are, or were "
            f"trained from: --encoder {architecture}/TAG={file}."
        )
    return of_tag(name, architecture, tags[0])


def must_say(name: str, config: Path, settings: Any) -> None:
    """Refuse a folder's or repository's configuration that lacks the preprocessing.

    One without `interpolation` and `resize_mode` was written by an open_clip before 2.24, which
    had only one of each: bicubic, and the shortest edge.

    Raises:
        EncoderError: it has no mean or standard deviation of the colours.
    """
    found = settings.get("preprocess_cfg") if isinstance(settings, dict) else None
    absent = [key for key in ("mean", "std") if not isinstance(found, dict) or not found.get(key)]
    if absent:
        raise EncoderError(
            f"--encoder {name}: {config} doesn't say how its weights take pictures; its "
            f"preprocess_cfg lacks {' and '.join(absent)}. Add what they were trained with, as in "
            '"preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": '
            '"bicubic", "resize_mode": "squash"}.'
        )


def recorded_of(architecture: str, needs: Mapping[str, Any]) -> Mapping[str, str]:
    """What a feature file records of weights from a file, whose tag decides their numbers.

    It is nothing if the architecture alone needs the same. Every older erc, which asked for no
    tag, prepared pictures so: the features of both are equal then, and otherwise are not mixed.
    """
    from open_clip import get_model_config
    from open_clip.transform import PreprocessCfg

    plain = PreprocessCfg()
    same = all(_equal(needs[key], getattr(plain, key)) for key in _PREPARED)
    config = get_model_config(architecture) or {}
    same_activation = bool(needs.get("quick_gelu")) <= bool(config.get("quick_gelu"))
    return {} if same and same_activation else {PREPROCESSING: in_words(needs)}


def _equal(one: Any, other: Any) -> bool:
    return one == other if isinstance(one, str) else tuple(one) == tuple(other)


def in_words(config: Mapping[str, Any]) -> str:
    """What weights need, as their tag says it.

    >>> in_words({"mean": (0.5,) * 3, "std": (0.25,) * 3, "interpolation": "bicubic",
    ...           "resize_mode": "squash", "quick_gelu": True})
    'squash, bicubic, mean 0.5 0.5 0.5, std 0.25 0.25 0.25, QuickGELU'
    """
    mean, std = (" ".join(f"{x:g}" for x in config[part]) for part in ("mean", "std"))
    more = sorted(set(config) - {*_PREPARED, *_WHERE})
    words = [config["resize_mode"], config["interpolation"], f"mean {mean}", f"std {std}"]
    words += ["QuickGELU"] if config.get("quick_gelu") else ["activation of the architecture"]
    words += [f"{key} {config[key]}" for key in more if key != "quick_gelu"]
    return ", ".join(words)
