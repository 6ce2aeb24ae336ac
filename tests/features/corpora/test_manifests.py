"""lhotse's manifests and datasets that `save_to_disk` wrote: files of lhotse 1.33.0 and of datasets
3.6.0 (`lhotse/make.py.txt`, `datasets/make.py.txt`)."""

import gzip
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from clips import tone
from recordings import babble

from erc_features.corpora import read_raw
from erc_features.doctor.doctor import doctor
from erc_features.errors import CorpusError
from erc_features.media import read_audio, write_wav
from erc_features.preparation.prepare import prepare

HERE = Path(__file__).parent


@pytest.fixture
def manifests(tmp_path):
    root = tmp_path / "lhotse"
    shutil.copytree(HERE / "lhotse", root)
    (root / "audio").mkdir()
    for name in ("talk-1", "talk-2", "talk-3", "talk-4"):
        write_wav(root / f"audio/{name}.wav", babble(3.0, 16_000, 1)[0])
    return root


def lines(path: Path, change) -> None:
    """Change the objects of a manifest."""
    with gzip.open(path, "rt") as file:
        found = [json.loads(line) for line in file]
    with gzip.open(path, "wt") as file:
        file.write("".join(json.dumps(change(line)) + "\n" for line in found))


def test_lhotse(manifests):
    raw = read_raw(manifests)
    found = [(r.utterance.key, r.utterance.speaker, r.utterance.label, r.sound.segment)
             for r in raw.rows]  # fmt: skip
    assert found == [
        ("train/d-0-seq-0", "Ann", "joy", (0.25, 1.25)),
        ("train/d-0-seq-1", "Ben", "anger", (1.5, 2.25)),
        ("train/d-1-seq-0", "Ben", "calm", None),
        ("test/d-0-seq-0", "Cid", "", (1.0, 2.0)),
    ]
    u = raw.rows[0].utterance
    assert u.x_text == "Yes!" and u.more["id"] == "u1" and u.more["language"] == "English"
    assert raw.rows[1].utterance.more["arousal"] == "3.0"
    assert [(d.kind, d.where) for d in raw.defects] == [
        ("media file that no row names", "audio/talk-4.wav"),
        ("one channel of several", str(manifests)),
    ]
    assert raw.notes == ("4 utterances of 3 recordings in lhotse manifests; their labels are of "
                         "the field emotion.",)  # fmt: skip
    assert read_raw(manifests, "lhotse:gender").labels == ("female", "male")


def test_what_lhotse_cannot_say_is_refused(manifests):
    with pytest.raises(CorpusError, match=r"(?s)mood was looked for in 4 super.*emotion: in 3 sup"):
        read_raw(manifests, "lhotse:mood")
    spoken = manifests / "mini_supervisions_train.jsonl.gz"
    lines(spoken, lambda line: line | {"recording_id": "x", "start": -1})
    lines(manifests / "mini_supervisions_test.jsonl.gz", lambda line: line | {"duration": None})
    with pytest.raises(CorpusError, match=r"(?s)4 rows.*train.jsonl.gz:1: no recording 'x'") as e:
        read_raw(manifests)
    assert "test.jsonl.gz:1: has no start or duration" in str(e.value)
    lines(manifests / "mini_recordings_test.jsonl.gz",
          lambda line: line | {"sources": [{"type": "url", "source": "s3://x"}]})  # fmt: skip
    with pytest.raises(CorpusError, match="recording talk-3 has the sources url, not one file"):
        read_raw(manifests)
    spoken.write_bytes(spoken.read_bytes()[:-20])
    with pytest.raises(CorpusError, match="train.jsonl.gz: cannot be read"):
        read_raw(manifests)


def test_a_saved_dataset(tmp_path):
    raw = read_raw(HERE / "datasets/one")
    found = [(r.utterance.key, r.utterance.speaker, r.utterance.label, r.utterance.x_text)
             for r in raw.rows]  # fmt: skip
    assert found == [
        ("train/d-0-seq-0", "A", "happy", "one"),
        ("train/d-1-seq-0", "B", "sad", "two"),
        ("train/d-2-seq-0", "A", "happy", "three"),
        ("train/d-3-seq-0", "C", "", "four"),
    ]
    assert raw.labels == ("sad", "happy")  # the order of the ClassLabel; nobody is angry
    assert [r.utterance.more["valence"] for r in raw.rows] == ["0.5", "", "1", "2"]
    for row in raw.rows:
        first, size = row.sound.inside
        assert row.sound.path.read_bytes()[first : first + size].startswith(b"RIFF")
    shutil.copytree(HERE / "datasets/splits", tmp_path / "splits")
    made = prepare(tmp_path / "splits", tmp_path / "c", jobs=1)
    assert (made.rows, made.pictures) == ({"train": 2, "dev": 1, "test": 1}, 0)
    assert made.sounds == 4
    # Sound alone is one defect of a split, not one of each row, and the rows say it too.
    defects = [(d.kind, d.where) for d in made.defects if "picture" in d.kind]
    assert defects == [("no pictures", split) for split in ("train", "dev", "test")]
    assert made.corpus.info["missing"]["visual"]["dev/d-0-seq-0"] == "the corpus has sound alone"
    sounds = {u.x_text: read_audio(tmp_path / "c" / u.x_audio) for u in made.corpus.utterances}
    for number, text in enumerate(("one", "two", "three", "four"), 1):
        assert len(sounds[text]) == 800 * number
        assert np.allclose(sounds[text], min(0.25 * number, 32767 / 32768), atol=2 / 32768)
    with zipfile.ZipFile(tmp_path / "splits/more.zip", "w") as more:
        more.writestr("dataset_info.json", "{}")
    said = []
    assert prepare(tmp_path / "splits", tmp_path / "c", say=said.append).already
    assert "1 archives, such as" in said[0] and "not unpacked: what is in them is not" in said[0]
    # The doctor of the raw dataset says where the sounds are.
    media = {m.name: m.reasons for m in doctor(HERE / "datasets/splits").media}
    assert media["sound"] == {"inside …": 4}


def save(folder: Path, paths: list[str | None], features: dict, cells: dict) -> Path:
    """A dataset whose sounds are paths, as `datasets` saves one with `embed_external_files` off."""
    folder.mkdir(parents=True)
    audio = pa.array([{"bytes": None, "path": path} for path in paths],
                     pa.struct({"bytes": pa.binary(), "path": pa.string()}))  # fmt: skip
    table = pa.table({"audio": audio, **cells})
    with pa.OSFile(str(folder / "data-00000-of-00001.arrow"), "wb") as file, \
            pa.ipc.new_stream(file, table.schema) as stream:  # fmt: skip
        stream.write_table(table)
    features = {"audio": {"_type": "Audio"}, **features}
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}))
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}
    (folder / "state.json").write_text(json.dumps(state))
    return folder


def test_a_saved_dataset_of_paths(tmp_path):
    value = {"dtype": "string", "_type": "Value"}
    features = {"emotion": value, "mood": value, "words": {"feature": value, "_type": "Sequence"}}
    cells = {"emotion": ["joy", "fear"], "mood": ["a", "b"], "words": [["x"], []]}
    write_wav(tmp_path / "b.wav", tone(0.1, 16_000)[0])
    folder = save(
        tmp_path / "set/part7", ["../../b.wav", str(tmp_path / "no.wav")], features, cells
    )
    (tmp_path / "set/dataset_dict.json").write_text('{"splits": ["part7"]}')
    raw = read_raw(tmp_path / "set")
    assert [(r.utterance.label, r.utterance.more["part"], bool(r.sound)) for r in raw.rows] == [
        ("joy", "part7", True), ("fear", "part7", False)]  # fmt: skip
    assert sorted((d.kind, d.where) for d in raw.defects) == [
        ("column that is not read", "words"), ("missing clip", "train/d-1-seq-0"),
        ("split of another kind", "part7"),
    ]  # fmt: skip
    assert read_raw(tmp_path / "set", "datasets:mood").labels == ("a", "b")
    with pytest.raises(CorpusError, match=r"(?s)words, with one label in a cell, was.*words: Seq"):
        read_raw(folder, "datasets:words")
    (folder / "data-00000-of-00001.arrow").write_bytes(b"no arrow")
    with pytest.raises(CorpusError, match="cannot be read as a table of Arrow"):
        read_raw(folder)
    info = {"features": {"sound": value, "emotion": value}}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    with pytest.raises(CorpusError, match=r"(?s)one column of the type Audio.*sound: Value"):
        read_raw(folder)


def test_several_emotions_of_a_supervision_are_a_set_and_no_label(manifests):
    def change(line):
        return line | {"custom": {"emotion": ["joy", "sad"]}} if line["id"] == "u1" else line

    lines(manifests / "mini_supervisions_train.jsonl.gz", change)
    raw = read_raw(manifests)
    assert raw.rows[0].utterance.label == "" and raw.labels == ("anger", "calm")
    assert raw.rows[0].utterance.more["emotion"] == "joy|sad"
    assert "several labels" in {d.kind for d in raw.defects}
