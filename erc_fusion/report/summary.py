"""What the figures say, in sentences: as much as they show, and no more."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from erc_fusion.report.comparison import PAIRED, Comparison
from erc_fusion.report.rows import Row, SplitResult
from erc_fusion.report.table import (
    LEVEL,
    NAMES,
    between,
    interval,
    percent,
    probability,
    signed,
    spread,
)

if TYPE_CHECKING:
    from erc_fusion.paired import Paired

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
    """What dev chose, what that gets on test, which steps helped, and how sure that is."""
    best = comparison.best
    if best is None:
        return (*_steps(comparison), _NO_DEV)
    if best.test is None:
        return (_chosen(comparison, best) + ".", *_steps(comparison), _DEV_ONLY)
    paired = (*_steps(comparison), *_over_baseline(comparison, best))
    if paired:
        paired += _higher(comparison, best, best.test)
    return (
        _chosen(comparison, best) + f". {_on_test(best, best.test)}",
        *(paired or _overlap(comparison, best, best.test)),
        _PROTOCOL,
    )


def footnotes(comparison: Comparison) -> tuple[str, ...]:
    """How to read the headline table's differences; none without them."""
    baseline = comparison.baseline
    if baseline is None and comparison.ladder is None:
        return ()
    against = []
    if comparison.ladder:
        against.append("“Δ before” is against the rung before that was run")
    if baseline:
        against.append(f"“Δ baseline” is against {_called(comparison, baseline)}")
    return (
        f"{', '.join(against)}: points of {comparison.split}, mean over seeds, with its 95% "
        "interval.",
        f"* Significant: were the two equally good, a difference this large would be rare (p below "
        f"{LEVEL:g} by a paired permutation test of whole dialogues, adjusted by Holm's method "
        "for the number of comparisons). Without a star it could be chance.",
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
    if best is comparison.final:
        return (
            f"The final model is {_called(comparison, best)}: of all rungs it has the highest dev "
            f"{metric}, {score} ({_seeds(best)})"
        )
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
    if near:
        whose = _and(near) if len(near) <= 3 else f"{len(near)} of the {len(others)} other runs"
        found = (
            f"The test interval of {best.name} overlaps that of {whose}: these figures "
            "alone do not show which is better; a paired test could."
        )
    else:
        found = f"The test interval of {best.name} overlaps that of no other run."
    return (" ".join((found, *_higher(comparison, best, test))),)


def _higher(comparison: Comparison, best: Row, test: SplitResult) -> tuple[str, ...]:
    """That another run is higher on test, where one is: to choose by that would be to cheat."""
    scored = [(each.test.weighted_f1, each) for each in comparison.rows if each.test]
    score, top = max(scored, key=lambda pair: pair[0].mean)
    if score.mean <= test.weighted_f1.mean:
        return ()
    return (
        f"On test {_called(comparison, top)} has the higher weighted F1 ({spread(score)}); "
        "it is not named the best, since runs are chosen on dev.",
    )


def _steps(comparison: Comparison) -> tuple[str, ...]:
    """Which rungs helped, which hurt, and which made a difference that could be chance."""
    metric = _metric(comparison)
    helped, hurt, chance = [], [], []
    for row in comparison.rows:
        pairs = comparison.paired.get(row.name)
        if pairs is None or pairs.before is None or pairs.before_holm is None:
            continue
        test, p = pairs.before[metric], pairs.before_holm[metric]
        group = chance if p >= LEVEL else helped if test.difference > 0 else hurt
        group.append(f"{_called(comparison, row)} ({_tested(test, p)})")
    score = f"{comparison.split} {NAMES[metric]}"
    found = []
    if helped:
        found.append(
            f"Significantly better than the rung before, by {score} after Holm's correction: "
            f"{'; '.join(helped)}."
        )
    elif hurt or chance:
        found.append(f"No rung is significantly better than the one before, by {score}.")
    if hurt:
        found.append(f"Significantly worse than the rung before: {'; '.join(hurt)}.")
    if chance:
        found.append(f"Could be chance: {'; '.join(chance)}.")
    return tuple(found)


def _over_baseline(comparison: Comparison, best: Row) -> tuple[str, ...]:
    base, pairs = comparison.baseline, comparison.paired.get(best.name)
    if base is None or pairs is None or pairs.baseline is None or pairs.baseline_holm is None:
        return ()
    said = [_against(metric, pairs.baseline, pairs.baseline_holm) for metric in PAIRED]
    return (
        f"{_called(comparison, best)} against {_called(comparison, base)} on "
        f"{comparison.split}: {'; '.join(said)}.",
    )


def _against(metric: str, tests: "Mapping[str, Paired]", adjusted: Mapping[str, float]) -> str:
    p = adjusted[metric]
    verdict = "significant" if p < LEVEL else "it could be chance"
    return f"{NAMES[metric]} {_tested(tests[metric], p)}, {verdict}"


def _tested(test: "Paired", p: float) -> str:
    """ "+1.2 points, [0.3, 2.1], p 0.012"."""
    shown = probability(p)
    return (
        f"{signed(test.difference)} points {between(test.low, test.high)}, "
        f"p {shown if shown.startswith('<') else f'= {shown}'}"
    )


def _metric(comparison: Comparison) -> str:
    """What steps are judged by: what runs are chosen by, where it is tested in pairs."""
    return comparison.monitor if comparison.monitor in PAIRED else PAIRED[0]


def _called(comparison: Comparison, row: Row) -> str:
    """A rung by its title, another run by its name."""
    rungs = comparison.ladder.rungs if comparison.ladder else ()
    return next((rung.title for rung in rungs if rung.run == row.name), row.name)


def _seeds(row: Row) -> str:
    return "one seed" if len(row.seeds) == 1 else f"mean ± deviation over {len(row.seeds)} seeds"


def _and(names: tuple[str, ...] | list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else list(names))
