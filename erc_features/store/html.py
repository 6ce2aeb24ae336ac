"""How Jupyter shows a feature file: its provenance, and a count of its rows."""

from collections.abc import Iterable, Mapping
from html import escape

import numpy as np

from erc_features.store.layout import Status

_LEFT = 'style="text-align: left"'  # Jupyter aligns texts to the right


def as_html(name: str, about: Mapping[str, str], rows: str) -> str:
    """A file's name, a table of what is said `about` it, and `rows`: a table or a sentence."""
    lines = (f"<th>{escape(k)}</th><td {_LEFT}>{escape(v)}</td>" for k, v in about.items())
    return f"<p><b>{escape(name)}</b></p>{_table(lines)}{rows}"


def count_rows(status: np.ndarray, split: np.ndarray) -> str:
    """A table of the rows (N,) of each split by status, without the states that no row has."""
    shown = [state for state in Status if state == Status.OK or (status == state).any()]
    names = ("split", "rows", *(s.name.lower() for s in shown))
    lines = ["".join(f"<th>{name}</th>" for name in names)]
    for name in dict.fromkeys(split.tolist()):
        of = status[split == name]
        counts = [len(of), *(int((of == state).sum()) for state in shown)]
        cells = "".join(f"<td>{count:,}</td>" for count in counts)
        lines.append(f"<th>{escape(name)}</th>{cells}")
    return _table(lines)


def _table(lines: Iterable[str]) -> str:
    return f'<table class="dataframe">{"".join(f"<tr>{line}</tr>" for line in lines)}</table>'
