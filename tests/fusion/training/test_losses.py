"""Every loss against torch's own or a few lines of float64 numpy, and its gradient."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from erc_features.errors import ErcError
from erc_fusion.config.config import LossConfig
from erc_fusion.model.layers import generator
from erc_fusion.training.losses import (
    LOSSES,
    batch_hard_triplet,
    cross_entropy,
    dice,
    focal,
    make_objective,
    supervised_contrast,
)

CONFIG = LossConfig(margin=0.3, temperature=0.2, contrastive="triplet")
SMOOTH = replace(CONFIG, label_smoothing=0.2)
WEIGHT = torch.tensor([0.5, 2.0, 1.0, 0.1], dtype=torch.float64)
EVEN = torch.ones(4, dtype=torch.float64)


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
    for s in range(3):
        theirs = torch.nn.functional.cross_entropy
        expected = theirs(logits[s], target[s], WEIGHT, ignore_index=-1)
        torch.testing.assert_close(cross_entropy(logits, target, WEIGHT, CONFIG)[s], expected)
        expected = theirs(logits[s], target[s], ignore_index=-1, label_smoothing=0.2)
        torch.testing.assert_close(cross_entropy(logits, target, EVEN, SMOOTH)[s], expected)


def softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.7, 2.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_focal_by_hand(gamma: float, smoothing: float) -> None:
    logits, target = inputs(4)
    expected = []
    for x, y in zip(logits.numpy(), target.numpy(), strict=True):
        p = softmax(x[y >= 0])
        q = (1 - smoothing) * np.eye(4)[y[y >= 0]] + smoothing / 4
        rows = -(q * (1 - p) ** gamma * np.log(p)).sum(1)
        expected.append(np.average(rows, weights=WEIGHT.numpy()[y[y >= 0]]))
    found = focal(logits, target, WEIGHT, LossConfig(gamma=gamma, label_smoothing=smoothing))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)


@pytest.mark.soak  # torchvision takes five seconds to import
def test_focal_of_two_classes_is_torchvisions() -> None:
    """A sigmoid of z is a softmax of (0, z); alpha weighs class 1, and 1 - alpha class 0."""
    from torchvision.ops import sigmoid_focal_loss

    logits, target = inputs(2, classes=2)
    logits[..., 0] = 0
    weight = torch.tensor([0.7, 0.3], dtype=torch.float64)
    known = target >= 0
    for gamma in (0.0, 1.3, 2.0):
        truth = target.clamp(min=0).double()
        theirs = sigmoid_focal_loss(logits[..., 1], truth, alpha=0.3, gamma=gamma) * known
        expected = theirs.sum(1) / (weight[target.clamp(min=0)] * known).sum(1)
        found = focal(logits, target, weight, LossConfig(gamma=gamma))
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("config", [CONFIG, SMOOTH])
def test_focal_at_gamma_0_is_cross_entropy(config: LossConfig) -> None:
    logits, target = inputs(4)
    x = logits.float().requires_grad_()
    values = [
        loss(x, target, WEIGHT.float(), replace(config, gamma=0.0))
        for loss in (focal, cross_entropy)
    ]
    assert torch.equal(*values)
    slopes = [torch.autograd.grad(value.sum(), x)[0] for value in values]
    torch.testing.assert_close(*slopes)


@pytest.mark.parametrize("gamma", [0.1, 0.5, 2.0])
def test_focal_of_certain_rows_has_a_finite_slope(gamma: float) -> None:
    x = torch.tensor([[[200.0, 0.0, 0.0], [0.0, 200.0, 0.0]]], requires_grad=True)
    target = torch.tensor([[0, 0]])  # as right and as wrong as can be
    focal(x, target, torch.ones(3), LossConfig(gamma=gamma)).sum().backward()
    assert x.grad is not None and torch.isfinite(x.grad).all()
    assert x.grad[0, 0].abs().max() < 1e-6 and x.grad[0, 1, 0] < -0.4


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_dice_by_hand(smoothing: float) -> None:
    logits, target = inputs(4)
    target[1] = torch.tensor([0, 3, 0, 3, -1, 0, 0, -1, 3])  # classes 1 and 2 are absent
    expected = []
    for x, y in zip(logits.numpy(), target.numpy(), strict=True):
        p, y = softmax(x[y >= 0]), y[y >= 0]
        w, losses = WEIGHT.numpy()[y], []
        for c in np.unique(y):
            g = (1 - smoothing) * (y == c) + smoothing / 4
            above, below = 2 * (w * p[:, c] * g).sum(), (w * (p[:, c] ** 2 + g**2)).sum()
            losses.append(1 - above / below)
        expected.append(np.mean(losses))
    found = dice(logits, target, WEIGHT, LossConfig(label_smoothing=smoothing))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)
    # A class whose weight is 0 does not occur.
    bare = dice(logits[:1], target[:1], WEIGHT * (torch.arange(4) != 1), CONFIG)
    without = dice(logits[:1], target[:1].masked_fill(target[:1] == 1, -1), WEIGHT, CONFIG)
    torch.testing.assert_close(bare, without)


def test_dice_runs_from_0_to_1() -> None:
    target = torch.tensor([[0, 0, 1, 2, -1]])
    sure = 100 * torch.nn.functional.one_hot(target.clamp(min=0), 3).double()
    even = torch.ones(3, dtype=torch.float64)
    assert dice(sure, target, even, CONFIG).item() == pytest.approx(0, abs=1e-9)
    assert dice(sure.roll(1, -1), target, even, CONFIG).item() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("loss", LOSSES)
def test_unlabelled_rows_and_other_seeds_take_no_part(loss: str) -> None:
    logits, target = inputs(4)
    config = replace(SMOOTH, gamma=1.7)
    found = LOSSES[loss](logits, target, WEIGHT, config)
    wild = torch.where((target < 0)[..., None], 1e3 * logits, logits)
    assert torch.equal(LOSSES[loss](wild, target, WEIGHT, config), found)
    for s in range(3):
        known = target[s] >= 0
        alone = LOSSES[loss](logits[s : s + 1, known], target[s : s + 1, known], WEIGHT, config)
        torch.testing.assert_close(alone[0], found[s])
    nothing = LOSSES[loss](logits, torch.full_like(target, -1), WEIGHT, config)
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


@pytest.mark.parametrize("loss", [*LOSSES, "triplet", "supcon"])
def test_gradients(loss: str) -> None:
    x, target = inputs(4, classes=3)
    target[2] = -1  # a seed without labelled rows still has a gradient, of zero
    config = replace(CONFIG, label_smoothing=0.1, gamma=1.7)

    def value(x: Tensor) -> Tensor:
        if loss in LOSSES:
            return LOSSES[loss](x, target, WEIGHT, config)
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
    root = make_objective(LossConfig(class_weights="sqrt", contrastive="none"), counts).weight
    torch.testing.assert_close(root, even.weight.sqrt())
    with pytest.raises(ErcError, match="Unknown contrastive loss 'n-pair'; choose from none"):
        make_objective(LossConfig(contrastive="n-pair"), counts)
