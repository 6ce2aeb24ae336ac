"""Tables as other tools write them: what is no feature, lists in Parquet, names in any column."""

import base64
import pickle
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpora import text_corpus

from erc_features.corpora.manifest import read_corpus
from erc_features.errors import ErcError
from erc_features.interchange import import_features
from erc_features.store import FeatureFile, Status

FOLDERS = {
    "train": "train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test",
}  # fmt: skip
N, D = 42, 4


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return read_corpus(text_corpus(tmp_path / "c", (24, 9, 9)))


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(N, 3, D)).astype(np.float32)


def clip(u, ending="mp4"):
    return f"/data/MELD.Raw/{FOLDERS[u.split]}/dia{u.dialogue}_utt{u.sequence}.{ending}"


def take(source, corpus, **options):
    """The summary, and (x, status, reason) in the corpus's order."""
    made = import_features(source, corpus, modality="audio", overwrite=True, **options)
    with FeatureFile(made.path) as file:
        return made, file.x(), file.status.tolist(), file.reason.tolist()


def refused(message, source, corpus, **options):
    with pytest.raises(ErcError) as raised:
        take(source, corpus, **options)
    assert re.search(message, str(raised.value), re.S), raised.value


def predictions(corpus, logits=False):
    """nkululeko's `Reporter.print_probabilities`: an audformat index, a column of each label with
    probabilities or logits, then predicted, truth, uncertainty and correct."""
    random = np.random.default_rng(1)
    p = random.normal(size=(N, 3)) if logits else random.dirichlet(np.ones(3), N)
    us = corpus.utterances
    ends = pd.to_timedelta([1.5] * N, unit="s")
    index = pd.MultiIndex.from_arrays(
        [[clip(u, "wav") for u in us], pd.to_timedelta([0] * N), ends],
        names=["file", "start", "end"],
    )
    table = pd.DataFrame(p, columns=["anger", "joy", "neutral"], index=index)
    table["predicted"] = [table.columns[i] for i in p.argmax(1)]
    table["truth"] = [u.label for u in us]
    table["uncertainty"] = random.random(N)
    table["correct"] = table["predicted"] == table["truth"]
    return table


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("logits", [False, True])
def test_predictions_of_nkululeko_are_no_features(corpus, suffix, logits):
    table = predictions(corpus, logits)
    source = f"predictions.{suffix}"
    write = {"csv": "to_csv", "parquet": "to_parquet"}[suffix]
    getattr(table, write)(source)
    refused("no column .* left as features.*table of predictions.*--field anger,joy,neutral[.]$",
            source, corpus)  # fmt: skip
    table.insert(0, "F0", np.arange(N) / 4)
    getattr(table, write)(source)
    made, x, status, _ = take(source, corpus)
    assert made.shape == (N, 1, 1) and x[:, 0, 0].tolist() == table["F0"].tolist()
    assert set(status) == {Status.OK}
    assert made.notes[0] == "columns used: F0 (1)"
    assert made.notes[1].startswith(
        "left out as truth, prediction, probability or score of a row: anger (of a label), joy (of "
        "a label), neutral (of a label), uncertainty (by its name), correct (by its name); --field"
    )
    assert {"anger", "joy", "neutral", "predicted", "truth", "uncertainty", "correct"} < set(
        made.left_out
    )
    assert "correct (by its name)" in str(made)
    made, x, _, _ = take(source, corpus, field="joy,anger")
    assert np.allclose(x[:, 0], table[["joy", "anger"]], atol=1e-6) and made.field == "joy,anger"
    assert "joy, anger: taken by name, though truth" in str(made)
    _, x, _, _ = take(source, corpus, field="correct")
    assert x[:, 0, 0].astype(bool).tolist() == table["correct"].tolist()
    refused("Unknown field of .*'predicted'; choose from F0, anger", source, corpus,
            field="predicted")  # fmt: skip


def test_which_columns_are_scores(corpus):
    """openSMILE's voicing probability and an entropy of a spectrum are features."""
    scores = ["y_true", "y_pred", "true_label", "pred_class", "prob_anger", "prob0", "proba_1",
              "Anger", "joy_prob", "p_joy", "logits_2", "confidence", "entropy", "score", "gold",
              "label_id", "emotion_pred", "predictions", "target"]  # fmt: skip
    features = ["voiceProb_sma_max", "pcm_fftMag_spectralEntropy_sma", "spectral_entropy", "x", "y",
                "angry_words", "f0", "0", "AU01_r", "problem_words", "correctness"]  # fmt: skip
    columns = {name: np.arange(N) / 8 for name in (*scores, *features)}
    flag = {"voiced": np.arange(N) % 2 == 0}
    table = pd.DataFrame({"key": [u.key for u in corpus.utterances], **columns, **flag})
    table.to_csv("e.csv", index=False)
    made, *_ = take("e.csv", corpus)
    assert made.shape[2] == len(features)
    assert set(made.left_out) == {*scores, "voiced"} and "voiced (true or false)" in str(made)


def metadata(kind):
    """What `datasets` 4.4.1 writes into the field of an `Array2D`."""
    return {"ARROW:extension:name": "datasets.features.features.Array2DExtensionType",
            "ARROW:extension:metadata": f'[{kind}, "float32"]'}  # fmt: skip


class Registered(pa.ExtensionType):
    """`import datasets` registers such a type with Arrow; files are then read as it."""

    def __init__(self):
        super().__init__(pa.list_(pa.list_(pa.float32())),
                         "datasets.features.features.Array2DExtensionType")  # fmt: skip

    def __arrow_ext_serialize__(self):
        return b'[[3, 4], "float32"]'

    @classmethod
    def __arrow_ext_deserialize__(cls, storage, serialized):
        return cls()


@pytest.mark.parametrize("way", ["list", "fixed", "large", "nested", "Array2D", "registered",
                                 "tensor", "pandas", "chunks"])  # fmt: skip
def test_one_column_of_lists_is_taken(corpus, x, way):
    """Beside an audio path, and a label and a length that are no features beside it."""
    flat, nested = x[:, 0].tolist(), x.tolist()
    lists = pa.list_(pa.list_(pa.float32()))
    columns = {"file": pa.array([clip(u) for u in corpus.utterances]),
               "label": pa.array([0, 1] * 21), "num_frames": pa.array(range(N)),
               "texts": pa.array([["a", "b"]] * N), "bytes": pa.array([b"\xff"] * N)}  # fmt: skip
    made = {
        "list": lambda: pa.array(flat, pa.list_(pa.float32())),
        "fixed": lambda: pa.array(flat, pa.list_(pa.float32(), D)),
        "large": lambda: pa.array(flat, pa.large_list(pa.float64())),
        "nested": lambda: pa.array(nested, lists),
        "Array2D": lambda: pa.array(nested, lists),
        "registered": lambda: pa.ExtensionArray.from_storage(
            Registered(), pa.array(nested, lists)),
        "tensor": lambda: pa.FixedShapeTensorArray.from_numpy_ndarray(x[:, 0].copy()),
        "chunks": lambda: pa.array(flat, pa.list_(pa.float32())),
    }  # fmt: skip
    if way == "registered":
        pa.register_extension_type(Registered())
    try:
        if way == "pandas":
            table = pd.DataFrame({name: one.to_pylist() for name, one in columns.items()})
            table["hidden"] = list(x[:, 0])
            table.to_parquet("e.parquet")
        else:
            table = pa.table(columns | {"hidden": made[way]()})
            if way == "Array2D":
                field = pa.field("hidden", lists, metadata=metadata("[3, 4]"))
                table = table.cast(table.schema.set(5, field))
            pq.write_table(table, "e.parquet", row_group_size=5 if way == "chunks" else None)
        summary, found, status, _ = take("e.parquet", corpus)
    finally:
        if way == "registered":
            pa.unregister_extension_type("datasets.features.features.Array2DExtensionType")
    expected = x if way in ("nested", "Array2D", "registered") else x[:, :1]
    assert np.array_equal(found, expected) and set(status) == {Status.OK}
    assert summary.field == "hidden" and summary.notes == ("columns used: hidden (1)",)
    assert set(summary.left_out) == {"label", "num_frames", "texts", "bytes"}


def test_several_columns_of_lists_ask(corpus, x):
    columns = {"key": [u.key for u in corpus.utterances], "a": list(x[:, 0]), "b": list(x[:, 1]),
               "ids": [[1] * (1 + i % 3) for i in range(N)], "logits": list(x[:, 2]),
               "other": list(x[:, 2, :2]), "f0": np.arange(N) / 2}  # fmt: skip
    pd.DataFrame(columns).to_parquet("e.parquet")
    refused(r"has 4 columns of lists of numbers; choose one with --field:\n  a: list<.*float>",
            "e.parquet", corpus)  # fmt: skip
    _, found, _, _ = take("e.parquet", corpus, field="b")
    assert np.array_equal(found, x[:, 1:2])
    made, found, _, _ = take("e.parquet", corpus, field="b,a")
    assert np.array_equal(found, x[:, [1, 0]]) and made.field == "b,a"
    _, found, _, _ = take("e.parquet", corpus, field="logits")
    assert np.array_equal(found, x[:, 2:3])
    _, found, _, _ = take("e.parquet", corpus, field="f0")
    assert found[:, 0, 0].tolist() == columns["f0"].tolist()
    refused("a .42, 1, 4.\n  other .42, 1, 2.", "e.parquet", corpus, field="a,other")
    refused("lists and of single numbers together", "e.parquet", corpus, field="a,f0")
    refused("names a twice", "e.parquet", corpus, field="a,a")
    refused("Unknown field of .*'c'; choose from a, b", "e.parquet", corpus, field="c")
    refused(r"\(column ids\): .*most have \d, and 28 not:\n  row", "e.parquet", corpus, field="ids")


def test_lists_that_do_not_fit_name_their_rows(corpus, x):
    rows = x[:, 0].tolist()
    keys = [u.key for u in corpus.utterances]

    def write(rows, kind=None):
        pq.write_table(pa.table({"key": keys, "v": pa.array(rows, kind)}), "e.parquet")

    write([*rows[:5], rows[5][:3], *rows[6:40], [], rows[41]])
    refused(r"have several lengths; most have 4, and 2 not:\n  row 5: 3 numbers\n  row 40: 0 num",
            "e.parquet", corpus)  # fmt: skip
    write([*rows[:5], None, *rows[6:]])
    _, found, status, reason = take("e.parquet", corpus)
    assert status[5] == Status.MISSING and reason[5] == "its list is null"
    assert np.array_equal(np.delete(found, 5, 0)[:, 0], np.delete(x[:, 0], 5, 0))
    write([*rows[:5], [1.0, None, 2.0, 3.0], *rows[6:]])
    _, _, status, reason = take("e.parquet", corpus)
    assert status[5] == Status.FAILED and reason[5] == "the embedding holds NaN or infinity"
    nested = [[r] * (1 + i % 3) for i, r in enumerate(rows)]
    write(nested)
    refused(r"several numbers of vectors:\n  row 0: 1\n  row 1: 2\n.*--frames mean", "e.parquet",
            corpus)  # fmt: skip
    refused("these are frames", "e.parquet", corpus, layers=True)
    made, found, _, _ = take("e.parquet", corpus, frames="mean")
    assert (
        np.allclose(found, x[:, :1], atol=1e-6) and made.pooling == "mean over frames, of each row"
    )
    nested[7] = [rows[7], rows[7][:2]]
    write(nested)
    refused("most have 4, and 1 not:\n  row 7: 2 numbers", "e.parquet", corpus, frames="mean")
    write([[]] * N, pa.list_(pa.float32()))
    refused("its lists are empty", "e.parquet", corpus)
    write([None] * N, pa.list_(pa.float32()))
    refused("every row of column v is null", "e.parquet", corpus)
    write([[[[1.0]]]] * N)
    refused("its lists are 3 deep", "e.parquet", corpus)


class Marks:
    def __reduce__(self):
        return open, ("mark", "w")


def test_hostile_lists_are_refused(corpus, tmp_path):
    """A list type of more numbers than are stored; as many equal numbers; a type that is a pickle,
    as `pa.PyExtensionType` was. Just past our limit, so that nothing suffers without the guard."""
    keys = [u.key for u in corpus.utterances]
    wide = pa.list_(pa.float32(), 4 * 10**6)
    narrow = pa.table({"key": keys, "v": pa.array([None] * N, pa.list_(pa.float32(), 2))})
    pq.write_table(narrow, "w.parquet", store_schema=False)
    fake = pa.table({"key": pa.array([], pa.string()), "v": pa.array([], wide)}).schema
    writer = pq.ParquetWriter("w.parquet", narrow.schema, store_schema=False)
    encoded = base64.b64encode(fake.serialize().to_pybytes())
    writer.add_key_value_metadata({"ARROW:schema": encoded.decode()})
    writer.write_table(narrow)
    writer.close()
    refused(r"w.parquet: (refused, its lists claim 168,000,000 numbers|cannot be read)",
            "w.parquet", corpus)  # fmt: skip
    one = pa.array(np.zeros(3 * 10**7, np.float32))
    offsets = pa.array([0, *[3 * 10**7] * N], pa.int32())
    lists = pa.ListArray.from_arrays(offsets, one)
    table = pa.table({"key": keys, "v": lists})
    pq.write_table(pa.concat_tables([table] * 5), "r.parquet")
    refused("refused, its lists claim 150,000", "r.parquet", corpus)
    field = pa.field("v", pa.list_(pa.float32()), metadata={
        "ARROW:extension:name": "arrow.py_extension_type",
        "ARROW:extension:metadata": pickle.dumps(Marks())})  # fmt: skip
    table = pa.table({"key": keys, "v": pa.array([[1.0, 2.0]] * N, pa.list_(pa.float32()))})
    pq.write_table(table.cast(table.schema.set(1, field)), "p.parquet")
    _, found, _, _ = take("p.parquet", corpus)
    assert found[:, 0].tolist() == [[1, 2]] * N
    assert not (tmp_path / "mark").exists()


def test_clip_retrievals_metadata_names_rows(corpus, x):
    """img_emb/img_emb_0.npy in float16, metadata/metadata_0.parquet with `image_path`, `caption`
    and what stood in each clip's JSON; sorted by name, so not in the corpus's order."""
    order = sorted(range(N), key=lambda n: clip(corpus.utterances[n], "jpg"))
    half = x[order, 0].astype(np.float16)
    np.save("img_emb_0.npy", half)
    us = [corpus.utterances[n] for n in order]
    assert [u.key for u in us] != [u.key for u in corpus.utterances]
    table = pd.DataFrame({
        "image_path": [clip(u, "jpg") for u in us], "caption": ['He said: "hi,\nyou"'] * N,
        "name": [u.speaker for u in us], "vector": list(x[:, 0]),
    })  # fmt: skip
    table.to_parquet("metadata_0.parquet")
    table.drop(columns="vector").to_csv("metadata.csv", index=False)
    for keys in ("metadata_0.parquet", "metadata.csv"):
        _, found, status, _ = take("img_emb_0.npy", corpus, keys=keys)
        assert np.array_equal(found[order, 0], half) and set(status) == {Status.OK}
    table[["caption", "vector"]].to_parquet("c.parquet")
    refused("c.parquet: none of its columns names the rows.*image_path", "img_emb_0.npy", corpus,
            keys="c.parquet")  # fmt: skip
    table[["caption"]].assign(n=1).to_csv("c.csv", index=False)
    refused("c.csv: none of its columns names the rows.*image_path", "img_emb_0.npy", corpus,
            keys="c.csv")  # fmt: skip
    table.loc[3, "image_path"] = None
    table.to_parquet("g.parquet")
    refused("column image_path has gaps", "img_emb_0.npy", corpus, keys="g.parquet")
    refused("no such file", "img_emb_0.npy", corpus, keys="nothing.parquet")
    with open("b.parquet", "wb") as file:
        file.write(b"PAR1" + bytes(20) + b"PAR1")
    refused("b.parquet: cannot be read as .parquet", "img_emb_0.npy", corpus, keys="b.parquet")


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet"])
@pytest.mark.parametrize("column", ["file", "filepath", "path", "image_path", "name", "Filename"])
def test_a_list_of_keys_may_be_any_table(corpus, x, column, kind):
    order = np.random.default_rng(2).permutation(N)
    np.save("e.npy", x[order, 0])
    names = [clip(corpus.utterances[n]) for n in order]
    frames = {
        "one": pd.DataFrame({column: names}),
        "index": pd.DataFrame({"speaker": "a"}, index=pd.Index(names, name=column)),
        "split": pd.DataFrame({
            "id": range(N), "split": [corpus.utterances[n].split.value for n in order],
            column: [name.rsplit("/", 1)[1] for name in names]}),
    }  # fmt: skip
    for how, table in frames.items():
        keys, index = f"{how}.{kind}", how == "index"
        if kind == "parquet":
            table.to_parquet(keys)
        else:
            table.to_csv(keys, index=index, sep="\t" if kind == "tsv" else ",")
        _, found, _, _ = take("e.npy", corpus, keys=keys)
        assert np.array_equal(found[order, 0], x[order, 0]), how


def test_a_column_that_names_nothing_does_not_go_first(corpus, x):
    """Of `file`, `filename`, `filepath`, `path`, …, `name`, `id` the first that names any."""
    us = corpus.utterances
    table = pd.DataFrame({"name": [u.speaker for u in us], "path": [clip(u) for u in us],
                          "id": range(N), "a": x[:, 0, 0]})  # fmt: skip
    table.to_csv("e.csv", index=False)
    made, found, _, _ = take("e.csv", corpus)
    assert np.array_equal(found[:, 0, 0], x[:, 0, 0]) and set(made.left_out) == {"name", "id"}
    table["file"] = table["path"].iloc[::-1].tolist()  # before `path`
    table.to_csv("e.csv", index=False)
    _, found, _, _ = take("e.csv", corpus)
    assert np.array_equal(found[::-1, 0, 0], x[:, 0, 0])


def test_nkululekos_index_of_tuples_names_rows(corpus, x):
    """Of extractors that collect rows with `pd.concat`, as `audwav2vec2`, stored as CSV."""
    table = pd.DataFrame()
    for u, row in zip(corpus.utterances, x[:, 0], strict=True):
        index = [(clip(u, "wav"), pd.Timedelta(0), pd.Timedelta(1.5, "s"))]
        table = pd.concat([table, pd.DataFrame([row], index=index)])
    table.to_csv("e.csv")
    assert type(table.index) is pd.Index and isinstance(table.index[0], tuple)
    _, found, _, _ = take("e.csv", corpus)
    assert np.allclose(found[:, 0], x[:, 0], atol=1e-6)


def test_pickles_of_pandas_are_refused_with_what_to_do(corpus):
    """nkululeko writes them unless `store_format = csv`."""
    predictions(corpus)[["uncertainty"]].to_pickle("e.pkl")
    refused(
        'a pandas table.*table.to_parquet."features.parquet".*store_format = csv', "e.pkl", corpus
    )
