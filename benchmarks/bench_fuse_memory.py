"""Peak memory of `erc fuse` on a file of MELD's size: 13 layers of 1,536 numbers, float16, 553 MB.

    python benchmarks/bench_fuse_memory.py [--layers all|0,4,8,12] [--tree DIR]

The file is made of random numbers. Each run is a process of its own; `above` is its peak less what
it has after importing torch and erc. `--tree` names another work tree of erc, to compare with.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from erc_features.store import Provenance, Rows, Shape, Status, open_writer
from erc_features.utterance import make_key

SPLITS = (("train", 9989, 1039), ("dev", 1109, 114), ("test", 2610, 280))
SHAPE = Shape(13, 1536, "float16")
RUN = """
import resource, sys, time
sys.path.insert(0, {tree!r})
import torch
import erc_fusion.training.fit
from erc_fusion.config.config import FuseConfig, with_options
from erc_fusion.fuse import fuse
torch.set_num_threads(1)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
before, began = peak(), time.process_time()
run = fuse(with_options(
    FuseConfig(corpus="big"), features={root!r} + "/features", runs={root!r} + "/runs",
    name={name!r}, device="cpu", layers={layers!r}, seeds=(0,), epochs=2,
)).run
seconds, accuracy = time.process_time() - began, run.metrics["dev"]["accuracy"]["mean"]
print(f"{{peak() - before:.0f}} MB above {{before:.0f}} MB; {{seconds:.1f}} CPU s; "
      f"dev accuracy {{accuracy:.6f}}")
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


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--layers", default="all")
    parser.add_argument("--tree", action="append", default=[])
    args = parser.parse_args()
    here = str(Path(__file__).resolve().parents[1])
    with tempfile.TemporaryDirectory() as folder:
        path = make_file(Path(folder))
        print(
            f"{path.name}: {path.stat().st_size / 1e6:.0f} MB on the disk; --layers {args.layers}"
        )
        for number, tree in enumerate((here, *args.tree)):
            code = RUN.format(tree=tree, root=folder, layers=args.layers, name=f"r{number}")
            done = subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder
            )
            print(f"{tree}: {done.stdout.strip()}")


if __name__ == "__main__":
    main()
