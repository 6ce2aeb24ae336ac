"""Losses of what is no class: numbers, and sets of labels. Each is one value per seed, (S,).

A cell of the target that is NaN (unlabelled, or padding) is left out.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def bce(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Binary cross-entropy, each label by itself.

    logits (S, B, K), target (S, B, K) of 0 and 1, weight (K,) or (S, K) of each label's positive
    rows -> (S,), the mean over known cells; 0 for a seed without any.
    """
    known, truth, found = _known(logits, target)
    positive = weight[:, None] if weight.dim() == 2 else weight
    one = torch.nn.functional.binary_cross_entropy_with_logits
    # Seed by seed: torch rounds exponentials differently after a tensor's last whole vector (AVX),
    # so a seed's result would depend on its place in the stack.
    cells = torch.stack([one(x, y, reduction="none") for x, y in zip(found, truth, strict=True)])
    cells = torch.where(truth > 0, cells * positive, cells) * known
    return _sum(cells).sum(-1) / _sum(known).sum(-1).clamp(min=1)


def mse(predicted: Tensor, target: Tensor) -> Tensor:
    """The mean square error: (S, B, T) twice -> (S,), the mean over the T numbers."""
    known, truth, found = _known(predicted, target)
    return (_sum((found - truth).square() * known) / _sum(known).clamp(min=1)).mean(-1)


def ccc(predicted: Tensor, target: Tensor) -> Tensor:
    """1 - concordance correlation coefficient (Lin 1989) over the batch.

    2 cov / (var + var + (mean - mean)²), which is 1 where all are equal; biased moments. (S, B, T)
    twice -> (S,), the mean over the T numbers.
    """
    known, truth, found = _known(predicted, target)
    count = _sum(known).clamp(min=1)[:, None]
    means = [_sum(values * known)[:, None] / count for values in (found, truth)]
    apart = [(values - mean) * known for values, mean in zip((found, truth), means, strict=True)]
    both = _sum(apart[0] * apart[1]) / count[:, 0]
    spread = sum(_sum(each.square()) / count[:, 0] for each in apart)
    between = (means[0] - means[1])[:, 0].square()
    # A batch may be constant: 0 / 0.
    return (1 - 2 * both / (spread + between + 1e-8)).mean(-1)


NUMBERS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"ccc": ccc, "mse": mse}


def _known(predicted: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(known, target, predicted), 0 in cells that are not known: no NaN reaches a gradient."""
    known = ~target.isnan()
    return known.to(predicted.dtype), target.masked_fill(~known, 0), predicted * known


def _sum(values: Tensor) -> Tensor:
    """(S, B, K) -> (S, K). Rows last: then torch sums in the same order for any number of seeds."""
    return values.transpose(1, 2).contiguous().sum(-1)
