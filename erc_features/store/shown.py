"""A feature file as Jupyter shows it: what it is, and how many of its rows are there."""

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from erc_features.errors import FeatureFileError
from erc_features.store.layout import Status

if TYPE_CHECKING:
    from erc_features.store.file import FeatureFile


_LEFT = 'style="text-align: left"'  # Jupyter sets numbers and texts to the right


def as_html(file: "FeatureFile") -> str:
    """Two small tables. Of a file elsewhere only its status column is read, a byte a row."""
    try:
        rows = _rows(file)
        about = _about(file)
    except FeatureFileError as error:  # closed, or out of reach
        rows, about = f"<p>{escape(str(error))}</p>", _about(file)
    return f"<p><b>{escape(file.stem)}</b></p>{about}{rows}"


def _about(file: "FeatureFile") -> str:
    made = file.provenance
    n, layers, dim = file.shape
    lines = {
        "corpus": made.corpus,
        "encoder": made.encoder,
        "x": f"N={n:,}, L={layers}, D={dim}, {file.dtype.name}",
        "labels": ", ".join(file.labels),
        "file": str(file.path),
    }
    if not file.complete:
        lines["complete"] = "no: unfinished, or being written"
    rows = (f"<tr><th>{escape(k)}</th><td {_LEFT}>{escape(v)}</td></tr>" for k, v in lines.items())
    return f'<table class="dataframe"><tbody>{"".join(rows)}</tbody></table>'


def _rows(file: "FeatureFile") -> str:
    """Rows of each split by status; columns where no row is are left out."""
    status = file.status
    here = not isinstance(file.path, str)
    split = file.split.astype(str) if here else np.full(len(status), "all")
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
