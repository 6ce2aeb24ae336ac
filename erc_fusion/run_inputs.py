"""What a run was made from: `inputs.json`, and the hash that tells runs apart."""

import hashlib
import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from erc_features.utterance import Split
from erc_fusion.config.config import FuseConfig, without_place
from erc_fusion.inputs.folds import Fold, make_folds
from erc_fusion.inputs.table import FeatureTable
from erc_fusion.runs import run as runs
from erc_fusion.runs.run import Run


def identity_of(config: FuseConfig, table: FeatureTable, folds: Sequence[Fold] = ()) -> str:
    """A hash of the settings, folds and inputs, their numbers too; not of where they are."""
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

    what: dict[str, Any] = {"inputs": inputs, "data": table.digest()}
    what["config"] = without_place(config)
    if config.folds:  # which follow from columns that are no data of a run over splits
        folds = folds or make_folds(table, config.folds, config.dev)
        what["folds"] = [[fold.name, fold.dev.tolist(), fold.test.tolist()] for fold in folds]
    return sha256_of(what)


def sha256_of(value: Any) -> str:
    """The hash of plain nested values; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("erc", "torch", "numpy")}


def older(found: Run) -> Iterator[str]:
    """A warning where another erc or torch made a run that is used instead of a new one."""
    made, here = found.inputs.get("versions", {}), _versions()
    compared = [name for name in ("erc", "torch") if name in made]
    if any(made[name] != here[name] for name in compared):
        other = ", ".join(f"{name} {made[name]}" for name in compared if made[name] != here[name])
        now = ", ".join(f"{name} {here[name]}" for name in ("erc", "torch"))
        yield f"it was made by {other}; here are {now}. `erc fuse --overwrite` runs it again"


def inputs_of(
    config: FuseConfig, table: FeatureTable, folds: tuple[Fold, ...], identity: str,
    speakers: Sequence[Sequence[str]],
) -> dict[str, Any]:  # fmt: skip
    """`inputs.json`; `speakers` are those that each fold, or the run, knows by name."""
    import torch

    from erc_fusion.training.fit import pick_device

    counts = {split: len(table.rows(split)) for split in Split}
    shared = ("corpus", "fingerprint", "labels")
    files = [
        {name: value for name, value in asdict(source).items() if name not in shared}
        | {"path": str(source.path)}
        for source in table.sources
    ]
    device = pick_device(config.place.device).type
    return {
        "format": runs.FORMAT,
        "format_version": runs.FORMAT_VERSION,
        "corpus": config.corpus,
        "fingerprint": table.fingerprint,
        "labels": list(table.labels),
        "task": table.task.as_dict(),
        # Frequent in train, in the order of their embeddings.
        "speakers": [] if folds else list(speakers[0]),
        "identity": identity,
        "counts": {split: count for split, count in counts.items() if count},
        "files": files,
        **({"folds": _of_folds(folds, speakers)} if folds else {}),
        "versions": _versions(),
        # The last bits depend on these too.
        "machine": {"device": device, "threads": torch.get_num_threads()},
        "command": shlex.join(sys.argv),
    }


def _of_folds(folds: Sequence[Fold], speakers: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    """What a run keeps of each fold: its name, the speakers that it knows, and its rows."""
    return [
        {"name": fold.name, "speakers": list(known)}
        | {part: len(getattr(fold, part)) for part in ("train", "dev", "test")}
        for fold, known in zip(folds, speakers, strict=True)
    ]
