"""`erc inspect`: what is in a feature file."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from erc_features.store import FeatureFile, Status
from erc_features.utterance import Modality

_CHUNK = 32 * 2**20  # bytes of float32 at a time, so that memory stays flat
_SHOWN = 5  # groups of duplicates, and keys of each


@dataclass(frozen=True)
class Layer:
    """Statistics of a layer over the rows that are ok and finite; zeros if there are none.

    Attributes:
        norm, least, most: the mean, smallest and largest Euclidean norm of the rows.
        dead: the number of dimensions with the same value in all of at least two rows; if it is
            D, the layer is constant and useless.
    """

    norm: float
    least: float
    most: float
    dead: int


@dataclass(frozen=True)
class Column:
    """A further column of the corpus, such as `valence`, that `erc fuse` can predict or fold by.

    Attributes:
        filled: the number of rows with a cell that is not empty.
        values: how many different ones.
        least, most: where all of them are numbers; else None.
    """

    filled: int
    values: int
    least: float | None
    most: float | None


@dataclass(frozen=True)
class Duplicates:
    """Groups of ok rows whose x (L, D) is equal to the last bit.

    Attributes:
        groups, rows: the number of groups, and of rows in them.
        explained: the number of groups whose texts differ only in capitals and spaces, which
            a text encoder may ignore; 0 for pictures and sound, where the same clip is there
            twice; None for text with history, which counts too.
        largest: the largest groups, unexplained ones first: (rows, the first keys).
    """

    groups: int
    rows: int
    explained: int | None
    largest: list[tuple[int, list[str]]]


@dataclass(frozen=True)
class Inspection:
    """A feature file at a glance.

    Attributes:
        shape: (N, L, D).
        counts: rows by status.
        splits: rows, and ok rows, by split.
        columns: the further columns of the corpus, by name.
        reasons: why rows are missing or failed, the most frequent first.
        layers: L of them.
        not_finite: ok rows that hold NaN or infinity; 0 in a sound file.
        attributes: provenance and record, as stored.
        probe: the Euclidean norm of each layer of the probe; None if none is recorded.
    """

    path: Path
    size: int
    complete: bool
    shape: tuple[int, int, int]
    dtype: str
    counts: dict[str, int]
    splits: dict[str, tuple[int, int]]
    labels: dict[str, int]
    columns: dict[str, Column]
    reasons: dict[str, int]
    layers: list[Layer]
    not_finite: int
    duplicates: Duplicates
    attributes: dict[str, Any]
    probe: list[float] | None


def inspect(path: Path | str) -> Inspection:
    """Inspect a feature file, finished or not.

    It is read once, in pieces of 32 MB; only a hash of 16 bytes is kept of each row's x.

    Raises:
        FeatureFileError: it is not one, is damaged, of a newer format, or being written.
    """
    path = Path(path)
    with FeatureFile(path) as file:
        status, split = file.status, file.split
        ok = status == Status.OK
        rows = np.flatnonzero(ok)
        layers, not_finite, hashes = _read(file, rows)
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
            columns={name: _column(texts) for name, texts in sorted(file.more.items())},
            reasons=dict(Counter(r for r in file.reason.tolist() if r).most_common()),
            layers=layers,
            not_finite=not_finite,
            duplicates=_duplicates(file, rows, hashes),
            attributes=file.attributes,
            probe=None if file.probe is None else np.linalg.norm(file.probe, axis=1).tolist(),
        )


def _column(texts: np.ndarray) -> Column:
    filled = [text for cell in texts.tolist() if (text := cell.strip())]
    different = set(filled)
    try:
        numbers = [*map(float, different)]
    except ValueError:
        numbers = []
    if not np.isfinite(numbers).all():
        numbers = []
    return Column(len(filled), len(different), min(numbers, default=None),
                  max(numbers, default=None))  # fmt: skip


def _read(file: FeatureFile, rows: np.ndarray) -> tuple[list[Layer], int, np.ndarray]:
    """The layers, the number of rows that are not finite, and the rows' hashes, (n, 2) uint64."""
    _, layers, dim = file.shape
    total, least, most = np.zeros(layers), np.full(layers, np.inf), np.zeros(layers)
    low = np.full((layers, dim), np.inf, np.float32)
    high = -low
    finite_rows = 0
    digests = []
    step = max(1, _CHUNK // max(1, layers * dim * 4))
    for first in range(0, len(rows), step):
        stored = file.x(rows[first : first + step])  # (n, L, D)
        digests.append(
            b"".join(hashlib.blake2b(row.data, digest_size=16).digest() for row in stored)
        )
        x = stored.astype(np.float32)
        finite = np.isfinite(x).all(axis=(1, 2))
        x = x if finite.all() else x[finite]
        finite_rows += len(x)
        if len(x):
            norms = np.linalg.norm(x, axis=2)  # (n, L)
            total += norms.sum(0)
            least, most = np.minimum(least, norms.min(0)), np.maximum(most, norms.max(0))
            low, high = np.minimum(low, x.min(0)), np.maximum(high, x.max(0))
    dead = (low == high).sum(1) if finite_rows > 1 else np.zeros(layers)
    least = least if finite_rows else most
    found = [
        Layer(float(total[i] / max(1, finite_rows)), float(least[i]), float(most[i]), int(dead[i]))
        for i in range(layers)
    ]
    hashes = np.frombuffer(b"".join(digests), np.uint64).reshape(-1, 2)
    return found, len(rows) - finite_rows, hashes


def _duplicates(file: FeatureFile, rows: np.ndarray, hashes: np.ndarray) -> Duplicates:
    order = np.lexsort((rows, hashes[:, 1], hashes[:, 0]))
    ordered = hashes[order]
    starts = np.flatnonzero(np.append(True, (ordered[1:] != ordered[:-1]).any(1)))
    groups = [
        rows[order[start:stop]]
        for start, stop in zip(starts, np.append(starts[1:], len(order)), strict=True)
        if stop - start > 1
    ]
    is_text = file.provenance.modality == Modality.TEXT
    has_history = bool(file.provenance.config.get("history"))
    equal = [is_text and not has_history and _same_text(file, group) for group in groups]
    by_size = sorted(range(len(groups)), key=lambda i: (equal[i], -len(groups[i]), groups[i][0]))
    return Duplicates(
        groups=len(groups),
        rows=sum(map(len, groups)),
        explained=None if is_text and has_history else sum(equal),
        largest=[(len(groups[i]), file.key[groups[i][:_SHOWN]].tolist()) for i in by_size[:_SHOWN]],
    )


def _same_text(file: FeatureFile, rows: np.ndarray) -> bool:
    return len({" ".join(text.casefold().split()) for text in file.text[rows]}) == 1
