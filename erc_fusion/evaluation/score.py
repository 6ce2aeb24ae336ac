"""A trained model's predictions on the splits that it was not trained on, and their scores."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from erc_features.utterance import Split
from erc_fusion.evaluation.metrics import Rows, score
from erc_fusion.evaluation.slices import missing, slices
from erc_fusion.inputs.table import FeatureTable

if TYPE_CHECKING:
    import pandas as pd


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
) -> tuple[dict[str, Any], "pd.DataFrame"]:
    """({"dev": …, "test": …} as `erc_fusion.evaluation.metrics` says, every row's predictions).

    Each split is predicted once; a split without labelled rows scores None.
    """
    import pandas as pd

    train = table.rows(Split.TRAIN)
    known = table.label[train][table.label[train] >= 0]
    majority = int(np.bincount(known, minlength=len(table.labels)).argmax())
    seen = set(table.text[train])
    scores: dict[str, Any] = {"dev": None, "test": None}
    frames = []
    for split in (Split.DEV, Split.TEST, Split.NEW):
        rows = table.rows(split)
        if not len(rows):
            continue
        found = predict(table, rows)
        frames.append(_frame(table, rows, seeds, found))
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
    return scores, pd.concat(frames, ignore_index=True)


def _frame(
    table: FeatureTable, rows: np.ndarray, seeds: Sequence[int], found: Predicted
) -> "pd.DataFrame":
    """The rows' predictions, seed after seed."""
    import pandas as pd

    names = np.array([*table.labels, ""], dtype=object)  # the last for label -1
    columns = {
        name: np.tile(getattr(table, name)[rows], len(seeds))
        for name in ("key", "split", "dialogue", "sequence", "speaker", "text")
    }
    columns["missing"] = np.tile([",".join(stems) for stems in missing(table, rows)], len(seeds))
    columns["label"] = np.tile(names[table.label[rows]], len(seeds))
    columns["seed"] = np.repeat(np.array(seeds), len(rows))
    flat = found.probability.reshape(-1, len(table.labels))
    columns["predicted"] = names[flat.argmax(-1)]
    columns |= {f"p_{label}": flat[:, c] for c, label in enumerate(table.labels)}
    columns |= {f"pca_{i + 1}": found.pca[..., i].ravel() for i in range(2)}
    return pd.DataFrame(columns)
