"""What the scores say, in sentences: as much as they show, and no more."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from erc_fusion.report.comparison import Comparison
from erc_fusion.report.results import Row, SplitResult
from erc_fusion.report.table import (
    LEVEL,
    between,
    interval,
    percent,
    probability,
    signed,
    spread,
)
from erc_fusion.runs.scores import NAMES, number, paired_of, unit

if TYPE_CHECKING:
    from erc_fusion.evaluation.paired_test import Paired

_NO_DEV = (
    "The dev split has no labelled rows, so nothing here was chosen on dev; "
    "no run is named the best."
)
_DEV_ONLY = (
    "The test split has no labelled rows, so only dev is shown. Epochs, settings and the final "
    "model were chosen on the same rows, so these figures flatter."
)
_CHOSEN = "Epochs, settings and the final model were chosen on dev, so dev figures flatter; "
_ONCE = "test was scored once for each run, after that"
_HELD_OUT = (
    "with folds, test is all rows of the corpus, each predicted once by models that saw nothing of "
    "its unit"
)
_INTERVAL = "An interval is the 95% bootstrap interval of the mean over seeds, by "

_NO_PAIR = " Runs over folds and runs over splits are no pairs: their rows are others."


def _protocol(comparison: Comparison) -> str:
    kinds = {bool(row.folds) for row in comparison.rows}
    once = "; ".join(said for kind, said in ((False, _ONCE), (True, _HELD_OUT)) if kind in kinds)
    units = {row.resampled for row in comparison.rows}
    by = {"dialogue": "whole dialogues", "speaker": "speakers"}
    if len(units) == 1:
        return f"{_CHOSEN}{once}. {_INTERVAL}{by[units.pop()]}."
    of = [row.name for row in comparison.rows if row.resampled == "speaker"]
    return f"{_CHOSEN}{once}. {_INTERVAL}whole dialogues, and by speakers of {_and(of)}."


def folded(comparison: Comparison) -> str:
    """Which runs are over folds of what: "ses (--folds session)"; "" where none is."""
    return _and([f"{row.name} (--folds {row.rule})" for row in comparison.rows if row.folds])


def _mixed(comparison: Comparison) -> str:
    """What cannot be said of runs over folds beside runs over splits."""
    folds = [row.name for row in comparison.rows if row.folds]
    splits = [row.name for row in comparison.rows if not row.folds]
    return (
        f"Not all runs are scored on the same rows: {_and(folds)} over folds, {_and(splits)} over "
        "the corpus's splits. Their scores can't be compared, and no run is named the best; "
        f"`erc report {' '.join(folds)}` reports the former alone."
    )


def sentences(comparison: Comparison) -> tuple[str, ...]:
    """What dev chose, how that does on test, which steps helped, and how certain that is."""
    best, differ = comparison.best, _versions(comparison)
    if comparison.mixed:
        differ = (_mixed(comparison), *differ)
    if best is None and comparison.mixed:
        return (*differ, _protocol(comparison))
    if best is None:
        return (*_steps(comparison), *differ, _NO_DEV)
    if best.test is None:
        return (_chosen(comparison, best) + ".", *_steps(comparison), *differ, _DEV_ONLY)
    paired = (*_steps(comparison), *_over_baseline(comparison, best))
    if paired:
        paired += _higher(comparison, best, best.test)
    return (
        _chosen(comparison, best) + f". {_on_test(comparison, best, best.test)}",
        *(paired or _overlap(comparison, best, best.test)),
        *differ,
        _protocol(comparison),
    )


def footnotes(comparison: Comparison) -> tuple[str, ...]:
    """How to read the headline table's differences; none without them."""
    baseline = comparison.baseline
    if baseline is None and comparison.ladder is None:
        return ()
    against = []
    if comparison.ladder:
        against.append("“Δ before” is against the last rung before that was run")
    if baseline:
        against.append(f"“Δ baseline” is against {_called(comparison, baseline)}")
    count = len(comparison.couples())
    speakers = any(row.resampled == "speaker" for row in comparison.rows)
    units = "whole dialogues" + " (of speakers, where one of the two holds those out)" * speakers
    family = (
        "the one pair of runs compared here"
        if count == 1
        else (f"the {count} pairs of runs compared here, each once")
    )
    return (
        f"{', '.join(against)}: points of {comparison.split}, mean over seeds, with its 95% "
        f"interval.{_NO_PAIR if comparison.mixed else ''}",
        f"* Significant: were the two equally good, a difference this large would be rare (p below "
        f"{LEVEL:g} by a paired permutation test of {units}, adjusted by Holm's method "
        f"over one family for each metric: {family}). Without a star it could be chance. "
        "Intervals are not adjusted: one may exclude 0 where there is no star.",
        "A star is about these trained models, on other dialogues of this kind; other seeds are "
        f"not covered.{_of_seeds(comparison)}",
    )


def _of_seeds(comparison: Comparison) -> str:
    """What to know about the compared runs' seeds; "" where all have the same, and several."""
    names = {name for couple in comparison.couples() for name in couple}
    rows = [row for row in comparison.rows if row.name in names]
    found = ""
    if single := [_called(comparison, row) for row in rows if len(row.seeds) == 1]:
        found += f" One seed only, so a star may be that seed's luck: {_and(single)}."
    if len({frozenset(row.seeds) for row in rows}) > 1:
        found += " The runs have different seeds, which may be part of a difference."
    return found


def warnings(row: Row, split: str) -> tuple[str, ...]:
    """What a reader must know about this run."""
    result = row.split(split)
    found = list(row.warnings)
    if result is None:
        return tuple(found)
    if result.collapsed:
        found.append(
            f"No seed ever predicts {_and(result.collapsed)} on {split}: "
            f"{'this class has' if len(result.collapsed) == 1 else 'these classes have'} collapsed."
        )
    found += _near_nothing(row, result, split)
    if len(row.seeds) == 1:
        found.append("One seed only: how far the result depends on it is not known.")
    return tuple(found)


def _near_nothing(row: Row, result: SplitResult, split: str) -> list[str]:
    """Scores that predicting the same for every row would reach."""
    found, floor = [], result.majority
    if result.ccc and result.ccc.low <= 0:
        found.append(f"The interval of {split} CCC reaches down to 0, which a constant has.")
    if floor is None:
        return found
    counts = zip(row.labels, map(sum, zip(*result.confusion, strict=True)), strict=True)
    if not any(count for label, count in counts if label != floor.label):
        found.append(f"Every prediction on {split} is {floor.label}: nothing was learned.")
    else:
        for metric in paired_of(row.scores):
            if not hasattr(floor, metric) or result.known(metric) is None:
                continue
            stat, least = result.stat(metric), getattr(floor, metric)
            if stat.mean < least:
                what = f"{split} {NAMES[metric]} is below"
            else:
                what = f"interval of {split} {NAMES[metric]} reaches down to"
            if stat.low <= least:
                found.append(f"The {what} the majority baseline ({percent(least)}).")
    return found


def _versions(comparison: Comparison) -> tuple[str, ...]:
    """That runs were made by several versions of erc or torch, where they were."""
    made = [row.run.inputs.get("versions") or {} for row in comparison.rows]
    found = {name: sorted({str(each[name]) for each in made if name in each})
             for name in ("erc", "torch")}  # fmt: skip
    differ = [f"{name} {_and(several)}" for name, several in found.items() if len(several) > 1]
    if not differ:
        return ()
    return (f"The runs were made by {'; '.join(differ)}: part of a difference may be theirs.",)


def _chosen(comparison: Comparison, best: Row) -> str:
    metric, called = NAMES[comparison.monitor], _called(comparison, best)
    assert best.dev is not None
    over = "one seed" if len(best.seeds) == 1 else f"mean over {len(best.seeds)} seeds"
    metric_score = best.dev.stat(comparison.monitor).mean
    score = f"{number(comparison.monitor, metric_score)} ({over})"
    if best is comparison.final:
        return f"The final model is {called}: of all rungs it has the highest dev {metric}, {score}"
    if len(comparison.rows) == 1:
        found = f"The only run here, {called}, has a dev {metric} of {score}"
    else:
        found = f"Of {len(comparison.rows)} runs, {called} has the highest dev {metric}: {score}"
    ladder = comparison.ladder
    final = next((r for r in ladder.rungs if r.name == ladder.final), None) if ladder else None
    if final is None:
        return found
    return f"The final model, {final.title}, is not finished. Until it is: {found}"


def _on_test(comparison: Comparison, row: Row, test: SplitResult) -> str:
    where = f"Over all rows (--folds {row.rule})" if row.folds else "On test"
    if test.accuracy is None or test.majority is None:
        lead = comparison.lead
        stat = test.stat(lead)
        return (
            f"{where} its {NAMES[lead]} is {number(lead, stat.mean)}, 95% interval "
            f"{interval(stat, lead)}."
        )
    over = test.accuracy.mean - test.majority.accuracy
    than = f"{percent(abs(over))} points {'above' if over > 0 else 'below'}"
    return (
        f"{where} its accuracy is {percent(test.accuracy.mean)}, 95% interval "
        f"{interval(test.accuracy)}, {'the same as' if signed(over) == '0.0' else than} always "
        f"predicting {test.majority.label} ({percent(test.majority.accuracy)})."
    )


def _overlap(comparison: Comparison, best: Row, test: SplitResult) -> tuple[str, ...]:
    """Whether the intervals alone separate the choice from the others on test."""
    others = {row.name: row.test for row in comparison.rows if row is not best and row.test}
    if not others:
        return ()
    own, lead = test.stat(comparison.lead), comparison.lead
    near = [n for n, o in others.items()
            if o.stat(lead).low <= own.high and own.low <= o.stat(lead).high]  # fmt: skip
    whose = _and(near) if len(near) <= 3 else f"{len(near)} of the {len(others)} other runs"
    found = f"The test interval of {best.name} overlaps that of {whose or 'no other run'}"
    found += (
        ": these scores alone do not show which is better; a paired test could." if near else "."
    )
    return (" ".join((found, *_higher(comparison, best, test))),)


def _higher(comparison: Comparison, best: Row, test: SplitResult) -> tuple[str, ...]:
    """A note where another run is higher on test: to choose by that would be cheating."""
    lead = comparison.lead
    scored = [(each.test.stat(lead), each) for each in comparison.rows if each.test]
    score, top = max(scored, key=lambda pair: pair[0].mean)
    own = test.stat(lead).mean
    if score.mean <= own or number(lead, score.mean) == number(lead, own):
        return ()
    return (
        f"On test {_called(comparison, top)} has the higher {NAMES[lead]} ({spread(score, lead)}); "
        "it is not named the best, since runs are chosen on dev.",
    )


def _steps(comparison: Comparison) -> tuple[str, ...]:
    """Which rungs helped, which hurt, and which made a difference that could be chance."""
    by = comparison.paired_by
    metric = comparison.monitor if comparison.monitor in by else by[0]
    helped, hurt, chance = [], [], []
    for rung in comparison.ladder.rungs if comparison.ladder else ():
        pair = comparison.before(rung)
        if pair is None:
            continue
        test, p = pair.tests[metric], pair.holm[metric]
        group = chance if p >= LEVEL else helped if test.difference > 0 else hurt
        group.append(f"{rung.title} ({_tested(test, p)})")
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
    base, pair = comparison.baseline, comparison.against_baseline(best)
    if base is None or pair is None:
        return ()
    said = []
    for metric, p in pair.holm.items():
        verdict = "significant" if p < LEVEL else "it could be chance"
        said.append(f"{NAMES[metric]} {_tested(pair.tests[metric], p)}, {verdict}")
    return (
        f"{_called(comparison, best)} against {_called(comparison, base)} on "
        f"{comparison.split}: {'; '.join(said)}.",
    )


def _tested(test: "Paired", p: float) -> str:
    """ "+1.2 points, [0.3, 2.1], p 0.012"."""
    shown = probability(p)
    name = test.metric
    points = " points" if unit(name) else ""
    return (
        f"{signed(test.difference, name)}{points} {between(test.low, test.high, name)}, "
        f"p {shown if shown.startswith('<') else f'= {shown}'}"
    )


def _called(comparison: Comparison, row: Row) -> str:
    """A rung by its title, another run by its name."""
    rungs = comparison.ladder.rungs if comparison.ladder else ()
    return next((rung.title for rung in rungs if rung.run == row.name), row.name)


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else list(names))
