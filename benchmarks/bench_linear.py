"""`erc fuse --head linear` against scikit-learn's logistic regression, on real MELD text.

    python benchmarks/bench_linear.py [--turns 3] [--write]
    python benchmarks/bench_linear.py --against REV

MiniLM's layers 0, 2, 4, 6, pooled to their mean, side by side: 1,536 numbers a row, 9,989 rows of
train, of seven classes. CPU seconds on one thread of the training alone, from tensors or arrays in
memory to the chosen weights, dev scored as it goes:

default      `--head linear`: E of 256, dropout 0.5; not the same mathematics, see its docstring
same         `--head linear --layer-mix concat --dropout 0`: a linear map to the classes, through E
narrow       the same with `--width 16`
scikit-learn LogisticRegression() on standardised rows, float32, its default 100 iterations

Each is the mean dev weighted F1 of its seeds; scikit-learn's has no seeds.
"""

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import against
import numpy as np
import torch
from bench_extract import minilm
from bench_meld import ANNOTATIONS
from measure import in_turns, machine, markdown, write_section

from erc_features.encoders.base import Settings
from erc_features.extraction.extract import extract
from erc_features.preparation.prepare import prepare
from erc_fusion.config.config import FuseConfig, with_options
from erc_fusion.fuse import resolve
from erc_fusion.inputs.table import load_table
from erc_fusion.training.fit import Data, fit, make_data

LINES = {
    "default": {},
    "same": {"layer_mix": "concat", "dropout": 0.0},
    "narrow": {"layer_mix": "concat", "dropout": 0.0, "width": 16},
}


def make_features(to: Path) -> None:
    """Annotations to a feature file."""
    prepare(ANNOTATIONS, to / "data/meld")
    model = minilm()
    assert model is not None
    extract(to / "data/meld", features=to / "features", modality="text", encoder=model,
            name="minilm", settings=Settings("0,2,4,6"))  # fmt: skip


def erc_line(root: Path, data: Data, seeds: int, options: dict) -> tuple[float, float]:
    """CPU seconds, and the mean of the seeds' best dev weighted F1, percent."""
    config = with_options(FuseConfig(corpus="meld"), head="linear", device="cpu",
                          monitor="weighted_f1", seeds=tuple(range(seeds)),
                          features=str(root / "features"), **options)  # fmt: skip
    config, _ = resolve(config)
    began = time.process_time()
    trained, _ = fit(config, data)
    spent = time.process_time() - began
    return spent, 100 * statistics.fmean(trained.best("weighted_f1"))


def scikit_line(data: Data) -> tuple[float, float]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import f1_score

    x, dev = (np.concatenate([v.flatten(1).numpy() for v in split.x.values()], axis=1)
              for split in (data.train, data.dev))  # fmt: skip
    model = LogisticRegression()
    began = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that 100 iterations are too few
        model.fit(x, data.train.label.numpy())
    spent = time.process_time() - began
    found = f1_score(data.dev.label.numpy(), model.predict(dev), average="weighted")
    return spent, 100 * float(found)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="the table into RESULTS.md")
    parser.add_argument("--features", help="folder of an earlier run's features; else made")
    against.add_options(parser, turns=3)
    chosen = parser.parse_args(arguments)
    if chosen.against:
        against.run(__file__, arguments, chosen, write=chosen.write)
        return
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(chosen.features or folder)
        if not (root / "features").is_dir():
            make_features(root)
        measure(chosen, arguments, root)


def measure(chosen: argparse.Namespace, arguments: Sequence[str] | None, root: Path) -> None:
    config = with_options(FuseConfig(corpus="meld"), features=str(root / "features"))
    data = make_data(load_table(resolve(config)[1]), "cpu")
    scores: dict[str, float] = {}

    def line(name: str, run: Callable[[], tuple[float, float]]) -> Callable[[], float]:
        def measured() -> float:
            spent, scores[name] = run()
            return spent

        return measured

    lines = {"scikit-learn": line("scikit-learn", lambda: scikit_line(data))}
    for name, options in LINES.items():
        for seeds in (1, 10):
            label = f"{name}, {seeds} seed{'s' * (seeds > 1)}"
            lines[label] = line(label, lambda s=seeds, o=options: erc_line(root, data, s, o))
    if chosen.figures:
        del lines["scikit-learn"]
        against.print_figures({name: {"CPU s": run()} for name, run in lines.items()})
        return
    found = in_turns(lines, chosen.turns, lambda text: print(text, flush=True))
    middle = {name: statistics.median(values) for name, values in found.items()}
    peer = middle["scikit-learn"]
    rows = [(n, f"{s:.1f}", f"{s / peer:.2f}", f"{scores[n]:.1f}") for n, s in middle.items()]
    body = markdown([("", "CPU s", "times scikit-learn's", "dev weighted F1"), *rows])
    print(body)
    if chosen.write:
        write_section("bench_linear.py", arguments, machine(), body)


if __name__ == "__main__":
    main()
