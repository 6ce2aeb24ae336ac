"""`--pool model`, compared with sentence-transformers on folders that it wrote itself."""

import json
import shutil

import numpy as np
import pytest
from checkpoints import tiny_bert, tiny_llama

from erc_features.encoders import load_encoder
from erc_features.encoders.base import Settings
from erc_features.errors import EncoderError
from erc_features.utterance import Modality

TEXTS = ["great", "no the text", "lovely " * 20, "the " * 90, "Ünï don't! 42"]
QUERY = {"query": "the text: ", "document": "no: "}


def load(name, **settings):
    return load_encoder(str(name), Modality.TEXT, Settings(pool="model", **settings))


def written(folder, base, *, dense=0, normalise=False, prompts=None, default=None, **pooling):
    """A folder of sentence-transformers, and its model."""
    import torch
    from sentence_transformers import SentenceTransformer, models

    steps = [models.Transformer(str(base)), models.Pooling(16, **pooling)]
    tokenizer = steps[0].tokenizer
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    width = steps[1].get_embedding_dimension()
    torch.manual_seed(0)
    for n in range(dense):
        activation = torch.nn.Tanh() if n == 0 else torch.nn.Identity()
        steps.append(models.Dense(width, 8 + n, bias=n == 0, activation_function=activation))
        width = 8 + n
    if normalise:
        steps.append(models.Normalize())
    made = SentenceTransformer(modules=steps, device="cpu", prompts=prompts or {},
                               default_prompt_name=default)  # fmt: skip
    made.save(str(folder))
    return SentenceTransformer(str(folder), device="cpu")


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    root = tmp_path_factory.mktemp("bases")
    return {"bert": tiny_bert(root / "bert"), "llama": tiny_llama(root / "llama", side="left")}


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("base", "how"),
    [
        ("bert", {"pooling_mode": "mean", "normalise": True}),
        ("bert", {"pooling_mode": "cls", "prompts": QUERY, "default": "query"}),
        ("bert", {"pooling_mode": ("mean", "max", "mean_sqrt_len_tokens"), "dense": 2}),
        ("bert", {"pooling_mode": "mean", "prompts": QUERY, "default": "document",
                  "include_prompt": False}),
        ("bert", {"pooling_mode": ("lasttoken", "cls"), "prompts": QUERY, "default": "query",
                  "include_prompt": False}),
        ("llama", {"pooling_mode": "lasttoken", "normalise": True, "prompts": QUERY}),
        ("llama", {"pooling_mode": "weightedmean"}),
    ],
    ids=["mean", "cls", "joined", "without-prompt", "cls-without-prompt", "last", "weighted"],
)  # fmt: skip
def test_it_equals_sentence_transformers(bases, tmp_path, base, how):
    theirs = written(tmp_path / "model", bases[base], **how)
    ours = load(tmp_path / "model")
    wanted = theirs.encode(TEXTS)
    x = ours.encode(TEXTS)
    assert x.shape == (5, 1, wanted.shape[1]) == (5, ours.layers, ours.dim)
    assert np.abs(x[:, 0] - wanted).max() < 1e-5
    for text, row in zip(TEXTS, x, strict=True):
        assert np.abs(ours.encode([text])[0] - row).max() < 1e-5
    if how.get("prompts"):
        asked = load(tmp_path / "model", prompt="query")
        wanted = theirs.encode(TEXTS, prompt_name="query")
        assert np.abs(asked.encode(TEXTS)[:, 0] - wanted).max() < 1e-5
        with pytest.raises(EncoderError, match="it names: document, query"):
            load(tmp_path / "model", prompt="passage")


def test_old_folders_and_real_minilm(minilm):
    from sentence_transformers import SentenceTransformer

    wanted = SentenceTransformer(str(minilm), device="cpu").encode(TEXTS)
    assert np.abs(load(minilm).encode(TEXTS)[:, 0] - wanted).max() < 1e-5


def test_dense_weights_and_steps_are_part_of_what_is_recorded(bases, tmp_path):
    written(tmp_path / "one", bases["bert"], pooling_mode="mean", dense=1)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    from safetensors.torch import load_file, save_file

    weights = next((tmp_path / "two").glob("*_Dense/model.safetensors"))
    state = load_file(weights)
    state["linear.bias"] += 1e-3
    save_file(state, weights)
    one, two = load(tmp_path / "one"), load(tmp_path / "two")
    assert one.revision == two.revision
    assert one.recorded["modules"] != two.recorded["modules"]


def test_errors(bases, tmp_path):
    with pytest.raises(EncoderError, match="it has neither modules.json"):
        load(bases["bert"])
    with pytest.raises(EncoderError, match="random weights have no such folder"):
        load("random:bert-base-uncased")
    folder = tmp_path / "model"
    written(folder, bases["bert"], pooling_mode="mean", dense=1)
    with pytest.raises(EncoderError, match="leave --layers out"):
        load(folder, layers="0,1")
    modules = json.loads((folder / "modules.json").read_text())
    odd = [*modules, {"idx": 3, "name": "3", "path": "3_LSTM", "type": "models.LSTM"}]
    (folder / "modules.json").write_text(json.dumps(odd))
    with pytest.raises(EncoderError, match=r"has models\.LSTM"):
        load(folder)
    (folder / "modules.json").write_text("{")
    with pytest.raises(EncoderError, match="cannot be read"):
        load(folder)
    (folder / "modules.json").write_text(json.dumps(modules))
    next(folder.glob("*_Dense/model.safetensors")).unlink()
    with pytest.raises(EncoderError, match=r"has no model\.safetensors"):
        load(folder)


@pytest.mark.soak
def test_real_mpnet_on_real_texts(encoders, meld_annotations):
    import csv

    import torch
    from sentence_transformers import SentenceTransformer
    from transformers import AutoModel, AutoTokenizer

    from erc_features.encoders.base import Turn

    with (meld_annotations / "test_sent_emo.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    texts = [row["Utterance"] for row in rows[:60]]
    folder = str(encoders / "mpnet")
    wanted = SentenceTransformer(folder, device="cpu").encode(texts)
    assert np.abs(load(folder).encode(texts)[:, 0] - wanted).max() < 1e-5
    said = tuple((row["Speaker"], row["Utterance"]) for row in rows if row["Dialogue_ID"] == "0")
    settings = Settings(history="all", reach="whole", pool="mean+max")
    found = load_encoder(folder, Modality.TEXT, settings).encode(
        [Turn(said, at) for at in range(len(said))]
    )
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    joined = tokenizer.sep_token.join(f"{speaker}: {text}" for speaker, text in said)
    tokens = tokenizer(joined, return_tensors="pt", return_offsets_mapping=True)
    spans = tokens.pop("offset_mapping")[0].tolist()
    with torch.no_grad():
        states = model.eval()(**tokens, output_hidden_states=True).hidden_states
    end = 0
    for (speaker, text), x in zip(said, found, strict=True):
        begin = joined.index(f"{speaker}: {text}", end) + len(speaker) + 2
        end = begin + len(text)
        own = [i for i, (a, b) in enumerate(spans) if begin <= a < b <= end]
        plain = torch.stack(
            [torch.cat([state[0, own].mean(0), state[0, own].amax(0)]) for state in states]
        ).numpy()
        assert np.abs(x - plain).max() < 1e-4


def edit(file, **changes):
    """Change entries of a JSON file; None takes them out."""
    told = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in told.items() if value is not None}))


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_what_is_not_said_is_as_in_sentence_transformers_or_refused(bases, tmp_path):
    from sentence_transformers import SentenceTransformer

    folder = tmp_path / "model"
    written(folder, bases["bert"], pooling_mode="mean", dense=2)
    dense = next(folder.glob("*_Dense")) / "config.json"
    edit(sorted(folder.glob("*_Dense"))[1] / "config.json", activation_function=None)  # tanh
    wanted = SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    assert np.abs(load(folder).encode(TEXTS)[:, 0] - wanted).max() < 1e-5
    told, named = folder / "sentence_bert_config.json", folder / "config_sentence_transformers.json"
    for file, changes in [
        (dense, {"use_residual": True}),
        (dense, {"module_input_name": "token_embeddings"}),
        (dense, {"activation_function": "their.own.Tanh"}),
        (folder / "1_Pooling" / "config.json", {"pooling_mode": "attention"}),
        (named, {"truncate_dim": 4}),
        (named, {"prompts": ["query: "]}),
        (told, {"transformer_task": "text-generation"}),
        (told, {"max_seq_length": "many"}),
        (told, {"modality_config": {"text": {"method": "get_text_features",
                                             "method_output_name": "pooler_output"}}}),
    ]:  # fmt: skip
        before = file.read_text()
        edit(file, **changes)
        with pytest.raises(EncoderError, match="|".join([*changes, "cannot be read"])):
            load(folder)
        file.write_text(before)
    modules = json.loads((folder / "modules.json").read_text())
    for wrong in (
        [modules[0] | {"type": "custom_st.Transformer"}, *modules[1:]],  # may read texts in its way
        [*modules, modules[1]],  # pools twice
    ):
        (folder / "modules.json").write_text(json.dumps(wrong))
        with pytest.raises(EncoderError, match=r"modules\.json has"):
            load(folder)
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling" / "config.json").unlink()
    with pytest.raises(EncoderError, match=r"1_Pooling has no config\.json"):
        load(folder)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_pooling_without_the_prompt_takes_no_history(bases, tmp_path):
    written(tmp_path / "model", bases["bert"], pooling_mode="mean", include_prompt=False)
    load(tmp_path / "model", history=2)
    with pytest.raises(EncoderError, match="leaves its prompt out"):
        load(tmp_path / "model", history=2, prompt="query: ")
