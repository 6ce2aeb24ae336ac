"""IEMOCAP: a tree as its release has it, with two sessions, improvised and scripted dialogues."""

import shutil
from collections import Counter
from fractions import Fraction

import av
import numpy as np
import pytest
from clips import tone
from recordings import babble

from erc_features.corpora import read_raw
from erc_features.corpora.iemocap import EMOTIONS, SETS
from erc_features.doctor.doctor import doctor
from erc_features.errors import CorpusError
from erc_features.media import read_audio, read_frames, write_wav
from erc_features.preparation.decode import Decode
from erc_features.preparation.prepare import prepare

EVALUATION = """% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

[2.2000 - 3.0000]\tSes01F_impro01_M000\tfru\t[2.5000, 3.5000, 3.0000]
C-E2:\tFrustration;\t()
A-E2:\tval 2; act 3; dom  3;\t()

[0.5000 - 1.7500]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]
C-E2:\tNeutral;\t()
[1.5000 - 2.1000]\tSes01F_impro01_F001\texc\t[4.0000, 4.0000, 3.5000]
"""
SPOKEN = """Ses01F_impro01_F000 [000.5000-001.7500]: Excuse me.
Ses01F_impro01_M000 [002.2000-003.0000]: Do you have your\x92s forms?
Ses01F_impro01_FXX0 [003.1000-003.2000]: Yeah.
M: Let me see.
"""
SCRIPT = """[0.1000 - 0.9000]\tSes02M_script01_1b_F000\txxx\t[2.0000, 3.0000, 3.0000]
[1.0000 - 1.9000]\tSes02M_script01_1b_M000\thap\t[4.5000, 2.0000, 3.0000]
"""


def film(path):
    """Four seconds of MPEG-4 in an AVI, as the release has it; frame i is grey of level 2 i."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("mpeg4", rate=30)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for i in range(120):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 2 * i, np.uint8), "rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 30)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))


@pytest.fixture
def release(tmp_path):
    """A dialogue with pictures and sentence files, but for one; and one with dialog/wav alone."""
    root = tmp_path / "IEMOCAP_full_release"
    first, second = root / "Session1", root / "Session2"
    for session, name, text in ((first, "Ses01F_impro01", EVALUATION),
                                (second, "Ses02M_script01_1b", SCRIPT)):  # fmt: skip
        for folder in ("EmoEvaluation/Attribute", "transcriptions", "wav", "avi/DivX"):
            (session / "dialog" / folder).mkdir(parents=True)
        (session / f"dialog/EmoEvaluation/{name}.txt").write_text(text)
        write_wav(session / f"dialog/wav/{name}.wav", babble(4.0, 16_000, 1)[0])
    (first / "dialog/EmoEvaluation/._Ses01F_impro01.txt").write_bytes(b"\x00\x05of a Mac")
    (first / "dialog/EmoEvaluation/Attribute/Ses01F_impro01_atr.txt").write_text("other")
    said = first / "dialog/transcriptions/Ses01F_impro01.txt"
    said.write_bytes(SPOKEN.encode("latin-1"))
    film(first / "dialog/avi/DivX/Ses01F_impro01.avi")
    sentences = first / "sentences/wav/Ses01F_impro01"
    sentences.mkdir(parents=True)
    for turn in ("F000", "M000"):
        write_wav(sentences / f"Ses01F_impro01_{turn}.wav", tone(0.25, 16_000)[0])
    return root


def test_turns_become_utterances_in_the_order_of_their_times(release):
    raw = read_raw(release.parent)
    us = [row.utterance for row in raw.rows]
    found = [(u.key, u.speaker, u.label, u.more["turn"][-4:], u.x_text) for u in us]
    assert found == [
        ("train/d-0-seq-0", "Ses01F", "neutral", "F000", "Excuse me."),
        ("train/d-0-seq-1", "Ses01F", "excited", "F001", ""),
        ("train/d-0-seq-2", "Ses01M", "frustration", "M000", "Do you have your's forms?"),
        ("train/d-1-seq-0", "Ses02F", "", "F000", ""),
        ("train/d-1-seq-1", "Ses02M", "happiness", "M000", ""),
    ]
    assert dict(us[2].more) == {
        "turn": "Ses01F_impro01_M000", "session": "Session1", "style": "improvised",
        "scenario": "impro01", "gender": "male", "emotion": "frustration", "valence": "2.5",
        "arousal": "3.5", "dominance": "3", "start": "2.2", "end": "3",
    }  # fmt: skip
    assert (us[3].more["emotion"], us[3].more["style"]) == ("no agreement", "scripted")
    assert us[3].more["scenario"] == "script01"
    assert raw.labels == tuple(EMOTIONS.values())
    sounds = [(row.sound.path.parent.name, row.sound.segment) for row in raw.rows]
    assert sounds == [("Ses01F_impro01", None), ("wav", (1.5, 2.1)), ("Ses01F_impro01", None),
                      ("wav", (0.1, 0.9)), ("wav", (1.0, 1.9))]  # fmt: skip
    assert [row.segment for row in raw.rows] == [(0.5, 1.75), (1.5, 2.1), (2.2, 3.0), None, None]
    assert Counter(d.kind for d in raw.defects) == {
        "turn without evaluation": 1, "no transcription": 1, "no sentence file": 3,
        "two people in the picture": 1,
    }  # fmt: skip
    assert raw.notes[0].startswith("5 utterances of IEMOCAP, 10,034 fewer than the 10,039")
    assert "neutral 1, excited 1, frustration 1, no agreement 1, happiness 1" in raw.notes[1]


@pytest.mark.parametrize(
    ("kind", "found", "labels"),
    [
        ("iemocap-4", ["neutral", "happiness", "", "", "happiness"], 4),
        ("iemocap-4-unmerged", ["neutral", "", "", "", "happiness"], 4),
        ("iemocap-6", ["neutral", "excited", "frustration", "", "happiness"], 6),
    ],
)
def test_the_sets_of_labels(release, kind, found, labels):
    raw = read_raw(release, kind)
    assert (raw.kind, len(raw.labels)) == (kind, labels)
    assert [row.utterance.label for row in raw.rows] == found  # and all rows are there
    assert "(iemocap-4) 3; 4 classes without excited (iemocap-4-unmerged) 2; 6 classes" in (
        raw.notes[2])  # fmt: skip


def test_a_whole_release_has_the_counts_that_papers_name(tmp_path):
    """Turns as often as their labels are counted in the release, in sessions of 2,008 or less."""
    counts = {"neu": 1708, "fru": 1849, "ang": 1103, "sad": 1084, "exc": 1041, "hap": 595,
              "sur": 107, "fea": 40, "oth": 3, "dis": 2, "xxx": 2507}  # fmt: skip
    labels = [label for label, count in counts.items() for _ in range(count)]
    for session in range(1, 6):
        folder = tmp_path / f"Session{session}/dialog/EmoEvaluation"
        folder.mkdir(parents=True)
        name = f"Ses0{session}F_impro01"
        (folder / f"{name}.txt").write_text("\n".join(
            f"[{i}.0 - {i}.9]\t{name}_M{i:03d}\t{label}\t[2.5, 2.5, 2.5]"
            for i, label in enumerate(labels[session - 1 :: 5])
        ))  # fmt: skip
    raw = read_raw(tmp_path, "iemocap-4")
    assert raw.notes[0] == "10,039 utterances of IEMOCAP, as published (Busso et al. 2008)."
    assert (
        "all (iemocap) 7,532; 4 classes with excited as happiness (iemocap-4) 5,531; 4 classes "
        "without excited (iemocap-4-unmerged) 4,490; 6 classes (iemocap-6) 7,380." in raw.notes[2]
    )
    assert "the other 4,508 are kept as context" in raw.notes[2]
    assert "5,499 of the 5,531" in raw.notes[3]
    assert sum(bool(row.utterance.label) for row in raw.rows) == 5531
    assert set(SETS) <= {"iemocap", "iemocap-4", "iemocap-4-unmerged", "iemocap-6"}


def test_prepared_with_pictures_of_the_dialogue_and_sound_of_the_sentences(release, tmp_path):
    made = prepare(release, tmp_path / "c", kind="iemocap-4", decode=Decode(2, 32), jobs=1)
    assert (made.rows, made.pictures, made.sounds) == ({"train": 5}, 3, 5)
    lengths = [len(read_audio(tmp_path / "c" / u.x_audio)) for u in made.corpus.utterances]
    assert lengths == [4000, 9600, 4000, 12_800, 14_400]  # 0.25 s sentences, others cut
    levels = [read_frames(tmp_path / "c" / u.x_visual)[0].mean() / 2
              for u in made.corpus.utterances if u.x_visual]  # fmt: skip
    assert np.allclose(levels, [15, 45, 66], atol=4)  # the frame at 30 times the start
    reasons = made.corpus.info["missing"]["visual"]
    assert reasons["train/d-1-seq-0"] == "the corpus has sound alone"
    sizes = {m.name: (m.there, m.named) for m in doctor(release).media}
    assert sizes["sound"] == ({"train": 5}, 5)


def test_what_is_refused_says_where(release):
    path = release / "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt"
    text = path.read_text()
    path.write_text(text.replace("exc", "xyz").replace("[2.2000 - 3.0000]", "[2.2000 - ]"))
    with pytest.raises(CorpusError, match=r"(?s)2 rows.*impro01.txt:3: .*is no turn.*xyz is none"):
        read_raw(release)
    path.write_text(text + text.splitlines()[2])
    with pytest.raises(CorpusError, match="Ses01F_impro01_M000 is already in line 3"):
        read_raw(release)
    path.write_text(text)
    shutil.copytree(release / "Session1/dialog", release / "copy/dialog")
    with pytest.raises(CorpusError, match="are the same dialogue. Remove one of them"):
        read_raw(release)
    shutil.rmtree(release / "copy")
    for path in release.rglob("EmoEvaluation/*.txt"):
        path.write_text("% nothing\n")
    with pytest.raises(CorpusError, match=r"and no turn in any of them; a turn is a line like"):
        read_raw(release)
