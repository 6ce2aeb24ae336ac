"""Layers with a seed dimension against torch's own, one seed at a time."""

import pytest
import torch
from torch import Tensor, nn

from erc_fusion.model.layers import (
    Attention,
    Dropout,
    LayerMix,
    LayerNorm,
    Linear,
    Projection,
    Readout,
    Stack,
    generator,
)

SEEDS = (3, 0, 11)


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=generator(0, "test"))


def test_a_seeds_weights_do_not_depend_on_the_others() -> None:
    together = Linear(Stack(SEEDS), 5, 4)
    alone = Linear(Stack((11,)), 5, 4)
    assert torch.equal(together.weight[2:], alone.weight)
    assert not torch.equal(together.weight[0], together.weight[1])
    assert together.weight.abs().max() <= 5**-0.5


def test_linear_is_torchs_for_each_seed() -> None:
    layer = Linear(Stack(SEEDS), 5, 4)
    x = noise(3, 2, 6, 5)
    for seed in range(3):
        expected = x[seed] @ layer.weight[seed] + layer.bias[seed]
        torch.testing.assert_close(layer(x)[seed], expected)


def test_layer_norm_is_torchs_for_each_seed() -> None:
    layer = LayerNorm(Stack(SEEDS), 5)
    with torch.no_grad():
        layer.weight.copy_(noise(3, 5))
        layer.bias.copy_(noise(3, 5) + 1)
    x = noise(3, 6, 2, 5)
    for s in range(3):
        expected = nn.functional.layer_norm(x[s], (5,), layer.weight[s], layer.bias[s])
        torch.testing.assert_close(layer(x)[s], expected)


def test_dropout_is_each_seeds_own_and_keeps_the_mean() -> None:
    x = torch.ones(3, 400, 50)
    together = Dropout(Stack(SEEDS), 0.3)(x)
    alone = Dropout(Stack((0,)), 0.3)(x[:1])
    assert torch.equal(together[1:2], alone)
    assert not torch.equal(together[0], together[1])
    assert together.unique().tolist() == pytest.approx([0, 1 / 0.7])
    assert together.mean().item() == pytest.approx(1, abs=0.02)
    layer = Dropout(Stack(SEEDS), 0.3).eval()
    assert torch.equal(layer(x), x)


def test_padding_does_not_shift_a_seeds_dropout() -> None:
    stack = Stack(SEEDS)
    stack.noise.counts = [4, 2, 3]
    layer = Dropout(stack, 0.5)
    first, second = layer(torch.ones(3, 4, 6)), layer(torch.ones(3, 4, 6))
    alone = Dropout(Stack((11,)), 0.5)
    assert torch.equal(first[2:, :3], alone(torch.ones(1, 3, 6)))
    assert torch.equal(second[2:, :3], alone(torch.ones(1, 3, 6)))


def test_layer_mix_starts_as_the_mean_and_weighs_layers() -> None:
    mix = LayerMix(Stack(SEEDS), 4)
    x = noise(3, 6, 4, 5)
    torch.testing.assert_close(mix(x), x.mean(2))
    assert mix.weight is not None
    with torch.no_grad():
        mix.weight[1, 2] = 50.0
    torch.testing.assert_close(mix(x)[1], x[1, :, 2])
    torch.testing.assert_close(LayerMix(Stack(SEEDS), 1)(x[:, :, :1]), x[:, :, 0])


def test_a_projection_is_zero_where_absent() -> None:
    present = torch.tensor([True, False]).expand(3, 2)
    out = Projection(Stack(SEEDS), 2, 5, 4)(noise(3, 2, 2, 5), present)
    assert out[:, 0].abs().min() > 0 and torch.all(out[:, 1] == 0)


def test_attention_is_torchs_for_each_seed() -> None:
    layer = Attention(Stack(SEEDS), 8, 2)
    x = noise(3, 6, 4, 8)
    mask = torch.rand(3, 6, 4, generator=generator(1, "test")) < 0.6
    mask[:, :, 0] = True
    parts = (layer.query, layer.key, layer.value)
    for s in range(3):
        theirs = nn.MultiheadAttention(8, 2, batch_first=True)
        with torch.no_grad():
            theirs.in_proj_weight.copy_(torch.cat([part.weight[s].T for part in parts]))
            biases = [torch.zeros(8) if p.bias is None else p.bias[s, 0] for p in parts]
            theirs.in_proj_bias.copy_(torch.cat(biases))
            theirs.out_proj.weight.copy_(layer.out.weight[s].T)
            theirs.out_proj.bias.copy_(layer.out.bias[s, 0])
        expected, _ = theirs(x[s], x[s], x[s], key_padding_mask=~mask[s])
        seen = mask[s]  # the others see themselves too
        torch.testing.assert_close(layer(x, mask)[s][seen], expected[seen])


def test_a_readout_is_attention_by_a_query_of_its_own() -> None:
    layer = Readout(Stack(SEEDS), 8, 2)
    tokens = noise(3, 6, 4, 8)
    mask = torch.rand(3, 6, 4, generator=generator(1, "test")) < 0.6
    mask[:, 0], mask[:, 1:, 0] = False, True
    found, shares = layer(tokens, mask), layer.shares(tokens, mask)
    for s in range(3):
        for head in range(2):
            columns = slice(4 * head, 4 * head + 4)
            query, value = layer.query.weight[s, :, head], layer.value.weight[s, :, columns]
            for row in range(1, 6):
                seen = tokens[s, row, mask[s, row]].double()
                expected = torch.softmax(seen @ query.double(), 0)
                own = shares[s, row, mask[s, row], head].double()
                torch.testing.assert_close(own, expected, atol=1e-6, rtol=0)
                read = (expected @ (seen @ value.double())).float()
                torch.testing.assert_close(found[s, row, columns], read)
    assert torch.all(found[:, 0] == 0) and torch.all(shares[~mask] == 0)


def test_concatenated_layers_have_a_projection_each():
    present = torch.tensor([[True, False]]).expand(3, 2)
    x = noise(3, 2, 4, 5)
    made = Projection(Stack(SEEDS), 4, 5, 6, concatenated=True)
    assert made.linear.weight.shape == (3, 20, 6) and made.shares() is None
    of_each = made.linear.weight.unflatten(1, (4, 5))  # (S, L, D, E)
    wanted = torch.einsum("sbld,slde->sbe", x, of_each) + made.linear.bias
    torch.testing.assert_close(made(x, present), wanted * present[..., None])
