"""A trained model's predictions on the splits that it was not trained on, and their scores."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from erc_features.utterance import Split
from erc_fusion.evaluation.metrics import Rows, score
from erc_fusion.evaluation.slices import missing, slices
from erc_fusion.inputs.table import FeatureTable


@dataclass(frozen=True)
class Predicted:
    """What S seeds say of n rows.

    Attributes:
        probability: (S, n, C) float32.
        prototype: (S, n) the class of the nearest prototype, where there is a contrastive loss.
        pca: (S, n, 2) float32, the first two principal components of each seed's embeddings.
    """

    probability: np.ndarray
    prototype: np.ndarray | None
    pca: np.ndarray


def score_splits(
    table: FeatureTable,
    seeds: Sequence[int],
    predict: Callable[[FeatureTable, np.ndarray], Predicted],
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """({"dev": …, "test": …} as `erc_fusion.evaluation.metrics` says, every row's predictions).

    The predictions are columns of one length, named as in :mod:`erc_fusion.runs.run`.

    Each split is predicted once; a split without labelled rows scores None.
    """
    train = table.rows(Split.TRAIN)
    known = table.label[train][table.label[train] >= 0]
    majority = int(np.bincount(known, minlength=len(table.labels)).argmax())
    seen = set(table.text[train])
    scores: dict[str, Any] = {"dev": None, "test": None}
    parts = []
    for split in (Split.DEV, Split.TEST, Split.NEW):
        rows = table.rows(split)
        if not len(rows):
            continue
        found = predict(table, rows)
        parts.append(columns_of(table, rows, seeds, found))
        if split == Split.NEW:
            continue
        unseen = np.array([text not in seen for text in table.text[rows]])
        part = Rows(
            table.label[rows], found.probability, table.dialogue[rows], unseen, found.prototype
        )
        scored = score(part, table.labels, majority)
        if scored is not None:
            scored["slices"] = slices(table, rows, found.probability.argmax(-1))
        scores[str(split)] = scored
    return scores, {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def columns_of(
    table: FeatureTable, rows: np.ndarray, seeds: Sequence[int], found: Predicted
) -> dict[str, np.ndarray]:
    """The rows' predictions, seed after seed."""
    names = np.array([*table.labels, ""], dtype=object)  # the last for label -1
    columns = {
        name: np.tile(getattr(table, name)[rows], len(seeds))
        for name in ("key", "split", "dialogue", "sequence", "speaker", "text")
    }
    without = np.array([",".join(stems) for stems in missing(table, rows)], dtype=object)
    columns["missing"] = np.tile(without, len(seeds))
    columns["label"] = np.tile(names[table.label[rows]], len(seeds))
    columns["seed"] = np.repeat(np.array(seeds), len(rows))
    flat = found.probability.reshape(-1, len(table.labels))
    columns["predicted"] = names[flat.argmax(-1)]
    columns |= {f"p_{label}": flat[:, c] for c, label in enumerate(table.labels)}
    return columns | {f"pca_{i + 1}": found.pca[..., i].ravel() for i in range(2)}
