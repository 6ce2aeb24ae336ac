"""Plots of all runs side by side, of a run's inputs, and of its embeddings.

Each function of `plots*.py` turns data into an SVG element whose ids begin with `name`. Colours are
placeholders of :mod:`.svg`; blue and orange (Okabe and Ito) are distinct to every eye, and nothing
is told by colour alone.
"""

from collections.abc import Mapping, Sequence

from erc_fusion.report import svg
from erc_fusion.report.comparison import Comparison
from erc_fusion.report.elsewhere import steps
from erc_fusion.report.maps import Map
from erc_fusion.report.results import Layers, Weight
from erc_fusion.report.svg import DASHED, WIDTH, short
from erc_fusion.runs.scored import Scored
from erc_fusion.runs.scores import NAMES, scale, unit

_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")


def overview(comparison: Comparison, metric: str, name: str, titles: Mapping[str, str]) -> str:
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
            stat, times = result.stat(metric), scale(metric)
            chosen = row is comparison.best
            colour = svg.ACCENT if chosen else svg.INK
            face = colour if chosen else svg.PAPER
            look = {"markersize": 6.5, "markeredgecolor": colour, "markeredgewidth": 1.5}
            axes.plot([times * stat.low, times * stat.high], [i, i], color=colour, linewidth=1.6)
            axes.plot(times * stat.mean, i, "o", markerfacecolor=face, **look)
        if majority and hasattr(majority, metric):
            value = 100 * getattr(majority, metric)
            axes.axvline(value, **DASHED)
            svg.note(axes, "majority", (value, -0.75), (3, 0), color=svg.SOFT, va="center")
        names = [short(titles.get(row.name, row.name), 22) for row, _ in rows]
        svg.name_rows(
            axes, names, f"{split} {NAMES[metric]}{unit(metric)}", (len(rows) - 0.4, -1.1)
        )
        axes.margins(x=0.08)
        said = f"{split} {NAMES[metric]} of every run; the table has it too"
        return svg.to_svg(drawn, name, said)


def layers(stem: str, found: Layers, name: str) -> str:
    """The learned weight of each layer of a file, ± deviation over seeds; dashed: equal weights."""
    from matplotlib.ticker import MaxNLocator

    count = len(found.weight)
    with svg.style():
        drawn = svg.figure(WIDTH, 170)
        axes = drawn.add_subplot()
        for i, (weight, std) in enumerate(zip(found.weight, found.std, strict=True)):
            low, high = 100 * max(weight - std, 0), 100 * (weight + std)
            axes.bar(i, 100 * weight, width=0.7, color=svg.ACCENT, alpha=0.45)
            axes.plot([i, i], [low, high], color=svg.INK, linewidth=1.4)
        axes.axhline(100 / count, **DASHED)
        axes.set(xlim=(-0.6, count - 0.4), xlabel=f"{short(stem, 32)}, layer", ylabel="weight, %")
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(13, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.grid(axis="y")
        return svg.to_svg(drawn, name, f"weight of each layer of {stem}")


def weighing(found: Mapping[str, Weight], name: str) -> str:
    """What the head gives each file where it is present, ± deviation over seeds."""
    with svg.style():
        drawn = svg.figure(WIDTH, 60 + 30 * len(found))
        axes = drawn.add_subplot()
        for i, share in enumerate(found.values()):
            mean, std = 100 * share.mean, 100 * share.std
            axes.barh(i, mean, height=0.55, color=svg.ACCENT, alpha=0.45)
            axes.plot([max(mean - std, 0), mean + std], [i, i], color=svg.INK, linewidth=1.4)
            svg.note(axes, f"{mean:.1f}", (mean + std, i), (5, 0), va="center_baseline")
        names = [short(stem, 20) for stem in found]
        svg.name_rows(axes, names, "weight, %", (len(found) - 0.5, -0.5))
        axes.set_xlim(0, 1.15 * max(100 * (share.mean + share.std) for share in found.values()))
        return svg.to_svg(drawn, name, "weight of each feature file")


def embeddings(found: Map, majority: str | None, name: str) -> str:
    """The first two principal components of each row, each class with a colour and a marker.

    The `majority` class is drawn in grey below the others, which it would hide.
    """
    from matplotlib.lines import Line2D

    row, points = found.row, found.points
    rest = [label for label in row.labels if label != majority]
    looks = {majority: ("o", svg.SOFT, 2.2)} if majority in row.labels else {}
    for i, label in enumerate(rest):
        looks[label] = (_MARKERS[i % len(_MARKERS)], svg.CLASSES[i % len(svg.CLASSES)], 4.5)
    names = [short(label, 14) for label in row.labels]
    columns = min(4 if max(map(len, names)) < 10 else 3, len(names))
    with svg.style():
        drawn = svg.figure(WIDTH, 300 + 16 * -(-len(looks) // columns))
        axes = drawn.add_subplot()
        for label, (marker, colour, size) in looks.items():
            here = points.at[points.label == label]
            axes.plot(*here.T, marker, color=colour, markersize=size, markeredgewidth=0, alpha=0.8)
        axes.set(xticks=[], yticks=[])
        axes.set_aspect("equal", adjustable="datalim")
        axes.spines[:].set_visible(False)
        handles = [
            Line2D([], [], marker=marker, color=colour, linestyle="none", markersize=size + 2)
            for marker, colour, size in (looks[label] for label in row.labels)
        ]
        look = {"labelcolor": svg.INK, "handletextpad": 0.1, "columnspacing": 1.0}
        drawn.legend(handles, names, loc="outside lower left", ncols=columns, **look)
        said = f"map of the embeddings of {row.name}, points by class"
        return svg.to_svg(drawn, name, said)


def missing(metric: str, found: Sequence[tuple[str, Scored]], name: str) -> str:
    """A score by the share of rows from which modalities were taken away, a line for each run.

    Args:
        found: (what to call the run, its scores).
    """
    times = scale(metric)
    what = " and ".join(
        dict.fromkeys(n for _, s in found for step in s.masked for n in step.shares)
    )
    with svg.style():
        drawn = svg.figure(WIDTH, 230)
        axes = drawn.add_subplot()
        for i, (called, scored) in enumerate(found):
            kept = [(share, step.scores[metric]) for share, step in steps(scored)
                    if metric in step.scores]  # fmt: skip
            shares = [100 * share for share, _ in kept]
            colour, mark = svg.CLASSES[i % len(svg.CLASSES)], _MARKERS[i % len(_MARKERS)]
            axes.fill_between(shares, [times * s.low for _, s in kept],
                              [times * s.high for _, s in kept], color=colour, alpha=0.2,
                              linewidth=0)  # fmt: skip
            axes.plot(shares, [times * s.mean for _, s in kept], color=colour, marker=mark,
                      markersize=4.5, linewidth=1.6, label=short(called, 22))  # fmt: skip
        axes.set(xlabel=f"rows without {what}, %", ylabel=f"{NAMES[metric]}{unit(metric)}")
        axes.grid(axis="y")
        axes.legend(loc="best", labelcolor=svg.INK)
        said = f"{NAMES[metric]} by the share of rows without {what}"
        return svg.to_svg(drawn, name, said)
