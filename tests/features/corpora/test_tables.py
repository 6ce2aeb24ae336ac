"""Tables of files: audformat databases and plain CSVs. The databases are written by audformat 1.4.3
(`audformat/make.py.txt`)."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from clips import tone
from recordings import babble, record

from erc_features.corpora import read_raw
from erc_features.corpora.segments import read_segment
from erc_features.errors import CorpusError
from erc_features.media import read_audio, write_wav
from erc_features.preparation.decode import Decode
from erc_features.preparation.prepare import prepare

HERE = Path(__file__).parent


def sounds(root: Path, *names: str, seconds: float = 0.5) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        write_wav(root / name, tone(seconds, 16_000)[0])
    return root


def described(raw):
    return [(r.utterance.key, r.utterance.speaker, r.utterance.label,
             (r.sound.segment if r.sound else r.segment)) for r in raw.rows]  # fmt: skip


@pytest.fixture
def filewise(tmp_path):
    shutil.copytree(HERE / "audformat/filewise", tmp_path / "db")
    names = [f"wav/{name}.wav" for name in ("03a01Fa", "03a02Wc", "08a01Lb", "08a02Wa", "99")]
    return sounds(tmp_path / "db", *names)


@pytest.fixture
def segmented(tmp_path):
    shutil.copytree(HERE / "audformat/segmented", tmp_path / "db")
    return sounds(tmp_path / "db", "audio/a.wav", "audio/b.wav", seconds=3.0)


def test_audformat_filewise(filewise):
    raw = read_raw(filewise.parent)
    assert raw.kind == "audformat" and raw.labels == ("anger", "boredom", "happiness")
    assert described(raw) == [
        ("train/d-0-seq-0", "3", "happiness", None),
        ("train/d-1-seq-0", "3", "anger", None),
        ("test/d-0-seq-0", "8", "boredom", None),
        ("test/d-1-seq-0", "8", "anger", None),
    ]
    u = raw.rows[0].utterance
    assert u.x_text == "Der Lappen liegt auf dem Eisschrank."
    assert dict(u.more) == {"emotion.confidence": "0.9", "gender": "male", "age": "31",
                            "duration": "0 days 00:00:00.500000"}  # fmt: skip
    assert [(d.kind, d.where) for d in raw.defects] == [
        ("media file that no row names", "wav/99.wav")]  # fmt: skip
    assert "labels are of emotion (emotion), emotion.categories.test.gold" in raw.notes[0]
    one = read_raw(filewise, "audformat:emotion")
    assert {r.utterance.split for r in one.rows} == {"train"}  # that table has no split


def test_audformat_segmented_from_parquet(segmented):
    raw = read_raw(segmented)
    assert described(raw) == [
        ("train/d-0-seq-0", "Ann", "joy", (0.0, 1.25)),
        ("train/d-0-seq-1", "Ben", "anger", (1.5, 2.25)),
        ("train/d-0-seq-2", "Ben", "", (2.25, None)),
        ("train/d-1-seq-0", "Ann", "joy", None),  # 0 to NaT is the whole file
    ]
    assert raw.labels == ("joy", "anger")  # the scheme's order, which another table lists
    assert raw.rows[1].utterance.more["arousal"] == "2.5"
    assert read_segment(raw.rows[1].utterance)[0].end == 2.25


def test_what_audformat_cannot_say_is_refused(filewise, tmp_path):
    header = filewise / "db.yaml"
    text = header.read_text()
    with pytest.raises(CorpusError, match="has no table emo; emotion, emotion.categories.test"):
        read_raw(filewise, "audformat:emo")
    with pytest.raises(CorpusError, match=r"(?s)a column mood was looked for in files.*duration, "):
        read_raw(filewise, "audformat:files:mood")
    assert read_raw(filewise, "audformat:files:speaker").labels == ("3", "8")
    table = filewise / "db.emotion.categories.test.gold_standard.csv"
    table.write_text(table.read_text().replace("boredom", "anger"))
    with pytest.raises(CorpusError, match=r"(?s)differ in 1 rows.*gold_standard.csv:2: 'anger', b"):
        read_raw(filewise)
    assert len(read_raw(filewise, "audformat:emotion").rows) == 4
    table.unlink()
    with pytest.raises(CorpusError, match=r"neither. One that is pickled is not read: save the"):
        read_raw(filewise)
    header.write_text(text.replace("emotion", "mood"))
    with pytest.raises(CorpusError, match=r"(?s)scheme emotion, or of that name was looked for"):
        read_raw(filewise)
    header.write_text("tables: [")
    with pytest.raises(CorpusError, match="cannot be read as YAML"):
        read_raw(filewise)


NKULULEKO = """file,start,end,speaker,gender,emotion,duration
wav/10.wav,0 days,0 days 00:00:00.250000,s2,male,happy,0.25
wav/9.wav,0 days,NaT,s1,female,sad,0.5
wav/10.wav,0 days 00:00:00.250000,0 days 00:00:00.500000,s1,female,,0.25
"""


def test_a_csv_as_nkululeko_has_it(tmp_path):
    sounds(tmp_path / "db", "wav/10.wav", "wav/9.wav", "wav/extra.wav")
    path = tmp_path / "db/emodb.csv"
    path.write_text(NKULULEKO)
    raw = read_raw(tmp_path / "db")
    assert described(raw) == [
        ("train/d-0-seq-0", "s1", "sad", None),  # 9 before 10
        ("train/d-1-seq-0", "s2", "happy", (0.0, 0.25)),
        ("train/d-1-seq-1", "s1", "", (0.25, 0.5)),
    ]
    assert dict(raw.rows[1].utterance.more) == {
        "gender": "male", "duration": "0.25", "start": "0", "end": "0.25"}  # fmt: skip
    assert [d.where for d in raw.defects] == ["wav/extra.wav"]
    alone = read_raw(path)  # the CSV itself, which may lie anywhere
    assert [r.utterance for r in alone.rows] == [r.utterance for r in raw.rows]
    by_gender = read_raw(path, "table:gender")
    assert by_gender.labels == ("female", "male")
    assert by_gender.rows[0].utterance.more["emotion"] == "sad"
    assert raw.notes == ("3 utterances of 1 CSV; their labels are of the column emotion.",)


def test_a_csv_with_other_names_and_splits(tmp_path):
    sounds(tmp_path, "audio/1.wav", "audio/2.wav", "audio/3.wav")
    (tmp_path / "all.csv").write_text(
        "Path,Label,spk_id,onset,duration,split,conversation,dialogue,VALENCE\n"
        "audio/1.wav,x,A,0.1,0.2,train,,t1,1.5\naudio/2.wav,y,B,0:00:00.2,0.1,Val,,t1,2\n"
        "audio/3.wav,y,B,,,test,,t2,3\n"
    )
    raw = read_raw(tmp_path)
    assert described(raw) == [
        ("train/d-0-seq-0", "A", "x", (0.1, pytest.approx(0.3))),
        ("dev/d-0-seq-0", "B", "y", (0.2, pytest.approx(0.3))),
        ("test/d-0-seq-0", "B", "y", None),
    ]
    assert raw.rows[0].utterance.more["VALENCE"] == "1.5"
    (tmp_path / "all.csv").unlink()
    for name, file in (("my_train", 1), ("my-val", 2), ("test", 3)):
        (tmp_path / f"{name}.csv").write_text(f"file,emotion\naudio/{file}.wav,joy\n")
    assert [r.utterance.key[:4] for r in read_raw(tmp_path).rows] == ["trai", "dev/", "test"]
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    assert [d.where for d in read_raw(tmp_path).defects] == ["other.csv"]
    (tmp_path / "whole.csv").write_text("file,emotion\naudio/1.wav,joy\n")
    with pytest.raises(CorpusError, match=r"(?s)of which split they are.*whole.csv"):
        read_raw(tmp_path)


def test_what_a_csv_cannot_say_is_refused(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(
        "file,start,end,emotion,split\na.wav,x,,joy,train\nb.wav,2,1,joy,train\n,,,joy,train\n"
        "c.wav,,,joy,holdout\n"
    )
    wrong = (r"(?s)4 rows of.*t.csv:2: start 'x' is not a time.*:3: it ends at 1 s, and starts at "
             r"2 s.*:4: names no.*'holdout' is none")  # fmt: skip
    with pytest.raises(CorpusError, match=wrong):
        read_raw(path)
    path.write_text("file,emotion\na.wav,joy\na.wav,joy\n")
    with pytest.raises(CorpusError, match=r"(?s)1 rows name an utterance.*t.csv:3: the same file"):
        read_raw(path)
    path.write_text("file;emotion\na.wav;joy\n")
    with pytest.raises(CorpusError, match=r"(?s)one of emotion, label.*t.csv: file;emotion"):
        read_raw(path)
    with pytest.raises(CorpusError, match=r"(?s)holds no raw data.*table: a CSV with the columns"):
        read_raw(tmp_path)
    path.write_text("file,emotion\n")
    with pytest.raises(CorpusError, match=r"has columns and no rows"):
        read_raw(path)
    with pytest.raises(CorpusError, match="tess is read in one way; --kind tess works"):
        read_raw(tmp_path, "tess:word")


def test_segments_of_sound_and_of_video_are_cut(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    write_wav(raw / "talk.wav", babble(3.0, 16_000, 1)[0])
    record(raw / "film.mp4", 3.0, fps=10)
    (raw / "t.csv").write_text(
        "file,start,end,emotion\ntalk.wav,0.5,1.5,joy\nfilm.mp4,1,2,fear\nlost.wav,,,joy\n"
        "talk.wav,2,2.5,fear\n"
    )
    made = prepare(raw, tmp_path / "c", decode=Decode(2, 32), jobs=1)
    assert (made.rows, made.pictures, made.sounds) == ({"train": 4}, 1, 3)
    u = {u.key: u for u in made.corpus.utterances}
    whole, part = read_audio(raw / "talk.wav"), u["train/d-2-seq-1"]
    cut = read_audio(tmp_path / "c" / part.x_audio)
    assert np.abs(cut - whole[32_000:40_000]).max() <= 1 / 32768
    kinds = sorted((d.kind, d.where) for d in made.defects)
    assert kinds == [("missing clip", "train/d-1-seq-0"), ("no picture", "train/d-2-seq-0"),
                     ("no picture", "train/d-2-seq-1")]  # fmt: skip


def test_audformat_speakers_may_be_described_in_a_table(tmp_path):
    """As a database whose scheme `speaker` names a misc table has them."""
    header = {
        "name": "db",
        "schemes": {"speaker": {"dtype": "int", "labels": "people"}, "emotion": {"dtype": "str"}},
        "tables": {"files": {"type": "filewise", "columns": {
            "emotion": {"scheme_id": "emotion"}, "speaker": {"scheme_id": "speaker"}}}},
        "misc_tables": {"people": {"levels": {"speaker": "int"}, "columns": {"age": {}}}},
    }  # fmt: skip
    (tmp_path / "db.yaml").write_text(yaml.safe_dump(header))
    (tmp_path / "db.files.csv").write_text("file,emotion,speaker\na.wav,joy,3\nb.wav,joy,9\n")
    (tmp_path / "db.people.csv").write_text("speaker,age,gender\n3,31,female\n4,50,male\n")
    one, other = (row.utterance for row in read_raw(tmp_path).rows)
    assert (one.speaker, dict(one.more)) == ("3", {"age": "31", "gender": "female"})
    assert (other.speaker, dict(other.more)) == ("9", {})


def test_a_table_from_windows_names_its_files(tmp_path):
    sounds(tmp_path, "wav/a.wav")
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbffile,emotion\r\nwav\\a.wav,joy\r\n")
    raw = read_raw(tmp_path)
    assert raw.rows[0].sound.path == tmp_path / "wav/a.wav" and not raw.defects
