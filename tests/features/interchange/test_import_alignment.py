"""No row lands on another utterance in silence: what contradicts itself is refused."""

import io
import pickle
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from erc_features.corpora.manifest import read_corpus
from erc_features.errors import ErcError
from erc_features.extraction.verify import verify
from erc_features.interchange import export_features, import_features
from erc_features.store import FeatureFile, Status

HEAD = "split,dialogue,sequence,speaker,x_text,x_visual,x_audio,label,id"
LABELS = ("joy", "anger", "sad")
PLACES = [("train", 0), ("train", 1), ("train", 2), ("dev", 0), ("test", 0)]


def label(d, q):
    return LABELS[(d + 2 * q + (d * q) % 2) % 3]


ROWS = [f"{s},{d},{q},Ann,hi {s}{d}{q},,,{label(d, q)}," for s, d in PLACES for q in range(3)]
KEYS = [f"{s}/d-{d}-seq-{q}" for s, d in PLACES for q in range(3)]
X = np.arange(15.0)[:, None] * np.ones(4) + 1


def corpus(name="c", rows=ROWS):
    Path(name).mkdir()
    Path(name, "corpus.csv").write_text("\n".join([HEAD, *rows]))
    return read_corpus(Path(name, "corpus.csv"))


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def c():
    return corpus()


def take(source, to, **options):
    """Imports and returns {key: first number} of the rows that are ok."""
    modality = options.pop("modality", "audio")
    made = import_features(source, to, modality=modality, **options)
    with FeatureFile(made.path) as file:
        ok = file.status == Status.OK
        return dict(zip(file.key[ok].tolist(), file.x()[ok, 0, 0].tolist(), strict=True))


def refused(message, source, to, **options):
    with pytest.raises(ErcError) as raised:
        take(source, to, **options)
    assert re.search(message, str(raised.value), re.S), raised.value


def table(name, text):
    Path(name).write_text(text)
    return Path(name)


def test_a_corrected_list_split_or_drop_is_not_the_same_import(c):
    np.save("a.npy", X)
    table("wrong.txt", "\n".join(KEYS[::-1]))
    table("right.txt", "\n".join(KEYS))
    take("a.npy", c, keys="wrong.txt")
    refused("rows: .*--overwrite", "a.npy", c, keys="right.txt")
    assert take("a.npy", c, keys="right.txt", overwrite=True)[KEYS[0]] == 1
    np.save("b.npy", X[:8])
    take("b.npy", c, split="train", drop=("dia0_utt1",))
    refused("rows: .*--overwrite", "b.npy", c, split="train", drop=("dia0_utt2",))
    np.save("d.npy", X[:3])
    take("d.npy", c, split="dev")
    refused("rows: .*--overwrite", "d.npy", c, split="test")
    Path("e.pkl").write_bytes(pickle.dumps(dict.fromkeys(range(5), X[:3])))
    lines = [f"{i},{s},{d}" for i, (s, d) in enumerate(PLACES)]
    table("k.csv", "\n".join(["id,split,dialogue", *lines]))
    take("e.pkl", c, keys="k.csv")
    table("k.csv", "\n".join(["id,split,dialogue", "0,train,1", "1,train,0", *lines[2:]]))
    refused("rows: .*--overwrite", "e.pkl", c, keys="k.csv")


def conversations(order=(0, 1, 2, 3, 4), change=dict, lists=((0, 1, 2, 3), (4,))):
    """A tuple of MMGCN's IEMOCAP: dialogue i of the file is `order[i]` of the corpus."""
    code = {name: n for n, name in enumerate(LABELS)}
    x = {i: X[3 * n : 3 * n + 3] for i, n in enumerate(order)}
    codes = {i: [code[label(PLACES[n][1], q)] for q in range(3)] for i, n in enumerate(order)}
    none = dict.fromkeys(x, ())
    value = (none, none, change(codes), x, x, x, none, *map(list, lists))
    Path("raw.pkl").write_bytes(pickle.dumps(value))
    return "raw.pkl"


SWAPPED = (1, 0, 2, 3, 4)


def one_hot(codes):
    return {i: np.eye(3)[row] for i, row in codes.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict, "differ in 6 of 15 labels"),
        (lambda y: y | {4: y[4][:2]}, r"4: 2 labels there, 3 utterances"),
        (lambda y: {i: row for i, row in y.items() if i != 3}, "differ in .* labels"),
        (lambda y: y | {4: [None] * 3}, "differ in .* labels"),
        (one_hot, "differ in 6 of 15 labels"),
        (lambda y: {i: [str(n) for n in row] for i, row in y.items()}, "differ in 6 of 15 labels"),
        (lambda y: {i: [3 * i + j for j in range(3)] for i in y}, "15 codes, .*prove nothing"),
        (lambda y: dict.fromkeys(y, np.full((3, 3), 1 / 3)), "0: neither codes nor one-hot rows"),
        (lambda y: y | {2: ["a"]}, "2: 1 labels there"),
    ],
)
def test_swapped_dialogues_are_refused_whatever_the_labels_look_like(c, change, message):
    refused(message, conversations(SWAPPED, change), c)


def test_what_alignment_was_proven_by_is_said(c):
    made = import_features(conversations(change=one_hot), c, modality="audio", name="a")
    assert made.format == "conversations, aligned by number of utterances and labels"
    assert not made.notes
    some = conversations(change=lambda y: y | {4: [None] * 3})
    made = import_features(some, c, modality="audio", name="b")
    assert made.format.endswith("labels of 12 of 15") and "labels of 12 of 15" in str(made)
    made = import_features(conversations(change=lambda y: {}), c, modality="audio", name="d")
    assert "no labels were there to compare" in str(made)


def test_lists_of_ids_are_compared_as_texts_too(c):
    refused("trainVid holds 1 .*4: test/d-0", conversations(lists=(["4"], ["0", "1"])), c)
    refused("testVid holds 1 .*not in the file.*9", conversations(lists=([0], [4, 9])), c)
    table("k.csv", "id,split,dialogue\n0,train,0\n0,train,1\n")
    refused("names 0 twice", conversations(), c, keys=Path("k.csv"))
    table("k.csv", "id,split,dialogue\n0,train,0\n")
    refused("--split says test", conversations(), c, keys="k.csv", split="test")


def test_a_media_cell_of_another_split_is_no_match():
    rows = ["train,0,0,A,hi,,dia0_utt0.wav,joy,", "test,0,0,A,hi,,,joy,", "test,0,1,A,hi,,,joy,"]
    c = corpus(rows=rows)
    source = table("e.csv", "file,a\ntest/dia0_utt0.wav,1\n")
    refused("it is train/d-0-seq-0, not of test", source, c)
    table("e.csv", "file,a\ndia0_utt0.wav,1\n")
    refused("it is train/d-0-seq-0, not of test.*leave --split out", source, c, split="test")
    assert take(source, c, split="train") == {"train/d-0-seq-0": 1}
    table("e.csv", "file,a\ntest/dia0_utt1.wav,1\n")
    refused("its folder says test, not train", source, c, split="train")
    root = c.root.resolve()
    table("e.csv", f"file,a\n{root}/dia0_utt0.wav,1\n")
    assert take(source, c, name="whole") == {"train/d-0-seq-0": 1}


def test_an_id_goes_before_numbers():
    rows = ["train,5,0,A,a,,,joy,0_0", "train,6,0,A,a,,,joy,0_0", "test,7,0,A,b,,,joy,0_0",
            "train,0,0,A,c,,,joy,9_9", "train,0,1,A,c,,,joy,"]  # fmt: skip
    c = corpus(rows=rows)
    source = table("e.csv", "id,a\n0_0,1\n")
    refused("0_0 .ambiguous, train/d-5-seq-0 and train/d-6", source, c, split="train")
    assert take(source, c, split="test") == {"test/d-7-seq-0": 1}  # which is called so there
    table("e.csv", "name,a\nd-0-seq-0,1\n")
    refused("unclear, train/d-0-seq-0 itself is called 9_9", source, c, split="train")
    table("e.csv", "name,a\nd-0-seq-1,1\n")
    assert take(source, c, split="train", name="b") == {"train/d-0-seq-1": 1}


def test_names_are_no_numbers():
    ids = ["1.1", "1.2", "1.10", "7", "007", "NA"]
    c = corpus(rows=[f"train,1,{n},A,hi,,,joy,{one}" for n, one in enumerate(ids)])
    source = table("e.csv", "id,a\n1.10,10\n1.2,\nNA,4\n007,7\n")
    found = take(source, c)
    assert found == {"train/d-1-seq-2": 10, "train/d-1-seq-5": 4, "train/d-1-seq-4": 7}


@pytest.mark.parametrize("way", ["column", "index.csv", "parquet", "npz", "field"])
def test_names_in_the_file_count(c, way):
    import pandas as pd

    names = KEYS[:9][::-1]
    frame = pd.DataFrame(X[:9], columns=list("abcd"), index=names)
    options = {}
    if way == "column":
        frame.rename_axis("Key").to_csv("e.csv")
    elif way == "index.csv":
        frame.to_csv("e.csv")
    elif way == "parquet":
        frame.to_parquet("e.parquet")
    else:
        if way == "npz":
            np.savez("e.npz", x=X[:9], key=names)
        else:
            np.savez("e.npz", features=X[:9], keys=names)
            options = {"field": "features"}
    (source,) = Path().glob("e.*")
    table("k.txt", "\n".join(KEYS[:9]))
    table("same.txt", "\n".join(names))
    refused(r"row 0: train/d-2-seq-2 there, train/d-0-seq-0 in", source, c, keys="k.txt", **options)
    for n, how in enumerate(({}, {"split": "train"}, {"keys": "same.txt"})):
        assert take(source, c, **how, **options, name=str(n))[names[0]] == 1
    refused("not of test|leave --split out", source, c, split="test", **options)
    refused("nothing.txt.*cannot be read", source, c, keys="nothing.txt", **options)


def test_an_index_out_of_order_is_not_a_splits_order(c):
    source = table("e.csv", ",a\n" + "\n".join(f"{n},1" for n in (2, 0, 1)))
    refused("index, 2, 0, 1, …, says .*another order", source, c, split="dev")
    table("e.csv", "a,b\n" + "\n".join(f"{n},1,3" for n in range(3)))
    refused("more cells than its first line", source, c, split="dev")


def test_options_that_would_not_be_used_are_refused(c):
    np.savez("e.npz", train=X[:9], test=X[12:])
    table("k.txt", "\n".join(KEYS[:12]))
    for options in ({"keys": "k.txt"}, {"split": "test"}):
        refused("would not be used", "e.npz", c, **options)
    np.savez("each.npz", **{"train/0_0": X[0], "train/0_1": X[1]})
    refused("would not be used", "each.npz", c, keys="k.txt")
    refused("not test|not of test", "each.npz", c, split="test")
    mmsa = {"train": {"id": ["0_0"], "audio": X[:1]}}
    Path("m.pkl").write_bytes(pickle.dumps(mmsa))
    refused("would not be used", "m.pkl", c, split="test")
    source = table("e.csv", "key,a\ntrain/d-0-seq-0,1\n")
    refused("dia0_utt0, which --drop leaves out", source, c, split="train", drop=("dia0_utt0",))
    refused("--drop: dia99_utt0 is no utterance", source, c, split="train", drop=("dia99_utt0",))
    assert take(source, c, field="a") == {KEYS[0]: 1}
    refused("one row and one vector an utterance.*leave out --frames", source, c, frames="max")
    raw = conversations()
    refused("fields are layers; --layers would not be used", raw, c, layers=True)
    refused("contradict each other", source, c, frames="mean", layers=True)
    refused("Unknown pooling of frames 'min'; choose from max, mean, mean", source, c, frames="min")


def test_split_beside_a_file_is_read(c):
    text = "Split,file,a\n" + "\n".join(f"test,dia0_utt{n}.wav,{n + 1}" for n in range(3))
    source = table("e.csv", text)
    assert take(source, c) == {KEYS[12]: 1, KEYS[13]: 2, KEYS[14]: 3}
    refused("of test, and --split says train", source, c, split="train")
    table("e.csv", text.replace("test,d", "test,train/d"))
    refused("its folder says train, not test", source, c)
    table("e.csv", text.replace("Split", "fold"))
    refused("of test, and --split says train", source, c, split="train")
    table("e.csv", text.replace("test,d", "tset,d"))
    refused("'tset' is no split", source, c)


@pytest.mark.parametrize("kind", ["npz", "parquet", "safetensors"])
def test_an_export_goes_back_only_where_it_came_from(c, kind):
    np.save("a.npy", X)
    table("k.txt", "\n".join(KEYS))
    made = import_features("a.npy", c, modality="audio", keys="k.txt")
    export_features(made.path, f"e.{kind}", kind)
    other = corpus("other", [row.replace("hi ", "bye ") for row in ROWS])
    refused("exported as audio, not text", f"e.{kind}", c, modality="text")
    refused("from the corpus c, fingerprint .*--keys", f"e.{kind}", other)
    assert len(take(f"e.{kind}", c)) == 15


def test_the_last_never_wins(c):
    out = [io.BytesIO(), io.BytesIO()]
    for n, one in enumerate(out):
        np.save(one, np.full(4, n))
    with zipfile.ZipFile("e.npz", "w") as archive:
        archive.writestr("train/d-0-seq-0.npy", out[0].getvalue())
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("train/d-0-seq-0.npy", out[1].getvalue())
    refused("holds train/d-0-seq-0 twice", "e.npz", c)
    refused("'Key' and 'key'", table("e.csv", f"Key,key,a\n{KEYS[0]},{KEYS[1]},1\n"), c)
    refused("'key' is there twice", table("e.csv", f"key,key,a\n{KEYS[0]},{KEYS[1]},1\n"), c)
    np.save("e.npy", X[:1])
    table("k.csv", f"Key,key\n{KEYS[0]},{KEYS[1]}\n")
    refused("k.csv: column 'key' is there twice", "e.npy", c, keys="k.csv")
    source = table("e.csv", f"key,start,a\n{KEYS[0]},0,1\n{KEYS[0]},0,3\n")
    refused("of one time", source, c)
    table("e.csv", f"key,start,a\n{KEYS[0]},0,1\n{KEYS[0]},1,3\n")
    assert take(source, c) == {KEYS[0]: 2}


def test_columns_are_printed_and_doubted(c):
    codes = [LABELS.index(row.split(",")[7]) for row in ROWS]
    lines = [f"{key},{n}.5,{code}" for n, (key, code) in enumerate(zip(KEYS, codes, strict=True))]
    source = table("e.csv", "\n".join(["key,f0,y", *lines]))
    made = import_features(source, c, modality="audio")
    assert made.notes[0] == "columns used: f0, y (2)"
    assert "column 'y' has one whole number for each label" in made.notes[1] and len(made.notes) < 3
    table("e.csv", "\n".join(["key,f0,y", *lines[:-1], f"{KEYS[-1]},1.5,?"]))
    refused("column 'y' holds numbers, but row 14 of it '\\?'", source, c)
    table("e.csv", "\n".join(["key;f0", *(f"{key};1,5" for key in KEYS)]))
    refused("row 0 of it '1,5'. Decimals have a point", source, c)
    table("e.csv", "dialogue,sequence,split,f0\n0.0,1.0,train,1\n")
    assert take(source, c, name="floats") == {KEYS[1]: 1}


def test_messages_say_what_would_work(c):
    np.savez("o.npz", x=X, key=np.array(KEYS, object))
    refused(r"Save texts with .astype\(str\)", "o.npz", c)
    np.save("big.npy", X * 1e38)
    table("k.txt", "\n".join(KEYS))
    made = import_features("big.npy", "c", modality="audio", keys="k.txt")  # the folder will do
    assert "1.5e+39 overflows float32; scale it before" in made.reasons
    with pytest.raises(ErcError, match="imported from big.npy"):
        verify(made.path, corpus="data/meld")  # which is not there
    with pytest.raises(ErcError, match="`erc import e.npy`"):
        export_features("e.npy", "e.npz", "npz")
