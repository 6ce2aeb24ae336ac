"""nkululeko's `logo` (leave one group out) and `erc fuse --folds`, same features, same folds.

    python benchmarks/bench_logo.py              # installs nkululeko in a temporary folder

535 rows, 88 columns, ten speakers, seven classes, as EmoDB with eGeMAPS has them; the numbers are
noise with a class and a speaker in it. nkululeko imports them (`type = ['import']`) and trains its
SVM as it is set by default (RBF, C 1) with `scale = standard` and a column `fold`, a speaker each;
erc imports them and trains with `--folds speaker`, five seeds, default settings, and scales by each
fold's train rows. Lines: UAR (macro recall) over all rows, its mean over folds, seconds and CPU
seconds of the commands, one thread each. nkululeko fits one SVM a fold; erc 50 networks, with early
stopping on speakers of train, and intervals.

nkululeko 1.14.1 needs pandas 2, so it is no dependency: it and the few packages that a run of it
imports are installed in a temporary folder, without theirs, in front of this environment's.
"""

import argparse
import csv
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from measure import machine, markdown, write_section
from sklearn.metrics import recall_score

from erc_fusion.runs.run import Run

PACKAGES = ("nkululeko==1.14.1", "pandas==2.3.3", "pytz==2026.6", "seaborn==0.13.2",
            "audmetric==1.4.2", "audplot==1.4.9", "confidence_intervals==0.0.3")  # fmt: skip
CLASSES = ("anger", "boredom", "disgust", "fear", "happiness", "neutral", "sadness")
ROWS, DIM, SPEAKERS = 535, 88, 10
ERC = (sys.executable, str(Path(__file__).resolve().parents[1] / "cli.py"))
INI = """[EXP]
root = {folder}
name = them
save = False
[DATA]
databases = ['them']
them = {folder}/them.csv
them.type = csv
them.split_strategy = speaker_split
target = emotion
labels = {labels}
[FEATS]
type = ['import']
import_file = ['{folder}/features.csv']
scale = standard
[MODEL]
type = svm
logo = {speakers}
n_jobs = 1
"""


def write(folder: Path) -> None:
    """The rows for both, and nkululeko's configuration."""
    random = np.random.default_rng(0)
    speaker, label = random.integers(0, SPEAKERS, ROWS), random.integers(0, len(CLASSES), ROWS)
    x = random.normal(size=(ROWS, DIM))
    x += 0.25 * random.normal(size=(len(CLASSES), DIM))[label]
    x += 0.7 * random.normal(size=(SPEAKERS, DIM))[speaker]
    times = ("0 days 00:00:00", "0 days 00:00:02")
    them = [("file", "start", "end", "speaker", "emotion", "fold")]
    features = [("file", "start", "end", *(f"f{i}" for i in range(DIM)))]
    ours = [("split", "dialogue", "sequence", "speaker", "x_text", "x_visual", "x_audio", "label")]
    for row, (who, what) in enumerate(zip(speaker.tolist(), label.tolist(), strict=True)):
        file = (f"/nowhere/{row:04d}.wav", *times)  # never opened
        them.append((*file, f"s{who}", CLASSES[what], str(who)))
        features.append((*file, *map(repr, x[row].tolist())))
        ours.append(("train", str(row), "0", f"s{who}", "", "", "", CLASSES[what]))
    (folder / "ours").mkdir()
    for path, lines in (("them.csv", them), ("features.csv", features), ("ours/c.csv", ours)):
        with open(folder / path, "w", newline="") as out:
            csv.writer(out).writerows(lines)
    np.save(folder / "features.npy", x)
    (folder / "keys.txt").write_text("\n".join(f"train/d-{row}-seq-0" for row in range(ROWS)))
    ini = INI.format(folder=folder, labels=list(CLASSES), speakers=SPEAKERS)
    (folder / "them.ini").write_text(ini)


def timed(folder: Path, *command: str, more: Mapping[str, str] | None = None) -> tuple[float, ...]:
    """(seconds, CPU seconds) of a command on one thread."""
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=os.environ | threads | (more or {}),
                          capture_output=True, text=True)  # fmt: skip
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def nkululeko(folder: Path, site: Path) -> tuple[float, ...]:
    """(UAR over all rows, mean over folds, seconds, CPU seconds)."""
    took = timed(folder, sys.executable, "-m", "nkululeko.nkululeko", "--config", "them.ini",
                 more={"PYTHONPATH": str(site)})  # fmt: skip
    (log,) = (folder / "them").glob("results/run_0/logo_results.txt")
    values = log.read_text().partition("results: [")[2].rstrip("]\n").split(",")
    assert len(values) == SPEAKERS, values
    (runs,) = (folder / "them/log").glob("*.log")
    overall = runs.read_text().partition("result (TEST): test: ")[2].split()[0]
    return float(overall), statistics.mean(map(float, values)), *took


def erc(folder: Path, head: str) -> tuple[float, ...]:
    """(UAR over all rows, mean over folds, both means over seeds; seconds, CPU seconds)."""
    took = timed(folder, *ERC, "fuse", "--corpus", "ours", "--folds", "speaker", "--head", head,
                 "--name", head, "--device", "cpu")  # fmt: skip
    frame = Run(folder / f"runs/ours/{head}").predictions()
    whole = [recall_score(f.label, f.predicted, average="macro") for _, f in frame.groupby("seed")]
    folds = [recall_score(f.label, f.predicted, average="macro")
             for _, f in frame.groupby(["seed", "fold"])]  # fmt: skip
    assert len(folds) == SPEAKERS * len(whole)
    return statistics.mean(whole), statistics.mean(folds), *took


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--site", type=Path, help="a folder where nkululeko is installed already")
    parser.add_argument("--write", action="store_true", help="the table into RESULTS.md")
    chosen = parser.parse_args(arguments)
    where = machine()
    with tempfile.TemporaryDirectory(prefix="erc-logo-") as name:
        folder = Path(name)
        site = chosen.site or folder / "site"
        if not chosen.site:
            install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target",
                       str(site), *PACKAGES]  # fmt: skip
            subprocess.run(install, check=True)
        write(folder)
        imported = timed(folder, *ERC, "import", "features.npy", "--corpus", "ours/c.csv",
                         "--modality", "audio", "--keys", "keys.txt")  # fmt: skip
        found = {"nkululeko, svm": nkululeko(folder, site)}
        found |= {f"erc, {head}": erc(folder, head) for head in ("linear", "mlp")}
    lines = [
        (line, *(f"{100 * share:.1f}" for share in values[:2]), *(f"{s:.1f}" for s in values[2:]))
        for line, values in found.items()
    ]
    head = ("", "UAR over all rows", "mean UAR of folds", "seconds", "CPU seconds")
    body = markdown([head, *lines])
    body += f"\n\n`erc import` before, once: {imported[0]:.1f} s, {imported[1]:.1f} CPU s."
    print(body)
    if chosen.write:
        write_section("bench_logo.py", arguments, where, body)


if __name__ == "__main__":
    main()
