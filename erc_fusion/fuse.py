"""`erc fuse`: from feature files to a run."""

import json
import time
import warnings as python_warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erc_features.errors import ErcError, RunError, choose
from erc_features.threads import let_waiting_threads_sleep
from erc_features.utterance import corpus_name
from erc_fusion.config.config import (
    FuseConfig,
    as_recorded,
    check_config,
    to_toml,
)
from erc_fusion.config.seeds import seeds_warning
from erc_fusion.evaluation.fold_scores import score_folds
from erc_fusion.evaluation.score import score_splits
from erc_fusion.inputs.folds import Fold, make_folds
from erc_fusion.inputs.sources import Source, find_sources
from erc_fusion.inputs.splits import check_folds, check_splits
from erc_fusion.inputs.streaming import Streaming
from erc_fusion.inputs.table import FeatureTable, load_table
from erc_fusion.inputs.targets import parse_losses, parse_target, settle, with_target
from erc_fusion.run_inputs import identity_of, inputs_of, older
from erc_fusion.runs import run as runs
from erc_fusion.runs.predictions import PREDICTIONS, write_predictions
from erc_fusion.runs.run import Run
from erc_fusion.training import tensorboard as events

if TYPE_CHECKING:
    from erc_fusion.training.train import Progress


@dataclass(frozen=True)
class FuseResult:
    """What :func:`fuse` returns.

    >>> import erc_fusion
    >>> from pathlib import Path
    >>> run = erc_fusion.Run(Path("runs/meld/mlp"))
    >>> result = erc_fusion.FuseResult(run, already=True, warnings=())
    >>> result.run.name
    'mlp'

    Attributes:
        run: finished.
        already: whether the run was there before, so that nothing was done.
        warnings: what the user should know about this run's data.
    """

    run: Run
    already: bool
    warnings: tuple[str, ...]


def fuse(
    config: FuseConfig,
    *,
    progress: "Callable[[Progress], None] | None" = None,
    log: str = "",
    say: Callable[[str], None] = lambda line: None,
) -> FuseResult:
    """Train a head on a corpus's feature files, and score dev and test.

    Every choice is made on dev; test is scored once, here, after that. If there already is a run of
    the same settings and inputs, it is returned as it is.

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
        log: `tensorboard` writes learning curves while it trains, see
            :mod:`erc_fusion.training.tensorboard`; for a run that is there already, from its
            history.
        say: is told where features are streamed without being asked, and of a copy for that.

    Raises:
        ErcError: a setting, the feature files, or the splits are not what they must be.
        RunError: the run's folder holds something else, or can't be written.
    """
    let_waiting_threads_sleep()
    began = time.perf_counter()
    events.check_log(log)
    asked = config
    config, sources = resolve(config)
    config, table = open_table(config, sources, say)
    folds = make_folds(table, config.folds, config.dev) if config.folds else ()
    identity = identity_of(config, table, folds)
    name = runs.check_name(config.place.name) or f"{config.model.head}-{identity[:8]}"
    path = Path(config.place.runs) / config.corpus / name
    found = Run(path)
    if found.done and not config.place.overwrite:
        if found.inputs.get("identity") != identity:
            raise RunError(
                f"{path}: there is a run of that name, with other settings or feature files. "
                "Choose another --name, or --overwrite it."
            )
        if log:
            events.write_events(found)
        told = (*found.metrics.get("warnings", ()), *older(found))
        return FuseResult(found, True, told)
    warnings = check_folds(table, folds, config) if folds else check_splits(table, config.monitor)
    curves = events.followed(log, path, config.seeds, progress, len(folds))
    with runs.claim(path), curves as follow:
        return _run(config, asked, table, folds, identity, path, warnings, began, follow)


def _run(
    config: FuseConfig,
    asked: FuseConfig,
    table: FeatureTable,
    folds: tuple[Fold, ...],
    identity: str,
    path: Path,
    warnings: tuple[str, ...],
    began: float,
    progress: "Callable[[Progress], None] | None",
) -> FuseResult:
    """Train and score, then write. An earlier run stays in its place until all is written."""
    from erc_fusion.training.checkpoint import FoldedWeights, save_weights
    from erc_fusion.training.fit import fit_folds, make_data, make_folded_data
    from erc_fusion.training.learned_weights import weigh_files, weigh_layers

    started = time.perf_counter()
    device = config.place.device
    data = make_folded_data(table, folds, device) if folds else [make_data(table, device)]
    trained, fitted = fit_folds(config, data, progress)
    seconds = time.perf_counter() - started
    weights = FoldedWeights(tuple(fitted)) if folds else fitted[0]
    if folds:
        parts = ("test", "dev")
        held_out, on_dev = (
            [own.predict(table, getattr(fold, part))
             for own, fold in zip(fitted, folds, strict=True)] for part in parts
        )  # fmt: skip
        scores, predictions = score_folds(
            table, folds, config.folds, config.seeds, held_out, on_dev
        )
    else:
        scores, predictions = score_splits(table, config.seeds, fitted[0].predict)
    metrics = {
        "seeds": list(config.seeds),
        "labels": list(table.labels),
        "task": table.task.as_dict(),
        "head": config.model.head,
        "modalities": [source.modality for source in table.sources],
        "files": [source.stem for source in table.sources],
        "contrastive": config.loss.contrastive,
        "monitor": config.monitor,
        "best_epoch": list(trained.best_epoch),
        "epochs": list(trained.epochs),
        "parameters": trained.model.parameters_per_seed,
        **scores,
        "warnings": list(warnings),
        "layers": weigh_layers(trained.model),
        "weighing": None if folds else weigh_files(fitted[0], table),
        "seconds": {"train": seconds, "total": time.perf_counter() - began},
    }
    # What was left to be decided stays so: another head, or another device, decides it anew.
    loss = replace(config.loss, contrastive=asked.loss.contrastive)
    training = replace(config.training, precision=asked.training.precision)
    recorded = as_recorded(replace(config, loss=loss, training=training))
    speakers = [each.standardiser.speakers for each in fitted]
    try:
        runs.part(path, "config.toml").write_text(to_toml(recorded), encoding="utf-8")
        _write_json(
            runs.part(path, "inputs.json"), inputs_of(config, table, folds, identity, speakers)
        )
        lines = (json.dumps(record) + "\n" for record in trained.history)
        runs.part(path, "history.jsonl").write_text("".join(lines), encoding="utf-8")
        _write_json(runs.part(path, "metrics.json"), metrics)
        write_predictions(runs.part(path, PREDICTIONS), predictions)
        save_weights(runs.part(path, "model.safetensors"), weights)
        return FuseResult(runs.finish(path), False, warnings)
    except OSError as error:
        raise RunError(
            f"{path}: cannot be written ({error.strerror or error}). Free some space or choose "
            "another folder with --runs, and run it again."
        ) from error


def resolve(config: FuseConfig) -> tuple[FuseConfig, tuple[Source, ...]]:
    """(`config` with what it leaves open decided, the feature files that it means).

    Decided are the corpus's name, the files' stems, the contrastive loss and the precision.

    Raises:
        ErcError: a setting is wrong, or no feature file fits.
    """
    from erc_fusion.model.context import load_context
    from erc_fusion.model.heads import load_head
    from erc_fusion.training.fit import pick_device
    from erc_fusion.training.losses import CONTRASTS
    from erc_fusion.training.optimize import decide_precision

    check_config(config)
    if many := seeds_warning(config.seeds):
        python_warnings.warn(many, stacklevel=3)
    head = load_head(config.model.head)
    load_context(config.model.context)
    parse_losses(config.loss.loss)
    parse_target(config.target)
    choose("contrastive loss", config.loss.contrastive, [*CONTRASTS, "auto"])
    contrastive = config.loss.contrastive
    if contrastive == "auto":
        contrastive = head.contrastive
    elif contrastive == "none" != head.contrastive:
        raise ErcError(
            f"Head {config.model.head!r} is made for a contrastive loss and can't be trained with "
            "--contrastive none. Choose triplet or supcon, or --head mlp."
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


def open_table(
    config: FuseConfig, sources: Sequence[Source], say: Callable[[str], None] = lambda line: None
) -> tuple[FuseConfig, FeatureTable]:
    """(resolved settings that fit what is predicted, the table with its truth).

    Raises:
        ErcError: the files do not fit each other, or the target or its settings do not fit them.
    """
    streaming = Streaming(config.place.stream, Path(config.place.runs) / config.corpus, say)
    table = load_table(sources, config.layers, streaming)
    table = with_target(table, config.target, config.loss.loss)
    return settle(config, table.task), table


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
