"""The contexts: what reaches an utterance from its dialogue, and what must not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fusion_files import embeddings, make_corpus, write_features
from torch import Tensor

from erc_fusion.config.config import (
    FuseConfig,
    LossConfig,
    ModelConfig,
    TrainingConfig,
    with_options,
)
from erc_fusion.fuse import fuse
from erc_fusion.inputs import standardise
from erc_fusion.inputs.sources import find_sources
from erc_fusion.inputs.standardise import Standardiser, fit_standardiser
from erc_fusion.inputs.table import FeatureTable, load_table
from erc_fusion.model.context import CONTEXTS
from erc_fusion.model.context.base import ContextShape, Dialogues, Sequences, by_length
from erc_fusion.model.context.gru import parties
from erc_fusion.model.context.transformer import TransformerContext
from erc_fusion.model.fusion import FusionModel, Split, build_model
from erc_fusion.model.layers import Stack, generator
from erc_fusion.training.checkpoint import load_weights
from erc_fusion.training.losses import make_objective
from erc_fusion.training.parts import Part
from erc_fusion.training.train import predict, predict_parts, train

FILES = {"text.t": (2, 9), "audio.a": (1, 5)}
REAL = [name for name in CONTEXTS if name != "none"]
KNOWN = 3  # frequent speakers


def make_split(lengths: tuple[int, ...], name: str = "split") -> Split:
    """Three parties a dialogue; some rows have no modality at all."""
    rows, source = sum(lengths), generator(0, name)
    x = {stem: torch.randn(rows, *shape, generator=source) for stem, shape in FILES.items()}
    present = torch.rand(rows, 2, generator=source) < 0.6
    for m, stem in enumerate(FILES):
        x[stem][~present[:, m]] = 0
    label = torch.randint(-1, 4, (rows,), generator=source)
    dialogue = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    speaker = torch.randint(0, KNOWN + 1, (rows,), generator=source)
    party = torch.randint(0, 3, (rows,), generator=source)
    return Split(x, present, label, dialogue, speaker, party)


def some(split: Split, rows: Tensor) -> Split:
    assert split.speaker is not None and split.party is not None
    x = {stem: values[rows] for stem, values in split.x.items()}
    columns = (split.present, split.label, split.dialogue, split.speaker, split.party)
    return Split(x, *(column[rows] for column in columns))


def make_model(
    context: str, *, seeds: tuple[int, ...] = (0, 1), width: int = 16, **options: object
) -> FusionModel:
    config = replace(ModelConfig(context=context, width=width), **options)
    model = build_model(config, FILES, 4, seeds, speakers=KNOWN)
    if (known := getattr(getattr(model.context, "speaker", None), "known", None)) is not None:
        torch.nn.init.normal_(known.weight)  # they start at zero
    return model.eval()


LENGTHS = (6, 1, 19, 3, 1, 12)


@pytest.mark.parametrize("reach", ["whole", "past"])
@pytest.mark.parametrize("context", REAL)
def test_past_is_past_and_whole_is_whole(context: str, reach: str) -> None:
    """By gradients: exactly zero from what comes later, and from every other dialogue."""
    model, split = make_model(context, reach=reach), make_split(LENGTHS)
    split = replace(split, present=torch.ones_like(split.present))
    x = split.x["text.t"].requires_grad_()
    first, at = 7, 9  # the third dialogue begins there; an utterance in the midst of it
    with torch.enable_grad():
        logits = predict_parts.__wrapped__(model, [split], [model.seeds])[
            0
        ].logits  # without inference mode
        (grad,) = torch.autograd.grad(logits[:, first + at].square().sum(), x)
    reached = grad.abs().sum((1, 2)) > 0
    assert not reached[:first].any() and not reached[first + 19 :].any()
    assert reached[first : first + at + 1].all()
    assert reached[first + at + 1 : first + 19].all() == (reach == "whole")
    assert reached[first + at + 1 : first + 19].any() == (reach == "whole")


@pytest.mark.parametrize("reach", ["whole", "past"])
@pytest.mark.parametrize("context", REAL)
def test_a_later_utterance_that_changes(context: str, reach: str) -> None:
    """Its features, its speaker, whether it is there at all: nothing before it moves."""
    model, split = make_model(context, reach=reach), make_split((14, 9))
    assert split.speaker is not None and split.party is not None
    before, at = predict(model, split).logits, 10
    speaker, party, present = split.speaker.clone(), split.party.clone(), split.present.clone()
    x = {stem: values.clone() for stem, values in split.x.items()}
    x["text.t"][at] += 3
    present[at] = True
    speaker[at] = (speaker[at] + 1) % (KNOWN + 1)
    party[at] = (party[at] + 1) % 3
    by_features = replace(split, x=x, present=present)
    by_speaker = replace(split, speaker=speaker)
    by_party = replace(split, party=party)
    cut = some(split, torch.cat([torch.arange(at), torch.arange(14, 23)]))
    for other in (by_features, by_speaker, by_party, cut):
        after = predict(model, other).logits
        assert not torch.allclose(after[:, at], before[:, at], atol=1e-3)
        moved = (after[:, :at] - before[:, :at]).abs().max()
        assert moved < 2e-6 if reach == "past" else moved > 1e-3
        torch.testing.assert_close(after[:, -9:], before[:, -9:], atol=2e-6, rtol=0)


@pytest.mark.parametrize("reach", ["whole", "past"])
@pytest.mark.parametrize("context", REAL)
def test_dialogues_do_not_touch(context: str, reach: str) -> None:
    model, split = make_model(context, reach=reach), make_split(LENGTHS)
    together = predict(model, split)
    for dialogue in range(len(LENGTHS)):
        rows = torch.nonzero(split.dialogue == dialogue)[:, 0]
        alone = predict(model, some(split, rows))
        torch.testing.assert_close(alone.logits, together.logits[:, rows], atol=1e-5, rtol=0)
    assert torch.isfinite(together.logits).all()


@pytest.mark.parametrize("context", REAL)
def test_who_is_who_matters_and_numbers_do_not(context: str) -> None:
    split = make_split((15, 8))
    assert split.speaker is not None and split.party is not None
    swapped = replace(split, party=torch.tensor([1, 2, 0])[split.party])
    merged = replace(split, party=split.party.clamp(max=1))
    stranger = replace(split, speaker=torch.zeros_like(split.speaker))
    model = make_model(context)
    before = predict(model, split).logits
    torch.testing.assert_close(predict(model, swapped).logits, before, atol=1e-5, rtol=0)
    assert (predict(model, merged).logits - before).abs().max() > 1e-3
    assert (predict(model, stranger).logits - before).abs().max() > 1e-3
    deaf = make_model(context, speakers=False)
    before = predict(deaf, split).logits
    for other in (merged, stranger, replace(split, speaker=None, party=None)):
        assert torch.equal(predict(deaf, other).logits, before)


@pytest.mark.parametrize("context", REAL)
def test_rows_with_nothing_take_part_as_zeros(context: str) -> None:
    model, split = make_model(context), make_split((7,))
    nothing = replace(split, present=torch.zeros_like(split.present))
    wild = replace(nothing, x={stem: values + 9 for stem, values in split.x.items()})
    assert torch.equal(predict(model, wild).logits, predict(model, nothing).logits)
    with torch.no_grad():
        fed = model.context(torch.zeros(2, 7, 16), _dialogues(nothing).expand(2))
    torch.testing.assert_close(predict(model, nothing).embedding, fed)


def _dialogues(split: Split):
    from erc_fusion.training.batches import gather, whole_dialogues

    found = gather(split, next(whole_dialogues(split, len(split), None)))[3]
    assert found is not None
    return found


@pytest.mark.parametrize("speakers", [True, False])
@pytest.mark.parametrize("reach", ["whole", "past"])
@pytest.mark.parametrize("context", REAL)
def test_every_weight_of_every_seed_learns(context: str, reach: str, speakers: bool) -> None:
    model = make_model(context, seeds=(0, 1, 2), reach=reach, speakers=speakers).train()
    split = make_split((23, 1, 14))
    x = {stem: values.expand(3, *values.shape) for stem, values in split.x.items()}
    logits, embedding = model(x, split.present.expand(3, -1, -1), _dialogues(split).expand(3))
    (logits.square()[:2].sum() + embedding.square()[:2].sum()).backward()
    for name, parameter in model.context.named_parameters():
        assert parameter.grad is not None, name
        assert torch.all(parameter.grad[2] == 0), f"{name}: seeds are mixed"
        assert parameter.grad[:2].abs().flatten(1).sum(1).min() > 0, name


# Both at an odd width: vectors that end inside a cache line.
CASES = [("gru", "whole", True, 27), ("transformer", "whole", True, 27)]
MORE = [("gru", "past", True, 16), ("transformer", "past", True, 16)]
MORE += [(c, r, s, 256) for c in REAL for r, s in (("whole", True), ("past", False))]
MORE = [pytest.param(*case, marks=pytest.mark.soak) for case in MORE]


@pytest.mark.parametrize(("context", "reach", "speakers", "width"), CASES + MORE)
def test_a_seed_alone_is_the_same_among_ten(
    context: str, reach: str, speakers: bool, width: int
) -> None:
    config = ModelConfig("attention" if width == 16 else "linear", context, reach, speakers, width)
    lengths = (22, *(1 + (5 * d * d) % 13 for d in range(40)))  # one is of two cache lines
    split, dev = make_split(lengths), make_split((6, 1, 3))
    objective = make_objective(LossConfig(contrastive="none"), torch.ones(4, dtype=torch.int64))
    training = TrainingConfig(batch_size=64, epochs=5, patience=9, lr=3e-3)
    found = []
    for seeds in (tuple(range(10)), (7,)):
        model = build_model(config, FILES, 4, seeds, speakers=KNOWN)
        found.append(train(model, seeds, [Part(split, dev, objective)], training, "accuracy"))
    ten, one = found
    assert len(split) // 64 * training.epochs >= 20  # steps
    assert one.history == [record for record in ten.history if record["seed"] == 7]
    for (name, alone), among in zip(
        one.model.named_parameters(), ten.model.parameters(), strict=True
    ):
        assert torch.equal(alone[0], among[7]), name


def task(dialogues: int, own: bool, name: str) -> Split:
    """The label is what the utterance before said: of all, or of the same speaker (`own`)."""
    source = generator(0, name)
    said = torch.randint(0, 2, (dialogues, 8), generator=source)
    party = torch.randint(0, 3, (dialogues, 8), generator=source)
    label = torch.full_like(said, -1)
    for dialogue in range(dialogues):
        for t in range(1, 8):
            before = [u for u in range(t) if not own or party[dialogue, u] == party[dialogue, t]]
            if before:
                label[dialogue, t] = said[dialogue, before[-1]]
    x = torch.nn.functional.one_hot(said.flatten(), 2).float() * 2 - 1
    x = torch.cat([x, 0.1 * torch.randn(len(x), 2, generator=source)], dim=1)[:, None]
    number = torch.arange(dialogues).repeat_interleave(8)
    present = torch.ones(len(x), 1, dtype=torch.bool)
    return Split({"text.t": x}, present, label.flatten(), number, None, party.flatten())


def dev_accuracy(own: bool, context: str, **options: object) -> float:
    config = replace(ModelConfig(context=context, width=32, dropout=0.0), **options)
    model = build_model(config, {"text.t": (1, 4)}, 2, (0,))
    objective = make_objective(LossConfig(contrastive="none"), torch.ones(2, dtype=torch.int64))
    training = TrainingConfig(batch_size=100, epochs=5, lr=6e-3)
    learn, dev = task(120, own, "learn"), task(40, own, "dev")
    trained = train(model, (0,), [Part(learn, dev, objective)], training, "accuracy")
    right = predict(trained.model, dev).logits.argmax(-1) == dev.label
    return right[:, dev.label >= 0].float().mean().item()


def test_the_utterance_before_is_learned_from() -> None:
    assert dev_accuracy(False, "none") < 0.62
    for context, reach in zip(REAL, ("whole", "past"), strict=True):
        assert dev_accuracy(False, context, reach=reach) > 0.9, (context, reach)


@pytest.mark.parametrize("context", REAL)
def test_what_the_same_speaker_said_is_learned_from(context: str) -> None:
    knows = dev_accuracy(True, context, reach="past")
    guesses = dev_accuracy(True, context, reach="past", speakers=False)
    assert knows > 0.9 and guesses < 0.85, (knows, guesses)


def test_sequences_there_and_back_with_gradients() -> None:
    place = torch.tensor([[[3, 0, -1], [1, -1, -1]], [[0, 1, 2], [-1, -1, -1]]])
    for heads, unit in ((1, 16), (3, 16), (1, 1), (3, 1)):
        places = by_length(place, unit)
        assert len(places) == (1 if unit == 16 else 3)
        sequences = Sequences(places, 4, heads)
        x = torch.randn(2, 4, 6, requires_grad=True)
        read = sequences.read(x)
        for part, own in zip(read, places, strict=True):
            assert part.shape == (2, own.shape[1], heads, own.shape[2], 6 // heads)
            joined = part.transpose(2, 3).flatten(3)
            for s in range(2):
                assert torch.equal(joined[s][own[s] >= 0], x[s, own[s][own[s] >= 0]])
        back = sequences.write(read)
        known = torch.tensor([[1, 1, 0, 1], [1, 1, 1, 0]])[..., None]
        assert torch.equal(back, x * known)
        weight = torch.randn(2, 4, 6)
        (grad,) = torch.autograd.grad((back * weight).sum(), x)
        assert torch.equal(grad, weight * known)


def test_a_seeds_infinity_stays_its_own() -> None:
    place = torch.tensor([[[0, 1, -1]], [[0, -1, -1]], [[2, 1, 0]]])
    x = torch.randn(3, 3, 8)
    x[2, 2] = torch.inf
    context = TransformerContext(Stack((1, 2, 3)), ContextShape(8, 0.0, speakers=False))
    party = torch.zeros(3, 3, dtype=torch.int64)
    found = context(x, Dialogues(place, party, party))
    assert found[:2, :2].isfinite().all() and not found[2].isfinite().all()


def test_parties_are_the_utterances_of_one_speaker() -> None:
    split = make_split(LENGTHS)
    found = _dialogues(split)
    lines = parties(found.place, found.party)[0]
    kept = lines[lines >= 0]
    assert torch.equal(kept.sort().values, torch.arange(len(split)))
    assert split.party is not None
    for line in lines:
        rows = line[line >= 0]
        assert len(rows) and torch.all(line[len(rows) :] == -1)
        assert torch.equal(rows, rows.sort().values)
        same = (split.dialogue == split.dialogue[rows[0]]) & (split.party == split.party[rows[0]])
        assert torch.equal(torch.nonzero(same)[:, 0], rows)


def make_table(folder: Path, names: dict[str, str] | None = None) -> FeatureTable:
    """A corpus whose speakers s0 and s1 have other `names` in the first train dialogue of 9."""
    corpus = make_corpus()
    if names is not None:
        rows = corpus.rows
        for row, (split, dialogue) in enumerate(zip(rows.split, rows.dialogue, strict=True)):
            if split == "train" and dialogue == 7:
                rows.speaker[row] = names[rows.speaker[row]]
    write_features(folder / "tiny", "text.t", corpus, embeddings(corpus, 2, 9))
    write_features(folder / "tiny", "audio.a", corpus, embeddings(corpus, 1, 5))
    return load_table(find_sources(folder / "tiny"))


@pytest.mark.parametrize("context", REAL)
def test_names_of_the_rare_do_not_matter_but_who_is_who(context: str, tmp_path: Path) -> None:
    logits = []
    model = make_model(context)
    for place, names in enumerate(
        [
            {"s0": "Ann", "s1": "Bob"},
            {"s0": "Bob", "s1": "Ann"},
            {"s0": "Ann", "s1": "Ann"},
            {"s0": "", "s1": ""},
        ]
    ):
        table = make_table(tmp_path / str(place), names)
        rows = np.flatnonzero((table.split == "train") & (table.dialogue == 7))
        assert len(rows) == 9 and len(set(table.speaker[rows])) == len(set(names.values()))
        split = fit_standardiser(table, table.rows("train")).split(table, rows, "cpu")
        logits.append(predict(model, split).logits)
    assert torch.equal(logits[0], logits[1])
    for one, other in ((0, 2), (0, 3), (2, 3)):  # nothing says that the nameless are one
        assert (logits[one] - logits[other]).abs().max() > 1e-3


def test_known_speakers_are_those_of_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = make_table(tmp_path, {"s0": "Ann", "s1": ""})
    train, dev = table.rows("train"), table.rows("dev")
    assert fit_standardiser(table, train).speakers == ()  # nobody has a hundred utterances
    monkeypatch.setattr(standardise, "FREQUENT", 5)
    fitted = fit_standardiser(table, train)
    assert fitted.speakers == ("s0", "s1", "Ann")
    split = fitted.split(table, train, "cpu")
    assert split.speaker is not None
    number = {"s0": 1, "s1": 2, "Ann": 3, "": 0}
    assert split.speaker.tolist() == [number[name] for name in table.speaker[train]]
    monkeypatch.setattr(standardise, "SPEAKERS", 1)
    few = fit_standardiser(table, train)
    assert few.speakers == ("s0",)
    other = few.split(table, dev, "cpu")
    assert other.speaker is not None and other.party is not None
    assert set(other.speaker.tolist()) == {0, 1}
    assert other.party.tolist() == [int(name == "s1") for name in table.speaker[dev]]
    nobody = Standardiser(few.mean, few.scale).split(table, dev, "cpu")
    assert nobody.speaker is not None and not nobody.speaker.any()


@pytest.mark.parametrize("context", REAL)
def test_a_stored_run_knows_its_speakers(
    context: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standardise, "FREQUENT", 5)
    table = make_table(tmp_path / "features", {"s0": "Ann", "s1": "Zoë"})
    config = with_options(
        FuseConfig(), corpus="tiny", features=str(tmp_path / "features"), context=context,
        runs=str(tmp_path / "runs"), device="cpu", width=16, epochs=3, seeds=(0, 1), lr=0.01,
    )  # fmt: skip
    run = fuse(config).run
    assert run.inputs["speakers"] == ["s0", "s1", "Ann"]  # Zoë speaks four times
    weights = load_weights(run)
    assert weights.standardiser.speakers == ("s0", "s1", "Ann")
    rows = table.rows("test")
    stored = run.predictions().query("split == 'test'")[["p_anger", "p_joy", "p_neutral"]]
    probability = weights.predict(table, rows).probability
    np.testing.assert_array_equal(probability.reshape(-1, 3), stored)
    speaker = np.where(table.speaker == "s0", "Ann", table.speaker)
    other = weights.predict(replace(table, speaker=speaker), rows).probability
    assert np.abs(other - probability).max() > 1e-5
