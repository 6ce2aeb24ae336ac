"""What an extraction is measured against. Each line is a function that gives utterances/s."""

import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from erc_features.corpora.manifest import Corpus
from erc_features.encoders import load_encoder
from erc_features.encoders.base import Encoder, Settings, measure
from erc_features.extraction.batch_plan import plan
from erc_features.extraction.extract import extract
from erc_features.extraction.items import known, loader
from erc_features.utterance import Modality

_PEER = "sentence_transformers"
_PEER_BATCH = 32  # its default


@dataclass(frozen=True)
class Work:
    """What is encoded, with what, and how.

    Attributes:
        scratch: a folder for feature files.
    """

    corpus: Corpus
    modality: Modality
    encoder: str
    device: str
    batch_size: int
    workers: int
    scratch: Path

    @property
    def rows(self) -> np.ndarray:
        """Of utterances that have this medium."""
        return np.flatnonzero([bool(u.cell(self.modality)) for u in self.corpus.utterances])

    def batches(self, encoder: Encoder) -> list[np.ndarray]:
        """The plan that `extract` makes."""
        found = measure(encoder, known(self.corpus, self.modality, self.rows, Settings()))
        return plan(
            self.rows, found.sizes, groups=found.groups, batch_size=self.batch_size,
            cost=encoder.cost, cap=encoder.cap,
        )  # fmt: skip

    def load(self) -> Callable[[int], Any]:
        return loader(self.corpus, self.modality, Settings())

    def settings(self, precision: str) -> Settings:
        return Settings(precision=precision, device=self.device)


@dataclass(frozen=True)
class Ready:
    """Batches as the network takes them, on its device: `calls` holds arguments of it."""

    network: torch.nn.Module
    calls: list[tuple[tuple, dict[str, Any]]]
    rows: int
    device: str


def end_to_end(work: Work, precision: str, calls: list[float]) -> float:
    """`extract` from corpus to finished file, but for the loading of the encoder.

    The seconds of the whole call, with the loading, are appended to `calls`.
    """
    began = perf_counter()
    (made,) = extract(
        work.corpus.root, features=work.scratch, modality=work.modality, encoder=work.encoder,
        name="bench", settings=work.settings(precision), batch_size=work.batch_size,
        workers=work.workers, overwrite=True,
    )  # fmt: skip
    calls.append(perf_counter() - began)
    if made.counts["ok"] != len(work.rows):
        raise SystemExit(f"{dict(made.counts)}, not all ok: {dict(made.failures)}")
    made.path.unlink()
    return made.counts["ok"] / made.seconds


def make_ready(work: Work, encoder: Any) -> Ready:
    """Run the encoder once and keep what its network was called with.

    Where all batches would fill half the memory that is free, every second, third, … is kept.
    """
    network = encoder.model
    calls: list[tuple[tuple, dict[str, Any]]] = []
    load, batches = work.load(), work.batches(encoder)
    rows = 0

    def keep(_: torch.nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        calls.append((args, kwargs))

    hook = network.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        with ThreadPoolExecutor(work.workers) as threads:
            step = 1
            for number, batch in enumerate(batches):
                if number % step == 0:
                    encoder.encode(list(threads.map(load, batch.tolist())))
                    rows += len(batch)
                if number == 0:  # the longest
                    size = sum(tensor.nbytes for tensor in _tensors(calls))
                    step = 1 + int(2 * size * len(batches) // _free(work.device))
    finally:
        hook.remove()
    return Ready(network, calls, rows, work.device)


@torch.inference_mode()
def bare_forward(ready: Ready) -> float:
    """The network alone."""
    _wait(ready.device)
    began = perf_counter()
    for args, kwargs in ready.calls:
        ready.network(*args, **kwargs)
    _wait(ready.device)
    return ready.rows / (perf_counter() - began)


def bare_decode(work: Work) -> float:
    """The loader alone, over all rows, in as many threads. Of texts it gives what it has."""
    rows, load = work.rows.tolist(), work.load()

    def decode(some: Sequence[int]) -> None:
        for row in some:
            load(row)

    began = perf_counter()
    with ThreadPoolExecutor(work.workers) as threads:
        list(threads.map(decode, [rows[i :: work.workers * 8] for i in range(work.workers * 8)]))
    return len(rows) / (perf_counter() - began)


def one_by_one(work: Work, encoder: Encoder, count: int) -> float:
    """The usual script: decode one, encode it, append; over `count` rows spread evenly."""
    rows = work.rows[np.linspace(0, len(work.rows) - 1, min(count, len(work.rows))).astype(int)]
    load = work.load()
    began = perf_counter()
    found = []
    for row in rows.tolist():
        found.append(encoder.encode([load(row)])[0])
    return len(found) / (perf_counter() - began)


def load_peer(work: Work) -> Callable[[], float] | None:
    """`encode` of sentence-transformers with the same weights and its own defaults (float32,
    batches of 32); None for what it can't encode, and where it is not installed."""
    if work.modality != Modality.TEXT or not Path(work.encoder).is_dir() or not find_spec(_PEER):
        return None
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(work.encoder, device=work.device)
    texts = [work.corpus.utterances[row].x_text for row in work.rows]
    model.encode(texts[:_PEER_BATCH])  # what is done only once

    def run() -> float:
        began = perf_counter()
        model.encode(texts, batch_size=_PEER_BATCH, show_progress_bar=False)
        return len(texts) / (perf_counter() - began)

    return run


def lines_of(
    work: Work, precisions: Sequence[str], few: int, calls: dict[str, list[float]], peer: bool
) -> dict[str, Callable[[], float]]:
    """All lines of a modality by name: "end fp32", "forward fp32", "loop fp32", "decode", "peer".

    `few` rows go through the loop; `calls` takes the seconds of whole calls, by precision.
    """
    shutil.rmtree(work.scratch, ignore_errors=True)
    lines: dict[str, Callable[[], float]] = {"decode": partial(bare_decode, work)}
    for precision in precisions:
        encoder = load_encoder(work.encoder, work.modality, work.settings(precision))
        lines[f"forward {precision}"] = partial(bare_forward, make_ready(work, encoder))
        lines[f"end {precision}"] = partial(end_to_end, work, precision, calls[precision])
        lines[f"loop {precision}"] = partial(one_by_one, work, encoder, few)
    run = load_peer(work) if peer else None
    return lines | ({"peer": run} if run else {})


def _tensors(calls: Sequence[tuple[tuple, dict[str, Any]]]) -> list[torch.Tensor]:
    values = [value for args, kwargs in calls for value in (*args, *kwargs.values())]
    return [value for value in values if isinstance(value, torch.Tensor)]


def _free(device: str) -> float:
    if device.startswith("cuda"):
        return torch.cuda.mem_get_info()[0]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
