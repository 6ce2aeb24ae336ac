"""What a trained model learned to weigh: an encoder's layers, and files in its head."""

from typing import Any

import numpy as np

from erc_features.utterance import Split
from erc_fusion.inputs.table import FeatureTable
from erc_fusion.model.fusion import FusionModel
from erc_fusion.model.heads.base import Projections
from erc_fusion.model.layers import Projection
from erc_fusion.training.checkpoint import Weights


def weigh_layers(model: FusionModel) -> dict[str, dict[str, list[float]]]:
    """{stem: {"weight", "std"}}, a number per layer, of the files that have several layers.

    Mean and sample deviation over seeds of the softmax that mixes them.
    """
    found = {}
    projections = (each for each in model.modules() if isinstance(each, Projections))
    for stem, file in ((s, f) for p in projections for s, f in zip(p.stems, p.files, strict=True)):
        assert isinstance(file, Projection)
        shares = file.shares()
        if shares is not None:
            mean, std = _over_seeds(shares.detach().cpu().numpy())
            found[stem] = {"weight": mean.tolist(), "std": std.tolist()}
    return found


def weigh_files(weights: Weights, table: FeatureTable) -> dict[str, dict[str, float]] | None:
    """{stem: {"mean", "std"}}: the head's weight of a file, :meth:`Head.weigh`, 0 to 1.

    A seed's figure is the mean over those rows of test (else of dev) that have the file; a file
    that no row has is left out. Std is the sample deviation over seeds. None where the head has no
    such weights.
    """
    rows = test if len(test := table.rows(Split.TEST)) else table.rows(Split.DEV)
    given = weights.weigh(table, rows)  # (S, n, M)
    if given is None:
        return None
    found: dict[str, dict[str, Any]] = {}
    for m, source in enumerate(table.sources):
        present = table.present[rows, m]
        if present.any():
            of_seeds = [seed[present, m].mean(dtype=np.float64) for seed in given]
            mean, std = _over_seeds(np.array(of_seeds))
            found[source.stem] = {"mean": float(mean), "std": float(std)}
    return found


def _over_seeds(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(S, …) -> mean and sample deviation (…), in float64; the latter is 0 for one seed."""
    values = values.astype(np.float64)
    return values.mean(0), values.std(0, ddof=1 if len(values) > 1 else 0)
