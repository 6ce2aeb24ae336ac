"""The command line: parse, one call, print. The one place that catches ErcError.

Everything a command does can be done from Python, by the function of the same name. Imports
stand inside the commands, so that `erc --help` answers at once.
"""

import io
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from erc_features.errors import ErcError


class Verbs(TyperGroup):
    """Turns an ErcError into its message and exit code 1; usage errors stay 2."""

    def invoke(self, ctx: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")  # "±" in an ASCII locale is no reason to fail
        try:
            return super().invoke(ctx)
        except ErcError as error:
            print(f"Error: {error}", file=sys.stderr)
            raise typer.Exit(1) from error


app = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    help="Precomputed features and fast, honest fusion for Emotion Recognition in "
    "Conversations.\n\nTry `erc demo`: the whole way, offline, in about a minute.",
)

CorpusOption = Annotated[
    Path, typer.Option("--corpus", envvar="ERC_CORPUS", help="Folder of the corpus, or its name.")
]
FeaturesOption = Annotated[Path, typer.Option("--features", help="Where feature files are.")]
RunsOption = Annotated[Path, typer.Option("--runs", help="Where runs are.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
JobsOption = Annotated[int | None, typer.Option(help="Processes; one a core by default.")]
RAW, CORPUS, FEATURES, RUNS = map(Path, ("data/raw", "data/meld", "features", "runs"))


@app.command(epilog="Example: erc demo --to demo")
def demo(
    to: Annotated[Path, typer.Option(help="Folder for everything that is made.")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Of the rendered corpus.")] = 0,
) -> None:
    """The whole way, offline: sample, prepare, extract, fuse, report."""
    from erc_features import terminal
    from erc_fusion.demo import demo as run
    from erc_fusion.report import rich_table, sentences

    with terminal.bar() as progress:
        made = run(to, seed=seed, progress=progress, say=terminal.err.print)
    terminal.out.print(rich_table(made.comparison))
    terminal.show(*sentences(made.comparison), f"The report: {made.report.resolve()}")


@app.command(epilog="Example: erc sample data/raw && erc prepare data/raw --to data/sample")
def sample(
    dest: Annotated[Path, typer.Argument(help="A folder that is new or empty.")],
    seed: Annotated[int, typer.Option(help="The same seed renders the same corpus.")] = 0,
    jobs: JobsOption = None,
) -> None:
    """Render a small raw corpus in MELD's shape: faces, voices, sentences, and MELD's defects."""
    from erc_features import terminal
    from erc_features.corpora.sample import sample as run

    with terminal.bar() as progress:
        made = run(dest, seed=seed, jobs=jobs, progress=lambda *at: progress("sample", *at))
    terminal.show(f"{dest}: {sum(made.utterances)} utterances, {made.clips} clips, "
                  f"{made.seconds:.0f} s; broken on purpose:")  # fmt: skip
    terminal.show(*(f"  {kind}: {where}" for kind, where in made.defects.items()))


@app.command(epilog="Example: erc download && erc prepare data/raw/MELD.Raw --to data/meld")
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
    from erc_features.download import download as run

    with terminal.bar(of_bytes=True) as progress:
        made = run(owner, name, subdir, to, unpack=unpack, keep_archives=keep_archives,
                   connections=connections, progress=progress,
                   announce=lambda needs: terminal.err.print(str(needs), markup=False))  # fmt: skip
    return terminal.show_json(asdict(made)) if as_json else terminal.show(made)


@app.command(epilog="Example: erc prepare data/raw/MELD.Raw --to data/meld --frames 5")
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
    from erc_features.decode import Decode
    from erc_features.prepare import prepare as run
    from erc_features.upload import folder_of, is_url, upload

    with terminal.bar() as progress:
        made = run(raw, folder_of(to), kind=kind, decode=Decode(frames, height), jobs=jobs,
                   strict=strict, force=force, say=terminal.err.print,
                   progress=lambda *at: progress("prepare", *at))  # fmt: skip
        sent = upload(made.corpus.root, to, progress) if is_url(to) else None
    terminal.show_prepared(made)
    return terminal.show(*([f"{to}: {sent[0]} files sent, {sent[1]} there before"] if sent else []))


@app.command(epilog="Example: erc doctor data/meld --html doctor.html")
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
    from erc_features.doctor import doctor as run
    from erc_features.doctor_page import write_page
    from erc_features.doctor_tables import show

    found = run(corpus)
    page = write_page(found, html).resolve() if html else None
    if as_json:
        return terminal.show_json(found.as_dict() | ({"page": page} if page else {}))
    show(found)
    return terminal.show(*([f"The page: {page}"] if page else []))


@app.command(epilog="Example: erc extract --modality text --encoder bert-base-uncased")
def extract(
    corpus: CorpusOption = CORPUS,
    features: FeaturesOption = FEATURES,
    modality: Annotated[
        str | None, typer.Option(help="text, visual or audio; all that the corpus has if left.")
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            help="baseline, a Hugging Face id, a local folder, ViT-B-32/TAG, random:NAME."
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
    workers: Annotated[int | None, typer.Option(help="Threads that decode.")] = None,
    retry: Annotated[bool, typer.Option(help="Encode failed rows again.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace the feature file.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run frozen encoders over a corpus once; the embeddings go to HDF5. Resumes by itself."""
    from erc_features import terminal
    from erc_features.encoders.base import Settings
    from erc_features.extract import extract as run

    settings = Settings(layers, pool, precision, device, history)
    with terminal.bar() as progress:
        files = run(corpus, features=features, modality=modality, encoder=encoder, name=name,
                    settings=settings, dtype=dtype, batch_size=batch_size, workers=workers,
                    retry=retry, overwrite=overwrite, progress=progress)  # fmt: skip
    if as_json:
        return terminal.show_json([asdict(file) for file in files])
    return terminal.show_extracted(files)


@app.command(epilog="Example: erc inspect features/meld/text.baseline.h5")
def inspect(
    file: Annotated[Path, typer.Argument(help="A feature file, finished or not.")],
    as_json: JsonOption = False,
) -> None:
    """Show what is in a feature file, and where it came from."""
    from erc_features import terminal
    from erc_features.inspect import inspect as run

    found = run(file)
    if as_json:
        return terminal.show_json(asdict(found))
    return terminal.show_inspection(found)


@app.command(epilog="Example: erc fuse --head attention --modalities text,audio --seeds 10")
def fuse(
    corpus: Annotated[
        str | None, typer.Option(help="Its name or folder; data/meld or $ERC_CORPUS if left.")
    ] = None,
    features: Annotated[str | None, typer.Option(help="Where feature files are.")] = None,
    runs: Annotated[str | None, typer.Option(help="Where runs are.")] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file of settings.")] = None,
    head: Annotated[str | None, typer.Option(help="linear, mlp, attention or triplet.")] = None,
    modalities: Annotated[
        str | None, typer.Option(help="Modalities or file stems, with commas; all if left.")
    ] = None,
    context: Annotated[str | None, typer.Option(help="Of the dialogue: none or gru.")] = None,
    loss: Annotated[str | None, typer.Option(help="cross-entropy.")] = None,
    contrastive: Annotated[str | None, typer.Option(help="none, triplet or supcon.")] = None,
    class_weights: Annotated[str | None, typer.Option(help="none or balanced.")] = None,
    label_smoothing: Annotated[float | None, typer.Option(help="0 to 1.")] = None,
    seeds: Annotated[
        str | None, typer.Option(help="How many (5: seeds 0 to 4), or which (3,7,11).")
    ] = None,
    monitor: Annotated[str | None, typer.Option(help="accuracy or weighted_f1, on dev.")] = None,
    epochs: Annotated[int | None, typer.Option(help="At most so many.")] = None,
    patience: Annotated[int | None, typer.Option(help="Epochs without a better dev.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Utterances a step and seed.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate of AdamW.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Of AdamW.")] = None,
    dropout: Annotated[float | None, typer.Option(help="After the projection.")] = None,
    modality_dropout: Annotated[float | None, typer.Option(help="Hide a file so often.")] = None,
    width: Annotated[int | None, typer.Option(help="Dimensions of the embedding.")] = None,
    name: Annotated[str | None, typer.Option(help="Of the run.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Run again what is finished.")] = False,
) -> None:
    """Train a fusion head on cached features, all seeds at once; chosen on dev, scored once."""
    from erc_features import terminal
    from erc_fusion.config import FuseConfig, load_config, parse_list, parse_seeds, with_options
    from erc_fusion.fuse import fuse as run

    default = FuseConfig(corpus=os.environ.get("ERC_CORPUS", str(CORPUS)))
    settings = with_options(
        load_config(config) if config else default, corpus=corpus, features=features, runs=runs,
        head=head, modalities=parse_list(modalities), context=context, loss=loss,
        contrastive=contrastive, class_weights=class_weights, label_smoothing=label_smoothing,
        seeds=parse_seeds(seeds), monitor=monitor, epochs=epochs, patience=patience,
        batch_size=batch_size, lr=lr, weight_decay=weight_decay, dropout=dropout,
        modality_dropout=modality_dropout, width=width, name=name, device=device,
        overwrite=overwrite,
    )  # fmt: skip
    with terminal.bar() as progress:
        result = run(settings, progress=lambda at: progress("fuse", at.epoch, at.epochs))
    terminal.show_run(result.run.path, result.run.metrics, already=result.already)


@app.command(epilog="Example: erc report --to runs/report.html")
def report(
    run: Annotated[
        list[Path] | None, typer.Argument(help="Runs; all of the corpus if left.")
    ] = None,
    corpus: CorpusOption = CORPUS,
    runs: RunsOption = RUNS,
    baseline: Annotated[Path | None, typer.Option(help="A run to compare with.")] = None,
    to: Annotated[Path | None, typer.Option(help="The page; runs/report.html if left.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare runs: a table here, and one self-contained HTML page."""
    from erc_features import terminal
    from erc_features.utterance import corpus_name
    from erc_fusion.report import as_dict, rich_table, sentences
    from erc_fusion.report import report as write
    from erc_fusion.runs import Run, find_runs

    of = corpus_name(str(corpus))
    finished, unfinished = find_runs(runs, of, run or [])
    bases = find_runs(runs, of, [baseline]) if baseline else ([], [])
    base = next(iter([*bases[0], *map(Run, bases[1])]), None)  # an unfinished one is refused
    page = to or runs / "report.html"
    made = write(finished, to=page, baseline=base, unfinished=unfinished)
    if as_json:
        return terminal.show_json(as_dict(made) | {"page": page})
    terminal.out.print(rich_table(made))
    return terminal.show(*sentences(made), f"The page: {page.resolve()}")


if __name__ == "__main__":
    app()
