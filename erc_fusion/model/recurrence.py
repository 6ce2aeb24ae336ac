"""A GRU over the dialogues of many seeds at once.

torch's own recurrence on the CPU is a graph of a dozen small operations a step, direction and
seed, which the backward pass walks one by one. Here a step is one product over all seeds and
directions, in place, and five passes over its results. The gradient is written out: what does not
depend on the step before is computed for all steps at once, so that a step backwards is one product
and three passes, and the weights' gradients are one product each for all steps.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from erc_fusion.model.layers import ALIGNED, Stack, padded

# Sequences to a step at least. MKL multiplies fewer than four rows in another way, and so rounds
# them otherwise; how many there are at a step depends on which other seeds are in the stack.
FEWEST = 8


@dataclass(frozen=True)
class Plan:
    """Which row is at which step of which sequence, for all directions and seeds.

    A *cell* is one step of one sequence of one member; members are the K = directions · S pairs,
    the first direction's seeds first. Cells are ordered by step, member, and then sequence, from
    the longest to the shortest; a step has as many sequences of each member as any member has.

    Attributes:
        active: sequences at each step.
        row: (cells,) int64, row of (K · B) in the cell; K · B where it is empty.
        cell: (K · B,) int64, cell of the row; the number of cells where it is in no sequence.
        before: (K · B,) int64, cell of the row's predecessor; the number of cells at the first.
    """

    active: tuple[int, ...]
    row: Tensor
    cell: Tensor
    before: Tensor

    @property
    def starts(self) -> list[int]:
        """The first sequence of each step, of one member, and their number."""
        return [0, *accumulate(self.active)]


def plan(place: Tensor, rows: int, *, bidirectional: bool) -> Plan:
    """The plan of sequences `place` (S, G, T): which of `rows` B is where, -1 for none.

    A seed's sequences are without gaps from the first step on.
    """
    device, seeds = place.device, len(place)
    lengths = (place >= 0).sum(-1)
    lengths, order = lengths.sort(dim=1, descending=True, stable=True)
    longest = max(1, int(lengths.max()))
    place = place.take_along_dim(order[..., None], 1)[..., :longest]  # (S, G, T)
    missing = max(0, FEWEST - place.shape[1])
    place = F.pad(place, (0, 0, 0, missing), value=-1)
    lengths = F.pad(lengths, (0, missing))
    step = torch.arange(longest, device=device)
    counts = (lengths[..., None] > step).sum(1).amax(0).clamp(min=FEWEST)  # (T,)
    ways = [place]
    if bidirectional:
        back = (lengths[..., None] - 1 - step).clamp(min=0)
        there = place.take_along_dim(back, 2)
        ways.append(there.masked_fill(step >= lengths[..., None], -1))
    members = len(ways) * seeds
    at = torch.cat(ways).permute(2, 0, 1)  # (T, K, G)
    sequence = torch.arange(at.shape[2], device=device)
    used = (sequence < counts[:, None])[:, None].expand(at.shape)
    begins = members * (counts.cumsum(0) - counts)
    member = torch.arange(members, device=device)[:, None]
    cells = begins[:, None, None] + member * counts[:, None, None] + sequence
    before = torch.cat([torch.full_like(cells[:1], -1), cells[:-1]])
    row = torch.where(at < 0, members * rows, at + member * rows)[used]
    empty = len(row)
    cell = torch.full((members * rows + 1,), empty, device=device)
    cell[row] = torch.arange(empty, device=device)
    previous = torch.full_like(cell, empty)
    before = before[used]
    previous[row] = torch.where(before < 0, empty, before)
    return Plan(tuple(counts.tolist()), row, cell[:-1], previous[:-1])


class GRU(nn.Module):
    """A gated recurrent unit (Cho et al. 2014) over each seed's sequences, bidirectional or not.

    Rows (S, B, E) in sequences `place` (S, G, T), which of B is where, -1 past the end ->
    (S, B, outputs), zero for rows in no sequence. The mathematics and the initial weights are those
    of `torch.nn.GRU`.

    Attributes:
        outputs: hidden units of all directions.
    """

    def __init__(
        self, stack: Stack, inputs: int, hidden: int, *, bidirectional: bool = True
    ) -> None:
        super().__init__()
        bound, directions = 1 / math.sqrt(hidden), 1 + bidirectional
        shapes = ((3 * hidden, inputs), (3 * hidden, hidden), (3 * hidden,), (3 * hidden,))
        self.weights = nn.ParameterList(
            stack.uniform(bound, *shape) for shape in shapes * directions
        )
        self.hidden, self.bidirectional = hidden, bidirectional
        self.outputs = directions * hidden

    def forward(self, x: Tensor, place: Tensor) -> Tensor:
        seeds, rows, inputs = x.shape
        more, wider = -inputs % ALIGNED, -self.hidden % ALIGNED
        weights = [self._aligned(weight, more, wider) for weight in self.weights]
        found = plan(place, rows, bidirectional=self.bidirectional)
        # In full precision: a state is rounded at every step.
        with torch.autocast(x.device.type, enabled=False):
            states = _Recurrence.apply(padded(x.float(), more), found, *weights)
        states = states.view(-1, seeds, rows, self.hidden + wider)[..., : self.hidden]
        return torch.cat(states.unbind(0), dim=-1)

    def _aligned(self, weight: Tensor, more: int, wider: int) -> Tensor:
        """(S, 3H, E or H) or (S, 3H), of units and inputs that are whole lines.

        A unit whose weights are all zero is half open, has the candidate 0, and stays 0.
        """
        if not (more or wider):
            return weight
        parts = weight.unflatten(1, (3, self.hidden))
        if weight.dim() == 2:
            return padded(parts, wider).flatten(1, 2)
        return padded(parts, wider if weight.shape[2] == self.hidden else more, wider).flatten(1, 2)


class _Recurrence(torch.autograd.Function):
    """x (S, B, E), a plan, and for each direction weights (S, 3H, E), (S, 3H, H) and biases (S, 3H)
    twice, the gates in torch's order: reset, update, candidate -> states (K · B, H)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, steps: Plan, *weights: Tensor) -> Tensor:
        seeds = len(x)
        into, within, first, second = (weights[kind::4] for kind in range(4))
        hidden = within[0].shape[2]
        members, gated = seeds * len(into), 2 * hidden
        # The state's biases of the two gates are only ever added to the data's.
        biases = [
            one[:, :gated] + other[:, :gated] for one, other in zip(first, second, strict=True)
        ]
        gates = _products(x, [w[:, :gated] for w in into], biases)
        gates = gates.index_select(0, steps.row)  # (cells, 2H)
        candidate = _products(x, [w[:, gated:] for w in into], [bias[:, gated:] for bias in first])
        candidate = candidate.index_select(0, steps.row)  # (cells, H)
        own = torch.cat([bias[:, None, gated:] for bias in second])  # (K, 1, H)
        # Turned once: MKL multiplies few rows by it a quarter faster than by the weights as stored.
        open_by = torch.cat([w[:, :gated].transpose(1, 2) for w in within])  # (K, H, 2H)
        new_by = torch.cat([w[:, gated:].transpose(1, 2) for w in within])
        inner = torch.empty_like(candidate)
        states = _with_zeros(candidate)
        before = x.new_zeros(members, steps.active[0], hidden)
        for gate, new, product, state in _by_step(steps, members, gates, candidate, inner, states):
            before = before[:, : gate.shape[1]]
            gate.baddbmm_(before, open_by).sigmoid_()
            torch.baddbmm(own, before, new_by, out=product)
            new.addcmul_(gate[..., :hidden], product).tanh_()
            before = torch.lerp(new, before, gate[..., hidden:], out=state)
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(x, gates, candidate, inner, states, *weights)
            ctx.steps = steps
        return states.index_select(0, steps.cell)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, gates, candidate, inner, states, *weights = ctx.saved_tensors
        steps: Plan = ctx.steps
        seeds, rows, _ = x.shape
        into, within = weights[::4], weights[1::4]
        hidden, members = candidate.shape[1], seeds * len(into)
        reset, update = gates.split(hidden, 1)
        # With s the state's gradient, that of each gate's sum is s times a factor of its own.
        shut = 1 - update
        of_new = _with_zeros(candidate)
        factors = of_new.new_empty(len(of_new), 3 * hidden)
        factors[-1] = 0
        of_reset, of_update, of_inner = factors[:-1].split(hidden, 1)
        torch.sub(states[:-1], candidate, out=of_update).mul_(shut)
        torch.ops.aten.tanh_backward(shut, candidate, grad_input=of_new[:-1])
        torch.mul(of_new[:-1], reset, out=of_inner)
        torch.mul(of_inner, inner, out=of_reset).addcmul_(of_reset, reset, value=-1)
        recurrent = torch.cat(within)  # (K, 3H, H)
        towards = take(grads[0], steps.row)  # (cells, H)
        later = None
        for s, factor, kept in reversed(_by_step(steps, members, towards, factors, update)):
            if later is not None:
                s[:, : later.shape[1]] += later
            factor.unflatten(-1, (3, hidden)).mul_(s[:, :, None])
            later = torch.baddbmm(s * kept, factor, recurrent)
        of_new[:-1].mul_(towards)
        # Of the products of a state, and further down of those of the data.
        by_row = factors.index_select(0, steps.cell).view(members, rows, -1)
        previous = states.index_select(0, steps.before).view(members, rows, hidden)
        of_recurrent = torch.bmm(by_row.transpose(1, 2), previous)
        of_second = by_row.sum(1)
        by_row[..., 2 * hidden :] = of_new.index_select(0, steps.cell).view(members, rows, hidden)
        of_first = of_second.clone()
        of_first[:, 2 * hidden :] = by_row[..., 2 * hidden :].sum(1)
        of_x = None
        found: list[Tensor | None] = []
        for way, gradient in enumerate(by_row.split(seeds)):
            if of_x is None:
                of_x = torch.bmm(gradient, into[way])
            else:
                of_x.baddbmm_(gradient, into[way])
            here = slice(way * seeds, (way + 1) * seeds)
            found += [torch.bmm(gradient.transpose(1, 2), x), of_recurrent[here], of_first[here],
                      of_second[here]]  # fmt: skip
        return of_x, None, *found


def _products(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Tensor:
    """x (S, B, E) by each direction's weights (S, D, E), and its biases: (K · B + 1, D), zeros
    last."""
    seeds, rows, _ = x.shape
    out = x.new_empty(len(weights) * seeds * rows + 1, weights[0].shape[1])
    out[-1] = 0
    ways = out[:-1].view(len(weights), seeds, rows, -1)
    for way, weight, bias in zip(ways, weights, biases, strict=True):
        torch.baddbmm(bias[:, None], x, weight.transpose(1, 2), out=way)
    return out


def _with_zeros(like: Tensor) -> Tensor:
    """As `like` (n, D), not filled, and one more row, of zeros: for indices that mean no row."""
    out = like.new_empty(len(like) + 1, like.shape[1])
    out[-1] = 0
    return out


def take(x: Tensor, index: Tensor) -> Tensor:
    """Rows of x (n, D) by `index`, where n means a row of zeros."""
    # Not zero times some row: that may be another seed's, and not finite.
    return torch.cat([x, x.new_zeros(1, x.shape[1])]).index_select(0, index)


def _by_step(steps: Plan, members: int, *values: Tensor) -> Sequence[tuple[Tensor, ...]]:
    """Views (K, sequences, D) of each of `values` (cells, D), step by step."""
    starts = [members * start for start in steps.starts]
    cuts = pairwise(starts)
    return [tuple(v[a:b].view(members, -1, v.shape[1]) for v in values) for a, b in cuts]
