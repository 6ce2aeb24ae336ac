"""A trained model's predictions on the splits that it was not trained on, and their scores."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from erc_features.utterance import Split
from erc_fusion.metrics import Rows, score
from erc_fusion.table import FeatureTable

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Predicted:
    """n rows: probability (S, n, C) float32, and the class of the nearest prototype (S, n)."""

    probability: np.ndarray
    prototype: np.ndarray | None


def score_splits(
    table: FeatureTable,
    seeds: Sequence[int],
    predict: Callable[[FeatureTable, np.ndarray], Predicted],
) -> tuple[dict[str, Any], "pd.DataFrame"]:
    """({"dev": …, "test": …} as :mod:`erc_fusion.metrics` says, the predictions of every row).

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
        frames.append(_frame(table, rows, seeds, found.probability))
        if split == Split.NEW:
            continue
        unseen = np.array([text not in seen for text in table.text[rows]])
        part = Rows(
            table.label[rows], found.probability, table.dialogue[rows], unseen, found.prototype
        )
        scores[str(split)] = score(part, table.labels, majority)
    return scores, pd.concat(frames, ignore_index=True)


def _frame(
    table: FeatureTable, rows: np.ndarray, seeds: Sequence[int], probability: np.ndarray
) -> "pd.DataFrame":
    """The rows' predictions, seed after seed; probability (S, n, C)."""
    import pandas as pd

    names = np.array([*table.labels, ""], dtype=object)  # the last for label -1
    columns = {
        name: np.tile(getattr(table, name)[rows], len(seeds))
        for name in ("key", "split", "dialogue", "sequence", "speaker", "text")
    }
    columns["label"] = np.tile(names[table.label[rows]], len(seeds))
    columns["seed"] = np.repeat(np.array(seeds), len(rows))
    flat = probability.reshape(-1, len(table.labels))
    columns["predicted"] = names[flat.argmax(-1)]
    return pd.DataFrame(
        columns | {f"p_{label}": flat[:, c] for c, label in enumerate(table.labels)}
    )
