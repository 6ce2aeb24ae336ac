"""What the figures say, in sentences: as much as they show, and no more."""

import math

from erc_fusion.report.comparison import Comparison
from erc_fusion.report.rows import Row, SplitResult
from erc_fusion.report.table import NAMES, interval, percent, signed, spread

_NO_DEV = (
    "The dev split has no labelled rows, so nothing here was chosen on dev; "
    "no run is named the best."
)
_DEV_ONLY = (
    "The test split has no labelled rows, so only dev is shown. Epochs were chosen on the same "
    "rows, so these figures flatter."
)
_PROTOCOL = (
    "Epochs were chosen on dev; test was scored once for each run, after that. "
    "An interval is the 95% bootstrap interval of the mean over seeds, by whole dialogues."
)


def sentences(comparison: Comparison) -> tuple[str, ...]:
    """What dev chose, what that gets on test, over what, and how sure it is."""
    best = comparison.best
    if best is None:
        return (_NO_DEV,)
    if best.test is None:
        return (_chosen(comparison, best) + ".", _DEV_ONLY)
    return (
        _chosen(comparison, best) + f". {_on_test(best, best.test)}",
        *_overlap(comparison, best, best.test),
        _PROTOCOL,
    )


def warnings(row: Row, split: str) -> tuple[str, ...]:
    """What a reader of this run must know."""
    result = row.split(split)
    found = []
    if result is None:
        return ()
    if result.collapsed:
        found.append(
            f"No seed ever predicts {_and(result.collapsed)} on {split}: "
            f"{'this class has' if len(result.collapsed) == 1 else 'these classes have'} collapsed."
        )
    floor = result.majority
    if math.isclose(result.accuracy.mean, floor.accuracy):
        found.append(f"The {split} accuracy is the majority baseline's: nothing was learned.")
    elif result.weighted_f1.low <= floor.weighted_f1:
        found.append(
            f"The interval of {split} weighted F1 reaches down to the majority baseline "
            f"({percent(floor.weighted_f1)})."
        )
    if len(row.seeds) == 1:
        found.append("One seed only: how far the result depends on it is not known.")
    return tuple(found)


def _chosen(comparison: Comparison, best: Row) -> str:
    metric = NAMES[comparison.monitor]
    assert best.dev is not None
    score = spread(best.dev.stat(comparison.monitor))
    if len(comparison.rows) == 1:
        return f"The only run here, {best.name}, has a dev {metric} of {score} ({_seeds(best)})"
    return (
        f"Of {len(comparison.rows)} runs, {best.name} has the highest dev {metric}: "
        f"{score} ({_seeds(best)})"
    )


def _on_test(best: Row, test: SplitResult) -> str:
    over = test.weighted_f1.mean - test.majority.weighted_f1
    return (
        f"On test it reaches an accuracy of {spread(test.accuracy)} and a weighted F1 of "
        f"{spread(test.weighted_f1)} {interval(test.weighted_f1)}, {_over(over)} always predicting "
        f"{test.majority.label} ({percent(test.majority.weighted_f1)})."
    )


def _over(difference: float) -> str:
    if signed(difference) == "0.0":
        return "the same as"
    points = percent(abs(difference))
    return f"{points} points {'above' if difference > 0 else 'below'}"


def _overlap(comparison: Comparison, best: Row, test: SplitResult) -> tuple[str, ...]:
    """Whether the choice is clear of the others on test, by the intervals alone."""
    others = [row for row in comparison.rows if row is not best and row.test]
    if not others:
        return ()
    near = [
        row.name for row in others if row.test and row.test.weighted_f1.overlaps(test.weighted_f1)
    ]
    top = max(others, key=lambda row: row.test.weighted_f1.mean if row.test else 0.0)
    if near:
        whose = _and(near) if len(near) <= 3 else f"{len(near)} of the {len(others)} other runs"
        found = (
            f"The test interval of {best.name} overlaps that of {whose}: these figures "
            "alone do not show which is better; a paired test could."
        )
    else:
        found = f"The test interval of {best.name} overlaps that of no other run."
    if top.test and top.test.weighted_f1.mean > test.weighted_f1.mean:
        found += (
            f" On test {top.name} has the higher weighted F1 ({spread(top.test.weighted_f1)}); "
            "it is not named the best, since runs are chosen on dev."
        )
    return (found,)


def _seeds(row: Row) -> str:
    return "one seed" if len(row.seeds) == 1 else f"mean ± deviation over {len(row.seeds)} seeds"


def _and(names: tuple[str, ...] | list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else list(names))
