"""A run as Jupyter shows it: what it is, and its scores on dev and test."""

from html import escape
from typing import Any

from erc_fusion.runs.scores import NAMES, number, scores_of, unit

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
    names = [*scores_of(metrics), *(["ece"] if "accuracy" in scores_of(metrics) else [])]
    called = [NAMES.get(name, "calibration error") for name in names]
    head = "".join(f"<th>{name}</th>" for name in ("split", "rows", *called))
    body = ""
    for split in ("dev", "test"):
        found = metrics[split]
        if found is None:
            body += f"<tr><th>{split}</th><td colspan='{len(names) + 1}'>no labels</td></tr>"
            continue
        rows = f"<td>{found['labelled']:,}</td>"
        cells = "".join(
            f"<td>{_score(name, found[name]) if name in found else ''}</td>" for name in names
        )
        body += f"<tr><th>{split}</th>{rows}{cells}</tr>"
        if (
            len(metrics["seeds"]) > 1 and "ensemble" in found
        ):  # the ensemble has no calibration error
            together = ((name, found["ensemble"].get(name)) for name in names)
            cells = "".join(f"<td>{'' if x is None else number(n, x)}</td>" for n, x in together)
            body += f"<tr><th>{split}, the seeds' ensemble</th>{rows}{cells}</tr>"
    left = [NAMES[name] for name in scores_of(metrics) if not unit(name)]
    plain = f" ({', '.join(left)} as they are)" if left else ""
    return (
        f'<table class="dataframe"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        f"<p><small>%{plain}, mean ± deviation over seeds [95% interval over {over}]</small></p>"
    )


def _score(name: str, score: dict[str, Any]) -> str:
    mean, low, high = (number(name, score[each]) for each in ("mean", "low", "high"))
    spread = "" if score["std"] is None else f" ± {number(name, score['std'])}"
    return f"{mean}{spread} <small>[{low}, {high}]</small>"
