"""Every head, also with a context: masks, batch-mates, and the table of heads."""

from dataclasses import replace
from importlib.metadata import EntryPoint

import numpy as np
import pytest
import torch
from torch import Tensor

from erc_features import plugins
from erc_features.errors import ErcError
from erc_fusion.config.config import LossConfig, ModelConfig, TrainingConfig
from erc_fusion.model.fusion import FusionModel, Split, build_model
from erc_fusion.model.heads import HEADS, load_head
from erc_fusion.model.heads.base import Head, HeadShape
from erc_fusion.model.heads.gated import sigmoid
from erc_fusion.model.layers import Stack, generator
from erc_fusion.training.losses import make_objective
from erc_fusion.training.parts import Part
from erc_fusion.training.train import Trained, predict, train

FILES = {"text.t": (3, 10), "audio.a": (1, 6)}
CASES = [*((head, "none") for head in HEADS), ("mlp", "gru"), ("attention", "gru")]


def make_split(dialogues: int = 12) -> Split:
    lengths = torch.tensor([1 + (5 * d) % 7 for d in range(dialogues)])
    rows = int(lengths.sum())
    source = generator(0, "split")
    x = {stem: torch.randn(rows, *shape, generator=source) for stem, shape in FILES.items()}
    present = torch.rand(rows, 2, generator=source) < 0.7
    for m, stem in enumerate(FILES):
        x[stem][~present[:, m]] = 0
    label = torch.randint(-1, 4, (rows,), generator=source)
    return Split(x, present, label, torch.arange(dialogues).repeat_interleave(lengths))


def part(split: Split, rows: Tensor) -> Split:
    x = {stem: values[rows] for stem, values in split.x.items()}
    return Split(x, split.present[rows], split.label[rows], split.dialogue[rows])


def make_model(head: str, context: str = "none", seeds: tuple[int, ...] = (0, 1)) -> FusionModel:
    return build_model(ModelConfig(head=head, context=context, width=16), FILES, 4, seeds)


@pytest.mark.parametrize(("head", "context"), CASES)
def test_one_alone_is_one_of_many(head: str, context: str) -> None:
    model, split = make_model(head, context), make_split()
    together = predict(model, split)
    for dialogue in (0, 3, 11):
        rows = torch.nonzero(split.dialogue == dialogue)[:, 0]
        if context == "none":
            rows = rows[:1]
        alone = predict(model, part(split, rows))
        torch.testing.assert_close(
            alone.probability, together.probability[:, rows], atol=1e-5, rtol=0
        )
        torch.testing.assert_close(alone.embedding, together.embedding[:, rows], atol=1e-5, rtol=0)


@pytest.mark.parametrize("head", HEADS)
def test_absent_files_have_no_influence_and_none_at_all_is_finite(head: str) -> None:
    model, split = make_model(head).eval(), make_split()
    wild = {stem: values.clone() for stem, values in split.x.items()}
    for m, stem in enumerate(FILES):
        wild[stem][~split.present[:, m]] = 1e3
    hidden = Split(wild, split.present, split.label, split.dialogue)
    torch.testing.assert_close(predict(model, hidden).logits, predict(model, split).logits)
    nothing = Split(wild, torch.zeros_like(split.present), split.label, split.dialogue)
    found = predict(model, nothing)
    assert torch.isfinite(found.logits).all()
    assert torch.equal(found.logits, found.logits[:, :1].expand_as(found.logits))


@pytest.mark.parametrize("head", HEADS)
def test_every_weight_of_every_seed_learns(head: str) -> None:
    model, split = make_model(head, seeds=(0, 1, 2)).train(), make_split()
    x = {stem: values.expand(3, *values.shape) for stem, values in split.x.items()}
    logits, embedding = model(x, split.present.expand(3, -1, -1))
    assert embedding.shape == (3, len(split), 16)
    (logits.square()[:2].sum() + embedding[:2].sum()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.shape[0] == 3, name
        assert parameter.grad is not None, name
        assert torch.all(parameter.grad[2] == 0), f"{name}: seeds are mixed"
        assert parameter.grad[:2].abs().flatten(1).sum(1).min() > 0, name


def test_modality_dropout_never_hides_everything() -> None:
    config = ModelConfig(head="mlp", width=8, modality_dropout=0.9)
    model = build_model(config, FILES, 4, (0, 1))
    present = torch.tensor([[True, True], [True, False], [False, False]]).repeat(200, 1)
    kept = model._hide(present.expand(2, -1, -1))
    assert torch.equal(kept.any(-1)[0], present.any(-1))
    assert torch.all(kept <= present)
    both = kept[:, ::3].float().mean((0, 1))
    assert torch.all((both > 0.8) & (both < 0.98))  # 0.81 + 0.09 + 0.01 = 0.91
    assert (kept[0] != kept[1]).any()


def test_the_triplet_head_is_on_the_unit_sphere() -> None:
    found = predict(make_model("triplet"), make_split())
    torch.testing.assert_close(found.embedding.norm(dim=-1), torch.ones(found.embedding.shape[:2]))


def test_the_linear_head_is_linear() -> None:
    head = load_head("linear")(Stack((0,)), HeadShape(FILES, 8, 0.5)).eval()
    present = torch.ones(1, 5, 2, dtype=torch.bool)
    a, b = ({s: torch.randn(1, 5, *shape) for s, shape in FILES.items()} for _ in range(2))
    middle = {stem: (a[stem] + b[stem]) / 2 for stem in FILES}
    expected = (head(a, present) + head(b, present)) / 2
    torch.testing.assert_close(head(middle, present), expected)


THREE = {"text.t": (3, 5), "audio.a": (1, 4), "visual.v": (2, 3)}
COMBINATIONS = torch.tensor([[m >> bit & 1 for bit in range(3)] for m in range(8)]) > 0


def random_head(name: str, width: int, seeds: tuple[int, ...]) -> Head:
    """In evaluation mode and float64, every weight away from where it starts."""
    head = load_head(name)(Stack(seeds), HeadShape(THREE, width, 0.5)).double().eval()
    for n, parameter in enumerate(head.parameters()):
        for own, seed in zip(parameter.data, seeds, strict=True):
            own += 0.3 * torch.randn(own.shape, generator=generator(seed, f"weight {n}"))
    return head


def random_files(seeds: int, rows: int) -> dict[str, Tensor]:
    return {
        stem: torch.randn(seeds, rows, *shape, generator=generator(0, stem)).double()
        for stem, shape in THREE.items()
    }


def by_hand(name: str, head: Head, seed: int, x: dict[str, np.ndarray]) -> np.ndarray:
    """The papers' formulas for one utterance that has at least the files `x`, each (L, D)."""
    weights = {n: p.detach().numpy()[seed].squeeze() for n, p in head.named_parameters()}

    def linear(layer: str, value: np.ndarray) -> np.ndarray:
        return value @ weights[f"{layer}.weight"] + weights[f"{layer}.bias"]

    def softmax(value: np.ndarray) -> np.ndarray:
        return np.exp(value) / np.exp(value).sum()

    def hidden(m: int) -> np.ndarray:
        normal = (files[m] - files[m].mean()) / np.sqrt(files[m].var() + 1e-5)
        return np.maximum(normal * weights[f"norms.{m}.weight"] + weights[f"norms.{m}.bias"], 0)

    files = {}
    for m, stem in enumerate(THREE):
        if stem in x:
            mix = softmax(weights.get(f"project.files.{m}.mix.weight", np.zeros(1)))
            files[m] = linear(f"project.files.{m}.linear", mix @ x[stem])
    if name == "late":
        shares = softmax(weights["weight"][list(files)])
        return sum(p * linear(f"out.{m}", hidden(m)) for p, m in zip(shares, files, strict=True))
    if name == "gated":
        read = np.concatenate([files.get(m, np.zeros(7)) for m in range(3)])
        gates = (1 / (1 + np.exp(-linear("gates", read)))).reshape(3, -1)
        return sum(gates[m] * np.tanh(value) for m, value in files.items())
    product = np.ones(4 * 7)
    for m in files:  # [h; 1] W, whose last row is 1 and what the head keeps of it
        last = 1 + weights[f"factors.{m}.bias"]
        product *= np.append(hidden(m), 1) @ np.vstack([weights[f"factors.{m}.weight"], last])
    return weights["weight"] @ (product.reshape(4, 7) - 1)


@pytest.mark.parametrize("name", ["late", "gated", "lowrank"])
def test_a_head_is_its_papers_formula_without_the_absent_files(name: str) -> None:
    head = random_head(name, 7, (3, 5))
    x = random_files(2, 8)
    out = head(x, COMBINATIONS.expand(2, -1, -1)).detach().numpy()
    for seed in range(2):
        for row, has in enumerate(COMBINATIONS):
            own = {s: x[s][seed, row].numpy() for s, on in zip(THREE, has, strict=True) if on}
            expected = by_hand(name, head, seed, own) if own else np.zeros(7)
            np.testing.assert_allclose(out[seed, row], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["late", "gated", "lowrank"])
def test_gradients_are_finite_differences(name: str) -> None:
    head = random_head(name, 3, (3,))
    names = list(dict(head.named_parameters()))
    present = COMBINATIONS[[7, 5, 0]][None]

    def forward(*values: Tensor) -> Tensor:
        x = dict(zip(THREE, values[:3], strict=True))
        weights = dict(zip(names, values[3:], strict=True))
        return torch.func.functional_call(head, weights, (x, present))

    values = [v.requires_grad_() for v in random_files(1, 3).values()]
    assert torch.autograd.gradcheck(forward, (*values, *head.parameters()), fast_mode=True)


def fit(
    split: Split, config: ModelConfig, seeds: tuple[int, ...], size: int, count: int
) -> Trained:
    files = {stem: (values.shape[1], values.shape[2]) for stem, values in split.x.items()}
    model = build_model(config, files, 4, seeds)
    objective = make_objective(LossConfig(contrastive="none"), torch.ones(4))
    settings = TrainingConfig(batch_size=size, epochs=count, patience=count, lr=5e-3)
    return train(model, seeds, [Part(split, split, objective)], settings, "accuracy")


@pytest.mark.parametrize("name", ["late", "gated", "lowrank"])
@pytest.mark.soak
def test_a_seed_alone_is_the_same_to_the_bit_after_20_odd_steps(name: str) -> None:
    rows, source = 151, generator(0, "odd")
    x = {stem: values[0].float() for stem, values in random_files(1, rows).items()}
    present = torch.rand(rows, 3, generator=source) < 0.8
    label = torch.randint(0, 4, (rows,), generator=source)
    split = Split(x, present, label, torch.arange(rows))
    config = ModelConfig(head=name, width=13, dropout=0.3)
    # 20 steps of 30 and 31 rows: no seed's numbers are whole vectors.
    together, alone = (fit(split, config, seeds, 31, 4) for seeds in ((4, 0, 1), (0,)))
    assert alone.history == [r for r in together.history if r["seed"] == 0]
    for (weight, one), three in zip(
        alone.model.named_parameters(), together.model.parameters(), strict=True
    ):
        assert torch.equal(one[0], three[1]), weight


@pytest.mark.parametrize("name", ["late", "gated", "lowrank"])
@pytest.mark.parametrize(("rows", "width"), [(1, 7), (5, 1), (1, 15), (31, 33)])
def test_a_seeds_gradients_do_not_depend_on_its_place(name: str, rows: int, width: int) -> None:
    x = {stem: values.float() for stem, values in random_files(3, rows).items()}
    present = torch.rand(3, rows, 3, generator=generator(0, "place")) < 0.8
    scale = torch.randn(3, rows, width, generator=generator(1, "place"))

    def outcome(seeds: tuple[int, ...], own: slice) -> list[Tensor]:
        head = load_head(name)(Stack(seeds), HeadShape(THREE, width, 0.3))
        out = head({stem: values[own] for stem, values in x.items()}, present[own])
        (out * scale[own]).sum().backward()
        return [out, *(weight.grad for weight in head.parameters())]

    together = outcome((4, 0, 1), slice(None))
    for place, seed in enumerate((4, 0, 1)):
        for one, three in zip(outcome((seed,), slice(place, place + 1)), together, strict=True):
            assert torch.equal(one[0], three[place])


def test_the_gates_sigmoid_does_not_round_by_place() -> None:
    for rows, width in ((1, 7), (5, 1), (3, 13), (31, 33)):
        x = 4 * torch.randn(3, rows, width, generator=generator(rows, "sigmoid"))
        together = sigmoid(x)
        torch.testing.assert_close(together.double(), x.double().sigmoid(), rtol=0, atol=2e-7)
        for place in range(3):
            assert torch.equal(sigmoid(x[place].clone()), together[place])


@pytest.mark.soak
def test_what_only_two_modalities_together_tell() -> None:
    """The label is whether two files agree: no sum of unimodal logits knows that."""
    source = generator(0, "agree")
    sides = torch.randint(0, 2, (600, 2), generator=source)
    x = {
        stem: torch.randn(600, 1, 4, generator=source) + 3 * side[:, None, None]
        for stem, side in zip(FILES, (sides * 2 - 1).T, strict=True)
    }
    label = (sides[:, 0] == sides[:, 1]).long()
    split = Split(x, torch.ones(600, 2, dtype=torch.bool), label, torch.arange(600))
    config = ModelConfig(width=16, dropout=0.1, modality_dropout=0.0)
    for name in HEADS:
        trained = fit(split, replace(config, head=name), (0, 1), 60, 8)
        for seed in (0, 1):
            scores = [r["dev"]["accuracy"] for r in trained.history if r["seed"] == seed]
            right = max(scores) > 0.95
            assert right == (name not in ("linear", "late")), (name, seed, max(scores))


def test_an_unknown_head_names_the_choices() -> None:
    with pytest.raises(ErcError, match="Unknown head 'mpl'; choose from attention, gated, late"):
        load_head("mpl")


def test_plug_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    def plug(name: str, value: str) -> None:
        points = [EntryPoint(name, value, "erc.heads")]
        monkeypatch.setattr(plugins, "_installed", lambda group, places: points)

    plug("mine", "erc_fusion.model.heads.linear:LinearHead")
    assert load_head("mine").__name__ == "LinearHead"
    plug("mlp", "somewhere:Else")
    with pytest.raises(ErcError, match=r"Two plug-ins .* called 'mlp'.*somewhere:Else"):
        load_head("mlp")
    plug("broken", "nowhere_at_all:Head")
    with pytest.raises(ErcError, match="The plug-in nowhere_at_all:Head can't be loaded"):
        load_head("broken")
    plug("wide", "erc_fusion.model.heads.attention:AttentionHead")
    with pytest.raises(ErcError, match="width 18 does not divide into 4"):
        load_head("wide")(Stack((0,)), HeadShape(FILES, 18, 0.5))
