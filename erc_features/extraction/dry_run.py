"""`erc extract --dry-run`: what an extraction would do."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Unpack

import numpy as np

from erc_features.corpora.manifest import Corpus
from erc_features.encoders import load_encoder, resolve
from erc_features.encoders.base import Encoder
from erc_features.errors import EncoderError, choose
from erc_features.extraction.engines import ENGINES
from erc_features.extraction.engines.local import run_local
from erc_features.extraction.items import known, loader, recordings
from erc_features.extraction.job import Job, Options, make_jobs
from erc_features.extraction.probe import EncoderProbe
from erc_features.extraction.progress import Meter
from erc_features.store import FeatureFile, Shape, Status, expected_size
from erc_features.threads import our_cores
from erc_features.utterance import Modality

if TYPE_CHECKING:  # PyAV: not for texts
    from erc_features.corpora.recordings import Recordings

_TIMED = 32  # rows of the batch that is timed


@dataclass(frozen=True)
class Preview:
    """What would be done for one feature file.

    Attributes:
        state: `new`; `unfinished`, which would be resumed; or `complete`, with nothing to do.
        rows: rows with something to encode, of which `done` are encoded already; `missing` rows
            have nothing.
        amount: all that there is to encode, in `unit`: hours of audio, frames or characters.
        batches: the number of batches that remain, and of all batches.
        shape: (N, L, D) of `x`, stored as `dtype`.
        size: the approximate size of the finished file, in bytes.
        free: free bytes on its disk.
        differences: why the existing file would be refused; empty if it would not.
        notes: what the encoder would leave out -> the number of rows.
        seconds: the estimated time on this machine, from one batch of `timed` rows that was
            decoded, encoded and timed; None if nothing remains or no time could be taken.
        recordings, hours: how many files the remaining rows are cut out of, and how long these are;
            each is decoded once.
        temporary: the approximate bytes of what is decoded of them, in a temporary file.
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
    recordings: int = 0
    hours: float = 0.0
    temporary: int = 0


def preview(
    corpus: Corpus | Path | str,
    *,
    features: Path | str = "features",
    engine: str = "local",
    retry: bool = False,
    overwrite: bool = False,
    **options: Unpack[Options],
) -> list[Preview]:
    """Load the encoders, measure every row, plan the batches and time one; write nothing.

    Arguments and errors are those of :func:`erc_features.extraction.extract.extract`.
    """
    jobs = make_jobs(corpus, **options)
    here = choose("engine", engine, ENGINES) == "local"
    return [_preview(job, Path(features), retry, overwrite, here) for job in jobs]


def _preview(job: Job, features: Path, retry: bool, overwrite: bool, here: bool) -> Preview:
    settings = resolve(job.encoder, job.settings)
    job = replace(job, settings=settings)
    path, partial = job.paths(features)
    encoder = load_encoder(job.encoder, job.modality, settings)
    planned, measured = job.plan(encoder)
    shape = (len(job.corpus.utterances), encoder.layers, encoder.dim)
    pending, state, differences = job.has_medium.copy(), "new", []
    for found, what in ((partial, "unfinished"), (path, "complete")):
        if found.exists() and not overwrite:
            with FeatureFile(found) as file:
                differences = file.provenance.differences(job.provenance(encoder))
                state = what
                if not differences:
                    order = file.rows(keys=[u.key for u in job.corpus.utterances])
                    status = file.status[order]
                    pending = status == Status.PENDING
                    if retry:
                        pending |= job.to_retry(status)
                    if found == partial or pending.any():
                        try:
                            EncoderProbe(encoder, settings).must_agree(file)
                        except EncoderError as error:
                            differences = str(error).splitlines()
    unit = "characters"
    amount: float = sum(len(u.x_text) for u in job.corpus.utterances)
    if job.modality != Modality.TEXT:
        unit = "frames"
        amount = sum(known(job.corpus, job.modality, np.flatnonzero(job.has_medium), settings))
        if job.modality == Modality.AUDIO:
            unit, amount = "hours of audio", amount / 3600
    place = next(place for place in (path, *path.absolute().parents) if place.exists())
    todo = [batch for batch in planned if pending[batch].any()]
    meter = Meter(encoder, np.flatnonzero(job.has_medium), measured)
    pending_rows = np.concatenate([np.empty(0, np.int64), *todo])
    cut = recordings(job.corpus, job.modality, pending_rows)
    timing = here and not differences
    seconds, timed = _time(job, encoder, todo, meter, cut) if timing else (None, 0)
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
        amount=float(amount),
        unit=unit,
        batches=(len(todo), len(planned)),
        shape=shape,
        dtype=job.dtype,
        size=expected_size(shape[0], Shape(shape[1], shape[2], job.dtype)),
        free=shutil.disk_usage(place).free,
        differences=tuple(differences),
        notes=dict(measured.notes),
        seconds=seconds,
        timed=timed,
        recordings=cut.count if cut else 0,
        hours=cut.hours if cut else 0.0,
        temporary=int(cut.expected_size) if cut else 0,
    )


def _time(
    job: Job, encoder: Encoder, todo: list[np.ndarray], meter: Meter, every: "Recordings | None"
) -> tuple[float | None, int]:
    """Estimate the seconds for the batches from one of median cost, after a row to warm up."""
    if not todo:
        return None, 0
    batch = sorted(todo, key=meter.cost)[len(todo) // 2][:_TIMED]
    cut = recordings(job.corpus, job.modality, batch)
    load = loader(job.corpus, job.modality, job.settings, cut)
    decoding = perf_counter()
    if cut:  # for all of their utterances: not to be multiplied with the others
        cut.decode(our_cores())
    decoding = perf_counter() - decoding
    list(run_local([batch[:1]], load, encoder, job.dtype, our_cores()))
    began = perf_counter()
    (done,) = run_local([batch], load, encoder, job.dtype, our_cores())
    if not (done.status == Status.OK).any():
        return None, 0
    seconds = (perf_counter() - began) * meter.of(todo) / meter.cost(batch)
    if cut and cut.hours and every:
        seconds += decoding * every.hours / cut.hours
    return seconds, len(batch)
