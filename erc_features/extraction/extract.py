"""`erc extract`: a corpus -> feature files, once."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from json import dumps
from pathlib import Path
from time import perf_counter

import numpy as np

from erc_features.corpora.downmix import must_be_of_one_rule
from erc_features.corpora.manifest import Corpus
from erc_features.encoders import load_encoder, resolve
from erc_features.encoders.base import Settings
from erc_features.errors import ErcError, choose
from erc_features.extraction.engines import ENGINES
from erc_features.extraction.engines.batch import Batch
from erc_features.extraction.engines.cluster import leave
from erc_features.extraction.engines.local import run_local
from erc_features.extraction.items import loader
from erc_features.extraction.job import (
    Job,
    make_jobs,
    must_be_revision,
    plan_of,
    provenance_of,
    rows_of,
    to_retry,
)
from erc_features.extraction.probe import EncoderProbe, Expected, versions_of
from erc_features.extraction.progress import Meter, Work
from erc_features.store import PARTIAL, FeatureFile, FeatureWriter, Shape, Status, open_writer
from erc_features.threads import let_waiting_threads_sleep, our_cores
from erc_features.utterance import Modality


@dataclass(frozen=True)
class Extracted:
    """The summary of one feature file.

    Attributes:
        counts: rows ok, missing and failed.
        failures: reasons of failed rows, and how often each.
        notes: what the encoder left out, and of how many rows: "texts cut to 512 tokens".
        seconds: of work, without loading the encoder.
        rate: rows a second of those done now.
        shares: of the seconds, waiting for decoding, encoding, writing, and planning with all the
            rest; they add up to 1.
        size: of the file, in bytes.
        already: it was complete; nothing was done.
        unchecked: why the encoder's libraries were not compared with those that the file was begun
            with, or will not be; empty where the file keeps a probe.
    """

    path: Path
    modality: Modality
    shape: tuple[int, int, int]
    counts: Mapping[str, int]
    failures: Mapping[str, int]
    seconds: float
    rate: float
    shares: Mapping[str, float]
    size: int
    notes: Mapping[str, int]
    already: bool = False
    unchecked: str = ""


def extract(
    corpus: Corpus | Path | str,
    *,
    features: Path | str = "features",
    modality: str | None = None,
    encoder: str | None = None,
    name: str | None = None,
    settings: Settings | None = None,
    dtype: str = "float16",
    batch_size: int = 64,
    revision: str | None = None,
    allow_empty: bool = False,
    engine: str = "local",
    workers: int | None = None,
    retry: bool = False,
    overwrite: bool = False,
    check: Callable[[EncoderProbe], None] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    watch: Callable[[Work], None] | None = None,
) -> list[Extracted]:
    """Write `features/<corpus>/<modality>.<name>.h5` for one modality, or for all the corpus has.

    Interrupted, the same command goes on where it was. Complete, it does nothing.

    Args:
        encoder: `baseline`, a Hugging Face id, a local folder, `random:NAME`, or for pictures
            a model of open_clip; needs `modality` unless it is `baseline`. Each modality has a
            default.
        name: of the file, else the encoder's last component.
        retry: encode failed rows again, and missing ones that now have a medium.
        overwrite: replace a file that was made differently.
        revision: that the encoder's weights must have, where it matters.
        allow_empty: of a `modality` that no utterance has, every row is missing; else an error.
        engine: `local`, this process; or `ray`, see :mod:`erc_features.extraction.engines.ray`.
        workers: threads that decode, one a core by default; of `ray` its actors.
        check: called with the encoder's probe before anything is written; raises to refuse it.
        progress: called with (file stem, rows done, rows).
        watch: called with a :class:`.work.Work`: rows, and what the work is made of.

    Raises:
        ErcError: nothing to encode, an unknown choice, weights that can't be had, a file of
            other provenance, or whose encoder gives other numbers now; a full disk. Rows
            already written are kept.
    """
    let_waiting_threads_sleep()
    way = _Way(
        Path(features),
        choose("engine", engine, ENGINES),
        workers,
        retry,
        overwrite,
        check,
        progress,
        watch,
    )
    if workers is not None and workers < 1:
        raise ErcError("--workers is at least 1.")
    jobs = make_jobs(
        corpus, modality=modality, encoder=encoder, name=name, settings=settings, dtype=dtype,
        batch_size=batch_size, revision=revision, allow_empty=allow_empty,
    )  # fmt: skip
    try:
        return [_extract_one(job, way) for job in jobs]
    finally:
        if engine == "ray":
            leave()


@dataclass(frozen=True)
class _Way:
    """How a job is carried out; nothing of it decides a number."""

    features: Path
    engine: str
    workers: int | None
    retry: bool
    overwrite: bool
    check: Callable[[EncoderProbe], None] | None
    progress: Callable[[str, int, int], None] | None
    watch: Callable[[Work], None] | None


def _extract_one(job: Job, way: _Way) -> Extracted:
    where, job, workers = _settle(job, way)
    stem = job.stem
    path = way.features / job.corpus.name / f"{stem}.h5"
    if not way.overwrite:
        _check_downmix(path, job)
    encoder = load_encoder(job.encoder, job.modality, where)
    must_be_revision(job, encoder)
    probe = EncoderProbe(encoder, job.settings)
    if way.check:
        way.check(probe)
    device = encoder.device if way.engine == "local" else job.settings.device

    def again(status: np.ndarray) -> np.ndarray:
        return np.flatnonzero(to_retry(job, status))

    with open_writer(
        path,
        rows_of(job.corpus),
        job.corpus.labels,
        provenance_of(job, encoder),
        Shape(encoder.layers, encoder.dim, job.dtype),
        {"versions": dumps(versions_of(job.encoder)), "device": device, "engine": way.engine,
         "workers": workers},
        overwrite=way.overwrite,
        again=again if way.retry else None,
        probe=probe,
    ) as writer:  # fmt: skip
        if writer is None:
            return _summary(path, job.modality, already=True)
        began = perf_counter()
        waited = encoded = writing = 0.0
        done_before = int((writer.status != Status.PENDING).sum())
        _write_missing(writer, job)
        planned, measured = plan_of(job, encoder)
        batches = [rows for rows in planned if (writer.status[rows] == Status.PENDING).any()]
        total = len(job.corpus.utterances)
        meter = Meter(encoder, np.flatnonzero(job.has_medium), measured)
        work = meter.of(planned)
        work_done = work - meter.of(batches)
        if way.watch:
            way.watch(Work(stem, done_before, total, work_done, work))
        for batch in _run(batches, job, probe, way.engine, workers):
            ready = perf_counter()
            writer.write(batch.rows, batch.x, batch.status, batch.reasons)
            writing += perf_counter() - ready
            waited, encoded = waited + batch.waited, encoded + batch.encoded
            done = int((writer.status != Status.PENDING).sum())
            work_done += meter.cost(batch.rows)
            if way.progress:
                way.progress(stem, done, total)
            if way.watch:
                way.watch(Work(stem, done, total, work_done, work))
        writer.finish(measured.notes)
    seconds = perf_counter() - began
    rate = (total - done_before) / seconds
    shares = {"decoding": waited / seconds, "encoding": encoded / seconds,
              "writing": writing / seconds}  # fmt: skip
    shares["planning"] = max(0.0, 1 - sum(shares.values()))  # and starting workers
    found = _summary(path, job.modality, seconds=seconds, rate=rate, shares=shares)
    return replace(found, unchecked=probe.unchecked)


def _check_downmix(path: Path, job: Job) -> None:
    """Refuse to go on with sound that was mixed down otherwise, before an encoder is loaded."""
    for found in (path, path.with_name(f"{job.stem}{PARTIAL}")):
        if job.modality == Modality.AUDIO and found.exists():
            with FeatureFile(found) as file:
                must_be_of_one_rule(found, file.provenance, job.corpus)


def _settle(job: Job, way: _Way) -> tuple[Settings, Job, int]:
    """Decide device, precision and workers: the settings to load the encoder with here, the job
    and how many."""
    if way.engine == "ray":
        from erc_features.extraction.engines.ray import settle

        job, workers = settle(job, way.workers)
        # Here it only measures; the workers have the devices.
        return replace(job.settings, device="cpu"), job, workers
    settings = resolve(job.encoder, job.settings)
    return settings, replace(job, settings=settings), way.workers or our_cores()


def _run(
    batches: Sequence[np.ndarray], job: Job, probe: EncoderProbe, engine: str, workers: int
) -> Iterator[Batch]:
    if engine == "ray":
        from erc_features.extraction.engines.ray import run_ray

        expected = Expected(probe.encoder.revision, probe.make(), versions_of(job.encoder))
        return run_ray(batches, job, expected, workers)
    load = loader(job.corpus, job.modality, job.settings.history)
    return run_local(batches, load, probe.encoder, job.dtype, workers)


def _write_missing(writer: FeatureWriter, job: Job) -> None:
    rows = np.flatnonzero(~job.has_medium & (writer.status == Status.PENDING))
    if len(rows) == 0:
        return
    blank = "the text is blank"
    reasons = [
        blank if job.modality == Modality.TEXT
        else job.corpus.missing_reason(job.corpus.utterances[row], job.modality)
        for row in rows
    ]  # fmt: skip
    x = np.zeros((len(rows), writer.shape.layers, writer.shape.dim), np.float32)
    writer.write(rows, x, np.full(len(rows), Status.MISSING), reasons)


def _summary(
    path: Path,
    modality: Modality,
    *,
    seconds: float = 0.0,
    rate: float = 0.0,
    shares: Mapping[str, float] | None = None,
    already: bool = False,
) -> Extracted:
    with FeatureFile(path) as file:
        status, shape = file.status, file.shape
        failures = Counter(file.reason[status == Status.FAILED].tolist())
        notes = file.attributes.get("notes", {})
    counts = {s.name.lower(): int((status == s).sum()) for s in Status if s != Status.PENDING}
    return Extracted(
        path, modality, shape, counts, dict(failures.most_common()), seconds, rate, shares or {},
        path.stat().st_size, notes, already,
    )  # fmt: skip
