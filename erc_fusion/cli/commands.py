"""The commands from the feature files on: parse, one call, print. See `cli.py`."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from erc_features.cli.options import (
    CORPUS,
    RUNS,
    CorpusOption,
    JsonOption,
    RunsOption,
)
from erc_features.errors import ErcError
from erc_fusion.config.config import DEFAULTS

commands = typer.Typer()
_SEEDS = "One number is how many (100: a hundred, 0 to 99); with a comma, which (3,7 or 100,)."


def _setting(name: str, text: str) -> Any:
    """An option that is a setting of :class:`FuseConfig`, and what it is if left."""
    return typer.Option(help=f"{text}; {DEFAULTS[name]} if left.")


@commands.command(epilog="Example: erc fuse --head attention --modalities text,audio --seeds 10")
def fuse(
    corpus: Annotated[
        str | None, typer.Option(help="Its name or folder; data/meld or $ERC_CORPUS if left.")
    ] = None,
    features: Annotated[str | None, typer.Option(help="Where feature files are.")] = None,
    runs: Annotated[str | None, typer.Option(help="Where runs are.")] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file of settings.")] = None,
    head: Annotated[
        str | None, _setting("head", "linear, mlp, late, gated, attention, lowrank or triplet")
    ] = None,
    modalities: Annotated[
        str | None, typer.Option(help="Modalities or file stems, with commas; all if left.")
    ] = None,
    layers: Annotated[
        str | None, _setting("layers", "Of the files': all, last, -4: or 0,6,12")
    ] = None,
    context: Annotated[str | None, _setting("context", "none, gru or transformer")] = None,
    reach: Annotated[
        str | None, _setting("reach", "Of the context: whole dialogue, or past alone")
    ] = None,
    speakers: Annotated[bool | None, _setting("speakers", "The context knows who speaks")] = None,
    loss: Annotated[str | None, _setting("loss", "cross-entropy, focal or dice")] = None,
    gamma: Annotated[float | None, _setting("gamma", "Of the focal loss")] = None,
    contrastive: Annotated[str | None, _setting("contrastive", "none, triplet or supcon")] = None,
    contrastive_weight: Annotated[
        float | None, _setting("contrastive_weight", "Of the contrastive loss beside the other")
    ] = None,
    margin: Annotated[float | None, _setting("margin", "Of the triplets")] = None,
    temperature: Annotated[float | None, _setting("temperature", "Of supcon")] = None,
    class_weights: Annotated[
        str | None, _setting("class_weights", "none, sqrt or balanced")
    ] = None,
    label_smoothing: Annotated[float | None, _setting("label_smoothing", "0 to 1")] = None,
    seeds: Annotated[
        str | None,
        typer.Option(help=f"{_SEEDS} 0 to 4 if left."),
    ] = None,
    monitor: Annotated[str | None, _setting("monitor", "accuracy or weighted_f1, on dev")] = None,
    epochs: Annotated[int | None, _setting("epochs", "At most so many")] = None,
    patience: Annotated[int | None, _setting("patience", "Epochs without a better dev")] = None,
    batch_size: Annotated[int | None, _setting("batch_size", "Utterances a step and seed")] = None,
    lr: Annotated[float | None, _setting("lr", "Learning rate of AdamW")] = None,
    weight_decay: Annotated[float | None, _setting("weight_decay", "Of AdamW")] = None,
    clip: Annotated[float | None, _setting("clip", "Largest norm of a seed's gradient")] = None,
    schedule: Annotated[str | None, _setting("schedule", "constant or cosine")] = None,
    warmup: Annotated[float | None, _setting("warmup", "Epochs of rising rate")] = None,
    average: Annotated[
        float | None, _setting("average", "Of the weights: 0 none, 0.99 usual")
    ] = None,
    precision: Annotated[str | None, _setting("precision", "fp32, bf16 or auto")] = None,
    dropout: Annotated[float | None, _setting("dropout", "After the projection")] = None,
    modality_dropout: Annotated[
        float | None, _setting("modality_dropout", "Hide a file so often")
    ] = None,
    width: Annotated[int | None, _setting("width", "Dimensions of the embedding")] = None,
    name: Annotated[str | None, typer.Option(help="Of the run.")] = None,
    device: Annotated[str | None, _setting("device", "auto, cpu or cuda")] = None,
    overwrite: Annotated[bool, typer.Option(help="Run again what is finished.")] = False,
    overfit: Annotated[
        bool, typer.Option("--overfit", help="Only see whether the head can fit train at all.")
    ] = False,
    log: Annotated[
        str, typer.Option(help="tensorboard: curves in RUNS/CORPUS/tensorboard, while it trains.")
    ] = "",
) -> None:
    """Train a fusion head on cached features, all seeds at once; chosen on dev, scored once."""
    from erc_features import terminal
    from erc_fusion.cli.printing import show_overfit, show_run, show_seeds
    from erc_fusion.config.config import FuseConfig, load_config, parse_list, with_options
    from erc_fusion.config.seeds import parse_seeds
    from erc_fusion.fuse import fuse as run
    from erc_fusion.search.overfit import overfit as try_to_overfit

    default = FuseConfig(corpus=os.environ.get("ERC_CORPUS", str(CORPUS)))
    settings = with_options(
        load_config(config) if config else default, corpus=corpus, features=features, runs=runs,
        head=head, modalities=parse_list(modalities), layers=layers, context=context, reach=reach,
        speakers=speakers, loss=loss, gamma=gamma, schedule=schedule, warmup=warmup,
        average=average, precision=precision,
        contrastive=contrastive, contrastive_weight=contrastive_weight, margin=margin,
        temperature=temperature, clip=clip, class_weights=class_weights,
        label_smoothing=label_smoothing,
        seeds=parse_seeds(seeds), monitor=monitor, epochs=epochs, patience=patience,
        batch_size=batch_size, lr=lr, weight_decay=weight_decay, dropout=dropout,
        modality_dropout=modality_dropout, width=width, name=name, device=device,
        overwrite=overwrite,
    )  # fmt: skip
    if overfit and log:
        raise ErcError("--log writes the curves of a run, and --overfit leaves none.")
    show_seeds(settings.seeds, "Training")
    if overfit:
        with terminal.training() as progress:
            tried = try_to_overfit(settings, progress=progress)
        return show_overfit(tried)
    with terminal.training() as progress:
        result = run(settings, progress=progress, log=log)
    return show_run(result, log=log)


@commands.command(epilog="Example: erc tune --trials 100 && erc fuse --config runs/meld/tuned.toml")
def tune(
    corpus: Annotated[
        str | None, typer.Option(help="Its name or folder; data/meld or $ERC_CORPUS if left.")
    ] = None,
    features: Annotated[str | None, typer.Option(help="Where feature files are.")] = None,
    runs: Annotated[str | None, typer.Option(help="Where runs are.")] = None,
    config: Annotated[
        Path | None, typer.Option(help="A TOML file of settings that are not searched over.")
    ] = None,
    modalities: Annotated[
        str | None, typer.Option(help="Modalities or file stems, with commas; all if left.")
    ] = None,
    heads: Annotated[str | None, typer.Option(help="To try, with commas.")] = None,
    contexts: Annotated[str | None, typer.Option(help="To try, with commas.")] = None,
    losses: Annotated[str | None, typer.Option(help="To try, with commas.")] = None,
    contrasts: Annotated[str | None, typer.Option(help="To try, with commas.")] = None,
    trials: Annotated[int, typer.Option(help="Until the study has so many.")] = 50,
    minutes: Annotated[float | None, typer.Option(help="At most so long.")] = None,
    seeds: Annotated[
        str,
        typer.Option(
            help=f"Of each trial. {_SEEDS} Choose others than the run's, whose scores would "
            "otherwise be too good."
        ),
    ] = "100,101,102",
    monitor: Annotated[str | None, typer.Option(help="accuracy or weighted_f1, on dev.")] = None,
    storage: Annotated[
        str | None, typer.Option(help="sqlite:///tune.db: shared by machines, kept.")
    ] = None,
    study: Annotated[str | None, typer.Option(help="Its name in the storage.")] = None,
    to: Annotated[Path | None, typer.Option(help="runs/<corpus>/tuned.toml if left.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Search heads, losses, layers, widths and regularisation on dev; never looks at test."""
    from erc_features import terminal
    from erc_fusion.cli.printing import show_seeds, show_tuned, tuned_as_dict
    from erc_fusion.config.config import FuseConfig, load_config, parse_list, with_options
    from erc_fusion.config.seeds import parse_seeds
    from erc_fusion.search.tune import tune as run
    from erc_fusion.search.tune_space import Space

    default = FuseConfig(corpus=os.environ.get("ERC_CORPUS", str(CORPUS)))
    settings = with_options(
        load_config(config) if config else default, corpus=corpus, features=features, runs=runs,
        modalities=parse_list(modalities), seeds=parse_seeds(seeds), monitor=monitor,
        device=device,
    )  # fmt: skip
    space = Space.of(parse_list(heads), parse_list(contexts), parse_list(losses),
                     parse_list(contrasts))  # fmt: skip
    show_seeds(settings.seeds, "Training for each trial")
    with terminal.bar() as progress:
        found = run(
            settings, space=space, trials=trials, seconds=minutes and 60 * minutes,
            storage=storage, study=study, to=to,
            progress=lambda done, of, best: progress("tune", done, of),
        )  # fmt: skip
    return terminal.show_json(tuned_as_dict(found)) if as_json else show_tuned(found)


@commands.command(epilog="Example: erc study objectives --text minilm")
def study(
    ladder: Annotated[str, typer.Argument(help="`objectives`, or a TOML file of rungs.")],
    corpus: Annotated[
        str | None, typer.Option(help="Its name or folder; data/meld or $ERC_CORPUS if left.")
    ] = None,
    features: Annotated[str | None, typer.Option(help="Where feature files are.")] = None,
    runs: Annotated[str | None, typer.Option(help="Where runs are.")] = None,
    config: Annotated[
        Path | None, typer.Option(help="A TOML file of settings that the ladder leaves open.")
    ] = None,
    text: Annotated[
        str | None, typer.Option(help="The better text file; the only other one if left.")
    ] = None,
    visual: Annotated[str | None, typer.Option(help="The same of visual.")] = None,
    audio: Annotated[str | None, typer.Option(help="The same of audio.")] = None,
    seeds: Annotated[
        str | None, typer.Option(help=f"Of each run. {_SEEDS} 0 to 4 if left.")
    ] = None,
    monitor: Annotated[
        str | None, typer.Option(help="accuracy or weighted_f1, on dev; it chooses.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    to: Annotated[
        Path | None, typer.Option(help="The page; runs/<corpus>/<study>.html if left.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Climb a ladder of runs, each regularised on dev and compared with the one before."""
    from erc_features import terminal
    from erc_fusion.cli.printing import show_seeds, show_study, study_as_dict
    from erc_fusion.config.config import FuseConfig, load_config, with_options
    from erc_fusion.config.seeds import parse_seeds
    from erc_fusion.search.study import study as run
    from erc_fusion.search.study_plan import read_plan

    default = FuseConfig(corpus=os.environ.get("ERC_CORPUS", str(CORPUS)))
    settings = with_options(
        load_config(config) if config else default, corpus=corpus, features=features, runs=runs,
        seeds=parse_seeds(seeds), device=device,
    )  # fmt: skip
    better = {"text": text, "visual": visual, "audio": audio}
    show_seeds(settings.seeds, "Training for each run")
    with terminal.bar() as progress:
        found = run(
            read_plan(ladder), settings,
            better={name: file for name, file in better.items() if file}, monitor=monitor, to=to,
            progress=progress, say=lambda line: terminal.err.print(line, markup=False),
        )  # fmt: skip
    return terminal.show_json(study_as_dict(found)) if as_json else show_study(found)


@commands.command(epilog="Example: erc report --study objectives --latex ladder.tex")
def report(
    run: Annotated[
        list[Path] | None, typer.Argument(help="Runs; all of the corpus if left.")
    ] = None,
    corpus: CorpusOption = CORPUS,
    runs: RunsOption = RUNS,
    study: Annotated[str | None, typer.Option(help="A study's ladder: objectives.")] = None,
    baseline: Annotated[Path | None, typer.Option(help="A run to compare with.")] = None,
    to: Annotated[Path | None, typer.Option(help="The page; runs/report.html if left.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Also write the table's numbers.")] = None,
    latex: Annotated[Path | None, typer.Option(help="Also write the table for a paper.")] = None,
    media: Annotated[bool, typer.Option("--media", help="Mistakes with their sound.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare runs: a table here, and one self-contained HTML page.

    Where --corpus is a folder with corpus.json, the page shows pictures of the mistakes.
    """
    from erc_features import terminal
    from erc_features.utterance import corpus_name
    from erc_fusion.report import as_dict, find_study, rich_table, sentences, write_csv, write_latex
    from erc_fusion.report import report as write
    from erc_fusion.runs.run import Run, find_runs

    root = corpus if (corpus / "corpus.json").is_file() else None
    if media and root is None:
        raise ErcError(f"--media needs the corpus: {corpus} has no corpus.json; choose --corpus.")
    of = corpus_name(str(corpus))
    ladder, finished, unfinished = find_study(runs, of, study) if study else (None, [], [])
    more = find_runs(runs, of, run or []) if run or not study else ([], [])
    bases = find_runs(runs, of, [baseline]) if baseline else ([], [])
    base = next(iter([*bases[0], *map(Run, bases[1])]), None)  # an unfinished one is refused
    page = to or runs / "report.html"
    made = write([*finished, *more[0]], to=page, baseline=base, ladder=ladder, sound=media,
                 unfinished=[*unfinished, *more[1]], corpus_root=root)  # fmt: skip
    for file, export in ((csv, write_csv), (latex, write_latex)):
        if file:
            export(made, file)
    if as_json:
        return terminal.show_json(as_dict(made) | {"page": page})
    terminal.out.print(rich_table(made))
    return terminal.show(*sentences(made), f"The page: {page.resolve()}")


@commands.command(epilog="Example: erc predict runs/meld/best scene.mp4 --text 'Oh my god!'")
def predict(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    clips: Annotated[
        list[Path] | None, typer.Argument(help="Clips of one dialogue, in its order.")
    ] = None,
    text: Annotated[list[str] | None, typer.Option(help="What is said; once a clip.")] = None,
    speaker: Annotated[list[str] | None, typer.Option(help="Who says it; once a clip.")] = None,
    table: Annotated[
        Path | None, typer.Option("--csv", help="A CSV of the corpus columns, or a corpus.")
    ] = None,
    encoder: Annotated[
        list[str] | None, typer.Option(help="STEM=PATH: where an encoder is now, if it moved.")
    ] = None,
    to: Annotated[Path | None, typer.Option(help="Also write a .csv or .jsonl file.")] = None,
    work: Annotated[Path | None, typer.Option(help="Keep media and features here.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda; of the encoders.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
) -> None:
    """From clips and texts to emotions, by a run's own encoders and weights."""
    from erc_features import terminal
    from erc_features.preparation.live_dialogue import make_talk, read_talk
    from erc_fusion.cli.printing import show_answers
    from erc_fusion.predict import json_lines, parse_encoders, write_answers
    from erc_fusion.predict import predict as answer
    from erc_fusion.runs.run import Run

    if table and (clips or text or speaker):
        raise ErcError("Clips, --text and --speaker stand in the --csv where there is one.")
    asked = read_talk(table) if table else make_talk(clips or [], text or [], speaker or [])
    with terminal.bar() as progress:
        found = answer(Run(run), asked, encoders=parse_encoders(encoder or []), device=device,
                       work=work, progress=progress)  # fmt: skip
    for stem, why in found.unchecked.items():
        terminal.err.print(f"{stem}: {why}", markup=False, highlight=False)
    if to:
        write_answers(found, to)
    if as_json:
        return terminal.show(*json_lines(found))
    return show_answers(found.rows)
