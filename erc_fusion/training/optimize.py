"""How weights move: AdamW, clipping, the learning rate's schedule, an average of the weights.

All seeds at once, and none feels the others: a seed's numbers round alike at every place in the
stack.
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from erc_fusion.config.config import TrainingConfig
from erc_fusion.model.fusion import FusionModel
from erc_fusion.model.layers import ALIGNED


class Descent:
    """Steps of a model's weights, and their average.

    The average is exponential, with Adam's correction of its start from nothing: after step t,
    step i has the weight (1 - a)·a^(t-i) / (1 - a^t). Initial weights have none.
    """

    def __init__(self, model: FusionModel, config: TrainingConfig) -> None:
        self._model = model
        self._config = config
        self._optimizer = AdamW(model.parameters(), config.weight_decay)
        self._steps = 0
        self._average: list[Tensor] = []
        if config.average > 0:
            self._average = [torch.zeros_like(parameter) for parameter in model.parameters()]

    def step(self, loss: Tensor, time: float) -> None:
        """One step down `loss` (S,), when `time` epochs are done (see :func:`rate`)."""
        self._model.zero_grad()
        loss.sum().backward()
        clip(self._model, self._config.clip)
        self._optimizer.step(rate(self._config, time))
        self._steps += 1
        decay = self._config.average
        share = (1 - decay) / (1 - decay**self._steps)
        for mean, weight in zip(self._average, self._model.parameters(), strict=False):
            mean.lerp_(weight.detach(), share)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The model has the average's weights meanwhile; its own where none is taken."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def keep(self, rows: Tensor) -> None:
        """Leave only some seeds in the stack: weights, moments, average, generators."""
        model = self._model
        for parameter in model.parameters():
            rows = rows.to(parameter.device)
            moments = self._optimizer.state[parameter]
            parameter.data = parameter.data[rows]
            parameter.grad = None
            for name, value in moments.items():
                if value.dim():  # the number of steps is one for all
                    moments[name] = value[rows]
        self._average = [mean[rows] for mean in self._average]
        model.noise.generators = [model.noise.generators[row] for row in rows.tolist()]

    def _swap(self) -> None:
        for number, parameter in enumerate(self._model.parameters()):
            if self._average:
                self._average[number], parameter.data = parameter.data, self._average[number]


def rate(config: TrainingConfig, time: float) -> float:
    """The learning rate when `time` epochs are done, a fraction too.

    It rises from 0 through `warmup` epochs, and stays, or falls along half a cosine to 0 at the
    end of `epochs`. A step takes that of its middle, so no step is of rate 0.

    >>> config = TrainingConfig(lr=1.0, epochs=10, warmup=2.0, schedule="cosine")
    >>> [round(rate(config, time), 3) for time in (0, 1, 2, 6, 10)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if time < config.warmup:
        return config.lr * time / config.warmup
    if config.schedule == "constant":
        return config.lr
    done = (time - config.warmup) / max(config.epochs - config.warmup, 1e-9)
    return config.lr * (1 + math.cos(math.pi * done)) / 2


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The context in which products are of `precision`, decided: fp32 or bf16."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def decide_precision(precision: str, device: torch.device) -> str:
    """fp32 or bf16: `auto` is bf16 on a GPU that has it."""
    if precision != "auto":
        return precision
    has_it = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if has_it else "fp32"


def clip(model: FusionModel, most: float) -> None:
    """Scale each seed's gradient to a norm of at most `most`."""
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    # (S, P) and not (P, S): torch sums along and across rows in different orders, and one seed's
    # (P, 1) it sums along.
    norms = torch.stack([torch.linalg.vector_norm(g.flatten(1), dim=1) for g in grads], dim=1)
    scale = (most / torch.linalg.vector_norm(norms, dim=1).clamp(min=1e-12)).clamp(max=1)  # (S,)
    if bool((scale < 1).any()):
        for grad in grads:
            grad.mul_(scale.view(-1, *[1] * (grad.dim() - 1)))


class AdamW:
    """AdamW (Loshchilov & Hutter 2019) by torch's own function, to the bit what its class does.

    The class `torch.optim.AdamW` imports torch._dynamo and sympy when it is made: a second or two
    and 110 MB of every short run. The function, which the class calls, does not.

    It is fused where that rounds a seed alike at every place in the stack: the fused kernel rounds
    what is left over after its last whole vector in another way, so it may have only parameters
    that are whole vectors for each seed: nearly all of the weights.

    Attributes:
        state: parameter -> `step` (), and `exp_avg`, `exp_avg_sq` of its shape, from its first
            gradient on.
    """

    def __init__(self, parameters: Iterable[torch.nn.Parameter], weight_decay: float) -> None:
        self.state: dict[Tensor, dict[str, Tensor]] = {}
        self._weight_decay = weight_decay
        self._groups: dict[bool, list[torch.nn.Parameter]] = {True: [], False: []}
        for parameter in parameters:
            self._groups[parameter[0].numel() % ALIGNED == 0].append(parameter)
            self.state[parameter] = {}

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """One step along the gradients; a parameter without one stays as it is."""
        for fused, parameters in self._groups.items():
            moved: list[Tensor] = [p for p in parameters if p.grad is not None]
            for p in moved:
                if not self.state[p]:
                    # The fused kernel counts on the parameter's device, the other on the CPU.
                    place = p.device if fused else "cpu"
                    self.state[p] = {
                        "step": torch.zeros((), dtype=torch.float32, device=place),
                        "exp_avg": torch.zeros_like(p),
                        "exp_avg_sq": torch.zeros_like(p),
                    }
            kept = [self.state[p] for p in moved]
            adamw(
                moved,
                [p.grad for p in moved if p.grad is not None],
                [moments["exp_avg"] for moments in kept],
                [moments["exp_avg_sq"] for moments in kept],
                [],
                [moments["step"] for moments in kept],
                fused=fused,
                foreach=False,
                amsgrad=False,
                beta1=0.9,
                beta2=0.999,
                lr=lr,
                weight_decay=self._weight_decay,
                eps=1e-8,
                maximize=False,
            )
