"""A score over seeds with its interval, as `metrics.json` has it."""

from typing import Any

import numpy as np

from erc_fusion.evaluation.bootstrap import interval


def figure(seeds: np.ndarray, low: float, high: float) -> dict[str, Any]:
    """seeds (S,) and the interval of their mean."""
    return {
        "mean": float(seeds.mean()),
        "std": deviation(seeds),
        "low": float(low),
        "high": float(high),
        "seeds": [float(value) for value in seeds],
    }


def figure_of(
    seeds: np.ndarray, resampled: np.ndarray, jackknife: np.ndarray, unit: float = 1.0
) -> dict[str, Any]:
    """seeds (S,), and the mean over seeds in each resample (R,), NaN where it has no score, and
    without each dialogue (D,); `unit` as :func:`interval` has it."""
    kept = jackknife[~np.isnan(jackknife)]
    return figure(seeds, *interval(float(seeds.mean()), resampled, kept, unit))


def deviation(values: np.ndarray) -> float:
    """The sample deviation; 0 for one seed."""
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0
