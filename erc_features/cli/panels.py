"""Help in sections: options under the headings that `rich_help_panel` names, as plain text.

Typer draws such panels with Rich alone, whose import makes `--help` three times as slow.
"""

from typing import Any

from typer.core import TyperCommand

_FEW = 9  # options need no headings


class Command(TyperCommand):
    """Headings in the order in which they come, but `Output` and what has no heading last."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        arguments: list[tuple[str, str]] = []
        options: list[tuple[str, str]] = []
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if record := parameter.get_help_record(ctx):
                if parameter.param_type_name == "argument":
                    arguments.append(record)
                else:
                    options.append(record)
                    heading = getattr(parameter, "rich_help_panel", None) or "Other options"
                    sections.setdefault(heading, []).append(record)
        if len(options) <= _FEW:
            sections = {"Options": options}
        last = {name: sections.pop(name, []) for name in ("Output", "Other options")}
        for heading, records in {"Arguments": arguments, **sections, **last}.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)
