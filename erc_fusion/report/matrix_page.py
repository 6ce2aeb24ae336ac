"""The matrix as one self-contained HTML file: no scripts, nothing fetched."""

from importlib.metadata import version
from pathlib import Path

from erc_features import pages
from erc_features.whole_file import whole_file
from erc_fusion.report.matrix import Matrix
from erc_fusion.report.table import interval, spread
from erc_fusion.runs.scores import NAMES, unit

_HERE = Path(__file__).parent


def write_matrix(matrix: Matrix, to: Path) -> None:
    """Write the page whole or not at all; raises ErcError where it can't be written."""
    with whole_file(to, "choose another file with --to") as part:
        part.write_text(render_matrix(matrix), encoding="utf-8")


def render_matrix(matrix: Matrix) -> str:
    """The page as text."""
    from markupsafe import Markup

    environment = pages.environment(_HERE)
    environment.filters.update(spread=spread, interval=interval)
    environment.filters["thousands"] = "{:,}".format
    return environment.get_template(
        "matrix.html"
    ).render(
        style=Markup((_HERE / "style.css").read_text(encoding="utf-8")),  # ours: nothing to escape
        matrix=matrix,
        target=matrix.lines[0].row.target,
        headings={
            name: f"{NAMES[name][0].upper()}{NAMES[name][1:]}{unit(name)}" for name in matrix.scores
        },
        version=version("erc"),
    )
