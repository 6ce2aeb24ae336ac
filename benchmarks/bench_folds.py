"""`erc fuse --folds` of ten folds and five seeds as one stack, against fifty plain loops.

    python benchmarks/bench_folds.py             # about ten minutes on a busy core
    python benchmarks/bench_folds.py --memory    # resident sets of one fold, and of ten
    python benchmarks/bench_folds.py --against HEAD~20    # line `erc` alone, with both builds

10,000 rows x 1,152, one layer, float16 as stored, noise and a class; head mlp, default settings
(width 256, batches of 256), no early stopping; dev is scored each epoch. Lines, in turns, CPU
seconds of one thread, for all folds, seeds and epochs:

erc            standardising and the Trainer, all folds and seeds in one stack
dataloader     a loop a fold and seed: nn modules, a DataLoader over standardised rows
plain          the same, its batches cut out of one tensor
limit          the operations of that, over the rate of a large matrix product measured here

erc should be three times as fast as the loops with a DataLoader, and twice as fast as those that
cut their batches; ten folds should take at most 1.5 times the memory of one. Every line prints the
mean of its members' best dev accuracies, which should agree.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import against
import numpy as np
import torch
import torch.nn.functional as F
from bench_fuse import product_rate, wait
from measure import in_turns, machine, markdown, write_section
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.flop_counter import FlopCounterMode

from erc_fusion.config.config import FuseConfig, ModelConfig, TrainingConfig
from erc_fusion.inputs.folds import Fold, make_folds
from erc_fusion.inputs.sources import Source
from erc_fusion.inputs.standardise import fit_standardiser
from erc_fusion.inputs.table import FeatureTable
from erc_fusion.training.fit import fit_folds, make_folded_data

ROWS, DIM, CLASSES, FOLDS, SEEDS = 10_000, 1_152, 7, 10, 5
STEM = "text.noise"


def make_table(count: int = ROWS, dim: int = DIM) -> FeatureTable:
    """Dialogues of ten rows."""
    random = np.random.default_rng(0)
    label = random.integers(0, CLASSES, count)
    of_class = 0.12 * random.standard_normal((CLASSES, dim), np.float32)
    x = np.empty((count, 1, dim), np.float16)
    for rows in np.array_split(np.arange(count), 20):  # so that its making needs little memory
        x[rows, 0] = random.standard_normal((len(rows), dim), np.float32) + of_class[label[rows]]
    number = np.arange(count)
    dialogue, sequence = number // 10, number % 10
    key = np.array([f"train/d-{d}-seq-{s}" for d, s in zip(dialogue, sequence, strict=True)])
    nobody = np.full(count, "")
    source = Source(
        STEM, Path("noise.h5"), "noise", "", "text", "noise", "", {}, tuple("abcdefg"), x.shape,
        "float16", {"ok": count}, {},
    )  # fmt: skip
    return FeatureTable(
        (source,), tuple("abcdefg"), key, np.full(count, "train"), dialogue, sequence, nobody,
        nobody, label, {STEM: x}, np.ones((count, 1), bool),
    )  # fmt: skip


def settings(epochs: int, seeds: int) -> FuseConfig:
    return FuseConfig(
        seeds=tuple(range(seeds)),
        training=TrainingConfig(epochs=epochs, patience=epochs),
        loss=replace(FuseConfig().loss, contrastive="none"),
    )


def clock(device: str) -> float:
    """CPU seconds; with a GPU, seconds, when it has done all that it was given."""
    wait(device)
    return time.process_time() if device == "cpu" else time.perf_counter()


def run_erc(
    table: FeatureTable, folds: Sequence[Fold], epochs: int, seeds: int, device: str = "cpu"
) -> float:
    """CPU seconds of all folds and seeds at once; seconds on a GPU."""
    began = clock(device)
    data = make_folded_data(table, folds, device)
    trained, _ = fit_folds(settings(epochs, seeds), data)
    took = clock(device) - began
    assert set(trained.epochs) == {epochs}
    say("erc", trained.best("accuracy"))
    return took


class Mlp(nn.Module):
    """The head `mlp` and the classifier, in plain modules."""

    def __init__(self, config: ModelConfig, dim: int = DIM) -> None:
        super().__init__()
        width = config.width
        self.project, self.norm = nn.Linear(dim, width), nn.LayerNorm(width)
        self.hidden, self.classifier = nn.Linear(width, width), nn.Linear(width, CLASSES)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        first = self.dropout(F.gelu(self.norm(self.project(x))))
        return self.classifier(self.dropout(F.gelu(self.hidden(first))))


def run_plain(
    table: FeatureTable, folds: Sequence[Fold], epochs: int, seeds: int, *, loader: bool,
    device: str = "cpu",
) -> float:  # fmt: skip
    """CPU seconds of a loop a fold and seed; seconds on a GPU. A fold's rows are standardised
    once."""
    began, best = clock(device), []
    for fold in folds:
        inputs, train, dev = fit_standardiser(table, fold.train), [], []
        for rows, into in ((fold.train, train), (fold.dev, dev)):
            x = inputs.apply(STEM, table.x[STEM][rows], table.present[rows, 0])[:, 0]
            into += [torch.from_numpy(x).to(device), torch.from_numpy(table.label[rows]).to(device)]
        best += [one_loop(seed, train, dev, epochs, loader) for seed in range(seeds)]
    took = clock(device) - began
    say("dataloader" if loader else "plain", best)
    return took


def one_loop(
    seed: int, train: Sequence[Tensor], dev: Sequence[Tensor], epochs: int, loader: bool
) -> float:
    """The best dev accuracy of a model."""
    torch.manual_seed(seed)
    config, best = settings(epochs, 1), -1.0
    size = config.training.batch_size
    model = Mlp(config.model, train[0].shape[1]).to(train[0].device)
    optimizer = torch.optim.AdamW(
        model.parameters(), config.training.lr, weight_decay=config.training.weight_decay
    )
    learn, choose = (DataLoader(TensorDataset(*rows), size, shuffle=shuffle)
                     for rows, shuffle in ((train, True), (dev, False)))  # fmt: skip
    for _ in range(epochs):
        model.train()
        cut = torch.randperm(len(train[0])).to(train[0].device).split(size)
        for x, label in learn if loader else ((train[0][i], train[1][i]) for i in cut):
            loss = F.cross_entropy(model(x), label)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), config.training.clip)
            optimizer.step()
        model.eval()
        with torch.inference_mode():
            batches = choose if loader else zip(*(part.split(512) for part in dev), strict=True)
            right = sum(int((model(x).argmax(-1) == label).sum()) for x, label in batches)
        if right > best:
            best = right
            _ = {name: value.clone() for name, value in model.state_dict().items()}
    return best / len(dev[0])


def operations(folds: Sequence[Fold], epochs: int, seeds: int) -> float:
    """Floating-point operations of matrix products, for all folds, seeds and epochs."""
    model, total = Mlp(ModelConfig()), 0.0
    for learns in (True, False):
        with FlopCounterMode(display=False) as counter:
            found = model(torch.zeros(100, DIM))
            if learns:
                found.sum().backward()
        rows = sum(len(fold.train if learns else fold.dev) for fold in folds)
        total += counter.get_total_flops() / 100 * rows
    return total * epochs * seeds


def say(line: str, best: Sequence[float]) -> None:
    print(f"{line}: mean of best dev accuracies {statistics.mean(best):.4f}", flush=True)


def memory(folds: int, seeds: int) -> float:
    """The largest resident set in MB of a process that trains `folds` folds, two epochs."""
    command = [sys.executable, __file__, "--one", str(folds), "--seeds", str(seeds)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.splitlines()[-1])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=("erc", "dataloader", "plain", "limit"))
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--write", action="store_true", help="the table into RESULTS.md")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    against.add_options(parser, turns=3)
    chosen = parser.parse_args(arguments)
    if chosen.against:
        against.run(__file__, arguments, chosen, write=chosen.write)
        return
    torch.set_num_threads(1)
    if chosen.memory:
        found = {count: memory(count, chosen.seeds) for count in (0, 1, FOLDS)}
        print(f"MB resident: before training {found[0]:.0f}, one fold {found[1]:.0f}, {FOLDS} "
              f"folds {found[FOLDS]:.0f}, {found[FOLDS] / found[1]:.2f} times")  # fmt: skip
        return
    table = make_table()
    folds = make_folds(table, f"dialogue:{FOLDS}")
    if chosen.one is not None:
        if chosen.one:
            run_erc(table, folds[: chosen.one], 2, chosen.seeds)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)
        return
    work = (table, folds, chosen.epochs, chosen.seeds)
    if chosen.figures:
        name = f"{FOLDS} folds x {chosen.seeds} seeds"
        against.print_figures({name: against.spent(lambda: run_erc(*work))})
        return
    where = machine()
    lines: dict[str, Callable[[], float]] = {
        "erc": lambda: run_erc(*work),
        "dataloader": lambda: run_plain(*work, loader=True),
        "plain": lambda: run_plain(*work, loader=False),
        "limit": lambda: operations(*work[1:]) / product_rate("cpu"),
    }
    lines = {name: line for name, line in lines.items() if name in (chosen.only or lines)}
    found = in_turns(lines, chosen.turns, lambda line: print(line, flush=True))
    middle = {name: statistics.median(values) for name, values in found.items()}
    print(json.dumps({"machine": where, "found": found, "median": middle}))
    if chosen.only:
        return
    head = ("", "erc", "50 loops, DataLoader", "50 loops, plain", "limit",
            "times DataLoader's (3)", "times plain's (2)", "of the limit")  # fmt: skip
    line = (
        f"{FOLDS} folds x {chosen.seeds} seeds, {chosen.epochs} epochs",
        *(f"{middle[name]:.1f} s" for name in lines),
        *(f"{middle[name] / middle['erc']:.2f}" for name in ("dataloader", "plain")),
        f"{middle['erc'] / middle['limit']:.2f}",
    )
    body = markdown([head, line])
    print(body)
    if chosen.write:
        write_section("bench_folds.py", arguments, where, body)


if __name__ == "__main__":
    main()
