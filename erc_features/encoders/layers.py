"""Choosing an encoder's layers: `all`, `last`, `-4:` or `0,6,12`."""

import re

from erc_features.errors import EncoderError


def pick_layers(layers: str, count: int) -> list[int]:
    """Layer numbers of `all`, `last`, a slice (`-4:`) or a list (`0,6,12`) out of `count`.

    Layer 0 is the input of the first block.

    >>> pick_layers("-4:", 13), pick_layers("0,6,12", 13), pick_layers("last", 13)
    ([9, 10, 11, 12], [0, 6, 12], [12])

    Raises:
        EncoderError: it is none of these, or names a layer that the model does not have.
    """
    everything = list(range(count))
    if layers == "all":
        return everything
    if layers == "last":
        return everything[-1:]
    if match := re.fullmatch(r"(-?\d+)?:(-?\d+)?", layers):
        picked = everything[slice(*(int(part) if part else None for part in match.groups()))]
    elif re.fullmatch(r"-?\d+(,-?\d+)*", layers):
        numbers = [int(part) for part in layers.split(",")]
        picked = [n + count if n < 0 else n for n in numbers]
    else:
        raise EncoderError(f"Unknown layers {layers!r}; all, last, -4: and 0,6,12 work.")
    if not picked or any(n not in everything for n in picked):
        raise EncoderError(f"--layers {layers}: there are layers 0 to {count - 1}.")
    return picked
