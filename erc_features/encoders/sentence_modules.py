"""How an embedding model's authors turn its last layer into one embedding of a text, as its folder
says it for sentence-transformers (Reimers and Gurevych 2019, "Sentence-BERT").

`modules.json` names the steps: a pooling, and perhaps dense layers and a norm; older folders have
only `1_Pooling/config.json`. `config_sentence_transformers.json` names prompts.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from erc_features.encoders.base import to_device
from erc_features.encoders.token_pooling import own_tokens, pool_tokens
from erc_features.encoders.tokens import Tokens
from erc_features.encoders.weights import Place, first_line
from erc_features.errors import EncoderError

_MODULES, _POOLING, _CONFIG = "modules.json", "1_Pooling", "config.json"
_NAMED = "config_sentence_transformers.json"
_LIMITS = ("sentence_bert_config.json", "sentence_roberta_config.json",
           "sentence_distilbert_config.json", "sentence_mpnet_config.json")  # fmt: skip
# What each step of a pooling is called in a folder's config, in the order in which they are joined.
_STEPS = {
    "pooling_mode_cls_token": "cls", "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean", "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean", "pooling_mode_lasttoken": "lasttoken",
}  # fmt: skip
_ACTIVATIONS = {
    "Identity": lambda x: x, "Tanh": torch.tanh, "ReLU": torch.relu, "GELU": functional.gelu,
    "Sigmoid": torch.sigmoid, "SiLU": functional.silu,
}  # fmt: skip


@dataclass(frozen=True)
class Dense:
    """A dense layer behind the pooling: weight (E, D), bias (E,) or None."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    activation: str

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        bias = None if self.bias is None else self.bias.to(x.device)
        return _ACTIVATIONS[self.activation](functional.linear(x, self.weight.to(x.device), bias))


@dataclass(frozen=True)
class SentenceModules:
    """What follows the network.

    Attributes:
        poolings: the steps of the pooling, whose results are joined.
        pools_prompt: whether the prompt's tokens are pooled too.
        after: a :class:`Dense` layer, or None for the Euclidean norm, in order.
        revision: sha256 over all of it.
    """

    poolings: tuple[str, ...]
    pools_prompt: bool
    after: tuple[Dense | None, ...]
    revision: str

    def dim(self, width: int) -> int:
        """D of an embedding whose network has `width` dimensions."""
        sizes = [len(each.weight) for each in self.after if each]
        return sizes[-1] if sizes else width * len(self.poolings)

    def embed(
        self, states: torch.Tensor, tokens: Sequence[Tokens], rows: Sequence[int]
    ) -> torch.Tensor:
        """The last layer (B, T, D) -> (B, E) float32, in the terms of `pool_tokens`."""
        x = torch.cat([self._pooled(states, tokens, rows, how) for how in self.poolings], -1)
        for each in self.after:
            x = each(x) if each else functional.normalize(x, dim=-1)
        return x

    def _pooled(
        self, states: torch.Tensor, tokens: Sequence[Tokens], rows: Sequence[int], how: str
    ) -> torch.Tensor:
        if how == "cls" and not self.pools_prompt:  # the first token after the prompt
            places = torch.tensor([t.own[0] for t in tokens], device=states.device)
            return states[torch.tensor(rows, device=states.device), places].float()
        return _pooled(states, tokens, rows, how)


def _pooled(
    states: torch.Tensor, tokens: Sequence[Tokens], rows: Sequence[int], how: str
) -> torch.Tensor:
    if how in ("cls", "lasttoken", "max", "mean"):
        return pool_tokens([states], tokens, rows, "last" if how == "lasttoken" else how)[0]
    mask = to_device(own_tokens(tokens, states.shape[1]), str(states.device)).float()  # (B, T)
    if how == "mean_sqrt_len_tokens":
        scale = mask.sum(1, keepdim=True).sqrt()
    else:  # later tokens of a decoder have read more (Muennighoff 2022, SGPT)
        mask *= torch.arange(1, mask.shape[1] + 1, device=mask.device)
        scale = mask.sum(1, keepdim=True)
    return (states.float() * mask[..., None]).sum(1) / scale


def read_modules(name: str, place: Place, width: int) -> SentenceModules:
    """The steps behind a network of `width` dimensions.

    Raises:
        EncoderError: the folder names none, one that is unknown, or one whose weights don't fit.
    """
    try:
        steps = _json(place, _MODULES)
        if steps is None:
            steps = [{"type": "Pooling", "path": _POOLING}] if _json(
                place, f"{_POOLING}/{_CONFIG}") else []  # fmt: skip
        kinds = [_kind(str(step["type"])) for step in steps]
        kept = [(kind, str(step["path"])) for kind, step in zip(kinds, steps, strict=True)
                if kind not in ("Transformer", "Dropout")]  # fmt: skip
        if not kept:
            raise EncoderError(
                f"--encoder {name} --pool model: it has neither {_MODULES} nor {_POOLING}/"
                f"{_CONFIG}, so it doesn't say how it pools; --pool mean, cls or last may be right."
            )
        known = {"Pooling", "Dense", "Normalize"}
        unknown = [kind for kind, _ in kept if kind not in known]
        if unknown or kinds.count("Pooling") != 1 or kept[0][0] != "Pooling":
            raise EncoderError(
                f"--encoder {name} --pool model: {_MODULES} has {', '.join(unknown or kinds)}; a "
                "pooling, then dense layers and a norm, are known. --pool mean works."
            )
        config = _needed(place, kept[0][1])
        after = [_dense(place, path) if kind == "Dense" else _norm(place, path)
                 for kind, path in kept[1:]]  # fmt: skip
        poolings = _poolings(config)
        return _checked(
            SentenceModules(poolings, bool(config.get("include_prompt", True)), tuple(after),
                            _revision(poolings, config, after)), width,
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, EncoderError):
            raise
        raise EncoderError(
            f"--encoder {name} --pool model: {_MODULES} or a folder that it names cannot be read "
            f"({error!r}); --pool mean works."
        ) from error


def _kind(type_: str) -> str:
    """`Pooling` of sentence-transformers' own; the whole name of a class that came with the model,
    whose code is not run whatever it is called."""
    ours = type_.partition(".")[0] == "sentence_transformers"
    return type_.rpartition(".")[2] if ours else type_


def _must_be_of_the_embedding(config: Mapping[str, Any], path: str) -> None:
    """A step may be of the tokens instead."""
    for key in ("module_input_name", "module_output_name"):
        if config.get(key) not in (None, "sentence_embedding"):
            raise ValueError(f"{path} has {key} {config[key]!r}; sentence_embedding works")


def _norm(place: Place, path: str) -> None:
    _must_be_of_the_embedding(_json(place, f"{path}/{_CONFIG}") or {}, path)


def _poolings(config: Mapping[str, Any]) -> tuple[str, ...]:
    found = config.get("pooling_mode")
    if found is None:
        found = [how for key, how in _STEPS.items() if config.get(key)] or "mean"
    poolings = (found,) if isinstance(found, str) else tuple(found)
    if unknown := [how for how in poolings if how not in _STEPS.values()]:
        raise ValueError(f"pooling {unknown[0]!r} is not known")
    return poolings


def _dense(place: Place, path: str) -> Dense:
    from safetensors.torch import load_file

    config = _needed(place, path)
    _must_be_of_the_embedding(config, path)
    if config.get("use_residual"):
        raise ValueError(f"{path} has use_residual, which is not known")
    # Without the entry it is tanh there.
    activation = str(config.get("activation_function", "torch.nn.Tanh"))
    package, _, plain = activation.rpartition(".")
    if plain not in _ACTIVATIONS or not package.startswith("torch"):
        raise ValueError(f"activation {activation} is not known")
    file = _file(place, f"{path}/model.safetensors")
    if file is None:
        raise ValueError(f"{path} has no model.safetensors")
    state = {key.rpartition(".")[2]: value.float() for key, value in load_file(file).items()}
    return Dense(state["weight"], state.get("bias"), plain)


def _checked(modules: SentenceModules, width: int) -> SentenceModules:
    wide = width * len(modules.poolings)
    for dense in filter(None, modules.after):
        if dense.weight.shape[1] != wide:
            raise ValueError(f"a dense layer takes {dense.weight.shape[1]} numbers, not {wide}")
        wide = len(dense.weight)
    return modules


def _revision(
    poolings: tuple[str, ...], config: Mapping[str, Any], after: Sequence[Dense | None]
) -> str:
    digest = hashlib.sha256(repr((poolings, bool(config.get("include_prompt", True)))).encode())
    for each in after:
        digest.update(each.activation.encode() if each else b"norm")
        for tensor in (each.weight, each.bias) if each else ():
            if tensor is not None:
                digest.update(repr(tuple(tensor.shape)).encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Instructions:
    """What a folder says of the texts that its model is given.

    Attributes:
        prompts: by name ("query", "document").
        default: the name of the one that is used if none is asked for, or None.
        longest: the number of tokens at which its authors cut texts, or None.
        odd: what it asks for that is not done here; empty if nothing.
    """

    prompts: Mapping[str, str]
    default: str | None
    longest: int | None
    odd: str = ""


NOTHING = Instructions({}, None, None)


def read_instructions(place: Place) -> Instructions:
    """What the folder says; nothing, for a model that is not of sentence-transformers."""
    try:
        named = dict(_json(place, _NAMED) or {})
        told = dict(next(filter(None, (_json(place, file) for file in _LIMITS)), {}))
        prompts = {str(key): str(words) for key, words in (named.get("prompts") or {}).items()}
        longest = told.get("max_seq_length")
        return Instructions(
            prompts, named.get("default_prompt_name"), None if longest is None else int(longest),
            _odd(named, told),
        )  # fmt: skip
    except (OSError, ValueError, TypeError, AttributeError) as error:
        if isinstance(error, EncoderError):
            raise
        raise EncoderError(
            f"--encoder {place.where}: its {_NAMED} or {_LIMITS[0]} cannot be read ({error!r})."
        ) from error


def _odd(named: Mapping[str, Any], told: Mapping[str, Any]) -> str:
    """What sentence-transformers would do beyond a plain forward of the text."""
    if told.get("do_lower_case"):
        return f"{_LIMITS[0]} makes texts lower case before its tokenizer"
    if named.get("truncate_dim"):
        return f"{_NAMED} has truncate_dim {named['truncate_dim']}"
    if told.get("transformer_task") not in (None, "feature-extraction"):
        return f"{_LIMITS[0]} has transformer_task {told['transformer_task']!r}"
    if any((told.get("processing_kwargs") or {}).values()):
        return f"{_LIMITS[0]} has processing_kwargs"
    plain = {"method": "forward", "method_output_name": "last_hidden_state"}
    text = (told.get("modality_config") or {"text": plain}).get("text") or {}
    if any(text.get(key) != value for key, value in plain.items()):
        return f"{_LIMITS[0]} has a modality_config of text other than last_hidden_state"
    return ""


def _needed(place: Place, path: str) -> Mapping[str, Any]:
    """A step's config.json, without which its way would be guessed."""
    if not (found := _json(place, f"{path}/{_CONFIG}")):
        raise ValueError(f"{path} has no {_CONFIG}")
    return found


def _json(place: Place, file: str) -> Any:
    """The content of a file, or None if there is none."""
    found = _file(place, file)
    return None if found is None else json.loads(found.read_text(encoding="utf-8"))


def _file(place: Place, file: str) -> Path | None:
    """The file in a folder, the cache or the hub; None if there is no such file.

    Raises:
        EncoderError: it is not in the cache, and the hub, which may have it, can't be reached.
    """
    if Path(place.where).is_dir():
        found = Path(place.where) / file
        return found if found.is_file() else None
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    cached = try_to_load_from_cache(place.where, file)
    if cached is not None:
        return Path(cached) if isinstance(cached, str) else None  # known not to exist
    try:
        return Path(hf_hub_download(place.where, file))
    except LocalEntryNotFoundError as error:  # which is an EntryNotFoundError too
        raise EncoderError(
            f"--encoder {place.where}: whether it has {file} is not in the cache, and the hub "
            f"can't be reached ({first_line(error)}). Give a local folder with all its files."
        ) from error
    except EntryNotFoundError:
        return None
