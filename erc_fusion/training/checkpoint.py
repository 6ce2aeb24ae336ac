"""A trained model with everything it needs to read a table: `model.safetensors`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from erc_features.errors import RunError
from erc_fusion.config.config import from_tables
from erc_fusion.evaluation.score import Predicted
from erc_fusion.inputs.standardise import Standardiser, from_tensors
from erc_fusion.inputs.table import FeatureTable
from erc_fusion.model.fusion import FusionModel, build_model, load_state
from erc_fusion.runs.run import Run
from erc_fusion.training.train import PREDICT_ROWS, nearest, predict


@dataclass(frozen=True)
class Weights:
    """What a run has learned.

    Attributes:
        prototypes: (S, C, E), the mean train embedding of each class; None without a contrastive
            loss.
    """

    model: FusionModel
    standardiser: Standardiser
    prototypes: Tensor | None

    def predict(self, table: FeatureTable, rows: np.ndarray) -> Predicted:
        """Predict some rows of a table, whole dialogues, on the model's device."""
        device = next(self.model.parameters()).device
        found = predict(self.model, self.standardiser.split(table, rows, device))
        closest = None if self.prototypes is None else nearest(found, self.prototypes)
        embedding = found.embedding.cpu().numpy()
        return Predicted(found.probability.cpu().numpy(), closest, principal(embedding))

    @torch.inference_mode()
    def weigh(self, table: FeatureTable, rows: np.ndarray) -> np.ndarray | None:
        """(S, n, M): the head's weight of each file in some rows; None if it has no weights."""
        model = self.model.eval()
        device = next(model.parameters()).device
        found = []
        for start in range(0, len(rows), PREDICT_ROWS):
            split = self.standardiser.split(table, rows[start : start + PREDICT_ROWS], device)
            x = {stem: x.expand(model.seeds, *x.shape) for stem, x in split.x.items()}
            given = model.head.weigh(x, split.present.expand(model.seeds, -1, -1))
            if given is None:
                return None
            found.append(given.cpu().numpy())
        return np.concatenate(found, axis=1)


@dataclass(frozen=True)
class FoldedWeights:
    """What a run over folds has learned: :class:`Weights` of each fold, in order."""

    folds: tuple[Weights, ...]

    def predict(self, table: FeatureTable, rows: np.ndarray) -> Predicted:
        """Predict rows that no fold has seen: each seed's mean over the folds' probabilities."""
        found = [weights.predict(table, rows) for weights in self.folds]
        mean = np.stack([each.probability for each in found]).mean(0, dtype=np.float64)
        return Predicted(np.asarray(mean, np.float32), None, found[0].pca)


def principal(embedding: np.ndarray) -> np.ndarray:
    """The first two principal components of each seed's rows: (S, n, E) -> (S, n, 2) float32.

    Each seed is centred on its own mean. The sign of an axis is arbitrary: its largest entry is
    made positive. All zeros for fewer than three rows.
    """
    seeds, rows, width = embedding.shape
    found = np.zeros((seeds, rows, 2), dtype=np.float32)
    if rows < 3:
        return found
    kept = min(2, width)
    for seed, own in enumerate(embedding):
        centred = own - own.mean(0, dtype=np.float64)
        # MELD's test split, E 256: 25 ms, where a singular value decomposition takes 220.
        _, axes = np.linalg.eigh(centred.T @ centred)
        axes = axes[:, : -kept - 1 : -1]  # (E, 2): eigenvalues rise
        largest = axes[np.abs(axes).argmax(0), np.arange(kept)]
        found[seed, :, :kept] = centred @ (axes * np.sign(largest))
    return found


def save_weights(path: Path, weights: Weights | FoldedWeights) -> None:
    """Write `model.…` and `prototypes` (S, …), and `input.<stem>.mean` and `.scale` (L, D).

    Of folds, each under `fold.<number>.`, from 0.
    """
    if isinstance(weights, Weights):
        kept = _tensors(weights)
    else:
        kept = {f"fold.{number}.{name}": value for number, own in enumerate(weights.folds)
                for name, value in _tensors(own).items()}  # fmt: skip
    # Not save_file: it leaves mode 600, and does not report a full disk as an OSError.
    path.write_bytes(save(kept))


def _tensors(weights: Weights) -> dict[str, Tensor]:
    tensors = {f"model.{name}": value.detach() for name, value in weights.model.named_parameters()}
    if weights.prototypes is not None:
        tensors["prototypes"] = weights.prototypes
    kept = {name: value.cpu().contiguous() for name, value in tensors.items()}
    return kept | weights.standardiser.tensors()


def load_weights(run: Run, device: torch.device | str = "cpu") -> Weights | FoldedWeights:
    """A run's weights; raises RunError if they are absent, damaged, or do not fit its settings."""
    path = run.path / "model.safetensors"
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunError(
            f"{path} cannot be read ({error}). Run `erc fuse` again with --overwrite."
        ) from error
    folds = run.inputs.get("folds")
    if not folds:
        return _load(run, tensors, run.inputs.get("speakers", ()), device)
    parts = []
    for number, fold in enumerate(folds):
        prefix = f"fold.{number}."
        own = {name.removeprefix(prefix): value for name, value in tensors.items()
               if name.startswith(prefix)}  # fmt: skip
        parts.append(_load(run, own, fold["speakers"], device))
    return FoldedWeights(tuple(parts))


def _load(
    run: Run, tensors: dict[str, Tensor], speakers: Sequence[str], device: torch.device | str
) -> Weights:
    path = run.path / "model.safetensors"
    config = from_tables(run.config, where=str(run.path / "config.toml"))
    files = {file["stem"]: tuple(file["shape"][1:]) for file in run.inputs["files"]}
    labels = run.inputs["labels"]
    # A stack of folds knows as many as the fold that knows most.
    known = max((len(fold["speakers"]) for fold in run.inputs.get("folds") or ()),
                default=len(speakers))  # fmt: skip
    model = build_model(config.model, files, len(labels), config.seeds, device, known)
    ours = [name for name in tensors if name.startswith("model.")]
    state = {name.removeprefix("model."): tensors[name] for name in ours}
    shapes = {name: value.shape for name, value in model.named_parameters()}
    if shapes != {name: value.shape for name, value in state.items()}:
        raise run.damaged(path.name, "it does not fit the settings beside it")
    load_state(model, state)
    model.eval()
    centres = tensors["prototypes"].to(device) if "prototypes" in tensors else None
    return Weights(model, from_tensors(tensors, speakers), centres)
