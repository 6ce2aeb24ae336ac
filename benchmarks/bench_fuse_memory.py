"""Peak memory of `erc fuse` on a file of MELD's size: 13 layers of 1,536 numbers, float16, 553 MB.

    python benchmarks/bench_fuse_memory.py [--layers all|0,4,8,12] [--against REV]

The file is made of random numbers. The run is a process of its own; `above imports` is its peak
less what it has after importing torch and erc.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import against
import numpy as np

from erc_features.store import Provenance, Rows, Shape, Status, open_writer
from erc_features.utterance import make_key

SPLITS = (("train", 9989, 1039), ("dev", 1109, 114), ("test", 2610, 280))
SHAPE = Shape(13, 1536, "float16")
RUN = """
import json, resource, time
import torch
import erc_fusion.training.fit
from erc_fusion.config.config import FuseConfig, with_options
from erc_fusion.fuse import fuse
torch.set_num_threads(1)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
before, began = peak(), time.process_time()
fuse(with_options(
    FuseConfig(corpus="big"), features={root!r} + "/features", runs={root!r} + "/runs",
    name="r", device="cpu", layers={layers!r}, seeds=(0,), epochs=2,
))
print(json.dumps({{"MB above imports": peak() - before, "CPU s": time.process_time() - began}}))
"""


def make_file(root: Path) -> Path:
    random, rows = np.random.default_rng(0), []
    for split, count, dialogues in SPLITS:
        for i in range(count):
            dialogue = i * dialogues // count
            key = make_key(split, dialogue, i)
            rows.append((key, split, dialogue, i, "s", "t", ["a", "b", "c"][i % 3]))
    path = root / "features/big/text.x.h5"
    made = Provenance("big", "f" * 64, "text", "x", "r" * 64, {"layers": "all"})
    columns = Rows(*map(list, zip(*rows, strict=True)))
    with open_writer(path, columns, ("a", "b", "c"), made, SHAPE, {}) as writer:
        assert writer is not None
        for start in range(0, len(rows), 1024):
            part = np.arange(start, min(len(rows), start + 1024))
            x = random.standard_normal((len(part), SHAPE.layers, SHAPE.dim), dtype=np.float32)
            writer.write(part, x, np.full(len(part), Status.OK), [""] * len(part))
        writer.finish({})
    return path


def measured(root: Path, layers: str) -> dict[str, float]:
    """MB above those of the imports, and CPU seconds, of `fuse` in a process of its own."""
    code = RUN.format(root=str(root), layers=layers)
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", default="all")
    against.add_options(parser, turns=3)
    chosen = parser.parse_args(arguments)
    if chosen.against:
        against.run(__file__, arguments, chosen)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = make_file(Path(folder))
        size = path.stat().st_size / 1e6
        found = measured(Path(folder), chosen.layers)
    if chosen.figures:
        against.print_figures({f"--layers {chosen.layers}": found})
        return
    print(f"{path.name}: {size:.0f} MB on the disk; --layers {chosen.layers}")
    print(", ".join(f"{number:.1f} {unit}" for unit, number in found.items()))


if __name__ == "__main__":
    main()
