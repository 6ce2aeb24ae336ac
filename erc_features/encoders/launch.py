"""Encoders that need not wait for their device, so that it computes one batch while the host
prepares the next one and writes the one before."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from erc_features.encoders.base import Encoder

if TYPE_CHECKING:
    import torch


@runtime_checkable
class Launches(Protocol):
    """An encoder that need not wait for its device: `encode(items)` is `launch(items)()`."""

    def launch(self, items: Sequence[Any]) -> Callable[[], np.ndarray]:
        """Queue the work of a batch, and its copy back, on the device. What it returns waits for
        them and gives the embeddings (B, L, D) float32."""
        ...


def launcher(encoder: Encoder) -> Callable[[Sequence[Any]], Callable[[], np.ndarray]]:
    """The encoder's `launch`; of one without it, or that has an `encode` of its own below the class
    that has it, `encode` itself, which has then been waited for."""
    for cls in type(encoder).__mro__:
        if "launch" in vars(cls) and isinstance(encoder, Launches):
            return encoder.launch
        if "encode" in vars(cls):
            break

    def encoded(items: Sequence[Any]) -> Callable[[], np.ndarray]:
        found = encoder.encode(items)
        return lambda: found

    return encoded


def to_host(tensor: "torch.Tensor") -> Callable[[], np.ndarray]:
    """Queue the copy of a result to the host; from CUDA into pinned memory, without waiting for
    what computes it. What is returned waits for this copy alone, not for what was queued later."""
    import torch

    if tensor.device.type != "cuda":
        return tensor.numpy
    copied = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    copied.copy_(tensor, non_blocking=True)
    done = torch.cuda.Event()
    done.record(torch.cuda.current_stream(tensor.device))

    def wait() -> np.ndarray:
        done.synchronize()
        return copied.numpy()

    return wait
