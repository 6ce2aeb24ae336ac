"""Corpora whose file names say everything: RAVDESS, CREMA-D, EmoDB, TESS."""

import os
from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from clips import encode_clip, tone

from erc_features.corpora import read_raw
from erc_features.doctor.doctor import doctor
from erc_features.errors import CorpusError
from erc_features.media import read_audio, read_frames, write_wav
from erc_features.preparation.decode import Decode
from erc_features.preparation.prepare import prepare


@pytest.fixture(scope="module")
def wav(tmp_path_factory):
    path = tmp_path_factory.mktemp("sound") / "one.wav"
    write_wav(path, tone(0.2, 16_000)[0])
    return path


def plant(root: Path, names, wav: Path) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(wav, path)
    return root


def ravdess_names(modality="03"):
    """Every file of one modality: strong neutral does not exist, and actor 18 does not sing."""
    for actor, channel in product(range(1, 25), (1, 2)):
        if (actor, channel) == (18, 2):
            continue
        for emotion, intensity, statement, repetition in product(
            range(1, 9 if channel == 1 else 7), (1, 2), (1, 2), (1, 2)
        ):
            if (emotion, intensity) != (1, 2):
                yield (
                    f"Actor_{actor:02d}/{modality}-{channel:02d}-{emotion:02d}-{intensity:02d}-"
                    f"{statement:02d}-{repetition:02d}-{actor:02d}.wav"
                )


def test_all_of_ravdess_has_the_published_counts(tmp_path, wav):
    raw = read_raw(plant(tmp_path, ravdess_names(), wav))
    assert (raw.kind, len(raw.rows), raw.defects) == ("ravdess", 1440 + 1012, ())
    assert raw.notes == (
        "1,440 utterances of speech in RAVDESS, as published (Livingstone and Russo 2018).",
        "1,012 utterances of song in RAVDESS, as published (Livingstone and Russo 2018).",
    )
    assert raw.labels == ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust",
                          "surprised")  # fmt: skip
    us = [row.utterance for row in raw.rows]
    assert len({u.key for u in us}) == len(us)
    assert len({u.dialogue for u in us}) == len(us)  # sentences have no dialogues
    speech = Counter(u.label for u in us if u.more["channel"] == "speech")
    assert speech["neutral"] == 96 and set(speech.values()) == {96, 192}
    assert Counter(u.more["gender"] for u in us if u.speaker == "02") == {"female": 104}


def test_the_modalities_of_one_performance_are_one_row(tmp_path):
    raw = tmp_path / "raw"
    name = "01-06-02-02-01-12"
    encode_clip(raw / f"Video_Actor_12/01-{name}.mp4", seconds=0.4, rate=16_000)
    encode_clip(raw / f"Video_Actor_12/02-{name}.mp4", seconds=0.4, sound=False)
    loud = 0.9 * np.sign(tone(0.4, 48_000, 100.0)[0])
    (raw / "Audio_Actor_12").mkdir()
    write_wav(raw / f"Audio_Actor_12/03-{name}.wav", loud)
    encode_clip(raw / "Video_Actor_12/02-01-01-01-01-01-12.mp4", seconds=0.4, sound=False)
    encode_clip(raw / "Video_Actor_12/notes.mp4", seconds=0.2, sound=False)
    (raw / "Video_Actor_12/._02-01-01-01-01-01-12.mp4").write_bytes(b"of a Mac")
    said = []
    made = prepare(raw, tmp_path / "c", decode=Decode(2, 32), jobs=1, say=said.append)
    assert made.rows == {"train": 2} and (made.pictures, made.sounds) == (2, 1)
    assert "4 files of RAVDESS are 2 utterances" in said[1]
    assert "2 utterances of speech in RAVDESS, 1,438 fewer than the 1,440" in said[0]
    assert said == made.corpus.info["notes"]
    first, second = made.corpus.utterances
    assert (first.label, second.label) == ("neutral", "fearful")
    assert (second.speaker, second.more["intensity"]) == ("12", "strong")
    assert second.x_text == "Dogs are sitting by the door."
    # The sound is the WAV, not the tone of the clip.
    assert abs(np.abs(read_audio(tmp_path / "c" / second.x_audio)).mean() - 0.9) < 0.05
    assert len(read_frames(tmp_path / "c" / second.x_visual)) == 2
    kinds = {(d.kind, d.where) for d in made.defects}
    assert kinds == {("unknown file name", "Video_Actor_12/notes.mp4"),
                     ("no sound", "train/d-0-seq-0")}  # fmt: skip
    raw_media = {m.name: m.there for m in doctor(raw).media}
    assert raw_media == {"picture": {"train": 2}, "sound": {"train": 2}}


def test_ravdess_without_a_wav_takes_the_sound_of_the_clip(tmp_path):
    (row,) = read_raw(_clips(tmp_path, "01-02-05-01-01-01-01.mp4")).rows
    assert (row.clip.name, row.sound) == ("01-02-05-01-01-01-01.mp4", None)
    (row,) = read_raw(_clips(tmp_path, "02-02-05-01-01-01-01.mp4")).rows
    assert (row.clip.name, row.sound.path.name) == (
        "01-02-05-01-01-01-01.mp4", "01-02-05-01-01-01-01.mp4")  # fmt: skip


def _clips(root: Path, *names: str) -> Path:
    root.mkdir(exist_ok=True)
    for name in names:
        (root / name).write_bytes(b"")
    return root


def test_crema_d(tmp_path, wav):
    stems = "1001_DFA_ANG_XX 1001_IEO_HAP_HI 1091_WSI_NEU_XX 1040_ITH_SAD_X 1001_XYZ_ANG_XX"
    plant(tmp_path, [f"AudioWAV/{stem}.wav" for stem in stems.split()], wav)
    encode_clip(tmp_path / "VideoFlash/1001_DFA_ANG_XX.flv", seconds=0.3)
    encode_clip(tmp_path / "VideoFlash/1002_DFA_FEA_LO.flv", seconds=0.3)
    (tmp_path / "VideoDemographics.csv").write_text(
        "ActorID,Age,Sex,Race,Ethnicity\n1001,51,Male,Caucasian,Not Hispanic\n"
    )
    raw = read_raw(tmp_path)
    found = [(r.utterance.speaker, r.utterance.label, r.utterance.more["level"],
              r.clip and r.clip.name, r.sound and r.sound.path.suffix)
             for r in raw.rows]  # fmt: skip
    assert found == [
        ("1001", "anger", "unspecified", "1001_DFA_ANG_XX.flv", ".wav"),
        ("1001", "happy", "high", None, ".wav"),
        ("1002", "fear", "low", "1002_DFA_FEA_LO.flv", None),
        ("1040", "sad", "unspecified", None, ".wav"),
        ("1091", "neutral", "unspecified", None, ".wav"),
    ]
    first = raw.rows[0].utterance
    assert (first.more["gender"], first.more["age"]) == ("male", "51")
    assert first.x_text == "Don't forget a jacket."
    assert [(d.kind, d.where) for d in raw.defects] == [
        ("unknown file name", "AudioWAV/1001_XYZ_ANG_XX.wav"),
        ("level X", "AudioWAV/1040_ITH_SAD_X.wav"),
    ]
    assert "7,437 fewer than the 7,442" in raw.notes[0]
    (tmp_path / "VideoDemographics.csv").write_text("Actor,Age\n")
    with pytest.raises(CorpusError, match=r"VideoDemographics.csv:1: has no column ActorID, Sex"):
        read_raw(tmp_path)


def test_files_that_git_lfs_left_out(tmp_path):
    for name in ("1001_DFA_ANG_XX.wav", "1001_DFA_FEA_XX.wav"):
        (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(CorpusError, match="2 of 2 media files are pointers of git-lfs"):
        read_raw(tmp_path)


def test_emodb(tmp_path, wav):
    raw = read_raw(plant(tmp_path, ["wav/03a01Fa.wav", "wav/16b10Wb.wav", "wav/08a02Na.wav",
                                    "wav/17a01Fa.wav"], wav))  # fmt: skip
    found = [(r.utterance.speaker, r.utterance.label, r.utterance.more["gender"])
             for r in raw.rows]  # fmt: skip
    assert found == [("03", "happiness", "male"), ("08", "neutral", "female"),
                     ("16", "anger", "female")]  # fmt: skip
    assert raw.rows[0].utterance.x_text == "Der Lappen liegt auf dem Eisschrank."
    assert raw.labels == ("anger", "boredom", "disgust", "anxiety", "happiness", "sadness",
                          "neutral")  # fmt: skip
    assert [d.where for d in raw.defects] == ["wav/17a01Fa.wav"]  # there is no speaker 17
    assert "532 fewer than the 535" in raw.notes[0]


def test_all_of_tess_in_the_archive_that_has_it_twice(tmp_path, wav):
    emotions = {"angry": "angry", "disgust": "disgust", "fear": "Fear", "happy": "happy",
                "neutral": "neutral", "ps": "Pleasant_surprise", "sad": "Sad"}  # fmt: skip
    words = ["bite", *(f"w{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(199))]
    names = [
        f"{who}_{folder}/{'OA' if (who, word, emotion) == ('OAF', 'bite', 'neutral') else who}_"
        f"{word}_{emotion}.wav"
        for who in ("OAF", "YAF") for emotion, folder in emotions.items() for word in words
    ]  # fmt: skip
    plant(tmp_path / "TESS data", names, wav)
    plant(tmp_path / "TESS data/TESS data", names[:5], wav)
    raw = read_raw(tmp_path)
    assert raw.notes == (
        "2,800 utterances of TESS, as published (Pichora-Fuller and Dupuis 2020).",
    )
    assert Counter(r.utterance.label for r in raw.rows)["pleasant surprise"] == 400
    assert Counter(d.kind for d in raw.defects) == {"file that is there twice": 5, "speaker OA": 1}
    u = raw.rows[0].utterance
    assert (u.speaker, u.x_text, u.more["age"]) == ("OAF", "Say the word bite.", "64")
    (tmp_path / "TESS data/TESS data" / names[0]).unlink()
    (tmp_path / "TESS data/TESS data" / names[0]).write_bytes(b"other")
    with pytest.raises(CorpusError, match="have one name and differ"):
        read_raw(tmp_path)


def test_two_corpora_in_one_folder_are_refused(tmp_path, wav):
    plant(tmp_path, ["Tess/OAF_back_sad.wav", "Crema/1001_DFA_ANG_XX.wav"], wav)
    with pytest.raises(CorpusError, match=r"files of CREMA-D and of TESS, such as Tess/OAF_back"):
        read_raw(tmp_path)
    assert len(read_raw(tmp_path / "Tess").rows) == 1
    with pytest.raises(CorpusError, match=r"(?s)no raw data of ravdess.*03-01-06-01-02-01-12.wav"):
        read_raw(tmp_path / "Tess", "ravdess")


def test_rows_do_not_depend_on_the_order_of_the_folder(tmp_path, wav):
    names = [f"a/{n}.wav" for n in ("03a01Fa", "08a02Na", "16b10Wb")]
    one = read_raw(plant(tmp_path / "1", names, wav))
    moved = [f"{chr(122 - i)}/{name[2:]}" for i, name in enumerate(names)]
    two = read_raw(plant(tmp_path / "2", reversed(moved), wav))
    assert [r.utterance for r in one.rows] == [r.utterance for r in two.rows]


@pytest.mark.parametrize(
    ("kind", "names"),
    [("emodb", ("03a01Fa.wav", "03a01Fa.flac")),
     ("tess", ("OAF_back_fear.wav", "OAF_back_fear.mp3")),
     ("crema-d", ("1001_DFA_ANG_XX.wav", "1001_DFA_ANG_XX.flac"))],
)  # fmt: skip
def test_one_utterance_in_several_formats_is_one_row(tmp_path, kind, names):
    (row,) = read_raw(_clips(tmp_path, *names), kind).rows
    assert row.clip is None and row.sound.path.name == names[0]


def test_ravdess_keeps_the_picture_beside_a_sound_of_the_same_name(tmp_path):
    names = ("01-01-06-01-02-01-12.mp4", "01-01-06-01-02-01-12.wav")
    (row,) = read_raw(_clips(tmp_path, *names)).rows
    assert (row.clip.name, row.sound.path.name) == names


@pytest.mark.parametrize(
    "names",
    [("OAF_back_fear.wav", "OA_back_fear.wav"), ("1001_DFA_ANG_X.wav", "1001_DFA_ANG_XX.wav")],
)
def test_two_spellings_of_one_utterance_are_equal_or_refused(tmp_path, names):
    for name in names:
        (tmp_path / name).write_bytes(b"same")
    raw = read_raw(tmp_path)
    assert len(raw.rows) == 1 and "file that is there twice" in {d.kind for d in raw.defects}
    (tmp_path / names[0]).write_bytes(b"else")
    with pytest.raises(CorpusError, match="one utterance and differ"):
        read_raw(tmp_path)


def test_folders_that_are_links_are_entered_once(tmp_path):
    real = _clips(tmp_path / "disk", "1001_DFA_ANG_XX.wav")
    raw = _clips(tmp_path / "raw", "1002_DFA_ANG_XX.wav")
    (raw / "AudioWAV").symlink_to(real)
    (real / "back").symlink_to(raw)
    (raw / "self").symlink_to(raw)
    (raw / "1003_DFA_ANG_XX.wav").symlink_to(tmp_path / "gone.wav")
    found = read_raw(raw)
    assert [row.utterance.speaker for row in found.rows] == ["1001", "1002"]
    assert [(d.kind, d.where) for d in found.defects] == [("no media file", "1003_DFA_ANG_XX.wav")]
