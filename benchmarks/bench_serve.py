"""Load test of `erc serve` on loopback: rows a second beside `erc predict --csv` of the same rows,
latency, and memory over thousands of requests.

    .venv/bin/python benchmarks/bench_serve.py
    .venv/bin/python benchmarks/bench_serve.py --requests 5000 --clients 16

A run of MiniLM and mlp is trained on texts of random words, as long as MELD's; the server, the
clients and `erc predict` are processes of this machine and share its cores. Clients send whole
dialogues, as a user of a context does, and then single utterances.
"""

import argparse
import asyncio
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp
from urllib.parse import urlsplit

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from bench_extract import minilm

WORDS = [
    "you",
    "know",
    "i",
    "do",
    "not",
    "really",
    "think",
    "that",
    "he",
    "said",
    "it",
    "was",
    "so",
    "very",
    "good",
    "and",
    "we",
    "are",
    "going",
    "out",
    "to",
    "the",
    "place",
    "she",
    "told",
    "me",
    "about",
    "no",
    "oh",
    "my",
    "god",
    "what",
    "yeah",
    "okay",
    "well",
    "hey",
    "right",
    "come",
    "on",
    "here",
    "now",
    "why",
]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=2600, help="utterances, in dialogues of 10")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--requests", type=int, default=5000, help="of the memory test; 0: none")
    parser.add_argument("--turns", type=int, default=3)
    args = parser.parse_args()
    folder = Path(mkdtemp(prefix="bench-serve-"))
    try:
        measure(folder, args)
    finally:
        shutil.rmtree(folder)


def measure(folder: Path, args: argparse.Namespace) -> None:
    run, table, dialogues = prepare(folder, args.rows)
    singles = [[said] for dialogue in dialogues[: len(dialogues) // 4] for said in dialogue]
    erc = [sys.executable, "-m", "cli"]
    ratios, costs = [], []
    with served(erc, run) as (url, process):
        asyncio.run(load(url, dialogues[:40], args.clients))  # first sizes
        for turn in range(args.turns):
            inside, spent, seconds = predict(run, table, folder / f"{turn}.csv")
            before = processor(process.pid)
            rates, waits = asyncio.run(load(url, dialogues, args.clients))
            ratios.append(rates / (args.rows / inside))
            costs.append(spent / (processor(process.pid) - before))
            print(
                f"turn {turn}: predict --csv {args.rows / inside:.0f} rows/s of its own work "
                f"({args.rows / seconds:.0f} with its start), serve {rates:.0f} rows/s: "
                f"{ratios[-1]:.2f} of the first, {rates / (args.rows / seconds):.2f} of the "
                f"second; in CPU seconds {costs[-1]:.2f} of the first; "
                f"p50 {percentile(waits, 50)}, p99 {percentile(waits, 99)}, "
                f"{np.percentile(waits, 99) / np.percentile(waits, 50):.1f} times",
                flush=True,
            )
        rate, waits = asyncio.run(load(url, singles, args.clients))
        print(f"single utterances: {rate:.0f} rows/s; p50 {percentile(waits, 50)}, "
              f"p99 {percentile(waits, 99)}")  # fmt: skip
        print(
            f"median ratio {np.median(ratios):.2f}, of CPU seconds {np.median(costs):.2f}; "
            f"bits equal: {equal(url, dialogues, folder)}"
        )
        if args.requests:
            memory(url, process.pid, dialogues, args)


def memory(url: str, pid: int, dialogues: Sequence, args: argparse.Namespace) -> None:
    """The resident set after each tenth of the requests, of two utterances each."""
    short = [dialogue[:2] for dialogue in dialogues]
    sizes, each = [], args.requests // 10
    for part in range(10):
        chosen = [short[(part * each + n) % len(short)] for n in range(each)]
        asyncio.run(load(url, chosen, args.clients))
        sizes.append(resident(pid))
    growth = (sizes[-1] - sizes[1]) / sizes[1]
    print(f"memory over {args.requests} requests, MB: {' '.join(f'{s / 1e6:.0f}' for s in sizes)}; "
          f"from the second tenth to the last {growth:+.1%}")  # fmt: skip


def prepare(folder: Path, rows: int) -> tuple[Path, Path, list[list[dict[str, str]]]]:
    """(the run, the CSV that is predicted, the same as dialogues)."""
    random = np.random.default_rng(0)

    def text() -> str:
        return " ".join(random.choice(WORDS, max(1, int(random.gamma(1.6, 5)))))

    root = folder / "data/talks"
    root.mkdir(parents=True)
    for name, count in (("train", 300), ("dev", 100), ("test", 100)):
        write(
            root / f"{name}.csv", [[{"text": text(), "speaker": "A"} for _ in range(count)]], True
        )
    dialogues = [
        [{"speaker": f"S{n % 2}", "text": text()} for n in range(10)] for _ in range(rows // 10)
    ]
    write(folder / "new.csv", dialogues, False)
    features, runs = str(folder / "features"), str(folder / "runs")
    for command in (
        ["extract", "--modality", "text", "--encoder", str(minilm()), "--name", "minilm"],
        ["fuse", "--head", "mlp", "--name", "best", "--runs", runs, "--epochs", "5"],
    ):
        call = [*command, "--corpus", str(root), "--features", features, "--device", "cpu"]
        subprocess.run([sys.executable, "-m", "cli", *call], check=True, capture_output=True)
    return folder / "runs/talks/best", folder / "new.csv", dialogues


def write(path: Path, dialogues: Sequence[Sequence[dict[str, str]]], labels: bool) -> None:
    columns = ("dialogue", "sequence", "speaker", "x_text", "x_visual", "x_audio", "label")
    with open(path, "w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(columns)
        for number, dialogue in enumerate(dialogues):
            for sequence, said in enumerate(dialogue):
                label = ("joy", "anger", "neutral")[sequence % 3] if labels else ""
                row = (number, sequence, said["speaker"], said["text"], "", "", label)
                out.writerow(row)


_TIMED = """
import sys, time
from pathlib import Path
from erc_features.threads import let_waiting_threads_sleep
let_waiting_threads_sleep()
from erc_features.preparation.live_dialogue import read_talk
from erc_fusion.predict import predict, write_answers
from erc_fusion.runs.run import Run
if __name__ == "__main__":
    run, talk = Run(Path(sys.argv[1])), read_talk(Path(sys.argv[2]))
    predict(run, talk[:10], device="cpu")  # imports, and the weights' first reading
    began, spent = time.perf_counter(), time.process_time()
    write_answers(predict(run, talk, device="cpu"), Path(sys.argv[3]))
    print(time.perf_counter() - began, time.process_time() - spent)
"""


def predict(run: Path, table: Path, to: Path) -> tuple[float, float, float]:
    """Seconds of `erc predict --csv`: in a process that is warm (by the clock, of the processor),
    and of the whole command."""
    done = subprocess.run(
        [sys.executable, "-c", _TIMED, run, table, to], capture_output=True, text=True, check=True
    )
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "cli", "predict", run, "--csv", table, "--to", to, "--json",
         "--device", "cpu"], capture_output=True, check=True,
    )  # fmt: skip
    return *map(float, done.stdout.split()), time.perf_counter() - began  # type: ignore[return-value]


class served:
    """`erc serve` in a process of its own: (its URL, the process)."""

    def __init__(self, erc: list[str], run: Path) -> None:
        self._command = [*erc, "serve", str(run), "--port", "0", "--device", "cpu"]

    def __enter__(self) -> tuple[str, subprocess.Popen]:
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        assert self._process.stdout
        for line in self._process.stdout:
            if found := re.search(r"http://[\d.]+:\d+", line):
                return found[0], self._process
        raise SystemExit("the server did not start")

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        print("the server ended with", self._process.wait(60))


async def load(url: str, asked: Sequence, clients: int) -> tuple[float, list[float]]:
    """(rows per second, seconds of each request): each client sends when its last is answered."""
    place = urlsplit(url)
    queue, waits = list(asked)[::-1], []

    async def client() -> None:
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        while queue:
            body = json.dumps({"utterances": queue.pop()}).encode()
            began = time.perf_counter()
            writer.write(
                b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\n"
                b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            )
            head = await reader.readuntil(b"\r\n\r\n")
            assert b" 200 " in head[:16], head
            size = int(re.search(rb"content-length: (\d+)", head, re.IGNORECASE)[1])  # type: ignore[index]
            await reader.readexactly(size)
            waits.append(time.perf_counter() - began)
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return sum(map(len, asked)) / (time.perf_counter() - began), waits


def equal(url: str, dialogues: Sequence, folder: Path) -> bool:
    """Whether the answers to a dialogue are those of `erc predict` of it alone, to the last bit."""
    import urllib.request

    from erc_features.preparation.live_dialogue import make_talk
    from erc_fusion.predict import predict as answer
    from erc_fusion.runs.run import Run

    for dialogue in dialogues[:5]:
        body = json.dumps({"utterances": dialogue}).encode()
        asked = urllib.request.Request(
            f"{url}/v1/predict", body, {"content-type": "application/json"}
        )
        with urllib.request.urlopen(asked) as got:
            found = [a["probabilities"] for a in json.load(got)["utterances"]]
        talk = make_talk([], [s["text"] for s in dialogue], [s["speaker"] for s in dialogue])
        wanted = answer(Run(folder / "runs/talks/best"), talk, device="cpu")
        if found != [dict(row.probability) for row in wanted.rows]:
            return False
    return True


def percentile(waits: Sequence[float], share: int) -> str:
    return f"{1000 * np.percentile(waits, share):.0f} ms"


def processor(pid: int) -> float:
    """Seconds of the processor that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
