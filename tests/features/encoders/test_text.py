import numpy as np
import pytest
import torch
from checkpoints import tiny_bert, tiny_gpt2, tiny_llama, tiny_roberta
from corpora import write_rows

from erc_features.encoders import load_encoder
from erc_features.encoders.base import Settings, Turn, measure
from erc_features.errors import EncoderError, ErcError
from erc_features.extraction.extract import extract
from erc_features.store import FeatureFile
from erc_features.utterance import Modality

RANDOM = np.random.default_rng(0)
WORDS = ["great", "no", "the", "xyz", "42", "Ünï", "don't", "!", "🙂"]
TEXTS = [" ".join(RANDOM.choice(WORDS, n)) for n in RANDOM.integers(1, 40, 100)]


def turn(text, speaker, before, after=()):
    return Turn((*before, (speaker, text), *after), len(before))


TURNS = [
    turn(text, "Ross" if i % 3 else "", tuple(("Joey", t) for t in TEXTS[i + 1 : i + 1 + i % 4]))
    for i, text in enumerate(TEXTS)
]
KINDS = {"bert": tiny_bert, "roberta": tiny_roberta, "gpt2": tiny_gpt2, "llama": tiny_llama}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    root = tmp_path_factory.mktemp("checkpoints")
    return {kind: str(make(root / f"tiny-{kind}")) for kind, make in KINDS.items()}


def load(name, **settings):
    return load_encoder(str(name), Modality.TEXT, Settings(**settings))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("items", [TEXTS, TURNS], ids=["alone", "history"])
def test_a_row_does_not_depend_on_its_batch(checkpoints, kind, items):
    encoder = load(checkpoints[kind], pool="mean+std")
    alone = np.concatenate([encoder.encode([item]) for item in items])
    assert alone.shape == (100, 3, 32)
    assert len(np.unique(alone[:, 2].round(4), axis=0)) > 90
    for batch in np.array_split(RANDOM.permutation(100), 7):
        assert np.abs(encoder.encode([items[i] for i in batch]) - alone[batch]).max() < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_it_equals_a_plain_forward(checkpoints, kind):
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(checkpoints[kind])
    model = AutoModel.from_pretrained(checkpoints[kind]).eval()
    x = load(checkpoints[kind]).encode(TEXTS[:10])
    for text, row in zip(TEXTS[:10], x, strict=True):
        tokens = tokenizer(text, truncation=True, max_length=64, return_tensors="pt")
        with torch.no_grad():
            states = model(**tokens, output_hidden_states=True).hidden_states
        assert (
            np.abs(row - torch.stack([state[0].mean(0) for state in states]).numpy()).max() < 1e-5
        )


def test_real_minilm_on_real_texts(minilm, meld_annotations):
    import csv

    from transformers import AutoModel, AutoTokenizer

    with (meld_annotations / "test_sent_emo.csv").open(encoding="utf-8") as file:
        texts = [row["Utterance"] for row in csv.DictReader(file)][:100]
    encoder = load(minilm)
    x = encoder.encode(texts)
    tokenizer, model = AutoTokenizer.from_pretrained(minilm), AutoModel.from_pretrained(minilm)
    for i in RANDOM.permutation(100)[:10]:
        with torch.no_grad():
            tokens = tokenizer(texts[i], return_tensors="pt")
            states = model.eval()(**tokens, output_hidden_states=True).hidden_states
        wanted = torch.stack([state[0].mean(0) for state in states]).numpy()
        assert np.abs(encoder.encode([texts[i]])[0] - wanted).max() < 1e-5
        assert np.abs(x[i] - wanted).max() < 1e-5


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_side_a_decoder_pads_on_changes_nothing(tmp_path, side):
    encoder = load(tiny_llama(tmp_path / "tiny-llama", side=side))
    assert (
        np.abs(encoder.encode(["no", "the great text"])[0] - encoder.encode(["no"])[0]).max() < 1e-5
    )


def test_history_pools_over_the_own_tokens_only(checkpoints):
    from transformers import AutoModel, AutoTokenizer

    folder = checkpoints["bert"]
    tokenizer, model = (
        AutoTokenizer.from_pretrained(folder),
        AutoModel.from_pretrained(folder).eval(),
    )
    said = turn("great text", "ross", (("joey", "hate"), ("", "no no")))
    # [CLS] j ##o ##e ##y : hate [SEP] no no [SEP] r ##o ##s ##s : great text [SEP]
    ids = tokenizer("joey: hate [SEP] no no [SEP] ross: great text", return_tensors="pt")[
        "input_ids"
    ]
    with torch.no_grad():
        states = model(ids, output_hidden_states=True).hidden_states
    wanted = torch.stack([state[0, -3:-1].mean(0) for state in states]).numpy()
    assert np.abs(load(folder).encode([said])[0] - wanted).max() < 1e-5
    first = torch.stack([state[0, 0] for state in states]).numpy()
    assert np.abs(load(folder, pool="cls").encode([said])[0] - first).max() < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_in_a_history_the_oldest_go_first(checkpoints, kind):
    encoder = load(checkpoints[kind])
    near, far, own = ("Joey", "no " * 5), ("Ross", "hate " * 40), ("great " * 3).strip()
    short = encoder.encode([turn(own, "Ross", (near,))])
    assert np.abs(encoder.encode([turn(own, "Ross", (far, near))]) - short).max() < 1e-6
    assert np.abs(encoder.encode([turn(own, "Ross", ())]) - short).max() > 1e-4
    found = measure(encoder, [turn(own, "Ross", (far, near)), turn("no " * 99, "", (near,)),
                              turn(own, "", ())])  # fmt: skip
    assert found.notes == {"texts cut to 64 tokens": 1, "histories shortened to 64 tokens": 2}
    assert found.sizes.max() <= encoder.tokenizer.longest


def test_hostile_texts(checkpoints):
    texts = ["", " ", "\u200b", "🙂" * 50, "a" * 100_000, "the " * 30_000, "\x00", "[SEP] [CLS]"]
    for folder in checkpoints.values():
        encoder = load(folder)
        turns = [turn(text, text[:40], (("Ross", text), ("", ""))) for text in texts]
        for items in (texts, turns):
            x = encoder.encode(items)
            assert np.isfinite(x).all()
            for i, item in enumerate(items):
                assert np.abs(encoder.encode([item])[0] - x[i]).max() < 1e-5


def test_extract_with_history_counts_what_was_cut(checkpoints, tmp_path):
    rows = [
        {"dialogue": d, "sequence": s, "speaker": "Ross" if s % 2 else "Joey", "x_text": text}
        for d in range(2)
        for s, text in enumerate(["great", "no " * 80, " ", "the text", "lovely"])
    ]
    write_rows(tmp_path / "talk" / "train.csv", list(reversed(rows)))
    settings = Settings(history=2)
    made = extract(tmp_path / "talk", features=tmp_path / "f", modality="text",
                   encoder=checkpoints["bert"], settings=settings, dtype="float32")[0]  # fmt: skip
    assert made.path.name == "text.tiny-bert+history2.h5"
    assert made.notes == {"texts cut to 64 tokens": 2, "histories shortened to 64 tokens": 6}
    with FeatureFile(made.path) as file:
        assert file.attributes["config"]["history"] == 2
        at = file.key.tolist().index("train/d-1-seq-4")
        x = file.x()[at]
    said = turn("lovely", "Joey", (("Ross", "no " * 80), ("Ross", "the text")))
    assert np.abs(load(checkpoints["bert"]).encode([said])[0] - x).max() < 1e-5
    plain = extract(tmp_path / "talk", features=tmp_path / "f", modality="text",
                    encoder=checkpoints["bert"])[0]  # fmt: skip
    assert plain.notes == {"texts cut to 64 tokens": 2}


def test_revisions_and_precisions(checkpoints):
    full = load(checkpoints["roberta"])
    half = load(checkpoints["roberta"], precision="bf16")
    assert load(checkpoints["roberta"]).revision == full.revision == half.revision
    a, b = full.encode(TEXTS[:20]), half.encode(TEXTS[:20])
    assert 0 < np.abs(a - b).max() < 0.1 * np.abs(a).max()
    # The frequencies of rotary positions stay as they are.
    llama = load(checkpoints["llama"], precision="bf16").model
    assert llama.rotary_emb.inv_freq.dtype == torch.float32
    assert llama.norm.weight.dtype == torch.bfloat16


@pytest.mark.soak
def test_random_weights_are_the_same_each_time():
    one, other = (load("random:bert-base-uncased", layers="last") for _ in range(2))
    assert one.revision == other.revision
    assert one.dim == 768
    x = one.encode(["Hello there!", "Hello"])
    assert np.abs(other.encode(["Hello"])[0] - x[1]).max() < 1e-5


def test_errors(checkpoints, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    with pytest.raises(EncoderError, match="the first token of a decoder has seen no other"):
        load(checkpoints["gpt2"], pool="cls")
    with pytest.raises(ErcError, match="--history is a number of utterances"):
        Settings(history=-1)
    with pytest.raises(EncoderError, match="takes no --history"):
        load("baseline", history=1)
    with pytest.raises(EncoderError, match="random weights of bert-base-uncased, gpt2 can"):
        load("random:t5")
    broken = tmp_path / "broken"
    shutil.copytree(checkpoints["gpt2"], broken)
    weights = load_file(broken / "model.safetensors")
    del weights["h.1.mlp.c_fc.weight"]
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(EncoderError, match=r"lacks 1 weights.*h\.1\.mlp\.c_fc\.weight"):
        load(broken)
    (broken / "tokenizer.json").unlink()
    (broken / "tokenizer_config.json").unlink()
    save_file(load_file(f"{checkpoints['gpt2']}/model.safetensors"),
              broken / "model.safetensors", {"format": "pt"})  # fmt: skip
    with pytest.raises(EncoderError, match="tokenizer has 1 of 296 tokens"):
        load(broken)
