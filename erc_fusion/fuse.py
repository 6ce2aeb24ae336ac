"""`erc fuse`: feature files to a run."""

import hashlib
import json
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from erc_features.errors import ErcError, RunError, choose
from erc_features.utterance import Split, corpus_name
from erc_fusion import events, runs
from erc_fusion.config import (
    FuseConfig,
    as_recorded,
    check_config,
    to_toml,
    without_place,
)
from erc_fusion.runs import Run
from erc_fusion.score import score_splits
from erc_fusion.table import FeatureTable, Source, find_sources, load_table

if TYPE_CHECKING:
    from erc_fusion.train import Progress, Trained


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
        log: `tensorboard` writes learning curves meanwhile, see :mod:`erc_fusion.events`; those
            of a run that is there already, from its history.

    Raises:
        ErcError: a setting, the feature files, or the splits are not what they must be.
        RunError: the run's folder holds something else, or can't be written.
    """
    began = time.perf_counter()
    events.check_log(log)
    config, sources = resolve(config)
    table = load_table(sources, config.layers)
    identity = _identity(config, table)
    name = runs.check_name(config.place.name) or f"{config.model.head}-{identity[:8]}"
    path = Path(config.place.runs) / config.corpus / name
    if (path / runs.DONE).exists() and not config.place.overwrite:
        found = Run(path)
        _must_be_the_same(found, identity)
        if log:
            events.write_events(found)
        return FuseResult(found, True, tuple(found.metrics.get("warnings", ())))
    warnings = check_splits(table)
    with runs.claim(path), events.followed(log, path, config.seeds, progress) as follow:
        return _run(config, table, identity, path, warnings, began, follow)


def _run(
    config: FuseConfig,
    table: FeatureTable,
    identity: str,
    path: Path,
    warnings: tuple[str, ...],
    began: float,
    progress: "Callable[[Progress], None] | None",
) -> FuseResult:
    """Train and score, then write. What a finished run left there stays until then."""
    from erc_fusion.fit import fit, make_data
    from erc_fusion.weighing import weigh_files, weigh_layers
    from erc_fusion.weights import save_weights

    started = time.perf_counter()
    trained, weights = fit(config, make_data(table, config.place.device), progress)
    seconds = time.perf_counter() - started
    scores, predictions = score_splits(table, config.seeds, weights.predict)
    metrics = _about(config, table.sources, trained) | scores | {"warnings": list(warnings)}
    metrics |= {"layers": weigh_layers(weights.model), "weighing": weigh_files(weights, table)}
    metrics["seconds"] = {"train": seconds, "total": time.perf_counter() - began}
    try:
        runs.clear(path)
        (path / "config.toml").write_text(to_toml(as_recorded(config)), encoding="utf-8")
        _write_json(
            path / "inputs.json", _inputs(config, table, identity, weights.standardiser.speakers)
        )
        lines = (json.dumps(record) + "\n" for record in trained.history)
        (path / "history.jsonl").write_text("".join(lines), encoding="utf-8")
        _write_json(path / "metrics.json", metrics)
        predictions.to_parquet(path / "predictions.parquet", index=False)
        save_weights(path / "model.safetensors", weights)
        return FuseResult(runs.finish(path), False, warnings)
    except OSError as error:
        raise RunError(
            f"{path}: cannot be written ({error.strerror or error}). Free some space or choose "
            "another folder with --runs, and run it again."
        ) from error


def resolve(config: FuseConfig) -> tuple[FuseConfig, tuple[Source, ...]]:
    """Defaults decided: the corpus's name, the files' stems, the contrastive loss.

    Raises:
        ErcError: a setting is wrong, or no feature file fits.
    """
    from erc_fusion.context import load_context
    from erc_fusion.heads import load_head
    from erc_fusion.losses import CONTRASTS, LOSSES

    check_config(config)
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
    return replace(config, corpus=corpus, modalities=stems, loss=loss), sources


def check_splits(table: FeatureTable) -> tuple[str, ...]:
    """Warnings about the splits.

    Raises:
        ErcError: train or dev has no labelled row, or train no embedding at all.
    """
    for split, purpose in ((Split.TRAIN, "learn from"), (Split.DEV, "choose on")):
        if not (table.label[table.rows(split)] >= 0).any():
            raise ErcError(
                f"Corpus {table.corpus!r} has no labelled {split} row, so there is nothing to "
                f"{purpose}. It needs {split}.csv with labels."
            )
    train = table.rows(Split.TRAIN)
    if not table.present[train].any():
        raise ErcError(
            f"No train row of corpus {table.corpus!r} has an embedding in "
            f"{', '.join(source.stem for source in table.sources)}. See `erc inspect`."
        )
    counts = np.bincount(table.label[train][table.label[train] >= 0], minlength=len(table.labels))
    return (
        *(
            f"{label} does not occur in train and can't be learned"
            for label, count in zip(table.labels, counts, strict=True)
            if count == 0
        ),
        *(
            f"{source.stem} has no embedding of any train row"
            for m, source in enumerate(table.sources)
            if not table.present[train, m].any()
        ),
    )


def _about(config: FuseConfig, sources: tuple[Source, ...], trained: "Trained") -> dict[str, Any]:
    """What `metrics.json` says of the run itself."""
    return {
        "seeds": list(config.seeds),
        "labels": list(sources[0].labels),
        "head": config.model.head,
        "modalities": [source.modality for source in sources],
        "files": [source.stem for source in sources],
        "monitor": config.monitor,
        "best_epoch": list(trained.best_epoch),
        "epochs": list(trained.epochs),
        "parameters": trained.model.parameters_per_seed,
    }


def _identity(config: FuseConfig, table: FeatureTable) -> str:
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
        "versions": {name: version(name) for name in ("erc", "torch", "numpy")},
        "command": shlex.join(sys.argv),
    }


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
