import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from erc_features.corpora.cells import plain_text, read_table
from erc_features.errors import CorpusError

cell = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)


@given(
    rows=st.lists(st.tuples(cell, cell), min_size=1, max_size=5),
    newline=st.sampled_from(["\n", "\r\n"]),
)
def test_any_cell_survives_reading(rows, newline, tmp_path_factory):
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator=newline)
    writer.writerows([("a", "b"), *rows])
    path = tmp_path_factory.mktemp("cells") / "x.csv"
    path.write_bytes(b"\xef\xbb\xbf" + out.getvalue().encode())
    table = read_table(path)
    assert [tuple(cells.values()) for _, cells in table.rows] == rows
    assert table.ragged == ()


def test_words_that_look_missing_are_texts(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("t\nNone\nNA\nnan\nnull\n")
    assert [cells["t"] for _, cells in read_table(path).rows] == ["None", "NA", "nan", "null"]


def test_cp1252_file_is_read_as_such(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes("t\ncompany’s café…\n".encode("cp1252"))
    assert next(read_table(path).rows)[1]["t"] == "company’s café…"


def test_ragged_rows_are_named_by_their_first_line(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text('a,b\n"x\ny",1\nonly\n1,2,3\n')
    table = read_table(path)
    assert [line for line, _ in table.rows] == [2]
    assert [text.split(":", 1)[1] for text in table.ragged] == [
        "4: 1 cells, not 2",
        "5: 3 cells, not 2",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "is empty"), ("a,a\n", "'a' is there twice"), ('a\n1\n"x\n2\n', "x.csv:3: not CSV")],
)
def test_unusable_files(tmp_path, content, message):
    path = tmp_path / "x.csv"
    path.write_text(content)
    with pytest.raises(CorpusError, match=message):
        read_table(path)


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ("my company’s", "my company's"),
        ("company\x92s \x93hi\x94 \x85", 'company\'s "hi" ...'),
        ("café – naïve", "café - naïve"),
        ("tab\tand\nline", "tab and line"),
        ("a\x81b", "ab"),
    ],
)
def test_plain_text(written, plain):
    assert plain_text(written) == plain


@given(st.text())
def test_plain_text_is_idempotent_and_has_no_control_characters(text):
    once = plain_text(text)
    assert plain_text(once) == once
    assert not any(c < " " or "\x7f" <= c <= "\x9f" for c in once)
