"""Whether a table's splits have what training, choosing and scoring need."""

from collections.abc import Iterator, Sequence

import numpy as np

from erc_features.errors import ErcError
from erc_features.utterance import Split
from erc_fusion.config.config import FuseConfig
from erc_fusion.inputs.folds import Fold, shared_dialogues
from erc_fusion.inputs.table import FeatureTable

DIALOGUES = 5
COVERED = 0.95  # share of a split's rows; a file that covers fewer is named


def check_splits(table: FeatureTable) -> tuple[str, ...]:
    """Warnings; raises ErcError if train or dev has no labelled row, or no embedding at all."""
    chosen = (Split.TRAIN, "learn from"), (Split.DEV, "choose on")
    for split, purpose in chosen:
        if not (table.label[table.rows(split)] >= 0).any():
            raise ErcError(
                f"Corpus {table.corpus!r} has no labelled {split} row, so there is nothing to "
                f"{purpose}. It needs {split}.csv with labels; or take --folds, such as "
                "--folds speaker, which makes the parts itself."
            )
    for split, _ in chosen:
        if not table.present[table.rows(split)].any():
            raise ErcError(
                f"No {split} row of corpus {table.corpus!r} has an embedding in "
                f"{', '.join(source.stem for source in table.sources)}. See `erc inspect`."
            )
    return tuple(_warnings(table))


def check_folds(table: FeatureTable, folds: Sequence[Fold], config: FuseConfig) -> tuple[str, ...]:
    """Warnings; raises ErcError if a fold has nothing to learn from or to choose on, or a context
    would read utterances of a dialogue that are held out."""
    found = []
    for fold in folds:
        for rows, part in ((fold.train, "learn from"), (fold.dev, "choose on")):
            labelled = (table.label[rows] >= 0).any()
            if not labelled or not table.present[rows].any():
                what = "an embedding" if labelled else "a label"
                raise ErcError(
                    f"--folds {config.folds}: without fold {fold.name} no row to {part} has {what}."
                )
        seen = set(table.label[fold.train].tolist())
        absent = [label for c, label in enumerate(table.labels) if c not in seen]
        if absent:
            found.append(f"without fold {fold.name} there is no {', '.join(absent)} to learn")
    if shared := shared_dialogues(table, folds):
        if config.model.context != "none":
            raise ErcError(
                f"--folds {config.folds} --context {config.model.context}: {shared} dialogues are "
                "in several folds, so what is held out would be read as context. Take --folds "
                "dialogue or session, or --context none."
            )
        found.append(
            f"{shared} dialogues are in several folds: features that read the dialogue (--history) "
            "have seen what is held out"
        )
    return tuple(found)


def _warnings(table: FeatureTable) -> Iterator[str]:
    seen = set(table.label[table.rows(Split.TRAIN)].tolist())
    for c, label in enumerate(table.labels):
        if c not in seen:
            yield f"{label} does not occur in train and can't be learned"
    # Scores are over all rows, also those without an embedding.
    splits = [split for split in Split if len(table.rows(split))]
    for m, source in enumerate(table.sources):
        shares = {split: table.present[table.rows(split), m].mean() for split in splits}
        gone = [split for split, share in shares.items() if share == 0]
        if gone:
            yield f"{source.stem} has no embedding of any {' or '.join(gone)} row"
        elif min(shares.values()) < COVERED:
            listed = ", ".join(f"{share:.0%} of {split}" for split, share in shares.items())
            yield f"{source.stem} has embeddings of {listed} only"
    for split in (Split.DEV, Split.TEST):
        count = len(np.unique(table.dialogue[table.rows(split)]))
        if 0 < count < DIALOGUES:
            yield f"{split} has {count} dialogues: intervals and tests over dialogues say little"
