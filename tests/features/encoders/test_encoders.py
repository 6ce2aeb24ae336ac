import numpy as np
import pytest
import torch
from checkpoints import tiny_bert
from clips import tone
from hypothesis import given
from hypothesis import strategies as st

from erc_features.encoders import default_name, load_encoder
from erc_features.encoders.base import Settings, pick_layers, pool
from erc_features.errors import EncoderError, ErcError
from erc_features.utterance import Modality

RANDOM = np.random.default_rng(0)
TEXTS = [" ".join(RANDOM.choice(["great", "no", "the", "xyz", "42"], n)) for n in range(1, 41)]
SOUNDS = [
    tone(s, 16_000, h)[0] + 0.01 * RANDOM.standard_normal(int(s * 16_000)).astype(np.float32)
    for s, h in zip(np.linspace(0.01, 2, 20), np.linspace(80, 600, 20), strict=True)
]
PICTURES = [
    tuple(RANDOM.integers(0, 255, (3, 40 + i, 60, 3)).astype(np.uint8)[: 1 + i % 3])
    for i in range(10)
]
ITEMS = {Modality.TEXT: TEXTS, Modality.AUDIO: SOUNDS, Modality.VISUAL: PICTURES}


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("checkpoints") / "tiny-bert")


@pytest.mark.parametrize("modality", Modality)
def test_a_baseline_row_does_not_depend_on_its_batch(modality):
    encoder = load_encoder("baseline", modality, Settings())
    items = ITEMS[modality]
    together = encoder.encode(items)
    assert together.shape == (len(items), encoder.layers, encoder.dim)
    assert together.dtype == np.float32
    assert np.isfinite(together).all()
    alone = np.concatenate([encoder.encode([item]) for item in items])
    assert np.array_equal(together, alone)
    assert len(np.unique(together, axis=0)) == len(items)


@pytest.mark.parametrize("how", ["mean", "max", "mean+max", "mean+std", "cls"])
def test_a_bert_row_does_not_depend_on_its_batch(bert, how):
    encoder = load_encoder(str(bert), Modality.TEXT, Settings(pool=how))
    together = encoder.encode(TEXTS)
    assert together.shape == (len(TEXTS), 3, 32 if "+" in how else 16)
    order = RANDOM.permutation(len(TEXTS))
    for batch in np.array_split(order, 7):
        assert np.abs(encoder.encode([TEXTS[i] for i in batch]) - together[batch]).max() < 1e-5
    for i in (0, 20, 39):
        assert np.abs(encoder.encode([TEXTS[i]])[0] - together[i]).max() < 1e-5


def test_bert_equals_a_plain_forward(bert):
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(bert), AutoModel.from_pretrained(bert).eval()
    encoder = load_encoder(str(bert), Modality.TEXT, Settings())
    for text in TEXTS[::8]:
        with torch.no_grad():
            states = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True)
        wanted = torch.stack([state[0].mean(0) for state in states.hidden_states])
        assert np.abs(encoder.encode([text])[0] - wanted.numpy()).max() < 1e-5


def test_texts_longer_than_the_model_takes_are_cut(bert):
    encoder = load_encoder(str(bert), Modality.TEXT, Settings())
    assert np.isfinite(encoder.encode(["great " * 500])).all()


def test_real_minilm_knows_what_words_mean(minilm):
    encoder = load_encoder(str(minilm), Modality.TEXT, Settings(layers="last"))
    happy, glad, table = encoder.encode(["I am so happy!", "How glad I am.", "a wooden table"])[
        :, 0
    ]

    def cosine(a, b):
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    assert cosine(happy, glad) > cosine(happy, table) + 0.2


def test_revision_is_of_the_weights(bert, tmp_path):
    def revision(folder):
        return load_encoder(str(folder), Modality.TEXT, Settings()).revision

    assert revision(bert) == revision(tiny_bert(tmp_path / "same"))
    assert revision(bert) != revision(tiny_bert(tmp_path / "other", seed=1))
    assert len(revision(bert)) == 64


def test_sound_statistics_follow_pitch_and_loudness():
    encoder = load_encoder("baseline", Modality.AUDIO, Settings())
    low, high, quiet = encoder.encode(
        [tone(1, 16_000, 120)[0], tone(1, 16_000, 240)[0], 0.1 * tone(1, 16_000, 120)[0]]
    )[:, 0, 80:]
    assert high[5] - low[5] == pytest.approx(12, abs=0.3)  # an octave, in semitones
    assert low[1] - quiet[1] == pytest.approx(2 * np.log(10), abs=0.01)  # log of energy


@pytest.mark.parametrize(
    ("sound", "what"),
    [(np.zeros(1, np.float32), "one sample"), (np.zeros(16_000, np.float32), "silence")],
)
def test_no_sound_is_too_poor(sound, what):
    assert np.isfinite(load_encoder("baseline", Modality.AUDIO, Settings()).encode([sound])).all()


def test_a_picture_of_one_pixel():
    encoder = load_encoder("baseline", Modality.VISUAL, Settings())
    assert np.isfinite(encoder.encode([(np.zeros((1, 1, 3), np.uint8),)])).all()


@given(st.lists(st.text(), min_size=1, max_size=5))
def test_any_text(texts):
    x = load_encoder("baseline", Modality.TEXT, Settings()).encode(texts)
    assert np.isfinite(x).all()


@given(st.integers(1, 6), st.integers(1, 8))
def test_pooling_ignores_padding(count, padding):
    hidden = torch.randn(1, count, 4)
    padded = torch.cat([hidden, torch.full((1, padding, 4), 99.0)], 1)
    mask = torch.arange(count + padding)[None] < count
    for how in ("mean", "max", "mean+std"):
        whole = pool(hidden, torch.ones(1, count, dtype=torch.bool), how)
        assert torch.allclose(pool(padded, mask, how), whole, atol=1e-6)


@pytest.mark.parametrize(
    ("layers", "message"),
    [("first", "all, last, -4: and 0,6,12 work"), ("7", "layers 0 to 2"), ("5:", "layers 0 to 2")],
)
def test_layers_that_are_not_there(layers, message):
    with pytest.raises(EncoderError, match=message):
        pick_layers(layers, 3)


def test_errors_say_what_would_work(tmp_path, bert):
    with pytest.raises(
        EncoderError, match=r"Unknown text encoder 'bsaeline'; choose from baseline"
    ):
        load_encoder("bsaeline", Modality.TEXT, Settings())
    with pytest.raises(EncoderError, match="Unknown audio encoder 'x'; choose from baseline"):
        load_encoder("x", Modality.AUDIO, Settings())
    with pytest.raises(EncoderError, match=r"not in the cache.*local folder.*HF_HOME.*baseline"):
        load_encoder("nobody/such-model", Modality.TEXT, Settings())
    with pytest.raises(
        ErcError, match="Unknown pooling 'maen'; choose from cls, last, mask, max, mean,"
    ):
        Settings(pool="maen")
    with pytest.raises(EncoderError, match="takes no --layers"):
        load_encoder("baseline", Modality.TEXT, Settings(layers="-1"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(EncoderError, match="It needs config.json, a tokenizer"):
        load_encoder(str(tmp_path / "empty"), Modality.TEXT, Settings())
    if not torch.cuda.is_available():
        with pytest.raises(EncoderError, match="no CUDA device"):
            load_encoder(str(bert), Modality.TEXT, Settings(device="cuda"))


def test_pickled_weights_are_not_read(bert, tmp_path):
    import shutil

    from transformers import AutoModel

    folder = tmp_path / "pickled"
    shutil.copytree(bert, folder)
    torch.save(AutoModel.from_pretrained(bert).state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(EncoderError, match="weights as a pickle"):
        load_encoder(str(folder), Modality.TEXT, Settings())


@pytest.mark.parametrize("folder", ["/x/model", "ckpt/checkpoint-500", f"/x/{'0a' * 20}", "."])
def test_names_that_say_nothing_ask_for_one(folder):
    with pytest.raises(EncoderError, match="--name"):
        default_name(folder)
    assert default_name("sentence-transformers/all-MiniLM L6") == "all-MiniLM-L6"
