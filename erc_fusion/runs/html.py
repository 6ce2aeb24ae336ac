"""A run as Jupyter shows it: what it is, and its scores on dev and test."""

from html import escape
from typing import Any

_SCORES = {"accuracy": "accuracy", "weighted_f1": "weighted F1", "macro_f1": "macro F1",
           "uar": "UAR", "ece": "calibration error"}  # fmt: skip
_LEFT = 'style="text-align: left"'  # Jupyter aligns texts to the right, as numbers


def as_html(name: str, corpus: str, folder: str, metrics: dict[str, Any], folds: str = "") -> str:
    """What a run is and its scores, as two small tables; `folds` is its rule."""
    seeds = ", ".join(map(str, metrics["seeds"]))
    lines = {
        "corpus": corpus,
        "head": metrics["head"],
        "files": ", ".join(metrics["files"]),
        "seeds": f"{seeds}; the best epoch of each by dev {metrics['monitor']}",
        **({"folds": f"{folds}; test is every row, held out once"} if folds else {}),
        "folder": folder,
    }
    if warnings := metrics.get("warnings"):
        lines["warnings"] = "; ".join(warnings)
    rows = (f"<tr><th>{escape(k)}</th><td {_LEFT}>{escape(v)}</td></tr>" for k, v in lines.items())
    about = f'<table class="dataframe"><tbody>{"".join(rows)}</tbody></table>'
    return f"<p><b>{escape(name)}</b></p>{about}{_scores(metrics, folds)}"


def _scores(metrics: dict[str, Any], folds: str) -> str:
    """In percent: mean over seeds ± standard deviation, and the 95% interval over dialogues, or
    speakers where those are held out."""
    over = "speakers" if folds.partition(":")[0] == "speaker" else "whole dialogues"
    head = "".join(f"<th>{name}</th>" for name in ("split", "rows", *_SCORES.values()))
    body = ""
    for split in ("dev", "test"):
        found = metrics[split]
        if found is None:
            body += f"<tr><th>{split}</th><td colspan='{len(_SCORES) + 1}'>no labels</td></tr>"
            continue
        rows = f"<td>{found['labelled']:,}</td>"
        cells = "".join(f"<td>{_score(found[name]) if name in found else ''}</td>"
                        for name in _SCORES)  # fmt: skip
        body += f"<tr><th>{split}</th>{rows}{cells}</tr>"
        if len(metrics["seeds"]) > 1:  # the ensemble has no calibration error
            together = (found["ensemble"].get(name) for name in _SCORES)
            cells = "".join(f"<td>{'' if x is None else f'{100 * x:.1f}'}</td>" for x in together)
            body += f"<tr><th>{split}, the seeds' ensemble</th>{rows}{cells}</tr>"
    return (
        f'<table class="dataframe"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        f"<p><small>%, mean ± deviation over seeds [95% interval over {over}]</small></p>"
    )


def _score(score: dict[str, Any]) -> str:
    mean, low, high = (100 * score[name] for name in ("mean", "low", "high"))
    spread = "" if score["std"] is None else f" ± {100 * score['std']:.1f}"
    return f"{mean:.1f}{spread} <small>[{low:.1f}, {high:.1f}]</small>"
