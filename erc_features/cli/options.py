"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

CorpusOption = Annotated[
    Path, typer.Option("--corpus", envvar="ERC_CORPUS", help="Folder of the corpus.")
]
FeaturesOption = Annotated[Path, typer.Option("--features", help="Where feature files are.")]
RunsOption = Annotated[Path, typer.Option("--runs", help="Where runs are.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
JobsOption = Annotated[int | None, typer.Option(help="Processes; one a core by default.")]
RAW, CORPUS, FEATURES, RUNS = map(Path, ("data/raw", "data/meld", "features", "runs"))
