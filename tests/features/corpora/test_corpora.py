"""Other corpora through the same door, buckets, and decoders that die."""

import os
import re
import signal
import subprocess
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import fsspec
import pytest
from clips import encode_clip
from corpora import annotate, media_corpus

from erc_features import plugins
from erc_features.acquire.upload import upload
from erc_features.corpora import read_raw
from erc_features.corpora.manifest import read_corpus
from erc_features.corpora.times import seconds
from erc_features.errors import CorpusError, ErcError
from erc_features.preparation import decode as decode_room
from erc_features.preparation.decode import Decode
from erc_features.preparation.prepare import prepare

EMORYNLP = """Utterance,Speaker,Emotion,Scene_ID,Utterance_ID,Season,Episode,Start_Time,End_Time
Coffee.,['Rachel Green'],Neutral,1,1,1,15,00:00:03.795,00:00:05.004
"Aww, thank you.","['Monica Geller', ""Joey's""]",Joyful,1,6,1,15,00:01:29.798,00:01:33.383
OK…,['Chandler Bing'],Scared,6,1,1,15,00:04:16.047,00:04:16.047
I'm not.,['Chandler Bing'],Mad,1,1,1,20,00:00:03.461,00:00:09.842
"""
DOCS = Path(__file__).resolve().parents[3] / "docs"


def test_emorynlp_scenes_are_dialogues(tmp_path):
    (tmp_path / "raw" / "deep").mkdir(parents=True)
    (tmp_path / "raw" / "deep" / "emorynlp_train_final.csv").write_text(EMORYNLP)
    made = prepare(tmp_path / "raw", tmp_path / "emory")
    corpus = read_corpus(tmp_path / "emory")
    assert [u.key for u in corpus.utterances] == [
        "train/d-0-seq-0", "train/d-0-seq-1", "train/d-1-seq-0", "train/d-2-seq-0"]  # fmt: skip
    assert corpus.utterances[1].speaker == "Monica Geller & Joey's"
    assert corpus.utterances[2].x_text == "OK..."
    assert corpus.utterances[1].more["utterance_id"] == "6"
    assert corpus.labels[:2] == ("joyful", "mad")
    assert {d.kind for d in made.defects} == {"no media", "no duration"}
    (tmp_path / "raw" / "deep" / "emorynlp_train_final.csv").write_text(
        EMORYNLP.replace("Mad", "Furious")
    )
    with pytest.raises(CorpusError, match=r"emorynlp_train_final.csv:5: Emotion 'furious'"):
        prepare(tmp_path / "raw", tmp_path / "other")


def test_the_reader_of_the_docs_works_as_a_plug_in(tmp_path, monkeypatch):
    code = re.search(r"```python\n(.*?)```", (DOCS / "own-corpus.md").read_text(), re.S)[1]
    (tmp_path / "reader_of_the_docs.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    point = EntryPoint("mycorpus", "reader_of_the_docs:read_mycorpus", "erc.corpora")
    monkeypatch.setattr(plugins, "_installed", lambda group, places: EntryPoints([point]))
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "lines.txt").write_text("joy\tYes!\nanger\tNo!\n")
    encode_clip(raw / "0.mp4", seconds=0.3)
    made = prepare(raw, tmp_path / "mine", decode=Decode(2, 32))
    assert (made.rows, made.pictures, made.sounds) == ({"train": 2}, 1, 1)
    with pytest.raises(
        ErcError, match="Unknown corpus 'melt'; choose .* emorynlp, .* meld, mycorp"
    ):
        read_raw(raw, "melt")
    double = EntryPoint("meld", "reader_of_the_docs:read_mycorpus", "erc.corpora")
    monkeypatch.setattr(plugins, "_installed", lambda group, places: EntryPoints([double]))
    with pytest.raises(ErcError, match="Two plug-ins of erc.corpora are called 'meld'"):
        read_raw(raw)


def test_the_csv_of_the_docs_is_a_corpus(tmp_path):
    table = re.search(r"```\n(,dialogue.*?)```", (DOCS / "own-corpus.md").read_text(), re.S)[1]
    (tmp_path / "train.csv").write_text(table)
    corpus = read_corpus(tmp_path)
    assert corpus.labels == ("anger", "joy")
    assert corpus.utterances[1].x_text == "Great, well done."


@pytest.mark.parametrize("protocol", ["memory", "file"])
def test_upload_sends_each_file_once_and_the_last_says_complete(tmp_path, protocol):
    folder = media_corpus(tmp_path / "tiny", count=4)
    for name in ("train/d-0-seq-2.png", "train/d-0-seq-2.wav"):
        assert (folder / name).exists()
    (folder / "corpus.json").write_text('{"labels": ["joy", "fear"]}')
    url = (
        f"memory://bucket-{tmp_path.name}/tiny" if protocol == "memory" else f"file://{tmp_path}/b"
    )
    assert upload(folder, url) == (8, 0)  # three pictures, three sounds, train.csv, corpus.json
    system, root = fsspec.core.url_to_fs(url)
    assert (
        system.cat_file(f"{root}/train/d-0-seq-0.wav")
        == (folder / "train/d-0-seq-0.wav").read_bytes()
    )
    assert upload(folder, url) == (2, 6)
    system.rm_file(f"{root}/train/d-0-seq-3.png")
    assert upload(folder, url) == (3, 5)
    assert system.exists(f"{root}/corpus.json")


def test_upload_errors(tmp_path):
    with pytest.raises(CorpusError, match="no corpus.json"):
        upload(tmp_path, "memory://x")
    folder = media_corpus(tmp_path / "tiny", count=2)
    (folder / "corpus.json").write_text("{}")
    with pytest.raises(CorpusError, match="nosuch"):
        upload(folder, "nosuch://bucket/x")
    (tmp_path / "wall").write_text("")
    with pytest.raises(CorpusError, match="cannot be written"):
        upload(folder, f"file://{tmp_path}/wall/x")


def workers() -> list[int]:
    """The decoding processes of this one."""
    command = ["pgrep", "-P", str(os.getpid()), "-f", "spawn_main"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return [int(pid) for pid in found.stdout.split()]


@pytest.mark.soak
def test_a_decoder_that_hangs_costs_its_own_cells(tmp_path, monkeypatch):
    raw = tmp_path / "raw"
    annotate(raw / "train_sent_emo.csv", [(f"{i}", "joy", 0, i, "", "") for i in range(4)])
    for i in range(4):
        # The last are long: the worker is at one of them when the first is reported.
        seconds = 0.3 if i == 0 else 20.0
        encode_clip(raw / "train_splits" / f"dia0_utt{i}.mp4", seconds=seconds)
    monkeypatch.setattr(decode_room, "TIME_LIMIT", 4.0)
    stopped = []

    def stop_the_worker(done, total):
        if not stopped:
            stopped.extend(workers())
            os.kill(stopped[0], signal.SIGSTOP)

    made = prepare(raw, tmp_path / "meld", decode=Decode(2, 32), jobs=1, progress=stop_the_worker)
    reasons = made.corpus.info["missing"]["visual"]
    assert list(reasons.values()) == ["decoding took more than 4 s"]
    assert (len(made.corpus.utterances), made.pictures, made.sounds) == (4, 3, 3)


def test_a_decoder_that_dies_costs_its_own_cells(tmp_path):
    raw = tmp_path / "raw"
    annotate(raw / "train_sent_emo.csv", [(f"{i}", "joy", 0, i, "", "") for i in range(40)])
    clip = encode_clip(tmp_path / "clip.mp4", seconds=3, size=(640, 480))
    (raw / "train_splits").mkdir()
    for i in range(40):
        os.link(clip, raw / "train_splits" / f"dia0_utt{i}.mp4")
    killed = []

    def kill_a_worker(done, total):
        if done == 5 and not killed:
            killed.append(workers()[0])
            os.kill(killed[0], signal.SIGKILL)

    made = prepare(raw, tmp_path / "meld", decode=Decode(2, 32), jobs=2, progress=kill_a_worker)
    assert killed
    assert len(made.corpus.utterances) == 40
    reasons = made.corpus.info["missing"].get("visual", {})
    assert set(reasons.values()) <= {"the decoder crashed"}
    assert len(reasons) <= 1
    assert made.pictures >= 39


def test_a_second_prepare_at_the_same_place_is_refused(tmp_path):
    raw = tmp_path / "raw"
    annotate(raw / "train_sent_emo.csv", [(f"{i}", "joy", 0, i, "", "") for i in range(8)])
    for i in range(8):
        encode_clip(raw / "train_splits" / f"dia0_utt{i}.mp4", seconds=0.3)
    messages = []

    def second(done, total):
        if not messages:
            try:
                prepare(raw, tmp_path / "meld", decode=Decode(2, 32))
            except CorpusError as error:
                messages.append(str(error))

    made = prepare(raw, tmp_path / "meld", decode=Decode(2, 32), progress=second)
    assert "another process is preparing it" in messages[0]
    assert made.pictures == 8


def test_csvs_of_a_user_are_never_removed(tmp_path):
    raw = tmp_path / "raw"
    annotate(raw / "train_sent_emo.csv", [("t", "joy", 0, 0, "", "")])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "train.csv").write_text("precious")
    for force in (False, True):
        with pytest.raises(CorpusError, match="was not prepared by erc"):
            prepare(raw, tmp_path / "mine", force=force)
    assert (tmp_path / "mine" / "train.csv").read_text() == "precious"


def test_times():
    assert seconds("00:20:57,256") == pytest.approx(1257.256)
    assert seconds("00:00:03.795") == pytest.approx(3.795)
    assert seconds("00:06:47,28") is None
    assert seconds("") is None
