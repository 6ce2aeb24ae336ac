"""Which runs a matrix is made of: those that are named, else all of a corpus."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from erc_features.errors import RunError
from erc_fusion.report.comparison import needed
from erc_fusion.runs.run import Run, find_runs, list_runs


@dataclass(frozen=True)
class Gathered:
    """Finished runs by corpus; the corpora of which some are `named`; folders without DONE."""

    runs: dict[str, list[Run]]
    named: frozenset[str]
    unfinished: list[Path]


def gather(
    root: Path, corpora: Sequence[str], named: Sequence[Path], target: str | None
) -> Gathered:
    """The runs of corpora, of some only those that are named.

    A run is named by its folder, or by its name: then it is the run of that name of each corpus.

    Raises:
        RunError: a name leads to no finished run, a run is of another corpus, or none of a corpus
            predicts the target.
    """
    runs: dict[str, list[Run]] = {name: [] for name in corpora}
    for run in (run for each in named for run in _called(root, corpora, each)):
        corpus = needed(run, "corpus")
        if corpus not in runs:
            raise RunError(
                f"{run.path} was trained on {corpus}, which this report is not of: add --corpus "
                f"{corpus}."
            )
        runs[corpus].append(run)
    said = frozenset(name for name, own in runs.items() if own)
    unfinished = []
    for name in corpora:
        if name not in said:
            runs[name], waiting = list_runs(root, name)
            unfinished += waiting
        strangers = [run for run in runs[name] if needed(run, "corpus") != name]
        if strangers:
            corpus = strangers[0].corpus
            raise RunError(
                f"{strangers[0].path} was trained on {corpus}, not on {name}: scores are kept by "
                f"the corpus's name. Move it to {root / corpus}, or name the runs to show."
            )
        fitting = [run for run in runs[name] if target in (None, run.target)]
        if runs[name] and not fitting:
            known = ", ".join(sorted({run.target for run in runs[name]}))
            raise RunError(
                f"--target {target}: no run of {name} predicts it; those here predict {known}."
            )
        if name in said and len(fitting) < len(runs[name]):
            other = next(run for run in runs[name] if run not in fitting)
            raise RunError(
                f"--target {target}: {other.path} was named, and predicts {other.target}."
            )
        runs[name] = fitting
    return Gathered(runs, said, unfinished)


def _called(root: Path, corpora: Sequence[str], name: Path) -> list[Run]:
    """The runs of a name, or the one of a folder."""
    found: dict[Path, Run] = {}
    waiting = []
    for corpus in corpora:
        try:
            finished, unfinished = find_runs(root, corpus, [name])
        except RunError:
            continue  # not of this corpus
        found |= {run.path.resolve(): run for run in finished}
        waiting += unfinished
    if waiting:
        raise RunError(f"{waiting[0]} is not finished; run the same `erc fuse` again.")
    if not found:
        known = [f"{corpus}: {', '.join(run.name for run in list_runs(root, corpus)[0]) or 'none'}"
                 for corpus in corpora]  # fmt: skip
        raise RunError(f"No run {name}. Finished runs in {root}: {'; '.join(known)}.")
    return [*found.values()]
