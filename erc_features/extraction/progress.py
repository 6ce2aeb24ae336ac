"""How far an extraction is, in what its work is made of: tokens, seconds of sound, frames.

Rows are encoded longest first, so that counting them promises hours for minutes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from erc_features.encoders.base import Encoder, Measured


@dataclass(frozen=True)
class Work:
    """How far one feature file is.

    Attributes:
        what: the file's stem.
        done, total: rows.
        work_done, work_total: in the encoder's unit of cost, of this file, earlier runs counted in.
    """

    what: str
    done: int
    total: int
    work_done: float
    work_total: float


class Meter:
    """Adds up the work of batches as they are done.

    Args:
        rows: (n,) rows that have something to encode, as `measured` has them in order.
    """

    def __init__(self, encoder: Encoder, rows: np.ndarray, measured: Measured) -> None:
        self._encoder = encoder
        self._size = dict(zip(rows.tolist(), measured.sizes.tolist(), strict=True))

    def cost(self, batch: np.ndarray) -> float:
        """Of a batch: its rows times the cost of its largest."""
        largest = max(self._size[row] for row in batch.tolist())
        return len(batch) * self._encoder.cost(largest)

    def of(self, batches: Sequence[np.ndarray]) -> float:
        return sum(map(self.cost, batches))
