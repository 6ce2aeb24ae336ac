"""`erc fuse`, ten seeds side by side, against ten plain loops and the floating-point limit.

    python benchmarks/bench_fuse.py                  # about five minutes on 2 cores
    python benchmarks/bench_fuse.py --device cuda
    python benchmarks/bench_fuse.py --against HEAD~20    # line `erc` alone, with both builds

Tensors of MELD's size: 9,989 + 1,109 rows in dialogues of 1 to 24, text 384, visual 512, audio
768 wide. Lines, in turns, medians, in seconds for all seeds and epochs, dev scored every epoch:

erc            the Trainer, all seeds in one forward
dataloader     a loop a seed, as papers' repositories have it: nn modules, a DataLoader
plain          the same, its batches cut out of one tensor on the device
limit          the operations of that, over the rate of a large matrix product measured here

erc should be 1.5 times as fast as ten plain loops on a CPU (with a GRU not slower), 8 times on a
GPU, and the mlp within twice the limit. The last line printed is all of it as JSON.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import against
import torch
import torch.nn.functional as F
from measure import in_turns, machine, markdown, write_section
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.flop_counter import FlopCounterMode

from erc_fusion.config.config import LossConfig, ModelConfig, TrainingConfig
from erc_fusion.model.fusion import Split, build_model
from erc_fusion.training.losses import make_objective
from erc_fusion.training.parts import Part
from erc_fusion.training.train import train

FILES = {"text": 384, "visual": 512, "audio": 768}
ROWS = {"train": 9_989, "dev": 1_109}
CLASSES, WIDTH, DROPOUT, BATCH, LR = 7, 256, 0.5, 256, 1e-3
HEADS, CONTEXTS = ("mlp", "attention"), ("gru", "transformer")
CASES = {h: (h, "none") for h in HEADS} | {f"mlp+{c}": ("mlp", c) for c in CONTEXTS}


@dataclass(frozen=True)
class Case:
    """What is trained, and how much of it."""

    name: str
    head: str
    context: str
    seeds: int
    epochs: int
    device: str


def make_split(rows: int, device: str) -> Split:
    """Noise, and dialogues of lengths like MELD's."""
    source = torch.Generator().manual_seed(rows)
    lengths = torch.randint(1, 20, (rows,), generator=source)
    lengths[::25] = 24
    dialogue = torch.repeat_interleave(torch.arange(rows), lengths)[:rows]
    return Split(
        {n: torch.randn(rows, 1, d, generator=source).to(device) for n, d in FILES.items()},
        torch.ones(rows, len(FILES), dtype=torch.bool, device=device),
        torch.randint(0, CLASSES, (rows,), generator=source).to(device),
        dialogue.to(device),
    )


def run_erc(case: Case, on_train: Split, on_dev: Split) -> float:
    """Seconds of the Trainer, all seeds at once."""
    seeds = tuple(range(case.seeds))
    config = ModelConfig(case.head, case.context, speakers=False, width=WIDTH, dropout=DROPOUT,
                         modality_dropout=0.0)  # fmt: skip
    counts = torch.bincount(on_train.label, minlength=CLASSES)
    objective = make_objective(LossConfig(contrastive="none"), counts)
    training = TrainingConfig(lr=LR, batch_size=BATCH, epochs=case.epochs, patience=case.epochs)
    wait(case.device)
    began = time.perf_counter()
    files = {name: (1, dim) for name, dim in FILES.items()}
    model = build_model(config, files, CLASSES, seeds, case.device)
    train(model, seeds, [Part(on_train, on_dev, objective)], training, "accuracy")
    wait(case.device)
    return time.perf_counter() - began


class Mlp(nn.Module):
    """The head `mlp` in plain modules."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.ModuleList(nn.Linear(dim, WIDTH) for dim in FILES.values())
        self.norm, self.hidden = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x: Sequence[Tensor]) -> Tensor:
        whole = sum(project(part) for project, part in zip(self.project, x, strict=True))
        return self.dropout(F.gelu(self.hidden(self.dropout(F.gelu(self.norm(whole))))))


class Attention(nn.Module):
    """The head `attention` in plain modules."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.ModuleList(nn.Linear(dim, WIDTH) for dim in FILES.values())
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(4))
        self.among = nn.MultiheadAttention(WIDTH, 4, batch_first=True)
        self.query, self.value = nn.Linear(WIDTH, 4, False), nn.Linear(WIDTH, WIDTH, False)
        self.hidden, self.dropout = nn.Linear(WIDTH, WIDTH), nn.Dropout(DROPOUT)

    def forward(self, x: Sequence[Tensor]) -> Tensor:
        parts = zip(self.project, x, strict=True)
        files = [self.dropout(self.norms[0](project(part))) for project, part in parts]
        tokens = torch.stack(files, dim=-2)  # (B, M, E)
        normal = self.norms[1](tokens)
        tokens = tokens + self.among(normal, normal, normal, need_weights=False)[0]
        normal = self.norms[2](tokens)
        shares = self.query(normal).softmax(-2)[..., None]  # (B, M, H, 1)
        read = (shares * self.value(normal).unflatten(-1, (4, -1))).sum(-3).flatten(-2)
        return self.dropout(F.gelu(self.hidden(self.norms[3](read))))


class Plain(nn.Module):
    """Head, perhaps a GRU both ways or a transformer over each dialogue, and classifier."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.head = Mlp() if case.head == "mlp" else Attention()
        self.gru = None
        if case.context == "gru":
            self.gru = nn.GRU(WIDTH, WIDTH // 2, batch_first=True, bidirectional=True)
            self.out, self.norm = nn.Linear(WIDTH, WIDTH), nn.LayerNorm(WIDTH)
            self.dropout = nn.Dropout(DROPOUT)
        self.transformer = None
        if case.context == "transformer":
            layer = nn.TransformerEncoderLayer(WIDTH, 4, 2 * WIDTH, DROPOUT, batch_first=True,
                                               norm_first=True)  # fmt: skip
            self.transformer = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.classifier = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Sequence[Tensor], lengths: Sequence[int]) -> Tensor:
        found = self.head(x)  # (B, E), dialogue after dialogue
        if self.gru is not None:
            packed = nn.utils.rnn.pack_sequence(found.split(list(lengths)), enforce_sorted=False)
            states = nn.utils.rnn.unpack_sequence(self.gru(packed)[0])
            seen = self.out(self.dropout(torch.cat(states)))
            found = self.norm(found + self.dropout(seen))
        if self.transformer is not None:
            parts = nn.utils.rnn.pad_sequence(found.split(list(lengths)), batch_first=True)
            past = torch.arange(parts.shape[1]) >= torch.tensor(list(lengths))[:, None]
            seen = self.transformer(parts, src_key_padding_mask=past.to(parts.device))
            found = torch.cat([row[:n] for row, n in zip(seen, lengths, strict=True)])
        return self.classifier(found)


def run_plain(case: Case, on_train: Split, on_dev: Split, loader: bool) -> float:
    """Seconds of a loop a seed."""
    wait(case.device)
    began = time.perf_counter()
    for seed in range(case.seeds):
        torch.manual_seed(seed)
        model = Plain(case).to(case.device)
        optimizer = torch.optim.AdamW(model.parameters(), lr=LR)
        best = -1.0
        for _ in range(case.epochs):
            model.train()
            for x, label, lengths in batches(case, on_train, loader, shuffle=True):
                loss = F.cross_entropy(model(x, lengths), label)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
            model.eval()
            with torch.inference_mode():
                right = sum(
                    (model(x, lengths).argmax(-1) == label).sum()
                    for x, label, lengths in batches(case, on_dev, loader, shuffle=False)
                )
            if float(right) > best:
                best = float(right)
                _ = {name: value.clone() for name, value in model.state_dict().items()}
    wait(case.device)
    return time.perf_counter() - began


def batches(
    case: Case, split: Split, loader: bool, *, shuffle: bool
) -> Iterator[tuple[list[Tensor], Tensor, list[int]]]:
    """Tensors of the files, labels, and the lengths of the dialogues in the batch."""
    x = [values[:, 0] for values in split.x.values()]
    if case.context == "none" and loader:
        data = TensorDataset(*(part.cpu() for part in x), split.label.cpu())
        for *parts, label in DataLoader(data, BATCH, shuffle=shuffle):
            yield [part.to(case.device) for part in parts], label.to(case.device), []
        return
    _, lengths = split.dialogue.cpu().unique_consecutive(return_counts=True)
    whole = case.context != "none"
    starts = lengths.cumsum(0) - lengths
    count = len(lengths) if whole else len(split)
    each = max(1, BATCH * len(lengths) // len(split)) if whole else BATCH
    order = torch.randperm(count) if shuffle else torch.arange(count)
    if loader:  # a DataLoader over dialogues, whose collate puts them together
        cut = [([part[s : s + n].cpu() for part in x], split.label[s : s + n].cpu())
               for s, n in zip(starts.tolist(), lengths.tolist(), strict=True)]  # fmt: skip
        for some in DataLoader(cut, each, shuffle=shuffle, collate_fn=list):
            parts = [torch.cat(files).to(case.device) for files in zip(*(p for p, _ in some),
                                                                       strict=True)]  # fmt: skip
            label = torch.cat([label for _, label in some]).to(case.device)
            yield parts, label, [len(label) for _, label in some]
        return
    for chosen in order.split(each):
        if whole:
            sizes = lengths[chosen].tolist()
            rows = torch.cat([torch.arange(s, s + n) for s, n in
                              zip(starts[chosen].tolist(), sizes, strict=True)])  # fmt: skip
        else:
            rows, sizes = chosen, []
        rows = rows.to(case.device)
        yield [part[rows] for part in x], split.label[rows], sizes


def operations(case: Case, on_train: Split, on_dev: Split) -> float:
    """Floating-point operations of matrix products, for all seeds and epochs."""
    model = Plain(case).to(case.device)
    total = 0
    for split, learns in ((on_train, True), (on_dev, False)):
        x, label, lengths = next(batches(case, split, False, shuffle=False))
        sizes = lengths or [len(label)]  # dialogue by dialogue: padding is no need
        with FlopCounterMode(display=False) as counter:
            for *parts, truth in zip(*(part.split(sizes) for part in (*x, label)), strict=True):
                found = model(parts, [len(truth)])
                if learns:
                    F.cross_entropy(found, truth).backward()
        total += counter.get_total_flops() * len(split) / len(label)
    return total * case.seeds * case.epochs


def product_rate(device: str) -> float:
    """Operations a second of a float32 product of 2,048 x 2,048; the best of ten."""
    a, b = (torch.randn(2048, 2048, device=device) for _ in range(2))
    best = 0.0
    for _ in range(10):
        wait(device)
        began = time.perf_counter()
        a @ b
        wait(device)
        best = max(best, 2 * 2048**3 / (time.perf_counter() - began))
    return best


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def measure_case(case: Case, turns: int) -> dict[str, float | str]:
    """Medians of a case, and ratios."""
    on_train, on_dev = (make_split(rows, case.device) for rows in ROWS.values())
    done = operations(case, on_train, on_dev)
    lines: dict[str, Callable[[], float]] = {
        "erc": lambda: run_erc(case, on_train, on_dev),
        "dataloader": lambda: run_plain(case, on_train, on_dev, True),
        "plain": lambda: run_plain(case, on_train, on_dev, False),
        "limit": lambda: done / product_rate(case.device),
    }
    found = in_turns(lines, turns, lambda line: print(f"{case.name}: {line}", flush=True))
    middle = {name: statistics.median(values) for name, values in found.items()}
    return {
        "case": case.name, **middle,
        "against_dataloader": middle["dataloader"] / middle["erc"],
        "against_plain": middle["plain"] / middle["erc"],
        "of_limit": middle["erc"] / middle["limit"],
    }  # fmt: skip


def figures(cases: Sequence[Case]) -> against.Figures:
    """Wall and CPU seconds of `erc` alone, for `--against`."""
    found = {}
    for case in cases:
        on_train, on_dev = (make_split(rows, case.device) for rows in ROWS.values())
        run_erc(replace(case, seeds=1, epochs=1), on_train, on_dev)  # what is done only once
        found[case.name] = against.spent(lambda c=case, t=on_train, d=on_dev: run_erc(c, t, d))
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--case", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="the table into RESULTS.md")
    against.add_options(parser)
    chosen = parser.parse_args(arguments)
    if chosen.against:
        against.run(__file__, arguments, chosen, write=chosen.write)
        return
    cases = [
        Case(name, *CASES[name], chosen.seeds, chosen.epochs, chosen.device) for name in chosen.case
    ]
    if chosen.figures:
        against.print_figures(figures(cases))
        return
    where = machine()
    results = [measure_case(case, chosen.turns) for case in cases]
    head = ("", "erc", "ten loops, DataLoader", "ten loops, plain", "limit",
            "times DataLoader's", "times plain's", "of the limit")  # fmt: skip
    lines = [
        (str(r["case"]), *(f"{r[n]:.2f} s" for n in ("erc", "dataloader", "plain", "limit")),
         *(f"{r[n]:.2f}" for n in ("against_dataloader", "against_plain", "of_limit")))
        for r in results
    ]  # fmt: skip
    body = markdown([head, *lines])
    print(body)
    if chosen.write:
        write_section("bench_fuse.py", arguments, where, body)
    print(json.dumps({"machine": where, "results": results}))


if __name__ == "__main__":
    main()
