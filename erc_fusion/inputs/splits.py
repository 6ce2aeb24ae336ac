"""Whether a table's splits have what training, choosing and scoring need."""

from collections.abc import Iterator, Sequence

import numpy as np

from erc_features.errors import ErcError
from erc_features.utterance import Split
from erc_fusion.config.config import FuseConfig
from erc_fusion.inputs.folds import Fold, clusters, parse_rule, shared_dialogues
from erc_fusion.inputs.table import FeatureTable

DIALOGUES = 5
COVERED = 0.95  # share of a split's rows; a file that covers fewer is named


def check_splits(table: FeatureTable, monitor: str = "") -> tuple[str, ...]:
    """Warnings; raises ErcError if train or dev has no labelled row, or no embedding at all, or
    dev says nothing of what `monitor` is a score of."""
    chosen = (Split.TRAIN, "learn from"), (Split.DEV, "choose on")
    for split, purpose in chosen:
        if not table.labelled[table.rows(split)].any():
            way_out = "or take --folds, such as --folds speaker, which makes the parts itself."
            if not table.labelled.any() and table.more:
                way_out = (
                    f"or --target with another of its columns: {', '.join(sorted(table.more))}."
                )
            raise ErcError(
                f"Corpus {table.corpus!r} has no labelled {split} row, so there is nothing to "
                f"{purpose}. It needs {split}.csv with {table.target} filled in; {way_out}"
            )
    for split, _ in chosen:
        if not table.present[table.rows(split)].any():
            raise ErcError(
                f"No {split} row of corpus {table.corpus!r} has an embedding in "
                f"{', '.join(source.stem for source in table.sources)}. See `erc inspect`."
            )
    if wrong := _undecided(table, table.rows(Split.DEV), monitor):
        raise ErcError(
            f"Corpus {table.corpus!r}: {wrong} in dev, so there is nothing to choose on."
        )
    if gone := _unknown(table, table.rows(Split.TRAIN)):
        raise ErcError(
            f"Corpus {table.corpus!r}: no train row has {', '.join(gone)}, so there is nothing to "
            "learn. Leave it out of --target."
        )
    return tuple(_warnings(table))


def check_folds(table: FeatureTable, folds: Sequence[Fold], config: FuseConfig) -> tuple[str, ...]:
    """Warnings; raises ErcError if a fold has nothing to learn from or to choose on, or a context
    would read utterances of a dialogue that are held out."""
    found = []
    for fold in folds:
        for rows, part in ((fold.train, "learn from"), (fold.dev, "choose on")):
            labelled = table.labelled[rows].any()
            if not labelled or not table.present[rows].any():
                what = "an embedding" if labelled else "a label"
                raise ErcError(
                    f"--folds {config.folds}: without fold {fold.name} no row to {part} has {what}."
                )
        if wrong := _undecided(table, fold.dev, config.monitor):
            raise ErcError(
                f"--folds {config.folds}: without fold {fold.name}, {wrong} in the rows to choose "
                "on. Take another --dev or other folds."
            )
        if gone := _unknown(table, fold.train):
            raise ErcError(
                f"--folds {config.folds}: without fold {fold.name} no row to learn from has "
                f"{', '.join(gone)}."
            )
        if gone := _unknown(table, fold.test):
            found.append(f"fold {fold.name} has no {' and no '.join(gone)} to score")
        if absent := _absent(table, fold.train):
            found.append(f"without fold {fold.name} there is no {', '.join(absent)} to learn")
    if shared := shared_dialogues(table, folds):
        if config.model.context != "none":
            raise ErcError(
                f"--folds {config.folds} --context {config.model.context}: {shared} dialogues are "
                "in several parts (train, dev, held out) of a fold, so what is held out would be "
                "read as context. Take --folds dialogue or session, or --context none."
            )
        found.append(
            f"{shared} dialogues are in several folds: features that read the dialogue (--history) "
            "have seen what is held out"
        )
    for m, source in enumerate(table.sources):
        share = table.present[:, m].mean()
        gone = [fold.name for fold in folds if not table.present[fold.train, m].any()]
        if gone:
            found.append(f"{source.stem} has nothing to learn from without {', '.join(gone)}")
        elif share < COVERED:
            found.append(f"{source.stem} has embeddings of {share:.0%} of the rows only")
    unit = "speaker" if parse_rule(config.folds)[0] == "speaker" else "dialogue"
    if (count := len(np.unique(clusters(table, config.folds)))) < DIALOGUES:
        found.append(f"there are {count} {unit}s: intervals and tests over {unit}s say little")
    return tuple(found)


def _warnings(table: FeatureTable) -> Iterator[str]:
    for label in _absent(table, table.rows(Split.TRAIN)):
        yield f"{label} does not occur in train and can't be learned"
    for split in (Split.DEV, Split.TEST):
        rows = table.rows(split)
        gone = _unknown(table, rows) if table.labelled[rows].any() else []
        if gone:
            yield f"no {split} row has {' or '.join(gone)}: {split} scores are of the others alone"
        elif (
            table.labelled[rows].any()
            and table.sets is not None
            and not (table.sets[rows] > 0).any()
        ):
            yield f"no {split} row has any label: its micro F1, macro F1 and mAP are 0"
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


def _unknown(table: FeatureTable, rows: np.ndarray) -> list[str]:
    """The columns to predict of which none of those rows says anything."""
    of_labels = [name for name in table.target.split(",") if name not in table.number_names]
    known = (table.label[rows] >= 0).any()
    if table.sets is not None:
        known = not np.isnan(table.sets[rows]).all()
    numbers = () if table.numbers is None else table.numbers[rows].T
    found = [", ".join(of_labels)] if of_labels and not known else []
    named = zip(table.number_names, numbers, strict=True)
    return found + [name for name, values in named if np.isnan(values).all()]


def _undecided(table: FeatureTable, rows: np.ndarray, monitor: str) -> str:
    """Why every model scores the same on those rows by `monitor`; "" where it does not."""
    if monitor == "ccc" and table.numbers is not None:
        spans = [values[~np.isnan(values)] for values in table.numbers[rows].T]
        if not any(len(np.unique(values)) > 1 for values in spans):
            names = table.number_names
            verb = "are" if len(names) > 1 else "is"
            return f"{' and '.join(names)} {verb} never known, or always the same,"
    elif monitor and table.sets is not None:
        if not (table.sets[rows] > 0).any():
            return f"no row has any of {', '.join(table.labels)}"
    elif monitor and not (table.label[rows] >= 0).any():
        return f"no row has a class, which --monitor {monitor} needs,"
    return ""


def _absent(table: FeatureTable, rows: np.ndarray) -> list[str]:
    """The labels that none of those rows has."""
    seen = set(table.label[rows].tolist())
    if table.sets is not None:
        seen = set(np.flatnonzero((table.sets[rows] > 0).any(0)).tolist())
    return [label for c, label in enumerate(table.labels) if c not in seen]
