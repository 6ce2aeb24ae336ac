"""`erc fuse --overfit`: can this head fit the training data at all?

"Scaling up" in the workflow that HLM12ERC follows (Chollet 2021, "Deep Learning with Python",
chapter 5): before regularising, find a network that overfits. What can't fit train, however wide,
lacks information or has a mistake in it; what can is then regularised on dev, by `erc tune`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from erc_features.errors import ErcError
from erc_features.threads import let_waiting_threads_sleep
from erc_fusion.config.config import FuseConfig, must_have_splits
from erc_fusion.fuse import open_table, resolve
from erc_fusion.inputs.splits import check_splits

if TYPE_CHECKING:
    from erc_fusion.training.train import Progress

ENOUGH = 0.95  # train accuracy
_WIDEST = 1024


@dataclass(frozen=True)
class Fit:
    """One width, without any regularisation; scores are means over the seeds, 0 to 1.

    Attributes:
        parameters: of one seed.
        train_accuracy, train_loss: of the last epoch.
        dev_accuracy, best_dev_accuracy: of the last epoch, and of the best one.
    """

    width: int
    parameters: int
    epochs: int
    train_accuracy: float
    train_loss: float
    dev_accuracy: float
    best_dev_accuracy: float


@dataclass(frozen=True)
class Overfit:
    """The widths that were tried, smallest first, and whether the last of them fits train."""

    fits: tuple[Fit, ...]
    enough: float

    @property
    def fitted(self) -> bool:
        return self.fits[-1].train_accuracy >= self.enough


def overfit(config: FuseConfig, *, progress: "Callable[[Progress], None] | None" = None) -> Overfit:
    """Train without regularisation, twice as wide each time, until train is fitted.

    Dropout, modality dropout, weight decay, label smoothing, averaging, a contrastive loss and
    early stopping are off. Nothing is written, and test is never touched.

    Raises:
        ErcError: a setting, the feature files, or the splits are not what they must be.
    """
    let_waiting_threads_sleep()
    from erc_fusion.training.fit import fit, make_data

    must_have_splits(config, "erc fuse --overfit")
    config, sources = resolve(config)
    config, table = open_table(config, sources)
    if not table.task.classes:
        raise ErcError(
            f"--overfit needs the accuracy on train, and --target {config.target} has no classes."
        )
    check_splits(table)
    data = make_data(table, config.place.device)
    epochs, width = config.training.epochs, config.model.width
    training = replace(config.training, weight_decay=0.0, average=0.0, patience=epochs)
    loss = replace(config.loss, label_smoothing=0.0, contrastive="none")
    config = replace(config, loss=loss, training=training)
    fits: list[Fit] = []
    while True:
        model = replace(config.model, width=width, dropout=0.0, modality_dropout=0.0)
        trained, weights = fit(replace(config, model=model), data, progress)
        last = [record for record in trained.history if record["epoch"] == epochs]  # none stops

        def mean(split: str, figure: str, of: list[dict[str, Any]] = last) -> float:
            return float(np.mean([record[split][figure] for record in of]))

        fits.append(
            Fit(
                width=width,
                parameters=weights.model.parameters_per_seed,
                epochs=epochs,
                train_accuracy=mean("train", "accuracy"),
                train_loss=mean("train", "loss"),
                dev_accuracy=mean("dev", "accuracy"),
                best_dev_accuracy=float(np.mean(trained.best("accuracy"))),
            )
        )
        if fits[-1].train_accuracy >= ENOUGH or 2 * width > max(_WIDEST, config.model.width):
            return Overfit(tuple(fits), ENOUGH)
        width *= 2
