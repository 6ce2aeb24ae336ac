"""Peak memory and CPU seconds of `fuse`, `inspect` and `report` on a feature file of many rows.

    python benchmarks/bench_scale.py [--rows 1000000] [--seeds 5] [--epochs 2] [--tree DIR]
                                     [--only fuse --only report] [--keep DIR]

The file has random numbers, 4 layers of 384 in float16, as a small text encoder writes: 3 KB a row.
80% of the rows are train, 10% dev, 10% test; dialogues have ten utterances. Each command is a
process of its own with one thread. `own` is the largest memory that is the process's alone (what a
system without spare memory must give it), `resident` the largest resident set, which also counts
pages of the feature file that the system may take back at any time; both above what Python has
after importing torch and erc. `--tree` names another work tree of erc, to compare with.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from erc_features.store import Provenance, Rows, Shape, Status, open_writer
from erc_features.utterance import make_key

SHAPE = Shape(4, 384, "float16")
LABELS = ("anger", "joy", "neutral", "sadness")
TALK = 10  # utterances in a dialogue
BLOCK = 8192  # rows written at a time
START = """
import sys, threading, time
sys.path.insert(0, {tree!r})
import torch
import erc_fusion.training.fit
import erc_features.store.inspect
torch.set_num_threads(1)
def held():
    lines = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
    return [int(lines[name].split()[0]) / 1e3 for name in ("RssAnon", "VmRSS")]
before = most = held()
def watch():
    global most
    while True:
        most = [*map(max, most, held())]
        time.sleep(0.05)
threading.Thread(target=watch, daemon=True).start()
began = time.process_time()
"""
END = """
own, resident = (now - then for now, then in zip(map(max, most, held()), before))
print(f"own {own:6.0f} MB, resident {resident:6.0f} MB, {time.process_time() - began:6.1f} CPU s")
"""
FUSE = """
from erc_fusion.config.config import FuseConfig, with_options
from erc_fusion.fuse import fuse
options = dict(
    features="features", runs="runs", name={name!r}, device="cpu", epochs={epochs},
    seeds=tuple(range({seeds})), overwrite=True, context={context!r})
if {stream!r} is not None:
    options["stream"] = {stream!r}
marks = [time.process_time()]
run = fuse(with_options(FuseConfig(corpus="big"), **options),
           progress=lambda at: marks.append(time.process_time())).run
each = ", ".join(f"{{b - a:.1f}}" for a, b in zip(marks[1:], marks[2:]))
print(f"CPU s: first epoch with reading {{marks[1] - marks[0]:.1f}}, others {{each}}, after them "
      f"{{time.process_time() - marks[-1]:.1f}}")
"""
COMMANDS = {
    "fuse": FUSE,
    "inspect": "erc_features.store.inspect.inspect('features/big/text.x.h5')\n",
    "report": (
        "from pathlib import Path\nfrom erc_fusion.report import report\n"
        "from erc_fusion.runs.run import find_runs\nimport erc_fusion.report.page\n"
        "runs, unfinished = find_runs(Path('runs'), 'big', [])\n"
        "report(runs, to=Path('report.html'), unfinished=unfinished)\n"
    ),
}


def make_file(root: Path, count: int) -> Path:
    """A feature file of that many random rows; one that is there is kept."""
    path = root / "features/big/text.x.h5"
    if path.exists():
        return path
    random = np.random.default_rng(0)
    ends = {"train": count * 8 // 10, "dev": count * 9 // 10, "test": count}
    key, split, dialogue, sequence = [], [], [], []
    first = 0
    for name, end in ends.items():
        for i in range(end - first):
            key.append(make_key(name, i // TALK, i % TALK))
            split.append(name)
            dialogue.append(i // TALK)
            sequence.append(i % TALK)
        first = end
    label = [LABELS[c] for c in random.integers(0, len(LABELS), count)]
    speaker = [f"speaker {s}" for s in random.integers(0, 500, count)]
    text = [f"This is what utterance {i} of the corpus says." for i in range(count)]
    columns = Rows(key, split, dialogue, sequence, speaker, text, label)
    made = Provenance("big", "f" * 64, "text", "x", "r" * 64, {"layers": "all"})
    shift = random.standard_normal((len(LABELS), 1, SHAPE.dim), dtype=np.float32) * 0.1
    place = {name: c for c, name in enumerate(LABELS)}
    with open_writer(path, columns, LABELS, made, SHAPE, {}) as writer:
        assert writer is not None
        for start in range(0, count, BLOCK):
            part = np.arange(start, min(count, start + BLOCK))
            x = random.standard_normal((len(part), SHAPE.layers, SHAPE.dim), dtype=np.float32)
            x += shift[[place[label[i]] for i in part]]
            writer.write(part, x, np.full(len(part), Status.OK), [""] * len(part))
        writer.finish({})
    return path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--context", default="none")
    parser.add_argument("--stream", action="append", choices=("auto", "on", "off"), default=[])
    parser.add_argument("--only", action="append", choices=COMMANDS, default=[])
    parser.add_argument("--tree", action="append", default=[])
    parser.add_argument("--keep", type=Path, help="a folder for the file and the runs")
    args = parser.parse_args()
    trees = args.tree or [str(Path(__file__).resolve().parents[1])]
    with tempfile.TemporaryDirectory() as folder:
        root = args.keep or Path(folder)
        path = make_file(root, args.rows)
        print(f"{args.rows:,} rows, {path.stat().st_size / 1e6:,.0f} MB on the disk")
        for name in args.only or COMMANDS:
            for tree in trees:
                for stream in (args.stream or ["auto"]) if name == "fuse" else [""]:
                    asked = {"on": True, "off": False}.get(stream)
                    options = {"seeds": args.seeds, "epochs": args.epochs, "stream": asked,
                               "name": f"run-{stream}", "context": args.context}  # fmt: skip
                    code = START.format(tree=tree)
                    code += COMMANDS[name].format(**options) if name == "fuse" else COMMANDS[name]
                    done = subprocess.run([sys.executable, "-c", code + END], cwd=root, text=True,
                                          stdout=subprocess.PIPE, check=True)  # fmt: skip
                    lines = done.stdout.strip().splitlines()
                    print(f"{name} {stream} ({tree}):", *lines, sep="\n    ", flush=True)


if __name__ == "__main__":
    main()
