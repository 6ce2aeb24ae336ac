"""What verbs of fusion print: the scores of a run, the answers of a prediction."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from erc_features.terminal import show, table
from erc_fusion.predict import Answer


def show_answers(answers: Sequence["Answer"]) -> None:
    """What `erc predict` prints: a line for each utterance, and what it did without."""
    rows = []
    for answer in answers:
        ranked = sorted(answer.probability.items(), key=lambda item: -item[1])[:3]
        said = " ".join(answer.text.split())
        rows.append(
            [
                f"{answer.dialogue}/{answer.sequence}",
                answer.speaker,
                said if len(said) <= 48 else said[:47] + "…",
                answer.emotion,
                ", ".join(f"{label} {p:.2f}" for label, p in ranked),
                f"{answer.agreement:.0%}",
            ]
        )
    table(("utterance", "speaker", "text", "emotion", "probability", "seeds agree"), rows)
    for answer in answers:
        show(*(f"{answer.key} without {stem}: {why}" for stem, why in answer.without.items()))


def show_run(path: Path, metrics: Mapping[str, Any], *, already: bool) -> None:
    """The summary of `erc fuse`: its scores, what the user should know, and where it is."""
    rows = []
    for split in ("dev", "test"):
        found = metrics[split]
        if found is None:
            show(f"{split} has no labelled rows: no scores.")
            continue
        scores = [found[name] for name in ("accuracy", "weighted_f1", "macro_f1")]
        rows.append(
            [
                split,
                found["labelled"],
                *(f"{100 * s['mean']:.1f} ± {100 * s['std']:.1f}" for s in scores),
                f"{100 * found['majority']['weighted_f1']:.1f}",
            ]
        )
    seeds = len(metrics["seeds"])
    show(f"{metrics['head']} on {', '.join(metrics['files'])}; percent over {seeds} seeds:")
    table(("split", "rows", "accuracy", "weighted F1", "macro F1", "majority's wF1"), rows)
    show(*(f"Warning: {warning}" for warning in metrics["warnings"]))
    if already:
        show(f"{path}: already run; --overwrite runs it again.")
    else:
        show(f"{path}: done in {metrics['seconds']['total']:.1f} s.")
