"""Small feature files for the fusion tests, written by the real store."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from erc_features.store import Provenance, Rows, Shape, Status, open_writer
from erc_features.utterance import make_key

LABELS = ("anger", "joy", "neutral")


@dataclass(frozen=True)
class Corpus:
    """Utterances with their truth: `rows`, and `target` (N,), a place in LABELS."""

    rows: Rows
    target: np.ndarray


def make_corpus(
    dialogues: tuple[int, int, int] = (24, 8, 8), *, blank: Sequence[str] = (), seed: int = 0
) -> Corpus:
    """Dialogues of 1 to 9 utterances in train, dev, test; keys in `blank` are unlabelled."""
    source = np.random.default_rng(seed)
    rows, target = [], []
    for split, count in zip(("train", "dev", "test"), dialogues, strict=True):
        for dialogue in range(count):
            for sequence in range(1 + (dialogue * 5) % 9):
                key = make_key(split, dialogue, sequence)
                c = int(source.choice(3, p=[0.25, 0.3, 0.45]))
                label = "" if key in blank else LABELS[c]
                text = f"words {source.integers(0, 150)}"
                rows.append((key, split, dialogue, sequence, f"s{sequence % 2}", text, label))
                target.append(c)
    return Corpus(Rows(*map(list, zip(*rows, strict=True))), np.array(target))


def embeddings(
    corpus: Corpus, layers: int, dim: int, *, signal: float = 1.5, seed: int = 1
) -> np.ndarray:
    """(N, L, D) float32: noise, and in the last layer a direction for each class."""
    source = np.random.default_rng(seed)
    x = source.normal(size=(len(corpus.rows), layers, dim))
    directions = source.normal(size=(len(LABELS), dim)) / np.sqrt(dim)
    x[:, -1] += signal * directions[corpus.target] * np.sqrt(dim) / 2
    return (3 + 2 * x).astype(np.float32)


def write_features(
    folder: Path,
    stem: str,
    corpus: Corpus,
    x: np.ndarray,
    *,
    status: np.ndarray | None = None,
    fingerprint: str = "f" * 64,
    order: np.ndarray | None = None,
    labels: tuple[str, ...] = LABELS,
    finish: bool = True,
) -> Path:
    """`folder/<stem>.h5`, its rows in another `order` if one is given."""
    order = np.arange(len(corpus.rows)) if order is None else order
    status = np.full(len(corpus.rows), Status.OK) if status is None else status
    columns = [name for name in corpus.rows.__dataclass_fields__ if name != "more"]
    rows = Rows(*([getattr(corpus.rows, name)[i] for i in order] for name in columns))
    modality, _, encoder = stem.partition(".")
    made = Provenance(folder.name, fingerprint, modality, encoder, "r" * 64, {"layers": "all"})
    path = folder / f"{stem}.h5"
    shape = Shape(*x.shape[1:], "float32")
    with open_writer(path, rows, labels, made, shape, {}) as writer:
        assert writer is not None
        done = np.arange(len(order)) if finish else np.arange(len(order) // 2)
        reasons = ["" if s == Status.OK else "no sound" for s in status[order][done]]
        writer.write(done, x[order][done], status[order][done], reasons)
        if finish:
            writer.finish({})
    return path
