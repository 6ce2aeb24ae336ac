"""Feature files become one table, joined by key: which files, which rows, standardised how.

No corpus, no media and no encoder may enter; what train's rows do not say is not used to scale.
"""

__all__ = [
    "dataset",
    "folds",
    "label_map",
    "sources",
    "splits",
    "standardise",
    "streaming",
    "table",
    "targets",
]
