"""Pictures of what a run takes from its inputs: from which layers, and from which file."""

from collections.abc import Mapping

from erc_fusion.report import svg
from erc_fusion.report.results import Layers, Weight
from erc_fusion.report.svg import WIDTH, short


def layers(stem: str, found: Layers, name: str) -> str:
    """The learned weight of each layer of a file, ± deviation over seeds; dashed: all the same."""
    from matplotlib.ticker import MaxNLocator

    count = len(found.weight)
    with svg.style():
        drawn = svg.figure(WIDTH, 170)
        axes = drawn.add_subplot()
        for i, (weight, std) in enumerate(zip(found.weight, found.std, strict=True)):
            low, high = 100 * max(weight - std, 0), 100 * (weight + std)
            axes.bar(i, 100 * weight, width=0.7, color=svg.ACCENT, alpha=0.45)
            axes.plot([i, i], [low, high], color=svg.INK, linewidth=1.4)
        axes.axhline(100 / count, color=svg.SOFT, linewidth=1, linestyle=(0, (3, 2.5)))
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
            axes.annotate(
                f"{mean:.1f}",
                (mean + std, i),
                (5, 0),
                textcoords="offset points",
                va="center_baseline",
                fontsize=9.5,
            )
        axes.set_yticks(range(len(found)), [short(stem, 20) for stem in found], color=svg.INK)
        axes.set(ylim=(len(found) - 0.5, -0.5), xlabel="weight, %")
        axes.set_xlim(0, 1.15 * max(100 * (share.mean + share.std) for share in found.values()))
        axes.grid(axis="x")
        axes.spines["bottom"].set_visible(False)
        return svg.to_svg(drawn, name, "weight of each feature file")
