"""Losses of numbers and of sets: against torch or a few lines of numpy; and stacks of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from erc_fusion.config.config import LossConfig, ModelConfig, TrainingConfig
from erc_fusion.inputs.targets import Task
from erc_fusion.model.fusion import Split, build_model
from erc_fusion.model.layers import generator
from erc_fusion.training.losses import make_objective
from erc_fusion.training.parts import Part
from erc_fusion.training.target_losses import bce, ccc, mse
from erc_fusion.training.train import predict, train

NUMBERS = Task("v,a", numbers=("v", "a"))
SETS = Task("e", ("joy", "fear", "anger"), True)
BOTH = Task("label,v", ("no", "yes"), False, ("v",))


def outputs(width: int) -> tuple[Tensor, Tensor]:
    source = generator(0, "target losses")
    found = torch.randn(3, 9, width, generator=source, dtype=torch.float64)
    target = torch.randn(3, 9, width, generator=source, dtype=torch.float64)
    target[torch.rand(3, 9, width, generator=source) < 0.2] = torch.nan
    target[2, :, 0] = torch.nan
    return found.requires_grad_(), target


def test_mse_and_ccc_are_numpys() -> None:
    found, target = (each.detach() for each in outputs(2))
    for s in range(3):
        square, concordance = [], []
        for t in range(2):
            known = ~target[s, :, t].isnan()
            x, y = target[s, known, t].numpy(), found[s, known, t].detach().numpy()
            square.append(((x - y) ** 2).mean() if len(x) else 0.0)
            own = 2 * ((x - x.mean()) * (y - y.mean())).mean() if len(x) else 0.0
            rest = x.var() + y.var() + (x.mean() - y.mean()) ** 2 if len(x) else 1.0
            concordance.append(1 - own / rest)
        assert float(mse(found, target)[s]) == pytest.approx(np.mean(square))
        assert float(ccc(found, target)[s]) == pytest.approx(np.mean(concordance), abs=1e-6)


def test_bce_is_torchs() -> None:
    found, target = (each.detach() for each in outputs(3))
    sets = torch.where(target.isnan(), target, (target > 0).double())
    weight = torch.tensor([1.0, 3.0, 0.5], dtype=torch.float64)
    for s in range(3):
        known = ~sets[s].isnan()
        theirs = torch.nn.functional.binary_cross_entropy_with_logits(
            found[s], sets[s].nan_to_num(), pos_weight=weight, reduction="none"
        )
        assert float(bce(found, sets, weight)[s]) == pytest.approx(float(theirs[known].mean()))


@pytest.mark.parametrize(
    "loss", [mse, ccc, lambda x, y: bce(x, (y > 0).double() + 0 * y, x.new_ones(2))]
)
def test_what_is_not_known_has_no_gradient(loss) -> None:
    found, target = outputs(2)
    loss(found, target).sum().backward()
    assert found.grad is not None and torch.isfinite(found.grad).all()
    assert (found.grad[target.isnan()] == 0).all() and (found.grad[~target.isnan()] != 0).all()


def test_a_constant_batch_is_finite() -> None:
    same = torch.full((2, 5, 1), 3.0, requires_grad=True)
    loss = ccc(same, torch.full((2, 5, 1), 3.0))
    loss.sum().backward()
    assert torch.isfinite(loss).all() and torch.isfinite(same.grad).all()


def rows(task: Task, count: int, seed: int) -> Split:
    """Rows whose four features tell everything, a fifth of them unlabelled."""
    source = generator(seed, "rows of a task")
    x = torch.randn(count, 1, 4, generator=source)
    label = torch.full((count,), -1)
    parts = []
    if task.classes:
        label = (x[:, 0, 0] > 0).long()
        label[::5] = -1
    elif task.several:
        parts.append((x[:, 0, : len(task.labels)] > 0.3).float())
    for t in range(len(task.numbers)):
        parts.append(x[:, 0, t : t + 1] * 0.8 + x[:, 0, 3:] * 0.4)
    target = torch.cat(parts, -1) if parts else None
    if target is not None:
        target[::5] = torch.nan
    dialogue = torch.arange(count) // 6
    return Split({"f": x}, torch.ones(count, 1, dtype=torch.bool), label, dialogue, target=target)


def trained(
    task: Task,
    seeds: tuple[int, ...],
    parts: int = 1,
    context: str = "none",
    epochs: int = 15,
    **loss,
):
    model = build_model(
        ModelConfig(width=16, dropout=0.1, context=context), {"f": (1, 4)}, task.outputs,
        seeds * parts,
    )  # fmt: skip
    config = replace(LossConfig(contrastive="none"), **loss)
    counts = torch.ones(len(task.labels))
    objective = make_objective(config, counts, task, rows=2)
    several = [Part(rows(task, 120 + 18 * p, p), rows(task, 60, 9 + p), objective)
               for p in range(parts)]  # fmt: skip
    monitor = task.monitors[0]
    training = TrainingConfig(epochs=epochs, batch_size=32, lr=1e-2)
    return train(model, seeds, several, training, monitor), several


@pytest.mark.parametrize(
    ("task", "loss"), [(NUMBERS, "ccc"), (NUMBERS, "mse"), (SETS, "bce"), (BOTH, "dice,mse")]
)
def test_what_can_be_learned_is_learned(task, loss) -> None:
    found, _ = trained(task, (0, 1), loss=loss)
    for monitor in task.monitors:
        assert min(found.best(monitor)) > 0.85, monitor
    assert {*found.history[0]["dev"]} == {"loss", *task.monitors}
    assert ("accuracy" in found.history[0]["train"]) == task.classes


@pytest.mark.parametrize(
    ("task", "context"), [(NUMBERS, "gru"), (NUMBERS, "none"), (SETS, "none"), (BOTH, "none")]
)
def test_a_seed_and_a_part_do_not_know_the_others(task, context) -> None:
    """Bit by bit: alone, among other seeds, and beside another part that is larger."""
    torch.set_num_threads(1)
    many, parts = trained(task, (3, 4, 5), parts=2, context=context, epochs=3)
    first = dict(many.model.named_parameters())
    objective = parts[0].objective
    model = build_model(
        ModelConfig(width=16, dropout=0.1, context=context), {"f": (1, 4)}, task.outputs, (4,) * 2
    )
    alone = train(model, (4,), parts, TrainingConfig(epochs=3, batch_size=32, lr=1e-2),
                  task.monitors[0])  # fmt: skip
    for name, value in alone.model.named_parameters():
        assert torch.equal(value[0], first[name][1]) and torch.equal(value[1], first[name][4]), name
    assert objective.task == task
    dev = parts[0].dev
    shown = predict(alone.model, dev, task)
    assert shown.probability.shape[-1] == len(task.labels)
    if task.several:
        assert torch.equal(shown.probability, shown.logits[..., :3].sigmoid())
