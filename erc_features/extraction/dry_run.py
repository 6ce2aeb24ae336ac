"""`erc extract --dry-run`: what an extraction would do, without doing it."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import numpy as np

from erc_features.corpora.manifest import Corpus
from erc_features.encoders import load_encoder, resolve
from erc_features.encoders.base import Encoder, Settings
from erc_features.errors import EncoderError, choose
from erc_features.extraction.engines import ENGINES
from erc_features.extraction.engines.local import run_local
from erc_features.extraction.items import known, loader
from erc_features.extraction.job import Job, make_jobs, plan_of, provenance_of, to_retry
from erc_features.extraction.probe import EncoderProbe
from erc_features.extraction.progress import Meter
from erc_features.store import PARTIAL, SUFFIX, FeatureFile, Shape, Status, expected_size
from erc_features.threads import our_cores
from erc_features.utterance import Modality

_TIMED = 32  # rows of the batch that is timed


@dataclass(frozen=True)
class Preview:
    """What is to be done for one feature file.

    Attributes:
        state: `new`; `unfinished`, it would go on; or `complete`, nothing would be done.
        rows: those with something to encode; `done` of them already; `missing` have nothing.
        amount: what there is to encode, done or not, in `unit`: hours of audio, frames or
            characters.
        batches: still to be encoded, and of all rows.
        shape: (N, L, D) of `x`, stored as `dtype`.
        size: of the finished file in bytes, a little less or more.
        free: bytes free where it goes.
        differences: why the file there would be refused; empty where it would not.
        notes: what the encoder would leave out, and of how many rows.
        seconds: how long it would take here, from one batch that was decoded, encoded and timed;
            None where nothing is to be done or it could not be timed.
        timed: rows of that batch.
    """

    path: Path
    modality: Modality
    encoder: str
    device: str
    precision: str
    state: str
    rows: int
    done: int
    missing: int
    amount: float
    unit: str
    batches: tuple[int, int]
    shape: tuple[int, int, int]
    dtype: str
    size: int
    free: int
    differences: tuple[str, ...]
    notes: dict[str, int]
    seconds: float | None
    timed: int


def preview(
    corpus: Corpus | Path | str,
    *,
    features: Path | str = "features",
    modality: str | None = None,
    encoder: str | None = None,
    name: str | None = None,
    settings: Settings | None = None,
    dtype: str = "float16",
    batch_size: int = 64,
    engine: str = "local",
    retry: bool = False,
    overwrite: bool = False,
) -> list[Preview]:
    """Load the encoders, measure every row, plan the batches and time one; write nothing.

    Raises:
        ErcError: as :func:`erc_features.extraction.extract.extract` would.
    """
    jobs = make_jobs(
        corpus, modality=modality, encoder=encoder, name=name, settings=settings, dtype=dtype,
        batch_size=batch_size,
    )  # fmt: skip
    choose("engine", engine, ENGINES)
    here = engine == "local"
    return [_preview(job, Path(features), retry, overwrite, here) for job in jobs]


def _preview(job: Job, features: Path, retry: bool, overwrite: bool, here: bool) -> Preview:
    settings = resolve(job.encoder, job.settings)
    job = replace(job, settings=settings)
    path = features / job.corpus.name / f"{job.stem}{SUFFIX}"
    encoder = load_encoder(job.encoder, job.modality, settings)
    planned, measured = plan_of(job, encoder)
    shape = (len(job.corpus.utterances), encoder.layers, encoder.dim)
    pending, state, differences = job.has_medium.copy(), "new", []
    partial = path.with_name(f"{job.stem}{PARTIAL}")
    for found, what in ((partial, "unfinished"), (path, "complete")):
        if found.exists() and not overwrite:
            with FeatureFile(found) as file:
                differences = file.provenance.differences(provenance_of(job, encoder))
                state = what
                if not differences:
                    order = file.rows(keys=[u.key for u in job.corpus.utterances])
                    status = file.status[order]
                    pending = status == Status.PENDING
                    if retry:
                        pending |= to_retry(job, status)
                    if found == partial or pending.any():
                        differences = _probe_differs(encoder, settings, file)
    amount, unit = _amount(job)
    todo = [batch for batch in planned if pending[batch].any()]
    meter = Meter(encoder, np.flatnonzero(job.has_medium), measured)
    seconds, timed = _time(job, encoder, todo, meter) if here and not differences else (None, 0)
    rows = int(job.has_medium.sum())
    return Preview(
        path=path,
        modality=job.modality,
        encoder=encoder.name,
        device=encoder.device,
        precision=settings.precision,
        state=state,
        rows=rows,
        done=rows - int((pending & job.has_medium).sum()),
        missing=shape[0] - rows,
        amount=amount,
        unit=unit,
        batches=(len(todo), len(planned)),
        shape=shape,
        dtype=job.dtype,
        size=expected_size(shape[0], Shape(shape[1], shape[2], job.dtype)),
        free=shutil.disk_usage(_existing(features)).free,
        differences=tuple(differences),
        notes=dict(measured.notes),
        seconds=seconds,
        timed=timed,
    )


def _time(
    job: Job, encoder: Encoder, todo: list[np.ndarray], meter: Meter
) -> tuple[float | None, int]:
    """Seconds for all batches that are left, from one of median cost, after a row to warm up."""
    if not todo:
        return None, 0
    batch = sorted(todo, key=meter.cost)[len(todo) // 2][:_TIMED]
    load = loader(job.corpus, job.modality, job.settings.history)
    list(run_local([batch[:1]], load, encoder, job.dtype, our_cores()))
    began = perf_counter()
    (done,) = run_local([batch], load, encoder, job.dtype, our_cores())
    if not (done.status == Status.OK).any():
        return None, 0
    return (perf_counter() - began) * meter.of(todo) / meter.cost(batch), len(batch)


def _probe_differs(encoder: Encoder, settings: Settings, file: FeatureFile) -> list[str]:
    try:
        EncoderProbe(encoder, settings).must_agree(file)
    except EncoderError as error:
        return str(error).splitlines()
    return []


def _amount(job: Job) -> tuple[float, str]:
    if job.modality == Modality.TEXT:
        return float(sum(len(u.x_text) for u in job.corpus.utterances)), "characters"
    sizes = sum(known(job.corpus, job.modality, np.flatnonzero(job.has_medium)))
    if job.modality == Modality.AUDIO:
        return sizes / 3600, "hours of audio"
    return sizes, "frames"


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that exists."""
    folder = folder.resolve()
    return next(place for place in (folder, *folder.parents) if place.exists())
