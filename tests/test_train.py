"""The Trainer: seeds do not touch, the best weights are kept, batches are what they should be."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from erc_features.errors import ErcError
from erc_fusion.batches import balanced, shuffled, whole_dialogues
from erc_fusion.config import LossConfig, ModelConfig, TrainingConfig
from erc_fusion.losses import make_objective
from erc_fusion.model import Split, build_model
from erc_fusion.stacked import generator
from erc_fusion.train import Progress, Trained, predict, train

FILES = {"text.t": (2, 12), "audio.a": (1, 5)}
MODEL = ModelConfig(width=16, dropout=0.4, modality_dropout=0.2)
SHORT = TrainingConfig(batch_size=64, epochs=5, patience=50, lr=3e-3)
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
) -> Trained:
    model = build_model(replace(MODEL, head=head, context=context), FILES, 3, seeds)
    counts = torch.bincount(TRAIN.label[TRAIN.label >= 0])
    objective = make_objective(LossConfig(contrastive=contrastive), counts)
    show = None if seen is None else seen.append
    return train(model, seeds, TRAIN, DEV, objective, config, "weighted_f1", show)


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


WIDE = {"text.t": (3, 112), "audio.a": (1, 78)}  # 78: rows that end inside a cache line
WIDE_CASES = [*CASES[:3], ("attention", "gru", "none"), ("triplet", "gru", "triplet")]


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
        found.append(train(model, seeds, split, split, objective, config, "accuracy"))
    together, alone = found
    assert alone.history == [r for r in together.history if r["seed"] == 1]
    for (name, one), three in zip(
        alone.model.named_parameters(), together.model.parameters(), strict=True
    ):
        assert torch.equal(one[0], three[2]), name


def test_leaving_the_stack_changes_nothing_for_the_others() -> None:
    config = TrainingConfig(batch_size=64, epochs=14, patience=2, lr=1e-2)
    together = fit((0, 1, 2, 3), config=config)
    assert len(set(together.epochs)) > 1  # they stop at different times
    for place, seed in enumerate((0, 1, 2, 3)):
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
    assert seen[0].training == seen[0].seeds == 2 and seen[-1].best >= seen[-1].dev - 1e-9


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
    other = train(model, (0,), wild, DEV, objective, SHORT, "weighted_f1")
    assert other.history == trained.history


def test_a_loss_that_is_not_finite_is_an_error() -> None:
    with pytest.raises(ErcError, match=r"not finite any more \(seed 0, epoch 1\).*--lr"):
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
    two = next(balanced(pool, label, 4, orders(0)))
    assert sorted(torch.bincount(label[two.rows[0]], minlength=3).tolist()) == [0, 2, 2]


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
