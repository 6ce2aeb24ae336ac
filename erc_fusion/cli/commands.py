"""The commands from the feature files on: parse, one call, print. See `cli.py`."""

from pathlib import Path
from typing import Annotated

import typer

from erc_features.cli.options import (
    CORPUS,
    DEVICES,
    INPUTS,
    OUTPUT,
    RUNS,
    CorpusOption,
    JsonOption,
    RunsOption,
    command_of,
    option,
)
from erc_features.errors import ErcError
from erc_fusion.cli.settings import SEEDS, SETTINGS, TRAINING, takes_settings
from erc_fusion.config.config import MONITORS, FuseConfig

SEARCH = "Search"  # a heading of `--help`
commands = typer.Typer()
command = command_of(commands)


@command(epilog="Example: erc fuse --head attention --modalities text,audio --seeds 10")
@takes_settings(*(name for name in SETTINGS if name != "config"))
def fuse(
    settings: FuseConfig,
    overfit: Annotated[
        bool,
        option(
            "Only find out whether the head can fit the training data at all.",
            "--overfit",
            under=TRAINING,
        ),
    ] = False,
    log: Annotated[
        str,
        option(
            "Also write learning curves while it trains, to RUNS/CORPUS/tensorboard.",
            under=OUTPUT,
            takes="tensorboard",
        ),
    ] = "",
) -> None:
    """Train a fusion head on cached features, all seeds at once.

    Epochs are selected on dev; test is scored once, at the end.
    """
    from erc_features import terminal
    from erc_fusion.cli.printing import show_overfit, show_run, show_seeds
    from erc_fusion.fuse import fuse as run

    if overfit and log:
        raise ErcError("--log writes the learning curves of a run, and --overfit leaves no run.")
    show_seeds(settings.seeds, "Using")
    if overfit:
        from erc_fusion.search.overfit import overfit as try_to_overfit

        with terminal.training() as progress:
            tried = try_to_overfit(settings, progress=progress)
        return show_overfit(tried)
    with terminal.training() as progress:
        result = run(settings, progress=progress, log=log)
    return show_run(result, log=log)


@command(epilog="Example: erc tune --trials 100 && erc fuse --config runs/meld/tuned.toml")
@takes_settings("corpus", "features", "modalities", "runs", "monitor", "device")
def tune(
    settings: FuseConfig,
    heads: Annotated[
        str | None, option("Heads to try, separated by commas.", under=SEARCH, takes="NAME,…")
    ] = None,
    contexts: Annotated[
        str | None, option("Contexts to try, separated by commas.", under=SEARCH, takes="NAME,…")
    ] = None,
    losses: Annotated[
        str | None, option("Losses to try, separated by commas.", under=SEARCH, takes="NAME,…")
    ] = None,
    contrasts: Annotated[
        str | None,
        option("Contrastive losses to try, separated by commas.", under=SEARCH, takes="NAME,…"),
    ] = None,
    trials: Annotated[int, option("Stop when the study has this many trials.", under=SEARCH)] = 50,
    minutes: Annotated[float | None, option("Stop after this many minutes.", under=SEARCH)] = None,
    seeds: Annotated[
        str,
        option(
            f"Seeds of each trial: {SEEDS} Keep them apart from the seeds of the final run, whose "
            "scores would otherwise be too good.",
            under=SEARCH,
            takes="N|N,…",
        ),
    ] = "100,101,102",
    storage: Annotated[
        str | None,
        option(
            "Database that keeps the study and lets several machines share it: sqlite:///tune.db.",
            under=OUTPUT,
            takes="URL",
        ),
    ] = None,
    study: Annotated[str | None, option("Name of the study in the storage.", under=OUTPUT)] = None,
    to: Annotated[
        Path | None,
        option("TOML file for the best settings. [default: RUNS/CORPUS/tuned.toml]", under=OUTPUT),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Search for the best settings on dev, with Optuna.

    Heads, contexts, losses, layers, widths and regularisation are tried; test is never looked at.
    """
    from erc_features import terminal
    from erc_fusion.cli.printing import show_seeds, show_tuned, tuned_as_dict
    from erc_fusion.config.config import parse_list, with_options
    from erc_fusion.config.seeds import parse_seeds
    from erc_fusion.search.tune import tune as run
    from erc_fusion.search.tune_space import Space

    settings = with_options(settings, seeds=parse_seeds(seeds))
    space = Space.of(*map(parse_list, (heads, contexts, losses, contrasts)))
    show_seeds(settings.seeds, "Each trial uses")
    with terminal.bar() as progress:
        found = run(
            settings, space=space, trials=trials, seconds=minutes and 60 * minutes,
            storage=storage, study=study, to=to,
            progress=lambda done, of, best: progress("tune", done, of),
        )  # fmt: skip
    return terminal.show_json(tuned_as_dict(found)) if as_json else show_tuned(found)


@command(epilog="Example: erc study objectives --text minilm")
@takes_settings("corpus", "features", "runs", "seeds", "device")
def study(
    ladder: Annotated[
        str, typer.Argument(help="`objectives`, the built-in ladder, or a TOML file of rungs.")
    ],
    settings: FuseConfig,
    text: Annotated[
        str | None,
        option("The better text file. [default: the only other one]", under=INPUTS, takes="STEM"),
    ] = None,
    visual: Annotated[
        str | None,
        option("The better visual file. [default: the only other one]", under=INPUTS, takes="STEM"),
    ] = None,
    audio: Annotated[
        str | None,
        option("The better audio file. [default: the only other one]", under=INPUTS, takes="STEM"),
    ] = None,
    monitor: Annotated[
        str | None,
        option(
            "Score on dev that makes every choice. [default: the ladder's]",
            under=TRAINING,
            takes="|".join(MONITORS),
        ),
    ] = None,
    to: Annotated[
        Path | None, option("HTML page. [default: RUNS/CORPUS/STUDY.html]", under=OUTPUT)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Climb a ladder of runs, each compared with the one before.

    Each rung is scaled up until it fits train, then regularised on dev.
    """
    from erc_features import terminal
    from erc_fusion.cli.printing import show_seeds, show_study, study_as_dict
    from erc_fusion.search.study import study as run
    from erc_fusion.search.study_plan import read_plan

    better = {"text": text, "visual": visual, "audio": audio}
    show_seeds(settings.seeds, "Each run uses")
    with terminal.bar() as progress:
        found = run(
            read_plan(ladder), settings,
            better={name: file for name, file in better.items() if file}, monitor=monitor, to=to,
            progress=progress, say=lambda line: terminal.err.print(line, markup=False),
        )  # fmt: skip
    return terminal.show_json(study_as_dict(found)) if as_json else show_study(found)


@command(epilog="Example: erc report --study objectives --latex ladder.tex")
def report(
    run: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders or names of runs. [default: every run of the corpus]"),
    ] = None,
    corpus: CorpusOption = CORPUS,
    runs: RunsOption = RUNS,
    study: Annotated[
        str | None, option("Name of a study, to show its ladder: objectives.", under=INPUTS)
    ] = None,
    baseline: Annotated[
        Path | None, option("Run that the others are compared with.", under=INPUTS, takes="RUN")
    ] = None,
    to: Annotated[
        Path | None, option("HTML page. [default: RUNS/report.html]", under=OUTPUT)
    ] = None,
    csv: Annotated[
        Path | None, option("Also write the table's numbers as CSV.", under=OUTPUT)
    ] = None,
    latex: Annotated[Path | None, option("Also write the table for a paper.", under=OUTPUT)] = None,
    media: Annotated[
        bool, option("Let the page play the sound of mistakes.", "--media", under=OUTPUT)
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare runs in a table and in one self-contained HTML page.

    If --corpus is a folder with corpus.json, the page shows pictures of the mistakes.
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


@command(epilog="Example: erc predict runs/meld/best scene.mp4 --text 'Oh my god!'")
def predict(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    clips: Annotated[
        list[Path] | None, typer.Argument(help="Clips of one dialogue, in its order.")
    ] = None,
    text: Annotated[
        list[str] | None,
        option("What is said; give it once for each utterance.", under=INPUTS),
    ] = None,
    speaker: Annotated[
        list[str] | None, option("Who says it; give it once for each utterance.", under=INPUTS)
    ] = None,
    table: Annotated[
        Path | None,
        option(
            "CSV with the columns of a corpus, or a corpus; in place of clips and texts.",
            "--csv",
            under=INPUTS,
        ),
    ] = None,
    encoder: Annotated[
        list[str] | None,
        option("Where an encoder is now, if it has moved.", under=INPUTS, takes="STEM=PATH"),
    ] = None,
    device: Annotated[str, option("Device of the encoders.", under=INPUTS, takes=DEVICES)] = "auto",
    to: Annotated[
        Path | None, option("Also write the answers to a .csv or .jsonl file.", under=OUTPUT)
    ] = None,
    work: Annotated[
        Path | None,
        option("Folder that keeps the prepared media and the features.", under=OUTPUT),
    ] = None,
    as_json: Annotated[bool, option("Print JSON lines.", "--json", under=OUTPUT)] = False,
) -> None:
    """Predict the emotions of a dialogue with a finished run.

    Clips and texts are prepared and encoded in the same way as the run's training data.
    """
    from erc_features import terminal
    from erc_features.preparation.live_dialogue import make_talk, read_talk
    from erc_fusion.cli.printing import show_answers
    from erc_fusion.predict import json_lines, parse_encoders, write_answers
    from erc_fusion.predict import predict as answer
    from erc_fusion.runs.run import Run

    if table and (clips or text or speaker):
        raise ErcError("--csv takes the place of clips, --text and --speaker: leave these out.")
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
