"""`erc verify`: encode a sample of a feature file's rows again, each alone, and compare.

A row that differs was damaged, or its medium has changed, or the encoder's rows depend on their
batch-mates, which a batch of one does not have.

The probe (`probe.py`) is compared before any row, so that an encoder whose libraries give other
numbers now is not taken for damaged rows. `tolerance.py` says how far apart sound rows may be.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import numpy as np

from erc_features.corpora.downmix import must_be_of_one_rule
from erc_features.corpora.faces import FACE_CROP, faces_of
from erc_features.corpora.manifest import Corpus, fingerprint, read_corpus
from erc_features.encoders import load_encoder, resolve
from erc_features.encoders.base import Encoder, measure, settings_of
from erc_features.errors import ErcError, FeatureFileError, listed
from erc_features.extraction.engines.local import run_local
from erc_features.extraction.items import known, loader, recordings
from erc_features.extraction.job import Job
from erc_features.extraction.probe import EncoderProbe
from erc_features.extraction.tolerance import Tolerance, compare, in_words, tolerance_of
from erc_features.store import FeatureFile, Status, must_have_encoder
from erc_features.threads import let_waiting_threads_sleep
from erc_features.utterance import Modality, Split, Utterance

_OTHERS = 4  # failed rows tried again, and missing ones that have a medium now
_DECODERS = 2


@dataclass(frozen=True)
class Difference:
    """A row that differs from what its encoder gives.

    Attributes:
        layer: of the file's L, the one that differs most; None where nothing was compared.
        largest: the largest absolute difference in that layer that is not allowed.
        allowed: the difference that is allowed at that dimension.
        cosine: between that layer as stored and as encoded now.
        reason: why there is nothing to compare; otherwise empty.
    """

    key: str
    layer: int | None = None
    largest: float | None = None
    allowed: float | None = None
    cosine: float | None = None
    reason: str = ""

    @property
    def by(self) -> str:
        """How much it differs, in words."""
        return in_words(self.layer, self.largest, self.allowed, self.cosine)


@dataclass(frozen=True)
class Mendable:
    """A row that `erc extract --retry` would encode; it was "failed" or "missing" for `reason`."""

    key: str
    was: str
    reason: str


@dataclass(frozen=True)
class Verified:
    """The result of `verify`.

    Attributes:
        ok: the number of ok rows, from which the sample is taken.
        compared: the number of rows in the sample.
        largest: the largest absolute difference over all compared rows, sound ones included.
        differing: the rows that differ, in the file's order.
        mendable: rows that can be encoded now, among a few failed and missing ones.
        device: the device used now; the file's attributes name theirs.
        unchecked: why the probe was not compared; empty if it was compared and agrees.
    """

    path: Path
    complete: bool
    ok: int
    compared: int
    largest: float
    differing: tuple[Difference, ...]
    mendable: tuple[Mendable, ...]
    tolerance: Tolerance
    device: str
    seconds: float
    unchecked: str

    @property
    def sound(self) -> bool:
        """Whether no row differs."""
        return not self.differing


def verify(
    path: Path | str,
    *,
    corpus: Corpus | Path | str | None = None,
    encoder: str | None = None,
    rows: int = 32,
    seed: int = 0,
    device: str = "auto",
    progress: Callable[[str, int, int], None] | None = None,
) -> Verified:
    """Encode a sample of rows again, with the file's own settings, and compare.

    Args:
        path: a feature file, finished or not.
        corpus: the corpus that the file was made from.
        encoder: the encoder's folder, if it has moved since.
        rows: the size of the sample: the longest, the shortest, and random rows spread over
            splits and sizes.
        progress: called with (file stem, rows done, rows).

    Raises:
        ErcError: there is no corpus or no ok row; corpus, encoder or settings are not those of
            the file (lists what differs); or the encoder's probe is another now.
    """
    let_waiting_threads_sleep()
    path = Path(path)
    with FeatureFile(path) as file:  # before the corpus is missed
        must_have_encoder(file.path, file.provenance.encoder, file.provenance.config)
    if corpus is None:
        raise ErcError(f"{path}: which corpus was it made from? Say so with --corpus.")
    if rows < 1:
        raise ErcError("--rows is at least 1.")
    if not isinstance(corpus, Corpus):
        corpus = read_corpus(corpus)
    began = perf_counter()
    with FeatureFile(path) as file:
        job, loaded = _same_again(file, corpus, encoder, device)
        corpus = job.corpus  # with faces in the place of frames, if it was made from those
        place = file.rows(keys=[u.key for u in corpus.utterances])  # corpus's row -> file's row
        status = file.status[place]
        probe = EncoderProbe(loaded, job.settings)
        probe.must_agree(file)
        ok = np.flatnonzero(status == Status.OK)
        if len(ok) == 0:
            raise FeatureFileError(f"{path}: no row is ok; there is nothing to compare.")
        random = np.random.default_rng(seed)
        sample = _sample(ok[job.has_medium[ok]], job, loaded, rows, random)
        gone = ok[~job.has_medium[ok]]
        keys = [u.key for u in corpus.utterances]
        reason = f"the corpus has no {job.modality} for it now"
        differing = {int(row): Difference(keys[row], reason=reason) for row in gone}
        mendable: list[Mendable] = []
        largest = 0.0
        tolerance = tolerance_of(
            job.settings.precision, job.settings.device, str(file.attributes.get("device", ""))
        )
        chosen = np.concatenate([sample, _others(status, job, random)])
        cut = recordings(corpus, job.modality, chosen)
        load = loader(corpus, job.modality, job.settings, cut)
        batches = run_local(list(chosen[:, None]), load, loaded, job.dtype, _DECODERS)
        for done, batch in enumerate(batches, 1):
            row = int(batch.rows[0])
            encoded = batch.status[0] == Status.OK
            stored = file.x(place[[row]])[0]  # (L, D)
            if status[row] != Status.OK:
                if encoded:
                    was = Status(int(status[row])).name.lower()
                    mendable.append(Mendable(keys[row], was, str(file.reason[place[row]])))
            elif not encoded:
                differing[row] = Difference(keys[row], reason=batch.reasons[0])
            elif not np.isfinite(stored).all():
                differing[row] = Difference(keys[row], reason="it holds NaN or infinity")
            else:
                furthest, gap = compare(stored, batch.x[0], tolerance)
                largest = max(largest, furthest)
                if gap is not None:
                    differing[row] = Difference(
                        keys[row], gap.layer, gap.largest, gap.allowed, gap.cosine
                    )
            if progress:
                progress(file.stem, done, len(chosen))
        return Verified(
            path, file.complete, len(ok), len(sample), largest,
            tuple(differing[row] for row in sorted(differing, key=lambda row: place[row])),
            tuple(mendable), tolerance, job.settings.device, perf_counter() - began,
            probe.unchecked,
        )  # fmt: skip


def _same_again(
    file: FeatureFile, corpus: Corpus, encoder: str | None, device: str
) -> tuple[Job, Encoder]:
    """The job that made the file, and its encoder, loaded on this machine."""
    theirs, config = file.provenance, file.provenance.config
    must_be_of_one_rule(file.path, theirs, corpus)
    try:
        modality = Modality(theirs.modality)
        settings = settings_of(config, device)
    except (KeyError, TypeError, ValueError) as error:
        raise FeatureFileError(
            f"{file.path}: its attributes don't say how `erc extract` made it ({error!r}), so it "
            "cannot be made again; `erc inspect` shows what they say."
        ) from error
    name = encoder or theirs.encoder
    if encoder is None and Path(name).is_absolute() and not Path(name).exists():
        raise ErcError(
            f"{file.path}: its encoder was in {name}, which is not there now. Say where it is "
            "with --encoder."
        )
    if config.get("crop") == FACE_CROP:
        corpus = faces_of(corpus)
    job = Job(corpus, modality, name, resolve(name, settings), file.dtype.name, batch_size=1)
    loaded = load_encoder(name, modality, job.settings)
    ours = job.provenance(loaded)
    if encoder is not None:  # the weights are the same, wherever they are
        ours = replace(ours, encoder=theirs.encoder)
    lines = theirs.differences(ours)
    # Of the columns as they stand in the file: `erc fuse` learns from those.
    texts = (file.split, file.dialogue, file.sequence, file.speaker, file.text, file.label)
    columns = fingerprint(
        Utterance(Split(split), dialogue, sequence, speaker, text, label=label)
        for split, dialogue, sequence, speaker, text, label in zip(
            *(column.tolist() for column in texts), strict=True
        )
    )
    if columns != theirs.fingerprint:
        lines.append(f"fingerprint: its own texts, speakers and labels give {columns}")
    shape = (loaded.layers, loaded.dim)
    if file.shape[1:] != shape:
        lines.append(f"(L, D): {file.shape[1:]} here, {shape} now")
    if lines:
        raise ErcError(
            f"{file.path} was not made from this corpus and these settings:{listed(lines)}\n"
            "Name the corpus it was made from with --corpus, the encoder with --encoder; or "
            "replace it: `erc extract --overwrite`."
        )
    return job, loaded


def _sample(
    rows: np.ndarray, job: Job, encoder: Encoder, count: int, random: np.random.Generator
) -> np.ndarray:
    """`count` of the rows: the longest, the shortest, and one of each split; the others are taken
    from equal stretches of the remaining rows in order of split and size, one from each."""
    if len(rows) <= count:
        return rows
    sizes = measure(encoder, known(job.corpus, job.modality, rows, job.settings)).sizes
    splits = np.array([str(job.corpus.utterances[row].split) for row in rows])
    picked = [int(sizes.argmax()), int(sizes.argmin())]
    picked += [int(random.choice(np.flatnonzero(splits == split))) for split in np.unique(splits)]
    picked = list(dict.fromkeys(picked))[:count]
    if left := count - len(picked):
        order = np.lexsort((sizes, splits))
        rest = order[~np.isin(order, picked)]
        picked += [int(random.choice(stretch)) for stretch in np.array_split(rest, left)]
    return np.sort(rows[picked])


def _others(status: np.ndarray, job: Job, random: np.random.Generator) -> np.ndarray:
    """A few failed rows and a few missing rows that have something to encode now."""
    found = [np.flatnonzero((status == s) & job.has_medium)
             for s in (Status.FAILED, Status.MISSING)]  # fmt: skip
    return np.concatenate(
        [np.sort(random.choice(rows, min(_OTHERS, len(rows)), replace=False)) for rows in found]
    )
