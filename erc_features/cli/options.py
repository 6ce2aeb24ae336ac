"""Options that several commands share, and how a command describes its own: in its docstring."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_origin

import typer

from erc_features.cli.panels import Command
from erc_features.errors import ErcError

RAW, CORPUS, FEATURES, RUNS = map(Path, ("data/raw", "data/meld", "features", "runs"))
INPUTS, OUTPUT = "Inputs", "Output"  # headings of `--help`


def option(text: str, *names: str, under: str | None = None, takes: str | None = None) -> Any:
    """An option: what its help says, its heading, and what it takes (`auto|cpu|cuda`)."""
    return typer.Option(*names, help=text, rich_help_panel=under, metavar=takes)


def command_of(commands: typer.Typer, example: str, name: str | None = None) -> Any:
    """The decorator that makes a function a command, by another name if one is given.

    Sections of the docstring describe its parameters, a paragraph each, under their headings:
    `name: help.`, or with what it takes and how it is spelled, `kind --as npz|parquet: help.`
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        prose, found = _described(inspect.cleandoc(function.__doc__ or ""))
        signature = inspect.signature(function)
        parameters = [
            each if get_origin(each.annotation) is Annotated
            else each.replace(annotation=_annotated(each, *found[each.name]))
            for each in signature.parameters.values()
        ]  # fmt: skip

        def run(**given: Any) -> None:
            function(**given)

        run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        run.__name__, run.__doc__ = function.__name__, prose
        return commands.command(name, cls=Command, epilog=f"Example: {example}")(run)

    return decorate


def number_or_all(option: str, given: str) -> int | str:
    """What an option takes that is a whole number, or `all`.

    Raises:
        ErcError: it is neither.
    """
    if given == "all":
        return given
    if not given.removeprefix("-").isdecimal():
        raise ErcError(f"{option} {given}: a whole number or all is needed.")
    return int(given)


def _described(text: str) -> tuple[str, dict[str, tuple[str, list[str], str]]]:
    """The prose, and parameter -> (heading, what it takes and how it is spelled, help)."""
    prose, found = [], {}
    for paragraph in text.split("\n\n"):
        heading, _, rest = paragraph.partition(":\n    ")
        if not rest:
            prose.append(paragraph)
        for entry in filter(None, re.split(r"\n {4}(?! )", rest)):
            head, _, said = " ".join(entry.split()).partition(": ")
            name, *words = head.split()
            found[name] = heading, words, said
    return "\n\n".join(prose), found


def _annotated(parameter: inspect.Parameter, heading: str, words: list[str], text: str) -> Any:
    takes = next((word for word in words if not word.startswith("--")), None)
    names = [word for word in words if word.startswith("--")]
    if heading == "Arguments":
        return Annotated[parameter.annotation, typer.Argument(help=text, metavar=takes)]
    if parameter.default is False and not names:  # a flag, without its opposite
        names = [f"--{parameter.name.replace('_', '-')}"]
    under = None if heading == "Options" else heading
    return Annotated[parameter.annotation, option(text, *names, under=under, takes=takes)]


CorpusOption = Annotated[
    Path,
    typer.Option(
        "--corpus", envvar="ERC_CORPUS", help="Folder of the corpus.", rich_help_panel=INPUTS
    ),
]
FeaturesOption = Annotated[
    Path, option("Folder that holds the feature files.", "--features", under=INPUTS)
]
RunsOption = Annotated[Path, option("Folder that holds the runs.", "--runs", under=INPUTS)]
JsonOption = Annotated[bool, option("Print JSON.", "--json", under=OUTPUT)]
JobsOption = Annotated[
    int | None, option("Number of processes. [default: one for each core]", "--jobs")
]
