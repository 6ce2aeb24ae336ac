"""Runs -> a table, and one HTML file.

rows        a run's metrics, typed
comparison  the runs of one corpus side by side
table       the headline table as cells, for every medium
summary     what it says, in sentences
text        for the terminal and for `--json`
svg, plots  pictures
page        the HTML file (page.html, style.css)
"""

from collections.abc import Sequence
from pathlib import Path

from erc_fusion.report.comparison import Comparison, compare
from erc_fusion.report.summary import sentences, warnings
from erc_fusion.report.table import tabulate
from erc_fusion.report.text import as_dict, rich_table
from erc_fusion.runs import Run

__all__ = [
    "Comparison",
    "as_dict",
    "report",
    "rich_table",
    "sentences",
    "tabulate",
    "warnings",
]


def report(
    runs: Sequence[Run],
    *,
    to: Path | None,
    baseline: Run | None = None,
    unfinished: Sequence[Path] = (),
) -> Comparison:
    """Compare runs of one corpus and write the page.

    Args:
        runs: In the order to show, a study's for instance.
        to: The HTML file; None writes none.
        baseline: A run that the others' differences are given against.
        unfinished: Run directories without DONE, named in a note.

    Raises:
        RunError: there is no finished run, one is damaged, or they are of several corpora.
        ErcError: `to` can't be written.
    """
    comparison = compare(runs, baseline=baseline, unfinished=unfinished)
    if to is not None:
        from erc_fusion.report.page import write

        write(comparison, to)
    return comparison
