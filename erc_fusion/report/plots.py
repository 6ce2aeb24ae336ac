"""Pictures of all runs side by side. Each function of `plots*.py` makes an SVG element of data.

Colours are placeholders of :mod:`.svg`; blue and orange (Okabe and Ito) differ to every eye,
and nothing is told by colour alone.
"""

from collections.abc import Mapping

from erc_fusion.report import svg
from erc_fusion.report.comparison import Comparison
from erc_fusion.report.svg import WIDTH, short
from erc_fusion.report.table import NAMES


def overview(
    comparison: Comparison, metric: str, name: str, titles: Mapping[str, str] | None = None
) -> str:
    """Mean and 95% interval of every run on test (else dev); the majority baseline is dashed.

    `titles`: what to call a run instead of its name.
    """
    split = comparison.split
    rows = [(row, result) for row in comparison.rows if (result := row.split(split))]
    majority = comparison.majority(split)
    with svg.style():
        drawn = svg.figure(WIDTH, 62 + 24 * len(rows))
        axes = drawn.add_subplot()
        for i, (row, result) in enumerate(rows):
            stat = result.stat(metric)
            chosen = row is comparison.best
            colour = svg.ACCENT if chosen else svg.INK
            axes.plot([100 * stat.low, 100 * stat.high], [i, i], color=colour, linewidth=1.6)
            axes.plot(
                100 * stat.mean,
                i,
                "o",
                markersize=6.5,
                markeredgecolor=colour,
                markerfacecolor=colour if chosen else svg.PAPER,
                markeredgewidth=1.5,
            )
        if majority:
            value = 100 * getattr(majority, metric)
            axes.axvline(value, color=svg.SOFT, linewidth=1, linestyle=(0, (3, 2.5)))
            axes.annotate(
                "majority",
                (value, -0.75),
                (3, 0),
                textcoords="offset points",
                color=svg.SOFT,
                fontsize=9.5,
                va="center",
            )
        names = [short((titles or {}).get(row.name, row.name), 22) for row, _ in rows]
        axes.set_yticks(range(len(rows)), names, color=svg.INK)
        axes.set(ylim=(len(rows) - 0.4, -1.1), xlabel=f"{split} {NAMES[metric]}, %")
        axes.margins(x=0.08)
        axes.grid(axis="x")
        axes.spines["bottom"].set_visible(False)
        return svg.to_svg(
            drawn, name, f"{split} {NAMES[metric]} of every run; the table has it too"
        )
