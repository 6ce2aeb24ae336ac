"""Every head, also with a context: masks, batch-mates, and the table of heads."""

from importlib.metadata import EntryPoint

import pytest
import torch
from torch import Tensor

from erc_features.errors import ErcError
from erc_fusion import heads
from erc_fusion.config import ModelConfig
from erc_fusion.heads import HEADS, load_head
from erc_fusion.heads.base import HeadShape
from erc_fusion.model import FusionModel, Split, build_model
from erc_fusion.stacked import Stack, generator
from erc_fusion.train import predict

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


def test_an_unknown_head_names_the_choices() -> None:
    with pytest.raises(ErcError, match="Unknown head 'mpl'; choose from attention, linear, mlp"):
        load_head("mpl")


def test_plug_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    def plug(name: str, value: str) -> None:
        points = [EntryPoint(name, value, "erc.heads")]
        monkeypatch.setattr(heads, "entry_points", lambda group: points)

    plug("mine", "erc_fusion.heads.linear:LinearHead")
    assert load_head("mine").__name__ == "LinearHead"
    plug("mlp", "somewhere:Else")
    with pytest.raises(ErcError, match=r"Two heads are called 'mlp'.*somewhere:Else"):
        load_head("mlp")
    plug("broken", "nowhere_at_all:Head")
    with pytest.raises(ErcError, match="'broken' cannot be loaded from nowhere_at_all:Head"):
        load_head("broken")
    plug("wide", "erc_fusion.heads.attention:AttentionHead")
    with pytest.raises(ErcError, match="width 18 does not divide into 4"):
        load_head("wide")(Stack((0,)), HeadShape(FILES, 18, 0.5))
