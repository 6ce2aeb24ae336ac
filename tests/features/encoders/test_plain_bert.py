"""The plain loop over BERT's layers has the bits of transformers' own forward."""

import numpy as np
import pytest
import torch
import transformers
from checkpoints import tiny_bert

from erc_features.encoders import load_encoder
from erc_features.encoders.base import Settings
from erc_features.encoders.plain_bert import States, quicken
from erc_features.utterance import Modality

SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
         "intermediate_size": 100, "max_position_embeddings": 70, "vocab_size": 90}  # fmt: skip
SHAPES = [(1, 1), (1, 60), (3, 2), (64, 7), (5, 33)]


def made(kind, **more):
    torch.manual_seed(1)
    config = getattr(transformers, f"{kind}Config")(**SIZES | more)
    model = transformers.AutoModel.from_config(config).eval()
    for parameter in model.parameters():  # norms and biases that matter
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model


def layers(found):
    return [*found.hidden_states[:-1], found.last_hidden_state]


@pytest.mark.parametrize("kind", ["Bert", "Roberta", "XLMRoberta", "Camembert"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_bits_are_those_of_transformers(kind, dtype):
    model = made(kind).to(dtype)
    whole = model.forward
    assert quicken(model) is model
    for shape in SHAPES:
        ids = torch.randint(3, 90, shape)
        given = {"input_ids": ids, "attention_mask": None, "output_hidden_states": True}
        found = model(**given)
        assert isinstance(found, States), "the plain loop computed it"
        pairs = zip(layers(found), layers(whole(**given)), strict=True)
        assert all(torch.equal(mine, theirs) for mine, theirs in pairs)


@torch.inference_mode()
def test_what_it_is_not_made_for_is_left_to_transformers():
    model = quicken(made("Bert"))
    ids = torch.randint(3, 90, (2, 6))
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    masked = model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
    assert not isinstance(masked, States)
    assert model(input_ids=ids).pooler_output.shape == (2, 32)


@pytest.mark.parametrize("more", [
    {"hidden_act": "relu"}, {"is_decoder": True}, {"chunk_size_feed_forward": 2},
    {"attn_implementation": "eager"},
])  # fmt: skip
def test_another_network_stays_as_it_is(more):
    assert "forward" not in vars(quicken(made("Bert", **more)))
    assert "forward" not in vars(quicken(made("Electra")))


def test_a_loop_with_other_bits_is_not_used():
    """As if a version of transformers had moved something."""
    model = made("Bert")
    model.encoder.layer[1].register_forward_hook(lambda *call: call[-1] * 1.0001)
    assert "forward" not in vars(quicken(model))


def test_a_text_encoder_uses_it(tmp_path):
    encoder = load_encoder(str(tiny_bert(tmp_path / "bert")), Modality.TEXT, Settings())
    alike = ["no no no", "ok ok ok", "go go go"]
    fast = encoder.encode(alike)
    assert "forward" in vars(encoder.model)
    del encoder.model.forward
    assert np.array_equal(encoder.encode(alike), fast)
