"""Every loss against torch's own or a few lines of float64 numpy, and its gradient."""

import numpy as np
import pytest
import torch
from torch import Tensor

from erc_features.errors import ErcError
from erc_fusion.config import LossConfig
from erc_fusion.losses import (
    batch_hard_triplet,
    cross_entropy,
    make_objective,
    supervised_contrast,
)
from erc_fusion.stacked import generator

CONFIG = LossConfig(margin=0.3, temperature=0.2, contrastive="triplet")


def inputs(width: int, classes: int = 4) -> tuple[Tensor, Tensor]:
    source = generator(0, "losses")
    x = torch.randn(3, 9, width, generator=source, dtype=torch.float64)
    target = torch.randint(-1, classes, (3, 9), generator=source)
    return x, target


def unit_inputs() -> tuple[Tensor, Tensor]:
    x, target = inputs(5, classes=3)
    target[2] = torch.tensor([0, 1, 2, -1, -1, -1, -1, -1, -1])  # no anchor has a positive
    return torch.nn.functional.normalize(x, dim=-1), target


def test_cross_entropy_is_torchs() -> None:
    logits, target = inputs(4)
    weight = torch.tensor([0.5, 2.0, 1.0, 0.1], dtype=torch.float64)
    even = torch.ones(4, dtype=torch.float64)
    for s in range(3):
        theirs = torch.nn.functional.cross_entropy
        expected = theirs(logits[s], target[s], weight, ignore_index=-1)
        torch.testing.assert_close(cross_entropy(logits, target, weight, 0.0)[s], expected)
        expected = theirs(logits[s], target[s], ignore_index=-1, label_smoothing=0.2)
        torch.testing.assert_close(cross_entropy(logits, target, even, 0.2)[s], expected)
    nothing = cross_entropy(logits, torch.full_like(target, -1), weight, 0.0)
    assert nothing.tolist() == [0, 0, 0]


def test_batch_hard_triplet_by_hand() -> None:
    unit, target = unit_inputs()
    expected = []
    for x, y in zip(unit.numpy(), target.numpy(), strict=True):
        losses = []
        for a in range(len(y)):
            gaps = np.linalg.norm(x - x[a], axis=1)
            same = [gaps[j] for j in range(len(y)) if j != a and y[j] == y[a] >= 0]
            other = [gaps[j] for j in range(len(y)) if y[j] >= 0 and y[j] != y[a] >= 0]
            if same and other:
                losses.append(max(0.0, CONFIG.margin + max(same) - min(other)))
        expected.append(np.mean(losses) if losses else 0.0)
    assert expected[0] > 0 and expected[2] == 0
    found = batch_hard_triplet(unit, target, CONFIG)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)


def test_supervised_contrast_by_hand() -> None:
    unit, target = unit_inputs()
    expected = []
    for x, y in zip(unit.numpy(), target.numpy(), strict=True):
        losses = []
        for i in range(len(y)):
            rest = [a for a in range(len(y)) if a != i and y[a] >= 0]
            positives = [p for p in rest if y[p] == y[i]]
            if y[i] >= 0 and positives:
                whole = np.log(sum(np.exp(x[i] @ x[a] / CONFIG.temperature) for a in rest))
                logs = [x[i] @ x[p] / CONFIG.temperature - whole for p in positives]
                losses.append(-np.mean(logs))
        expected.append(np.mean(losses) if losses else 0.0)
    found = supervised_contrast(unit, target, CONFIG)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)


@pytest.mark.parametrize("loss", ["cross-entropy", "triplet", "supcon"])
def test_gradients(loss: str) -> None:
    x, target = inputs(4, classes=3)
    target[2] = -1  # a seed without labelled rows still has a gradient, of zero
    weight = torch.tensor([0.5, 2.0, 1.0, 0.1], dtype=torch.float64)

    def value(x: Tensor) -> Tensor:
        if loss == "cross-entropy":
            return cross_entropy(x, target, weight, 0.1)
        unit = torch.nn.functional.normalize(x, dim=-1)
        function = batch_hard_triplet if loss == "triplet" else supervised_contrast
        return function(unit, target, CONFIG)

    x.requires_grad_()
    assert torch.autograd.gradcheck(value, (x,))
    value(x).sum().backward()
    assert x.grad is not None and torch.all(x.grad[2] == 0) and x.grad[0].abs().sum() > 0


def test_identical_embeddings_have_finite_gradients() -> None:
    x = torch.ones(1, 4, 3, requires_grad=True)
    unit = torch.nn.functional.normalize(x, dim=-1)
    batch_hard_triplet(unit, torch.tensor([[0, 0, 1, 1]]), CONFIG).sum().backward()
    assert x.grad is not None and torch.isfinite(x.grad).all()


def test_the_triplet_objective_separates_classes_by_itself() -> None:
    source = generator(1, "losses")
    x = torch.nn.Parameter(torch.randn(1, 30, 4, generator=source))
    target = torch.arange(30)[None] % 3
    optimizer = torch.optim.Adam([x], lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        unit = torch.nn.functional.normalize(x, dim=-1)
        batch_hard_triplet(unit, target, CONFIG).sum().backward()
        optimizer.step()
    unit = torch.nn.functional.normalize(x.detach(), dim=-1)[0]
    cosine = unit @ unit.T
    same = target[0][:, None] == target[0]
    assert cosine[same].min() > cosine[~same].max()


def test_class_weights() -> None:
    counts = torch.tensor([60, 30, 10, 0])
    plain = make_objective(CONFIG, counts)
    assert plain.weight.tolist() == [1, 1, 1, 1]
    # Batches with every class equally often, weighted so, are the corpus's distribution again.
    torch.testing.assert_close(plain.balanced, torch.tensor([0.6, 0.3, 0.1, 0.0]) * 3)
    even = make_objective(LossConfig(class_weights="balanced", contrastive="triplet"), counts)
    torch.testing.assert_close(even.weight, torch.tensor([1 / 2.4, 1 / 1.2, 2.5, 0.0]))
    assert even.balanced[:3].unique().numel() == 1
    with pytest.raises(ErcError, match="Unknown contrastive loss 'n-pair'; choose from none"):
        make_objective(LossConfig(contrastive="n-pair"), counts)
