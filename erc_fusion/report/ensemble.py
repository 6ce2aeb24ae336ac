"""What the seeds of a run say together, row by row: their mean probability, as one model."""

from dataclasses import dataclass

import numpy as np

from erc_fusion.report.results import Row


@dataclass(frozen=True)
class Ensemble:
    """The n labelled rows of a split, in the order of the run's predictions.

    Attributes:
        key, speaker, text, label, predicted: (n,) object arrays.
        confidence: (n,) the mean probability of `predicted`, 0 to 1.
        agreeing: (n,) the share of seeds that predict it too.
    """

    key: np.ndarray
    speaker: np.ndarray
    text: np.ndarray
    label: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    agreeing: np.ndarray


def ensemble(row: Row, split: str) -> Ensemble:
    """The ensemble of a run that predicts one of several classes.

    Raises:
        RunError: the predictions are damaged.
    """
    found = row.run.columns()
    try:
        kept = (found["split"] == split) & (found["label"] != "")
        names = ("key", "speaker", "text", "label", "predicted", "seed")
        table = {name: found[name][kept] for name in names}
        seeds = len(np.unique(table["seed"]))
        # Each utterance's number, in the order of their first rows.
        number = {key: n for n, key in enumerate(dict.fromkeys(table["key"]))}
        of = np.array([number[key] for key in table["key"]], dtype=np.int64)
        times = np.bincount(of, minlength=len(number))
        probability = (
            np.stack(
                [np.bincount(of, found[f"p_{label}"][kept], len(number)) for label in row.labels],
                -1,
            )
            / times[:, None]
        )  # (n, C)
        first = np.unique(of, return_index=True)[1]
        chosen = np.array(row.labels, dtype=object)[probability.argmax(-1)]
        votes = np.bincount(of, table["predicted"] == chosen[of], len(number))
        key, speaker, text, label = (table[n][first] for n in ("key", "speaker", "text", "label"))
        sure = probability.max(-1)
        return Ensemble(key, speaker, text, label, chosen, sure, votes / seeds)
    except (KeyError, AttributeError, TypeError) as error:
        raise row.run.damaged("predictions.parquet", f"{type(error).__name__}: {error}") from error
