"""A feature file as Jupyter shows it: what it is, and how many of its rows are there."""

from collections.abc import Mapping
from html import escape

import numpy as np

from erc_features.store.layout import Status

_LEFT = 'style="text-align: left"'  # Jupyter sets numbers and texts to the right


def as_html(name: str, about: Mapping[str, str], rows: str) -> str:
    """A file's name, a table of what is said `about` it, and `rows`: a table or a sentence."""
    lines = (f"<tr><th>{escape(k)}</th><td {_LEFT}>{escape(v)}</td></tr>" for k, v in about.items())
    table = f'<table class="dataframe"><tbody>{"".join(lines)}</tbody></table>'
    return f"<p><b>{escape(name)}</b></p>{table}{rows}"


def count_rows(status: np.ndarray, split: np.ndarray) -> str:
    """A table of the rows (N,) of each split by status, without the states that no row has."""
    names = list(dict.fromkeys(split.tolist()))
    shown = [state for state in Status if state == Status.OK or (status == state).any()]
    head = "".join(
        f"<th>{name}</th>" for name in ("split", "rows", *(s.name.lower() for s in shown))
    )
    body = ""
    for name in names:
        of = status[split == name]
        counts = [len(of), *(int((of == state).sum()) for state in shown)]
        cells = "".join(f"<td>{count:,}</td>" for count in counts)
        body += f"<tr><th>{escape(name)}</th>{cells}</tr>"
    return f'<table class="dataframe"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
