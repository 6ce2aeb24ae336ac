"""Which columns of a table are features, and warnings about those that may not be."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from erc_features.errors import ErcError, choose, listed
from erc_features.interchange.base import Asked
from erc_features.interchange.parquet import ListColumn

# A name made only of these words, or of these and a label, is no feature: y_true, anger_prob, …
_WORDS = {
    "true", "truth", "gold", "target", "label", "labels", "class", "emotion", "y", "hat", "p", "id",
    "pred", "preds", "predicted", "prediction", "predictions", "prob", "probs", "proba", "probas",
    "probability", "probabilities", "posterior", "posteriors", "score", "scores", "logit", "logits",
    "confidence", "uncertainty", "correct", "entropy", "likelihood",
}  # fmt: skip
_OF_LABEL = "of a label"
_GUESS = re.compile(r"(prob|proba|probability|probabilities|logit|pred|predicted|prediction)s?\d*")


def must_be_text(source: Path, name: str, column: Any) -> None:
    """Refuse a column of texts if most cells are numbers: names the first cell that is not one."""
    import pandas as pd

    cells = column.astype(str).str.strip()
    commas = cells.str.fullmatch(r"[-+]?\d+,\d+(?:[eE][-+]?\d+)?")
    numbers = pd.to_numeric(cells, errors="coerce").notna() | commas
    if 2 * numbers.sum() <= len(cells):
        return
    row = int(np.argmax(commas if commas.any() else ~numbers))
    cell = cells.iloc[row][:40]
    raise ErcError(
        f"{source}: column {name!r} holds numbers, but row {row} of it {cell!r}."
        + (" Decimals have a point: write it with decimal='.'." if commas.any() else
           " Leave such a cell empty, and its row is failed; or take the column out.")
    )  # fmt: skip


def scores_in(asked: Asked, frame: Any, names: Sequence[str]) -> dict[str, str]:
    """Columns that hold the truth, a prediction, a probability or a score of the row -> why.

    They know the answer or guess it. nkululeko's table of predictions has a column for each
    label with probabilities or logits, `predicted`, `truth`, `uncertainty` and `correct`.
    """
    labels = {label.casefold() for label in asked.names.corpus.labels}
    found = {}
    for name in names:
        words = [word for word in re.split(r"[\W_]+", name.casefold()) if word]
        rest = " ".join(word for word in words if word not in _WORDS)
        if name.strip().casefold() in labels or (rest in labels and rest):
            found[name] = _OF_LABEL
        elif (words and not rest and words not in (["y"], ["p"], ["id"])) or (
            words and _GUESS.fullmatch(words[0])
        ):
            found[name] = "by its name"
        elif name in frame.columns and frame[name].dtype.kind == "b":
            found[name] = "true or false"
    return found


def choose_columns(
    asked: Asked,
    frame: Any,
    lists: Mapping[str, ListColumn],
    numeric: Sequence[str],
    scores: Mapping[str, str],
    offered: Sequence[str],
) -> list[str]:
    """The columns to take: those of `--field`, otherwise the column of lists, otherwise `offered`.

    Args:
        numeric: every column of numbers, which `--field` may name.
        scores: those that :func:`scores_in` found.
        offered: columns of numbers and of lists that may be taken without being named.

    Raises:
        ErcError: there are several columns of lists, or none to take; or a `--field` is neither
            numbers nor lists.
    """
    source, known = asked.source, [*numeric, *lists]
    if asked.field is not None:
        whole = asked.field.strip()
        wanted = [whole] if whole in known else [name.strip() for name in whole.split(",")]
        for name in wanted:
            choose(f"field of {source}", name, known)
        if twice := [name for name in wanted if wanted.count(name) > 1]:
            raise ErcError(f"{source}: --field names {twice[0]} twice.")
        if 0 < sum(name in lists for name in wanted) < len(wanted):
            raise ErcError(f"{source}: --field names columns of lists and of single numbers "
                           f"together ({whole}); take one kind of them.")  # fmt: skip
        return wanted
    several = [name for name in offered if name in lists]
    if len(several) > 1:
        lines = [f"{name}: {lists[name].kind}" for name in several]
        raise ErcError(f"{source}: has {len(several)} columns of lists of numbers; choose one "
                       f"with --field:{listed(lines, 10)}")  # fmt: skip
    if several or offered:
        return several or list(offered)
    shown = [*map(str, frame.columns), *lists]
    of_labels = [name for name, why in scores.items() if why == _OF_LABEL]
    way = ",".join(of_labels or ["NAME"])
    raise ErcError(
        f"{source}: no column of numbers is left as features; it has "
        f"{', '.join(map(repr, shown[:10]))}."
        + (" Is it a table of predictions? Truth, predictions, probabilities and scores are taken "
           f"only by name, as --field {way}." if scores else "")
    )  # fmt: skip


def score_notes(scores: Mapping[str, str], taken: Sequence[str]) -> Iterator[str]:
    """Notes on columns that may know the answer: those left out, and those taken by name."""
    if left := [f"{name} ({why})" for name, why in scores.items() if name not in taken]:
        more = f" and {len(left) - 20} more" if len(left) > 20 else ""
        yield (
            "left out as truth, prediction, probability or score of a row: "
            f"{', '.join(left[:20])}{more}; --field takes such columns, with all others by name"
        )
    if kept := [name for name in taken if name in scores]:
        yield (
            f"{', '.join(kept[:10])}: taken by name, though truth, predictions and scores know or "
            "guess the answer"
        )


def notes_on(asked: Asked, frame: Any, names: Sequence[str], keys: Sequence[str]) -> Iterator[str]:
    """Notes on the columns that were taken, and on those that look like the label in numbers."""
    shown = names if len(names) < 7 else [*names[:3], "…", *names[-3:]]
    yield f"columns used: {', '.join(shown)} ({len(names):,})"
    labels = {u.key: u.label for u in asked.names.corpus.utterances}
    for name in (one for one in names if one in frame.columns):
        values = frame[name].to_numpy(np.float64)
        beside: dict[float, set[str]] = {}
        if len(np.unique(values)) > len(asked.names.corpus.labels) or (values % 1 != 0).any():
            continue
        for value, key in zip(values.tolist(), keys, strict=True):
            if labels[key]:
                beside.setdefault(value, set()).add(labels[key])
        if 1 < len(beside) <= len(keys) / 2 and all(len(one) == 1 for one in beside.values()):
            yield (
                f"column {name!r} has one whole number for each label: is it the label itself? "
                "Then take it out, or what is trained on it will know the answer"
            )
