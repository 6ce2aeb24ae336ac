"""How far an extraction is, in units of its work: tokens, seconds of sound, or frames.

Rows are encoded longest first, so an estimate from the number of rows would promise hours where
minutes are left.
"""

from collections.abc import Sequence

import numpy as np

from erc_features.encoders.base import Encoder, Measured


class Meter:
    """Adds up the work of batches of the `rows` (n,), in whose order `measured` is."""

    def __init__(self, encoder: Encoder, rows: np.ndarray, measured: Measured) -> None:
        self._encoder = encoder
        self._size = dict(zip(rows.tolist(), measured.sizes.tolist(), strict=True))

    def cost(self, batch: np.ndarray) -> float:
        """The work of a batch: its rows times the cost of its largest row."""
        largest = max(self._size[row] for row in batch.tolist())
        return len(batch) * self._encoder.cost(largest)

    def of(self, batches: Sequence[np.ndarray]) -> float:
        return sum(map(self.cost, batches))
