"""Which columns of a table are features, and what to say of those that may not be."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from erc_features.errors import ErcError
from erc_features.interchange.found import Asked


def must_be_text(source: Path, name: str, column: Any) -> None:
    """A column that is no feature must not be one of numbers with a slip in it.

    Raises:
        ErcError: most cells are numbers; names the column and the first cell that is none.
    """
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


def notes_on(asked: Asked, features: Any, keys: Sequence[str]) -> Iterator[str]:
    """Which columns were taken; and which of them look like the label in numbers."""
    names = list(features.columns)
    shown = names if len(names) < 7 else [*names[:3], "…", *names[-3:]]
    yield f"columns used: {', '.join(shown)} ({len(names):,})"
    labels = {u.key: u.label for u in asked.names.corpus.utterances}
    for name in names:
        values = features[name].to_numpy(np.float64)
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
