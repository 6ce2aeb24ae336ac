"""`erc tune`: search settings on dev with Optuna (Akiba et al. 2019).

Test is never touched: what comes out is a TOML file for `erc fuse --config`.
"""

import hashlib
import json
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
from erc_features.whole_file import whole_file
from erc_fusion.config.config import (
    FuseConfig,
    as_recorded,
    to_toml,
    with_options,
    without_place,
)
from erc_fusion.fuse import resolve
from erc_fusion.inputs.sources import Source
from erc_fusion.inputs.splits import check_splits
from erc_fusion.inputs.table import FeatureTable, load_table
from erc_fusion.search.tune_space import Space

if TYPE_CHECKING:
    import optuna

    from erc_fusion.training.fit import Data
    from erc_fusion.training.train import Progress

_FAILED = "failed"  # a trial's attribute: why


@dataclass(frozen=True)
class Trial:
    """One setting that was tried to the end: its mean best dev score, and what it was."""

    number: int
    score: float
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Tuned:
    """What a search found.

    Attributes:
        config: the best setting, with the seeds that `erc fuse` has by default.
        path: where it stands as TOML.
        best: the trials, best first.
        counts: how many trials ended how: complete, pruned, fail.
        seconds: of this search, here.
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
    """Search until the study has `trials` trials, or for so many seconds.

    Each trial trains all of `config.seeds` side by side; its score is the mean of their best dev
    scores (`config.monitor`). A trial below the median of those before it at the same epoch is
    pruned. Interrupted (Ctrl-C or SIGTERM), the best so far is written, and the trial that was at
    work waits in the storage: the next search begins with it. A trial that was killed stays
    "running" there, and counts for nothing.

    Args:
        config: what is not searched over, and where the feature files are.
        storage: an Optuna storage, such as sqlite:///tune.db; the same on several machines
            shares the trials between them. None: in memory.
        study: its name; `<corpus>` if left.
        to: the TOML file; `runs/<corpus>/tuned.toml` if left.
        progress: called after each trial with (trials, of, best score so far).

    Raises:
        ErcError: Optuna isn't there, a setting is wrong, the storage holds a study of other
            inputs, or no trial came to an end.
    """
    from erc_fusion.training.fit import pick_device

    try:
        import optuna
    except ImportError as error:
        raise ErcError("erc tune needs Optuna: pip install 'erc[tune]'.") from error

    began = monotonic()
    space = space or Space()
    config, sources = resolve(config)
    space.check()
    if trials < 1:
        raise ErcError("--trials is at least 1.")
    pick_device(config.place.device)
    search = _Search(config, sources, space)
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        kept = optuna.storages.RDBStorage(storage) if storage else optuna.storages.InMemoryStorage()
        found = optuna.create_study(
            storage=kept,
            study_name=study or config.corpus,
            direction="maximize",
            load_if_exists=True,
            # Seeded by the process where several share a storage: they must not try the same.
            sampler=optuna.samplers.TPESampler(seed=os.getpid() if storage else 0),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=8, n_warmup_steps=5),
        )
        _must_be_the_same(found, search.identity, storage)
    except Exception as error:
        if isinstance(error, ErcError):
            raise
        raise ErcError(
            f"--storage {storage}: can't be used ({str(error).splitlines()[0][:200]}). "
            "sqlite:///tune.db works."
        ) from error

    until = float("inf") if seconds is None else monotonic() + seconds
    with _interruptible(), suppress(KeyboardInterrupt):  # what was found so far is worth keeping
        while len(_ended(found)) < trials and monotonic() < until:
            _try(found, search, kept)
            if progress:
                progress(len(_ended(found)), trials, _best_value(found))
    return _write(found, search, to, monotonic() - began)


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM, which a cluster sends at the end of a job's time, interrupts as Ctrl-C does."""

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
    """One trial to its end. Interrupted, it goes back to those that wait, for any worker to take.

    Not `Study.optimize`: there a trial that Ctrl-C ends has failed, for good.
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
        self.config, self.sources, self.space = config, sources, space
        whole = load_table(sources)
        check_splits(whole)
        parts = (whole.digest(), without_place(config), asdict(space))
        self.identity = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
        self._tables: dict[str, FeatureTable] = {"all": whole}
        self._data: dict[str, Data] = {}
        self.failure = ""

    def objective(self, trial: "optuna.Trial") -> float:
        import optuna
        import torch

        from erc_fusion.training.fit import fit

        config = with_options(self.config, **self.space.ask(trial, self.sources))

        # An interrupted trial begins anew with the scores of the epochs that it had.
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
            raise ErcError(str(error)) from None  # lets go of what the failed trial holds
        best = dict.fromkeys(config.seeds, 0.0)
        for record in trained.history:
            best[record["seed"]] = max(best[record["seed"]], record["dev"][config.monitor])
        return float(np.mean(list(best.values())))

    def ask(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of a trial that was."""
        import optuna

        return self.space.ask(cast(Any, optuna.trial.FixedTrial(dict(params))), self.sources)

    def data(self, layers: str) -> "Data":
        from erc_fusion.training.fit import make_data

        if layers not in self._data:
            if layers not in self._tables:
                self._tables[layers] = load_table(self.sources, layers)
            self._data[layers] = make_data(self._tables[layers], self.config.place.device)
        return self._data[layers]


def _must_be_the_same(study: "optuna.Study", identity: str, storage: str | None) -> None:
    before = study.user_attrs.get("inputs")
    if before is None:
        study.set_user_attr("inputs", identity)
    elif before != identity:
        raise ErcError(
            f"--storage {storage}: its study {study.study_name!r} is of other feature files, "
            "settings or choices to search over. Choose another --study."
        )


def _ended(study: "optuna.Study") -> list[Any]:
    """Trials that came to their own end. In a storage of an older erc, those that Ctrl-C ended are
    failed too, without a reason."""
    import optuna

    own = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    trials = study.get_trials(deepcopy=False)
    return [trial for trial in trials if trial.state in own or _FAILED in trial.user_attrs]


def _complete(study: "optuna.Study") -> list[Any]:
    import optuna

    return study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))


def _best_value(study: "optuna.Study") -> float:
    return max((trial.value for trial in _complete(study)), default=0.0)


def _write(study: "optuna.Study", search: _Search, to: Path | str | None, seconds: float) -> Tuned:

    config = search.config
    ranked = sorted(_complete(study), key=lambda trial: -trial.value)
    counts = Counter(trial.state.name.lower() for trial in _ended(study))
    if not ranked:
        raise ErcError(
            f"No trial came to an end ({dict(counts) or 'none was begun'})."
            f"{search.failure or ' Give it more time, or fewer `epochs` in --config.'}"
        )
    best = tuple(Trial(t.number, t.value, search.ask(t.params)) for t in ranked[:10])
    chosen = with_options(config, **best[0].options)
    # The seeds of the search would be judged by the choice that they made.
    fresh = (seed for seed in count() if seed not in config.seeds)
    seeds = tuple(islice(fresh, len(FuseConfig().seeds)))
    chosen = replace(as_recorded(chosen), seeds=seeds)
    path = Path(to or Path(config.place.runs) / config.corpus / "tuned.toml")
    note = (
        f"# The best of {len(ranked)} trials that came to an end: {config.monitor} "
        f"{ranked[0].value:.4f} on dev, mean over seeds {list(config.seeds)}.\n"
    )
    with whole_file(path, "choose another file with --to") as part:
        part.write_text(note + to_toml(chosen), encoding="utf-8")
    return Tuned(chosen, path, best, dict(counts), seconds)
