"""Texts read in their dialogue: all of the past, or the whole of it at once."""

import json

import numpy as np
import pytest
import torch
from checkpoints import tiny_bert, tiny_gpt2, tiny_roberta
from corpora import write_rows

from erc_features.encoders import load_encoder
from erc_features.encoders.base import Settings, Turn, measure
from erc_features.errors import EncoderError, ErcError
from erc_features.extraction.extract import extract
from erc_features.extraction.verify import verify
from erc_features.store import FeatureFile
from erc_features.utterance import Modality

RANDOM = np.random.default_rng(0)
KINDS = {"bert": tiny_bert, "roberta": tiny_roberta, "gpt2": tiny_gpt2}
WHOLE = Settings(history="all", reach="whole")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    root = tmp_path_factory.mktemp("checkpoints")
    return {kind: str(make(root / f"tiny-{kind}")) for kind, make in KINDS.items()}


def load(name, **settings):
    return load_encoder(str(name), Modality.TEXT, Settings(**settings))


def dialogue(count, words=3):
    return tuple(
        (RANDOM.choice(["ann", "ben", ""]), " ".join(RANDOM.choice(["great", "no", "the"], words)))
        for _ in range(count)
    )


def test_each_utterance_equals_its_own_tokens_of_one_plain_forward(checkpoints):
    from transformers import AutoModel, AutoTokenizer

    folder = checkpoints["bert"]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()
    said = (("ann", "great text"), ("", "no no"), ("ben", "the angry"))
    ids = tokenizer("ann: great text [SEP] no no [SEP] ben: the angry", return_tensors="pt")
    names = tokenizer.convert_ids_to_tokens(ids["input_ids"][0])
    with torch.no_grad():
        states = model(**ids, output_hidden_states=True).hidden_states
    own = [names.index("great"), names.index("no"), names.index("the")]
    for pool, reduce in (("mean", lambda x: x.mean(0)), ("max", lambda x: x.amax(0))):
        wanted = torch.stack(
            [torch.stack([reduce(state[0, at : at + 2]) for state in states]) for at in own]
        ).numpy()
        encoder = load(folder, pool=pool, history="all", reach="whole")
        found = encoder.encode([Turn(said, at) for at in range(3)])
        assert np.abs(found - wanted).max() < 1e-5
        assert np.abs(encoder.encode([Turn(said, 1)])[0] - wanted[1]).max() < 1e-5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pool", ["mean+std", "max"])
def test_a_row_does_not_depend_on_its_batch(checkpoints, kind, pool):
    encoder = load(checkpoints[kind], pool=pool, history="all", reach="whole")
    short, long, one = dialogue(5), dialogue(40), dialogue(1)
    turns = [Turn(said, at) for said in (short, long, one) for at in range(len(said))]
    alone = np.concatenate([encoder.encode([turn]) for turn in turns])
    for batch in np.array_split(RANDOM.permutation(len(turns)), 5):
        assert np.abs(encoder.encode([turns[i] for i in batch]) - alone[batch]).max() < 1e-5
    assert np.abs(alone[0] - alone[1]).max() > 1e-3  # of one sequence, but not of the same tokens


def test_dialogues_are_encoded_once(checkpoints, monkeypatch):
    encoder = load(checkpoints["bert"], history="all", reach="whole")
    tokens = []
    forward = encoder.model.forward

    def counting(*args, **kwargs):
        tokens.append(kwargs["input_ids"].numel())
        return forward(*args, **kwargs)

    monkeypatch.setattr(encoder.model, "forward", counting)
    said = dialogue(6)
    turns = [Turn(said, at) for at in range(6)]
    found = measure(encoder, turns)
    assert len(np.unique(found.groups)) == 1
    encoder.encode(turns)
    assert tokens == [round(found.sizes.sum())]  # each has its part of them
    long = dialogue(100)
    turns = [Turn(long, at) for at in range(100)]
    found = measure(encoder, turns)
    assert found.notes == {"histories shortened to 64 tokens": 100}
    lines = [f"{speaker}: {text}" if speaker else text for speaker, text in long]
    spoken = sum(len(t.ids) - 1 for t in encoder.tokenizer(lines))  # each with one separator
    assert len(np.unique(found.groups)) < 25
    assert found.sizes.sum() < 2.3 * spoken  # an excerpt for each of them has 40 times as many


def test_extract_resumes_and_verifies(checkpoints, tmp_path):
    rows = [
        {"dialogue": d, "sequence": s, "speaker": "Ross" if s % 2 else "Joey", "x_text": text}
        for d in range(12)
        for s, text in enumerate(["great", "no the", " ", f"the text {d}", "lovely"] * (1 + d % 3))
    ]
    RANDOM.shuffle(rows)
    write_rows(tmp_path / "talk" / "train.csv", rows)

    def run(folder, **others):
        return extract(
            tmp_path / "talk", features=tmp_path / folder, modality="text",
            encoder=checkpoints["bert"], settings=WHOLE, dtype="float32", **others,
        )[0]  # fmt: skip

    made = run("f")
    assert made.path.name == "text.tiny-bert+historyall+reachwhole.h5"

    def stop(stem, done, total):
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("g", progress=stop)
    assert list((tmp_path / "g").rglob("*.partial"))
    again = run("g")
    with FeatureFile(made.path) as one, FeatureFile(again.path) as other:
        assert np.array_equal(one.x(), other.x())
        assert one.attributes["config"]["history"] == "all"
        assert one.attributes["config"]["reach"] == "whole"
        at = one.key.tolist().index("train/d-4-seq-3")
        x = one.x()[at]
    spoken = [(("Ross" if s % 2 else "Joey"), text)
              for s, text in enumerate(["great", "no the", " ", "the text 4", "lovely"] * 2)
              if text.strip()]  # fmt: skip
    wanted = load(checkpoints["bert"]).encode([Turn(tuple(spoken), 2)])[0]
    assert np.abs(wanted - x).max() < 1e-5
    assert verify(made.path, corpus=tmp_path / "talk", rows=50).sound
    # Two on each side are another file, and so is the past alone.
    both = extract(tmp_path / "talk", features=tmp_path / "f", modality="text", dtype="float32",
                   encoder=checkpoints["bert"],
                   settings=Settings(history=2, reach="whole"))[0]  # fmt: skip
    assert both.path.name == "text.tiny-bert+history2+reachwhole.h5"
    with FeatureFile(both.path) as file:
        wanted = load(checkpoints["bert"]).encode([Turn(tuple(spoken[:5]), 2)])[0]
        assert np.abs(wanted - file.x()[at]).max() < 1e-5
    past = extract(tmp_path / "talk", features=tmp_path / "f", modality="text", dtype="float32",
                   encoder=checkpoints["bert"], settings=Settings(history="all"))[0]  # fmt: skip
    with FeatureFile(past.path) as file:
        assert "reach" not in file.attributes["config"]
        wanted = load(checkpoints["bert"]).encode([Turn(tuple(spoken[:3]), 2)])[0]
        assert np.abs(wanted - file.x()[at]).max() < 1e-5
    with pytest.raises(ErcError, match="reach"):
        verify(rename(both.path, tmp_path), corpus=tmp_path / "talk")


def rename(path, folder):
    """A copy of the file that says it read another part of the dialogue."""
    import shutil

    import h5py

    copy = folder / "other.h5"
    shutil.copy(path, copy)
    with h5py.File(copy, "r+") as file:
        config = json.loads(file.attrs["config"]) | {"reach": "sideways"}
        file.attrs["config"] = json.dumps(config)
    return copy


def test_errors(checkpoints):
    with pytest.raises(ErcError, match="--reach whole needs --history"):
        Settings(reach="whole")
    with pytest.raises(ErcError, match="a number of utterances, 0 or more, or all"):
        Settings(history="some")
    for pool in ("cls", "last", "model"):
        kind = "gpt2" if pool == "last" else "bert"
        with pytest.raises(EncoderError, match=r"the dialogue's state|neither modules\.json"):
            load(checkpoints[kind], pool=pool, history="all", reach="whole")
