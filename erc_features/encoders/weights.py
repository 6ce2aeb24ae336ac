"""Finding and loading weights: safetensors only, and no code of a checkpoint is run.

`random:NAME` builds an architecture at its real size with random weights from a fixed seed:
for benchmarks, and for machines without a network.
"""

import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch

from erc_features.encoders.base import weights_revision
from erc_features.errors import EncoderError
from erc_features.utterance import Modality

RANDOM = "random:"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
CONFIG = "config.json"
_SAFE = ("model.safetensors", "model.safetensors.index.json")
_SEED = 0
# Architectures that `random:` knows, by the class of their configuration: its defaults are the
# published model's sizes.
_WHISPER_BASE = {"d_model": 512, "encoder_layers": 6, "encoder_attention_heads": 8,
                 "encoder_ffn_dim": 2048, "decoder_layers": 1}  # fmt: skip
_ARCHITECTURES = {
    Modality.TEXT: {
        "bert-base-uncased": ("BertConfig", {}),
        "gpt2": ("GPT2Config", {}),
    },
    Modality.VISUAL: {
        "clip-vit-base-patch32": (
            "CLIPVisionConfig",
            {"architectures": ["CLIPVisionModelWithProjection"]},
        ),
        "siglip-base-patch16-224": ("SiglipVisionConfig", {}),
        "vit-base-patch16-224": ("ViTConfig", {}),
        "dinov2-base": ("Dinov2Config", {"image_size": 518, "patch_size": 14}),
    },
    Modality.AUDIO: {
        "wav2vec2-base": ("Wav2Vec2Config", {}),
        "hubert-base-ls960": ("HubertConfig", {}),
        "wavlm-base": ("WavLMConfig", {}),
        "whisper-base": ("WhisperConfig", _WHISPER_BASE),
        "wav2vec2-base-layer-norm": (
            "Wav2Vec2Config",
            {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True},
        ),
    },
}
# Weights that a published checkpoint may lack because no hidden state depends on them: the
# pooler behind the last layer, and what training puts in place of masked frames.
_UNUSED = ("pooler.", "masked_spec_embed")
# Families of which one half encodes: the other is not kept, hashed or asked for.
_HALF = {"whisper": "encoder"}
# From a model's configuration: the class to load, its own configuration, what it is made with.
Pick = Callable[[Any], tuple[Any, Any, dict[str, Any]]]


@dataclass(frozen=True)
class Place:
    """Where a checkpoint is.

    Attributes:
        where: a folder, or an id of the hub.
        local: it is a folder or in the cache, so that the hub need not be asked.
        weights: the hub's revision that holds the weights as safetensors. It is not "main" for
            the many checkpoints whose safetensors are in a pull request of the hub's own
            converter, where transformers finds them when it is online.
    """

    where: str
    local: bool
    weights: str = "main"


def locate(name: str, config: str = CONFIG, weights: tuple[str, ...] = _SAFE) -> Place:
    """Find a checkpoint: a folder, then the local cache, then the hub.

    Raises:
        EncoderError: the hub cannot be reached; at once, where transformers would retry for 30 s.
    """
    if Path(name).is_dir():
        return Place(name, local=True)
    from huggingface_hub import constants, try_to_load_from_cache
    from huggingface_hub.file_download import repo_folder_name

    has_config = isinstance(try_to_load_from_cache(name, config), str)
    folder = repo_folder_name(repo_id=name, repo_type="model")
    refs = Path(constants.HF_HUB_CACHE) / folder / "refs"
    pulls = sorted(path.relative_to(refs).as_posix() for path in refs.glob("refs/pr/*"))
    for revision in ("main", *pulls) if has_config else ():
        found = (try_to_load_from_cache(name, file, revision=revision) for file in weights)
        if any(isinstance(path, str) for path in found):
            return Place(name, local=True, weights=revision)
    address = urlsplit(constants.ENDPOINT)
    try:
        if constants.HF_HUB_OFFLINE:
            raise OSError("HF_HUB_OFFLINE is set")
        port = address.port or (443 if address.scheme == "https" else 80)
        socket.create_connection((address.hostname, port), timeout=5).close()
    except OSError as error:
        cached = "without safetensors in" if has_config else "not in"
        raise EncoderError(
            f"--encoder {name}: not a folder, {cached} the cache ({constants.HF_HUB_CACHE}), and "
            f"the hub at {address.hostname} can't be reached ({error}). Give a local folder, set "
            "HF_HOME to a cache that has it, or use --encoder baseline."
        ) from error
    return Place(name, local=False)


def has_file(name: str, file: str) -> bool:
    """Whether a repository of the hub has a file: the cache decides, if the repository is in it.

    Raises:
        EncoderError: it is not, and the hub cannot be reached.
    """
    from huggingface_hub import file_exists, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(try_to_load_from_cache(name, file), str):
        return True
    if locate(name).local:
        return False
    try:
        return file_exists(name, file)
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise EncoderError(
            f"--encoder {name}: the hub does not answer ({first_line(error)})."
        ) from error


def fetch(name: str, repository: str, file: str, forms: str) -> Path:
    """A file of the hub, from the cache if it is there.

    Args:
        forms: the names that work, for the error.

    Raises:
        EncoderError: the hub cannot be reached, or has no such file.
    """
    place = locate(repository, config=file, weights=(file,))
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(hf_hub_download(place.where, file, local_files_only=place.local))
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise EncoderError(
            f"--encoder {name}: no {file} in {repository} ({first_line(error)}). Weights as "
            f"a pickle (.bin, .pt) are not read; {forms} work."
        ) from error


def is_random(name: str) -> bool:
    return name.startswith(RANDOM)


def architectures(modality: Modality) -> list[str]:
    """The names, `random:` included, whose architectures are those of transformers."""
    return [f"{RANDOM}{kind}" for kind in _ARCHITECTURES[modality]]


def _whole(config: Any) -> tuple[Any, Any, dict[str, Any]]:
    from transformers import AutoModel

    return AutoModel, config, {}


def load_transformer(
    name: str, modality: Modality, pick: Pick = _whole, unused: tuple[str, ...] = _UNUSED
) -> tuple[Any, str, Place | None]:
    """A frozen model of transformers on the CPU, as stored; its revision; where it was found.

    Args:
        pick: what to load of a checkpoint; without it, what AutoModel does.
        unused: how the names of weights begin that a checkpoint may lack.

    Raises:
        EncoderError: it cannot be reached, is no such model, or lacks weights of a layer.
    """
    import transformers
    from transformers import AutoConfig
    from transformers.utils import logging as hub_logging

    hub_logging.set_verbosity_error()
    hub_logging.disable_progress_bar()
    if is_random(name):
        with random_weights():
            known = _ARCHITECTURES[modality]
            kind = name.removeprefix(RANDOM).split("/")[-1]
            if kind not in known:
                raise EncoderError(
                    f"--encoder {name}: random weights of {', '.join(sorted(known))} can be made."
                )
            made, sizes = known[kind]
            cls, config, given = pick(getattr(transformers, made)(**sizes))
            build = cls.from_config if cls is transformers.AutoModel else cls
            model = _half(build(config, **given))
        return model.eval(), weights_revision(model.state_dict()), None
    place = locate(name)
    try:
        config = AutoConfig.from_pretrained(
            place.where, local_files_only=place.local, trust_remote_code=False
        )
        cls, of_model, given = pick(config)
        model, found = cls.from_pretrained(
            place.where,
            config=of_model,
            revision=place.weights,
            local_files_only=place.local,
            use_safetensors=True,
            trust_remote_code=False,
            dtype="auto",
            output_loading_info=True,
            **given,
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        needs = "a tokenizer" if modality == Modality.TEXT else "preprocessor_config.json"
        raise EncoderError(
            f"--encoder {name}: not a model of {modality} that can be loaded "
            f"({first_line(error)}). It needs config.json, {needs} and model.safetensors; weights "
            "as a pickle (.bin) are not read: save_pretrained of transformers writes safetensors."
        ) from error
    half = f"{_HALF[config.model_type]}." if config.model_type in _HALF else ""
    model = _half(model)
    missing = {key.removeprefix(half) for key in found["missing_keys"] if key.startswith(half)}
    needed = sorted(key for key in missing if not key.startswith(unused))
    if needed:
        raise EncoderError(
            f"--encoder {name}: its checkpoint lacks {len(needed)} weights that the model has "
            f"({', '.join(needed[:3])}, …), which would be random. Is config.json that of these "
            "weights?"
        )
    state = {key: value for key, value in model.state_dict().items() if key not in missing}
    return model.eval(), weights_revision(state), place


def _half(model: Any) -> Any:
    half = _HALF.get(model.config.model_type)
    return getattr(model, half) if half else model


@contextmanager
def random_weights() -> Iterator[None]:
    """Draw weights from a fixed seed, without changing anyone else's random numbers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        yield


def place_model(model: Any, precision: str, device: str) -> Any:
    """The model on the device, its weights in that precision.

    Only the checkpoint's weights are cast: bfloat16 would ruin a buffer that the model computed
    for itself, such as the frequencies of rotary positions.
    """
    # By default cuDNN computes fp32 convolutions in TF32, with the mantissa of fp16.
    torch.backends.cudnn.allow_tf32 = False
    dtype = DTYPES[precision]
    for tensor in model.state_dict(keep_vars=True).values():
        if tensor.is_floating_point():
            tensor.data = tensor.data.to(dtype)
    return model.requires_grad_(False).eval().to(device)


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress the warnings of libraries that log to the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
