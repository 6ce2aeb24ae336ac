"""`erc extract`: encode a corpus into feature files, once."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from json import dumps
from pathlib import Path
from shutil import disk_usage
from time import perf_counter
from typing import TYPE_CHECKING, Unpack

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
from erc_features.extraction.items import loader, recordings
from erc_features.extraction.job import Job, Options, make_jobs, rows_of
from erc_features.extraction.large import warn_of_size
from erc_features.extraction.probe import EncoderProbe, Expected, versions_of
from erc_features.extraction.progress import Meter
from erc_features.store import FeatureFile, FeatureWriter, Shape, Status, open_writer
from erc_features.terminal import Work
from erc_features.threads import let_waiting_threads_sleep, our_cores
from erc_features.utterance import Modality

if TYPE_CHECKING:  # PyAV: not for texts
    from erc_features.corpora.recordings import Recordings


@dataclass(frozen=True)
class Extracted:
    """The summary of one feature file.

    Attributes:
        counts: the number of ok, missing and failed rows.
        failures: reason -> the number of rows that failed for it.
        seconds: of work, without loading the encoder.
        rate: rows per second of this run.
        shares: shares of the seconds that went into waiting for decoding, encoding, writing, and
            planning with all the rest; they add up to 1.
        size: of the file, in bytes.
        notes: what the encoder left out -> the number of rows: "texts cut to 512 tokens".
        already: the file was complete before; nothing was done.
        recordings: how many files its rows were cut out of, by this process.
        decoded: bytes of what was decoded of them into a temporary file, which is gone by now.
        unchecked: why the encoder was not compared with the file's probe, or cannot be later;
            empty if the file keeps a probe.
    """

    path: Path
    modality: Modality
    shape: tuple[int, int, int]
    counts: Mapping[str, int]
    failures: Mapping[str, int]
    size: int
    notes: Mapping[str, int]
    seconds: float = 0.0
    rate: float = 0.0
    shares: Mapping[str, float] = field(default_factory=dict)
    already: bool = False
    unchecked: str = ""
    recordings: int = 0
    decoded: int = 0


@dataclass(frozen=True)
class _Way:
    """How a job is carried out; nothing here decides a number."""

    features: Path
    engine: str
    workers: int | None
    retry: bool
    overwrite: bool
    check: Callable[[EncoderProbe], None] | None
    progress: Callable[[str, int, int], None] | None
    watch: Callable[[Work], None] | None
    say: Callable[[str], None] | None


def extract(
    corpus: Corpus | Path | str,
    *,
    features: Path | str = "features",
    engine: str = "local",
    workers: int | None = None,
    retry: bool = False,
    overwrite: bool = False,
    check: Callable[[EncoderProbe], None] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    watch: Callable[[Work], None] | None = None,
    say: Callable[[str], None] | None = None,
    **options: Unpack[Options],
) -> list[Extracted]:
    """Write `features/<corpus>/<modality>.<name>.h5` for one or for every modality of the corpus.

    If it was interrupted, the same call resumes; for a complete file it does nothing.

    Args:
        engine: `local`, this process; or `ray`, see :mod:`erc_features.extraction.engines.ray`.
        workers: threads that decode, by default one per core; with `ray`, its actors.
        retry: encode failed rows again, and missing rows that now have a medium.
        overwrite: replace a file that was made differently.
        check: called with the encoder's probe before anything is written; raises to refuse it.
        progress: called with (file stem, rows done, rows).
        watch: called with a :class:`erc_features.terminal.Work`: rows, and the encoder's work.
        say: called with a line about a new file that will be large, before it is written.
        options: `modality`, `encoder`, `name`, `settings`, `dtype`, `batch_size`, `revision` and
            `allow_empty`, as :class:`.job.Options` and :class:`.job.Job` describe them. An
            `encoder` other than `baseline` needs a `modality`.

    Raises:
        ErcError: there is nothing to encode, an unknown choice, weights that cannot be loaded, a
            file of another provenance or whose encoder now gives other numbers; a full disk. Rows
            already written are kept.
    """
    let_waiting_threads_sleep()
    choose("engine", engine, ENGINES)
    if workers is not None and workers < 1:
        raise ErcError("--workers is at least 1.")
    way = _Way(Path(features), engine, workers, retry, overwrite, check, progress, watch, say)
    try:
        return [_extract_one(job, way) for job in make_jobs(corpus, **options)]
    finally:
        if engine == "ray":
            leave()


def _extract_one(job: Job, way: _Way) -> Extracted:
    where, job, workers = _settle(job, way)
    stem = job.stem
    path, partial = job.paths(way.features)
    for found in (path, partial):  # before an encoder is loaded
        if job.modality == Modality.AUDIO and not way.overwrite and found.exists():
            with FeatureFile(found) as file:
                must_be_of_one_rule(found, file.provenance, job.corpus)
    encoder = load_encoder(job.encoder, job.modality, where)
    job.must_be_revision(encoder)
    probe = EncoderProbe(encoder, job.settings)
    if way.check:
        way.check(probe)
    device = encoder.device if way.engine == "local" else job.settings.device
    with open_writer(
        path,
        rows_of(job.corpus),
        job.corpus.labels,
        job.provenance(encoder),
        Shape(encoder.layers, encoder.dim, job.dtype),
        {"versions": dumps(versions_of(job.encoder)), "device": device, "engine": way.engine,
         "workers": workers},
        overwrite=way.overwrite,
        again=(lambda status: np.flatnonzero(job.to_retry(status))) if way.retry else None,
        probe=probe,
    ) as writer:  # fmt: skip
        if writer is None:
            return replace(_summary(path, job.modality), already=True)
        began = perf_counter()
        waited = encoded = writing = 0.0
        done_before = int((writer.status != Status.PENDING).sum())
        _write_missing(writer, job)
        planned, measured = job.plan(encoder)
        batches = [rows for rows in planned if (writer.status[rows] == Status.PENDING).any()]
        total = len(job.corpus.utterances)
        if way.say and not done_before:
            free = disk_usage(path.parent).free
            if line := warn_of_size(path.name, total, writer.shape, free):
                way.say(line)
        meter = Meter(encoder, np.flatnonzero(job.has_medium), measured)
        work = meter.of(planned)
        work_done = work - meter.of(batches)
        if way.watch:
            way.watch(Work(stem, done_before, total, work_done, work))
        every = np.concatenate([np.empty(0, np.int64), *batches])
        # With Ray, each worker decodes the recordings that it needs.
        cut = recordings(job.corpus, job.modality, every) if way.engine == "local" else None
        if cut:
            cut.must_fit()
        for batch in _run(batches, job, probe, way.engine, workers, cut):
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
    shares = {"decoding": waited / seconds, "encoding": encoded / seconds,
              "writing": writing / seconds}  # fmt: skip
    shares["planning"] = max(0.0, 1 - sum(shares.values()))  # and starting workers
    rate = (total - done_before) / seconds
    return replace(_summary(path, job.modality), seconds=seconds, rate=rate, shares=shares,
                   unchecked=probe.unchecked, recordings=cut.count if cut else 0,
                   decoded=cut.size if cut else 0)  # fmt: skip


def _settle(job: Job, way: _Way) -> tuple[Settings, Job, int]:
    """Decide what `auto` means: the settings to load the encoder with here, the job, and the number
    of workers."""
    if way.engine == "ray":
        from erc_features.extraction.engines.ray import settle

        job, workers = settle(job, way.workers)
        # Here the encoder only measures; the workers have the devices.
        return replace(job.settings, device="cpu"), job, workers
    settings = resolve(job.encoder, job.settings)
    return settings, replace(job, settings=settings), way.workers or our_cores()


def _run(
    batches: Sequence[np.ndarray], job: Job, probe: EncoderProbe, engine: str, workers: int,
    cut: "Recordings | None",
) -> Iterator[Batch]:  # fmt: skip
    if engine == "ray":
        from erc_features.extraction.engines.ray import run_ray

        expected = Expected(probe.encoder.revision, probe.make(), versions_of(job.encoder))
        return run_ray(batches, job, expected, workers)
    load = loader(job.corpus, job.modality, job.settings, cut)
    return run_local(batches, load, probe.encoder, job.dtype, workers)


def _write_missing(writer: FeatureWriter, job: Job) -> None:
    rows = np.flatnonzero(~job.has_medium & (writer.status == Status.PENDING))
    reasons = [
        "the text is blank" if job.modality == Modality.TEXT
        else job.corpus.missing_reason(job.corpus.utterances[row], job.modality)
        for row in rows
    ]  # fmt: skip
    x = np.zeros((len(rows), writer.shape.layers, writer.shape.dim), np.float32)
    writer.write(rows, x, np.full(len(rows), Status.MISSING), reasons)


def _summary(path: Path, modality: Modality) -> Extracted:
    with FeatureFile(path) as file:
        status = file.status
        failures = Counter(file.reason[status == Status.FAILED].tolist())
        counts = {s.name.lower(): int((status == s).sum()) for s in Status if s != Status.PENDING}
        return Extracted(
            path, modality, file.shape, counts, dict(failures.most_common()), path.stat().st_size,
            file.attributes.get("notes", {}),
        )  # fmt: skip
