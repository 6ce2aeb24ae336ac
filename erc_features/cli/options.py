"""Options that several commands share, and how an option is written."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from erc_features.cli.panels import Command

RAW, CORPUS, FEATURES, RUNS = map(Path, ("data/raw", "data/meld", "features", "runs"))
INPUTS, OUTPUT = "Inputs", "Output"  # headings of `--help`
DEVICES = "auto|cpu|cuda"


def option(text: str, *names: str, under: str | None = None, takes: str | None = None) -> Any:
    """An option: what its help says, its heading, and what it takes (`auto|cpu|cuda`)."""
    return typer.Option(*names, help=text, rich_help_panel=under, metavar=takes)


def command_of(commands: typer.Typer) -> Any:
    """The decorator of its commands."""
    return partial(commands.command, cls=Command)


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
