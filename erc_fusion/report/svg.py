"""matplotlib figures as lean SVG in the style of the page around them.

matplotlib knows only fixed colours, so figures are drawn in the placeholders below, and each is
replaced by a CSS variable of `style.css`: one drawing serves light, dark and print. Text stays
text, in the page's font; it can be searched, and takes a tenth of the space of outlines.
"""

import io
import re
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, SOFT, RULE, PAPER = "#100001", "#100002", "#100003", "#100004"
TRAIN, DEV, ACCENT, ON_ACCENT = "#100005", "#100006", "#100007", "#100008"
CLASSES = tuple(f"#20000{i}" for i in range(1, 8))  # tell classes apart, beside a marker
DASHED: dict[str, Any] = {"color": SOFT, "linewidth": 1, "linestyle": (0, (3, 2.5))}
WIDTH = 360  # points of an ordinary figure: a phone's width, so that text keeps its size there
_NAMES = ("ink", "soft", "rule", "paper", "train", "dev", "accent", "on-accent",
          *(f"class-{i}" for i, _ in enumerate(CLASSES, start=1)))  # fmt: skip
_VARIABLES = dict(
    zip((INK, SOFT, RULE, PAPER, TRAIN, DEV, ACCENT, ON_ACCENT, *CLASSES), _NAMES, strict=True)
)
_STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a run may be called "$x"
    "font.family": "DejaVu Sans",  # it is wide: what fits in it fits in the page's font
    "font.size": 10.5,
    "text.color": INK,
    "axes.labelcolor": SOFT,
    "axes.edgecolor": RULE,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "figure.facecolor": "none",
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": RULE,
    "xtick.labelcolor": SOFT,
    "xtick.bottom": False,
    "ytick.color": RULE,
    "ytick.labelcolor": SOFT,
    "ytick.left": False,
    "legend.frameon": False,
    "path.simplify_threshold": 0.3,
}
_FIXED = re.compile(r"\d+\.\d{2,}")
_NUMBERS = ("d", "x", "y", "width", "height", "transform", "points")


def style():
    """A context in which figures are drawn; a user's matplotlibrc does not affect it."""
    import matplotlib.style

    return matplotlib.style.context(["default", _STYLE])


def figure(width: float, height: float) -> "Figure":
    """An empty figure of `width` by `height` points, outside pyplot's global state."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width / 72, height / 72), dpi=72, layout="constrained")


def note(
    axes: "Axes", text: str, at: tuple[float, float], offset: tuple[float, float], **look: Any
) -> None:
    """Small text at a point of the data, moved from it by an offset in points."""
    axes.annotate(text, at, offset, textcoords="offset points", fontsize=9.5, **look)


def name_rows(
    axes: "Axes", names: Sequence[str], xlabel: str, ylim: tuple[float, float], **more: Any
) -> None:
    """Make a chart of horizontal rows: a name beside each, and a grid below them."""
    axes.set_yticks(range(len(names)), names, color=INK)
    axes.set(ylim=ylim, xlabel=xlabel, **more)
    axes.grid(axis="x")
    axes.spines["bottom"].set_visible(False)


def short(text: str, most: int) -> str:
    """Text cut in the middle, so that a name's beginning and a hash's end both stay."""
    text = "".join(sign if sign.isprintable() else "\ufffd" for sign in text)
    if len(text) <= most:
        return text
    head = (most - 1) * 2 // 3
    return f"{text[:head]}…{text[len(text) - (most - 1 - head) :]}"


def to_svg(drawn: "Figure", name: str, label: str) -> str:
    """The figure as an `<svg>` element, always the same for the same figure.

    Args:
        drawn: a figure made by :func:`figure` inside :func:`style`.
        name: unique in the page; ids are derived from it.
        label: what a screen reader says.
    """
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": name}), warnings.catch_warnings():
        # DejaVu lacks a name's script; the page's own fonts will show it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        drawn.savefig(buffer, format="svg", metadata={"Date": None})
    root = ElementTree.fromstring(buffer.getvalue())
    viewbox = root.attrib["viewBox"]
    _clean(root)
    root.attrib.clear()
    root.attrib.update({"class": "plot", "viewBox": viewbox, "role": "img", "aria-label": label})
    width = float(viewbox.split()[2])
    if width > WIDTH:  # many classes: the figure's box scrolls rather than its text shrinking
        root.attrib["style"] = f"min-width:{width:.0f}px"
    return ElementTree.tostring(root, encoding="unicode")


def _clean(element: ElementTree.Element) -> None:
    """Drop namespaces, metadata, invisible shapes and bare groups; round; name colours."""
    element.tag = _local(element.tag)
    element.attrib = {_local(name): value for name, value in element.attrib.items()}
    if element.tag == "g":
        element.attrib.pop("id", None)
    for name in _NUMBERS:
        if name in element.attrib:
            text = " ".join(element.attrib[name].split())
            if name == "d" and "C" not in text and "Q" not in text:
                text = text.replace(" L ", " ")  # after M, further points are lines anyway
            element.attrib[name] = _FIXED.sub(lambda found: f"{float(found[0]):.1f}", text)
    if "style" in element.attrib:
        element.attrib["style"] = _restyled(element.attrib["style"])
    element.tail = None
    if element.tag != "text":
        element.text = None
    kept: list[ElementTree.Element] = []
    for child in list(element):
        if _local(child.tag) in ("metadata", "style") or child.get("style") == "fill: none":
            continue
        _clean(child)
        if child.tag == "defs" and not len(child):
            continue
        kept.extend(child if child.tag == "g" and not child.attrib else [child])
    element[:] = kept


def _restyled(style: str) -> str:
    kept = [part.strip() for part in style.split(";") if "font-family" not in part]
    text = ";".join(part.replace(": ", ":") for part in kept if part)
    for placeholder, variable in _VARIABLES.items():
        text = text.replace(placeholder, f"var(--{variable})")
    return text


def _local(name: str) -> str:
    return name.rpartition("}")[2]
