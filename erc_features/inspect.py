"""`erc inspect`: what is in a feature file."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from erc_features.store import FeatureFile, Status

_CHUNK = 4096  # rows read at a time, so that memory stays flat


@dataclass(frozen=True)
class Inspection:
    """A feature file at a glance.

    Attributes:
        shape: (N, L, D).
        counts: rows by status.
        splits: rows, and ok rows, by split.
        reasons: why rows are missing or failed, the most frequent first.
        norms: the mean Euclidean norm of ok rows, a value for each layer.
        not_finite: ok rows that hold NaN or infinity; 0 in a sound file.
        attributes: provenance and record, as stored.
    """

    path: Path
    size: int
    complete: bool
    shape: tuple[int, int, int]
    dtype: str
    counts: dict[str, int]
    splits: dict[str, tuple[int, int]]
    labels: dict[str, int]
    reasons: dict[str, int]
    norms: list[float]
    not_finite: int
    attributes: dict[str, Any]


def inspect(path: Path | str) -> Inspection:
    """Look at a feature file, finished or not.

    Raises:
        FeatureFileError: it isn't one, is damaged, of a newer format, or being written.
    """
    path = Path(path)
    with FeatureFile(path) as file:
        status, split = file.status, file.split
        ok = status == Status.OK
        norms, not_finite = _norms(file, np.flatnonzero(ok))
        return Inspection(
            path=path,
            size=path.stat().st_size,
            complete=file.complete,
            shape=file.shape,
            dtype=file.dtype.name,
            counts={s.name.lower(): int((status == s).sum()) for s in Status},
            splits={
                name: (int((split == name).sum()), int(((split == name) & ok).sum()))
                for name in dict.fromkeys(split.tolist())
            },
            labels=dict(Counter(file.label.tolist()).most_common()),
            reasons=dict(Counter(r for r in file.reason.tolist() if r).most_common()),
            norms=norms,
            not_finite=not_finite,
            attributes=file.attributes,
        )


def _norms(file: FeatureFile, rows: np.ndarray) -> tuple[list[float], int]:
    total = np.zeros(file.shape[1])
    not_finite = 0
    for first in range(0, len(rows), _CHUNK):
        x = file.x(rows[first : first + _CHUNK]).astype(np.float32)  # (n, L, D)
        finite = np.isfinite(x).all(axis=(1, 2))
        not_finite += int((~finite).sum())
        total += np.linalg.norm(x[finite], axis=2).sum(0)
    return (total / max(1, len(rows) - not_finite)).tolist(), not_finite
