"""Runs become a table and one HTML file that say what helped, and how certain that is.

Nothing trains or chooses here: a report may only show what runs hold.
"""

from collections.abc import Sequence
from pathlib import Path

from erc_features.errors import RunError
from erc_fusion.report.comparison import Comparison, compare
from erc_fusion.report.difference import Changed, Difference, difference, difference_as_dict
from erc_fusion.report.export import write_csv, write_latex
from erc_fusion.report.matrix import Matrix, make_matrix
from erc_fusion.report.matrix_export import (
    matrix_as_dict,
    write_matrix_csv,
    write_matrix_latex,
)
from erc_fusion.report.summary import footnotes, sentences, warnings
from erc_fusion.report.table import tabulate
from erc_fusion.report.text import as_dict, rich_table
from erc_fusion.runs.ladder import Ladder, ladder_path, read_ladder
from erc_fusion.runs.run import Run, find_runs

__all__ = [
    "Changed",
    "Comparison",
    "Difference",
    "Matrix",
    "across",
    "as_dict",
    "difference",
    "difference_as_dict",
    "find_study",
    "footnotes",
    "matrix_as_dict",
    "report",
    "rich_table",
    "sentences",
    "tabulate",
    "warnings",
    "write_csv",
    "write_latex",
    "write_matrix_csv",
    "write_matrix_latex",
]


def report(
    runs: Sequence[Run],
    *,
    to: Path | None,
    baseline: Run | None = None,
    unfinished: Sequence[Path] = (),
    ladder: Ladder | None = None,
    corpus_root: Path | None = None,
    sound: bool = False,
) -> Comparison:
    """Compare runs of one corpus and write the page.

    Args:
        runs: in the order to show; those of the ladder come first.
        to: the HTML file; None writes none.
        baseline: the run that the others are tested against; by default the ladder's first one.
        unfinished: run directories without DONE, named in a note.
        ladder: a study's rungs, shown in order, each tested against the one before.
        corpus_root: the corpus, for pictures of the mistakes; None shows none.
        sound: with their sound, which is large.

    Raises:
        RunError: there is no finished run, one is damaged, or the runs, the ladder and the corpus
            at `corpus_root` are not all of one corpus.
        CorpusError: there is no corpus at `corpus_root`.
        ErcError: `to` can't be written.
    """
    comparison = compare(runs, baseline=baseline, unfinished=unfinished, ladder=ladder)
    if to is not None:
        from erc_fusion.report.page import write

        write(comparison, to, corpus_root=corpus_root, sound=sound)
    return comparison


def across(
    root: Path,
    corpora: Sequence[str],
    named: Sequence[Path] = (),
    *,
    to: Path | None,
    target: str | None = None,
) -> Matrix:
    """Show runs of several training corpora on each of these corpora, and write the page.

    Args:
        root: the folder of runs.
        corpora: their names or folders, in the order to show.
        named: the runs to show. Of a corpus of which none is named, it is the one that dev chooses.
        to: the HTML file; None writes none.
        target: only runs that predict this.

    Raises:
        RunError: a corpus has neither a run nor scores of one, dev chooses none of its runs, the
            runs predict different things, or a file is damaged.
        ErcError: `to` can't be written.
    """
    made = make_matrix(root, corpora, named, target=target)
    if to is not None:
        from erc_fusion.report.matrix_page import write_matrix

        write_matrix(made, to)
    return made


def find_study(root: Path, corpus: str, name: str) -> tuple[Ladder, list[Run], list[Path]]:
    """(the ladder that `erc study` left, its finished runs, its unfinished ones) below `root`.

    Raises:
        RunError: there is no such study (lists those that are there), it is damaged, or a run
            that it names is gone.
    """
    path = ladder_path(root, corpus, name)
    if not path.is_file():
        ending = path.name.removeprefix(name)
        known = sorted(each.name.removesuffix(ending) for each in path.parent.glob(f"*{ending}"))
        raise RunError(
            f"No study {name!r} in {path.parent}; there: {', '.join(known) or 'none'}. "
            "Make it with `erc study`, or choose its corpus with --corpus."
        )
    ladder = read_ladder(path)
    named = dict.fromkeys(path.parent / rung.run for rung in ladder.rungs if rung.run)
    return ladder, *(find_runs(root, corpus, [*named]) if named else ([], []))
