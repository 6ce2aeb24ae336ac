"""The commands from a corpus to feature files: parse, one call, print. See `cli.py`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from erc_features.cli.options import (
    CORPUS,
    DEVICES,
    FEATURES,
    INPUTS,
    OUTPUT,
    CorpusOption,
    FeaturesOption,
    JsonOption,
    command_of,
    option,
)

ENCODER, EXECUTION = "Encoder", "Execution"  # headings of `--help`
commands = typer.Typer()
command = command_of(commands)


@command(epilog="Example: erc extract --modality text --encoder bert-base-uncased")
def extract(
    corpus: CorpusOption = CORPUS,
    features: FeaturesOption = FEATURES,
    modality: Annotated[
        str | None,
        option(
            "Modality to encode. [default: every modality that the corpus has]",
            under=INPUTS,
            takes="text|visual|audio",
        ),
    ] = None,
    encoder: Annotated[
        str | None,
        option(
            "baseline, a Hugging Face id, a local folder, an open_clip model (ViT-B-32/TAG), a "
            "plug-in's name, or random:NAME for random weights. [default: one for each modality]",
            under=ENCODER,
            takes="NAME",
        ),
    ] = None,
    layers: Annotated[
        str, option("Layers to keep.", under=ENCODER, takes="all|last|-4:|0,6,12")
    ] = "all",
    pool: Annotated[
        str,
        option(
            "Pooling over tokens or frames.",
            under=ENCODER,
            takes="mean|max|mean+max|mean+std|cls",
        ),
    ] = "mean",
    history: Annotated[
        int,
        option(
            "Number of earlier utterances, with their speakers, that the text encoder reads "
            "before each one.",
            under=ENCODER,
        ),
    ] = 0,
    precision: Annotated[
        str, option("Precision of the network.", under=ENCODER, takes="fp32|bf16|fp16|auto")
    ] = "fp32",
    device: Annotated[
        str, option("Device of the encoder.", under=EXECUTION, takes=DEVICES)
    ] = "auto",
    batch_size: Annotated[int, option("Maximum number of rows in a batch.", under=EXECUTION)] = 64,
    engine: Annotated[
        str,
        option(
            "Where batches run: in this process, or in Ray actors on several GPUs or a cluster.",
            under=EXECUTION,
            takes="local|ray",
        ),
    ] = "local",
    workers: Annotated[
        int | None,
        option("Number of threads that decode media; with Ray, of actors.", under=EXECUTION),
    ] = None,
    name: Annotated[
        str | None,
        option("Name of the feature file. [default: the encoder's name]", under=OUTPUT),
    ] = None,
    dtype: Annotated[
        str, option("Data type of the stored embeddings.", under=OUTPUT, takes="float16|float32")
    ] = "float16",
    retry: Annotated[bool, option("Encode failed rows again.", "--retry", under=OUTPUT)] = False,
    overwrite: Annotated[
        bool, option("Replace a feature file that exists already.", "--overwrite", under=OUTPUT)
    ] = False,
    dry_run: Annotated[
        bool, option("Say what would be done, and write nothing.", "--dry-run", under=OUTPUT)
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run frozen encoders over a corpus once, into HDF5 files.

    An interrupted extraction goes on where it stopped.
    """
    from erc_features import terminal
    from erc_features.cli import printing
    from erc_features.encoders.base import Settings
    from erc_features.extraction.dry_run import preview
    from erc_features.extraction.extract import extract as run

    what: dict[str, Any] = {
        "features": features, "modality": modality, "encoder": encoder, "name": name,
        "settings": Settings(layers, pool, precision, device, history), "dtype": dtype,
        "batch_size": batch_size,
    }  # fmt: skip
    if dry_run:
        seen = preview(corpus, **what, engine=engine, retry=retry, overwrite=overwrite)
        return (terminal.show_json([asdict(file) for file in seen]) if as_json
                else printing.show_preview(seen))  # fmt: skip
    with terminal.working() as watch, terminal.resumable():
        files = run(corpus, **what, engine=engine, workers=workers, retry=retry,
                    overwrite=overwrite, watch=watch)  # fmt: skip
    if as_json:
        return terminal.show_json([asdict(file) for file in files])
    return printing.show_extracted(files)


@command(epilog="Example: erc verify features/meld/audio.wav2vec2-base.h5 --rows 64")
def verify(
    file: Annotated[Path, typer.Argument(help="A feature file, finished or not.")],
    corpus: CorpusOption = CORPUS,
    encoder: Annotated[
        str | None,
        option("Where the encoder is now. [default: where it was when the file was made]"),
    ] = None,
    rows: Annotated[int, option("Number of rows to encode again.")] = 32,
    seed: Annotated[int, option("Random seed that draws the rows.")] = 0,
    device: Annotated[str, option("Device of the encoder.", takes=DEVICES)] = "auto",
    as_json: JsonOption = False,
) -> None:
    """Encode a sample of a file's rows again, and compare.

    Each row is encoded alone. The exit code is 1 if one differs.
    """
    from erc_features import terminal
    from erc_features.cli import printing
    from erc_features.extraction.verify import verify as run

    with terminal.bar() as progress:
        found = run(file, corpus=corpus, encoder=encoder, rows=rows, seed=seed, device=device,
                    progress=progress)  # fmt: skip
    if as_json:
        terminal.show_json(asdict(found) | {"sound": found.sound})
    else:
        printing.show_verified(found)
    if not found.sound:
        raise typer.Exit(1)


@command(epilog="Example: erc inspect features/meld/text.baseline.h5")
def inspect(
    file: Annotated[Path, typer.Argument(help="A feature file, finished or not.")],
    as_json: JsonOption = False,
) -> None:
    """Show what a feature file holds and where it came from."""
    from erc_features import terminal
    from erc_features.cli import printing
    from erc_features.store.inspect import inspect as run

    found = run(file)
    if as_json:
        return terminal.show_json(asdict(found))
    return printing.show_inspection(found)


@command("import", epilog="Example: erc import egemaps.csv --modality audio --split train")
def import_(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SRC",
            help="A .npy, .npz, .safetensors, .pt, .csv, .parquet or .pkl file, or a folder.",
        ),
    ],
    modality: Annotated[
        str, option("Modality of the features.", under=INPUTS, takes="text|visual|audio")
    ],
    corpus: CorpusOption = CORPUS,
    features: FeaturesOption = FEATURES,
    keys: Annotated[
        Path | None,
        option("File that names the rows: one a line, or a CSV or Parquet table.", under=INPUTS),
    ] = None,
    split: Annotated[
        str | None,
        option(
            "Split of rows that do not name theirs. Rows without any names are taken in the order "
            "of this split.",
            under=INPUTS,
        ),
    ] = None,
    drop: Annotated[
        str, option("Utterances of the corpus that SRC leaves out: dia110_utt7,…", under=INPUTS)
    ] = "",
    field: Annotated[
        str | None,
        option(
            "Which array to take where there are several, or which columns, as a,b; several "
            "columns of lists become layers.",
            under=INPUTS,
        ),
    ] = None,
    frames: Annotated[
        str | None,
        option(
            "Read an array (N, T, D) as T frames a row, and pool them this way.",
            under=INPUTS,
            takes="mean|mean+std|max",
        ),
    ] = None,
    layers: Annotated[
        bool,
        option(
            "Read an array (N, L, D) as L layers a row, even if there are many.",
            "--layers",
            under=INPUTS,
        ),
    ] = False,
    name: Annotated[
        str | None, option("Name of the feature file. [default: that of SRC]", under=OUTPUT)
    ] = None,
    dtype: Annotated[
        str, option("Data type of the stored features.", under=OUTPUT, takes="float16|float32")
    ] = "float32",
    overwrite: Annotated[
        bool, option("Replace a feature file that exists already.", "--overwrite", under=OUTPUT)
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a feature file of features that you have already.

    No code that a file carries is run; pickles that ask for it are refused.
    """
    from erc_features import terminal
    from erc_features.interchange import import_features as run

    made = run(source, corpus, modality=modality, name=name, keys=keys, split=split,
               drop=tuple(filter(None, drop.split(","))), field=field, frames=frames,
               layers=layers, features=features, dtype=dtype, overwrite=overwrite)  # fmt: skip
    return terminal.show_json(asdict(made)) if as_json else terminal.show(made)


@command(epilog="Example: erc export features/meld/audio.x.h5 --to audio.npz --as npz")
def export(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="A feature file; for mmsa, up to three.")
    ],
    to: Annotated[Path, option("The file to write.")],
    kind: Annotated[
        str, option("Format to write.", "--as", takes="npz|parquet|safetensors|mmsa")
    ] = "npz",
    layer: Annotated[
        int | None, option("Layer to take for mmsa, which knows only one; -1 is the last.")
    ] = None,
    overwrite: Annotated[
        bool, option("Replace a file that exists already.", "--overwrite")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a feature file in the format of another tool.

    `erc import` reads all of these formats.
    """
    from erc_features import terminal
    from erc_features.interchange import export_features as run

    made = run(files, to, kind, layer=layer, overwrite=overwrite)
    return terminal.show_json(asdict(made)) if as_json else terminal.show(made)
