"""Which part of a dialogue is read with an utterance, where the whole is too long for a network."""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate


def excerpt(lengths: Sequence[int], at: int, room: int) -> tuple[int, int]:
    """The first utterance and the last + 1 that are read with utterance `at`.

    All of them, if they fit. If nothing follows the utterance, the oldest are left out. Otherwise
    the dialogue has fixed excerpts, each beginning half a room after the one before, and the
    utterance is read in the one in which it is nearest to the middle. So utterances near each
    other share an excerpt, and a dialogue costs twice its tokens, however long it is.

    Args:
        lengths: of the dialogue's utterances, in tokens, with what separates them.
        at: which of them is to be read; it is in the excerpt even if it is too long itself.
        room: the number of tokens that fit.

    >>> excerpt([4, 4, 4, 4, 4, 4], 3, 12), excerpt([4, 4, 4, 4, 4, 4], 2, 12)
    ((2, 5), (0, 3))
    >>> excerpt([4, 4, 4, 4, 4, 4], 5, 12), excerpt([4, 50, 4], 1, 12)
    ((3, 6), (1, 2))
    """
    if sum(lengths) <= room:
        return 0, len(lengths)
    if at == len(lengths) - 1:
        return _oldest_left_out(lengths, at, room), at + 1
    starts = [0, *accumulate(lengths)]
    middle = (starts[at] + starts[at + 1]) / 2
    best, found = float("inf"), None
    half = max(1, room // 2)
    here = starts[at] // half
    for number in range(max(0, here - 2), here + 1):
        first = bisect_left(starts, number * half)
        stop = first
        while stop < len(lengths) and starts[stop + 1] - starts[first] <= room:
            stop += 1
        if stop == len(lengths):  # the last one is as long as it can be
            first = _oldest_left_out(lengths, stop - 1, room)
        away = abs(middle - (starts[first] + starts[stop]) / 2)
        if first <= at < stop and away < best:
            best, found = away, (first, stop)
    # One of more than half the room may be in none of them.
    return found or (_oldest_left_out(lengths, at, room), at + 1)


def _oldest_left_out(lengths: Sequence[int], at: int, room: int) -> int:
    first, total = at, lengths[at]
    while first and total + lengths[first - 1] <= room:
        first -= 1
        total += lengths[first]
    return first
