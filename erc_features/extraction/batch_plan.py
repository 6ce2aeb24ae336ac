"""The plan of an extraction: which rows are encoded together, and in which order."""

from collections.abc import Callable

import numpy as np


def plan(
    rows: np.ndarray,
    sizes: np.ndarray,
    *,
    batch_size: int,
    cost: Callable[[float], float],
    cap: float,
    groups: np.ndarray | None = None,
) -> list[np.ndarray]:
    """Batches of row numbers, longest first, so that a lack of memory shows at once.

    It is a pure function of all rows and the settings, so that an interrupted extraction makes
    the same batches again, and the same numbers to the last bit.

    Args:
        rows, sizes: (n,) row numbers and their sizes (characters, frames, seconds).
        batch_size: the maximum number of rows of a batch.
        cost, cap: a batch's rows times the cost of its largest are at most `cap`; a row that
            alone costs more has a batch of its own.
        groups: (n,) rows of different groups never share a batch; None means one group.
    """
    kinds = np.zeros(len(rows)) if groups is None else groups
    order = np.lexsort((rows, kinds, -sizes))
    # Where each run of one group ends, in that order.
    ends = np.append(np.flatnonzero(np.diff(kinds[order])) + 1, len(order))
    batches: list[np.ndarray] = []
    first = 0
    while first < len(order):
        dearest = max(cost(float(sizes[order[first]])), 1e-9)
        run = ends[np.searchsorted(ends, first, side="right")] - first
        count = int(max(1, min(batch_size, cap // dearest, run)))
        batches.append(rows[order[first : first + count]])
        first += count
    return batches
