"""Seeds as people write them, and what commands say about them before training."""

from collections.abc import Sequence

from erc_features.errors import ErcError

MANY_SEEDS = 20  # more are unusual, and `--seeds 100` is easily taken for the one seed 100


def parse_seeds(text: str | None) -> tuple[int, ...] | None:
    """One number is how many seeds, from 0; several, or one with a comma, are the seeds themselves.

    >>> parse_seeds("3"), parse_seeds("3,7"), parse_seeds("3,")
    ((0, 1, 2), (3, 7), (3,))

    Raises:
        ErcError: it is neither.
    """
    if text is None:
        return None
    items = [part.strip() for part in text.split(",") if part.strip()]
    if not items or not all(map(str.isdecimal, items)):
        raise ErcError(
            f"--seeds takes how many (5) or which (3,7,11; only seed 100 is 100,), not {text!r}."
        )
    numbers = tuple(int(item) for item in items)
    return numbers if "," in text else tuple(range(numbers[0]))


def describe_seeds(seeds: Sequence[int]) -> str:
    """How many seeds, and which.

    >>> describe_seeds((0, 1, 2, 3, 4)), describe_seeds((100,)), describe_seeds((3, 7))
    ('5 seeds (0 to 4)', '1 seed (100)', '2 seeds (3, 7)')
    """
    first, count = seeds[0], len(seeds)
    if count > 2 and tuple(seeds) == tuple(range(first, first + count)):
        which = f"{first} to {seeds[-1]}"
    else:
        which = ", ".join([*map(str, seeds[:10]), *(["…"] if count > 10 else [])])
    return f"{count} seed{'s' if count > 1 else ''} ({which})"


def seeds_warning(seeds: Sequence[int]) -> str:
    """A warning where there are unusually many seeds, else "".

    >>> seeds_warning((100,)), seeds_warning(range(20))
    ('', '')
    >>> print(seeds_warning(range(100)))
    100 seeds are trained side by side. Usually 5 to 10 are enough. If you mean the one \
seed 100, write --seeds 100, with a comma at its end (in Python and TOML: seeds = [100]).
    """
    count = len(seeds)
    if count <= MANY_SEEDS:
        return ""
    found = f"{count} seeds are trained side by side. Usually 5 to 10 are enough."
    if tuple(seeds) == tuple(range(count)):
        found += (
            f" If you mean the one seed {count}, write --seeds {count}, with a comma at its end "
            f"(in Python and TOML: seeds = [{count}])."
        )
    return found
