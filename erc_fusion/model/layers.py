"""Layers with a leading seed dimension S: many small networks trained in one forward pass.

Every parameter is (S, …) and every product is batched over S, so seeds never mix. Each seed has
its own generators for initial weights and for dropout, so its result is the same alone or beside
others. (TabM, Gorishniy et al. 2025, trains ensembles this way; `torch.func.vmap` was no faster on
the CPU, and its dropout ties the seeds together.)
"""

import hashlib
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# How MKL rounds depends on where in a cache line (64 bytes) a matrix begins. With rows of whole
# lines every seed's matrices begin a line, whatever its place in the stack.
ALIGNED = 16


def generator(seed: int, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator that depends only on the seed and the purpose."""
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return torch.Generator(device=device).manual_seed(int.from_bytes(digest[:7]))


class Noise:
    """The random numbers of training, one stream per seed; shared by all layers of a model.

    Attributes:
        generators: one for each seed that is still in training.
        counts: real rows of each seed in the current batch. Seeds' batches of whole dialogues
            differ in size and are padded to the same; a seed draws only for its own rows, so that
            the others' sizes never shift its stream. None: every row is real.
    """

    def __init__(self, generators: list[torch.Generator]) -> None:
        self.generators = generators
        self.counts: Sequence[int] | None = None

    def keep(self, share: float, like: Tensor) -> Tensor:
        """1 with probability `share`, else 0, in the shape of `like` (S, B, …)."""
        drawn = torch.empty(like.shape, device=like.device)
        counts = self.counts or [like.shape[1]] * len(self.generators)
        for row, count, source in zip(drawn, counts, self.generators, strict=True):
            row[:count].uniform_(generator=source)  # bernoulli_ takes five times as long
            row[count:] = 0
        return drawn.lt_(share).to(like.dtype)


class Stack:
    """The seeds of a model under construction, the first argument of every layer.

    Initial weights are drawn on the CPU, so that they are the same on every device.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu") -> None:
        self.seeds = tuple(seeds)
        self.noise = Noise([generator(seed, "noise", device) for seed in seeds])
        self._weights = [generator(seed, "weights") for seed in seeds]

    def uniform(self, bound: float, *shape: int) -> nn.Parameter:
        """A parameter (S, *shape), uniform within ±bound."""
        drawn = [torch.empty(shape).uniform_(-bound, bound, generator=g) for g in self._weights]
        return nn.Parameter(torch.stack(drawn))

    def constant(self, value: float, *shape: int) -> nn.Parameter:
        """A parameter (S, *shape) filled with `value`."""
        return nn.Parameter(torch.full((len(self.seeds), *shape), value))


class Linear(nn.Module):
    """(S, …, I) -> (S, …, O), initialised like `torch.nn.Linear`."""

    def __init__(self, stack: Stack, inputs: int, outputs: int, *, bias: bool = True) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inputs)
        self.weight = stack.uniform(bound, inputs, outputs)  # (S, I, O)
        self.bias = stack.uniform(bound, 1, outputs) if bias else None  # (S, 1, O)

    def forward(self, x: Tensor) -> Tensor:
        return affine(x, self.weight, self.bias)


def affine(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x (S, …, I), weight (S, I, O), bias (S, 1, O) -> (S, …, O)."""
    inputs, outputs = weight.shape[1:]
    more, wider = -inputs % ALIGNED, -outputs % ALIGNED
    flat = padded(x.reshape(x.shape[0], -1, inputs), more)  # (S, B, I)
    weight = padded(weight, wider, more)
    if bias is None:
        out = torch.bmm(flat, weight)
    else:
        out = torch.baddbmm(padded(bias, wider), flat, weight)
    return out[..., :outputs].reshape(*x.shape[:-1], -1)


def padded(x: Tensor, columns: int, rows: int = 0) -> Tensor:
    """x with zeros after the last columns and rows; x itself where there are none to add."""
    return F.pad(x, (0, columns, 0, rows)) if columns or rows else x


def masked(x: Tensor, present: Tensor) -> Tensor:
    """x (S, B, E), zero where `present` (S, B) is false."""
    # A GPU would have to be waited for.
    if present.device.type == "cpu" and bool(present.all()):
        return x
    return x * present[..., None].to(x.dtype)  # of two types takes twice as long


class LayerNorm(nn.Module):
    """(S, …, E) normalised over E (Ba et al. 2016)."""

    def __init__(self, stack: Stack, width: int) -> None:
        super().__init__()
        self.weight = stack.constant(1.0, width)
        self.bias = stack.constant(0.0, width)

    def forward(self, x: Tensor) -> Tensor:
        shape = (x.shape[0], *[1] * (x.dim() - 2), x.shape[-1])
        normal = F.layer_norm(x, x.shape[-1:])
        return torch.addcmul(self.bias.view(shape), normal, self.weight.view(shape))


class Dropout(nn.Module):
    """Drops a share of units in training (Srivastava et al. 2014), separately for each seed."""

    def __init__(self, stack: Stack, share: float) -> None:
        super().__init__()
        self.share = share
        self.noise = stack.noise

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.share == 0:
            return x
        return x * self.noise.keep(1 - self.share, x).mul_(1 / (1 - self.share))


class LayerMix(nn.Module):
    """(S, B, L, D) -> (S, B, D): a softmax-weighted mean of an encoder's layers.

    The weights are learned and start equal (the scalar mix of ELMo, Peters et al. 2018).
    """

    def __init__(self, stack: Stack, layers: int) -> None:
        super().__init__()
        self.weight = stack.constant(0.0, layers) if layers > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        shares = self.shares()
        if shares is None:
            return x[:, :, 0]
        mix = shares[:, None, None]  # (S, 1, 1, L)
        return torch.matmul(mix.expand(*x.shape[:2], 1, -1), x)[:, :, 0]

    def shares(self) -> Tensor | None:
        """(S, L): each layer's weight, which sum to 1; None where there is one layer."""
        return None if self.weight is None else self.weight.softmax(-1)


class Projection(nn.Module):
    """One file's layers (S, B, L, D), projected to (S, B, E); zero where absent.

    The layers are mixed by learned weights or, with `concatenated`, side by side: each then has
    a projection of its own, of L times the weights.
    """

    def __init__(
        self, stack: Stack, layers: int, dim: int, width: int, *, concatenated: bool = False
    ) -> None:
        super().__init__()
        self.mix = None if concatenated else LayerMix(stack, layers)
        self.linear = Linear(stack, dim * layers if concatenated else dim, width)

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        # Masked after the product: E is narrower than D.
        return masked(self.linear(self.mixed(x)), present)

    def mixed(self, x: Tensor) -> Tensor:
        """What is projected: (S, B, D), or (S, B, L·D)."""
        return self.mix(x) if self.mix else x.flatten(2)

    def through(self, x: Tensor, present: Tensor, after: Linear) -> Tensor:
        """`after`, without its bias, of the projection: (S, B, O). The weights meet first."""
        own = self.linear
        assert own.bias is not None
        weight, bias = (affine(part, after.weight, None) for part in (own.weight, own.bias))
        return masked(affine(self.mixed(x), weight, bias), present)

    def shares(self) -> Tensor | None:
        """(S, L): the weights of mixed layers; None where there are none."""
        return self.mix.shares() if self.mix else None


class Attention(nn.Module):
    """Scaled dot-product attention among tokens (Vaswani et al. 2017), never over the batch.

    Each of `tokens` (S, B, M, E) attends to itself and to those where `mask` (S, B, M) is true.
    Returns (S, B, M, E).
    """

    def __init__(self, stack: Stack, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = Linear(stack, width, width)
        # The softmax cancels a bias of the keys: its gradient would be rounding errors, which Adam
        # would amplify, differently beside other seeds. That of the values is part of `out`'s.
        self.key = Linear(stack, width, width, bias=False)
        self.value = Linear(stack, width, width, bias=False)
        self.out = Linear(stack, width, width)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        itself = torch.eye(tokens.shape[2], dtype=torch.bool, device=tokens.device)
        seen = mask.flatten(0, 1)[:, None] | itself  # (S·B, M, M); no softmax may be over nothing
        mixed = F.scaled_dot_product_attention(
            self._split(self.query(tokens)),
            self._split(self.key(tokens)),
            self._split(self.value(tokens)),
            attn_mask=seen[:, None],
        )
        return self.out(mixed.transpose(1, 2).reshape(tokens.shape))

    def _split(self, x: Tensor) -> Tensor:
        s, b, tokens, width = x.shape
        x = x.reshape(s * b, tokens, self.heads, width // self.heads)
        return x.transpose(1, 2)  # (S·B, H, M, E/H)


class Readout(nn.Module):
    """A weighted mean of `tokens` (S, B, M, E) by one learned query per attention head: (S, B, E).

    Attention pooling (Yang et al. 2016). A query that is the same for every row needs no keys:
    q · (W t) is (W' q) · t, and W' q can be learned as well as q. Zeros where `mask` (S, B, M) is
    true for no token.
    """

    def __init__(self, stack: Stack, width: int, heads: int) -> None:
        super().__init__()
        self.query = Linear(stack, width, heads, bias=False)
        self.value = Linear(stack, width, width, bias=False)

    def shares(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(S, B, M, H): each attention head's weight of each token; 0 where `mask` is false."""
        scores = self.query(tokens)
        hidden = ~mask[..., None]
        lowest = torch.finfo(scores.dtype).min  # not -inf: with no token that is NaN
        return scores.masked_fill(hidden, lowest).softmax(2).masked_fill(hidden, 0)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        shares = self.shares(tokens, mask)
        value = self.value(tokens).unflatten(-1, (shares.shape[-1], -1))  # (S, B, M, H, E/H)
        return (shares[..., None] * value).sum(2).flatten(2)
