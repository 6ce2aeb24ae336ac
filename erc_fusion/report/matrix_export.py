"""The matrix for other programs: JSON, numbers as CSV, and LaTeX for papers."""

import csv
import io
from dataclasses import asdict
from pathlib import Path
from typing import Any

from erc_features.whole_file import whole_file
from erc_fusion.report.export import escape
from erc_fusion.report.matrix import Entry, Line, Matrix
from erc_fusion.report.table import NONE, interval, spread
from erc_fusion.runs.scores import NAMES

_STATS = ("mean", "std", "low", "high")
_EXPLAINED = (
    "Lines: the corpus that a run was trained on; columns: the corpus that it was tested on. On "
    "the diagonal, the run's own test. Mean and deviation over seeds, 95% interval."
)


def matrix_as_dict(matrix: Matrix) -> dict[str, Any]:
    """All that the page says, as numbers (fractions), for `--json`."""
    return {
        "corpora": list(matrix.corpora),
        "scores": list(matrix.scores),
        "runs": [
            {
                "name": line.row.name,
                "path": str(line.row.run.path),
                "trained_on": line.corpus.name,
                "fingerprint": line.corpus.fingerprint,
                "chosen": line.chosen,
                "target": line.row.target,
                "labels": list(line.row.labels),
                "head": line.row.head,
                "modalities": list(line.row.modalities),
                "files": list(line.row.files),
                "seeds": list(line.row.seeds),
                "folds": line.row.rule,
            }
            for line in matrix.lines
        ],
        "matrix": [_record(line, entry) for line in matrix.lines for entry in line.entries],
        "notes": list(matrix.notes),
        "unfinished": [str(path) for path in matrix.unfinished],
    }


def write_matrix_csv(matrix: Matrix, to: Path) -> None:
    """Write a line for each cell, whole or not at all; scores as unrounded fractions.

    Columns: run, path, trained_on, tested_on, own, split, rows, mapped, left_out, missing, command;
    then `<score>_<mean|std|low|high>`.

    Raises:
        ErcError: it can't be written.
    """
    about = ["run", "path", "trained_on", "tested_on", "own", "split", "rows", "mapped",
             "left_out", "missing", "command"]  # fmt: skip
    figures = [f"{score}_{kind}" for score in matrix.scores for kind in _STATS]
    text = io.StringIO()
    writer = csv.DictWriter(text, [*about, *figures], restval="", lineterminator="\n")
    writer.writeheader()
    for line, entry in ((li, each) for li in matrix.lines for each in li.entries):
        cells = _about(line, entry)
        cells |= {"own": "yes" if entry.own else "", "rows": entry.rows or ""}
        cells["mapped"] = ",".join(f"{theirs}={ours}" for theirs, ours in entry.mapped.items())
        cells["left_out"] = ",".join(f"{name}:{rows}" for name, rows in entry.left_out.items())
        cells |= {
            f"{score}_{kind}": getattr(stat, kind)
            for score, stat in entry.scores.items()
            if score in matrix.scores
            for kind in _STATS
        }
        writer.writerow(cells)
    with whole_file(to, "choose another file with --csv") as part:
        part.write_text(text.getvalue(), encoding="utf-8")


def write_matrix_latex(matrix: Matrix, to: Path) -> None:
    r"""Write a `tabular` to `\input`, whole or not at all: the lines of each score in turn.

    Raises:
        ErcError: it can't be written.
    """
    with whole_file(to, "choose another file with --latex") as part:
        part.write_text(_latex(matrix), encoding="utf-8")


def _latex(matrix: Matrix) -> str:
    wide = len(matrix.corpora) + 1
    several = len({line.corpus.name for line in matrix.lines}) < len(matrix.lines)
    notes = [f"{line.name} on {note}." for line in matrix.lines for entry in line.entries
             if not entry.missing for note in entry.notes]  # fmt: skip
    caption = " ".join([_EXPLAINED, *matrix.notes, *notes])
    lines = [
        "% Made by `erc report --latex`. The preamble needs \\usepackage{booktabs}.",
        f"% \\caption{{{escape(caption)}}}",
        f"\\begin{{tabular}}{{l{'c' * len(matrix.corpora)}}}",
        "\\toprule",
        " & ".join(["Trained on", *map(escape, matrix.corpora)]) + r" \\",
    ]
    for score in matrix.scores:
        lines += ["\\midrule", f"\\multicolumn{{{wide}}}{{l}}{{\\emph{{{NAMES[score]}}}}} \\\\"]
        for line in matrix.lines:
            name = line.name if several else line.corpus.name
            stats = [entry.scores.get(score) for entry in line.entries]
            scores = [escape(spread(stat, score) if stat else NONE) for stat in stats]
            under = [f"{{\\scriptsize {interval(stat, score)}}}" if stat else "" for stat in stats]
            lines.append(" & ".join([escape(name), *scores]) + r" \\")
            lines.append(" & ".join(["", *under]) + r" \\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])


def _about(line: Line, entry: Entry) -> dict[str, Any]:
    return {
        "run": line.row.name, "path": str(line.row.run.path), "trained_on": line.corpus.name,
        "tested_on": entry.corpus, "split": entry.split, "missing": entry.missing,
        "command": entry.command,
    }  # fmt: skip


def _record(line: Line, entry: Entry) -> dict[str, Any]:
    return {
        **_about(line, entry),
        "own": entry.own,
        "rows": entry.rows,
        "mapped": dict(entry.mapped),
        "left_out": dict(entry.left_out),
        "notes": list(entry.notes),
        **{score: asdict(stat) for score, stat in entry.scores.items()},
    }
