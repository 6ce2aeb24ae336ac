"""Writes `docs/reference/commands.md`: every command with all of its options, from typer itself.

    .venv/bin/python docs/make_commands.py          write it
    .venv/bin/python docs/make_commands.py --check  exit code 1 where it is out of date

`make format` runs it, and `tests/test_docs.py` checks that it was run.
"""

import re
import sys
from pathlib import Path
from typing import Any, get_type_hints

import typer

PAGE = Path(__file__).parent / "reference" / "commands.md"
HEAD = """# Commands

<!-- Written by docs/make_commands.py (`make format`); don't edit it by hand. -->

`erc COMMAND --help` shows the same in the terminal. Exit code 0: done. 1: something that you can
mend; the message says what, where and what would work. 2: the command line itself is wrong.
"""


def commands() -> dict[str, Any]:
    """Name -> command, in the order of `erc --help`."""
    import cli

    return typer.main.get_command(cli.app).commands


def lacking() -> list[str]:
    """Every command without a help text or an example, every argument and option without help."""
    found = []
    for name, command in commands().items():
        if not command.help:
            found.append(f"erc {name}: no help text")
        if f"Example: erc {name}" not in (command.epilog or ""):
            found.append(f"erc {name}: no example in its epilog")
        found += [
            f"erc {name} {spelled(parameter)}: no help"
            for parameter in command.params
            if not parameter.help
        ]
    return found


def page() -> str:
    """The page's Markdown."""
    import cli

    whole = typer.main.get_command(cli.app)
    parts = [HEAD, "## erc", _table(whole)]
    for name, command in commands().items():
        example = (command.epilog or "").removeprefix("Example: ")
        parts += [f"## erc {name}", *command.help.split("\n\n")]
        parts.append(f"```text\n{_usage(name, command)}\n```")
        parts += [f"```bash\n{example}\n```", _table(command)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def spelled(parameter: Any) -> str:
    """As it is typed: `--unpack / --no-unpack`; an argument by its name in capitals."""
    if _is_argument(parameter):
        return parameter.name.upper()
    return " / ".join([*parameter.opts, *parameter.secondary_opts])


def _is_argument(parameter: Any) -> bool:
    return parameter.param_type_name == "argument"


def _usage(name: str, command: Any) -> str:
    words = ["erc", name]
    for one in filter(_is_argument, command.params):
        word = one.name.upper() + ("…" if one.nargs == -1 else "")
        words.append(word if one.required else f"[{word}]")
    return " ".join([*words, "[OPTIONS]"])


def _table(command: Any) -> str:
    """Its arguments and options."""
    hints = get_type_hints(command.callback)
    rows = ["| | takes | |", "| --- | --- | --- |"]
    for one in command.params:
        shown = " / ".join(f"`{part}`" for part in spelled(one).split(" / "))
        choices = "" if _is_argument(one) else one.metavar
        takes = f"`{choices}`".replace("|", "\\|") if choices else _takes(one, hints)
        rows.append(f"| {shown} | {takes} | {_help(one)} |")
    return "\n".join(rows)


def _takes(parameter: Any, hints: dict[str, Any]) -> str:
    """In words: "list[pathlib.Path] | None" -> "path, repeatable"; nothing for a flag."""
    annotation = "" if getattr(parameter, "is_flag", False) else str(hints.get(parameter.name, ""))
    kinds = {"Path": "path", "str": "text", "int": "whole number", "float": "number"}
    word = next((word for kind, word in kinds.items() if kind in annotation), "")
    return f"{word}, repeatable" if "list[" in annotation else word


def _help(parameter: Any) -> str:
    text = re.sub(r" \[default: (.*)\]$", r" Default: \1.", parameter.help or "")
    words = [text.replace("|", "\\|").replace("<", "&lt;")]
    if parameter.required:
        words.append("**Required.**")
    elif parameter.default is True:
        words.append("Default: yes.")
    elif parameter.default not in (None, "", ()) and parameter.default is not False:
        words.append(f"Default: `{parameter.default}`.")
    if parameter.envvar:
        words.append(f"From `${parameter.envvar}` where that is set.")
    return " ".join(words)


def main(arguments: list[str]) -> int:
    """Write the page, or with --check only compare it; refuses where documentation lacks."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    if found := lacking():
        print("Write these first:", *found, sep="\n  ", file=sys.stderr)
        return 1
    wanted = page()
    if arguments == ["--check"]:
        if not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != wanted:
            print(f"{PAGE} is out of date: make docs-commands", file=sys.stderr)
            return 1
        return 0
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
