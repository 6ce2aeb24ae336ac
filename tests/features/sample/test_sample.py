"""The sample corpus has MELD's shape and defects, and depends on its seed alone."""

import csv
from collections import Counter
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from erc_features.errors import ErcError
from erc_features.sample import sample as room
from erc_features.sample.sample import SampleSummary, sample
from erc_features.sample.script import (
    FACES,
    SHARES,
    SHOWN,
    VOICES,
    WORDS,
    write_script,
)
from erc_features.sample.voice import PROSODIES, RATE, speak

TINY = (2, 2, 2)
MELD = Path(__file__).parents[3] / "../shared/data/meld"
SPLIT_FOLDERS = {
    "train": "train/train_splits",
    "dev": "dev/dev_splits_complete",
    "test": "test/output_repeated_splits_test",
}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SampleSummary]:
    dest = tmp_path_factory.mktemp("sample") / "raw"
    return dest, sample(dest, seed=0, dialogues=TINY)


def rows(dest: Path, split: str) -> list[dict[str, str]]:
    with open(dest / f"{split}_sent_emo.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def clip(dest: Path, split: str, row: dict[str, str]) -> Path:
    name = f"dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}.mp4"
    return dest / SPLIT_FOLDERS[split] / name


def decoded(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """All frames (T, H, W, 3) and all samples (N,)."""
    with av.open(str(path)) as container:
        frames = np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])
    with av.open(str(path)) as container:
        sound = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
    return frames, sound


def test_the_files_lie_where_meld_has_them(rendered):
    dest, summary = rendered
    for split, folder in SPLIT_FOLDERS.items():
        named = {clip(dest, split, row) for row in rows(dest, split)}
        there = set((dest / folder).iterdir())
        assert there <= named
        missing = [dest / folder / "dia1_utt1.mp4"] if split == "dev" else []
        assert sorted(named - there) == missing
    found = [path for path in dest.rglob("*") if path.is_file()]
    assert len(found) == summary.clips + 3  # and no temporary file
    assert summary.utterances == tuple(len(rows(dest, split)) for split in SPLIT_FOLDERS)
    assert sum(summary.utterances) == summary.clips + 1


def test_the_annotations_are_written_as_meld_writes_them(rendered):
    dest, _ = rendered
    header = (
        b"Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,"
        b"Season,Episode,StartTime,EndTime\r\n"
    )
    texts = ""
    for split in SPLIT_FOLDERS:
        content = (dest / f"{split}_sent_emo.csv").read_bytes()
        assert content.startswith(header)
        assert content.count(b"\r\n") == content.count(b"\n")
        texts += content.decode("utf-8")
        hours = {row["StartTime"].split(":")[0] for row in rows(dest, split)}
        assert hours == {"0", "00"}
    assert "’" in texts
    if MELD.exists():
        assert (MELD / "dev_sent_emo.csv").read_bytes().startswith(header)


def test_a_clip_is_h264_with_aac_and_lasts_as_its_row_says(rendered):
    dest, _ = rendered
    row = rows(dest, "train")[0]
    path = clip(dest, "train", row)
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert container.streams.audio[0].codec_context.name == "aac"
    frames, sound = decoded(path)
    start, end = (float(row[c][-6:].replace(",", ".")) for c in ("StartTime", "EndTime"))
    assert len(frames) / 12 == pytest.approx((end - start) % 60, abs=0.1)
    assert len(sound) / RATE == pytest.approx((end - start) % 60, abs=0.15)
    assert frames.std() > 20
    assert np.abs(sound).max() > 0.05
    assert np.abs(np.diff(frames.astype(int), axis=0)).max() > 30  # it moves


def test_every_defect_is_there(rendered):
    dest, summary = rendered
    assert summary.defects == {
        "truncated clip": "train dia1_utt1",
        "missing clip": "dev dia1_utt1",
        "no audio stream": "test dia0_utt1",
        "no duration": "test dia1_utt2",
        "gap in utterance numbers": "train dia0_utt2",
    }
    with pytest.raises(av.error.InvalidDataError):
        av.open(str(dest / SPLIT_FOLDERS["train"] / "dia1_utt1.mp4"))
    with av.open(str(dest / SPLIT_FOLDERS["test"] / "dia0_utt1.mp4")) as container:
        assert len(container.streams.video) == 1
        assert not container.streams.audio

    ids = {
        split: [(int(row["Dialogue_ID"]), int(row["Utterance_ID"])) for row in rows(dest, split)]
        for split in SPLIT_FOLDERS
    }
    assert {(0, 0), (1, 3)} <= set(ids["train"]) & set(ids["dev"]) & set(ids["test"])
    assert [u for d, u in ids["train"] if d == 0][:4] == [0, 1, 3, 4]
    still = {
        (row["Dialogue_ID"], row["Utterance_ID"])
        for row in rows(dest, "test")
        if row["StartTime"] == row["EndTime"]
    }
    assert still == {("1", "2")}


def test_every_emotion_is_in_every_split(rendered):
    dest, _ = rendered
    for split in SPLIT_FOLDERS:
        assert {row["Emotion"] for row in rows(dest, split)} == set(SHARES)


@pytest.mark.soak
def test_the_same_seed_gives_the_same_corpus_whatever_the_jobs(rendered, tmp_path):
    dest, _ = rendered
    sample(tmp_path / "again", seed=0, dialogues=TINY, jobs=1)
    for split in SPLIT_FOLDERS:
        name = f"{split}_sent_emo.csv"
        assert (dest / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    for split, row in (("train", rows(dest, "train")[0]), ("test", rows(dest, "test")[-1])):
        one = decoded(clip(dest, split, row))
        two = decoded(clip(tmp_path / "again", split, row))
        assert np.array_equal(one[0], two[0])
        assert np.array_equal(one[1], two[1])


def test_another_seed_says_and_shows_something_else_and_progress_counts_clips(rendered, tmp_path):
    dest, _ = rendered
    seen: list[tuple[int, int]] = []
    summary = sample(  # an empty folder is as good as none
        tmp_path, seed=1, dialogues=TINY, progress=lambda *counts: seen.append(counts)
    )
    assert seen == [(n, summary.clips) for n in range(1, summary.clips + 1)]
    assert rows(dest, "test") != rows(tmp_path, "test")
    row = rows(dest, "train")[0]
    ours, _ = decoded(clip(dest, "train", row))
    theirs, _ = decoded(clip(tmp_path, "train", row))
    assert not np.array_equal(ours[0], theirs[0])


def test_a_folder_with_something_in_it_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years")
    with pytest.raises(ErcError, match="not an empty folder; name a new one"):
        sample(tmp_path, dialogues=TINY)
    with pytest.raises(ErcError, match="not an empty folder"):
        sample(tmp_path / "thesis.txt", dialogues=TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_place_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ErcError, match=r"Cannot render into .*Not a directory"):
        sample(tmp_path / "file" / "raw", dialogues=TINY)


@pytest.mark.parametrize(
    ("seed", "dialogues", "jobs"), [(-1, TINY, 1), (0, (2, 1, 2), 1), (0, TINY, 0)]
)
def test_arguments_out_of_range_are_refused(tmp_path, seed, dialogues, jobs):
    with pytest.raises(ErcError, match=r"Seeds start at 0.*at least 2 dialogues each.*at least 1"):
        sample(tmp_path / "raw", seed=seed, dialogues=dialogues, jobs=jobs)
    assert not (tmp_path / "raw").exists()


def test_an_unfinished_clip_is_an_error_and_no_csv_is_written(tmp_path, monkeypatch):
    real = room.VideoClip.write_videofile

    def full_disk(self, filename, **settings):
        real(self, filename, **settings)
        if filename.endswith("dia0_utt3.mp4"):  # what ffmpeg leaves behind on a full disk
            Path(filename).write_bytes(Path(filename).read_bytes()[:4096])

    monkeypatch.setattr(room.VideoClip, "write_videofile", full_disk)
    with pytest.raises(ErcError, match=r"dia0_utt3\.mp4: ffmpeg did not finish it"):
        sample(tmp_path / "raw", dialogues=TINY)
    assert not list((tmp_path / "raw").glob("*.csv"))


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_no_modality_tells_every_emotion_but_all_three_do_better(seed):
    for groups in (WORDS, FACES, VOICES):
        assert len(set(groups.values())) == 4  # of 7 emotions
    assert len(set(SHOWN.values())) == len(SHARES)
    lines = write_script(seed, room.DIALOGUES)

    def accuracy(*shown: str) -> float:
        """Of reading the groups without error, and answering with the commonest emotion."""
        table: dict[tuple[str, ...], Counter[str]] = {}
        for line in lines:
            cell = tuple(getattr(line, name) for name in shown)
            table.setdefault(cell, Counter())[line.emotion] += 1
        return sum(max(counts.values()) for counts in table.values()) / len(lines)

    alone = accuracy("face"), accuracy("voice")
    assert min(alone) > 0.6
    assert max(alone) < 0.85
    assert accuracy("face", "voice") > max(alone) + 0.04


@pytest.mark.parametrize("seed", range(20))
def test_the_smallest_corpus_has_every_emotion_in_every_split(seed):
    lines = write_script(seed, TINY)
    for split in SPLIT_FOLDERS:
        assert {line.emotion for line in lines if line.split == split} == set(SHARES)


def test_emotions_last_and_keep_meld_s_shares():
    lines = write_script(5, (300, 2, 2))
    train = [line for line in lines if line.split == "train"]
    counts = Counter(line.emotion for line in train)
    for emotion, share in SHARES.items():
        assert counts[emotion] / len(train) == pytest.approx(share, abs=0.04)
    pairs = [(a, b) for a, b in pairwise(train) if a.dialogue == b.dialogue]
    same = np.mean([a.emotion == b.emotion for a, b in pairs])
    by_chance = sum(share**2 for share in SHARES.values())
    assert same > by_chance + 0.25
    assert all(a.speaker != b.speaker for a, b in pairs)


def test_an_excited_voice_is_louder_and_higher_than_a_subdued_one():
    def heard(shown: str) -> tuple[float, float]:
        """Loudness, and pitch in Hz by autocorrelation, over 20 utterances of one speaker."""
        sounds = [speak(np.random.default_rng(n), "Bruno", shown, 1.2)[0] for n in range(20)]
        pitches = []
        for sound in sounds:
            echo = np.fft.irfft(np.abs(np.fft.rfft(sound, 2 * len(sound))) ** 2)
            pitches.append(RATE / (60 + echo[60:260].argmax()))  # 62 to 267 Hz
        return float(np.mean([sound.std() for sound in sounds])), float(np.mean(pitches))

    (loud, high), (level, _), (soft, low) = map(heard, ("excited", "level", "subdued"))
    assert set(PROSODIES) == set(VOICES.values())
    assert loud > 1.3 * level > 1.3 * 1.3 * soft
    assert high > 1.2 * low
    assert low == pytest.approx(112 * 0.86, rel=0.1)
