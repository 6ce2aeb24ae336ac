"""Plots of one run: learning curves, confusion, classes, and how far its confidence holds."""

import math
from collections.abc import Sequence
from typing import Any

from erc_fusion.report import svg
from erc_fusion.report.results import Row, SplitResult
from erc_fusion.report.svg import DASHED, WIDTH, short
from erc_fusion.runs.scores import NAMES, scale, unit


def curves(row: Row, history: Sequence[dict[str, Any]], metric: str, name: str) -> str:
    """Loss or a score (`metric`) of train and dev by epoch; most scores are of dev only.

    Thin lines are seeds, thick ones their mean as long as all of them train; a dot marks the
    epoch that was kept.
    """
    from matplotlib.ticker import MaxNLocator

    with svg.style():
        drawn = svg.figure(WIDTH, 210)
        axes = drawn.add_subplot()
        for split, colour, dash in (("train", svg.TRAIN, (0, (4, 1.5))), ("dev", svg.DEV, "-")):
            lines = _lines(history, row.seeds, split, metric)
            if not any(lines):
                continue
            for line, kept in zip(lines, row.best_epoch, strict=False):
                axes.plot(range(1, len(line) + 1), line, color=colour, alpha=0.5, linewidth=0.8)
                if split == "dev" and 0 < kept <= len(line):
                    axes.plot(kept, line[kept - 1], "o", color=colour, markersize=3.2)
            mean = [sum(values) / len(values) for values in zip(*lines, strict=False)]
            thick = {"color": colour, "linewidth": 2.0, "linestyle": dash, "label": split}
            axes.plot(range(1, len(mean) + 1), mean, **thick)
        axes.set(
            xlabel="epoch",
            ylabel=NAMES.get(metric, metric) + (unit(metric) if metric in NAMES else ""),
        )
        axes.grid(axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        if axes.get_legend_handles_labels()[0]:
            axes.legend(
                loc="lower right",
                bbox_to_anchor=(1, 0.98),
                ncols=2,
                labelcolor=svg.INK,
                borderpad=0,
            )
        each = "each seed and fold" if row.folds else "each seed"
        said = f"{metric} of train and dev by epoch for {each} of {row.name}"
        return svg.to_svg(drawn, name, said)


def confusion(row: Row, result: SplitResult, split: str, name: str) -> str:
    """Truth by prediction: mean counts over seeds, shaded by their share of the true class."""
    from matplotlib.patches import Rectangle

    size = len(row.labels)
    side = max(WIDTH, 90 + 34 * size)  # counts of four digits fit a cell of 34 points
    with svg.style():
        drawn = svg.figure(side, side)
        axes = drawn.add_subplot()
        for i, counts in enumerate(result.confusion):
            total = sum(counts)
            for j, count in enumerate(counts):
                share = count / total if total else 0.0
                if share > 0:
                    patch = Rectangle((j, i), 1, 1, facecolor=svg.ACCENT, alpha=round(share, 2))
                    axes.add_patch(patch)
                colour = svg.ON_ACCENT if share > 0.6 else svg.INK if share > 0.02 else svg.SOFT
                text = axes.text(j + 0.5, i + 0.5, f"{count:.0f}", color=colour, fontsize=9.5)
                text.set(ha="center", va="center_baseline", weight="bold" if i == j else "normal")
        names = [short(label, 12) for label in row.labels]
        middles = [i + 0.5 for i in range(size)]
        axes.set(xlim=(0, size), ylim=(size, 0), xlabel="predicted", ylabel="truth", aspect="equal")
        axes.set_xticks(middles, names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(middles, names)
        axes.spines[:].set_visible(False)
        for i in range(size + 1):
            axes.axhline(i, color=svg.RULE, linewidth=0.6)
        said = f"confusion matrix of {row.name} on {split}; the table of classes has its recall"
        return svg.to_svg(drawn, name, said)


def classes(row: Row, result: SplitResult, split: str, name: str) -> str:
    """F1 of each class with its deviation over seeds, and the class's support."""
    scores = result.per_class
    with svg.style():
        drawn = svg.figure(WIDTH, max(60 + 30 * len(scores), 120))
        axes = drawn.add_subplot()
        for i, score in enumerate(scores):
            f1, std = 100 * score.f1, 100 * score.f1_std
            axes.plot([0, f1], [i, i], color=svg.RULE, linewidth=1.2)
            axes.plot([f1 - std, f1 + std], [i, i], color=svg.ACCENT, linewidth=2.4, alpha=0.45)
            axes.plot(f1, i, "o", color=svg.ACCENT, markersize=6)
            svg.note(axes, f"{f1:.1f}", (f1, i), (0, 7), ha="center")
        names = [f"{short(score.label, 14)} ({score.support:,})" for score in scores]
        top = max((100 * (score.f1 + score.f1_std) for score in scores), default=0.0)
        xlim = (-2, min(100.0, 20 * math.ceil(max(top, 1) / 20)) + 4)
        svg.name_rows(axes, names, f"{split} F1, %", (len(scores) - 0.5, -0.8), xlim=xlim)
        return svg.to_svg(drawn, name, f"F1 of each class of {row.name} on {split}")


def _lines(
    history: Sequence[dict[str, Any]], seeds: Sequence[int], split: str, metric: str
) -> list[list[float]]:
    """Each seed's values by epoch, as they are drawn; what the history lacks is NaN.

    With folds, those of each seed of each fold, in the order of the run's best epochs.
    """
    times = scale(metric) if metric in NAMES else 1
    lines: dict[tuple[int, int], list[float]] = {(0, seed): [] for seed in seeds}
    for entry in sorted(history, key=lambda entry: entry["epoch"]):
        value = (entry.get(split) or {}).get(metric)
        member = entry.get("fold", 0), entry["seed"]
        lines.setdefault(member, []).append(math.nan if value is None else times * value)
    known = [line for line in lines.values() if line]
    return known if any(math.isfinite(value) for line in known for value in line) else []


def reliability(row: Row, result: SplitResult, split: str, name: str) -> str:
    """Accuracy by confidence in 15 bins, and how many rows each bin has; "" without bins.

    On the diagonal a confidence is as good as it says (Guo et al. 2017); a stem is the gap.
    """
    bins = [b for b in result.reliability if b.confidence is not None and b.accuracy is not None]
    total = sum(b.rows for b in bins)
    if not total:
        return ""
    with svg.style():
        drawn = svg.figure(WIDTH, 300)
        upper, lower = drawn.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        upper.plot([0, 100], [0, 100], **DASHED)
        for b in bins:
            sure, right = 100 * (b.confidence or 0), 100 * (b.accuracy or 0)
            upper.plot([sure, sure], [sure, right], color=svg.ACCENT, linewidth=2.4, alpha=0.35)
            size = 3 + 7 * math.sqrt(b.rows / total)  # its area is the share of rows
            upper.plot(sure, right, "o", color=svg.ACCENT, markersize=round(size, 1))
            bar = {"width": 92 * (b.high - b.low), "color": svg.ACCENT, "alpha": 0.5}
            lower.bar(50 * (b.low + b.high), 100 * b.rows / total, **bar)
        upper.set(xlim=(0, 102), ylim=(-3, 103), ylabel=f"{split} accuracy, %")
        lower.set(xlabel="confidence, %", ylabel="rows, %")
        upper.grid()
        lower.grid(axis="y")
        lower.locator_params(axis="y", nbins=2)
        upper.spines["bottom"].set_visible(False)
        drawn.align_ylabels()
        said = f"accuracy of {row.name} on {split} by confidence; the diagonal is calibrated"
        return svg.to_svg(drawn, name, said)
