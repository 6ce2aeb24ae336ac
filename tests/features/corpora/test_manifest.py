import json

import pytest
from corpora import text_corpus, write_rows
from hypothesis import given
from hypothesis import strategies as st

from erc_features.corpora.manifest import fingerprint, read_corpus, write_corpus
from erc_features.errors import CorpusError
from erc_features.utterance import Split, Utterance

cell = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


@given(
    st.lists(
        st.builds(
            Utterance,
            split=st.sampled_from(Split),
            dialogue=st.integers(0, 5),
            sequence=st.integers(0, 2**31 - 1),
            speaker=cell,
            x_text=cell,
            label=st.sampled_from(["", "joy", "fear"]),
            more=st.fixed_dictionaries({"season": cell}),
        ),
        min_size=1,
        max_size=8,
        unique_by=lambda u: u.key,
    )
)
def test_written_and_read_again_is_the_same(tmp_path_factory, utterances):
    root = tmp_path_factory.mktemp("corpus")
    written = write_corpus(root, utterances, ("joy", "fear"), {"source": "here"})
    read = read_corpus(root)
    assert sorted(read.utterances, key=lambda u: u.key) == sorted(utterances, key=lambda u: u.key)
    assert read.labels == ("joy", "fear")
    assert read.fingerprint == written.fingerprint == read.info["fingerprint"]


def test_fingerprint_knows_words_labels_and_keys_but_not_order_or_media():
    a = Utterance(Split.TRAIN, 0, 0, "A", "hi", label="joy")
    b = Utterance(Split.DEV, 0, 0, "B", "no", x_audio="x.wav")
    base = fingerprint([a, b])
    assert base == fingerprint([b, a])
    assert base == fingerprint([a, Utterance(Split.DEV, 0, 0, "B", "no")])
    for other in (
        Utterance(Split.TRAIN, 0, 0, "A", "hi!", label="joy"),
        Utterance(Split.TRAIN, 0, 0, "A", "hi", label="fear"),
        Utterance(Split.TEST, 0, 0, "A", "hi", label="joy"),
        Utterance(Split.TRAIN, 0, 0, "C", "hi", label="joy"),
    ):
        assert fingerprint([other, b]) != base


def test_every_bad_row_is_named_at_once(tmp_path):
    good = {"dialogue": 0, "sequence": 0, "x_text": "hi", "label": "joy"}
    write_rows(
        tmp_path / "train.csv",
        [good, good | {"dialogue": "x"}, good | {"sequence": -1}, good, good | {"sequence": 9**12}],
    )
    write_rows(tmp_path / "dev.csv", [good | {"label": "bliss"}])
    with (tmp_path / "train.csv").open("a") as file:
        file.write("too,few\n")
    with pytest.raises(CorpusError) as caught:
        read_corpus(tmp_path)
    message = str(caught.value)
    assert "6 problems" in message
    for part in (
        "train.csv:3: dialogue 'x' is not a whole number",
        "train.csv:4: sequence '-1'",
        f"train.csv:5: train/d-0-seq-0 is already in {tmp_path}/train.csv:2",
        f"train.csv:6: sequence '{9**12}'",
        "train.csv:7: 2 cells, not 8",
        "dev.csv:2: label 'bliss' is not one of joy",
    ):
        assert part in message


def test_no_corpus_says_how_to_make_one(tmp_path):
    with pytest.raises(CorpusError, match=r"erc sample.*erc download.*erc prepare"):
        read_corpus(tmp_path / "meld")


def test_a_missing_column_is_named(tmp_path):
    (tmp_path / "train.csv").write_text("dialogue,sequence,x_text\n0,0,hi\n")
    with pytest.raises(CorpusError, match="no column speaker, x_visual, x_audio, label"):
        read_corpus(tmp_path)


def test_one_csv_with_a_split_column_is_a_corpus(tmp_path):
    rows = [
        {"dialogue": 0, "sequence": i, "label": "joy", "split": split}
        for i, split in enumerate(("test", "train"))
    ]
    path = write_rows(tmp_path / "all.csv", rows, ("split",))
    corpus = read_corpus(path)
    assert [u.key for u in corpus.utterances] == ["train/d-0-seq-1", "test/d-0-seq-0"]
    write_rows(path, [rows[0] | {"split": "exam"}], ("split",))
    with pytest.raises(CorpusError, match="split 'exam' is not one of train, dev, test, new"):
        read_corpus(path)


def test_labels_are_those_of_corpus_json_else_of_train(tmp_path):
    root = text_corpus(tmp_path / "c")
    assert read_corpus(root).labels == ("anger", "joy", "neutral")
    (root / "corpus.json").write_text(json.dumps({"labels": ["neutral", "joy", "anger", "fear"]}))
    assert read_corpus(root).labels == ("neutral", "joy", "anger", "fear")
    (root / "corpus.json").write_text(json.dumps({"labels": "neutral"}))
    with pytest.raises(CorpusError, match="`labels` a list of texts"):
        read_corpus(root)


def test_the_table_of_hlm12erc_is_a_corpus(real_clips, tmp_path):
    original = real_clips.parent / "hlm12erc" / "sample.csv"
    with pytest.raises(CorpusError, match=r"no column split \(or name the file"):
        read_corpus(original)
    (tmp_path / "test.csv").write_bytes(original.read_bytes())
    corpus = read_corpus(tmp_path)
    assert [u.key for u in corpus.utterances] == ["test/d-1038-seq-17", "test/d-1038-seq-18"]
    assert corpus.utterances[0].x_audio == "d-1038-seq-17.wav"
