"""The parts of `gpu.sh` about `erc extract`: rows a second and the bound that holds, rows alone and
in batches, clips, and running out of memory."""

import shutil
import statistics
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from gpu_memory import lengthened, short_of_memory
from gpu_models import MODELS, Model
from gpu_trial import NOT_REACHED, Line, Part, Peak, Trial, absent, megabytes, rate, say, tidy
from measure import in_turns
from media import MELD, generated, make_clips, make_corpus

from erc_features.utterance import Modality

PRECISIONS = ("fp32", "bf16", "fp16")
ASKED, EQUAL = 0.9, 1e-5
_ALONE = 32  # rows
_HEAD = (
    "network", "precision", "rows", "end to end", "bare forward", "bare decode",
    f"of the bound ({ASKED})", f"minutes for {MELD:,} rows", "GPU MB", "alone and in a batch",
)  # fmt: skip


def parts() -> list[Part]:
    each = {model.modality: [] for model in MODELS}
    for model in MODELS:
        needs = model.needs
        if model.other and any(map(absent, needs)):
            needs = model.other.needs
        each[model.modality].append(
            Part(f"`erc extract`, {model.name}", _HEAD, needs, 25.0, partial(measure, model))
        )
    memory = Part("Out of memory on purpose", (
        "precision", "rows", "GPU MB needed", "GPU MB allowed", "times out of memory",
        "rows that failed", "largest difference", "largest value",
    ), MODELS[0].needs, 20.0, run_out)  # fmt: skip
    clips = Part("`erc extract` from clips, 1280 x 720 H.264 with AAC", (
        "network", "precision", "clips", "end to end", "bare decode", "of bare decode",
    ), ("av", "torch", "transformers", "h5py"), 45.0, from_clips)  # fmt: skip
    return [*each[Modality.TEXT], *each[Modality.AUDIO], *each[Modality.VISUAL], memory, clips]


def chosen(model: Model) -> Model:
    """The model, or the other one where a module is missing."""
    return model.other if model.other and any(map(absent, model.needs)) else model


def checkpoint(trial: Trial, model: Model) -> str:
    folder = trial.scratch / model.name.replace(" ", "-").replace("/", "-")
    return str(trial.once(model.name, lambda: model.make(folder, trial.small)))


def corpus_of(trial: Trial, model: Model) -> Any:
    """Made once for the models that share it."""
    sizes, modality = trial.sizes, model.modality
    count = {Modality.TEXT: sizes.texts, Modality.VISUAL: sizes.pictures,
             Modality.AUDIO: sizes.sounds}[modality]  # fmt: skip
    count = max(1, round(count * model.share))
    seconds = {"seconds": 0.4} if trial.small else {}
    root = trial.scratch / f"{modality}-{count}"
    return trial.once(
        f"{count:,} rows of {modality}",
        lambda: make_corpus(root, generated(count), modality, **seconds),
    )


def work_of(trial: Trial, model: Model, corpus: Any) -> Any:
    from lines import Work

    return Work(corpus, model.modality, checkpoint(trial, model), trial.device,
                trial.sizes.batch_size, trial.workers, trial.scratch / "h5")  # fmt: skip


def measure(model: Model, trial: Trial) -> Iterator[Line | str]:
    """A line for each precision."""
    found = chosen(model)
    if found is not model:
        yield f"measured with {found.name}: {'; '.join(filter(None, map(absent, model.needs)))}"
    work = work_of(trial, found, corpus_of(trial, found))
    longest = 12.0  # seconds that a precision took
    for precision in PRECISIONS:
        if not trial.has(1.3 * longest):
            yield f"{precision}: {NOT_REACHED}"
            continue
        began = time.perf_counter()
        yield measure_precision(trial, found, work, precision)
        longest = time.perf_counter() - began
        tidy(trial.cuda)
    rows = len(work.rows)
    if rows != MELD:
        yield f"minutes are extrapolated from {rows:,} rows, by rate and with one loading"


def measure_precision(trial: Trial, model: Model, work: Any, precision: str) -> Line:
    from lines import bare_decode, bare_forward, end_to_end, make_ready

    from erc_features.encoders import load_encoder

    shutil.rmtree(work.scratch, ignore_errors=True)
    encoder = load_encoder(work.encoder, work.modality, work.settings(precision))
    ready = make_ready(work, encoder)
    apart, largest = alone(work, encoder)
    calls: list[float] = []
    peaks: list[float | None] = []

    def end() -> float:
        with Peak(trial.cuda) as peak:
            found = end_to_end(work, precision, calls)
        peaks.append(peak.mb)
        return found

    lines = {
        "decode": partial(bare_decode, work), "forward": partial(bare_forward, ready), "end": end
    }  # fmt: skip
    turns: dict[str, list[float]] = {name: [] for name in lines}
    for _ in range(trial.sizes.turns):
        began = time.perf_counter()
        for name, (number,) in in_turns(lines, 1).items():
            turns[name].append(number)
        took = time.perf_counter() - began
        # Other parts want to be reached too, so a long turn is not repeated.
        if took > 8 or not trial.has(120):
            break
    middle = {name: statistics.median(rates) for name, rates in turns.items()}
    bound = min(("forward", "decode"), key=lambda name: middle[name])
    share = statistics.median(e / b for e, b in zip(turns["end"], turns[bound], strict=True))
    loading = statistics.median(calls) - len(work.rows) / middle["end"]
    minutes = (MELD / middle["end"] + loading) / 60
    cells = (
        model.name, precision, f"{len(work.rows):,}", *map(rate, (
            middle["end"], middle["forward"], middle["decode"])),
        f"{share:.2f} of {bound}", f"{minutes:.1f}", megabytes(peaks[-1]),
        f"{apart:.1e} of {largest:.2g}" if largest else "no batch of two",
    )  # fmt: skip
    return Line(cells, {
        "network": model.name, "precision": precision, "rows": len(work.rows), "turns": turns,
        "bound": bound, "of_bound": share, "minutes": minutes, "loading": loading,
        "peak_mb": peaks[-1], "alone": apart, "largest": largest,
    })  # fmt: skip


def alone(work: Any, encoder: Any) -> tuple[float, float]:
    """The largest difference between rows alone and the same rows in a batch, and the largest
    value: of the fullest batch of the plan, or of part of it."""
    load = work.load()
    batch = max(work.batches(encoder), key=len)[:_ALONE].tolist()
    items = [load(row) for row in batch]
    if len(items) < 2:  # sounds of lengths that all differ, in a trial
        return 0.0, 0.0
    together = encoder.encode(items)
    apart = np.concatenate([encoder.encode([item]) for item in items])
    return float(np.abs(together - apart).max()), float(np.abs(together).max())


def run_out(trial: Trial) -> Iterator[Line | str]:
    """Extract long texts with the memory that they need, and with less of it."""
    import torch
    from lines import Work

    from erc_features.extraction.extract import extract
    from erc_features.store import FeatureFile

    sizes, model = trial.sizes, MODELS[0]
    texts = lengthened(sizes.long_rows, sizes.long_words)
    corpus = make_corpus(trial.scratch / "long", texts, Modality.TEXT)
    work = Work(corpus, Modality.TEXT, checkpoint(trial, model), trial.device, sizes.batch_size,
                trial.workers, trial.scratch / "h5-long")  # fmt: skip

    def rows(precision: str) -> tuple[np.ndarray, int]:
        tidy(trial.cuda)
        (made,) = extract(
            corpus, features=work.scratch, modality="text", encoder=work.encoder, name="long",
            settings=work.settings(precision), batch_size=sizes.batch_size, dtype="float32",
            workers=trial.workers, overwrite=True,
        )  # fmt: skip
        with FeatureFile(made.path) as file:
            x = np.asarray(file.x())
        return x, made.counts["failed"]

    for precision in PRECISIONS:
        if not trial.has(15):
            yield f"{precision}: {NOT_REACHED}"
            continue
        with Peak(trial.cuda) as whole:
            expected, _ = rows(precision)
        for share in (0.6, 0.45, 0.75, 0.3):
            tidy(trial.cuda)
            found, failed = expected[:0], len(texts)
            with (
                short_of_memory(trial.cuda, whole.mb, share, sizes.batch_size // 2) as short,
                suppress(torch.OutOfMemoryError),  # the weights alone are too much
            ):
                found, failed = rows(precision)
            if short.times and not failed:
                break
            say(f"  {precision}, {share} of the memory: out of it {short.times} times, "
                f"{failed} rows failed")  # fmt: skip
        else:
            yield f"{precision}: no share of the memory was too little for a batch alone"
            continue
        apart, largest = float(np.abs(found - expected).max()), float(np.abs(expected).max())
        yield Line(
            (precision, f"{len(found):,}", megabytes(whole.mb), megabytes(short.mb),
             str(short.times), str(failed), f"{apart:.1e}", f"{largest:.2g}"),
            {"precision": precision, "rows": len(found), "needed_mb": whole.mb,
             "allowed_mb": short.mb, "times": short.times, "failed": failed, "difference": apart,
             "largest": largest},
        )  # fmt: skip
    if not trial.cuda:
        yield (
            "no GPU: batches above half of --batch-size raised torch.OutOfMemoryError in the "
            "embedding layer"
        )
    yield f"asked: equal rows, up to {EQUAL:.0e} in fp32"


def from_clips(trial: Trial) -> Iterator[Line | str]:
    """Pictures and sound straight from clips, as from a corpus whose rows name them."""
    from lines import bare_decode, end_to_end

    small = trial.small
    corpus = make_clips(
        trial.scratch / "clips", generated(trial.sizes.clips),
        seconds=0.5 if small else 3.6, size=(160, 90) if small else (1280, 720),
    )  # fmt: skip
    for model in map(chosen, MODELS):
        if model.modality == Modality.TEXT or model.name == "Whisper-base":
            continue
        if not trial.has(20) or any(map(absent, model.needs)):
            yield f"{model.name}: {NOT_REACHED if not trial.has(20) else 'a module is missing'}"
            continue
        work = replace(work_of(trial, model, corpus), scratch=trial.scratch / "h5-clips")
        decode, end = bare_decode(work), end_to_end(work, "bf16", [])
        yield Line(
            (model.name, "bf16", f"{len(work.rows):,}", rate(end), rate(decode),
             f"{end / decode:.2f}"),
            {"network": model.name, "precision": "bf16", "rows": len(work.rows), "end": end,
             "decode": decode},
        )  # fmt: skip
    yield "one turn; a few clips under many names, each decoded anew"
