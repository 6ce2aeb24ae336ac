"""Running out of memory on purpose, for `gpu.sh`."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from media import WORDS, generated

from erc_features.utterance import Utterance


@dataclass
class Short:
    """What happened: how often a batch was out of memory; MB that were allowed, with a GPU."""

    times: int = 0
    mb: float | None = None


@contextmanager
def short_of_memory(cuda: bool, needed: float | None, share: float, most: int) -> Iterator[Short]:
    """Let a batch run out of memory while it is open.

    With a GPU, this process may have so many of the MB that were `needed` (above what it already
    has), counting what the allocator reserves. Without one, an embedding layer that is given more
    than `most` rows raises what a GPU's allocator would; all that follows is erc's own code.
    """
    import torch

    short = Short()
    if cuda:
        held = torch.cuda.memory_reserved() / 1e6
        short.mb = share * (needed or 0.0)
        total = torch.cuda.get_device_properties(0).total_memory / 1e6
        before = torch.cuda.memory_stats().get("num_ooms", 0)
        torch.cuda.set_per_process_memory_fraction(min(1.0, (held + short.mb) / total))
        try:
            yield short
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
            short.times = torch.cuda.memory_stats().get("num_ooms", 0) - before
        return

    def refuse(module: torch.nn.Module, args: tuple) -> None:
        if isinstance(module, torch.nn.Embedding) and len(args[0]) > most:
            short.times += 1
            raise torch.OutOfMemoryError("CUDA out of memory. A stand-in on the CPU.")

    hook = torch.nn.modules.module.register_module_forward_pre_hook(refuse)
    try:
        yield short
    finally:
        hook.remove()


def lengthened(count: int, words: int) -> list[Utterance]:
    """Texts of so many words, and a few more, so that the plan has several batches."""
    return [
        replace(u, x_text=" ".join(WORDS[(i * n) % len(WORDS)] for n in range(words + i % 2)))
        for i, u in enumerate(generated(count))
    ]
