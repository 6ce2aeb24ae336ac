"""`erc study`: a ladder of runs, each rung scaled up, then regularised, against the one before.

The two phases are those of HLM12ERC's experiments (Chollet 2021, "Deep Learning with Python",
chapter 5): widen the network until it overfits, then regularise it until dev is best. Choices are
made on dev, with seeds that the runs do not have; `fuse` scores test once, after them. What a plan
is: :mod:`erc_fusion.search.study_plan`; what is left of a study: :mod:`erc_fusion.runs.ladder`.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from erc_features.errors import ErcError, RunError, listed
from erc_features.utterance import corpus_name
from erc_fusion.config.config import FuseConfig, with_options
from erc_fusion.fuse import fuse, identity_of, resolve
from erc_fusion.inputs.splits import check_splits
from erc_fusion.inputs.table import load_table
from erc_fusion.runs.ladder import (
    Candidate,
    Ladder,
    Rung,
    Scaled,
    ladder_path,
    read_ladder,
    write_ladder,
)
from erc_fusion.runs.run import Run
from erc_fusion.search.overfit import overfit
from erc_fusion.search.placement import Placed, place
from erc_fusion.search.study_plan import Plan, Step

if TYPE_CHECKING:
    from erc_fusion.report import Comparison

FIRST_SEED = 100  # of the choices; the runs' begin at 0
_CLOSE = 0.01  # of train, right: no reason for a wider head


@dataclass(frozen=True)
class Studied:
    """What a study leaves: the ladder and its file, the page, and the comparison it shows."""

    ladder: Ladder
    path: Path
    page: Path
    comparison: "Comparison"


def study(
    plan: Plan,
    config: FuseConfig,
    *,
    better: Mapping[str, str] | None = None,
    monitor: str | None = None,
    to: Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    say: Callable[[str], object] = lambda line: None,
) -> Studied:
    """Climb a ladder and report it. Run twice, or after a kill, it does only what is left.

    Args:
        plan: see :func:`erc_fusion.search.study_plan.read_plan`.
        config: where features and runs are, the runs' seeds, and what the plan leaves open. Where
            its corpus is a folder with corpus.json, the page shows pictures of mistakes.
        better: modality -> the file that is its better one, by stem or name.
        monitor: the dev score that stops, selects and chooses; the plan's or `config`'s if left.
        to: the page; `runs/<corpus>/<study>.html` if left.
        progress: called with (rung, done, total): steps of a rung.
        say: called with a line at each rung's end, one for each warning of its run, and one where
            what an earlier study left is not of these rungs.

    Raises:
        ErcError: no rung can be run, it is not clear which file is meant, or what `fuse` raises.
    """
    from erc_fusion.report import report

    ladder = climb(plan, config, better=better, monitor=monitor, progress=progress, say=say)
    runs = Path(config.place.runs)
    path = ladder_path(runs, ladder.corpus, ladder.name)
    page = to or path.with_name(f"{ladder.name}.html")
    names = dict.fromkeys(rung.run for rung in ladder.rungs if rung.run)
    corpus = Path(config.corpus)
    made = report(
        [Run(path.parent / name) for name in names], to=page, ladder=ladder,
        corpus_root=corpus if (corpus / "corpus.json").is_file() else None,
    )  # fmt: skip
    return Studied(ladder, path, page, made)


def climb(
    plan: Plan,
    config: FuseConfig,
    *,
    better: Mapping[str, str] | None = None,
    monitor: str | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    say: Callable[[str], object] = lambda line: None,
) -> Ladder:
    """The ladder's runs without the report; arguments and errors as of :func:`study`."""
    config = with_options(
        config, corpus=corpus_name(config.corpus), monitor=monitor or plan.monitor,
        name="", overwrite=False,
    )  # fmt: skip
    runs, folder = Path(config.place.runs), Path(config.place.features) / config.corpus
    placed = place(plan, config, folder, better or {})
    if not any(each.config for each in placed):
        reasons = listed(f"{each.step.title}: {each.not_run}" for each in placed)
        raise ErcError(f"No rung of {plan.name!r} can be run on {folder}:{reasons}")
    planned = tuple(_planned(plan, each) for each in placed)
    path = ladder_path(runs, config.corpus, plan.name)
    before = _before(path, planned, say)
    ladder = Ladder(plan.name, config.corpus, "", config.monitor)
    known = {rung.name: rung for rung in before.rungs} if before else {}
    rungs: list[Rung] = []
    for each, rung in zip(placed, planned, strict=True):
        step = each.step
        if each.config is None:
            rungs.append(rung)
            say(f"{step.title}: not run: {each.not_run}")
        else:
            tell = _teller(progress, step.title, bool(plan.scale) + len(step.grid()) + 1)
            tell()
            found = known.get(step.name)
            if found and found.run and found.identity == rung.identity:
                scaled, tried = found.scaled, found.tried
            else:
                if found and (found.scaled or found.tried) and (plan.scale or step.search):
                    say(f"{step.title}: searched again: what {path.name} has of it is of other "
                        "settings or feature files, or of another erc")  # fmt: skip
                scaled, tried = _phases(plan, step, each.config, tell)
            fused = fuse(_chosen(each.config, scaled, tried))
            tell()
            run = fused.run
            rungs.append(replace(rung, run=run.name, scaled=scaled, tried=tried))
            ladder = replace(ladder, fingerprint=run.inputs["fingerprint"])
            say(_line(rungs[-1], run, config.monitor))
            for warning in fused.warnings:
                say(f"{step.title}: warning: {warning}")
        ladder = replace(ladder, rungs=tuple(rungs))
        # A record of these very rungs and more is kept: killed now, none of it would be lost.
        if before is None or before.rungs[: len(rungs)] != ladder.rungs:
            before = None
            write_ladder(ladder, runs)
    ladder = replace(ladder, final=_final(ladder, runs))
    if ladder != before:
        write_ladder(ladder, runs)
    best = next(rung for rung in ladder.rungs if rung.name == ladder.final)
    say(f"{len(rungs) + 1}. The final model, best on dev: {best.title} ({best.run})")
    return ladder


def _planned(plan: Plan, each: Placed) -> Rung:
    """A rung before anything of it is done."""
    identity = _identity(plan, each.step, each.config) if each.config else ""
    name, title = each.step.name, each.step.title
    return Rung(name, title, each.adds, not_run=each.not_run, identity=identity)


def _identity(plan: Plan, step: Step, config: FuseConfig) -> str:
    """A hash of all that a rung's phases, and so its run, depend on."""
    grid = step.grid()
    inputs: dict[str, str] = {}
    for settings in ({}, *grid):  # `layers` may be searched over
        candidate, sources = resolve(with_options(config, **settings))
        if candidate.layers not in inputs:
            table = load_table(sources, candidate.layers)
            inputs[candidate.layers] = identity_of(candidate, table)
    parts = {"scale": plan.scale, "search_seeds": plan.search_seeds, "grid": grid,
             "inputs": inputs, "erc": version("erc")}  # fmt: skip
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _phases(
    plan: Plan, step: Step, config: FuseConfig, tell: Callable[[], None]
) -> tuple[Scaled | None, tuple[Candidate, ...]]:
    """The two phases of a rung."""
    others = (seed for seed in count(FIRST_SEED) if seed not in config.seeds)
    seeds = tuple(next(others) for _ in range(plan.search_seeds))
    scaled = None
    if plan.scale:
        scaled = _scale(with_options(config, seeds=seeds[:1]), plan.scale)
        tell()
    wide = with_options(config, seeds=seeds, width=scaled and scaled.width)
    return scaled, _search(wide, step, tell) if step.search else ()


def _scale(config: FuseConfig, epochs: int) -> Scaled:
    """The width that fits train; where none does, the narrowest that comes close to the best."""
    tried = overfit(with_options(config, epochs=min(epochs, config.training.epochs)))
    best = max(fit.train_accuracy for fit in tried.fits)
    close = next(fit for fit in tried.fits if fit.train_accuracy >= best - _CLOSE)
    taken = tried.fits[-1] if tried.fitted else close
    return Scaled(taken.width, taken.train_accuracy, tried.fitted)


def _search(config: FuseConfig, step: Step, tell: Callable[[], None]) -> tuple[Candidate, ...]:
    """Every setting of the grid with its mean best dev score. Test never comes here."""
    from erc_fusion.training.fit import Data, fit, make_data

    data: dict[str, Data] = {}
    tried = []
    for settings in step.grid():
        candidate, sources = resolve(with_options(config, **settings))
        if candidate.layers not in data:
            table = load_table(sources, candidate.layers)
            check_splits(table)
            data[candidate.layers] = make_data(table, config.place.device)
        trained, _ = fit(candidate, data[candidate.layers])
        scores = [
            max(h["dev"][config.monitor] for h in trained.history if h["seed"] == seed)
            for seed in candidate.seeds
        ]
        spread = float(np.std(scores, ddof=1)) if len(scores) > 1 else 0.0
        tried.append(Candidate(settings, float(np.mean(scores)), spread))
        tell()
    return tuple(tried)


def _chosen(config: FuseConfig, scaled: Scaled | None, tried: tuple[Candidate, ...]) -> FuseConfig:
    """The settings of a rung's run: the best on dev, the first of equals."""
    best = max(tried, key=lambda candidate: candidate.dev).settings if tried else {}
    return with_options(config, **{"width": scaled and scaled.width, **best})


def _before(path: Path, planned: tuple[Rung, ...], say: Callable[[str], object]) -> Ladder | None:
    """What an earlier study of that name left; says so where it is not the beginning of this."""
    if not path.exists():
        return None
    try:
        found = read_ladder(path)
    except RunError as error:
        say(f"{error} Its searches are made anew.")
        return None
    left = tuple(replace(rung, run=None, scaled=None, tried=()) for rung in found.rungs)
    if left != planned[: len(left)]:
        say(f"{path} is replaced: it is of other rungs, settings or feature files, or of another "
            "erc. Its runs stay.")  # fmt: skip
    return found


def _final(ladder: Ladder, runs: Path) -> str:
    """The name of the rung that is best on dev, the first of equals."""
    scores = {
        rung.name: Run(runs / ladder.corpus / rung.run).metrics["dev"][ladder.monitor]["mean"]
        for rung in ladder.rungs
        if rung.run
    }
    return max(scores, key=lambda name: scores[name])


def _teller(
    progress: Callable[[str, int, int], None] | None, title: str, total: int
) -> Callable[[], None]:
    done = count()

    def tell() -> None:
        if progress:
            progress(title, next(done), total)

    return tell


def _line(rung: Rung, run: Run, monitor: str) -> str:
    score = run.metrics["dev"][monitor]
    return (
        f"{rung.title} ({rung.adds}): {run.name}, {monitor} on dev "
        f"{100 * score['mean']:.1f} ± {100 * score['std']:.1f}"
    )
