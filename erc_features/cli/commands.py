"""The commands up to the feature files: parse, one call, print. See `cli.py`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from erc_features.cli.options import (
    CORPUS,
    FEATURES,
    RAW,
    CorpusOption,
    FeaturesOption,
    JobsOption,
    JsonOption,
)

commands = typer.Typer()


@commands.command(epilog="Example: erc sample data/raw && erc prepare data/raw --to data/sample")
def sample(
    dest: Annotated[Path, typer.Argument(help="A folder that is new or empty.")],
    seed: Annotated[int, typer.Option(help="The same seed renders the same corpus.")] = 0,
    jobs: JobsOption = None,
) -> None:
    """Render a small raw corpus in MELD's shape: faces, voices, sentences, and MELD's defects."""
    from erc_features import terminal
    from erc_features.sample.sample import sample as run

    with terminal.bar() as progress:
        made = run(dest, seed=seed, jobs=jobs, progress=lambda *at: progress("sample", *at))
    terminal.show(f"{dest}: {sum(made.utterances)} utterances, {made.clips} clips, "
                  f"{made.seconds:.0f} s; broken on purpose:")  # fmt: skip
    terminal.show(*(f"  {kind}: {where}" for kind, where in made.defects.items()))


@commands.command(epilog="Example: erc download && erc prepare data/raw/MELD.Raw --to data/meld")
def download(
    owner: Annotated[str, typer.Option(help="The data set's owner on Kaggle.")] = "zaber666",
    name: Annotated[str, typer.Option(help="The data set's name.")] = "meld-dataset",
    subdir: Annotated[
        str, typer.Option(help="Only what is below this folder; '' takes all.")
    ] = "MELD-RAW/MELD.Raw",
    to: Annotated[Path, typer.Option(help="Its last part is made here.")] = RAW,
    unpack: Annotated[bool, typer.Option(help="Unpack archives, each beside itself.")] = True,
    keep_archives: Annotated[bool, typer.Option(help="Keep what was unpacked.")] = False,
    connections: Annotated[int, typer.Option(help="Files fetched at once.")] = 8,
    as_json: JsonOption = False,
) -> None:
    """Fetch MELD, or any data set, from Kaggle. Skips what is there; resumes by itself."""
    from erc_features import terminal
    from erc_features.acquire.download import download as run

    with terminal.bar(of_bytes=True) as progress, terminal.resumable():
        made = run(owner, name, subdir, to, unpack=unpack, keep_archives=keep_archives,
                   connections=connections, progress=progress,
                   announce=lambda needs: terminal.err.print(str(needs), markup=False))  # fmt: skip
    return terminal.show_json(asdict(made)) if as_json else terminal.show(made)


@commands.command(epilog="Example: erc prepare data/raw/MELD.Raw --to data/meld --frames 5")
def prepare(
    raw: Annotated[Path, typer.Argument(help="Folder of the raw data.")],
    to: Annotated[str, typer.Option(help="Folder of the corpus to make, or a bucket's URL.")],
    frames: Annotated[int, typer.Option(help="Pictures of each clip, stacked in one PNG.")] = 5,
    height: Annotated[int, typer.Option(help="Of each picture, in pixels.")] = 240,
    jobs: JobsOption = None,
    kind: Annotated[str | None, typer.Option(help="Which corpus it is; found out if left.")] = None,
    strict: Annotated[bool, typer.Option(help="Make any defect an error.")] = False,
    force: Annotated[bool, typer.Option(help="Prepare again what was made differently.")] = False,
) -> None:
    """Turn raw data into a 1NF corpus: CSVs, a PNG mosaic and a 16 kHz WAV per utterance."""
    from erc_features import terminal
    from erc_features.acquire.upload import folder_of, is_url, upload
    from erc_features.cli import printing as shown
    from erc_features.preparation.decode import Decode
    from erc_features.preparation.prepare import prepare as run

    with terminal.bar() as progress, terminal.resumable():
        made = run(raw, folder_of(to), kind=kind, decode=Decode(frames, height), jobs=jobs,
                   strict=strict, force=force, say=terminal.err.print,
                   progress=lambda *at: progress("prepare", *at))  # fmt: skip
        sent = upload(made.corpus.root, to, progress) if is_url(to) else None
    shown.show_prepared(made)
    return terminal.show(*([f"{to}: {sent[0]} files sent, {sent[1]} there before"] if sent else []))


@commands.command(epilog="Example: erc doctor data/meld --html doctor.html")
def doctor(
    corpus: Annotated[
        Path, typer.Argument(envvar="ERC_CORPUS", help="Folder or CSV of a corpus, or raw data.")
    ] = CORPUS,
    html: Annotated[
        Path | None, typer.Option(help="Also write a page, with utterances to see and hear.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show labels, speakers, every defect, and what leaks between splits. Changes nothing."""
    from erc_features import terminal
    from erc_features.doctor.doctor import doctor as run
    from erc_features.doctor.page import write_page
    from erc_features.doctor.tables import show

    with terminal.bar() as progress:
        found = run(corpus, progress=lambda *at: progress("sound", *at))
    page = write_page(found, html).resolve() if html else None
    if as_json:
        return terminal.show_json(found.as_dict() | ({"page": page} if page else {}))
    show(found)
    return terminal.show(*([f"The page: {page}"] if page else []))


@commands.command(epilog="Example: erc extract --modality text --encoder bert-base-uncased")
def extract(
    corpus: CorpusOption = CORPUS,
    features: FeaturesOption = FEATURES,
    modality: Annotated[
        str | None, typer.Option(help="text, visual or audio; all that the corpus has if left.")
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            help="baseline, a Hugging Face id, a folder, ViT-B-32/TAG, a plug-in, random:NAME."
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of the feature file.")] = None,
    layers: Annotated[str, typer.Option(help="all, last, -4: or 0,6,12.")] = "all",
    pool: Annotated[str, typer.Option(help="mean, max, mean+max, mean+std or cls.")] = "mean",
    history: Annotated[
        int, typer.Option(help="Utterances before each, with speakers' names; text only.")
    ] = 0,
    precision: Annotated[str, typer.Option(help="fp32, bf16, fp16 or auto.")] = "fp32",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    dtype: Annotated[str, typer.Option(help="float16 or float32, as stored.")] = "float16",
    batch_size: Annotated[int, typer.Option(help="Most rows of a batch.")] = 64,
    engine: Annotated[str, typer.Option(help="local, or ray: many GPUs, a cluster.")] = "local",
    workers: Annotated[
        int | None, typer.Option(help="Threads that decode; with ray, actors.")
    ] = None,
    retry: Annotated[bool, typer.Option(help="Encode failed rows again.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace the feature file.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done; write nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run frozen encoders over a corpus once; the embeddings go to HDF5. Resumes by itself."""
    from erc_features import terminal
    from erc_features.cli import printing as shown
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
                else shown.show_preview(seen))  # fmt: skip
    with terminal.working() as watch, terminal.resumable():
        files = run(corpus, **what, engine=engine, workers=workers, retry=retry,
                    overwrite=overwrite, watch=watch)  # fmt: skip
    if as_json:
        return terminal.show_json([asdict(file) for file in files])
    return shown.show_extracted(files)


@commands.command(epilog="Example: erc verify features/meld/audio.wav2vec2-base.h5 --rows 64")
def verify(
    file: Annotated[Path, typer.Argument(help="A feature file, finished or not.")],
    corpus: CorpusOption = CORPUS,
    encoder: Annotated[
        str | None, typer.Option(help="Where its encoder is now, if it has moved.")
    ] = None,
    rows: Annotated[int, typer.Option(help="How many to encode again.")] = 32,
    seed: Annotated[int, typer.Option(help="Of the sample.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    as_json: JsonOption = False,
) -> None:
    """Encode a sample of rows again, each alone, and compare; exit code 1 where one differs."""
    from erc_features import terminal
    from erc_features.cli import printing as shown
    from erc_features.extraction.verify import verify as run

    with terminal.bar() as progress:
        found = run(file, corpus=corpus, encoder=encoder, rows=rows, seed=seed, device=device,
                    progress=progress)  # fmt: skip
    if as_json:
        terminal.show_json(asdict(found) | {"sound": found.sound})
    else:
        shown.show_verified(found)
    if not found.sound:
        raise typer.Exit(1)


@commands.command(epilog="Example: erc inspect features/meld/text.baseline.h5")
def inspect(
    file: Annotated[Path, typer.Argument(help="A feature file, finished or not.")],
    as_json: JsonOption = False,
) -> None:
    """Show what is in a feature file, and where it came from."""
    from erc_features import terminal
    from erc_features.cli import printing as shown
    from erc_features.store.inspect import inspect as run

    found = run(file)
    if as_json:
        return terminal.show_json(asdict(found))
    return shown.show_inspection(found)


@commands.command("import", epilog="Example: erc import egemaps.csv --modality audio --split train")
def import_(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SRC", help=".npy, .npz, .safetensors, .pt, .csv, .parquet, .pkl, or a folder."
        ),
    ],
    modality: Annotated[str, typer.Option(help="text, visual or audio.")],
    corpus: CorpusOption = CORPUS,
    features: FeaturesOption = FEATURES,
    name: Annotated[str | None, typer.Option(help="Of the feature file; SRC's if left.")] = None,
    keys: Annotated[
        Path | None,
        typer.Option(help="A file that names the rows: one a line, or a CSV or Parquet table."),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Of rows that don't say; without names, in its order.")
    ] = None,
    drop: Annotated[str, typer.Option(help="What SRC leaves out of it: dia110_utt7,…")] = "",
    field: Annotated[
        str | None,
        typer.Option(help="Which array, or which columns a,b, of several; of lists, as layers."),
    ] = None,
    frames: Annotated[
        str | None,
        typer.Option(help="(N, T, D) is T frames a row: pool them by mean, mean+std or max."),
    ] = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="(N, L, D) is L layers a row, however many.")
    ] = False,
    dtype: Annotated[str, typer.Option(help="float16 or float32, as stored.")] = "float32",
    overwrite: Annotated[bool, typer.Option(help="Replace the feature file.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a feature file of features that you have already. Refuses pickles that run code."""
    from erc_features import terminal
    from erc_features.interchange import import_features as run

    made = run(source, corpus, modality=modality, name=name, keys=keys, split=split,
               drop=tuple(filter(None, drop.split(","))), field=field, frames=frames,
               layers=layers, features=features, dtype=dtype, overwrite=overwrite)  # fmt: skip
    return terminal.show_json(asdict(made)) if as_json else terminal.show(made)


@commands.command(epilog="Example: erc export features/meld/audio.x.h5 --to audio.npz --as npz")
def export(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="A feature file; for mmsa, up to three.")
    ],
    to: Annotated[Path, typer.Option(help="The file to write.")],
    kind: Annotated[str, typer.Option("--as", help="npz, parquet, safetensors or mmsa.")] = "npz",
    layer: Annotated[int | None, typer.Option(help="For mmsa, which has none; -1: last.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace what is there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a feature file for other tools; `erc import` reads it back."""
    from erc_features import terminal
    from erc_features.interchange import export_features as run

    made = run(files, to, kind, layer=layer, overwrite=overwrite)
    return terminal.show_json(asdict(made)) if as_json else terminal.show(made)
