"""The GRU of many seeds: torch's own for each seed, and gradients, and every seed by itself."""

import pytest
import torch
from torch import Tensor, nn

from erc_fusion.model.layers import Stack
from erc_fusion.model.recurrence import FEWEST, GRU, plan

# Seeds in which dialogues have other lengths, one with fewer, in no order; 12 rows.
LENGTHS = ((4, 1, 5), (2, 3), (1, 1, 1, 7))
ROWS = 12


def places(lengths=LENGTHS, longest: int = 9) -> Tensor:
    """Dialogues whose utterances do not lie in order in the batch."""
    out = torch.full((len(lengths), max(map(len, lengths)), longest), -1)
    for s, of_seed in enumerate(lengths):
        rows = torch.randperm(ROWS, generator=torch.Generator().manual_seed(s)).tolist()
        for g, length in enumerate(of_seed):
            out[s, g, :length] = torch.tensor([rows.pop() for _ in range(length)])
    return out


def make(inputs: int, hidden: int, both: bool, seeds=(3, 1, 4)) -> GRU:
    return GRU(Stack(seeds), inputs, hidden, bidirectional=both)


@pytest.mark.parametrize(("inputs", "hidden"), [(5, 3), (16, 16), (32, 7), (3, 48)])
@pytest.mark.parametrize("both", [True, False])
def test_gru_is_torchs_for_each_seed_and_so_are_its_gradients(both, inputs, hidden):
    layer, place = make(inputs, hidden, both), places()
    source = torch.Generator().manual_seed(0)
    x = torch.randn(3, ROWS, inputs, generator=source).requires_grad_()
    out = layer(x, place)
    assert out.shape == (3, ROWS, layer.outputs)
    towards = torch.randn(out.shape, generator=source)
    out.backward(towards)
    assert x.grad is not None
    for s, lengths in enumerate(LENGTHS):
        theirs = nn.GRU(inputs, hidden, batch_first=True, bidirectional=both).double()
        with torch.no_grad():
            for mine, weight in zip(layer.weights, theirs.parameters(), strict=True):
                weight.copy_(mine[s])
        own = x.detach()[s].double().requires_grad_()
        seen = torch.zeros(ROWS, dtype=torch.bool)
        loss = torch.zeros((), dtype=torch.float64)
        for g, length in enumerate(lengths):
            rows = place[s, g, :length]
            seen[rows] = True
            expected, _ = theirs(own[rows][None])
            torch.testing.assert_close(out[s, rows].double(), expected[0], atol=1e-6, rtol=1e-5)
            loss = loss + (expected[0] * towards[s, rows]).sum()
        assert torch.all(out[s, ~seen] == 0)
        loss.backward()
        assert own.grad is not None
        torch.testing.assert_close(x.grad[s].double(), own.grad, atol=1e-5, rtol=1e-4)
        for mine, weight in zip(layer.weights, theirs.parameters(), strict=True):
            assert mine.grad is not None and weight.grad is not None
            torch.testing.assert_close(mine.grad[s].double(), weight.grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("both", [True, False])
def test_a_seed_has_the_bits_it_has_alone_whatever_the_others_dialogues(both):
    place = places()
    x = torch.randn(3, ROWS, 48, generator=torch.Generator().manual_seed(1)).requires_grad_()
    layer = make(48, 24, both)
    out = layer(x, place)
    out.square().sum().backward()
    assert x.grad is not None
    for s, seed in enumerate((3, 1, 4)):
        alone = make(48, 24, both, (seed,))
        own = x.detach()[s : s + 1].clone().requires_grad_()
        found = alone(own, place[s : s + 1])
        assert torch.equal(found[0], out[s])
        found.square().sum().backward()
        assert own.grad is not None and torch.equal(own.grad[0], x.grad[s])
        for mine, theirs in zip(alone.weights, layer.weights, strict=True):
            assert mine.grad is not None and theirs.grad is not None
            assert torch.equal(mine.grad[0], theirs.grad[s])


def test_a_dialogue_alone_has_the_bits_it_has_among_others():
    layer = make(32, 16, True, (1,))
    x = torch.randn(1, 400, 32, generator=torch.Generator().manual_seed(2))
    lengths = [1 + 7 * g % 11 for g in range(60)]
    place = torch.full((1, 60, 11), -1)
    begins = 0
    for g, length in enumerate(lengths):
        place[0, g, :length] = torch.arange(begins, begins + length)
        begins += length
    with torch.no_grad():
        whole = layer(x, place)
        for g in range(60):
            rows = place[0, g, : lengths[g]]
            own = torch.nn.functional.pad(x[:, rows], (0, 0, 0, 20))  # as predictions are
            alone = layer(own, torch.arange(len(rows))[None, None])
            assert torch.equal(alone[:, : len(rows)], whole[:, rows])


def test_a_plan_computes_no_step_of_ended_sequences():
    lengths = ((1,) * 20 + (30,), (2,) * 10)
    place = torch.full((2, 21, 30), -1)
    for s, of_seed in enumerate(lengths):
        begins = 0
        for g, length in enumerate(of_seed):
            place[s, g, :length] = torch.arange(begins, begins + length)
            begins += length
    found = plan(place, 64, bidirectional=True)
    assert found.active == (21, 10, *[FEWEST] * 28)
    used = found.row[found.row < 4 * 64]
    assert len(used) == 2 * (50 + 20) == len(used.unique())  # every row once for each direction
    assert torch.equal(found.row[found.cell[used]], used)


def test_a_batch_without_a_dialogue_of_one_seed():
    place = torch.tensor([[[0, 1, 2]], [[-1, -1, -1]]])
    out = make(5, 3, True, (1, 2))(torch.ones(2, 3, 5), place)
    assert out[0].abs().min() > 0 and torch.all(out[1] == 0)
