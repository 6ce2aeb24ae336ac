"""A map of a run's embeddings: their first two principal components, a point for each row."""

from erc_fusion.report import svg
from erc_fusion.report.maps import Map
from erc_fusion.report.svg import WIDTH, short

_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")


def draw(found: Map, often: str | None, name: str) -> str:
    """The points by class, each with a colour and a marker.

    `often`, the majority class, is drawn in grey below the others, which it would hide.
    """
    from matplotlib.lines import Line2D

    row, points = found.row, found.points
    rest = [label for label in row.labels if label != often]
    looks = {often: ("o", svg.SOFT, 2.2)} if often in row.labels else {}
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
        drawn.legend(
            handles,
            names,
            loc="outside lower left",
            ncols=columns,
            labelcolor=svg.INK,
            handletextpad=0.1,
            columnspacing=1.0,
        )
        said = f"map of the embeddings of {row.name}, points by class"
        return svg.to_svg(drawn, name, said)
