"""A plan applied to a corpus: which feature files and settings each of its rungs has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from erc_features.errors import ErcError, listed
from erc_features.store import SUFFIX, list_features
from erc_features.utterance import Modality
from erc_fusion.config.config import FuseConfig, with_options
from erc_fusion.fuse import resolve
from erc_fusion.inputs.sources import describe, find_sources
from erc_fusion.search.study_plan import BETTER, Plan, Step


@dataclass(frozen=True)
class Placed:
    """A step with its files: what it changes, and its settings before any choice.

    Attributes:
        config: `modalities` are stems; None where the rung can't be run.
        not_run: why it can't.
    """

    step: Step
    adds: str
    config: FuseConfig | None = None
    not_run: str = ""


def place(
    plan: Plan, config: FuseConfig, folder: Path, better: Mapping[str, str]
) -> tuple[Placed, ...]:
    """Which files and settings each rung has; every mistake is found here, before any training.

    Args:
        folder: of the corpus's feature files.
        better: modality -> the file that --text, --visual or --audio names.

    Raises:
        ErcError: a file that was asked for isn't there, it is not clear which one is meant, or
            the rungs' files are not all of one corpus.
    """
    there = {str(name): _stems(folder, name) for name in Modality}
    if not any(there.values()):
        find_sources(folder)  # says what to do where there is nothing
    asked = _asked(plan, better, there)
    config = with_options(config, **plan.base)
    files: dict[str, str] = {}
    placed = []
    paths: set[Path | str] = set()
    for step in plan.steps:
        taken, why_not = _take(step, files, there, asked, folder)
        after = {name: stem for name, stem in {**files, **taken}.items() if stem}
        adds = step.adds or _words(step, files, taken)
        if not step.files or taken:
            few = "one modality only, nothing to fuse" if step.fuses and len(after) < 2 else ""
            why_not = few if after else "no features to run on"
        if why_not:
            placed.append(Placed(step, adds, not_run=why_not))
            continue
        files = after
        config = with_options(config, modalities=tuple(files.values()), **step.set)
        for settings in ({}, *step.grid()):
            _, sources = resolve(with_options(config, **settings))
            paths |= {source.path for source in sources}
        placed.append(Placed(step, adds, config))
    describe(paths)  # rungs are compared, so their files must be of one corpus, as a run's are
    return tuple(placed)


def _stems(folder: Path, modality: str, *, partial: bool = False) -> list[str]:
    names = (path.name.split(SUFFIX)[0] for path in list_features(folder, partial=partial))
    return sorted({name for name in names if name.split(".")[0] == modality})


def _stem(modality: str, name: str) -> str:
    return name if name.startswith(f"{modality}.") else f"{modality}.{name}"


def _asked(
    plan: Plan, better: Mapping[str, str], there: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """The stems that --text and the like name."""
    taken = {name for step in plan.steps for name, file in step.files.items() if file == BETTER}
    for modality, name in better.items():
        if modality not in taken:
            raise ErcError(f"--{modality} {name}: no rung of {plan.name!r} takes a better one.")
        if _stem(modality, name) not in there[modality]:
            raise ErcError(
                f"--{modality} {name}: no complete feature file {_stem(modality, name)}. There "
                f"are: {', '.join(there[modality]) or f'none of {modality}'}."
            )
    return {modality: _stem(modality, name) for modality, name in better.items()}


def _take(
    step: Step,
    files: Mapping[str, str],
    there: Mapping[str, Sequence[str]],
    asked: Mapping[str, str],
    folder: Path,
) -> tuple[dict[str, str], str]:
    """(modality -> stem, "" for none, of the step's files that are there; why others are not)."""
    taken, reasons = {}, []
    for modality, name in step.files.items():
        now = files.get(modality, "")
        others = [stem for stem in there[modality] if stem != now]
        if not name:
            taken[modality] = ""
        elif name != BETTER and _stem(modality, name) in there[modality]:
            taken[modality] = _stem(modality, name)
        elif name == BETTER and modality in asked:
            taken[modality] = asked[modality]
            if asked[modality] == now:
                raise ErcError(
                    f"--{modality} {now}: the rung before {step.name!r} has it already. "
                    f"Others are: {', '.join(others) or 'none'}."
                )
        elif name == BETTER and len(others) > 1:
            raise ErcError(
                f"More than one file may be the better {modality}:{listed(others)}\n"
                f"Name the one to use: --{modality} {others[0].partition('.')[2]}."
            )
        elif name == BETTER and others:
            taken[modality] = others[0]
        else:
            reason = f"no {modality} features"
            if name != BETTER and there[modality]:
                reason = f"no {_stem(modality, name)}"
            elif now:
                reason += " but the baseline" if now == f"{modality}.baseline" else f" but {now}"
            waiting = sorted({*_stems(folder, modality, partial=True)} - {*there[modality]})
            reasons.append(reason + (f" ({', '.join(waiting)} unfinished)" if waiting else ""))
    return taken, ", ".join(reasons)


def _words(step: Step, files: Mapping[str, str], taken: Mapping[str, str]) -> str:
    """What a step changes in the files before it, in words."""
    words = []
    for modality in taken or step.files:
        planned = step.files[modality]
        absent = f"better {modality}" if planned == BETTER else _stem(modality, planned)
        after, before = taken.get(modality, absent), files.get(modality)
        if not after:
            words.append(f"without {modality}")
        else:
            words.append(f"{after} for {before}" if before and taken else after)
    return ", ".join([*words, *(f"{name} {value}" for name, value in step.set.items())])
