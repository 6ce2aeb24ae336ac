"""From embeddings to answers: the run's network on the rows of one request."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from erc_features.utterance import Split
from erc_fusion.answers import Answer, answers_of
from erc_fusion.inputs.table import FeatureTable
from erc_fusion.serving.encoding import Row
from erc_fusion.serving.loaded import Loaded
from erc_fusion.training.checkpoint import FoldedWeights


@dataclass(frozen=True)
class Answered:
    """The answers of the N rows of a request.

    Attributes:
        probability: (S, N, C), by seed.
        weights: (S, N, M), the head's weight of each of the run's files; None where it has none.
    """

    answers: tuple[Answer, ...]
    probability: np.ndarray
    weights: np.ndarray | None


def answer(rows: Sequence[Row], loaded: Loaded) -> Answered:
    """What the run says of embedded rows, whole dialogues."""
    # A table's order is that of dialogues and their utterances, whatever the order of the asking.
    order = sorted(range(len(rows)), key=lambda n: (rows[n].said.dialogue, rows[n].said.sequence))
    back = np.argsort(order)
    table = _table([rows[n] for n in order], loaded)
    every = np.arange(len(table))
    found = loaded.weights.predict(table, every, maps=False)
    found = replace(
        found,
        probability=found.probability[:, back],
        values=None if found.values is None else found.values[:, back],
        threshold=None if found.threshold is None else found.threshold[:, back],
    )
    said = [row.said for row in rows]
    without = {
        row.said.key: why
        for row in rows
        if (why := {stem: e.reason for stem, e in row.embedded.items() if not e.ok})
    }
    weights = _weights(table, every, loaded)
    return Answered(
        answers_of(said, loaded.labels, loaded.task, found, without),
        found.probability,
        None if weights is None else weights[:, back],
    )


def _table(rows: Sequence[Row], loaded: Loaded) -> FeatureTable:
    """The rows as `erc predict` reads them from the feature files that it makes."""
    x, present, sources = {}, [], []
    for reader in loaded.readers:
        stem = reader.stem
        values = np.stack([row.embedded[stem].x for row in rows])[:, reader.layers]  # (N, L, D)
        x[stem] = np.ascontiguousarray(values)
        present.append(np.array([row.embedded[stem].ok for row in rows]))
        sources.append(replace(reader.source, shape=values.shape))
    said = [row.said for row in rows]
    return FeatureTable(
        sources=tuple(sources),
        labels=loaded.labels,
        key=np.array([u.key for u in said], object),
        split=np.array([str(Split.NEW)] * len(said), object),
        dialogue=np.array([u.dialogue for u in said], np.int32),
        sequence=np.array([u.sequence for u in said], np.int32),
        speaker=np.array([u.speaker for u in said], object),
        text=np.array([u.x_text for u in said], object),
        label=np.full(len(said), -1, np.int64),
        x=x,
        present=np.stack(present, axis=1),
    )


def _weights(table: FeatureTable, rows: np.ndarray, loaded: Loaded) -> np.ndarray | None:
    weights = loaded.weights
    if not isinstance(weights, FoldedWeights):
        return weights.weigh(table, rows)
    found = [own.weigh(table, rows) for own in weights.folds]
    known = [each for each in found if each is not None]
    return np.mean(known, 0) if len(known) == len(found) else None
