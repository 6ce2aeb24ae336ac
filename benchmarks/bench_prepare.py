"""`erc prepare` against a bare PyAV loop that writes the same PNG and WAV with as many workers.

    python benchmarks/bench_prepare.py            # about eight minutes on 2 cores

A MELD.Raw tree under the real CSVs' names: every tenth clip is the real one of
../shared/data/clips (where it is there), the others are rendered. Ratio: median of three, in
turns. Memory: the largest sum of resident sets of all processes, at 200 and at 2,000 clips.
"""

import os
import shutil
import statistics
import sys
import tempfile
import time
import wave
from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np
from measure import Memory
from PIL import Image

from erc_features.corpora.meld import read_meld
from erc_features.preparation.prepare import prepare
from erc_features.sample.sample import sample

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
JOBS = os.cpu_count() or 1


def bare(task: tuple[Path, Path, Path]) -> None:
    """One clip, as a script would do it: decode all, keep five frames, write."""
    clip, png, wav = task
    with av.open(str(clip)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        for stream in (video, audio):
            stream.codec_context.thread_count = 1
        resampler = av.AudioResampler("s16", "mono", 16_000)
        times = [float(video.duration * video.time_base) * i / 4 for i in range(5)]
        kept, last, sound = [], None, []
        for packet in container.demux(video, audio):
            for frame in packet.decode():
                if isinstance(frame, av.VideoFrame):
                    while last is not None and len(kept) < 4 and times[len(kept)] < frame.time:
                        kept.append(last)
                    last = frame
                else:
                    sound += [part.to_ndarray()[0] for part in resampler.resample(frame)]
    kept += [last] * (5 - len(kept))
    wide = video.width * 240 // video.height
    pictures = [f.reformat(width=wide, height=240, format="rgb24").to_ndarray() for f in kept]
    Image.fromarray(np.vstack(pictures)).save(png, compress_level=1)
    with wave.open(str(wav), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(np.concatenate(sound).tobytes())


def tree(root: Path, clips: list[Path], count: int) -> Path:
    """The real annotations, and `count` clips of train under their names, as hard links."""
    root.mkdir()
    for name in ("train", "dev", "test"):
        shutil.copy(SHARED / "meld" / f"{name}_sent_emo.csv", root)
    raw = read_meld(root)
    assert raw is not None
    (root / "train_splits").mkdir()
    for number, row in enumerate(raw.rows[:count]):
        name = f"dia{row.utterance.dialogue}_utt{row.utterance.sequence}.mp4"
        os.link(clips[number % len(clips)], root / "train_splits" / name)
    return root


def run_bare(raw: Path, to: Path) -> float:
    to.mkdir(parents=True)
    clips = sorted((raw / "train_splits").iterdir())
    tasks = [(clip, to / f"{clip.stem}.png", to / f"{clip.stem}.wav") for clip in clips]
    began = time.perf_counter()
    with get_context("spawn").Pool(JOBS) as pool:
        for _ in pool.imap_unordered(bare, tasks):
            pass
    return len(tasks) / (time.perf_counter() - began)


def run_erc(raw: Path, to: Path) -> float:
    count = len(list((raw / "train_splits").iterdir()))
    began = time.perf_counter()
    prepare(raw, to, jobs=JOBS)
    return count / (time.perf_counter() - began)


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        sample(work / "rendered", dialogues=(4, 2, 2))
        rendered = sorted((work / "rendered").rglob("dia*.mp4"))
        rendered = [clip for clip in rendered if usable(clip)][:18]
        real = SHARED / "clips" / "dia1_utt0.mp4"
        if real.exists():
            shutil.copy(real, work / "real.mp4")
            rendered[::9] = [work / "real.mp4"] * len(rendered[::9])
        speeds = {"bare": [], "erc": []}
        raw = tree(work / "raw", rendered, 800)
        for turn in range(3):
            speeds["bare"].append(run_bare(raw, work / f"bare{turn}"))
            speeds["erc"].append(run_erc(raw, work / f"erc{turn}" / "meld"))
            print({name: round(values[-1], 1) for name, values in speeds.items()}, flush=True)
        bare_speed, erc_speed = (statistics.median(speeds[name]) for name in ("bare", "erc"))
        print(f"bare {bare_speed:.1f} clips/s, erc {erc_speed:.1f} clips/s on {JOBS} workers: "
              f"ratio {erc_speed / bare_speed:.2f} (target 0.90)")  # fmt: skip
        memory = {}
        for count in (200, 2000):
            raw = tree(work / f"raw{count}", rendered, count)
            with Memory() as memory[count]:
                prepare(raw, work / f"memory{count}" / "meld", jobs=JOBS)
            print(f"{count} clips: {memory[count].most:.0f} MB resident", flush=True)
        growth = memory[2000].most / memory[200].most - 1
        print(f"growth from 200 to 2,000 clips: {growth:+.1%} (target under 5%)")


def usable(clip: Path) -> bool:
    try:
        with av.open(str(clip)) as container:
            return bool(container.streams.audio and container.streams.video)
    except av.error.FFmpegError:
        return False


if __name__ == "__main__":
    sys.exit(main())
