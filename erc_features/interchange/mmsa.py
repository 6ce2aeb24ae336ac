"""The pickles of MMSA and MMSA-FET (Mao et al. 2022, "M-SENA"): a dictionary for each of train,
valid and test, of `id`, `raw_text`, and sequences `text`, `audio`, `vision` (n, T, D).

A sequence is pooled over its true length, by its mean or as `--frames` says. The length is in
`audio_lengths` or `vision_lengths`, for text in the mask in `text_bert` (n, 3, T); without them
the frames that are not all zeros are pooled, because MMSA pads with zeros.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from erc_features.errors import ErcError, choose
from erc_features.interchange.base import Asked, Found
from erc_features.interchange.frames import pool, true_frames
from erc_features.interchange.pickle_values import Budget, numbers, unwrap
from erc_features.interchange.row_keys import SPLITS, Named
from erc_features.store import Status
from erc_features.utterance import Modality

FIELDS = {Modality.TEXT: "text", Modality.AUDIO: "audio", Modality.VISUAL: "vision"}


def is_mmsa(value: Any) -> bool:
    """Whether it is a dictionary of splits, each with `id`."""
    return isinstance(value, dict) and bool(value) and all(
        name in SPLITS and isinstance(part, dict) and "id" in part for name, part in value.items()
    )  # fmt: skip


def read_mmsa(asked: Asked, value: Mapping[str, Mapping[str, Any]], budget: Budget) -> Found:
    """The features of every split.

    Raises:
        ErcError: there is no such field, an id is no utterance, or lengths do not agree.
    """
    asked.must_not_name("its ids, in train, valid and test, name its rows")
    if asked.layers:
        raise ErcError(f"{asked.source}: MMSA's sequences are frames; leave out --layers.")
    keys: list[str] = []
    rows: list[np.ndarray] = []
    gone: dict[str, tuple[Status, str]] = {}
    name, ways = asked.field or FIELDS[asked.modality], set()
    for split, part in value.items():
        choose(f"field of {asked.source}", name, [field for field in part if field != "id"])
        ids = unwrap(part["id"])
        found = asked.names.resolve(asked.source, Named([str(i) for i in ids]), SPLITS[split])
        x = numbers(part[name], budget)
        if x is None or x.ndim not in (2, 3) or len(x) != len(found):
            shape = "not an array of numbers" if x is None else str(x.shape)
            raise ErcError(
                f"{asked.source}: {split} has {len(found):,} ids, and its {name} is {shape}; "
                "(n, T, D) and (n, D) can be imported."
            )
        pooled, why, way = _pool(x, _lengths(part, name, len(x), budget),
                                  asked.frames or "mean")  # fmt: skip
        keys += found
        rows.append(pooled)
        gone |= {found[row]: (Status.MISSING, reason) for row, reason in why.items()}
        ways.add(way)
    if asked.frames and ways == {"none"}:
        raise ErcError(f"{asked.source}: its {name} has one vector a row, so there are no frames "
                       "to pool; leave out --frames.")  # fmt: skip
    if len({x.shape[1] for x in rows}) > 1:
        raise ErcError(f"{asked.source}: the splits have {name} of several dimensions.")
    return Found(keys, np.concatenate(rows)[:, None], "mmsa", name, ", ".join(sorted(ways)), gone)


def _lengths(part: Mapping[str, Any], name: str, rows: int, budget: Budget) -> np.ndarray | None:
    """The true length of each sequence (n,), if the file has it."""
    if name == "text" and "text_bert" in part:
        bert = numbers(part["text_bert"], budget)
        if bert is not None and bert.ndim == 3 and bert.shape[:2] == (rows, 3):
            return bert[:, 1].sum(1).astype(np.int64)
    found = numbers(part.get(f"{name}_lengths"), budget)
    return found.reshape(-1).astype(np.int64) if found is not None and found.size == rows else None


def _pool(
    x: np.ndarray, lengths: np.ndarray | None, way: str
) -> tuple[np.ndarray, dict[int, str], str]:
    """(n, D), why rows have none, and how frames were pooled."""
    if x.ndim == 2:
        return x, {}, "none"
    if lengths is None:
        made = pool(x, lambda _, frames: frames[frames.any(1)], way)
        return *made, f"{way} over frames that are not zeros"
    made = pool(x, lambda row, frames: true_frames(frames, int(lengths[row])), way)
    return *made, f"{way} over the true length"
