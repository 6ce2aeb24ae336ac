"""Where weights are, and how they are loaded: safetensors only, no code of a checkpoint is run.

`random:NAME` builds an architecture at its real size with random weights from a fixed seed:
for benchmarks, and for machines without a network.
"""

import logging
import socket
from collections.abc import Iterator
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
_ARCHITECTURES = {
    Modality.TEXT: {
        "bert-base-uncased": ("BertConfig", {}),
        "gpt2": ("GPT2Config", {}),
    },
    Modality.AUDIO: {
        "wav2vec2-base": ("Wav2Vec2Config", {}),
        "hubert-base-ls960": ("HubertConfig", {}),
        "wavlm-base": ("WavLMConfig", {}),
        "wav2vec2-base-layer-norm": (
            "Wav2Vec2Config",
            {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True},
        ),
    },
}
# Weights that a published checkpoint may lack because no hidden state depends on them: the
# pooler behind the last layer, and what training puts in place of masked frames.
_UNUSED = ("pooler.", "masked_spec_embed")


@dataclass(frozen=True)
class Place:
    """Where a checkpoint is.

    Attributes:
        where: a folder, or an id of the hub.
        local: nothing is asked of the hub: it is a folder, or in the cache.
        weights: the hub's revision that holds the weights as safetensors. Not "main" for the
            many checkpoints whose safetensors stand in a pull request of the hub's own
            converter, where transformers finds them when it is online.
    """

    where: str
    local: bool
    weights: str = "main"


def locate(name: str, config: str = CONFIG, weights: tuple[str, ...] = _SAFE) -> Place:
    """Find a checkpoint: a folder, then the local cache, then the hub.

    Raises:
        EncoderError: at once where the hub can't be reached; transformers would retry for 30 s.
    """
    if Path(name).is_dir():
        return Place(name, local=True)
    from huggingface_hub import constants, try_to_load_from_cache

    has_config = isinstance(try_to_load_from_cache(name, config), str)
    if has_config:
        for revision in _cached_revisions(name):
            if any(
                isinstance(try_to_load_from_cache(name, file, revision=revision), str)
                for file in weights
            ):
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


def _cached_revisions(name: str) -> list[str]:
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    refs = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=name, repo_type="model") / "refs"
    pulls = sorted(path.relative_to(refs).as_posix() for path in refs.glob("refs/pr/*"))
    return ["main", *pulls]


def is_random(name: str) -> bool:
    return name.startswith(RANDOM)


def load_transformer(name: str, modality: Modality) -> tuple[Any, str, Place | None]:
    """A frozen model of transformers on the CPU, as stored; its revision; where it was found.

    Raises:
        EncoderError: it can't be reached, isn't such a model, or lacks weights of a layer.
    """
    from transformers import AutoConfig, AutoModel
    from transformers.utils import logging as hub_logging

    hub_logging.set_verbosity_error()
    hub_logging.disable_progress_bar()
    if is_random(name):
        with random_weights():
            model = AutoModel.from_config(_random_config(name, modality))
        return model.eval(), weights_revision(model.state_dict()), None
    place = locate(name)
    try:
        config = AutoConfig.from_pretrained(
            place.where, local_files_only=place.local, trust_remote_code=False
        )
        model, found = AutoModel.from_pretrained(
            place.where,
            config=config,
            revision=place.weights,
            local_files_only=place.local,
            use_safetensors=True,
            trust_remote_code=False,
            dtype="auto",
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        needs = "a tokenizer" if modality == Modality.TEXT else "preprocessor_config.json"
        raise EncoderError(
            f"--encoder {name}: not {_article(modality)} model that can be loaded "
            f"({first_line(error)}). It needs config.json, {needs} and "
            "model.safetensors; weights as a pickle (.bin) are not read: save_pretrained of "
            "transformers writes them as safetensors."
        ) from error
    missing = set(found["missing_keys"])
    needed = sorted(key for key in missing if not key.startswith(_UNUSED))
    if needed:
        raise EncoderError(
            f"--encoder {name}: its checkpoint lacks {len(needed)} weights that the model has "
            f"({', '.join(needed[:3])}, …), which would be random. Is config.json that of these "
            "weights?"
        )
    state = {key: value for key, value in model.state_dict().items() if key not in missing}
    return model.eval(), weights_revision(state), place


@contextmanager
def random_weights() -> Iterator[None]:
    """Inside, weights are drawn from a fixed seed; nobody else's random numbers change."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        yield


def _random_config(name: str, modality: Modality) -> Any:
    import transformers

    known = _ARCHITECTURES[modality]
    kind = name.removeprefix(RANDOM).split("/")[-1]
    if kind not in known:
        raise EncoderError(
            f"--encoder {name}: random weights of {', '.join(sorted(known))} can be made."
        )
    cls, sizes = known[kind]
    return getattr(transformers, cls)(**sizes)


def place_model(model: Any, precision: str, device: str) -> Any:
    """The model on the device, its weights in that precision.

    Only what a checkpoint holds is cast: a buffer that the model computed for itself, such as
    the frequencies of rotary positions, is ruined by bfloat16.
    """
    # By default cuDNN computes fp32 convolutions in TF32, with fp16's mantissa: fp32 is fp32 here.
    torch.backends.cudnn.allow_tf32 = False
    dtype = DTYPES[precision]
    for tensor in model.state_dict(keep_vars=True).values():
        if tensor.is_floating_point():
            tensor.data = tensor.data.to(dtype)
    return model.requires_grad_(False).eval().to(device)


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings of libraries that log to the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _article(modality: Modality) -> str:
    return f"an {modality}" if modality == Modality.AUDIO else f"a {modality}"
