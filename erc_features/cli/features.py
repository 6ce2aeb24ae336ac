"""The commands from a corpus to feature files: parse, one call, print. See `cli.py`."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from erc_features.cli.options import (
    CORPUS,
    FEATURES,
    CorpusOption,
    FeaturesOption,
    JsonOption,
    command_of,
    number_or_all,
)

commands = typer.Typer()


@command_of(commands, "erc extract --modality text --encoder bert-base-uncased")
def extract(
    corpus: CorpusOption = CORPUS,
    features: FeaturesOption = FEATURES,
    modality: str | None = None,
    crop: str = "frame",
    encoder: str | None = None,
    layers: str = "all",
    pool: str = "mean",
    history: str = "0",
    reach: str = "past",
    prompt: str = "",
    window: str = "reference",
    precision: str = "fp32",
    device: str = "auto",
    batch_size: int = 64,
    engine: str = "local",
    workers: int | None = None,
    name: str | None = None,
    dtype: str = "float16",
    retry: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    as_json: JsonOption = False,
) -> None:
    """Run frozen encoders over a corpus once, into HDF5 files.

    An interrupted extraction goes on where it stopped. A corpus's columns start and end may cut
    utterances out of recordings.

    Inputs:
        modality text|visual|audio: Modality to encode. [default: every modality that the corpus
            has]
        crop frame|face: Encode whole frames, or the faces that `erc prepare --faces` cut out of
            them.

    Encoder:
        encoder NAME: baseline, a Hugging Face id, a local folder, an open_clip model
            (ViT-B-32/TAG), timm:NAME, opensmile:eGeMAPSv02, a plug-in's name, or random:NAME for
            random weights. [default: one for each modality]
        layers all|last|-4:|0,6,12: Layers to keep. Of pictures, all and last are the embedding of
            a frame, and 0: all hidden states.
        pool mean|max|mean+max|mean+std|cls|last|mask|model: Pooling over tokens or frames. Of
            texts also the first or last token, the token of a prompt's {mask}, or the way that an
            embedding model's folder says (model).
        history K|all: Number of earlier utterances of the dialogue, with their speakers, that the
            text encoder reads before each one.
        reach past|whole: With --history, what the text encoder reads: only earlier utterances, or
            as many later ones too. With --history all, each dialogue is then encoded once.
        prompt: Words around each text, such as "query: " or "{text} I feel {mask}.", or the name
            of one of the model's own prompts. {text}, {speaker} and {mask} are filled in.
        window reference|tight: For Whisper: pad each sound to 30 s, as the model documents, or
            read no more than the sound, about ten times as fast.
        precision fp32|bf16|fp16|auto: Precision of the network.

    Execution:
        device auto|cpu|cuda: Device of the encoder.
        batch_size: Maximum number of rows in a batch.
        engine local|ray: Where batches run: in this process, or in Ray actors on several GPUs or
            a cluster.
        workers: Number of threads that decode media; with Ray, of actors.

    Output:
        name: Name of the feature file. [default: the encoder's name]
        dtype float16|float32: Data type of the stored embeddings.
        retry: Encode failed rows again.
        overwrite: Replace a feature file that exists already.
        dry_run: Say what would be done, and write nothing.
    """
    from erc_features import terminal
    from erc_features.cli import printing
    from erc_features.encoders.base import Settings
    from erc_features.extraction.dry_run import preview
    from erc_features.extraction.extract import extract as run

    what: dict[str, Any] = {
        "features": features, "modality": modality, "crop": crop, "encoder": encoder, "name": name,
        "settings": Settings(layers, pool, precision, device,
                             history=number_or_all("--history", history), window=window,
                             reach=reach, prompt=prompt), "dtype": dtype,
        "batch_size": batch_size,
    }  # fmt: skip
    if dry_run:
        seen = preview(corpus, **what, engine=engine, retry=retry, overwrite=overwrite)
        return (terminal.show_json([asdict(file) for file in seen]) if as_json
                else printing.show_preview(seen))  # fmt: skip
    with terminal.working() as watch, terminal.resumable():
        files = run(corpus, **what, engine=engine, workers=workers, retry=retry,
                    overwrite=overwrite, watch=watch,
                    say=lambda line: terminal.err.print(line, markup=False))  # fmt: skip
    if as_json:
        return terminal.show_json([asdict(file) for file in files])
    return printing.show_extracted(files)


@command_of(commands, "erc verify features/meld/audio.wav2vec2-base.h5 --rows 64")
def verify(
    file: Path,
    corpus: CorpusOption = CORPUS,
    encoder: str | None = None,
    rows: int = 32,
    seed: int = 0,
    device: str = "auto",
    as_json: JsonOption = False,
) -> None:
    """Encode a sample of a file's rows again, and compare.

    Each row is encoded alone. The exit code is 1 if one differs.

    Arguments:
        file: A feature file, finished or not.

    Options:
        encoder: Where the encoder is now. [default: where it was when the file was made]
        rows: Number of rows to encode again.
        seed: Random seed that draws the rows.
        device auto|cpu|cuda: Device of the encoder.
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


@command_of(commands, "erc inspect features/meld/text.baseline.h5")
def inspect(file: Path, as_json: JsonOption = False) -> None:
    """Show what a feature file holds and where it came from.

    Arguments:
        file: A feature file, finished or not.
    """
    from erc_features import terminal
    from erc_features.cli import printing
    from erc_features.store.inspect import inspect as run

    found = run(file)
    if as_json:
        return terminal.show_json(asdict(found))
    return printing.show_inspection(found)


@command_of(commands, "erc import egemaps.csv --modality audio --split train", name="import")
def import_(
    source: Path,
    modality: str,
    corpus: CorpusOption = CORPUS,
    features: FeaturesOption = FEATURES,
    keys: Path | None = None,
    split: str | None = None,
    drop: str = "",
    field: str | None = None,
    frames: str | None = None,
    layers: bool = False,
    name: str | None = None,
    dtype: str = "float32",
    overwrite: bool = False,
    as_json: JsonOption = False,
) -> None:
    """Make a feature file of features that you have already.

    No code that a file carries is run; pickles that ask for it are refused.

    Arguments:
        source SRC: A .npy, .npz, .safetensors, .pt, .csv, .parquet or .pkl file, or a folder.

    Inputs:
        modality text|visual|audio: Modality of the features.
        keys: File that names the rows: one a line, or a CSV or Parquet table.
        split: Split of rows that do not name theirs. Rows without any names are taken in the order
            of this split.
        drop: Utterances of the corpus that SRC leaves out: dia110_utt7,…
        field: Which array to take where there are several, or which columns, as a,b; several
            columns of lists become layers.
        frames mean|mean+std|max: Read an array (N, T, D) as T frames a row, and pool them this way.
        layers: Read an array (N, L, D) as L layers a row, even if there are many.

    Output:
        name: Name of the feature file. [default: that of SRC]
        dtype float16|float32: Data type of the stored features.
        overwrite: Replace a feature file that exists already.
    """
    from erc_features import terminal
    from erc_features.interchange import import_features as run

    made = run(source, corpus, modality=modality, name=name, keys=keys, split=split,
               drop=tuple(filter(None, drop.split(","))), field=field, frames=frames,
               layers=layers, features=features, dtype=dtype, overwrite=overwrite)  # fmt: skip
    return terminal.show_json(asdict(made)) if as_json else terminal.show(made)


@command_of(commands, "erc export features/meld/audio.x.h5 --to audio.npz --as npz")
def export(
    files: list[Path],
    to: Path,
    kind: str = "npz",
    layer: int | None = None,
    overwrite: bool = False,
    as_json: JsonOption = False,
) -> None:
    """Write a feature file in the format of another tool.

    `erc import` reads all of these formats.

    Arguments:
        files FILE: A feature file; for mmsa, up to three.

    Options:
        to: The file to write.
        kind --as npz|parquet|safetensors|mmsa: Format to write.
        layer: Layer to take for mmsa, which knows only one; -1 is the last.
        overwrite: Replace a file that exists already.
    """
    from erc_features import terminal
    from erc_features.interchange import export_features as run

    made = run(files, to, kind, layer=layer, overwrite=overwrite)
    return terminal.show_json(asdict(made)) if as_json else terminal.show(made)
