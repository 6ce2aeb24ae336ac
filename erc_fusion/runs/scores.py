"""The scores that runs have: what they are called, how they are written, and which count.

A run over classes has other scores than one over sets of labels or over numbers; `metrics.json`
says in `task` what a run predicts, and a run of an older erc, which does not say it, has classes.
"""

from collections.abc import Mapping
from typing import Any

NAMES = {
    "accuracy": "accuracy",
    "weighted_f1": "weighted F1",
    "macro_f1": "macro F1",
    "uar": "UAR",
    "micro_f1": "micro F1",
    "samples_f1": "samples F1",
    "map": "mAP",
    "ccc": "CCC",
    "pearson": "Pearson's r",
    "mae": "MAE",
    "rmse": "RMSE",
}
# Written as they are: correlations, and errors in the number's own unit. All others are percent.
_PLAIN = ("ccc", "pearson", "mae", "rmse")
LOWER = ("mae", "rmse")  # is better
_OF_CLASSES = ("accuracy", "weighted_f1", "macro_f1", "uar")


def scores_of(metrics: Mapping[str, Any]) -> tuple[str, ...]:
    """The scores of a run to show, those that runs are compared by first."""
    task = metrics.get("task")
    splits = [found for split in ("dev", "test") if (found := metrics.get(split))]
    # An older erc did not have all of these.
    of_classes = tuple(n for n in _OF_CLASSES if n != "uar" or any(n in own for own in splits))
    if not task:
        return of_classes
    found: tuple[str, ...] = ()
    if task["labels"]:
        found = ("micro_f1", "macro_f1", "map") if task["several"] else of_classes
    if not task["numbers"]:
        return found
    own = ("ccc", "pearson") + (("mae",) if len(task["numbers"]) == 1 else ())
    return (*found[:2], own[0], *found[2:]) if found else own


def paired_of(names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the scores that runs are compared by in pairs."""
    known = ("accuracy", "weighted_f1", "ccc")
    if "micro_f1" in names:
        known = ("micro_f1", "macro_f1", "ccc")
    return tuple(name for name in names if name in known)


def number(name: str, value: float) -> str:
    """A score or a distance as text: "59.4" percent, a CCC of "0.612", an error of "3.54e+08"."""
    if name in LOWER and value and not 5e-4 <= abs(value) < 1e5:  # in any unit
        return f"{value:.3g}"
    return f"{value:.3f}" if name in _PLAIN else f"{100 * value:.1f}"


def unit(name: str) -> str:
    """What an axis of the score says after its name: ", %"; "" for plain ones."""
    return "" if name in _PLAIN else ", %"


def scale(name: str) -> float:
    """By what an axis multiplies the score."""
    return 1.0 if name in _PLAIN else 100.0
