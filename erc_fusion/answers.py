"""What a run says of each utterance: the answers of `erc predict` and of `erc serve`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from erc_features.errors import choose
from erc_features.utterance import Utterance
from erc_features.whole_file import whole_file
from erc_fusion.evaluation.score import Predicted
from erc_fusion.inputs.targets import Task, set_names


@dataclass(frozen=True)
class Answer:
    """The emotion of one utterance.

    Attributes:
        emotion: the most probable one, by the mean over the run's seeds; of a run that predicts
            sets of labels, those that reach their threshold (joy|surprise); "" if it has no labels.
        probability: that mean, for each label.
        agreement: share of the seeds that choose the same emotion by themselves.
        numbers: of a run that predicts numbers, the mean over its seeds of each.
        deviation: their sample deviation over the seeds, 0 for one.
        without: stem -> why that embedding is missing; the head did without it.
    """

    key: str
    dialogue: int
    sequence: int
    speaker: str
    text: str
    emotion: str
    probability: Mapping[str, float]
    agreement: float
    without: Mapping[str, str]
    numbers: Mapping[str, float] = field(default_factory=dict)
    deviation: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Answers:
    """The answers in the order of the utterances, and `probability` (S, N, C) by seed.

    `unchecked`: stem -> why it was not checked whether its encoder still gives the same numbers.
    """

    rows: tuple[Answer, ...]
    labels: tuple[str, ...]
    probability: np.ndarray
    unchecked: Mapping[str, str]


def write_answers(answers: Answers, path: Path) -> None:
    """Write a `.csv` or `.jsonl`; raises ErcError for other endings, or if it can't be written."""
    import pandas as pd

    choose("ending", path.suffix, (".csv", ".jsonl"))
    with whole_file(path, "choose another file with --to") as part:
        if path.suffix == ".jsonl":
            part.write_text("".join(f"{line}\n" for line in json_lines(answers)), encoding="utf-8")
            return
        rows: list[dict[str, Any]] = [asdict(answer) for answer in answers.rows]
        for row in rows:
            row |= {f"p_{label}": p for label, p in row.pop("probability").items()}
            numbers, apart = row.pop("numbers"), row.pop("deviation")
            row |= numbers | {f"{name}_deviation": value for name, value in apart.items()}
            row["without"] = "; ".join(f"{stem}: {why}" for stem, why in row["without"].items())
        pd.DataFrame(rows).to_csv(part, index=False)


def json_lines(answers: Answers) -> list[str]:
    """One JSON object for each utterance."""
    return [json.dumps(asdict(answer), ensure_ascii=False) for answer in answers.rows]


def in_order(found: Predicted, order: Sequence[int]) -> Predicted:
    """The predictions of those rows, in that order."""
    values = None if found.values is None else found.values[:, order]
    limits = None if found.threshold is None else found.threshold[:, order]
    return Predicted(found.probability[:, order], None, found.pca[:, order], values, limits)


def answers_of(
    utterances: Sequence[Utterance],
    labels: Sequence[str],
    task: Task,
    found: Predicted,
    without: Mapping[str, Mapping[str, str]],
) -> tuple[Answer, ...]:
    """What the seeds say together of each utterance.

    Args:
        found: the predictions, in the order of the utterances.
        without: key -> stem -> why that embedding is missing.
    """
    mean = found.probability.mean(0)  # (N, C)
    chosen, agreement = _choices(found, task)
    values = np.zeros((1, len(utterances), 0)) if found.values is None else found.values
    return tuple(
        Answer(
            u.key, u.dialogue, u.sequence, u.speaker, u.x_text, chosen[n],
            dict(zip(labels, mean[n].tolist(), strict=True)), float(agreement[n]),
            without.get(u.key, {}),
            *(
                dict(zip(task.numbers, each.tolist(), strict=True))
                for each in (values[:, n].mean(0), _deviation(values[:, n]))
            ),
        )
        for n, u in enumerate(utterances)
    )  # fmt: skip


def _choices(found: Predicted, task: Task) -> tuple[list[str], np.ndarray]:
    """(the labels of each row, the share of seeds that choose the same)."""
    probability = found.probability  # (S, N, C)
    mean = probability.mean(0)
    if not task.labels:
        return [""] * len(mean), np.ones(len(mean))
    if found.threshold is None:
        best = mean.argmax(-1)
        return [task.labels[b] for b in best], (probability.argmax(-1) == best).mean(0)
    together = mean >= found.threshold.mean(0)
    same = ((probability >= found.threshold) == together).all(-1).mean(0)
    return set_names(task.labels, together).tolist(), same


def _deviation(values: np.ndarray) -> np.ndarray:
    return values.std(0, ddof=1) if len(values) > 1 else np.zeros(values.shape[1:])
