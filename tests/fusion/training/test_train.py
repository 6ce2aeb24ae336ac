"""The Trainer: seeds do not touch, the best weights are kept, batches are what they should be."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from erc_features.errors import ErcError
from erc_fusion.config.config import LossConfig, ModelConfig, TrainingConfig
from erc_fusion.model.fusion import FusionModel, Split, build_model
from erc_fusion.model.heads import HEADS
from erc_fusion.model.heads.linear import LinearHead
from erc_fusion.model.layers import ALIGNED, generator
from erc_fusion.training import optimize
from erc_fusion.training.batches import balanced, shuffled, whole_dialogues
from erc_fusion.training.losses import make_objective
from erc_fusion.training.optimize import Descent, rate
from erc_fusion.training.parts import Part
from erc_fusion.training.train import Progress, Trained, nearest, predict, prototypes, train

FILES = {"text.t": (2, 12), "audio.a": (1, 5)}
MODEL = ModelConfig(width=16, dropout=0.4, modality_dropout=0.2)
SHORT = TrainingConfig(batch_size=64, epochs=5, patience=50, lr=3e-3)
LOSS = LossConfig()
GENTLE = replace(SHORT, schedule="cosine", warmup=1.5, average=0.9)  # everything on
CASES = [("mlp", "none", "none"), ("attention", "none", "none"), ("triplet", "none", "triplet")]
CASES += [("linear", "gru", "none"), ("mlp", "gru", "supcon")]


def make_split(dialogues: int, name: str, signal: float = 1.0) -> Split:
    """About 4 utterances a dialogue; classes 0 and 1, and 2 seldom; some unlabelled."""
    lengths = torch.tensor([1 + (5 * d) % 7 for d in range(dialogues)])
    rows, source = int(lengths.sum()), generator(0, name)
    label = torch.randint(0, 9, (rows,), generator=source).clamp(max=7) // 3
    x = {}
    for stem, shape in FILES.items():
        centres = torch.randn(3, *shape, generator=generator(0, stem))
        x[stem] = torch.randn(rows, *shape, generator=source) + signal * centres[label]
    label[::11] = -1
    present = torch.ones(rows, 2, dtype=torch.bool)
    return Split(x, present, label, torch.arange(dialogues).repeat_interleave(lengths))


TRAIN, DEV = make_split(64, "train"), make_split(16, "dev")  # 4 batches of 64: 20 steps


def fit(
    seeds: tuple[int, ...],
    head: str = "mlp",
    context: str = "none",
    contrastive: str = "none",
    config: TrainingConfig = SHORT,
    seen: list[Progress] | None = None,
    loss: LossConfig = LOSS,
) -> Trained:
    model = build_model(replace(MODEL, head=head, context=context), FILES, 3, seeds)
    counts = torch.bincount(TRAIN.label[TRAIN.label >= 0])
    objective = make_objective(replace(loss, contrastive=contrastive), counts)
    show = None if seen is None else seen.append
    return train(model, seeds, [Part(TRAIN, DEV, objective)], config, "weighted_f1", show)


class TorchsAdamW:
    """`torch.optim.AdamW` itself, with the groups and the face of ours."""

    def __init__(self, parameters: Iterable[torch.nn.Parameter], weight_decay: float) -> None:
        groups: dict[bool, list[torch.nn.Parameter]] = {}
        for parameter in parameters:
            groups.setdefault(parameter[0].numel() % ALIGNED == 0, []).append(parameter)
        self._inner = torch.optim.AdamW(
            [{"params": found, "fused": fused, "foreach": False}
             for fused, found in groups.items()],
            weight_decay=weight_decay,
        )  # fmt: skip
        self.state = self._inner.state

    def step(self, lr: float) -> None:
        for group in self._inner.param_groups:
            group["lr"] = lr
        self._inner.step()


@pytest.mark.parametrize(
    ("head", "context"),
    [*((head, "none") for head in HEADS), ("mlp", "gru"), ("mlp", "transformer")],
)
def test_weights_are_those_of_torchs_adamw(
    head: str, context: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20 steps, bit for bit; with a context fewer, some seeds stopping before others."""
    contrastive = "triplet" if head == "triplet" else "none"
    config = replace(GENTLE, patience=50 if context == "none" else 2)
    ours = fit((0, 1, 2), head, context, contrastive, config)
    monkeypatch.setattr(optimize, "AdamW", TorchsAdamW)
    theirs = fit((0, 1, 2), head, context, contrastive, config)
    for (name, one), (_, other) in zip(
        ours.model.named_parameters(), theirs.model.named_parameters(), strict=True
    ):
        assert torch.equal(one, other), name
    assert ours.history == theirs.history


@pytest.mark.parametrize(("head", "context", "contrastive"), CASES)
def test_a_seed_alone_is_the_same_among_ten(head: str, context: str, contrastive: str) -> None:
    together = fit(tuple(range(10)), head, context, contrastive)
    alone = fit((7,), head, context, contrastive)
    for (name, one), (_, ten) in zip(
        alone.model.named_parameters(), together.model.named_parameters(), strict=True
    ):
        assert torch.equal(one[0], ten[7]), name
    assert alone.best_epoch[0] == together.best_epoch[7]
    assert alone.history == [r for r in together.history if r["seed"] == 7]
    assert len({round(r["dev"]["loss"], 6) for r in together.history if r["epoch"] == 5}) == 10


@pytest.mark.parametrize(
    ("head", "context", "contrastive", "loss"),
    [
        ("mlp", "none", "none", LossConfig("focal", "balanced", 0.1, gamma=1.7)),
        ("attention", "gru", "supcon", LossConfig("dice", "balanced", 0.1)),
    ],
)
def test_a_seed_alone_is_the_same_with_everything_on(
    head: str, context: str, contrastive: str, loss: LossConfig
) -> None:
    together = fit(tuple(range(10)), head, context, contrastive, GENTLE, loss=loss)
    alone = fit((7,), head, context, contrastive, GENTLE, loss=loss)
    for (name, one), ten in zip(
        alone.model.named_parameters(), together.model.parameters(), strict=True
    ):
        assert torch.equal(one[0], ten[7]), name
    assert alone.history == [r for r in together.history if r["seed"] == 7]


@pytest.mark.parametrize("mix", ["learned", "concat"])
def test_weights_of_a_linear_head_that_meet_first(
    mix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without dropout `linear` needs no embedding to learn: 20 steps, the same weights to 1e-6."""
    model = ModelConfig("linear", width=24, dropout=0.0, modality_dropout=0.3, layer_mix=mix)
    counts = torch.bincount(TRAIN.label[TRAIN.label >= 0])
    objective = make_objective(replace(LOSS, contrastive="none"), counts)
    parts = [Part(TRAIN, DEV, objective)]

    def trained(seeds: tuple[int, ...]) -> Trained:
        return train(build_model(model, FILES, 3, seeds), seeds, parts, SHORT, "accuracy")

    ours, alone = trained((0, 1, 2)), trained((1,))
    for one, three in zip(alone.model.parameters(), ours.model.parameters(), strict=True):
        assert torch.equal(one[0], three[1])
    called = []
    monkeypatch.setattr(LinearHead, "logits", lambda *_: called.append(1))
    theirs = trained((0, 1, 2))
    assert called
    for (name, one), (_, other) in zip(
        ours.model.named_parameters(), theirs.model.named_parameters(), strict=True
    ):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0, msg=lambda m, n=name: f"{n}: {m}")


WIDE = {"text.t": (3, 112), "audio.a": (1, 78)}  # 78: rows that end inside a cache line
WIDE_CASES = [*CASES[:3], ("attention", "gru", "none"), ("triplet", "gru", "triplet")]
# All but one in the soak: they take seconds each.
WIDE_CASES[1:] = [pytest.param(*case, marks=pytest.mark.soak) for case in WIDE_CASES[1:]]


@pytest.mark.parametrize(("head", "context", "contrastive"), WIDE_CASES)
def test_a_seed_alone_is_the_same_at_full_width(head: str, context: str, contrastive: str) -> None:
    """Seven classes, the default width: odd sizes, where kernels round by place in the stack."""
    rows = 700
    source = generator(0, "wide")
    label = torch.randint(0, 7, (rows,), generator=source)
    x = {stem: torch.randn(rows, *shape, generator=source) for stem, shape in WIDE.items()}
    dialogue = (torch.rand(rows, generator=source) < 0.15).long().cumsum(0)
    dialogue -= dialogue[0].item()
    split = Split(x, torch.ones(rows, 2, dtype=torch.bool), label, dialogue)
    objective = make_objective(LossConfig(contrastive=contrastive), torch.bincount(label))
    config = TrainingConfig(batch_size=150, epochs=2)
    found = []
    for seeds in ((4, 0, 1), (1,)):
        model = build_model(ModelConfig(head=head, context=context), WIDE, 7, seeds)
        found.append(train(model, seeds, [Part(split, split, objective)], config, "accuracy"))
    together, alone = found
    assert alone.history == [r for r in together.history if r["seed"] == 1]
    for (name, one), three in zip(
        alone.model.named_parameters(), together.model.parameters(), strict=True
    ):
        assert torch.equal(one[0], three[2]), name


@pytest.mark.parametrize("average", [0.0, 0.8])
def test_leaving_the_stack_changes_nothing_for_the_others(average: float) -> None:
    config = TrainingConfig(batch_size=64, epochs=14, patience=2, lr=1e-2, average=average)
    seeds = (3, 2, 1, 0)
    together = fit(seeds, config=config)
    assert together.epochs[0] < together.epochs[3]  # the first leaves, and the others move up
    for place, seed in enumerate(seeds):
        alone = fit((seed,), config=config)
        assert alone.epochs[0] == together.epochs[place]
        assert alone.best_epoch[0] == together.best_epoch[place]
        one = predict(alone.model, DEV).probability[0]
        assert torch.equal(predict(together.model, DEV).probability[place], one)


def test_the_best_epoch_on_dev_is_kept() -> None:
    seen: list[Progress] = []
    config = TrainingConfig(batch_size=64, epochs=12, patience=3, lr=1e-2)
    trained = fit((0, 1), config=config, seen=seen)
    probability = predict(trained.model, DEV).probability
    known = DEV.label >= 0
    for place, seed in enumerate((0, 1)):
        records = [r for r in trained.history if r["seed"] == seed]
        assert [r["epoch"] for r in records] == list(range(1, trained.epochs[place] + 1))
        scores = [r["dev"]["weighted_f1"] for r in records]
        best = trained.best_epoch[place]
        assert best == 1 + int(np.argmax(scores))
        assert trained.epochs[place] in (best + 3, 12)
        found = (probability[place].argmax(-1) == DEV.label)[known].double().mean().item()
        assert found == pytest.approx(records[best - 1]["dev"]["accuracy"])
        assert records[-1]["train"]["loss"] < records[0]["train"]["loss"]
    assert [p.epoch for p in seen] == list(range(1, max(trained.epochs) + 1))
    for place, seed in enumerate((0, 1)):
        own = [r["dev"]["weighted_f1"] for r in trained.history if r["seed"] == seed]
        for at in seen:
            past = own[: at.epoch]
            assert at.seeds == (0, 1) and (at.epochs, at.monitor) == (12, "weighted_f1")
            assert (at.score[place], at.best[place]) == (past[-1], max(past))
            assert at.since[place] == len(past) - 1 - past.index(max(past))
            assert at.training[place] == (at.since[place] < 3)


def test_the_average_is_scored_and_kept() -> None:
    """At a rate that makes plain weights jump about; what is kept has the scores of its epoch."""
    wild = TrainingConfig(batch_size=16, epochs=6, lr=3e-2)
    plain, smooth = fit((0, 1), config=wild), fit((0, 1), config=replace(wild, average=0.98))
    first = [[r["train"] for r in each.history if r["epoch"] == 1] for each in (plain, smooth)]
    assert first[0] == first[1]  # the weights' own way is the same
    found = predict(smooth.model, DEV)
    objective = make_objective(LossConfig(contrastive="none"), torch.ones(3))
    losses = objective.classification(found.logits, DEV.label.expand(2, -1))
    for place, seed in enumerate((0, 1)):
        records = {r["epoch"]: r["dev"] for r in smooth.history if r["seed"] == seed}
        assert losses[place].item() == records[smooth.best_epoch[place]]["loss"]
    last = [
        np.mean([r["dev"]["loss"] for r in e.history if r["epoch"] == 6]) for e in (plain, smooth)
    ]
    assert last[1] < last[0]


def noisy(model: FusionModel, source: torch.Generator) -> Tensor:
    """A loss (S,) whose slope is noise."""
    slopes = [torch.randn(p.shape, generator=source) for p in model.parameters()]
    pairs = zip(model.parameters(), slopes, strict=True)
    return torch.stack([(p * slope).flatten(1).sum(1) for p, slope in pairs]).sum(0)


def test_the_average_is_that_of_a_plain_loop() -> None:
    model = build_model(MODEL, FILES, 3, (0, 1))
    descent = Descent(model, replace(GENTLE, lr=0.1))
    source, trail = generator(0, "slopes"), []
    for step in range(10):
        descent.step(noisy(model, source), step / 4)
        trail.append([p.detach().double() for p in model.parameters()])
        with descent.averaged():
            for place, found in enumerate(model.parameters()):
                mean = torch.zeros_like(trail[0][place])
                for at in trail:
                    mean = 0.9 * mean + 0.1 * at[place]
                mean /= 1 - 0.9 ** len(trail)
                torch.testing.assert_close(found.detach().double(), mean, rtol=1e-5, atol=1e-6)
        for own, after in zip(model.parameters(), trail[-1], strict=True):
            assert torch.equal(own.detach().double(), after)
    assert not torch.equal(trail[0][0], trail[-1][0])


def test_the_rates_of_a_schedule() -> None:
    config = TrainingConfig(lr=0.1, epochs=10, warmup=0.5)
    assert [rate(config, t) for t in (0, 0.125, 0.5, 7, 10)] == [0, 0.025, 0.1, 0.1, 0.1]
    config = replace(config, schedule="cosine", warmup=2.0)
    for time in np.linspace(2, 10, 9):
        expected = 0.05 * (1 + np.cos(np.pi * (time - 2) / 8))
        assert rate(config, time) == pytest.approx(expected, abs=1e-12)
    assert rate(config, 10) == 0 and rate(config, 2) == 0.1 and rate(config, 0.5) == 0.025
    bare = replace(config, warmup=0.0)
    assert rate(bare, 0) == 0.1 and rate(bare, 5) == pytest.approx(0.05)
    assert rate(replace(config, warmup=20.0), 10) == 0.05  # epochs end before it is warm
    # A first step of Adam is as long as the rate, and each takes the rate of its middle.
    for time in (0.5, 6.0):
        model = build_model(MODEL, FILES, 3, (0,))
        before = [p.detach().clone() for p in model.parameters()]
        descent = Descent(model, replace(config, weight_decay=0.0))
        descent.step(noisy(model, generator(0, "slopes")), time)
        for old, new in zip(before, model.parameters(), strict=True):
            moved = (new - old).abs().median().item()
            assert moved == pytest.approx(rate(config, time), rel=1e-3)


def test_the_times_of_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    times = []
    monkeypatch.setattr(optimize, "rate", lambda config, time: times.append(time) or config.lr)
    fit((0,), config=replace(SHORT, epochs=2))
    assert times == [0.125, 0.375, 0.625, 0.875, 1.125, 1.375, 1.625, 1.875]


@pytest.mark.parametrize(
    ("head", "context", "contrastive"), [CASES[2], CASES[4], ("attention", "transformer", "none")]
)
def test_bf16_trains(head: str, context: str, contrastive: str) -> None:
    config = replace(SHORT, precision="bf16")
    trained = fit((0,), head, context, contrastive, config)
    exact = fit((0,), head, context, contrastive, replace(config, precision="auto"))
    assert {p.dtype for p in trained.model.parameters()} == {torch.float32}
    assert predict(trained.model, DEV).logits.dtype == torch.float32
    assert trained.history != exact.history
    for one, other in zip(trained.history, exact.history, strict=True):
        assert one["train"]["loss"] == pytest.approx(other["train"]["loss"], rel=0.1)
    loss = [record["dev"]["loss"] for record in trained.history]
    assert loss[-1] < 0.9 * loss[0]


def test_bf16_is_the_same_alone_and_twice() -> None:
    config = replace(SHORT, precision="bf16", epochs=2)
    two, again, alone = (fit(seeds, config=config) for seeds in ((0, 1), (0, 1), (1,)))
    assert two.history == again.history
    for one, first, second in zip(
        alone.model.parameters(), two.model.parameters(), again.model.parameters(), strict=True
    ):
        assert torch.equal(first, second) and torch.equal(one[0], first[1])


def test_on_this_machine_auto_is_fp32() -> None:
    config = replace(SHORT, epochs=2)
    assert (
        fit((0,), config=replace(config, precision="auto")).history
        == fit((0,), config=config).history
    )


@pytest.mark.parametrize("contrastive", ["triplet", "supcon"])
def test_a_contrastive_loss_alone_separates_classes(contrastive: str) -> None:
    """The classifier is told nothing (every class weighs 0), so the embedding learns of labels
    from the contrastive loss alone. The classes are those of an exclusive or: their means are
    one, and nearest prototypes in an embedding that has learned nothing are at chance."""

    def rows(count: int, name: str) -> Split:
        source = generator(0, name)
        x = torch.randn(count, 1, 12, generator=source)
        x[..., :2] *= 0.3
        x[..., :2] += 2 * torch.randint(0, 2, (count, 1, 2), generator=source) - 1
        label = (x[:, 0, 0] * x[:, 0, 1] > 0).long()
        present = torch.ones(count, 1, dtype=torch.bool)
        return Split({"text.t": x}, present, label, torch.arange(count))

    on_train, on_dev = rows(64 * 100, "train"), rows(400, "dev")
    right = {}
    for kind in (contrastive, "none"):
        objective = make_objective(LossConfig(contrastive=kind), torch.tensor([1, 1]))
        silent = replace(objective, weight=torch.zeros(2), balanced=torch.zeros(2))
        config = replace(MODEL, dropout=0.0, width=32)
        model = build_model(config, {"text.t": (1, 12)}, 2, (0, 1))
        once = TrainingConfig(batch_size=64, epochs=1, lr=1e-2)
        train(model, (0, 1), [Part(on_train, on_dev, silent)], once, "accuracy")
        centres = prototypes(predict(model, on_train), on_train.label, 2)
        found = nearest(predict(model, on_dev), centres)
        right[kind] = (found == on_dev.label.numpy()).mean(1)
    assert right[contrastive].min() > 0.9
    assert right["none"].max() < 0.75


@pytest.mark.parametrize(("head", "contrastive"), [("mlp", "none"), ("triplet", "triplet")])
def test_it_learns(head: str, contrastive: str) -> None:
    config = TrainingConfig(batch_size=64, epochs=15, lr=3e-3)
    trained = fit((0,), head, "none", contrastive, config)
    known = DEV.label >= 0
    right = predict(trained.model, DEV).probability[0].argmax(-1) == DEV.label
    assert right[known].float().mean() > 0.8


def test_the_same_command_twice_gives_the_same_bits() -> None:
    one, two = fit((0, 1)), fit((0, 1))
    assert one.history == two.history
    for first, second in zip(one.model.parameters(), two.model.parameters(), strict=True):
        assert torch.equal(first, second)


def test_unlabelled_rows_teach_nothing() -> None:
    trained = fit((0,))
    wild = Split(
        {
            stem: torch.where((TRAIN.label < 0)[:, None, None], 99.0, v)
            for stem, v in TRAIN.x.items()
        },
        TRAIN.present,
        TRAIN.label,
        TRAIN.dialogue,
    )
    model = build_model(MODEL, FILES, 3, (0,))
    counts = torch.bincount(TRAIN.label[TRAIN.label >= 0])
    objective = make_objective(LossConfig(contrastive="none"), counts)
    other = train(model, (0,), [Part(wild, DEV, objective)], SHORT, "weighted_f1")
    assert other.history == trained.history


def test_a_loss_that_is_not_finite_is_an_error() -> None:
    with pytest.raises(ErcError, match=r"no longer finite \(seed 0, epoch 1\).*--lr"):
        fit((0,), config=replace(SHORT, lr=1e30))


def orders(*seeds: int) -> list[torch.Generator]:
    return [generator(seed, "order") for seed in seeds]


def test_shuffled_batches_hold_every_row_once() -> None:
    pool = torch.arange(3, 103)
    batches = list(shuffled(pool, 32, orders(0, 1)))
    assert [b.rows.shape for b in batches] == [(2, 25)] * 4
    rows = torch.cat([b.rows for b in batches], dim=1)
    assert not torch.equal(rows[0], rows[1])
    for row in rows:
        assert torch.equal(row.sort().values, pool)


def test_balanced_batches_have_p_classes_of_k() -> None:
    label = torch.tensor([0] * 50 + [1] * 8 + [-1] * 5 + [2] * 20)
    pool = torch.nonzero(label >= 0)[:, 0]
    batches = list(balanced(pool, label, 12, orders(0, 1)))
    assert len(batches) == 7  # 78 rows in twelves
    for batch in batches:
        for row in batch.rows:
            assert torch.bincount(label[row]).tolist() == [4, 4, 4]
    drawn = torch.cat([b.rows[0] for b in batches])
    counts = torch.bincount(drawn, minlength=len(label))
    assert counts[50:58].min() >= 3 and counts[:50].max() == 1  # all of a class before any again
    with pytest.raises(ErcError, match="--batch-size 5: .* of 3 classes; the minimum is 6"):
        next(balanced(pool, label, 5, orders(0)))


def test_dialogues_stay_whole() -> None:
    def check(rows: Tensor, place: Tensor) -> list[int]:
        found = []
        for line in place[(place >= 0).any(-1)]:  # a seed may have fewer dialogues
            at = rows[line[line >= 0]]
            dialogue = int(TRAIN.dialogue[at[0]])
            whole = torch.nonzero(TRAIN.dialogue == dialogue)[:, 0]
            assert torch.equal(at, whole)
            found.append(dialogue)
        return found

    batches = list(whole_dialogues(TRAIN, 64, orders(0, 1)))
    for s in range(2):
        found = []
        for batch in batches:
            assert batch.place is not None and batch.counts is not None
            found += check(batch.rows[s], batch.place[s])
            assert batch.real[s].sum() == batch.counts[s] > 0
            assert batch.rows.shape == batches[0].rows.shape  # whatever the seeds' orders
        assert sorted(found) == list(range(64))
    inorder = list(whole_dialogues(TRAIN, 64, None))
    rows = torch.cat([b.rows[0] for b in inorder])
    assert torch.equal(rows, torch.arange(len(TRAIN)))
