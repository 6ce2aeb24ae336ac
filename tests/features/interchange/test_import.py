"""Features that others made become feature files: each format, and what doesn't fit."""

import hashlib
import json
import pickle
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from corpora import media_corpus, text_corpus, write_rows
from typer.testing import CliRunner

import cli
from erc_features.corpora.manifest import read_corpus
from erc_features.errors import ErcError, FeatureFileError
from erc_features.extraction.verify import verify
from erc_features.interchange import import_features
from erc_features.interchange.conversations import LAYOUTS
from erc_features.interchange.row_keys import Names
from erc_features.store import FeatureFile, Status
from erc_features.store.inspect import inspect
from erc_features.utterance import Split

COUNTS = (24, 9, 9)
N, D = 42, 5


@pytest.fixture
def corpus(tmp_path):
    return read_corpus(text_corpus(tmp_path / "c", COUNTS))


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)


@pytest.fixture
def take(tmp_path, corpus):
    """Imports a file into the corpus; returns the summary and the open feature file."""
    opened = []

    def run(source, **options):
        options = {"modality": "audio", "features": tmp_path / "f"} | options
        made = import_features(source, corpus, **options)
        opened.append(FeatureFile(made.path))
        return made, opened[-1]

    yield run
    for file in opened:
        file.close()


def keys_of(corpus):
    return [u.key for u in corpus.utterances]


def same(file, x, keys=None):
    rows = file.rows(keys=keys)
    assert (file.status[rows] == Status.OK).all()
    assert np.array_equal(file.x(rows).reshape(len(rows), -1), x.reshape(len(x), -1))


def test_npy_with_a_list_of_keys(tmp_path, corpus, x, take):
    order = np.random.default_rng(1).permutation(N)
    np.save(tmp_path / "e.npy", x[order])
    (tmp_path / "k.txt").write_text("\n".join(keys_of(corpus)[i] for i in order))
    made, file = take(tmp_path / "e.npy", keys=tmp_path / "k.txt")
    same(file, x)
    assert made.path == tmp_path / "f/c/audio.e.h5"
    assert file.complete and file.key.tolist() == keys_of(corpus)
    assert file.provenance.encoder == "imported"
    digest = hashlib.sha256((tmp_path / "e.npy").read_bytes()).hexdigest()
    assert file.provenance.revision == made.sha256 == digest
    assert len(file.provenance.config["rows"]) == 16
    assert file.provenance.config | {"rows": ""} == {
        "format": "npy", "source": "e.npy", "pooling": "none", "dtype": "float32", "rows": "",
    }  # fmt: skip
    assert inspect(made.path).counts["ok"] == N
    made, _ = take(tmp_path / "e.npy", keys=tmp_path / "k.txt")
    assert made.already and "nothing to do" in str(made)


@pytest.mark.parametrize("kind", ["csv", "names", "meld"])
def test_keys_in_other_forms(tmp_path, corpus, x, take, kind):
    np.save(tmp_path / "e.npy", x)
    us = corpus.utterances
    lines = {
        "csv": ["split,dialogue,sequence", *(f"{u.split},{u.dialogue},{u.sequence}" for u in us)],
        "names": [f"{u.split}/dia{u.dialogue}_utt{u.sequence}.wav" for u in us],
        "meld": ["name", *(f"MELD.Raw/{u.split}_splits/{u.dialogue}_{u.sequence}.mp4"
                           if u.split == "train" else f"{u.split}/{u.dialogue}$_${u.sequence}"
                           for u in us)],
    }[kind]  # fmt: skip
    (tmp_path / "k.csv").write_text("\r\n".join(lines) + "\r\n")
    _, file = take(tmp_path / "e.npy", keys=tmp_path / "k.csv")
    same(file, x)


def test_a_splits_order_less_drops(tmp_path, corpus, x, take):
    train = keys_of(corpus)[:24]
    kept = [key for key in train if key not in ("train/d-1-seq-2", "train/d-3-seq-0")]
    np.save(tmp_path / "train.npy", x[:22].reshape(22, 1, D).repeat(3, 1))  # (N, L, D)
    made, file = take(
        tmp_path / "train.npy", split="train", drop=("dia1_utt2", "d-3-seq-0"), name="three layers"
    )
    assert made.path.name == "audio.three-layers.h5"
    assert file.shape == (N, 3, D)
    same(file, x[:22, None].repeat(3, 1), kept)
    assert made.counts == {"ok": 22, "missing": 20, "failed": 0}
    row = file.rows(keys=["train/d-1-seq-2", "dev/d-0-seq-0"])
    assert file.reason[row].tolist() == ["left out with --drop", "train.npy has no features for it"]
    for drop, message in (
        ((), "has 22 rows; train has 24 utterances.(.|\n)*--drop"),
        (("dia99_utt0", "dia1_utt2"), "dia99_utt0 is no utterance of train"),
    ):
        with pytest.raises(ErcError, match=message):
            take(tmp_path / "train.npy", split="train", drop=drop)
    with pytest.raises(ErcError, match="no names(.|\n)*--keys FILE(.|\n)*--split train"):
        take(tmp_path / "train.npy")


def test_nan_rows_and_what_float16_cannot_hold_fail(tmp_path, x, take):
    x[3, 1], x[5, 0], x[7, 0] = np.nan, 1e6, np.inf
    np.savez(tmp_path / "e.npz", train=x[:24], valid=x[24:33], test=x[33:])
    made, file = take(tmp_path / "e.npz", dtype="float16")
    assert made.counts == {"ok": N - 3, "missing": 0, "failed": 3}
    assert file.status[[3, 5, 7]].tolist() == [Status.FAILED] * 3
    assert file.reason[5] == "1e+06 overflows float16; --dtype float32"
    assert file.reason[3] == file.reason[7] == "the embedding holds NaN or infinity"
    assert not file.x(np.array([3, 5, 7])).any()


@pytest.mark.parametrize("kind", ["splits", "each", "pickled", "pairs"])
def test_arrays_by_split_and_by_utterance(tmp_path, corpus, x, take, kind):
    us = corpus.utterances
    each = {f"{u.split}/dia{u.dialogue}_utt{u.sequence}": x[n] for n, u in enumerate(us)}
    source = tmp_path / "e.pkl"
    if kind == "pickled":
        source.write_bytes(pickle.dumps(each))
    elif kind == "pairs":  # as MELD's own: train, dev, test
        value = [{n.split("/")[1][3:].replace("utt", ""): v for n, v in each.items()
                  if n.startswith(split)} for split in ("train", "dev", "test")]  # fmt: skip
        source.write_bytes(pickle.dumps(value))
    else:
        source = tmp_path / "folder"
        parts = {"train": x[:24], "dev": x[24:33], "test": x[33:]} if kind == "splits" else each
        for name, part in parts.items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            np.save(source / f"{name}.npy", part)
    _, file = take(source)
    same(file, x)


def test_safetensors_and_torch(tmp_path, corpus, x, take):
    import torch
    from safetensors.torch import save_file

    save_file({"x": torch.tensor(x[:24])}, tmp_path / "e.safetensors")
    _, file = take(tmp_path / "e.safetensors", split="train")
    same(file, x[:24], keys_of(corpus)[:24])
    half = torch.tensor(x).bfloat16()
    save_file({key: half[n] for n, key in enumerate(keys_of(corpus))}, tmp_path / "h.safetensors")
    _, file = take(tmp_path / "h.safetensors")
    same(file, half.float().numpy())
    torch.save(torch.tensor(x[:24]), tmp_path / "t.pt")
    _, file = take(tmp_path / "t.pt", split="train")
    same(file, x[:24], keys_of(corpus)[:24])
    torch.save(
        {key: torch.tensor(x[n]) for n, key in enumerate(keys_of(corpus))}, tmp_path / "k.pt"
    )
    _, file = take(tmp_path / "k.pt")
    same(file, x)
    torch.save({"state": {"a": 1}}, tmp_path / "s.pt")
    with pytest.raises(ErcError, match="other things than tensors"):
        take(tmp_path / "s.pt")


def test_opensmile_csv(tmp_path, corpus, x, take):
    """SMILExtract's csvsink: semicolons, quoted names, a time; here two frames a file."""
    lines = ["name;frameTime;F0_mean;loudness;a;b;c;class"]
    for n in reversed(range(24)):
        u = corpus.utterances[n]
        for time, off in ((0, -1), (0.5, 1)):
            values = ";".join(repr(float(v) + off) for v in x[n])
            lines.append(f"'dia{u.dialogue}_utt{u.sequence}';{time};{values};?")
    (tmp_path / "egemaps.csv").write_text("\n".join(lines))
    made, file = take(tmp_path / "egemaps.csv", split="train")
    rows = file.rows(split="train")
    assert np.abs(file.x(rows)[:, 0] - x[:24]).max() < 1e-6
    assert made.pooling == "mean of rows" and made.shape[2] == D
    assert made.left_out == ("frameTime", "class")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_audformats_index(tmp_path, x, suffix):
    """`file`, `start`, `end`, as opensmile's Python package returns; a file is a media cell."""
    import pandas as pd

    corpus = read_corpus(media_corpus(tmp_path / "m"))
    files = [f"/data/m/{u.x_audio}" for u in corpus.utterances if u.x_audio]
    frame = pd.DataFrame(x[: len(files)], columns=list("abcde"))
    times = pd.to_timedelta([0] * len(files)), pd.to_timedelta([1.5] * len(files), unit="s")
    frame.index = pd.MultiIndex.from_arrays([files, *times], names=["file", "start", "end"])
    source = tmp_path / f"smile{suffix}"
    frame.to_parquet(source) if suffix == ".parquet" else frame.to_csv(source)
    made = import_features(source, corpus, modality="audio", features=tmp_path / "f")
    with FeatureFile(made.path) as file:
        keys = [u.key for u in corpus.utterances if u.x_audio]
        assert np.abs(file.x(file.rows(keys=keys))[:, 0] - x[: len(files)]).max() < 1e-6
        assert file.status.tolist() == [1, 2, 1, 1, 1, 1]


def test_labels_are_never_features(tmp_path, corpus, take):
    lines = [",Sr No.,Utterance,Dialogue_ID,Utterance_ID,label,Emotion,f0,f1"]
    for n, u in enumerate(corpus.utterances[:24]):
        lines.append(
            f"{n},{n},hi,{u.dialogue},{u.sequence},{n % 3},joy,{n}.5,{'' if n == 4 else 1}"
        )
    (tmp_path / "e.csv").write_text("\n".join(lines))
    made, file = take(tmp_path / "e.csv", split="train")
    assert file.shape[2] == 2 and file.x()[7].tolist() == [[7.5, 1]]
    assert set(made.left_out) == {"Sr No.", "Utterance", "label", "Emotion"}
    assert file.status[4] == Status.FAILED  # an empty cell is not a zero
    (tmp_path / "e.csv").write_text("key,a, a\ntrain/d-0-seq-0,1,2")
    with pytest.raises(ErcError, match="column 'a' is there twice"):
        take(tmp_path / "e.csv")


def test_unknown_and_double_keys_are_listed(tmp_path, corpus, x, take):
    np.save(tmp_path / "e.npy", x[:24])
    keys = [*keys_of(corpus)[:14], *(f"train/d-9{n}-seq-0" for n in range(10))]
    (tmp_path / "k.txt").write_text("\n".join(keys))
    message = r"10 of 24 rows are no utterance(.|\n)*train/d-90-seq-0(.|\n)*… and 5 more"
    with pytest.raises(ErcError, match=message):
        take(tmp_path / "e.npy", keys=tmp_path / "k.txt")
    (tmp_path / "k.txt").write_text("\n".join(keys_of(corpus)[:23] + keys_of(corpus)[:1]))
    with pytest.raises(ErcError, match=r"1 utterances are there twice:\n  train/d-0-seq-0"):
        take(tmp_path / "e.npy", keys=tmp_path / "k.txt")
    (tmp_path / "k.txt").write_text("\n".join(keys_of(corpus)[:23]))
    with pytest.raises(ErcError, match="has 24 rows, and .*k.txt names 23"):
        take(tmp_path / "e.npy", keys=tmp_path / "k.txt")


def test_a_file_name_shared_by_two_utterances_names_neither(tmp_path):
    rows = [{"dialogue": 0, "sequence": i, "x_audio": "all.wav", "label": "a"} for i in range(2)]
    write_rows(tmp_path / "c/train.csv", rows)
    names = Names(read_corpus(tmp_path / "c"))
    assert names.key_of("all.wav") is None
    assert names.key_of("dia0_utt1.wav", Split.TRAIN) == "train/d-0-seq-1"
    assert names.key_of("dev/train/dia0_utt1") == "train/d-0-seq-1"  # the nearest folder
    assert names.key_of("hello", Split.TRAIN) is None


def mmsa(corpus, x, frames=4):
    """MMSA's layout, sequences padded at the end, true lengths 1 to 4."""
    random = np.random.default_rng(2)
    made = {}
    for split, name in (("train", "train"), ("dev", "valid"), ("test", "test")):
        rows = [n for n, u in enumerate(corpus.utterances) if u.split == split]
        lengths = random.integers(1, frames + 1, len(rows))
        audio = np.zeros((len(rows), frames, D), np.float32)
        for i, row in enumerate(rows):
            noise = random.normal(size=(lengths[i], D))
            audio[i, : lengths[i]] = noise - noise.mean(0) + x[row]
        us = [corpus.utterances[row] for row in rows]
        bert = np.zeros((len(rows), 3, frames), np.int64)
        bert[:, 1] = np.arange(frames) < lengths[:, None]
        made[name] = {
            "id": [f"{u.dialogue}$_${u.sequence}" for u in us], "raw_text": ["hi"] * len(us),
            "audio": audio, "audio_lengths": lengths.tolist(), "text": audio, "text_bert": bert,
            "vision": audio[:, 0], "regression_labels": np.zeros(len(us)),
        }  # fmt: skip
    return made


def test_mmsa_pools_over_the_true_length(tmp_path, corpus, x, take):
    value = mmsa(corpus, x)
    value["test"]["audio_lengths"][0] = 0
    value["test"]["audio"][0] = 0
    source = tmp_path / "unaligned.pkl"
    source.write_bytes(pickle.dumps(value, 4))
    made, file = take(source)
    assert made.pooling == "mean over the true length" and made.field == "audio"
    rest = np.delete(np.arange(N), 33)
    assert np.abs(file.x()[rest, 0] - x[rest]).max() < 1e-5
    assert file.status[33] == Status.MISSING and file.reason[33] == "its sequence has no frames"
    _, file = take(source, modality="text")
    assert np.abs(file.x()[rest, 0] - x[rest]).max() < 1e-5
    made, file = take(source, modality="visual")
    assert file.provenance.config["pooling"] == "none"
    same(file, np.concatenate([part["vision"] for part in value.values()]))
    for part in value.values():
        del part["audio_lengths"]
        part["audio"] = part["audio"][:, ::-1]  # padded before
    source.write_bytes(pickle.dumps(value, 2))
    made, file = take(source, name="again")
    assert made.pooling == "mean over frames that are not zeros"
    assert np.abs(file.x()[rest, 0] - x[rest]).max() < 1e-5
    with pytest.raises(ErcError, match="Unknown field of .*'sound'; choose from audio, raw_text, "):
        take(source, field="sound")


def conversation(corpus, x, layout, code=None):
    """A pickle of the given layout, dialogues numbered through; returns it and its ids."""
    code = code or {label: n for n, label in enumerate(corpus.labels)}
    rows = {}
    for n, u in enumerate(corpus.utterances):
        offset = {"train": 0, "dev": 6, "test": 9}[u.split]  # 24, 9, 9 utterances, 4 a dialogue
        rows.setdefault(offset + u.dialogue, []).append(n)
    us = corpus.utterances
    robertas = {f"roberta{k}": {i: x[r] + 1 + k for i, r in rows.items()} for k in range(1, 5)}
    parts = {
        "videoIDs": {i: [str(us[n].sequence) for n in r] for i, r in rows.items()},
        "videoSpeakers": {i: np.eye(2)[[0] * len(r)] for i, r in rows.items()},
        "videoLabels": {i: [code[us[n].label] for n in r] for i, r in rows.items()},
        "videoText": {i: list(x[r] + 2) for i, r in rows.items()},
        "videoAudio": {i: x[r] for i, r in rows.items()},
        "videoVisual": {i: (x[r] + 1).tolist() for i, r in rows.items()},
        "videoSentence": {i: [us[n].x_text for n in r] for i, r in rows.items()},
        "trainVid": [i for i in rows if i < 9], "testVid": [i for i in rows if i >= 9],
        "trainIds": [i for i in rows if i < 6], "validIds": [i for i in rows if 6 <= i < 9],
        "testIds": {i for i in rows if i >= 9},
    }  # fmt: skip
    parts |= robertas | {"speakers": parts["videoSpeakers"], "sentences": parts["videoSentence"],
              "sentimentLabels": parts["videoLabels"]}  # fmt: skip
    return tuple(parts[name] for name in layout)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: f"{len(layout)}-{layout[-1]}")
def test_conversation_pickles_of_each_layout(tmp_path, corpus, x, take, layout):
    source = tmp_path / "raw.pkl"
    source.write_bytes(pickle.dumps(conversation(corpus, x, layout), 2))
    fields = {name: m for name, m in (("videoAudio", "audio"), ("videoVisual", "visual"))
              if name in layout}  # fmt: skip
    for name, modality in fields.items():
        made, file = take(source, modality=modality)
        same(file, x + (name == "videoVisual"))
        assert made.format == "conversations, aligned by number of utterances and labels"
    _, file = take(source, modality="text")
    layers = sum(name in ("videoText", *(f"roberta{k}" for k in range(1, 5))) for name in layout)
    assert file.shape == (N, layers, D)
    assert np.allclose(file.x() - x[:, None], 2 + np.arange(layers)[:, None], atol=1e-6)
    if "roberta2" in layout:
        _, file = take(source, modality="text", field="roberta4,roberta2", name="two")
        assert np.allclose(file.x()[:, 0] - file.x()[:, 1], 2, atol=1e-6)
    if not fields:
        with pytest.raises(ErcError, match="which of its (.|\n)*roberta3: 12 dialogues of .*5"):
            take(source, modality="audio", name="none")
        with pytest.raises(ErcError, match="Unknown field of .*; choose from roberta1"):
            take(source, field="roberta9")


def test_a_shifted_conversation_pickle_is_refused(tmp_path, corpus, x, take):
    source = tmp_path / "raw.pkl"

    def write(change):
        parts = dict(zip(LAYOUTS[0], conversation(corpus, x, LAYOUTS[0]), strict=True))
        change(parts)
        source.write_bytes(pickle.dumps(list(parts.values())))

    def shift(parts):  # the dialogues one further on
        for name, part in parts.items():
            if isinstance(part, dict):
                parts[name] = {i + 1: value for i, value in part.items()}

    def fewer(parts):
        for name in ("videoAudio", "videoLabels"):
            parts[name][7] = parts[name][7][:-1]

    def swapped(parts):  # as many utterances, but others
        parts["videoLabels"][2] = parts["videoLabels"][2][::-1]

    def other_split(parts):
        parts["testVid"] = [8, *parts["testVid"]]

    for change, message in (
        (shift, r"dialogue 12 is past the corpus's end \(train 6, dev 3, test 3\)"),
        (fewer, r"differ in 1 of 12 dialogues:\n  7 \(dev/d-1\): 3 utterances there, 4 in the"),
        (swapped, r"differ in \d of 42 labels(.|\n)*train/d-2-seq-1: 0 there, which is anger else"),
        (other_split, r"its testVid holds 1 dialogues that are not of test:\n  8: dev/d-2"),
    ):
        write(change)
        with pytest.raises(ErcError, match=message):
            take(source)
    assert not (tmp_path / "f").exists()


def test_dialogues_with_names_need_a_list(tmp_path, corpus, x, take):
    named = {f"Ses{i:02}": x[4 * i : 4 * i + 4] for i in range(6)}
    source = tmp_path / "iemocap.pkl"
    source.write_bytes(pickle.dumps(named))
    with pytest.raises(ErcError, match="are called Ses00, Ses01, Ses02(.|\n)*id,split,dialogue"):
        take(source)
    lines = [f"Ses{i:02},train,{i}" for i in range(5)]
    (tmp_path / "k.csv").write_text("\n".join(["id,split,dialogue", *lines]))
    made, file = take(source, keys=tmp_path / "k.csv")
    same(file, x[:20], keys_of(corpus)[:20])
    assert made.counts["missing"] == N - 20
    assert made.format == "conversations, aligned by number of utterances"


def test_melds_own_numbers(tmp_path, meld_annotations):
    """train 0 to 1038 but 60, dev from 1039, test from 1153: 1,432 dialogues, as published."""
    import pandas as pd

    for split in ("train", "dev", "test"):
        table = pd.read_csv(meld_annotations / f"{split}_sent_emo.csv")
        rows = table.rename(columns={"Dialogue_ID": "dialogue", "Utterance_ID": "sequence",
                                     "Utterance": "x_text", "Emotion": "label"})  # fmt: skip
        columns = ["dialogue", "sequence", "x_text", "label"]
        write_rows(tmp_path / f"meld/{split}.csv", rows[columns].to_dict("records"))
    corpus = read_corpus(tmp_path / "meld")
    offset = {"train": 0, "dev": 1039, "test": 1153}
    code = {"neutral": 0, "surprise": 1, "fear": 2, "sadness": 3, "joy": 4, "disgust": 5,
            "anger": 6}  # fmt: skip
    said = {}
    for u in sorted(corpus.utterances, key=lambda u: u.sequence):
        said.setdefault(offset[u.split] + u.dialogue, []).append(u)
    assert len(said) == 1432 and max(said) == 1432
    numbered = {i: np.array([[i, u.sequence] for u in us]) for i, us in said.items()}
    labels = {i: [code[u.label] for u in us] for i, us in said.items()}
    train = [i for i in said if i < 1153]
    value = (numbered, numbered, labels, numbered, numbered, numbered, numbered, train,
             [i for i in said if i >= 1153], labels)  # fmt: skip
    (tmp_path / "MELD_features_raw1.pkl").write_bytes(pickle.dumps(value, 2))
    made = import_features(
        tmp_path / "MELD_features_raw1.pkl", corpus, modality="visual", features=tmp_path / "f"
    )
    assert made.counts == {"ok": 13708, "missing": 0, "failed": 0}
    with FeatureFile(made.path) as file:
        x = file.x()[:, 0].astype(int)
        begins = np.array([offset[split] for split in file.split])
        assert np.array_equal(x, np.stack([begins + file.dialogue, file.sequence], axis=1))


@pytest.mark.parametrize(
    "value",
    [
        {"train": {"id": 5, "audio": [[1.0]]}},
        {"train": {"id": [None], "audio": {"a": 1}}},
        {"train": {"id": ["0_0"], "audio": [[1.0, "a"]]}},
        ({0: [[1.0]]}, {0: 5}, {0: {}}, {0: None}, {0: 2}, {}, {}, [[]], [{}]),
        ({0: 1}, "x", 3),
        [{}, [], ()],
        {0: {1: {2: 3}}},
        {"a": None},
        {},
        [[]],
        7,
        [[[[[1.0]]]]],
        np.zeros((0, 4)),
        np.array("text"),
        {("a", 1): [1.0]},
    ],
)
def test_odd_pickles_are_an_error(tmp_path, take, value):
    (tmp_path / "odd.pkl").write_bytes(pickle.dumps(value))
    with pytest.raises(ErcError, match=r"odd\.pkl"):
        take(tmp_path / "odd.pkl")


def test_imported_features_cannot_be_encoded_again(tmp_path, corpus, x, take):
    np.save(tmp_path / "e.npy", x[:24])
    made, _ = take(tmp_path / "e.npy", split="train")
    with pytest.raises(FeatureFileError, match="was imported from e.npy(.|\n)*erc extract"):
        verify(made.path, corpus=corpus)
    np.save(tmp_path / "e.npy", x[:24] + 1)
    with pytest.raises(FeatureFileError, match=r"revision: (.|\n)*--overwrite"):
        take(tmp_path / "e.npy", split="train")
    take(tmp_path / "e.npy", split="train", overwrite=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.npy", "--modality", "audio"], "no such file or folder to import"),
        (["a.txt", "--modality", "audio"], "erc imports .npy, .npz"),
        (["e.npy", "--modality", "sound"], "Unknown modality 'sound'; choose from audio"),
        (["e.npy", "--modality", "audio", "--split", "trian"], "Unknown split 'trian'; choose"),
        (["e.npy", "--modality", "audio", "--drop", "a"], "say which with --split"),
        (["flat.npy", "--modality", "audio", "--split", "train"], r"has the shape \(24,\)"),
        (["b.npz", "--modality", "audio"], r"choose one with --field:\n  a \(24, 5\)\n  b"),
    ],
)
def test_the_command(tmp_path, corpus, x, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ERC_CORPUS", "c")
    np.save("e.npy", x[:24])
    np.save("flat.npy", x[:24, 0])
    np.savez("b.npz", a=x[:24], b=x[:24])
    (tmp_path / "a.txt").write_text("x")
    result = CliRunner().invoke(cli.app, ["import", *arguments])
    assert result.exit_code == 1
    assert re.search(message, result.stderr), result.stderr
    done = CliRunner().invoke(
        cli.app, ["import", "e.npy", "--modality", "audio", "--split", "train", "--json"]
    )
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["counts"] == {"ok": 24, "missing": 18, "failed": 0}


@pytest.mark.soak
def test_following_the_documentation(tmp_path, monkeypatch):
    """docs/import.md: nine utterances and two arrays, through fuse and report."""
    page = (Path(__file__).parents[3] / "docs/import.md").read_text()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ERC_CORPUS", raising=False)
    (table,) = re.findall(r"```csv\n(.*?)```", page, re.S)
    assert len(table.splitlines()) == 10
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/corpus.csv").write_text(table)
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    subprocess.run([sys.executable, "-c", code], check=True)
    for block in re.findall(r"```bash\n(.*?)```", page, re.S):
        for line in block.splitlines():
            done = CliRunner().invoke(cli.app, shlex.split(line.removeprefix("erc ")))
            assert done.exit_code == 0, (line, done.output)
    assert (tmp_path / "runs/report.html").stat().st_size > 10_000
    assert (tmp_path / "egemaps.parquet").is_file()
    made = import_features(
        tmp_path / "egemaps.parquet", "mine/corpus.csv", modality="audio", name="back"
    )
    with FeatureFile("features/mine/audio.egemaps.h5") as a, FeatureFile(made.path) as b:
        assert np.array_equal(a.x(), b.x())
