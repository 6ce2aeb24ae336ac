"""What the HTML pages of erc share: the template environment and, in `page.css`, the style."""

from pathlib import Path
from typing import Any


def environment(folder: Path) -> Any:
    """The Jinja environment for the templates in `folder`, which may use `shared_style`."""
    import jinja2
    from markupsafe import Markup

    made: Any = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    made.globals["shared_style"] = Markup(style)  # ours: nothing to escape
    return made
