"""Folds in one stack: each part learns from its own rows, and feels nothing of the others."""

from dataclasses import replace

import pytest
import torch
from test_train import FILES, GENTLE, LOSS, MODEL, make_split

from erc_fusion.config.config import TrainingConfig
from erc_fusion.model.fusion import build_model
from erc_fusion.training.losses import make_objective
from erc_fusion.training.parts import Part
from erc_fusion.training.train import Trained, predict_parts, train

CASES = [("mlp", "gru", "none"), ("triplet", "none", "triplet")]
MORE = [("attention", "none", "none"), ("linear", "transformer", "supcon")]
CASES += [pytest.param(*case, marks=pytest.mark.soak) for case in MORE]
SIZES = {"a": 64, "b": 50, "c": 57}


def make_part(name: str, contrastive: str = "none", *, other: bool = False) -> Part:
    split, dev = make_split(SIZES[name], name), make_split(16 + len(name), f"{name}-dev")
    if other:  # other features of rows of the same labels
        split = replace(split, x={stem: -3 * x.flip(0) for stem, x in split.x.items()})
    counts = torch.bincount(split.label[split.label >= 0])
    config = replace(LOSS, contrastive=contrastive, class_weights="balanced")
    return Part(split, dev, make_objective(config, counts))


def fit(
    parts: list[Part], seeds: tuple[int, ...], head: str, context: str,
    config: TrainingConfig = GENTLE, which: tuple[int, ...] | None = None,
) -> Trained:  # fmt: skip
    count = len(parts) if which is None else len(which)
    model = build_model(replace(MODEL, head=head, context=context), FILES, 3, seeds * count)
    return train(model, seeds, parts, replace(config, patience=2), "weighted_f1", which=which)


def of_member(trained: Trained, member: int) -> list[torch.Tensor]:
    return [parameter[member] for parameter in trained.model.parameters()]


@pytest.mark.parametrize(("head", "context", "contrastive"), CASES)
def test_a_part_has_the_same_bits_beside_others_and_a_seed_alone(
    head: str, context: str, contrastive: str
) -> None:
    parts = [make_part(name, contrastive) for name in "abc"]
    all_ = fit(parts, (0, 1, 2), head, context)
    others = [parts[0], make_part("b", contrastive, other=True), parts[2]]
    beside = fit(others, (0, 1, 2), head, context)
    alone = fit(parts, (1,), head, context)
    last = fit(parts, (0, 2), head, context, which=(2,))  # without the other folds' members
    for one, other in zip(of_member(all_, 8), of_member(last, 1), strict=True):
        assert torch.equal(one, other)
    for fold, seed in ((0, 0), (0, 1), (2, 2)):
        for one, other in zip(of_member(all_, 3 * fold + seed), of_member(beside, 3 * fold + seed),
                              strict=True):  # fmt: skip
            assert torch.equal(one, other)
    assert any(
        not torch.equal(one, other)
        for one, other in zip(of_member(all_, 3), of_member(beside, 3), strict=True)
    )
    for fold in range(3):
        for one, other in zip(of_member(all_, 3 * fold + 1), of_member(alone, fold), strict=True):
            assert torch.equal(one, other)

    def records(trained: Trained, fold: int, seed: int) -> list[dict]:
        return [r for r in trained.history if (r["fold"], r["seed"]) == (fold, seed)]

    assert records(all_, 2, 2) == records(last, 2, 2)
    assert records(all_, 2, 1) == records(beside, 2, 1) == records(alone, 2, 1)
    assert len({len(records(all_, fold, 0)) for fold in range(3)} | {1}) > 1


@pytest.mark.parametrize(("head", "context", "contrastive"), CASES)
def test_each_part_is_what_it_would_be_in_a_stack_of_its_own(
    head: str, context: str, contrastive: str
) -> None:
    """The largest part decides the batches, so that it is the same alone; to rounding, since
    alone it is not padded."""
    parts = [make_part(name, contrastive) for name in "abc"]
    short = replace(GENTLE, epochs=1)
    together = fit(parts, (0, 1), head, context, short)
    alone = fit(parts[:1], (0, 1), head, context, short)
    for one, other in zip(together.model.parameters(), alone.model.parameters(), strict=True):
        torch.testing.assert_close(one[:2], other, atol=2e-4, rtol=1e-3)
    found = predict_parts(together.model, [part.dev for part in parts], [2, 2, 2])
    for number, part in enumerate(parts):
        assert found[number].logits.shape == (2, len(part.dev), 3)
        own = build_model(replace(MODEL, head=head, context=context), FILES, 3, (0, 1))
        for parameter, whole in zip(own.parameters(), together.model.parameters(), strict=True):
            parameter.data = whole.data[2 * number : 2 * number + 2]
        (single,) = predict_parts(own, [part.dev], [2])
        torch.testing.assert_close(found[number].logits, single.logits, atol=1e-5, rtol=1e-5)
