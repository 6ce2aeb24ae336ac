"""`erc fuse --head lowrank` against MMSA's `lmf`, of equal width, on tensors of MELD's size.

    pip install --no-deps --target lib MMSA==2.2.1
    python benchmarks/bench_lowrank.py --mmsa lib [--turns 3] [--write]

Both fuse text 384, visual 512 and audio 768 by rank 4 from hidden vectors of --width, in batches
of 256, for seven classes; CPU seconds of ten seeds for an epoch, dev scored once, on one thread.
MMSA's network is its own class, in a plain loop a seed with a DataLoader and Adam, as its trainer
has. It reads sequences of one frame, by an LSTM for text; its factors end in the classes, ours in
an embedding of the same width.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace

import bench_fuse
import torch
import torch.nn.functional as F
from bench_fuse import BATCH, CLASSES, FILES, LR, ROWS, Case, make_split, run_erc
from measure import in_turns, machine, markdown, write_section
from torch.utils.data import DataLoader, TensorDataset

from erc_fusion.model.fusion import Split


def run_mmsa(width: int, seeds: int, on_train: Split, on_dev: Split) -> None:
    from MMSA.models.singleTask.LMF import LMF

    args = SimpleNamespace(
        feature_dims=[FILES["text"], FILES["audio"], FILES["visual"]],
        hidden_dims=[2 * width, width, width], num_classes=CLASSES, train_mode="classification",
        rank=4, dropouts=[0.3] * 4,
    )  # fmt: skip
    for seed in range(seeds):
        torch.manual_seed(seed)
        model = LMF(args)
        optimizer = torch.optim.Adam(model.parameters(), lr=LR)
        for split, learns in ((on_train, True), (on_dev, False)):
            x = [split.x[name] for name in ("text", "audio", "visual")]
            model.train(learns)
            for *parts, label in DataLoader(TensorDataset(*x, split.label), BATCH, shuffle=learns):
                with torch.set_grad_enabled(learns):
                    loss = F.cross_entropy(model(*parts)["M"], label)
                if learns:
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mmsa", required=True, help="folder in which MMSA is installed")
    parser.add_argument("--width", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="the table into RESULTS.md")
    chosen = parser.parse_args(arguments)
    # The packages' own __init__ would import every model and what they need.
    for name in ("MMSA", "MMSA.models", "MMSA.models.singleTask"):
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__path__ = [str(Path(chosen.mmsa, *name.split(".")))]
    torch.set_num_threads(1)
    on_train, on_dev = (make_split(rows, "cpu") for rows in ROWS.values())
    rows = []
    for width in chosen.width:
        bench_fuse.WIDTH = width
        case = Case("lowrank", "lowrank", "none", chosen.seeds, 1, "cpu")

        def ours(case: Case = case) -> float:
            began = time.process_time()
            run_erc(case, on_train, on_dev)
            return time.process_time() - began

        def theirs(width: int = width) -> float:
            began = time.process_time()
            run_mmsa(width, chosen.seeds, on_train, on_dev)
            return time.process_time() - began

        found = in_turns({"erc": ours, "MMSA": theirs}, chosen.turns, print)
        mine, peer = (statistics.median(found[name]) for name in ("erc", "MMSA"))
        rows.append((str(width), f"{mine:.2f}", f"{peer:.2f}", f"{peer / mine:.2f}"))
    body = markdown([("width", "erc, CPU s", "MMSA lmf, CPU s", "MMSA / erc (2)"), *rows])
    print(body)
    if chosen.write:
        write_section("bench_lowrank.py", arguments, machine(), body)


if __name__ == "__main__":
    main()
