"""`erc verify`: encode a sample of a feature file's rows again, each alone, and compare.

What differs is a row that was damaged since, a medium that changed, or an encoder whose rows
depend on their batch-mates: the batch of one has none.

Before any row the probe is compared, so that an encoder whose libraries give other numbers now is
not taken for damaged rows: see `probe.py`. How far a sound row may be away: `tolerance.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import numpy as np

from erc_features.corpora.downmix import must_be_of_one_rule
from erc_features.corpora.manifest import Corpus, fingerprint, read_corpus
from erc_features.encoders import load_encoder, resolve
from erc_features.encoders.base import Encoder, Settings, measure
from erc_features.errors import ErcError, FeatureFileError, listed
from erc_features.extraction.engines.local import run_local
from erc_features.extraction.items import known, loader
from erc_features.extraction.job import Job, provenance_of
from erc_features.extraction.probe import EncoderProbe
from erc_features.extraction.tolerance import Tolerance, compare, in_words, tolerance_of
from erc_features.store import FeatureFile, Status, must_have_encoder
from erc_features.threads import let_waiting_threads_sleep
from erc_features.utterance import Modality, Split, Utterance

_OTHERS = 4  # failed rows tried again, and missing ones that have a medium now
_DECODERS = 2


@dataclass(frozen=True)
class Difference:
    """A row that is not what its encoder gives.

    Attributes:
        layer: of the file's L, the one that is furthest away; None where nothing was compared.
        largest: absolute difference in that layer, beyond what is allowed there; None where
            one of the two is no number.
        allowed: at that dimension.
        cosine: of that layer, stored and new.
        reason: why there is nothing to compare; else empty.
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
    """A row that `erc extract --retry` would encode. was: "failed" or "missing", and why."""

    key: str
    was: str
    reason: str


@dataclass(frozen=True)
class Verified:
    """What `verify` found.

    Attributes:
        ok: rows that the file says are ok; the sample is of these.
        compared: how many of them were encoded again.
        largest: absolute difference over all rows compared, those that are sound too.
        differing: in the file's order.
        mendable: of the few failed and missing rows that were tried.
        device: that of this time; the file's is in its attributes.
        unchecked: why the probe was not compared; empty where it was, and agrees.
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
    """Encode a sample of rows again and compare, with the settings that the file names.

    Args:
        path: a feature file, finished or not: what is done is verified.
        corpus: that the file was made from.
        encoder: where it is now, if it was a folder that has moved since.
        rows: how many to compare: the longest, the shortest, and a random sample spread over
            splits and sizes.
        progress: called with (file stem, rows done, rows).

    Raises:
        ErcError: no corpus, no row that is ok; or corpus, encoder or settings are not those
            of the file: lists what differs; or the encoder's probe is another now.
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
        place = file.rows(keys=[u.key for u in corpus.utterances])  # of a corpus's row, its file's
        status = file.status[place]
        probe = EncoderProbe(loaded, job.settings)
        probe.must_agree(file)
        ok = np.flatnonzero(status == Status.OK)
        if len(ok) == 0:
            raise FeatureFileError(f"{path}: no row is ok; there is nothing to compare.")
        random = np.random.default_rng(seed)
        sample = _sample(ok[job.has_medium[ok]], job, loaded, rows, random)
        gone = ok[~job.has_medium[ok]]
        reason = f"the corpus has no {job.modality} for it now"
        differing = {int(row): _nothing(job, row, reason) for row in gone}
        mendable: list[Mendable] = []
        largest = 0.0
        tolerance = tolerance_of(
            job.settings.precision, job.settings.device, str(file.attributes.get("device", ""))
        )
        chosen = np.concatenate([sample, _others(status, job, random)])
        load = loader(corpus, job.modality, job.settings.history)
        batches = run_local(list(chosen[:, None]), load, loaded, job.dtype, _DECODERS)
        for done, batch in enumerate(batches, 1):
            row = int(batch.rows[0])
            encoded = batch.status[0] == Status.OK
            if status[row] == Status.OK and encoded:
                stored = file.x(place[[row]])[0]  # (L, D)
                furthest, found = _compare(job, row, stored, batch.x[0], tolerance)
                largest = max(largest, furthest)
                if found is not None:
                    differing[row] = found
            elif status[row] == Status.OK:
                differing[row] = _nothing(job, row, batch.reasons[0])
            elif encoded:
                was = Status(int(status[row])).name.lower()
                mendable.append(Mendable(_key(job, row), was, str(file.reason[place[row]])))
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
    """The job that the file is of, and its encoder, loaded here."""
    theirs, config = file.provenance, file.provenance.config
    must_be_of_one_rule(file.path, theirs, corpus)
    try:
        modality = Modality(theirs.modality)
        settings = Settings(config["layers"], config["pool"], config["precision"], device,
                            config.get("history", 0))  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise FeatureFileError(
            f"{file.path}: its attributes don't say how `erc extract` made it ({error!r}), so it "
            "can't be made again; `erc inspect` shows what they say."
        ) from error
    name = encoder or theirs.encoder
    if encoder is None and Path(name).is_absolute() and not Path(name).exists():
        raise ErcError(
            f"{file.path}: its encoder was in {name}, which is not there now. Say where it is "
            "with --encoder."
        )
    job = Job(corpus, modality, name, resolve(name, settings), file.dtype.name, batch_size=1)
    loaded = load_encoder(name, modality, job.settings)
    ours = provenance_of(job, loaded)
    if encoder is not None:  # the weights are the same, wherever they are
        ours = replace(ours, encoder=theirs.encoder)
    lines = theirs.differences(ours)
    if (columns := _fingerprint_of(file)) != theirs.fingerprint:
        lines.append(f"fingerprint: its own texts, speakers and labels give {columns}")
    shape = (loaded.layers, loaded.dim)
    if file.shape[1:] != shape:
        lines.append(f"(L, D): {file.shape[1:]} here, {shape} now")
    if lines:
        raise ErcError(
            f"{file.path} was made of something else than what is at hand:{listed(lines)}\n"
            "Name the corpus it was made from with --corpus, the encoder with --encoder; or "
            "replace it: `erc extract --overwrite`."
        )
    return job, loaded


def _fingerprint_of(file: FeatureFile) -> str:
    """Of the columns as they stand in the file: `erc fuse` learns from those."""
    columns = (file.split, file.dialogue, file.sequence, file.speaker, file.text, file.label)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return fingerprint(
        Utterance(Split(split), dialogue, sequence, speaker, text, label=label)
        for split, dialogue, sequence, speaker, text, label in rows
    )


def _sample(
    rows: np.ndarray, job: Job, encoder: Encoder, count: int, random: np.random.Generator
) -> np.ndarray:
    """`count` of the rows: the longest, the shortest, one of each split; then, of the others in
    order of split and size, one from each of as many stretches of equal length."""
    if len(rows) <= count:
        return rows
    sizes = measure(encoder, known(job.corpus, job.modality, rows, job.settings.history)).sizes
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
    """A few failed rows, and a few missing ones, that have something to encode now."""
    found = [np.flatnonzero((status == s) & job.has_medium)
             for s in (Status.FAILED, Status.MISSING)]  # fmt: skip
    return np.concatenate(
        [np.sort(random.choice(rows, min(_OTHERS, len(rows)), replace=False)) for rows in found]
    )


def _compare(
    job: Job, row: int, stored: np.ndarray, again: np.ndarray, tolerance: Tolerance
) -> tuple[float, Difference | None]:
    """How far stored and new (L, D) are apart, and what is wrong with it if anything is."""
    if not np.isfinite(stored).all():
        return 0.0, _nothing(job, row, "it holds NaN or infinity")
    furthest, gap = compare(stored, again, tolerance)
    if gap is None:
        return furthest, None
    return furthest, Difference(_key(job, row), gap.layer, gap.largest, gap.allowed, gap.cosine)


def _nothing(job: Job, row: int, reason: str) -> Difference:
    return Difference(_key(job, row), reason=reason)


def _key(job: Job, row: int) -> str:
    return job.corpus.utterances[row].key
