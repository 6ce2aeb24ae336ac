"""`erc doctor` on the real annotations of MELD, on rendered media, and on hostile corpora."""

import json
import shutil
import subprocess
import sys
from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO

import pytest
from clips import encode_clip
from corpora import media_corpus, text_corpus, write_rows
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from erc_features.corpora.manifest import read_corpus
from erc_features.doctor import examples as doctor_examples
from erc_features.doctor.doctor import Diagnosis, doctor
from erc_features.doctor.examples import choose_examples
from erc_features.doctor.page import render, write_page
from erc_features.doctor.tables import sentences, show, tables
from erc_features.errors import CorpusError, ErcError
from erc_features.preparation.decode import Decode
from erc_features.preparation.prepare import prepare

FOLDERS = {
    "train": "train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test",
}  # fmt: skip
VOID = {"meta", "img", "br", "input", "link"}


class Page(HTMLParser):
    """Checks that every element is closed in order; collects text, elements and their links."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.text = ""
        self.links: list[str] = []
        self.sources: dict[str, list[str]] = {}
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "srcset", "action", "data", "poster"):
                self.links.append(value)
                self.sources.setdefault(tag, []).append(value)
            assert not name.startswith("on"), f"{tag} {name}"

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text += data


def kinds(found: Diagnosis) -> dict[str, int]:
    return {kind: len(defects) for kind, defects in found.by_kind.items()}


def where(found: Diagnosis, kind: str) -> set[str]:
    return {defect.where for defect in found.by_kind[kind]}


def leak(found: Diagnosis, first: str, second: str):
    return next(leak for leak in found.leaks if (leak.first, leak.second) == (first, second))


@pytest.fixture(scope="module")
def raw_meld(meld_annotations):
    return doctor(meld_annotations)


@pytest.fixture(scope="module")
def prepared_meld(meld_annotations, tmp_path_factory):
    to = tmp_path_factory.mktemp("data") / "meld"
    prepare(meld_annotations, to)
    return doctor(to)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """Raw data in MELD's shape with a missing clip and, from it, a prepared corpus."""
    folder = tmp_path_factory.mktemp("rendered")
    for split, clips in FOLDERS.items():
        lines = ["Utterance,Speaker,Emotion,Dialogue_ID,Utterance_ID"]
        for i, label in enumerate(("joy", "joy", "fear", "neutral")):
            lines.append(f"it’s {i},Emil,{label},0,{i}")
            if (split, i) != ("dev", 1):
                encode_clip(folder / "raw" / clips / f"dia0_utt{i}.mp4", fps=5, seconds=0.5 + i / 4)
        text = "\r\n".join([*lines, ""])
        (folder / "raw" / f"{split}_sent_emo.csv").write_text(text, encoding="utf-8")
    prepare(folder / "raw", folder / "data" / "clips", decode=Decode(5, 60), jobs=1)
    return folder


@pytest.mark.parametrize("which", ["raw_meld", "prepared_meld"])
def test_the_counts_and_the_defects_of_meld(which, request):
    found = request.getfixturevalue(which)
    parts = {part.split: part for part in found.census.parts}
    assert [part.rows for part in found.census.parts] == [9989, 1109, 2610, 13708]
    assert [part.dialogues for part in found.census.splits] == [1038, 114, 280]
    assert parts["test"].labels["neutral"] == 1256
    assert parts["train"].majority == ("neutral", pytest.approx(0.4715, abs=1e-4))
    assert parts["all"].durations.long == 2
    assert found.census.frequent == 6  # the friends
    assert where(found, "malformed time") == {
        "train/d-437-seq-2", "test/d-187-seq-2", "test/d-233-seq-8",
    }  # fmt: skip
    assert where(found, "no duration") == {"test/d-155-seq-3"}
    assert where(found, "whole scene") == {"test/d-38-seq-4", "test/d-220-seq-0"}
    assert "train/d-338-seq-3" in where(found, "too short")
    assert "test/d-155-seq-3" in where(found, "time in an unusual format")
    gaps = [place.split("/")[0] for place in where(found, "gap in utterance numbers")]
    assert gaps.count("train") == 72
    (gap,) = found.by_kind["gap in dialogue numbers"]
    assert (gap.where, gap.detail) == ("train", "no 60")
    assert len(found.defects) == len({(d.kind, d.where) for d in found.defects})


@pytest.mark.parametrize("which", ["raw_meld", "prepared_meld"])
def test_the_leaks_of_meld(which, request):
    found = request.getfixturevalue(which)
    assert {(one.first, one.second): one.numbers for one in found.leaks} == {
        ("train", "dev"): 675, ("train", "test"): 1740, ("dev", "test"): 670,
    }  # fmt: skip
    test = leak(found, "train", "test")
    assert test.in_plain_form == len(test.keys) == 334
    assert test.dialogues == (("test/d-63", "train/d-19", 2),)
    if which == "raw_meld":
        assert test.as_written == 331
        assert "331 of 2,610 test texts occur word for word in train" in sentences(found)[-2]
        assert kinds(found)["typographic signs in a text"] == pytest.approx(0.28 * 13708, rel=0.02)
    else:
        assert test.as_written is None  # its texts are in plain form
        assert "typographic signs in a text" not in kinds(found)


@pytest.mark.parametrize("which", ["raw_meld", "prepared_meld"])
def test_the_speakers_of_meld_are_in_all_splits(which, request):
    """Counted from the CSVs by hand: the six friends say 83% of test."""
    found = request.getfixturevalue(which)
    friends = ("Joey", "Chandler", "Ross", "Rachel", "Monica", "Phoebe")
    counts = {(one.first, one.second): (len(one.speakers), one.all_speakers, one.speaker_rows)
              for one in found.leaks}  # fmt: skip
    assert counts == {
        ("train", "dev"): (33, 47, 1072), ("train", "test"): (69, 100, 2501),
        ("dev", "test"): (22, 100, 2229),
    }  # fmt: skip
    assert leak(found, "train", "test").speakers[:6] == friends
    assert sentences(found)[-1] == (
        "2,501 of 2,610 test rows (95.8%) have a speaker who is also in train (69 of 100 "
        "speakers). A speaker-independent result would need splits that share none: hold whole "
        "speakers out of train."
    )
    page = Page(render(found))
    assert "2,501 (95.8%)" in page.text and "1,072 (96.7%)" in page.text
    assert "Test in train, speakers: Joey, Chandler, Ross, Rachel, Monica, Phoebe" in page.text


def test_meld_in_the_terminal_and_as_json(raw_meld, capsys):
    show(raw_meld)
    printed = capsys.readouterr().out
    for line in ("9,989", "331 (12.7%)", "334 (12.8%)", "1,740", "72 train", "00:06:47,28",
                 "69 of 100", "2,501 (95.8%)"):  # fmt: skip
        assert line in printed
    found = json.loads(json.dumps(raw_meld.as_dict()))
    assert found["splits"]["train"]["labels"]["anger"] == 1109
    assert len(found["defects"]["gap in utterance numbers"]) == 76
    test = next(pair for pair in found["leaks"] if pair["second"] == "test")
    assert len(test["keys"]) == 334 and len(test["speakers"]) == 69
    assert (test["speaker_rows"], test["all_speakers"]) == (2501, 100)
    assert found["shared_media"] == []


def test_speakers_are_the_same_whatever_the_case_and_unknown_ones_are_nobody(tmp_path):
    def rows(*speakers):
        return [{"dialogue": 0, "sequence": i, "speaker": s} for i, s in enumerate(speakers)]

    write_rows(tmp_path / "train.csv", rows("Ann  Lee", "Ben", "", "unknown", "N/A"))
    write_rows(tmp_path / "dev.csv", rows("Unknown", " ", "?", "Cem"))
    write_rows(
        tmp_path / "test.csv", rows("ann lee", " ANN LEE ", "Dee", "", "UNKNOWN", "ben", "n/a")
    )
    found = doctor(tmp_path)
    test, dev = leak(found, "train", "test"), leak(found, "train", "dev")
    assert test.speakers == ("ann lee", "ben")
    assert (test.all_speakers, test.speaker_rows, test.rows) == (3, 3, 7)
    assert (dev.speakers, dev.all_speakers, dev.speaker_rows) == ((), 1, 0)
    assert "3 of 7 test rows (42.9%) have a speaker" in " ".join(sentences(found))
    write_rows(tmp_path / "test.csv", rows("Dee", ""))
    assert "speaker-independent" not in " ".join(sentences(doctor(tmp_path)))


def test_one_media_file_of_several_rows(tmp_path, capsys):
    """One path written otherwise, links of both kinds, a copy, and two silences of a split."""
    root = media_corpus(tmp_path / "c")
    (root / "test").mkdir()
    (root / "test/link.wav").symlink_to(root / "train/d-0-seq-0.wav")
    (root / "test/hard.wav").hardlink_to(root / "train/d-0-seq-3.wav")
    shutil.copy(root / "train/d-0-seq-4.wav", root / "test/copy.wav")
    silence = (root / "train/d-0-seq-5.wav").read_bytes()
    silence = silence[:44] + bytes(len(silence) - 44)
    for name in ("quiet1.wav", "quiet2.wav"):
        (root / "test" / name).write_bytes(silence)
    # Of one size and one middle with the silence, but another last byte.
    (root / "test/almost.wav").write_bytes(silence[:-1] + b"\1")
    (root / "test/empty1.wav").write_bytes(b"")
    (root / "test/empty2.wav").write_bytes(b"")
    sounds = ["link", "hard", "copy", "quiet1", "quiet2", "almost", "empty1", "empty2", "nothing"]
    rows = [{"dialogue": 0, "sequence": i, "x_audio": f"test/{name}.wav"}
            for i, name in enumerate(sounds)]  # fmt: skip
    rows.append({"dialogue": 0, "sequence": 9, "x_visual": "./train/../train/d-0-seq-0.png"})
    write_rows(root / "test.csv", rows)
    found = doctor(root)
    assert {(one.how, one.files, one.keys, one.splits) for one in found.shared} == {
        ("links to one file", ("train/d-0-seq-0.wav", "test/link.wav"),
         ("train/d-0-seq-0", "test/d-0-seq-0"), ("train", "test")),
        ("links to one file", ("train/d-0-seq-3.wav", "test/hard.wav"),
         ("train/d-0-seq-3", "test/d-0-seq-1"), ("train", "test")),
        ("one path", ("train/d-0-seq-0.png",), ("train/d-0-seq-0", "test/d-0-seq-9"),
         ("train", "test")),
        ("equal content", ("train/d-0-seq-4.wav", "test/copy.wav"),
         ("train/d-0-seq-4", "test/d-0-seq-2"), ("train", "test")),
        ("equal content", ("test/quiet1.wav", "test/quiet2.wav"),
         ("test/d-0-seq-3", "test/d-0-seq-4"), ("test",)),
    }  # fmt: skip
    shared = leak(found, "train", "test")
    assert shared.shared_cells == ("test/d-0-seq-0", "test/d-0-seq-1", "test/d-0-seq-9")
    assert shared.same_bytes == (("test/copy.wav", "train/d-0-seq-4.wav"),)
    assert "9 rows share a media file, or its content, with another row." in sentences(found)
    (table,) = [table for table in tables(found) if table.title == "Media of several rows"]
    assert table.rows == (("one path", "1", "2", "1", "2"),
                          ("links to one file", "2", "4", "2", "4"),
                          ("equal content", "2", "4", "1", "2"))  # fmt: skip
    show(found)
    printed = " ".join(capsys.readouterr().out.split())
    page = " ".join(Page(render(found)).text.split())
    for note in table.notes:
        assert " ".join(note.split()) in printed and " ".join(note.split()) in page
    assert (
        "Equal content: test/quiet1.wav, test/quiet2.wav, of test/d-0-seq-3, test/d-0-seq-4."
        in page
    )
    assert "Silence and black frames may rightly be equal." in page
    in_json = json.loads(json.dumps(found.as_dict()))["shared_media"]
    assert {tuple(one["keys"]) for one in in_json} == {one.keys for one in found.shared}


def test_a_clip_that_is_picture_and_sound_of_one_row_is_not_shared(tmp_path):
    encode_clip(tmp_path / "a.mp4", fps=5, seconds=0.5)
    rows = [{"dialogue": 0, "sequence": 0, "x_visual": "a.mp4", "x_audio": "./a.mp4"}]
    write_rows(tmp_path / "train.csv", rows)
    assert doctor(tmp_path).shared == ()


def test_a_csv_keeps_its_texts_as_they_were_written(tmp_path):
    rows = [{"dialogue": 0, "sequence": i, "x_text": t} for i, t in enumerate(["it’s", "so", ""])]
    write_rows(tmp_path / "train.csv", rows)
    rows = [{"dialogue": 0, "sequence": i, "x_text": t} for i, t in enumerate(["it's", "so", ""])]
    write_rows(tmp_path / "test.csv", rows)
    found = leak(doctor(tmp_path), "train", "test")
    assert (found.as_written, found.in_plain_form) == (1, 2)  # a blank text repeats nothing


def test_media_that_are_missing_empty_nobodys_or_of_two_splits(tmp_path):
    root = media_corpus(tmp_path / "c")
    (root / "train/d-0-seq-3.wav").unlink()
    (root / "train/d-0-seq-4.wav").write_bytes(b"")
    (root / "train/stray.mp4").write_bytes(b"x")
    (root / "train/notes.txt").write_bytes(b"x")
    (root / "test").mkdir()
    shutil.copy(root / "train/d-0-seq-0.wav", root / "test/d-0-seq-0.wav")
    # Of the same size as a train picture, but other bytes at its end.
    data = (root / "train/d-0-seq-5.png").read_bytes()
    (root / "test/d-0-seq-1.png").write_bytes(data[:-1] + b"x")
    write_rows(root / "test.csv", [
        {"dialogue": 0, "sequence": 0, "x_audio": "test/d-0-seq-0.wav",
         "x_visual": "./train/d-0-seq-0.png"},
        {"dialogue": 0, "sequence": 1, "x_visual": "test/d-0-seq-1.png"},
    ])  # fmt: skip
    info = {"missing": {"audio": {"train/d-0-seq-1": "clip7.mp4 cannot be opened"}}}
    (root / "corpus.json").write_text(json.dumps(info))
    found = doctor(root)
    picture, sound = found.media
    assert picture.there == {"train": 5, "test": 2} and picture.reasons == {"none named": 1}
    assert sound.there == {"train": 3, "test": 1} and (sound.named, sound.lost) == (6, 2)
    assert sound.reasons == {"… cannot be opened": 1, "none named": 1}
    assert where(found, "media file is not there") == {"train/d-0-seq-3"}
    assert where(found, "media file is empty") == {"train/d-0-seq-4"}
    assert where(found, "media file that no row names") == {
        "train/stray.mp4", "train/d-0-seq-1.png", "train/d-0-seq-1.wav",
    }  # fmt: skip
    shared = leak(found, "train", "test")
    assert shared.shared_cells == ("test/d-0-seq-0",)
    assert shared.same_bytes == (("test/d-0-seq-0.wav", "train/d-0-seq-0.wav"),)


def test_what_rows_show(tmp_path):
    def row(dialogue, sequence, start="", end="", text="so it is", **more):
        return {"dialogue": dialogue, "sequence": sequence, "x_text": text, "speaker": "A",
                "start": start, "end": end, "season": 1, "episode": 2, **more}  # fmt: skip

    write_rows(tmp_path / "train.csv", [
        row(0, 0, "00:00:10,000", "00:00:12,000", label="joy"),
        row(0, 2, "00:00:14,000", "00:00:13,000", label="fear"),
        row(4, 0, "20.5", "22", "caf\x92"),
        row(4, 1, "soon", "later", " "),
        row(4, 5, "00:00:05,000", "00:02:05,000", "Oh \ufffd"),
    ], ("start", "end", "season", "episode"))  # fmt: skip
    write_rows(tmp_path / "test.csv", [
        row(0, 0, "00:00:11,000", "00:00:11,050", label="joy"),
        row(0, 1, "00:02:05,000", "00:02:06,000"),
        row(2147483647, 2147483647),
    ], ("start", "end", "season", "episode"))  # fmt: skip
    found = doctor(tmp_path)
    assert {(d.kind, d.where, d.detail) for d in found.defects} == {
        ("end before start", "train/d-0-seq-2", "00:00:14,000 to 00:00:13,000"),
        ("malformed time", "train/d-4-seq-1", "soon to later"),
        ("whole scene", "train/d-4-seq-5", "120 s by its times"),
        ("too short", "test/d-0-seq-0", "0.050 s by its times"),
        ("gap in utterance numbers", "train/d-0", "no 1"),
        ("gap in utterance numbers", "train/d-4", "no 2 to 4"),
        ("gap in utterance numbers", "test/d-2147483647", "no 0 to 2147483646"),
        ("gap in dialogue numbers", "train", "no 1 to 3"),
        ("gap in dialogue numbers", "test", "no 1 to 2147483646"),
        ("numbers shared by splits", "train-test", "1 pairs of dialogue and utterance number"),
        ("label absent from a split", "test", "no fear"),
        ("control character in a text", "train/d-4-seq-0", "U+0092"),
        ("undecodable text", "train/d-4-seq-5", "U+FFFD where letters were"),
        ("blank text", "train/d-4-seq-1", "no text"),
        ("same text twice in a row", "train/d-0-seq-2", "as train/d-0-seq-0: so it is"),
        ("same text twice in a row", "test/d-0-seq-1", "as test/d-0-seq-0: so it is"),
    }
    # 0.05 s is no overlap, and times that touch are none.
    assert leak(found, "train", "test").overlapping == ()


def test_the_page_shows_and_sounds(rendered, tmp_path):
    from PIL import Image

    from erc_features.media import read_audio

    found = doctor(rendered / "data" / "clips")
    to = write_page(found, tmp_path / "new" / "doctor.html")
    assert [path.name for path in to.parent.iterdir()] == ["doctor.html"]
    page = Page(to.read_text(encoding="utf-8"))
    assert "script" not in page.seen
    assert page.links and all(link.startswith("data:") for link in page.links)
    for table in tables(found):
        assert table.title in page.text
        for row in table.rows:
            assert row[0] in page.text
    for kind in found.by_kind:
        assert kind in page.text
    chosen = choose_examples(found.corpus)
    assert set(chosen) == {u.label for u in found.corpus.utterances}
    for label, rows in chosen.items():
        there = {u.split for u in found.corpus.utterances if u.label == label}
        assert {u.split for u in rows} == there  # spread over the splits
        assert all(u.x_text in page.text and u.key in page.text for u in rows)
    pictures = [b64decode(link.split(",")[1]) for link in page.sources["img"]]
    assert all(Image.open(BytesIO(data)).size == (3 * 80, 60) for data in pictures)
    sounds = [b64decode(link.split(",")[1]) for link in page.sources["audio"]]
    (tmp_path / "first.wav").write_bytes(sounds[0])
    first = next(u for rows in chosen.values() for u in rows if u.x_audio)
    assert len(read_audio(tmp_path / "first.wav")) == len(
        read_audio(found.corpus.root / first.x_audio)
    )
    assert to.stat().st_size < 10_000_000


def test_raw_clips_before_they_are_prepared(rendered):
    found = doctor(rendered / "raw")
    (clips,) = found.media
    rows = found.census.all.rows
    assert found.kind == "raw meld" and clips.named == rows - 1
    assert clips.reasons == {"missing clip": 1}
    assert where(found, "missing clip") == {"dev/d-0-seq-1"}
    assert leak(found, "train", "test").as_written == 4
    assert len(leak(found, "train", "test").same_bytes) == 4
    page = Page(render(found))
    assert page.sources["img"] and page.sources["audio"]


def test_a_page_stays_small(rendered, monkeypatch):
    found = doctor(rendered / "data" / "clips")
    chosen = choose_examples(found.corpus)
    loaded = doctor_examples.load_examples(found.corpus, chosen, budget=100_000)
    every = [example for some in loaded.values() for example in some]
    assert sum(len(e.picture) + len(e.sound) for e in every) <= 100_000
    assert any(e.sound for e in every)
    assert any(e.no_sound == "left out: the page would be too large" for e in every)
    assert all(e.picture or e.no_picture for e in every)


def test_hostile_names_are_text(tmp_path):
    bad = "<script>alert(1)</script>\"'>&{{ 7*7 }}\x1b[31m\u202e"
    paths = [bad, "/dev/zero", "../../etc/passwd", "a" * 5000, ".", "train.csv"]
    rows = [
        {"dialogue": 0, "sequence": i, "speaker": bad, "x_text": bad, "label": bad,
         "x_visual": path, "x_audio": path}
        for i, path in enumerate(paths)
    ]  # fmt: skip
    root = tmp_path / "<b>x&"
    write_rows(root / "train.csv", rows)
    info = {"defects": [{"kind": bad, "where": bad, "detail": "\ud800"}, "?", {"kind": []}, {}],
            "missing": {"visual": [1], "audio": 3}, "decode": {"frames": "x"}}  # fmt: skip
    (root / "corpus.json").write_text(json.dumps(info))
    found = doctor(root)
    to = write_page(found, tmp_path / "page.html")
    html = to.read_text(encoding="utf-8")
    page = Page(html)
    assert "script" not in page.seen and "49" not in page.text.split("Utterances to see")[1]
    assert "<script>alert(1)</script>" in page.text and "\x1b" not in html and "\u202e" not in html
    json.dumps(found.as_dict(), ensure_ascii=False).encode()


def test_a_terminal_is_not_steered(tmp_path, capsys):
    rows = [{"dialogue": 0, "sequence": 0, "speaker": "[red]\x1b[31m", "x_text": "so"}]
    show(doctor(write_rows(tmp_path / "train.csv", rows)))
    printed = capsys.readouterr().out
    assert "\x1b" not in printed and "[red]" in printed


@pytest.mark.parametrize("what", ["a folder", "below a file"])
def test_a_page_that_cannot_be_written(tmp_path, what):
    folder = tmp_path / "there"
    if what == "a folder":
        (folder / "page.html").mkdir(parents=True)
    else:
        folder.write_text("")
    found = doctor(text_corpus(tmp_path / "c"))
    with pytest.raises(ErcError, match=r"page\.html: cannot be written .*--html"):
        write_page(found, folder / "page.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "there"]


def test_what_is_no_corpus(tmp_path):
    with pytest.raises(CorpusError, match="No corpus at"):
        doctor(tmp_path)
    with pytest.raises(CorpusError, match="No corpus at"):
        doctor(tmp_path / "nothing")


cells = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=12)
times = st.one_of(cells, st.sampled_from(["00:00:01,000", "0:00:01,5", "1", "9e9", "nan", "٣"]))


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rows=st.lists(
        st.fixed_dictionaries({
            "split": st.sampled_from(["train", "dev", "test", "new"]),
            "dialogue": st.one_of(st.integers(0, 3), st.just(2**31 - 1)),
            "sequence": st.integers(0, 3), "speaker": cells, "x_text": cells,
            "x_visual": cells, "x_audio": cells, "label": st.sampled_from(["", "joy"]),
            "start": times, "end": times, "season": cells, "episode": cells,
        }),
        min_size=1, max_size=12, unique_by=lambda r: (r["split"], r["dialogue"], r["sequence"]),
    ),
    info=st.one_of(st.none(), st.dictionaries(
        st.sampled_from(["defects", "missing", "decode", "source", "prepared_from", "name"]),
        st.recursive(st.one_of(st.none(), st.integers(), cells), lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(st.sampled_from(["kind", "where", "visual", "frames"]), inner),
        ), max_leaves=6),
    )),
)  # fmt: skip
def test_it_examines_whatever_can_be_read(tmp_path_factory, rows, info):
    root = tmp_path_factory.mktemp("any")
    path = write_rows(root / "any.csv", rows, ("split", "start", "end", "season", "episode"))
    if info is not None:
        (root / "corpus.json").write_text(json.dumps(info))
    try:
        read_corpus(path)
    except CorpusError:
        return  # a label that train lacks, perhaps
    found = doctor(path)
    assert found.census.all.rows == len(rows)
    json.dumps(found.as_dict(), allow_nan=False).encode()
    tables(found), sentences(found)
    Page(render(found))


def test_the_doctor_is_light():
    code = "import sys, erc_features.doctor.doctor, erc_features.doctor.tables; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "av", "pandas", "jinja2", "PIL"} & set(done.stdout.split())
