"""What the second axis of features is: layers of a network, or frames to be pooled over time.

No array says which. Up to 64 vectors per row are layers unless the file shows frames: rows of
several lengths, rows padded with vectors of zeros, or lengths or a mask beside the array. Then, and
above 64, the user has to say: `--frames` or `--layers`.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from erc_features.errors import ErcError, listed
from erc_features.interchange.base import Asked, Found, as_rows
from erc_features.store import Status

POOLS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "mean": lambda frames: frames.mean(0),
    "mean+std": lambda frames: np.concatenate([frames.mean(0), frames.std(0)]),
    "max": lambda frames: frames.max(0),
}
_MOST_LAYERS = 64  # no encoder in use for speech, text or pictures has more, but for a few LLMs
_DOUBTED = 32  # XLS-R 2B has 49 with its input, so these may be layers, and may be frames
HOW = (
    "Say --frames mean, mean+std or max if they are frames, which are pooled over time; or "
    "--layers if they are layers of a network."
)
EMPTY = "its sequence has no frames"


@dataclass(frozen=True)
class Settled:
    """Features of which it is clear what the second axis is.

    Attributes:
        x: (n, L, D).
        pooling: how frames were pooled, for the provenance.
        empty: row -> why it has no frames.
        notes: what the user should know.
    """

    x: np.ndarray
    pooling: str = "none"
    empty: Mapping[int, str] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def gone(self, keys: Sequence[str]) -> dict[str, tuple[Status, str]]:
        return {keys[row]: (Status.MISSING, why) for row, why in self.empty.items()}

    def found(
        self,
        keys: Sequence[str],
        kind: str,
        field: str = "",
        gone: Mapping[str, tuple[Status, str]] = MappingProxyType({}),
    ) -> Found:
        """The rows with these keys; `gone` are those that the file itself calls missing."""
        gone = self.gone(keys) | {**gone}
        return Found(keys, self.x, kind, field, self.pooling, gone, notes=self.notes)


def settle(
    asked: Asked,
    x: np.ndarray | Sequence[np.ndarray],
    what: str = "",
    true: np.ndarray | None = None,
    *,
    sure: bool = False,
) -> Settled:
    """Features as (n, L, D).

    Args:
        x: (n, D), (n, K, D), or for each row an array (T, D) where they are of several lengths.
        what: which of several things in the file it is.
        true: the true lengths of the rows (n,), or a mask (n, K) of 0 and 1, if the file has them.
        sure: they are layers, as `erc export` wrote them.

    Raises:
        ErcError: it is unclear what the second axis is; or `--frames` is given for a file without
            frames.
    """
    where = f"{asked.source}{f' ({what})' if what else ''}"
    if isinstance(x, np.ndarray):
        flat, x = x.ndim == 2, as_rows(asked.source, x, what)
        if asked.frames and (flat or sure):
            are = "has one vector a row" if flat else "was exported by erc, and holds layers"
            raise ErcError(f"{where}: {are}, so there are no frames to pool; leave out --frames.")
    if asked.frames:
        pooled, empty, way = _pool(where, x, true, asked.frames)
        return Settled(pooled[:, None], way, empty)
    if not isinstance(x, np.ndarray):
        raise ErcError(
            f"{where}: its rows have several numbers of vectors:"
            f"{listed([f'row {row}: {len(one)}' for row, one in enumerate(x)], 5)}\nLayers are as "
            "many in each row, so these are frames. Pool them with --frames mean, mean+std or max."
        )
    count, dim = x.shape[1:]
    if sure or asked.layers or count == 1:
        return Settled(x)
    if why := _why_frames(x, true):
        raise ErcError(f"{where}: has the shape {x.shape}, and {why}. {HOW}")
    if count > _DOUBTED:
        return Settled(x, notes=(f"each row is taken as {count} layers of {dim}. {HOW}",))
    return Settled(x)


def _why_frames(x: np.ndarray, true: np.ndarray | None) -> str:
    """A reason to take the second axis for frames; empty if there is none."""
    if true is not None:
        return "lengths or a mask stand beside it, as they do of frames"
    if x.shape[1] > _MOST_LAYERS:
        return f"{x.shape[1]} vectors a row are more than networks have layers"
    ends = ~x[:, -1].any(1) | ~x[:, 0].any(1)
    padded = sum(bool(x[row].any()) for row in np.flatnonzero(ends))
    return f"{padded:,} of its rows are filled up with zeros, as frames are" if padded else ""


def _pool(
    where: str, x: np.ndarray | Sequence[np.ndarray], true: np.ndarray | None, way: str
) -> tuple[np.ndarray, dict[int, str], str]:
    if not isinstance(x, np.ndarray):
        return *pool(x, lambda _, frames: frames, way), f"{way} over frames, of each row"
    if true is None:
        made = pool(x, lambda _, frames: _trimmed(frames), way)
        return *made, f"{way} over frames, without the zeros that fill them up"
    true = true.astype(np.float64)
    if true.shape == x.shape[:2] and np.isin(true, (0, 1)).all():
        made = pool(x, lambda row, frames: frames[true[row] == 1], way)
        return *made, f"{way} over frames of the mask"
    if true.shape != x.shape[:1] or not np.isin(true, range(x.shape[1] + 1)).all():
        raise ErcError(
            f"{where}: has the shape {x.shape}, and beside it are lengths or a mask of shape "
            f"{true.shape} from {true.min():g} to {true.max():g}; lengths are one whole number a "
            f"row, at most {x.shape[1]}, and a mask holds 1 for each frame and 0 for what fills up."
        )
    ends = true.astype(np.int64)
    made = pool(x, lambda row, frames: true_frames(frames, int(ends[row])), way)
    return *made, f"{way} over the true length"


def pool(
    x: np.ndarray | Sequence[np.ndarray],
    kept: Callable[[int, np.ndarray], np.ndarray],
    way: str,
) -> tuple[np.ndarray, dict[int, str]]:
    """(n, D), or (n, 2 D) for `mean+std`; and the rows that have no frames.

    Args:
        x: (n, T, D), or an array (T, D) for each row.
        kept: a function of a row's number and frames that returns the frames to pool.
    """
    dim = x[0].shape[-1]
    kind = np.result_type(x[0].dtype, np.float32)
    pooled, empty = np.zeros((len(x), dim * (2 if way == "mean+std" else 1)), kind), {}
    for row, frames in enumerate(x):
        some = kept(row, frames)
        if len(some):
            with np.errstate(invalid="ignore", over="ignore"):  # a row with infinity fails later
                pooled[row] = POOLS[way](some.astype(np.float64))
        else:
            empty[row] = EMPTY
    return pooled, empty


def true_frames(frames: np.ndarray, length: int) -> np.ndarray:
    """The `length` frames that are not padding, which comes after them, or before."""
    length = max(0, min(length, len(frames)))
    before, after = frames[: len(frames) - length], frames[length:]
    if length and after.any() and not before.any():
        return frames[len(frames) - length :]
    return frames[:length]


def _trimmed(frames: np.ndarray) -> np.ndarray:
    """The frames without the zeros before and after them; zeros in between are frames."""
    there = np.flatnonzero(frames.any(1))
    return frames[there[0] : there[-1] + 1] if len(there) else frames[:0]


def lengths_beside(named: Mapping[str, Any], name: str) -> np.ndarray | None:
    """The lengths or the mask of the array `name`: `audio_lengths`, `lengths`, `mask`, …"""
    for stem in (f"{name}_", ""):
        for end in ("lengths", "length", "mask", "attention_mask"):
            found = named.get(stem + end)
            if (
                isinstance(found, np.ndarray)
                and found.ndim in (1, 2)
                and found.size
                and (found.dtype.kind in "fiub" and stem + end != name)
            ):
                return found
    return None
