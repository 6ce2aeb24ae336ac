"""`erc study`: a ladder of runs; each rung is scaled up, regularised, and compared with the last.

The two phases are those of HLM12ERC's experiments (Chollet 2021, "Deep Learning with Python",
chapter 5): widen the network until it overfits, then regularise it until dev is best. Choices are
made on dev, with seeds that the runs do not have; `fuse` scores test once, after them. What a plan
is: :mod:`erc_fusion.search.study_plan`; what a study leaves: :mod:`erc_fusion.runs.ladder`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from erc_features.errors import ErcError, RunError, listed
from erc_features.threads import let_waiting_threads_sleep
from erc_features.utterance import corpus_name
from erc_fusion.config.config import FuseConfig, must_have_splits, with_options
from erc_fusion.fuse import fuse, resolve
from erc_fusion.inputs.splits import check_splits
from erc_fusion.inputs.table import load_table
from erc_fusion.run_inputs import identity_of, sha256_of
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

FIRST_SEED = 100  # of the choices; those of the runs begin at 0
_CLOSE = 0.01  # of train accuracy: too little to justify a wider head


@dataclass(frozen=True)
class Studied:
    """What a study leaves: the ladder and its file, the page, and the comparison on the page."""

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
    """Climb a ladder and report it. Run again, also after a kill, it does only what is left.

    Args:
        plan: see :func:`erc_fusion.search.study_plan.read_plan`.
        config: where features and runs are, the runs' seeds, and what the plan leaves open. Where
            its corpus is a folder with corpus.json, the page shows pictures of mistakes.
        better: modality -> the file that is its better one, by stem or name.
        monitor: the dev score for early stopping and choices; by default the plan's or `config`'s.
        to: the page; by default `runs/<corpus>/<study>.html`.
        progress: called with (rung, done, total), in steps of a rung.
        say: called with a line at each rung's end, one for each warning of its run, and one where
            what an earlier study left does not belong to these rungs.

    Raises:
        ErcError: no rung can be run, it is not clear which file is meant, or what `fuse` raises.
    """
    let_waiting_threads_sleep()
    from erc_fusion.report import report

    ladder = climb(plan, config, better=better, monitor=monitor, progress=progress, say=say)
    path = ladder_path(Path(config.place.runs), ladder.corpus, ladder.name)
    page = to or path.with_name(f"{ladder.name}.html")
    runs = [Run(path.parent / name) for name in dict.fromkeys(r.run for r in ladder.rungs) if name]
    corpus = Path(config.corpus)
    root = corpus if (corpus / "corpus.json").is_file() else None
    return Studied(ladder, path, page, report(runs, to=page, ladder=ladder, corpus_root=root))


def climb(
    plan: Plan,
    config: FuseConfig,
    *,
    better: Mapping[str, str] | None = None,
    monitor: str | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    say: Callable[[str], object] = lambda line: None,
) -> Ladder:
    """The runs of a study, without the report; arguments and errors as of :func:`study`."""
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
    scores: dict[str, float] = {}
    for each, rung in zip(placed, planned, strict=True):
        step = each.step
        if each.config is None:
            say(f"{step.title}: not run: {each.not_run}")
        else:
            steps = bool(plan.scale) + len(step.grid()) + 1
            tell = partial(_tell, progress, step.title, count(), steps)
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
            rung = replace(rung, run=run.name, scaled=scaled, tried=tried)
            ladder = replace(ladder, fingerprint=run.inputs["fingerprint"])
            score = run.metrics["dev"][config.monitor]
            scores[rung.name] = score["mean"]
            say(f"{rung.title} ({rung.adds}): {run.name}, {config.monitor} on dev "
                f"{100 * score['mean']:.1f} ± {100 * score['std']:.1f}")  # fmt: skip
            for warning in fused.warnings:
                say(f"{step.title}: warning: {warning}")
        ladder = replace(ladder, rungs=(*ladder.rungs, rung))
        # A record of exactly these rungs and more is kept: a kill now would lose none of it.
        if before is None or before.rungs[: len(ladder.rungs)] != ladder.rungs:
            before = None
            write_ladder(ladder, runs)
    # The best on dev, the first of equals.
    ladder = replace(ladder, final=max(scores, key=lambda name: scores[name]))
    if ladder != before:
        write_ladder(ladder, runs)
    best = next(rung for rung in ladder.rungs if rung.name == ladder.final)
    say(f"{len(ladder.rungs) + 1}. The final model, best on dev: {best.title} ({best.run})")
    return ladder


def _planned(plan: Plan, each: Placed) -> Rung:
    """A rung before any of its work is done."""
    identity = _identity(plan, each.step, each.config) if each.config else ""
    name, title = each.step.name, each.step.title
    return Rung(name, title, each.adds, not_run=each.not_run, identity=identity)


def _identity(plan: Plan, step: Step, config: FuseConfig) -> str:
    """A hash of all that a rung's phases, and therefore its run, depend on."""
    grid = step.grid()
    inputs: dict[str, str] = {}
    for settings in ({}, *grid):  # `layers` may be searched over
        must_have_splits(config, "erc study", label=True)
        candidate, sources = resolve(with_options(config, **settings))
        if candidate.layers not in inputs:
            table = load_table(sources, candidate.layers)
            inputs[candidate.layers] = identity_of(candidate, table)
    parts = {"scale": plan.scale, "search_seeds": plan.search_seeds, "grid": grid,
             "inputs": inputs, "erc": version("erc")}  # fmt: skip
    return sha256_of(parts)


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
    """The width that fits train; if none does, the narrowest that comes close to the best."""
    tried = overfit(with_options(config, epochs=min(epochs, config.training.epochs)))
    best = max(fit.train_accuracy for fit in tried.fits)
    close = next(fit for fit in tried.fits if fit.train_accuracy >= best - _CLOSE)
    taken = tried.fits[-1] if tried.fitted else close
    return Scaled(taken.width, taken.train_accuracy, tried.fitted)


def _search(config: FuseConfig, step: Step, tell: Callable[[], None]) -> tuple[Candidate, ...]:
    """Every setting of the grid with its mean best dev score. Test is never used here."""
    from erc_fusion.training.fit import Data, fit, make_data

    data: dict[str, Data] = {}
    tried = []
    for settings in step.grid():
        must_have_splits(config, "erc study", label=True)
        candidate, sources = resolve(with_options(config, **settings))
        if candidate.layers not in data:
            table = load_table(sources, candidate.layers)
            check_splits(table)
            data[candidate.layers] = make_data(table, config.place.device)
        scores = fit(candidate, data[candidate.layers])[0].best(config.monitor)
        spread = float(np.std(scores, ddof=1)) if len(scores) > 1 else 0.0
        tried.append(Candidate(settings, float(np.mean(scores)), spread))
        tell()
    return tuple(tried)


def _chosen(config: FuseConfig, scaled: Scaled | None, tried: tuple[Candidate, ...]) -> FuseConfig:
    """The settings of a rung's run: the best on dev, the first of equals."""
    best = max(tried, key=lambda candidate: candidate.dev).settings if tried else {}
    return with_options(config, **{"width": scaled and scaled.width, **best})


def _before(path: Path, planned: tuple[Rung, ...], say: Callable[[str], object]) -> Ladder | None:
    """What an earlier study of that name left; says so where this one does not continue it."""
    if not path.exists():
        return None
    try:
        found = read_ladder(path)
    except RunError as error:
        say(f"{error} Its searches are repeated.")
        return None
    left = tuple(replace(rung, run=None, scaled=None, tried=()) for rung in found.rungs)
    if left != planned[: len(left)]:
        say(f"{path} is replaced: it is of other rungs, settings or feature files, or of another "
            "erc. Its runs stay.")  # fmt: skip
    return found


def _tell(
    progress: Callable[[str, int, int], None] | None, title: str, done: Iterator[int], total: int
) -> None:
    if progress:
        progress(title, next(done), total)
