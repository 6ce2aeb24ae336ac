"""The headline table for other tools: numbers as CSV, and LaTeX for papers."""

import csv
import io
from itertools import groupby
from pathlib import Path

from erc_features.whole_file import whole_file
from erc_fusion.report.comparison import Comparison, Pair
from erc_fusion.report.summary import folded, footnotes
from erc_fusion.report.table import STAR, Cell, Line, Table, tabulate, unit_of
from erc_fusion.runs.scores import NAMES

_SPLITS = ("dev", "test")
_STATS = ("mean", "std", "low", "high")
_TESTS = ("difference", "low", "high", "p", "p_holm")
_ESCAPES = {sign: f"\\{sign}" for sign in "{}&%$#_"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "–": "--",
    "—": "---",
    "−": r"$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "Δ": r"$\Delta$",
    "…": r"\ldots{}",
    "“": "``",
    "”": "''",
    "\u00a0": "~",
}


def as_csv(comparison: Comparison) -> str:
    """A line for the majority baseline, each rung and each run; scores as unrounded fractions.

    Columns: name, run, adds, note, final, head, modalities, files, seeds, folds; then
    `<split>_<metric>_<mean|std|low|high>` and `<before|baseline>_<metric>_<difference|…|p_holm>`.
    A cell is empty where there is no such figure.
    """
    names, by = comparison.scores, comparison.paired_by
    figures = [f"{s}_{m}_{k}" for s in _SPLITS for m in names for k in _STATS]
    figures += [f"{o}_{m}_{k}" for o in ("before", "baseline") for m in by for k in _TESTS]
    about = ["name", "run", "adds", "note", "final", "head", "modalities", "files", "seeds",
             "folds"]  # fmt: skip
    to = io.StringIO()
    writer = csv.DictWriter(to, [*about, *figures], restval="", lineterminator="\n")
    writer.writeheader()
    for line in tabulate(comparison).lines:
        cells: dict[str, object] = {"name": line.name, "adds": line.adds, "note": line.note}
        cells["final"] = "yes" if line.final else ""
        row = line.row
        if row is not None:
            cells |= {"run": row.name, "head": row.head, "modalities": "+".join(row.modalities)}
            # A file's name may hold a "+".
            cells |= {"files": " ".join(row.files), "seeds": len(row.seeds), "folds": row.rule}
            cells |= {
                f"{split}_{metric}_{kind}": getattr(stat, kind)
                for split in _SPLITS
                if (result := row.split(split))
                for metric in names
                if (stat := result.known(metric))
                for kind in _STATS
            }
            cells |= _tests("before", comparison.before(line.rung) if line.rung else None)
            cells |= _tests("baseline", comparison.against_baseline(row))
        elif line.rung is None:
            cells |= {
                f"{split}_{metric}_mean": getattr(scores, metric)
                for split in _SPLITS
                if (scores := comparison.majority(split))
                for metric in names
                if getattr(scores, metric, None) is not None
            }
        writer.writerow(cells)
    return to.getvalue()


def as_latex(comparison: Comparison) -> str:
    r"""A `tabular` to `\input`; the preamble needs `\usepackage{booktabs}`.

    Intervals are on a line of their own below the scores; the best of a column is bold.
    """
    table = tabulate(comparison)
    first = "Step" if comparison.ladder else "Run"
    over = folded(comparison)
    caption = (
        f"{comparison.corpus.name}: {unit_of(comparison)}, mean and deviation over seeds, 95% "
        "interval. "
        + (f"Cross-validated, over all rows: {over}. " if over else "")
        + " ".join(footnotes(comparison))
    )
    lines = [
        "% Made by `erc report --latex`. The preamble needs \\usepackage{booktabs}.",
        f"% \\caption{{{escape(caption.strip())}}}",
        f"\\begin{{tabular}}{{l{'c' * len(table.columns)}}}",
        "\\toprule",
        *_heading(table, first),
        "\\midrule",
    ]
    for line in table.lines:
        lines += _latex_line(line)
        if line.row is None and line.rung is None:
            lines.append("\\midrule")  # under the majority
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])


def write_csv(comparison: Comparison, to: Path) -> None:
    """Write :func:`as_csv` whole or not at all; raises ErcError where it can't be written."""
    with whole_file(to, "choose another file with --csv") as part:
        part.write_text(as_csv(comparison), encoding="utf-8")


def write_latex(comparison: Comparison, to: Path) -> None:
    """Write :func:`as_latex` whole or not at all; raises ErcError where it can't be written."""
    with whole_file(to, "choose another file with --latex") as part:
        part.write_text(as_latex(comparison), encoding="utf-8")


def escape(text: str) -> str:
    r"""Text as LaTeX shows it; a line break becomes a space.

    >>> escape("a_b & 50%")
    'a\\_b \\& 50\\%'
    """
    return "".join(_ESCAPES.get(sign, sign) for sign in " ".join(text.splitlines()))


def _tests(other: str, pair: Pair | None) -> dict[str, object]:
    return {
        f"{other}_{metric}_{kind}": getattr(test, kind, pair.holm[metric])
        for metric, test in (pair.tests.items() if pair else ())
        for kind in _TESTS
        if pair
    }


def _heading(table: Table, first: str) -> list[str]:
    """Two lines: what the columns are of, with a rule under each group; and their metrics."""
    groups, rules, at = [], [], 2
    for name, members in groupby(column.group for column in table.columns):
        wide = len(list(members))
        groups.append(f"\\multicolumn{{{wide}}}{{c}}{{{escape(name)}}}")
        rules.append(f"\\cmidrule(lr){{{at}-{at + wide - 1}}}")
        at += wide
    metrics = [escape(NAMES[column.metric]) for column in table.columns]
    return [
        " & ".join(["", *groups]) + r" \\",
        " ".join(rules),
        " & ".join([first, *metrics]) + r" \\",
    ]


def _latex_line(line: Line) -> list[str]:
    name = escape(line.name) + (r" (final)" if line.final else "")
    if line.note:
        note = f"\\multicolumn{{{len(line.cells)}}}{{l}}{{\\emph{{{escape(line.note)}}}}}"
        return [f"{name} & {note}" + r" \\"]
    scores = " & ".join([name, *map(_latex_cell, line.cells)]) + r" \\"
    small = [cell.interval and f"{{\\scriptsize {escape(cell.interval)}}}" for cell in line.cells]
    return [scores, " & ".join(["", *small]) + r" \\"] if any(small) else [scores]


def _latex_cell(cell: Cell) -> str:
    bare = cell.text.removesuffix(STAR)
    text = escape(bare) + ("$^{*}$" if bare != cell.text else "")
    return f"\\textbf{{{text}}}" if cell.best else text
