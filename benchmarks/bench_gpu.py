"""Everything that needs a GPU to be measured, in one run of under eight minutes.

    bash benchmarks/gpu.sh                              on a machine with a GPU
    bash benchmarks/gpu.sh --device cpu --small         a trial of the script: no figures
    python benchmarks/bench_gpu.py --merge gpu.md       a section that came back from elsewhere

`gpu.sh` calls this. Random networks of the published sizes (BERT-base, ViT-B-32, wav2vec2-base,
Whisper-base) over texts, mosaics and sounds made here: `extract` from corpus to finished file but
for loading the encoder, the bare forward pass on ready batches, the bare decoding, in fp32 (no
TF32), bf16 and fp16; the lower of the last two is the bound, of which 0.9 is asked. `fuse` of ten
seeds at once against ten loops (8 times is asked), and of ten folds. Extraction that runs out of
GPU memory on purpose.

Nothing is fetched. A part for which time or a module is lacking says so, and the rest goes on; what
was found is written after every line. On a CPU or with --small nothing goes into RESULTS.md.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from gpu_trial import REMEDY, SMALL, Budget, Part, Report, Sizes, Trial, absent, say
from measure import RESULTS, machine, put_section, write_section

SCRIPT = "benchmarks/gpu.sh"
TRIAL = "a trial of the script, not figures"
_SECONDS = 440  # with what gpu.sh unpacks, under eight minutes
_GRACE = 45  # for the line in hand
_LEAST = ("torch", "numpy", "h5py", "transformers")


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--device", choices=("cuda", "cpu"), default="cuda")
    add("--small", action="store_true", help="tiny networks, few rows: a trial of the script")
    add("--out", type=Path, metavar="FILE",
        help="where the section goes instead of RESULTS.md, and FILE.json")  # fmt: skip
    add("--only", nargs="+", metavar="WORD", help="parts whose title has one of these words")
    add("--seconds", type=float, default=_SECONDS, help="that all may take")
    add("--began", type=float, help="when it began, in seconds since 1970; now, if not given")
    add("--scratch", type=Path, help="where networks and media are made; 2 GB, removed afterwards")
    add("--merge", type=Path, metavar="FILE", help="put the section of FILE into RESULTS.md")
    return parser


def all_parts() -> list[Part]:
    """In an order in which those that matter most are reached."""
    from gpu_extract import parts as of_extract
    from gpu_train import parts as of_train

    text, wav2vec2, whisper, visual, memory, clips = of_extract()
    seeds, folds = of_train()
    return [text, wav2vec2, seeds, visual, memory, whisper, folds, clips]


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 1 where a part failed."""
    parser = options()
    chosen = parser.parse_args(arguments)
    if chosen.merge:
        merge(chosen.merge, parser)
        return 0
    trial_only = chosen.small or chosen.device == "cpu"
    if trial_only and chosen.out and chosen.out.resolve() == RESULTS:
        parser.error(f"{TRIAL}: it does not go into {RESULTS.name}; --out another FILE works.")
    if lacking := [problem for name in _LEAST if (problem := absent(name))]:
        parser.error(f"{'; '.join(lacking)}; gpu.sh takes a Python that has them: {REMEDY}.")
    import torch

    if chosen.device == "cuda" and not torch.cuda.is_available():
        parser.error("no CUDA device that torch can use; --device cpu --small tries the script.")
    where = facts(chosen.device, trial_only)
    scratch = Path(tempfile.mkdtemp(prefix="erc-gpu-", dir=chosen.scratch))
    trial = Trial(
        chosen.device, chosen.small, SMALL if chosen.small else Sizes(), scratch,
        Budget(chosen.seconds, chosen.began), len(os.sched_getaffinity(0)),
    )  # fmt: skip
    parts = [
        p
        for p in all_parts()
        if not chosen.only or any(word.lower() in p.title.lower() for word in chosen.only)
    ]
    report = Report(parts)
    to = chosen.out or (None if trial_only else RESULTS)
    if to:
        to.parent.mkdir(parents=True, exist_ok=True)

    def written() -> None:
        if to:
            write_section(SCRIPT, _named(chosen), where, report.body(), to)
            document = to.with_suffix(".json") if chosen.out else None
            if document:
                document.write_text(
                    json.dumps({"machine": where, "parts": json.loads(report.document())})
                )

    def too_late() -> None:
        say(f"{chosen.seconds:.0f} s and {_GRACE} more are over: ended; {to} has what was found")
        shutil.rmtree(scratch, ignore_errors=True)
        os._exit(3)

    watch = threading.Timer(max(1.0, trial.budget.left()) + _GRACE, too_late)
    watch.daemon = True
    watch.start()
    try:
        report.run(trial, written)
    finally:
        watch.cancel()
        with suppress(OSError):
            shutil.rmtree(scratch)
    print(report.body())
    print(report.document())
    say(f"{trial.budget.left():.0f} s were left; {f'written to {to}' if to else 'nothing written'}")
    return int(report.failed)


def facts(device: str, trial_only: bool) -> dict[str, str | int | float]:
    """The machine, and what of the libraries decides a figure on a GPU."""
    import torch
    import transformers

    where = machine()
    where |= {"transformers": transformers.__version__, "python": sys.version.split()[0]}
    if device == "cpu":
        where["gpu"] = "none"
    else:
        card = torch.cuda.get_device_properties(0)
        where |= {
            "gpu_memory_gib": round(card.total_memory / 2**30),
            "cuda": torch.version.cuda or "",
            "capability": f"{card.major}.{card.minor}",
        }
    return where | ({"note": TRIAL} if trial_only else {})


def merge(file: Path, parser: argparse.ArgumentParser, path: Path = RESULTS) -> None:
    """Put the sections that a GPU's machine wrote with --out into RESULTS.md."""
    _, *sections = file.read_text(encoding="utf-8").split("\n## ")
    if not any(f"`{SCRIPT}" in section.splitlines()[0] for section in sections):
        parser.error(f"--merge {file}: no section of {SCRIPT} is in it.")
    if any(TRIAL in section or ", gpu none," in section for section in sections):
        parser.error(f"--merge {file}: {TRIAL}; it does not go into {path.name}.")
    for section in sections:
        put_section(f"## {section.splitlines()[0]}\n", f"## {section.rstrip()}\n", path)
        say(f"{path.name}: {section.splitlines()[0]}")


def _named(chosen: argparse.Namespace) -> list[str]:
    """What a section is called by: not by where it was written, so that a card has one."""
    named = ["--device", "cpu"] if chosen.device == "cpu" else []
    return named + (["--small"] if chosen.small else []) + (
        ["--only", *chosen.only] if chosen.only else []
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
