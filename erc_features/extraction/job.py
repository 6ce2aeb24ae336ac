"""One extraction: which corpus, modality and encoder, and all that follows from them."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from erc_features.corpora.downmix import DOWNMIX, NAME, must_be_normalised
from erc_features.corpora.manifest import Corpus, read_corpus
from erc_features.encoders import DEFAULTS, ENCODERS, clean_name, default_name
from erc_features.encoders.base import Encoder, Measured, Recorded, Settings, measure
from erc_features.errors import CorpusError, EncoderError, ErcError, choose
from erc_features.extraction.batch_plan import plan
from erc_features.extraction.items import FRAMES, known
from erc_features.plugins import with_plugins
from erc_features.store import Provenance, Rows, Status
from erc_features.utterance import Modality

DTYPES = ("float16", "float32")


@dataclass(frozen=True)
class Job:
    """What is to be encoded, and how: all that decides the numbers in a feature file.

    Attributes:
        encoder: as the user names it: an entry of the table, a hub's id, a folder.
        name: of the file; None: the encoder's.
        batch_size: the most rows of a batch.
        revision: that the encoder must have; None: any.
    """

    corpus: Corpus
    modality: Modality
    encoder: str
    settings: Settings
    dtype: str
    batch_size: int
    name: str | None = None
    revision: str | None = None

    @property
    def stem(self) -> str:
        """Of the feature file.

        Raises:
            EncoderError: the encoder's folder has a name that says nothing, and `name` is None.
        """
        name = clean_name(self.name) if self.name else default_name(self.encoder, self.modality)
        return feature_stem(self.modality, name, self.settings)

    @cached_property
    def has_medium(self) -> np.ndarray:
        """(N,) bool, which rows have something to encode."""
        return np.array([bool(u.cell(self.modality)) for u in self.corpus.utterances])


def feature_stem(modality: Modality, name: str, settings: Settings) -> str:
    """`text.minilm+layers-4-+poolmax`: only what differs from the defaults, in a fixed order."""
    default = Settings()
    variants = [
        f"+{label}{clean_name(str(getattr(settings, field)))}"
        for field, label in (
            ("layers", "layers"),
            ("pool", "pool"),
            ("history", "history"),
            ("precision", ""),
        )
        if getattr(settings, field) != getattr(default, field)
    ]
    return f"{modality}.{name}{''.join(variants)}"


def make_jobs(
    corpus: Corpus | Path | str,
    *,
    modality: str | None = None,
    encoder: str | None = None,
    name: str | None = None,
    settings: Settings | None = None,
    dtype: str = "float16",
    batch_size: int = 64,
    revision: str | None = None,
    allow_empty: bool = False,
) -> list[Job]:
    """A job for the modality asked for, else for each that the corpus has.

    Raises:
        ErcError: no corpus, an unknown choice; the corpus has nothing of that modality, or sound
            that was prepared by another rule of mixing down; or an encoder of one modality was
            given without saying which.
    """
    if not isinstance(corpus, Corpus):
        corpus = read_corpus(corpus)
    choose("dtype", dtype, DTYPES)
    if batch_size < 1:
        raise ErcError("--batch-size is at least 1.")
    wanted = _modalities(corpus, modality, encoder, allow_empty)
    if Modality.AUDIO in wanted:
        must_be_normalised(corpus)
    return [
        Job(corpus, each, encoder or DEFAULTS[each], settings or Settings(), dtype, batch_size,
            name, revision)
        for each in wanted
    ]  # fmt: skip


def _modalities(
    corpus: Corpus, modality: str | None, encoder: str | None, allow_empty: bool
) -> list[Modality]:
    if modality is not None:
        wanted = Modality(choose("modality", modality, Modality))
        if not allow_empty and wanted not in _present(corpus):
            raise CorpusError(
                f"{corpus.root}: no utterance has {wanted}; it has "
                f"{', '.join(_present(corpus)) or 'no modality'}. `erc doctor` says why."
            )
        return [wanted]
    found = _present(corpus)
    if encoder not in (None, "baseline"):
        raise ErcError(f"--encoder {encoder} needs --modality: choose from {', '.join(found)}.")
    if not found:
        raise CorpusError(f"{corpus.root}: no utterance has text, a picture or sound.")
    return found


def _present(corpus: Corpus) -> list[Modality]:
    return [m for m in Modality if any(u.cell(m) for u in corpus.utterances)]


def must_be_revision(job: Job, encoder: Encoder) -> None:
    """Refuse weights other than those asked for.

    Raises:
        EncoderError: names both revisions.
    """
    if job.revision is not None and encoder.revision != job.revision:
        raise EncoderError(
            f"--encoder {job.encoder}: its weights have revision {encoder.revision[:12]}, and "
            f"{job.revision[:12]} is needed: not the weights that {job.stem} was made with. "
            "--encoder says where those are now."
        )


def plan_of(job: Job, encoder: Encoder) -> tuple[list[np.ndarray], Measured]:
    """The batches of all rows that have something to encode, and what was measured of them."""
    rows = np.flatnonzero(job.has_medium)
    found = measure(encoder, known(job.corpus, job.modality, rows, job.settings.history))
    batches = plan(
        rows, found.sizes, groups=found.groups, batch_size=job.batch_size, cost=encoder.cost,
        cap=encoder.cap,
    )  # fmt: skip
    return batches, found


def to_retry(job: Job, status: np.ndarray) -> np.ndarray:
    """Which rows `--retry` encodes again, (N,) bool: failed ones, and missing ones that have a
    medium now."""
    return (status == Status.FAILED) | ((status == Status.MISSING) & job.has_medium)


def rows_of(corpus: Corpus) -> Rows:
    """The rows that a feature file of the corpus has."""
    us = corpus.utterances
    return Rows(
        key=[u.key for u in us],
        split=[str(u.split) for u in us],
        dialogue=[u.dialogue for u in us],
        sequence=[u.sequence for u in us],
        speaker=[u.speaker for u in us],
        text=[u.x_text for u in us],
        label=[u.label for u in us],
    )


def provenance_of(job: Job, encoder: Encoder) -> Provenance:
    """What must agree for a file to be gone on with, or to be of this job at all."""
    settings, modality = job.settings, job.modality
    config: dict[str, Any] = {
        "layers": settings.layers,
        "pool": settings.pool,
        "precision": settings.precision,
        "dtype": job.dtype,
    }
    decode = job.corpus.info.get("decode", {})
    if modality == Modality.TEXT:
        config |= {"history": settings.history}
    if modality == Modality.VISUAL:
        config |= {"frames": decode.get("frames", FRAMES), "height": decode.get("height")}
    if modality == Modality.AUDIO:
        config |= {"rate": 16_000, NAME: DOWNMIX}
    if isinstance(encoder, Recorded):
        config |= encoder.recorded
    named = with_plugins("erc.encoders", ENCODERS)
    folder = Path(encoder.name)
    is_folder = encoder.name not in named and folder.is_dir()
    where = str(folder.resolve()) if is_folder else encoder.name
    corpus = job.corpus
    return Provenance(
        corpus.name, corpus.fingerprint, str(modality), where, encoder.revision, config
    )
