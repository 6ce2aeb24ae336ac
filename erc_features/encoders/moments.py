"""Pooling over the frames of several windows of one sound, exactly: moments of each, combined."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from erc_features.encoders.launch import to_host

# What pooling over several windows takes of each of them, (B, T, D) -> (B, D).
_MOMENTS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "mean": lambda state: state.mean(1),
    "std": lambda state: state.var(1, correction=0),
    "max": lambda state: state.amax(1),
}
Moments = tuple[int, dict[str, np.ndarray]]  # the frames of a window, and (L, D) of each moment


def moments_of(states: Sequence[torch.Tensor], how: str) -> list[Moments]:
    """states: L of (B, T, D) float32 -> what pooling by `how` takes of each of the B windows."""
    return launch_moments(states, how)()


def launch_moments(states: Sequence[torch.Tensor], how: str) -> Callable[[], list[Moments]]:
    """:func:`moments_of`, queued on the device; what is returned waits for it."""
    made = {
        part: to_host(torch.stack([_MOMENTS[part](state) for state in states], 1))
        for part in {"mean", *how.split("+")}
    }  # (B, L, D) each
    frames, windows = states[0].shape[1], len(states[0])

    def wait() -> list[Moments]:
        here = {part: copied() for part, copied in made.items()}
        return [(frames, {part: x[i] for part, x in here.items()}) for i in range(windows)]

    return wait


def pool_moments(windows: Sequence[Moments], how: str) -> np.ndarray:
    """Pool over the frames of all windows: (L, D) or (L, 2 D) float32."""
    share = np.array([frames for frames, _ in windows], np.float64)
    share = (share / share.sum())[:, None, None]  # (W, 1, 1)
    # (W, L, D) each; "std" is the variance within a window.
    found = {part: np.stack([made[part] for _, made in windows]) for part in windows[0][1]}
    pooled = {"mean": (share * found["mean"]).sum(0)}
    if "max" in found:
        pooled["max"] = found["max"].max(0)
    if "std" in found:
        between = (found["mean"] - pooled["mean"]) ** 2
        pooled["std"] = np.sqrt((share * (found["std"] + between)).sum(0))
    return np.concatenate([pooled[part] for part in how.split("+")], -1).astype(np.float32)
