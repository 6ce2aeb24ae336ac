"""The commands that train: fuse, tune, study. See `cli.py`."""

from pathlib import Path

import typer

from erc_features.cli.options import (
    JsonOption,
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
    train: str | None = None,
    test: list[str] | None = None,
    mapped: list[str] | None = None,
) -> None:
    """Train a fusion head on cached features, all seeds at once.

    Epochs are selected on dev; test is scored once, at the end.

    Inputs:
        train CORPUS: The same as --corpus, beside --test.
        test CORPUS: Then also score the run on this other corpus, as `erc score` does.
        mapped --map THEIRS=OURS,…: What labels of the other corpus are called in this one.

    Training:
        overfit: Only find out whether the head can fit the training data at all.

    Output:
        log tensorboard: Also write learning curves while it trains, to RUNS/CORPUS/tensorboard.
    """
    from erc_features import terminal
    from erc_fusion.cli.printing import show_overfit, show_run, show_scored, show_seeds
    from erc_fusion.config.config import with_options
    from erc_fusion.evaluation.masking import parse_pairs
    from erc_fusion.fuse import fuse as run
    from erc_fusion.score import score

    settings = with_options(settings, corpus=train)
    if overfit and log:
        raise ErcError("--log writes the learning curves of a run, and --overfit leaves no run.")
    if mapped and not test:
        raise ErcError("--map says what another corpus calls the labels: name it with --test.")
    show_seeds(settings.seeds, "Using")
    if overfit:
        from erc_fusion.search.overfit import overfit as try_to_overfit

        with terminal.training() as progress:
            tried = try_to_overfit(settings, progress=progress)
        show_overfit(tried)
        return
    with terminal.training() as progress:
        result = run(settings, progress=progress, log=log,
                     say=lambda line: terminal.err.print(line, markup=False))  # fmt: skip
    show_run(result, log=log)
    for other in test or ():
        show_scored(score(
            result.run, other, features=settings.place.features, device=settings.place.device,
            mapped=parse_pairs(mapped or [], "--map", "theirs=ours: happy=joy"),
        ))  # fmt: skip


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
