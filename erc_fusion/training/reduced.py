"""What is kept of the embeddings of many rows, which are made a batch at a time.

A million rows of 256 numbers and five seeds are 5 GB. Where all fit into :data:`WHOLE`, nobody
comes here: the same figures are computed from all of them at once, which rounds in another order.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from erc_fusion.model.fusion import FusionModel, Split
from erc_fusion.training.parts import batches_in_order
from erc_fusion.training.train import PREDICT_ROWS

WHOLE = 2**28  # bytes of embeddings: 100 seeds on MELD's test split


def fits(model: FusionModel, rows: int) -> bool:
    """Whether the embeddings of so many rows are few enough to be kept."""
    return 4 * model.seeds * rows * model.classifier.weight.shape[1] <= WHOLE


def principal_in_blocks(model: FusionModel, split: Split) -> np.ndarray:
    """The first two principal components of each seed's rows, (S, N, 2) float32, as
    :func:`.checkpoint.principal`: one pass for the axes, and one for the rows."""
    seeds, rows, width = model.seeds, len(split), model.classifier.weight.shape[1]
    total, scatter = np.zeros((seeds, 1, width)), np.zeros((seeds, width, width))
    start = next(_embeddings(model, split)).cpu().double().numpy().mean(1, keepdims=True)
    for block in _embeddings(model, split):
        # Near the mean, so that little is lost when it is taken away below.
        own = block.cpu().double().numpy() - start  # (S, b, E)
        total += own.sum(1, keepdims=True)
        scatter += own.transpose(0, 2, 1) @ own
    scatter -= total.transpose(0, 2, 1) @ total / rows
    axes = np.stack([axes_of(own) for own in scatter])  # (S, E, 2)
    centre, found, first = start + total / rows, np.zeros((seeds, rows, 2), np.float32), 0
    for block in _embeddings(model, split):
        placed = (block.cpu().double().numpy() - centre) @ axes
        found[:, first : first + placed.shape[1], : axes.shape[-1]] = placed
        first += placed.shape[1]
    return found


def axes_of(scatter: np.ndarray) -> np.ndarray:
    """The two directions of most variance: scatter (E, E) -> (E, 2), or (1, 1) of one dimension."""
    # MELD's test split, E 256: 25 ms, where a singular value decomposition takes 220.
    _, axes = np.linalg.eigh(scatter)
    axes = axes[:, : -min(2, len(scatter)) - 1 : -1]  # eigenvalues rise
    largest = axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])]
    return axes * np.sign(largest)


def prototypes_in_blocks(model: FusionModel, split: Split, classes: int) -> Tensor:
    """As :func:`.train.prototypes`: the mean unit embedding of each class, (S, C, E)."""
    sums: Tensor | None = None
    first = 0
    for block in _embeddings(model, split):
        unit = torch.nn.functional.normalize(block, dim=-1).double()
        label = split.label[first : first + block.shape[1]]
        own = torch.stack([unit[:, label == c].sum(1) for c in range(classes)], dim=1)
        sums = own if sums is None else sums + own
        first += block.shape[1]
    assert sums is not None
    counts = torch.stack([(split.label == c).sum() for c in range(classes)])
    return torch.nn.functional.normalize((sums / counts[:, None]).float(), dim=-1)


def nearest_in_blocks(model: FusionModel, split: Split, centres: Tensor) -> np.ndarray:
    """As :func:`.train.nearest`: the class of the nearest prototype by cosine, (S, N)."""
    found = []
    for block in _embeddings(model, split):
        cosine = torch.nn.functional.normalize(block, dim=-1) @ centres.transpose(1, 2)
        found.append(cosine.nan_to_num(nan=-2.0).argmax(-1).cpu().numpy())
    return np.concatenate(found, 1)


@torch.inference_mode()
def _embeddings(model: FusionModel, split: Split) -> Iterator[Tensor]:
    """(S, b, E) of all rows in order."""
    model.eval()
    dialogues = model.context.dialogues
    for batch, (rows,) in batches_in_order(
        [split], PREDICT_ROWS, [model.seeds], dialogues=dialogues
    ):
        yield model(batch.x, batch.present, batch.dialogues)[1][:, :rows]
