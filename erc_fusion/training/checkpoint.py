"""A trained model with everything it needs to read a table: `model.safetensors`."""

from collections.abc import Callable, Sequence
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
from erc_fusion.inputs.standardise import Standardiser, from_tensors, is_large, on_device
from erc_fusion.inputs.table import FeatureTable
from erc_fusion.inputs.targets import Task
from erc_fusion.model.fusion import FusionModel, build_model, load_state
from erc_fusion.runs.run import Run
from erc_fusion.training.reduced import (
    axes_of,
    fits,
    nearest_in_blocks,
    principal_in_blocks,
)
from erc_fusion.training.train import PREDICT_ROWS, nearest, predict

ONCE = 2**27  # bytes of standardised rows: a copy for one pass is not worth more


@dataclass(frozen=True)
class Weights:
    """What a run has learned.

    Attributes:
        prototypes: (S, C, E), the mean train embedding of each class; None without a contrastive
            loss.
        task: what is predicted.
        thresholds: (S, K), the probability from which a row has a label; None unless sets of
            labels are predicted.
    """

    model: FusionModel
    standardiser: Standardiser
    prototypes: Tensor | None
    task: Task
    thresholds: Tensor | None = None

    def predict(self, table: FeatureTable, rows: np.ndarray, *, maps: bool = True) -> Predicted:
        """Predict some rows of a table, whole dialogues, on the model's device.

        Without `maps`, `pca` is zeros and `prototype` is None: of a few rows, their axes take more
        time than all the rest.
        """
        device = next(self.model.parameters()).device
        large = (device.type == "cpu" or table.streamed) and is_large(table, len(rows), ONCE)
        raw = on_device(table, device) if large else None
        split = self.standardiser.split(table, rows, device, raw)
        whole, centres, closest = fits(self.model, len(rows)), self.prototypes, None
        found = predict(self.model, split, self.task, embeddings=whole)
        if not maps:
            pca = np.zeros((self.model.seeds, len(rows), 2), np.float32)
        elif whole:
            pca = principal(found.embedding.cpu().numpy())
            closest = None if centres is None else nearest(found, centres)
        else:
            pca = principal_in_blocks(self.model, split)
            closest = None if centres is None else nearest_in_blocks(self.model, split, centres)
        probability, values, limits = found.probability.cpu().numpy(), None, None
        if self.task.numbers:
            scaled = found.logits[..., -len(self.task.numbers) :].cpu().double().numpy()
            values = scaled * self.standardiser.unit + self.standardiser.centre
        if self.thresholds is not None:
            shape = probability.shape
            limits = np.broadcast_to(self.thresholds.cpu().numpy()[:, None], shape)
        return Predicted(probability, closest, pca, values, limits)

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

    def predict(self, table: FeatureTable, rows: np.ndarray, *, maps: bool = True) -> Predicted:
        """Predict rows that no fold has seen: each seed's mean over the folds' predictions."""
        found = [weights.predict(table, rows, maps=maps) for weights in self.folds]

        def mean(of: Callable[[Predicted], np.ndarray | None], kind: type) -> np.ndarray | None:
            parts = [part for each in found if (part := of(each)) is not None]
            return np.asarray(np.mean(parts, 0, dtype=np.float64), kind) if parts else None

        probability = mean(lambda each: each.probability, np.float32)
        assert probability is not None
        values = mean(lambda each: each.values, np.float64)
        limits = mean(lambda each: each.threshold, np.float32)
        return Predicted(probability, None, found[0].pca, values, limits)


def principal(embedding: np.ndarray) -> np.ndarray:
    """The first two principal components of each seed's rows: (S, n, E) -> (S, n, 2) float32.

    Each seed is centred on its own mean. The sign of an axis is arbitrary: its largest entry is
    made positive. All zeros for fewer than three rows.
    """
    seeds, rows, width = embedding.shape
    found = np.zeros((seeds, rows, 2), dtype=np.float32)
    if rows < 3:
        return found
    for seed, own in enumerate(embedding):
        centred = own - own.mean(0, dtype=np.float64)
        found[seed, :, : min(2, width)] = centred @ axes_of(centred.T @ centred)
    return found


def save_weights(path: Path, weights: Weights | FoldedWeights) -> None:
    """Write `model.…`, `prototypes` and `thresholds` (S, …), `target.mean` and `.scale` (T,), and
    `input.<stem>.mean` and `.scale` (L, D).

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
    for name in ("prototypes", "thresholds"):
        if (own := getattr(weights, name)) is not None:
            tensors[name] = own
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
    task = Task.of(run.inputs)
    # A stack of folds knows as many as the fold that knows most.
    known = max((len(fold["speakers"]) for fold in run.inputs.get("folds") or ()),
                default=len(speakers))  # fmt: skip
    model = build_model(config.model, files, task.outputs, config.seeds, device, known)
    ours = [name for name in tensors if name.startswith("model.")]
    state = {name.removeprefix("model."): tensors[name] for name in ours}
    shapes = {name: value.shape for name, value in model.named_parameters()}
    if shapes != {name: value.shape for name, value in state.items()}:
        raise run.damaged(path.name, "it does not fit the settings beside it")
    load_state(model, state)
    model.eval()
    centres = tensors["prototypes"].to(device) if "prototypes" in tensors else None
    standardiser = from_tensors(tensors, speakers)
    return Weights(model, standardiser, centres, task, tensors.get("thresholds"))
