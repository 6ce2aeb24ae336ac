"""From a table to trained weights: losses, batches, the optimiser, the Trainer, checkpoints.

Test may never enter this room: it stops and selects on dev.
"""

__all__ = [
    "checkpoint",
    "fit",
    "learned_weights",
    "losses",
    "optimize",
    "tensorboard",
    "train",
]
