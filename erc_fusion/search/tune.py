"""`erc tune`: search settings on dev with Optuna (Akiba et al. 2019).

Test is never touched: what comes out is a TOML file for `erc fuse --config`.
"""

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from itertools import count, islice
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from erc_features.errors import ErcError
from erc_features.threads import let_waiting_threads_sleep
from erc_features.whole_file import whole_file
from erc_fusion.config.config import (
    FuseConfig,
    as_recorded,
    must_have_splits,
    to_toml,
    with_options,
    without_place,
)
from erc_fusion.fuse import open_table, resolve
from erc_fusion.inputs.sources import Source
from erc_fusion.inputs.splits import check_splits
from erc_fusion.run_inputs import sha256_of
from erc_fusion.search.tune_space import Space

if TYPE_CHECKING:
    import optuna

    from erc_fusion.training.fit import Data
    from erc_fusion.training.train import Progress

_FAILED = "failed"  # a trial's attribute: why


@dataclass(frozen=True)
class Trial:
    """Settings that were tried to the end, and their mean best dev score."""

    number: int
    score: float
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Tuned:
    """What a search found.

    Attributes:
        config: the best settings, with as many seeds as `erc fuse` has by default.
        path: the TOML file of it.
        best: up to ten trials, the best first.
        counts: how many trials ended in which way: complete, pruned, fail.
        seconds: that this search took here.
    """

    config: FuseConfig
    path: Path
    best: tuple[Trial, ...]
    counts: Mapping[str, int]
    seconds: float


def tune(
    config: FuseConfig,
    *,
    space: Space | None = None,
    trials: int = 50,
    seconds: float | None = None,
    storage: str | None = None,
    study: str | None = None,
    to: Path | str | None = None,
    progress: Callable[[int, int, float], None] | None = None,
) -> Tuned:
    """Search until the study has `trials` trials, or for a number of seconds.

    Each trial trains all of `config.seeds` side by side; its score is the mean of their best dev
    scores (`config.monitor`). A trial below the median of those before it at the same epoch is
    pruned. When interrupted (Ctrl-C or SIGTERM), the best so far is written, and the unfinished
    trial waits in the storage: the next search begins with it. A trial that was killed stays
    "running" there, and does not count.

    Args:
        config: what is not searched over, and where the feature files are.
        storage: an Optuna storage, such as sqlite:///tune.db; several machines that use the same
            one share the trials. None: in memory.
        study: its name; by default that of the corpus.
        to: the TOML file; by default `runs/<corpus>/tuned.toml`.
        progress: called after each trial with (trials, of, best score so far).

    Raises:
        ErcError: Optuna isn't installed, a setting is wrong, the storage holds a study of other
            inputs, or no trial was completed.
    """
    let_waiting_threads_sleep()
    try:
        import optuna
    except ImportError as error:
        raise ErcError("erc tune needs Optuna: pip install 'erc[tune]'.") from error

    began = monotonic()
    space = space or Space()
    must_have_splits(config, "erc tune")
    config, sources = resolve(config)
    space.check()
    if trials < 1:
        raise ErcError("--trials must be at least 1.")
    search = _Search(config, sources, space)
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        kept = optuna.storages.RDBStorage(storage) if storage else optuna.storages.InMemoryStorage()
        found = optuna.create_study(
            storage=kept,
            study_name=study or config.corpus,
            direction="maximize",
            load_if_exists=True,
            # Processes that share a storage must not try the same: each has its own seed.
            sampler=optuna.samplers.TPESampler(seed=os.getpid() if storage else 0),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=8, n_warmup_steps=5),
        )
        before = found.user_attrs.get("inputs")
        if before is None:
            found.set_user_attr("inputs", search.identity)
    except Exception as error:
        raise ErcError(
            f"--storage {storage}: can't be used ({str(error).splitlines()[0][:200]}). "
            "sqlite:///tune.db works."
        ) from error
    if before not in (None, search.identity):
        raise ErcError(
            f"--storage {storage}: its study {found.study_name!r} is of other feature files, "
            "settings or choices to search over. Choose another --study."
        )

    until = float("inf") if seconds is None else monotonic() + seconds
    with _interruptible(), suppress(KeyboardInterrupt):  # what was found so far is worth keeping
        while len(_ended(found)) < trials and monotonic() < until:
            _try(found, search, kept)
            if progress:
                best = max((trial.value for trial in _complete(found)), default=0.0)
                progress(len(_ended(found)), trials, best)
    return _write(found, search, to, monotonic() - began)


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM, which a cluster sends at the end of a job's time, interrupts like Ctrl-C."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield  # Python lets only the main thread handle signals
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _try(study: "optuna.Study", search: "_Search", storage: "optuna.storages.BaseStorage") -> None:
    """Run one trial. When interrupted, it goes back to the waiting ones, for any worker to take.

    Not `Study.optimize`: there a trial that Ctrl-C ends has failed for good.
    """
    import optuna

    trial = study.ask()
    try:
        score = search.objective(trial)
    except optuna.TrialPruned:
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    except ErcError:
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
    except KeyboardInterrupt:
        of = storage.get_study_id_from_name(study.study_name)
        place = storage.get_trial_id_from_study_id_trial_number(of, trial.number)
        storage.set_trial_state_values(place, optuna.trial.TrialState.WAITING)
        raise
    except Exception:
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        raise
    else:
        study.tell(trial, score)


class _Search:
    """The data, read once, and the objective."""

    def __init__(self, config: FuseConfig, sources: Sequence[Source], space: Space) -> None:
        config, whole = open_table(replace(config, layers="all"), sources)
        self.config, self.sources, self.space = config, sources, space
        self.task = whole.task
        if not whole.task.classes:
            space.must_fit_without_classes(config.target)
        check_splits(whole, config.monitor)
        self.identity = sha256_of((whole.digest(), without_place(config), asdict(space)))
        self._whole, self._data = whole, dict[str, "Data"]()
        self.failure = ""

    def objective(self, trial: "optuna.Trial") -> float:
        import optuna
        import torch

        from erc_fusion.training.fit import fit

        config = with_options(self.config, **self.ask(trial))

        # An interrupted trial starts again, with the scores of the epochs that it had.
        known = trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values

        def report(at: "Progress") -> None:
            if at.epoch not in known:
                trial.report(float(np.mean(at.best)), at.epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

        try:
            trained, _ = fit(config, self.data(config.layers), report)
        except (ErcError, torch.OutOfMemoryError) as error:
            self.failure = f" The last one failed: {error}"
            trial.set_user_attr(_FAILED, str(error))
            raise ErcError(str(error)) from None  # frees what the failed trial holds
        return float(np.mean(trained.best(config.monitor)))

    def ask(self, trial: "optuna.Trial") -> dict[str, Any]:
        """The settings of a trial."""
        found = self.space.ask(trial, self.sources, classes=self.task.classes)
        if self.task.classes and self.task.numbers:  # a loss of classes is tried, beside theirs
            found["loss"] += f",{self.task.losses(self.config.loss.loss)[1]}"
        return found

    def data(self, layers: str) -> "Data":
        from erc_fusion.training.fit import make_data

        if layers not in self._data:
            own = replace(self.config, layers=layers)
            table = self._whole if layers == "all" else open_table(own, self.sources)[1]
            self._data[layers] = make_data(table, self.config.place.device)
        return self._data[layers]


def _ended(study: "optuna.Study") -> list[Any]:
    """Trials that were not interrupted; an older erc marked interrupted ones failed, no reason."""
    import optuna

    own = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    trials = study.get_trials(deepcopy=False)
    return [trial for trial in trials if trial.state in own or _FAILED in trial.user_attrs]


def _complete(study: "optuna.Study") -> list[Any]:
    return [trial for trial in _ended(study) if trial.state.name == "COMPLETE"]


def _write(study: "optuna.Study", search: _Search, to: Path | str | None, seconds: float) -> Tuned:
    import optuna

    config = search.config
    ranked = sorted(_complete(study), key=lambda trial: -trial.value)
    counts = Counter(trial.state.name.lower() for trial in _ended(study))
    if not ranked:
        raise ErcError(
            f"No trial came to an end ({dict(counts) or 'none was begun'})."
            f"{search.failure or ' Give it more time, or fewer `epochs` in --config.'}"
        )
    asked = (cast(Any, optuna.trial.FixedTrial(dict(trial.params))) for trial in ranked[:10])
    best = tuple(
        Trial(
            trial.number,
            trial.value,
            search.ask(fixed),
        )
        for trial, fixed in zip(ranked, asked, strict=False)
    )
    chosen = with_options(config, **best[0].options)
    # The seeds that made the choice would flatter it.
    fresh = (seed for seed in count() if seed not in config.seeds)
    seeds = tuple(islice(fresh, len(FuseConfig().seeds)))
    chosen = replace(as_recorded(chosen), seeds=seeds)
    path = Path(to or Path(config.place.runs) / config.corpus / "tuned.toml")
    note = (
        f"# The best of {len(ranked)} completed trials: {config.monitor} {ranked[0].value:.4f} on "
        f"dev, mean over seeds {list(config.seeds)}.\n"
    )
    with whole_file(path, "choose another file with --to") as part:
        part.write_text(note + to_toml(chosen), encoding="utf-8")
    return Tuned(chosen, path, best, dict(counts), seconds)
