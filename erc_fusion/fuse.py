"""`erc fuse`: feature files to a run."""

import hashlib
import json
import shlex
import sys
import time
import warnings as python_warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from erc_features.errors import ErcError, RunError, choose
from erc_features.threads import let_waiting_threads_sleep
from erc_features.utterance import Split, corpus_name
from erc_fusion.config.config import (
    FuseConfig,
    as_recorded,
    check_config,
    to_toml,
    without_place,
)
from erc_fusion.config.seeds import seeds_warning
from erc_fusion.evaluation.score import score_splits
from erc_fusion.inputs.sources import Source, find_sources
from erc_fusion.inputs.splits import check_splits
from erc_fusion.inputs.table import FeatureTable, load_table
from erc_fusion.runs import run as runs
from erc_fusion.runs.run import Run
from erc_fusion.training import tensorboard as events

if TYPE_CHECKING:
    from erc_fusion.training.train import Progress, Trained


@dataclass(frozen=True)
class FuseResult:
    """What `fuse` gives.

    >>> import erc_fusion
    >>> from pathlib import Path
    >>> run = erc_fusion.Run(Path("runs/meld/mlp"))
    >>> result = erc_fusion.FuseResult(run, already=True, warnings=())
    >>> result.run.name
    'mlp'

    Attributes:
        run: finished.
        already: it was there before, and nothing was done.
        warnings: what the user should know of this run's data.
    """

    run: Run
    already: bool
    warnings: tuple[str, ...]


def fuse(
    config: FuseConfig,
    *,
    progress: "Callable[[Progress], None] | None" = None,
    log: str = "",
) -> FuseResult:
    """Train a head on a corpus's feature files, and score dev and test.

    Every choice is made on dev. Test is scored once, after it, here. A run of the same
    settings and inputs that is there already is returned as it is.

    >>> import erc_fusion
    >>> config = erc_fusion.with_options(
    ...     erc_fusion.FuseConfig(corpus="meld"), head="linear", seeds=(0, 1), epochs=2
    ... )
    >>> result = erc_fusion.fuse(config)
    >>> result.run.path.parent.as_posix(), result.already, result.warnings
    ('runs/meld', False, ())
    >>> sorted(result.run.metrics["test"]["accuracy"])
    ['high', 'low', 'mean', 'seeds', 'std']
    >>> erc_fusion.fuse(config).already
    True

    Args:
        progress: called after each epoch.
        log: `tensorboard` writes learning curves meanwhile, see
            :mod:`erc_fusion.training.tensorboard`; those of a run that is there already, from its
            history.

    Raises:
        ErcError: a setting, the feature files, or the splits are not what they must be.
        RunError: the run's folder holds something else, or can't be written.
    """
    let_waiting_threads_sleep()
    began = time.perf_counter()
    events.check_log(log)
    asked = config
    config, sources = resolve(config)
    table = load_table(sources, config.layers)
    identity = identity_of(config, table)
    name = runs.check_name(config.place.name) or f"{config.model.head}-{identity[:8]}"
    path = Path(config.place.runs) / config.corpus / name
    found = Run(path)
    if found.done and not config.place.overwrite:
        _must_be_the_same(found, identity)
        if log:
            events.write_events(found)
        told = (*found.metrics.get("warnings", ()), *_older(found))
        return FuseResult(found, True, told)
    warnings = check_splits(table)
    with runs.claim(path), events.followed(log, path, config.seeds, progress) as follow:
        return _run(config, asked, table, identity, path, warnings, began, follow)


def _run(
    config: FuseConfig,
    asked: FuseConfig,
    table: FeatureTable,
    identity: str,
    path: Path,
    warnings: tuple[str, ...],
    began: float,
    progress: "Callable[[Progress], None] | None",
) -> FuseResult:
    """Train and score, then write. What a finished run left there stays until all is written."""
    from erc_fusion.training.checkpoint import save_weights
    from erc_fusion.training.fit import fit, make_data
    from erc_fusion.training.learned_weights import weigh_files, weigh_layers

    started = time.perf_counter()
    trained, weights = fit(config, make_data(table, config.place.device), progress)
    seconds = time.perf_counter() - started
    scores, predictions = score_splits(table, config.seeds, weights.predict)
    metrics = _about(config, table.sources, trained) | scores | {"warnings": list(warnings)}
    metrics |= {"layers": weigh_layers(weights.model), "weighing": weigh_files(weights, table)}
    metrics["seconds"] = {"train": seconds, "total": time.perf_counter() - began}
    try:
        recorded = as_recorded(_as_asked(config, asked))
        runs.part(path, "config.toml").write_text(to_toml(recorded), encoding="utf-8")
        _write_json(
            runs.part(path, "inputs.json"),
            _inputs(config, table, identity, weights.standardiser.speakers),
        )
        lines = (json.dumps(record) + "\n" for record in trained.history)
        runs.part(path, "history.jsonl").write_text("".join(lines), encoding="utf-8")
        _write_json(runs.part(path, "metrics.json"), metrics)
        predictions.to_parquet(runs.part(path, "predictions.parquet"), index=False)
        save_weights(runs.part(path, "model.safetensors"), weights)
        return FuseResult(runs.finish(path), False, warnings)
    except OSError as error:
        raise RunError(
            f"{path}: cannot be written ({error.strerror or error}). Free some space or choose "
            "another folder with --runs, and run it again."
        ) from error


def resolve(config: FuseConfig) -> tuple[FuseConfig, tuple[Source, ...]]:
    """What is left open decided: the corpus's name, the files' stems, the contrastive loss, the
    precision.

    Raises:
        ErcError: a setting is wrong, or no feature file fits.
    """
    from erc_fusion.model.context import load_context
    from erc_fusion.model.heads import load_head
    from erc_fusion.training.fit import pick_device
    from erc_fusion.training.losses import CONTRASTS, LOSSES
    from erc_fusion.training.optimize import decide_precision

    check_config(config)
    if many := seeds_warning(config.seeds):
        python_warnings.warn(many, stacklevel=3)
    head = load_head(config.model.head)
    load_context(config.model.context)
    choose("loss", config.loss.loss, LOSSES)
    choose("contrastive loss", config.loss.contrastive, [*CONTRASTS, "auto"])
    contrastive = config.loss.contrastive
    if contrastive == "auto":
        contrastive = head.contrastive
    elif contrastive == "none" != head.contrastive:
        raise ErcError(
            f"Head {config.model.head!r} is made for a contrastive loss; --contrastive none does "
            "not go with it. Choose triplet or supcon, or --head mlp."
        )
    corpus = corpus_name(config.corpus)
    sources = find_sources(Path(config.place.features) / corpus, config.modalities)
    stems = tuple(source.stem for source in sources)
    loss = replace(config.loss, contrastive=contrastive)
    device = pick_device(config.place.device)
    precision = decide_precision(config.training.precision, device)
    training = replace(config.training, precision=precision)
    changed = replace(config, corpus=corpus, modalities=stems, loss=loss, training=training)
    return changed, sources


def _about(config: FuseConfig, sources: tuple[Source, ...], trained: "Trained") -> dict[str, Any]:
    """What `metrics.json` says of the run itself."""
    return {
        "seeds": list(config.seeds),
        "labels": list(sources[0].labels),
        "head": config.model.head,
        "modalities": [source.modality for source in sources],
        "files": [source.stem for source in sources],
        "contrastive": config.loss.contrastive,
        "monitor": config.monitor,
        "best_epoch": list(trained.best_epoch),
        "epochs": list(trained.epochs),
        "parameters": trained.model.parameters_per_seed,
    }


def identity_of(config: FuseConfig, table: FeatureTable) -> str:
    """A hash of the settings and what was put in, numbers too; not of where it stands."""
    inputs = [
        {
            "stem": source.stem,
            "fingerprint": source.fingerprint,
            "encoder": source.encoder,
            "revision": source.revision,
            "config": dict(source.config),
            "shape": source.shape,
            "rows": dict(source.rows),
        }
        for source in table.sources
    ]
    parts = {"config": without_place(config), "inputs": inputs, "data": table.digest()}
    whole = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(whole.encode()).hexdigest()


def _as_asked(config: FuseConfig, asked: FuseConfig) -> FuseConfig:
    """What was left to be decided stays so in `config.toml`: another head, or another device,
    decides it anew."""
    loss = replace(config.loss, contrastive=asked.loss.contrastive)
    training = replace(config.training, precision=asked.training.precision)
    return replace(config, loss=loss, training=training)


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("erc", "torch", "numpy")}


def _machine(config: FuseConfig) -> dict[str, Any]:
    """What last bits depend on, beside the versions."""
    import torch

    from erc_fusion.training.fit import pick_device

    device = pick_device(config.place.device)
    return {"device": device.type, "threads": torch.get_num_threads()}


def _older(found: Run) -> tuple[str, ...]:
    """Whether another erc or torch made a run that is used instead of a new one."""
    made, here = found.inputs.get("versions", {}), _versions()
    other = [f"{name} {made[name]}" for name in ("erc", "torch") if made.get(name, "") != here[name]
             and name in made]  # fmt: skip
    if not other:
        return ()
    now = ", ".join(f"{name} {here[name]}" for name in ("erc", "torch"))
    return (
        f"it was made by {', '.join(other)}; here are {now}. `erc fuse --overwrite` runs it again",
    )


def _must_be_the_same(found: Run, identity: str) -> None:
    if found.inputs.get("identity") != identity:
        raise RunError(
            f"{found.path}: a run of that name is there, with other settings or feature files. "
            "Choose another --name, or --overwrite it."
        )


def _inputs(
    config: FuseConfig, table: FeatureTable, identity: str, speakers: tuple[str, ...]
) -> dict[str, Any]:
    names, rows = np.unique(table.split, return_counts=True)
    counts = dict(zip(names.tolist(), rows.tolist(), strict=True))
    files = []
    for source in table.sources:
        file = asdict(source) | {"path": str(source.path)}
        for shared in ("corpus", "fingerprint", "labels"):
            del file[shared]
        files.append(file)
    return {
        "format": runs.FORMAT,
        "format_version": runs.FORMAT_VERSION,
        "corpus": config.corpus,
        "fingerprint": table.fingerprint,
        "labels": list(table.labels),
        "speakers": list(speakers),  # frequent in train, in the order of their embeddings
        "identity": identity,
        "counts": {split: counts[split] for split in Split if split in counts},
        "files": files,
        "versions": _versions(),
        "machine": _machine(config),
        "command": shlex.join(sys.argv),
    }


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
