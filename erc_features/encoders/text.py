"""Text encoders of the BERT family through transformers (Devlin et al. 2019).

Every hidden layer, pooled over the tokens that are not padding.
"""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import torch

from erc_features.encoders.base import (
    Settings,
    pick_device,
    pick_layers,
    pool,
    pooled_dim,
    weights_revision,
)
from erc_features.errors import EncoderError
from erc_features.utterance import Modality

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class TextEncoder:
    """A frozen transformer over texts, as an :class:`~erc_features.encoders.base.Encoder`."""

    name: str
    revision: str
    picked: tuple[int, ...]
    dim: int
    pooling: str
    device: str
    longest: int
    model: Any
    tokenizer: Any
    modality: Modality = Modality.TEXT
    cap: float = 64 * 512.0  # tokens in a batch, padding included

    @property
    def layers(self) -> int:
        return len(self.picked)

    def cost(self, size: float) -> float:
        """Tokens, at about four characters each, and the two special ones."""
        return min(size / 4 + 2, self.longest)

    @torch.inference_mode()
    def encode(self, items: Sequence[str]) -> np.ndarray:
        """Texts -> (B, L, D) float32. Longer texts than the model takes are cut at their end."""
        tokens = self.tokenizer(
            list(items),
            padding=True,
            truncation=True,
            max_length=self.longest,
            return_tensors="pt",
        ).to(self.device)
        states = self.model(**tokens, output_hidden_states=True).hidden_states
        mask = tokens["attention_mask"].bool()  # (B, T)
        pooled = [pool(states[i].float(), mask, self.pooling) for i in self.picked]
        return torch.stack(pooled, 1).cpu().numpy()  # (B, L, D)


def load_text(name: str, modality: Modality, settings: Settings) -> TextEncoder:
    """Load a Hugging Face id or a local folder.

    No code of a checkpoint is ever run, and pickled weights are not read: safetensors only.

    Raises:
        EncoderError: it can't be reached or isn't such a model; says what would work.
    """
    device = pick_device(settings.device)
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    where, local = _locate(name)
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(where, local_files_only=local)
        model: Any = AutoModel.from_pretrained(
            where,
            local_files_only=local,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=_DTYPES[settings.precision],
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        raise EncoderError(
            f"--encoder {name}: not a text model that can be loaded "
            f"({str(error).strip().splitlines()[0]}). It needs config.json, a tokenizer and "
            "model.safetensors; weights as a pickle (.bin) are not read."
        ) from error
    revision = weights_revision(model.state_dict())
    model = model.eval().to(device)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    picked = pick_layers(settings.layers, model.config.num_hidden_layers + 1)
    limits = (tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", 512))
    return TextEncoder(
        name=name,
        revision=revision,
        picked=tuple(picked),
        dim=pooled_dim(model.config.hidden_size, settings.pool),
        pooling=settings.pool,
        device=device,
        longest=min(512, *limits),
        model=model,
        tokenizer=tokenizer,
    )


def _locate(name: str) -> tuple[str, bool]:
    """(path or id, whether to stay offline): a folder, the local cache, then the hub.

    Raises:
        EncoderError: at once where the hub can't be reached; transformers would retry for 30 s.
    """
    if Path(name).is_dir():
        return name, True
    from huggingface_hub import constants, try_to_load_from_cache

    if isinstance(try_to_load_from_cache(name, "config.json"), str):
        return name, True
    address = urlsplit(constants.ENDPOINT)
    try:
        if constants.HF_HUB_OFFLINE:
            raise OSError("HF_HUB_OFFLINE is set")
        port = address.port or (443 if address.scheme == "https" else 80)
        socket.create_connection((address.hostname, port), timeout=5).close()
    except OSError as error:
        raise EncoderError(
            f"--encoder {name}: not a folder, not in the cache ({constants.HF_HUB_CACHE}), and the "
            f"hub at {address.hostname} can't be reached ({error}). Give a local folder, set "
            "HF_HOME to a cache that has it, or use --encoder baseline."
        ) from error
    return name, False
