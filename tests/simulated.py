"""Corpora drawn from a known population: dialogues of differing lengths, rows alike within them."""

from dataclasses import dataclass

import numpy as np

SHARES = np.array([0.12, 0.03, 0.02, 0.17, 0.48, 0.07, 0.11])  # MELD's, nearly


@dataclass(frozen=True)
class Drawn:
    """n rows: dialogue, truth (n,); first, second (S, n), what the seeds of two runs predict.

    Both runs predict with the same skill: whatever differs between them is chance.
    """

    dialogue: np.ndarray
    truth: np.ndarray
    first: np.ndarray
    second: np.ndarray


def draw(source: np.random.Generator, dialogues: int, seeds: tuple[int, int]) -> Drawn:
    """Dialogues of 1 to 18 rows (mean 9.5, as MELD's), each with a mood and a difficulty.

    A row has a difficulty of its own that all seeds of both runs share; a dialogue has one for
    each run too, so the runs differ by dialogues, and their seeds little.
    """
    lengths = source.integers(1, 19, dialogues)
    dialogue = np.repeat(np.arange(dialogues), lengths)
    n = len(dialogue)
    mood = source.standard_gamma(6 * SHARES, (dialogues, len(SHARES))) + 1e-9
    truth = _choose(source, mood[dialogue])
    shared = 0.7 * source.normal(size=dialogues)[dialogue] + source.normal(size=n)
    rarity = np.log(SHARES / SHARES.max())[truth] / 3  # rare classes are found less often
    predicted = []
    for count in seeds:
        own = 0.5 * source.normal(size=dialogues)[dialogue]
        ease = 0.6 + shared + rarity + own + 0.5 * source.normal(size=(count, n))
        guess = source.choice(len(SHARES), (count, n), p=SHARES)
        predicted.append(np.where(ease > 0, truth, guess))
    return Drawn(dialogue, truth, *predicted)


def _choose(source: np.random.Generator, weight: np.ndarray) -> np.ndarray:
    """One class a row, in proportion to weight (n, C)."""
    edges = weight.cumsum(-1)
    return (source.random(len(weight))[:, None] * edges[:, -1:] > edges).sum(-1)
