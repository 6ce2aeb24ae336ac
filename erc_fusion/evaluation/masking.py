"""How much is lost where modalities are missing: scores with some rows' modalities hidden."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from erc_features.errors import ErcError, choose
from erc_fusion.evaluation.score import Predicted, point_scores
from erc_fusion.inputs.table import FeatureTable
from erc_fusion.runs.scored import Masked, MaskedScore


def parse_pairs(items: Sequence[str], option: str, example: str) -> dict[str, str]:
    """`a=b,c=d` items of a command line.

    >>> parse_pairs(["happy=joy,sad=sadness"], "--map", "happy=joy")
    {'happy': 'joy', 'sad': 'sadness'}

    Raises:
        ErcError: an item has no `=`, or a name occurs twice.
    """
    found: dict[str, str] = {}
    for item in (part.strip() for text in items for part in text.split(",")):
        name, equals, value = (part.strip() for part in item.partition("="))
        if not (name and equals and value):
            raise ErcError(f"{option} {item}: say it as {example}.")
        if name in found:
            raise ErcError(f"{option}: {name} is there twice.")
        found[name] = value
    return found


def parse_masks(items: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """`audio=0.3` or `audio=0:0.1:0.5` as shares.

    >>> parse_masks(["audio=0:0.25:1", "text=0.1"])
    {'audio': (0.0, 0.25, 1.0), 'text': (0.1,)}

    Raises:
        ErcError: it is no modality with shares between 0 and 1.
    """
    found = {}
    for name, text in parse_pairs(items, "--mask", "audio=0.3, or audio=0:0.25:0.5:1").items():
        try:
            shares = tuple(float(part) for part in text.split(":"))
        except ValueError:
            shares = (-1.0,)
        if not all(0 <= share <= 1 for share in shares):
            raise ErcError(f"--mask {name}={text}: shares are numbers from 0 to 1: audio=0.3.")
        found[name] = shares
    return found


def masked_scores(
    table: FeatureTable, rows: np.ndarray, mask: Mapping[str, Sequence[float]], repeats: int,
    seed: int, predict: Callable[[FeatureTable], Predicted],
) -> tuple[Masked, ...]:  # fmt: skip
    """The scores with modalities hidden from a share of the rows that have them, at random.

    Args:
        rows: those to score.
        mask: modality -> shares, a step after the other; a single one holds for all steps.
        repeats: how often, with other rows each time.
        predict: the predictions of `rows` in such a table.

    Raises:
        ErcError: no such modality, or lists of several lengths.
    """
    modalities = np.array([source.modality for source in table.sources])
    for name in mask:
        choose("modality of the run", name, sorted({*modalities.tolist()}))
    if repeats < 1:
        raise ErcError(f"--repeats {repeats}: at least one is needed.")
    steps = max(map(len, mask.values()))
    if wrong := [name for name, shares in mask.items() if len(shares) not in (1, steps)]:
        raise ErcError(f"--mask: {wrong[0]} has {len(mask[wrong[0]])} shares and another {steps}.")
    found = []
    for step in range(steps):
        shares = {name: own[step if len(own) > 1 else 0] for name, own in mask.items()}
        times = repeats if any(0 < share < 1 for share in shares.values()) else 1
        scores: dict[str, list[float]] = {}
        for time in range(times):
            hidden = _hide(table, rows, shares, modalities, np.random.default_rng((seed, time)))
            for name, values in point_scores(hidden, rows, predict(hidden)).items():
                scores.setdefault(name, []).append(float(values.mean()))
        found.append(
            Masked(shares, {name: _over_repeats(values) for name, values in scores.items()})
        )
    return tuple(found)


def _hide(
    table: FeatureTable, rows: np.ndarray, shares: Mapping[str, float], modalities: np.ndarray,
    random: np.random.Generator,
) -> FeatureTable:  # fmt: skip
    """The table without a modality in a share of those rows that have it: all its files at once."""
    present = table.present.copy()
    for name in sorted(shares):
        files = np.flatnonzero(modalities == name)
        having = rows[present[np.ix_(rows, files)].any(-1)]
        # The first of one order, so that who loses a little also loses it when many do.
        order = random.permutation(having)
        present[np.ix_(order[: round(shares[name] * len(having))], files)] = False
    return replace(table, present=present)


def _over_repeats(values: Sequence[float]) -> MaskedScore:
    low, high = np.quantile(values, [0.025, 0.975])
    std = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return MaskedScore(float(np.mean(values)), std, float(low), float(high))
