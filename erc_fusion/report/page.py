"""The comparison as one self-contained HTML file: no scripts, nothing fetched, plots as SVG."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from importlib.metadata import version
from itertools import groupby
from pathlib import Path

from erc_features import pages
from erc_features.whole_file import whole_file
from erc_fusion.report import plots
from erc_fusion.report.comparison import Comparison
from erc_fusion.report.elsewhere import elsewhere
from erc_fusion.report.maps import maps
from erc_fusion.report.mistakes import pick
from erc_fusion.report.published import ROWS as MELD_TEST
from erc_fusion.report.published import published_for, published_note
from erc_fusion.report.run_section import section
from erc_fusion.report.summary import footnotes, sentences
from erc_fusion.report.table import interval, percent, probability, spread, tabulate, unit_of
from erc_fusion.runs.run import DONE
from erc_fusion.runs.scored import Scored
from erc_fusion.runs.scores import NAMES, number

_HERE = Path(__file__).parent


def write(
    comparison: Comparison, to: Path, *, corpus_root: Path | None = None, sound: bool = False
) -> None:
    """Write the page to `to`, whole or not at all; errors as of :func:`erc_fusion.report.report`.

    Args:
        corpus_root: the corpus's folder; its pictures are shown beside the mistakes.
        sound: its sound, too.
    """
    with whole_file(to, "choose another file with --to") as part:
        part.write_text(render(comparison, corpus_root=corpus_root, sound=sound), encoding="utf-8")


def render(comparison: Comparison, *, corpus_root: Path | None = None, sound: bool = False) -> str:
    """The page as text; arguments and errors as those of :func:`write`."""
    from markupsafe import Markup

    environment = pages.environment(_HERE)
    environment.filters.update(percent=percent, probability=probability, spread=spread, svg=Markup)
    environment.filters["interval"] = interval
    environment.filters["score"] = lambda value, name: number(name, value)
    environment.filters["thousands"] = "{:,}".format
    split = comparison.split
    best = comparison.best or comparison.rows[0]
    majority = comparison.majority(split)
    table = tabulate(comparison)
    found = elsewhere(comparison)
    of_masks: dict[tuple[str, ...], list[tuple[str, Scored]]] = {}
    for row, scored in found.masked:
        hidden = tuple(sorted({name for step in scored.masked for name in step.shares}))
        of_masks.setdefault(hidden, []).append((row.name, scored))
    groups = [(group, list(found)) for group, found in groupby(table.columns, lambda c: c.group)]
    ladder = comparison.ladder
    # Each run's first rung; the final model is one of those before.
    rungs = {rung.run: rung for rung in reversed(ladder.rungs if ladder else ()) if rung.run}
    titles = {run: rung.title for run, rung in rungs.items()}
    # Before the pictures of all runs: it is here that a damaged run is found.
    sections = [
        section(comparison, row, number, opened=row is best, rung=rungs.get(row.name))
        for number, row in enumerate(comparison.rows, start=1)
    ]
    return environment.get_template(
        "page.html"
    ).render(
        style=Markup((_HERE / "style.css").read_text(encoding="utf-8")),  # ours: nothing to escape
        comparison=comparison,
        split=split,
        counts=" · ".join(f"{split} {n:,}" for split, n in comparison.corpus.counts.items()),
        dates=_dates([row.run.path for row in comparison.rows]),
        sentences=sentences(comparison),
        table=table,
        groups=groups,
        firsts=[sum(len(columns) for _, columns in groups[:i]) for i in range(len(groups))],
        metric_names=NAMES,
        unit=unit_of(comparison),
        target=best.target,
        footnotes=footnotes(comparison),
        anchors={row.run.path: f"run-{i}" for i, row in enumerate(comparison.rows, start=1)},
        titles=titles,
        overviews=[
            plots.overview(comparison, metric, f"overview-{metric}", titles)
            for metric in comparison.paired_by
            if any(row.split(split) for row in comparison.rows)
        ],
        published=published_for(comparison),
        published_note=published_note(comparison),
        # Ours is shown beside them only where it is of the same rows.
        ours=comparison.best is best
        and best.test is not None
        and not best.folds
        and comparison.corpus.counts.get("test") == MELD_TEST,
        maps=[
            (found, plots.embeddings(found, majority.label if majority else None, f"map-{i}"))
            for i, found in enumerate(maps(comparison, best) if majority else (), start=1)
        ],
        best=best,
        elsewhere=found,
        masked=[
            plots.missing(found.metric, [(titles.get(n, n), s) for n, s in every], f"missing-{i}")
            for i, every in enumerate(of_masks.values(), start=1)
        ],
        mistakes=pick(best, split, corpus_root, sound) if majority else (),
        sections=sections,
        version=version("erc"),
    )


def _dates(paths: Sequence[Path]) -> str:
    """ "20 Nov 2026" or "20 Nov 2026 to 22 Nov 2026": when the runs were finished, in UTC."""
    days = []
    for path in paths:
        with suppress(OSError, ValueError):  # what counts is that DONE is there, not its text
            text = (path / DONE).read_text(encoding="utf-8").strip()
            days.append(datetime.fromisoformat(text).date())
    ends = dict.fromkeys(f"{day.day} {day:%b %Y}" for day in (min(days), max(days))) if days else {}
    return " to ".join(ends)
