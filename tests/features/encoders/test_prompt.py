import numpy as np
import pytest
import torch
from checkpoints import tiny_bert, tiny_gpt2, tiny_llama
from corpora import write_rows

from erc_features.encoders import load_encoder
from erc_features.encoders.base import Settings, Turn
from erc_features.encoders.prompt import Prompt, as_template
from erc_features.errors import EncoderError, ErcError
from erc_features.extraction.extract import extract
from erc_features.extraction.verify import verify
from erc_features.store import FeatureFile
from erc_features.utterance import Modality

ASK = "{speaker} says: {text}. no {mask}!"


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return str(tiny_bert(tmp_path_factory.mktemp("checkpoints") / "tiny-bert"))


def load(name, **settings):
    return load_encoder(str(name), Modality.TEXT, Settings(**settings))


def plain(folder, text):
    """Layers (L, T, D) and tokens of a plain forward."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        states = AutoModel.from_pretrained(folder).eval()(**ids, output_hidden_states=True)
    tokens = tokenizer.convert_ids_to_tokens(ids["input_ids"][0])
    return torch.stack([state[0] for state in states.hidden_states]).numpy(), tokens


def test_a_prefix_equals_the_text_with_it(bert):
    found = load(bert, prompt="the text: ").encode(["great", "no no"])
    states, _ = plain(bert, "the text: great")
    assert np.abs(found[0] - states.mean(1)).max() < 1e-5


def test_the_mask_is_the_prompts_own(bert):
    encoder = load(bert, prompt=ASK, pool="mask")
    said = (("joey", "great [MASK] {mask} {text}"),)
    states, tokens = plain(bert, "joey says: great [MASK] {mask} {text}. no [MASK]!")
    at = len(tokens) - 1 - tokens[::-1].index("[MASK]")
    assert np.abs(encoder.encode([Turn(said, 0)])[0] - states[:, at]).max() < 1e-5
    # In front of a history, and before the text.
    before = (("ann", "hate"), ("joey", "great"))
    states, tokens = plain(bert, "ann: hate [SEP] joey says: great. no [MASK]!")
    at = tokens.index("[MASK]")
    assert np.abs(encoder.encode([Turn(before, 1)])[0] - states[:, at]).max() < 1e-5
    first = load(bert, prompt="no {mask}: {text}", pool="mask", history=1)
    states, tokens = plain(bert, "ann: hate [SEP] joey: no [MASK]: great")
    at = tokens.index("[MASK]")
    assert np.abs(first.encode([Turn(before, 1)])[0] - states[:, at]).max() < 1e-5


def test_a_long_text_loses_its_end_and_never_the_mask(bert):
    encoder = load(bert, prompt=ASK, pool="mask")
    short, long = "the " * 30, "the " * 500
    found = encoder.encode([Turn((("", short),), 0), Turn((("", long),), 0)])
    kept = encoder.tokenizer([Turn((("", long),), 0)])[0]
    assert len(kept.ids) == 64 and kept.cut
    word = encoder.tokenizer.inner.convert_ids_to_tokens(kept.ids[kept.mask])
    assert word == "[MASK]" and kept.mask == 61
    assert np.isfinite(found).all()
    for text in ("", " ", "🙂" * 50, "[SEP] [CLS] [MASK]", "\x00", "a" * 5_000):
        turn = Turn((("x" * 20, text),), 0)
        tokens = encoder.tokenizer([turn])[0]
        assert len(tokens.ids) <= 64
        assert encoder.tokenizer.inner.convert_ids_to_tokens(tokens.ids[tokens.mask]) == "[MASK]"
        both = encoder.encode([turn, Turn((("", short),), 0)])
        assert np.abs(encoder.encode([turn])[0] - both[0]).max() < 1e-5


@pytest.mark.parametrize(
    "prompt", [ASK, "{mask} {speaker}: {text}", "{speaker} {mask} {speaker} {text}"]
)
@pytest.mark.parametrize("history", [0, 2])
def test_a_speakers_long_name_never_costs_the_mask(bert, prompt, history):
    encoder = load(bert, prompt=prompt, pool="mask", history=history)
    word = encoder.tokenizer.inner.convert_ids_to_tokens
    for count in (*range(40, 66), 500):
        for tokens in encoder.tokenizer(
            [Turn((("x" * count, text),), 0) for text in ("a", "a no")]
        ):
            assert len(tokens.ids) <= 64 and word(tokens.ids[tokens.mask]) == "[MASK]"


def test_a_speakers_name_without_history_is_words_like_others(bert):
    """So what is pooled is the same, special tokens included."""
    named = load(bert, prompt="{speaker} the: {text}").encode([Turn((("ann", "great"),), 0)])
    plain_ = load(bert, prompt="ann the: ").encode(["great"])
    assert np.abs(named - plain_).max() < 1e-6
    assert np.abs(named[0] - plain(bert, "ann the: great")[0].mean(1)).max() < 1e-5


def test_last_token_of_a_decoder(tmp_path):
    for make in (tiny_gpt2, tiny_llama):
        folder = make(tmp_path / make.__name__)
        states, _ = plain(folder, "no the great text")
        x = load(folder, pool="last").encode(["no", "no the great text", "a b c d e f g"])
        assert np.abs(x[1] - states[:, -1]).max() < 1e-5


def test_extract_names_the_prompt_and_keeps_its_words(bert, tmp_path):
    rows = [{"dialogue": 0, "sequence": s, "speaker": "Ann", "x_text": "great " * (s + 1)}
            for s in range(5)]  # fmt: skip
    write_rows(tmp_path / "talk" / "train.csv", rows)
    what = {"features": tmp_path / "f", "modality": "text", "encoder": bert}
    made = extract(tmp_path / "talk", settings=Settings(prompt=ASK, pool="mask"), **what)[0]
    other = extract(tmp_path / "talk", settings=Settings(prompt=ASK + "!", pool="mask"), **what)[0]
    assert made.path != other.path and made.path.name.startswith("text.tiny-bert+poolmask+prompt-")
    with FeatureFile(made.path) as file:
        assert file.attributes["config"]["prompt"] == ASK
    assert verify(made.path, corpus=tmp_path / "talk").sound


def test_what_is_wrong_with_a_prompt(bert, tmp_path):
    assert as_template("query: ") == "query: {text}"
    filled = Prompt(ASK, "<m>").fill("{mask}", "")
    assert filled.line == "Someone says: {mask}. no <m>!"
    assert filled.line[slice(*filled.text)] == "{mask}"
    assert filled.line[filled.mask :].startswith("<m>")
    for wrong in ("{emotion} {text}", "{text} {text}", "{mask} {text} {mask}"):
        with pytest.raises(ErcError, match="is not known|may be there once"):
            load(bert, prompt=wrong)
    for half in ("{text} I feel {mask", "text} no", "{text} }"):
        with pytest.raises(ErcError, match="without its other half"):
            load(bert, prompt=half)
    with pytest.raises(EncoderError, match="it names no such prompt"):
        load(bert, prompt="query")
    with pytest.raises(EncoderError, match="it needs a prompt with"):
        load(bert, pool="mask", prompt="query: ")
    with pytest.raises(EncoderError, match="no mask token"):
        load(tiny_gpt2(tmp_path / "tiny-gpt2"), prompt="{text} {mask}")
    with pytest.raises(EncoderError, match="half of them are for the text"):
        load(bert, prompt="the " * 40)
    with pytest.raises(EncoderError, match="baseline takes no --prompt"):
        load("baseline", prompt="query: ")
