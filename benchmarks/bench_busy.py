"""Encoding while another program keeps one core busy: idle against busy, threads that sleep while
they wait against threads that spin.

    .venv/bin/python benchmarks/bench_busy.py            about three minutes
    .venv/bin/python benchmarks/bench_busy.py --seconds 5 --kinds tiny,minilm

Each figure is one process with two threads: rows a second of a network with random weights. Ours is
`erc_features.threads.let_waiting_threads_sleep`; "spinning" is OpenMP's default, which was ours
before. All turns are of one run, one after the other; other programs on the machine spoil it.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

CODE = """
import sys, time
kind, seconds, asleep = sys.argv[1], float(sys.argv[2]), sys.argv[3] == "asleep"
if asleep:
    from erc_features.threads import let_waiting_threads_sleep
    let_waiting_threads_sleep()
import torch, transformers
torch.set_num_threads(2)
torch.manual_seed(0)
sizes = {
    "tiny": dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
                 vocab_size=99),
    "minilm": dict(hidden_size=384, num_hidden_layers=6, num_attention_heads=12,
                   intermediate_size=1536, vocab_size=9999),
}
if kind == "wav2vec2":
    model = transformers.Wav2Vec2Model(transformers.Wav2Vec2Config()).eval()
    rows = torch.randn(4, 48_000)
else:
    model = transformers.BertModel(transformers.BertConfig(**sizes[kind])).eval()
    rows = torch.randint(0, 90, (64, 12))
with torch.inference_mode():
    first = model(rows).last_hidden_state.double().sum().item()
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        model(rows, output_hidden_states=True)
        done += len(rows)
print(done / (time.perf_counter() - began), first.hex())
"""


def rate(kind: str, seconds: float, way: str) -> tuple[float, str]:
    """Rows a second, and the sum of the first output to the last bit."""
    command = [sys.executable, "-c", CODE, kind, str(seconds), way]
    root = Path(__file__).resolve().parents[1]
    plain = {name: value for name, value in os.environ.items()
             if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")}  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root, env=plain)
    found, bits = done.stdout.split()
    return float(found), bits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--kinds", default="tiny,minilm,wav2vec2")
    asked = parser.parse_args()
    print("| network, 2 threads | idle, spinning | idle, asleep | busy, spinning | busy, asleep "
          "| busy of idle, asleep | bits equal |\n|---|---|---|---|---|---|---|")  # fmt: skip
    for kind in asked.kinds.split(","):
        idle = {way: rate(kind, asked.seconds, way) for way in ("spinning", "asleep")}
        busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        try:
            beside = {way: rate(kind, asked.seconds, way) for way in ("spinning", "asleep")}
        finally:
            busy.kill()
            busy.wait()
        figures = [idle["spinning"], idle["asleep"], beside["spinning"], beside["asleep"]]
        cells = " | ".join(f"{found:,.1f}" for found, _ in figures)
        share = beside["asleep"][0] / idle["asleep"][0]
        same = "yes" if len({bits for _, bits in figures}) == 1 else "no"
        print(f"| {kind} | {cells} | {share:.2f} | {same} |", flush=True)


if __name__ == "__main__":
    main()
