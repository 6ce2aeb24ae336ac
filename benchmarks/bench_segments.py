"""Segments of a 3 hour recording, against decoding it once; and why not by seeking.

    python benchmarks/bench_segments.py            # about 15 minutes; --hours 0.2 for a look
    python benchmarks/bench_segments.py --kinds opus --turns 3
    python benchmarks/bench_segments.py --seek     # what PyAV gives after a seek

Each line is a process of its own: `extract`'s plan and engine over 10 and 2,000 segments in random
places, with an encoder that does nothing; and one pass that decodes the file and keeps nothing.
Asked: 2,000 segments take at most 1.3 times the CPU seconds of that pass, and under 300 MB more
than ten. CPU seconds, because cores may be shared; both run on one thread of decoding.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from erc_features.media import Sound, Spool

KINDS = {
    "wav": ("pcm_s16le", "s16", 44_100, "stereo"),
    "flac": ("flac", "s16", 44_100, "stereo"),
    "opus": ("libopus", "flt", 48_000, "mono"),
    "mp3": ("libmp3lame", "s16p", 44_100, "mono"),
    "m4a": ("aac", "fltp", 44_100, "mono"),
}
LONG = ("wav", "flac", "opus")
COUNTS = (10, 2_000)


def record(path: Path, seconds: float) -> Path:
    """Noise of a wandering level, which repeats after 60 s and so costs nothing to make."""
    codec, form, rate, layout = KINDS[path.suffix[1:]]
    noise = np.random.default_rng(0).normal(0, 0.1, rate * 60).astype(np.float32)
    noise *= np.sin(np.arange(len(noise)) / rate) ** 2
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=rate, layout=layout)
        channels = stream.layout.nb_channels
        step = 960 if codec == "libopus" else 1152
        for first in range(0, int(seconds * rate), step):
            part = np.take(noise, np.arange(first, first + step), mode="wrap")
            part = (part * 32767).astype(np.int16) if form.startswith("s16") else part
            planes = part[None] if form.endswith("p") else np.repeat(part, channels)[None]
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(planes), form, layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, first, Fraction(1, rate)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


class Nothing:
    """An encoder that costs nothing, so that only reading is measured."""

    name, layers, dim, revision, device, cap = "nothing", 1, 1, "0", "cpu", 240.0

    def cost(self, size: float) -> float:
        return size

    def encode(self, items: list[np.ndarray]) -> np.ndarray:
        return np.array([item.mean() for item in items], np.float32)[:, None, None]


def cut(path: Path, count: int, seconds: float) -> None:
    """The plan and the local engine over `count` segments."""
    from erc_features.corpora.manifest import read_corpus
    from erc_features.extraction.engines.local import run_local
    from erc_features.extraction.items import loader
    from erc_features.extraction.job import Job
    from erc_features.utterance import Modality

    dice = random.Random(0)
    rows = []
    for number in range(count):
        start = dice.uniform(0, seconds - 20)
        times = f"{start:.3f},{start + dice.uniform(0.5, 12):.3f}"
        rows.append(f"0,{number},A,text,,{path.name},joy,{times}")
    table = path.parent / f"{path.suffix[1:]}-{count}.csv"
    columns = "dialogue,sequence,speaker,x_text,x_visual,x_audio,label,start,end"
    table.write_text("\n".join([columns, *rows]))
    table = table.rename(table.parent / "train.csv")
    corpus = read_corpus(table)
    job, encoder = Job(corpus, Modality.AUDIO, "nothing"), Nothing()
    batches, _ = job.plan(encoder)
    load = loader(corpus, Modality.AUDIO, job.settings)
    done = sum(int((b.status == 1).sum()) for b in run_local(batches, load, encoder, "float32", 1))
    assert done == count, done


def once(path: Path) -> None:
    """Decode the file, mix it down and resample it; keep nothing."""
    Sound(path, Spool(keep=False)).decode()


def measured(what: str, path: Path, seconds: float) -> dict[str, float]:
    """The figures of one process."""
    command = [sys.executable, __file__, "--one", what, str(path), str(seconds)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def one(what: str, path: Path, seconds: float) -> None:
    import erc_features.corpora.recordings
    import erc_features.extraction.engines.local
    import erc_features.extraction.job  # noqa: F401 - imports are no part of the time

    wall, cpu = time.perf_counter(), time.process_time()
    once(path) if what == "once" else cut(path, int(what), seconds)
    found = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu,
             "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000}  # fmt: skip
    print(json.dumps(found))


def seek(folder: Path) -> None:
    """Of 100 segments of a 10 minute file, how many are those of the whole file after a seek to 1 s
    before each; at the file's own rate, so that no resampler plays a part."""
    for ending in KINDS:
        path = record(folder / f"r.{ending}", 600.0)
        frames = list(_frames(path, None))
        zero, rate = frames[0].time, frames[0].sample_rate
        whole = np.concatenate([_packed(frame) for frame in frames])
        dice, equal, furthest = random.Random(1), 0, 0.0
        began = time.process_time()
        for _ in range(100):
            first = round(dice.uniform(5, 580) * rate)
            found = _after_seek(path, zero, first, 3 * rate)
            there = whole[first : first + 3 * rate].astype(float)
            gap = float(np.abs(there - found).max()) if there.shape == found.shape else np.inf
            equal, furthest = equal + (gap == 0), max(furthest, gap)
        each = (time.process_time() - began) * 10
        print(f"{ending}: {equal} of 100 equal; furthest {furthest:.3g}; {each:.1f} ms each",
              flush=True)  # fmt: skip


def _frames(path: Path, seconds: float | None) -> Iterator[av.AudioFrame]:
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        if seconds is not None:
            container.seek(int(seconds / stream.time_base), stream=stream)
        yield from container.decode(stream)


def _packed(frame: av.AudioFrame) -> np.ndarray:
    """(n, C), as the codec gives them."""
    samples = frame.to_ndarray()
    channels = frame.layout.nb_channels
    return samples.T if frame.format.is_planar else samples.reshape(-1, channels)


def _after_seek(path: Path, zero: float, first: int, count: int) -> np.ndarray:
    parts, begin, got = [], 0, 0
    for frame in _frames(path, zero + first / KINDS[path.suffix[1:]][2] - 1.0):
        if not parts:
            begin = round((frame.time - zero) * frame.sample_rate)
        parts.append(_packed(frame))
        got += frame.samples
        if begin + got >= first + count:
            break
    return np.concatenate(parts)[first - begin :][:count]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, default=3.0)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=LONG)
    parser.add_argument("--turns", type=int, default=1, help="measures of each file")
    parser.add_argument("--seek", action="store_true")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        one(asked.one[0], Path(asked.one[1]), float(asked.one[2]))
        return
    with tempfile.TemporaryDirectory(prefix="erc-bench-") as folder:
        if asked.seek:
            seek(Path(folder))
            return
        for ending in asked.kinds:
            path = record(Path(folder) / f"r.{ending}", asked.hours * 3600)
            for _ in range(asked.turns):
                show(path, asked.hours)
            path.unlink()


def show(path: Path, hours: float) -> None:
    """Measure one file once and print its line."""
    found = {what: measured(str(what), path, hours * 3600)
             for what in ("once", *COUNTS)}  # fmt: skip
    few, many = found[COUNTS[0]], found[COUNTS[1]]
    print(
        f"{path.suffix[1:]} ({path.stat().st_size / 1e6:.0f} MB, {hours} h): once "
        f"{found['once']['cpu']:.1f} s, {COUNTS[1]:,} segments {many['cpu']:.1f} s = "
        f"{many['cpu'] / found['once']['cpu']:.2f}; ten {few['mb']:.0f} MB, {COUNTS[1]:,} "
        f"{many['mb']:.0f} MB = {many['mb'] - few['mb']:+.0f} MB",
        flush=True,
    )


if __name__ == "__main__":
    main()
