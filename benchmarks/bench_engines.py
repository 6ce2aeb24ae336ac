"""What `--engine ray` costs a row beside `--engine local`, and the memory of `erc verify` after it.

    python benchmarks/bench_engines.py [--rows 100000] [--verify]

Short texts, and a random BERT of two layers of 16, so that next to nothing is computed. Each engine
is a process of its own, with one worker and one thread; CPU seconds are of that process and of all
that it started, less those of an extraction of 1,000 rows: what is left grows with the rows.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
FEW = 1000
CODE = """
import os, sys, time
sys.path[:0] = [{here!r} + "/benchmarks", {here!r} + "/tests"]
from pathlib import Path
from measure import Memory, family
def cpu():
    total = 0
    for pid in family(os.getpid()):
        try:
            fields = Path(f"/proc/{{pid}}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(map(int, fields[11:15]))  # own and of children that have ended
    return total / os.sysconf("SC_CLK_TCK")
"""
EXTRACT = """
from erc_features.extraction.extract import extract
began = time.perf_counter()
extract({corpus!r}, features={features!r}, modality="text", encoder={encoder!r}, name="tiny",
        engine={engine!r}, workers=1)
print(cpu(), time.perf_counter() - began)
"""
VERIFY = """
import erc_features.extraction.verify as module
with Memory() as memory:
    time.sleep(0.3)
    before = memory.most
    module.verify({path!r}, corpus={corpus!r})
print(f"verify: {{memory.most - before:.0f}} MB above {{before:.0f}}, {{cpu():.1f}} CPU s")
"""


def make_corpus(folder: Path, rows: int) -> Path:
    folder.mkdir(parents=True)
    parts = {"train": rows * 8 // 10, "dev": rows // 10, "test": rows // 10}
    for split, count in parts.items():
        with open(folder / f"{split}.csv", "w", encoding="utf-8") as file:
            file.write("dialogue,sequence,speaker,x_text,x_visual,x_audio,label\n")
            for i in range(count):
                label = "joy" if i % 3 else "anger"
                file.write(f"{i // 10},{i % 10},s{i % 7},no {i % 991} yes {i},,,{label}\n")
    return folder


def run(code: str, **values: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", (CODE + code).format(here=str(HERE), **values)],
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip().splitlines()[-1]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--engine", action="append", choices=("local", "ray"), default=[])
    parser.add_argument("--verify", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make = "from checkpoints import tiny_bert\nprint(tiny_bert(Path({path!r})))\n"
        encoder = run(make, path=str(root / "encoder")).splitlines()[-1]
        many, few = (make_corpus(root / f"rows{n}", n) for n in (args.rows, FEW))
        for engine in args.engine or ("local", "ray"):
            found = []
            for corpus in (few, many):
                values = {"corpus": str(corpus), "features": str(root / engine)}
                line = run(EXTRACT, **values, encoder=encoder, engine=engine)
                found.append([*map(float, line.split())])
            (cpu, wall), (all_cpu, all_wall) = found
            each = 1e3 / (args.rows - FEW)
            cost = f"{(all_cpu - cpu) * each:.3f} CPU ms and {(all_wall - wall) * each:.3f} ms"
            total = f"{all_cpu:.1f} CPU s, {all_wall:.1f} s"
            print(f"{engine}: {total}; above {FEW:,} rows {cost} a row", flush=True)
        if args.verify:
            for corpus in (few, many):
                path = root / (args.engine or ["local"])[0] / corpus.name / "text.tiny.h5"
                print(corpus.name, run(VERIFY, path=str(path), corpus=str(corpus)))


if __name__ == "__main__":
    main()
