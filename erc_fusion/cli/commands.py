"""The commands from the feature files on: parse, one call, print. See `cli.py`."""

from pathlib import Path

import typer

from erc_features.cli.options import (
    CORPUS,
    RUNS,
    CorpusOption,
    JsonOption,
    RunsOption,
    command_of,
)
from erc_features.errors import ErcError
from erc_fusion.cli.settings import SETTINGS, takes_settings
from erc_fusion.config.config import FuseConfig

commands = typer.Typer()


@command_of(commands, "erc fuse --head attention --modalities text,audio --seeds 10")
@takes_settings(*(name for name in SETTINGS if name != "config"))
def fuse(
    settings: FuseConfig,
    overfit: bool = False,
    log: str = "",
) -> None:
    """Train a fusion head on cached features, all seeds at once.

    Epochs are selected on dev; test is scored once, at the end.

    Training:
        overfit: Only find out whether the head can fit the training data at all.

    Output:
        log tensorboard: Also write learning curves while it trains, to RUNS/CORPUS/tensorboard.
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


@command_of(commands, "erc tune --trials 100 && erc fuse --config runs/meld/tuned.toml")
@takes_settings("corpus", "features", "modalities", "target", "runs", "monitor", "device")
def tune(
    settings: FuseConfig,
    heads: str | None = None,
    contexts: str | None = None,
    losses: str | None = None,
    contrasts: str | None = None,
    trials: int = 50,
    minutes: float | None = None,
    seeds: str = "100,101,102",
    storage: str | None = None,
    study: str | None = None,
    to: Path | None = None,
    as_json: JsonOption = False,
) -> None:
    """Search for the best settings on dev, with Optuna.

    Heads, contexts, losses, layers, widths and regularisation are tried; test is never looked at.

    Search:
        heads NAME,…: Heads to try, separated by commas.
        contexts NAME,…: Contexts to try, separated by commas.
        losses NAME,…: Losses to try, separated by commas.
        contrasts NAME,…: Contrastive losses to try, separated by commas.
        trials: Stop when the study has this many trials.
        minutes: Stop after this many minutes.
        seeds N|N,…: Seeds of each trial: how many (5 means the seeds 0 to 4), or, with a comma,
            which ones (3,7 or 100,). Keep them apart from the seeds of the final run, whose scores
            would otherwise be too good.

    Output:
        storage URL: Database that keeps the study and lets several machines share it:
            sqlite:///tune.db.
        study: Name of the study in the storage.
        to: TOML file for the best settings. [default: RUNS/CORPUS/tuned.toml]
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


@command_of(commands, "erc study objectives --text minilm")
@takes_settings("corpus", "features", "runs", "seeds", "device")
def study(
    ladder: str,
    settings: FuseConfig,
    text: str | None = None,
    visual: str | None = None,
    audio: str | None = None,
    monitor: str | None = None,
    to: Path | None = None,
    as_json: JsonOption = False,
) -> None:
    """Climb a ladder of runs, each compared with the one before.

    Each rung is scaled up until it fits train, then regularised on dev.

    Arguments:
        ladder: `objectives`, the built-in ladder, or a TOML file of rungs.

    Inputs:
        text STEM: The better text file. [default: the only other one]
        visual STEM: The better visual file. [default: the only other one]
        audio STEM: The better audio file. [default: the only other one]

    Training:
        monitor accuracy|weighted_f1: Score on dev that makes every choice. [default: the ladder's]

    Output:
        to: HTML page. [default: RUNS/CORPUS/STUDY.html]
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


@command_of(commands, "erc report --study objectives --latex ladder.tex")
def report(
    run: list[Path] | None = None,
    corpus: CorpusOption = CORPUS,
    runs: RunsOption = RUNS,
    study: str | None = None,
    target: str | None = None,
    baseline: Path | None = None,
    to: Path | None = None,
    csv: Path | None = None,
    latex: Path | None = None,
    media: bool = False,
    as_json: JsonOption = False,
) -> None:
    """Compare runs in a table and in one self-contained HTML page.

    If --corpus is a folder with corpus.json, the page shows pictures of the mistakes.

    Arguments:
        run: Folders or names of runs. [default: every run of the corpus]

    Inputs:
        study: Name of a study, to show its ladder: objectives.
        target label|COLUMN,…: Only runs that predict this. [default: all, which must agree]
        baseline RUN: Run that the others are compared with.

    Output:
        to: HTML page. [default: RUNS/report.html]
        csv: Also write the table's numbers as CSV.
        latex: Also write the table for a paper.
        media: Let the page play the sound of mistakes.
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
    named = [one for one in more[0] if target in (None, one.target)]
    if more[0] and not named:
        known = ", ".join(sorted({one.target for one in more[0]}))
        raise ErcError(f"--target {target}: no run predicts it; those here predict {known}.")
    made = write([*finished, *named], to=page, baseline=base, ladder=ladder, sound=media,
                 unfinished=[*unfinished, *more[1]], corpus_root=root)  # fmt: skip
    for file, export in ((csv, write_csv), (latex, write_latex)):
        if file:
            export(made, file)
    if as_json:
        return terminal.show_json(as_dict(made) | {"page": page})
    terminal.out.print(rich_table(made))
    return terminal.show(*sentences(made), f"The page: {page.resolve()}")


@command_of(commands, "erc predict runs/meld/best scene.mp4 --text 'Oh my god!'")
def predict(
    run: Path,
    clips: list[Path] | None = None,
    text: list[str] | None = None,
    speaker: list[str] | None = None,
    table: Path | None = None,
    encoder: list[str] | None = None,
    device: str = "auto",
    to: Path | None = None,
    work: Path | None = None,
    as_json: bool = False,
) -> None:
    """Predict the emotions of a dialogue with a finished run.

    Clips and texts are prepared and encoded in the same way as the run's training data.

    Arguments:
        run: Folder of a finished run.
        clips: Clips of one dialogue, in its order.

    Inputs:
        text: What is said; give it once for each utterance.
        speaker: Who says it; give it once for each utterance.
        table --csv: CSV with the columns of a corpus, or a corpus; in place of clips and texts.
            Its columns start and end may cut recordings.
        encoder STEM=PATH: Where an encoder is now, if it has moved.
        device auto|cpu|cuda: Device of the encoders.

    Output:
        to: Also write the answers to a .csv or .jsonl file.
        work: Folder that keeps the prepared media and the features.
        as_json --json: Print JSON lines.
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
        found = answer(made := Run(run), asked, encoders=parse_encoders(encoder or []),
                       device=device, work=work, progress=progress)  # fmt: skip
    if made.inputs.get("folds"):
        terminal.err.print(
            f"{run} is over folds: each row of {made.corpus} was learned from in some of them, so "
            "answers on such rows flatter; its predictions.parquet has those that are held out.",
            markup=False, highlight=False,
        )  # fmt: skip
    for stem, why in found.unchecked.items():
        terminal.err.print(f"{stem}: {why}", markup=False, highlight=False)
    if to:
        write_answers(found, to)
    if as_json:
        return terminal.show(*json_lines(found))
    return show_answers(found.rows)
