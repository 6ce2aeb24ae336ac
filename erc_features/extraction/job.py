"""One extraction: its corpus, modality and encoder, and everything that follows from them."""

import re
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np

from erc_features.corpora.downmix import DOWNMIX, NAME, must_be_normalised
from erc_features.corpora.faces import CROPS, FACE_CROP, FRAME_CROP, faces_in, faces_of
from erc_features.corpora.manifest import Corpus, read_corpus
from erc_features.corpora.segments import FRAMES, Segments
from erc_features.corpora.segments import NAME as SEGMENTS
from erc_features.encoders import DEFAULTS, ENCODERS, clean_name, default_name
from erc_features.encoders.base import Encoder, Measured, Recorded, Settings, measure
from erc_features.errors import CorpusError, EncoderError, ErcError, choose
from erc_features.extraction.batch_plan import plan
from erc_features.extraction.items import known
from erc_features.plugins import with_plugins
from erc_features.store import PARTIAL, SUFFIX, Provenance, Rows, Status
from erc_features.utterance import X_FACE, Modality

DTYPES = ("float16", "float32")
# Columns of a corpus that say where media are, and never with whom a row is held out.
_NO_UNITS = {X_FACE, "start", "end"}
_PLAIN = re.compile(r"[\w.-]{1,64}")  # HDF5 reads a slash as a folder
# The settings that become part of a file's name, in this order, and what they are called there.
_VARIANTS = {"layers": "layers", "pool": "pool", "history": "history", "precision": "",
             "window": "", "reach": "reach", "prompt": "prompt-"}  # fmt: skip


class JobOptions(TypedDict, total=False):
    """What a :class:`Job` may be given beyond its modality and encoder; described there."""

    name: str | None
    settings: Settings
    dtype: str
    batch_size: int
    revision: str | None


class Options(JobOptions, total=False):
    """What to extract, as `extract`, its dry run and :func:`make_jobs` take it.

    Attributes:
        modality: one modality; without it, every modality that the corpus has.
        encoder: without it, the default of each modality.
        allow_empty: accept a `modality` that no utterance has; every row is then missing.
        crop: what of the pictures is encoded: the whole `frame`, or the `face`.
    """

    modality: str | None
    encoder: str | None
    allow_empty: bool
    crop: str


@dataclass(frozen=True)
class Job:
    """What to encode, and how: everything that decides the numbers in a feature file.

    Attributes:
        encoder: `baseline` or another entry of the table, a Hugging Face id, a local folder,
            `random:NAME`, or for pictures a model of open_clip.
        settings: layers, pooling, precision, device and history.
        dtype: float16 or float32, as stored.
        batch_size: the maximum number of rows of a batch.
        name: of the feature file; without it, the last component of the encoder's name.
        revision: the revision that the encoder's weights must have; without it, any.
    """

    corpus: Corpus
    modality: Modality
    encoder: str
    settings: Settings = field(default_factory=Settings)
    dtype: str = "float16"
    batch_size: int = 64
    name: str | None = None
    revision: str | None = None

    @property
    def stem(self) -> str:
        """The feature file's name without its suffix.

        Raises:
            EncoderError: the encoder's folder has no telling name, and `name` is None.
        """
        name = clean_name(self.name) if self.name else default_name(self.encoder, self.modality)
        return feature_stem(self.modality, name, self.settings, self.corpus.crop)

    def paths(self, features: Path) -> tuple[Path, Path]:
        """The feature file, and its name while it is unfinished."""
        folder = features / self.corpus.name
        return folder / f"{self.stem}{SUFFIX}", folder / f"{self.stem}{PARTIAL}"

    @cached_property
    def has_medium(self) -> np.ndarray:
        """(N,) bool, which rows have something to encode."""
        return np.array([bool(u.cell(self.modality)) for u in self.corpus.utterances])

    def must_be_revision(self, encoder: Encoder) -> None:
        """Refuse weights of another revision in an EncoderError that names both."""
        if self.revision is not None and encoder.revision != self.revision:
            raise EncoderError(
                f"--encoder {self.encoder}: its weights have revision {encoder.revision[:12]}, and "
                f"{self.revision[:12]} is needed: not the weights that {self.stem} was made with. "
                "--encoder says where those are now."
            )

    def plan(self, encoder: Encoder) -> tuple[list[np.ndarray], Measured]:
        """The batches of all rows that have something to encode, and their measures."""
        rows = np.flatnonzero(self.has_medium)
        found = measure(encoder, known(self.corpus, self.modality, rows, self.settings))
        batches = plan(
            rows, found.sizes, groups=found.groups, batch_size=self.batch_size, cost=encoder.cost,
            cap=encoder.cap,
        )  # fmt: skip
        return batches, found

    def to_retry(self, status: np.ndarray) -> np.ndarray:
        """(N,) bool, which rows `--retry` encodes again: failed rows, and missing rows that have a
        medium now."""
        return (status == Status.FAILED) | ((status == Status.MISSING) & self.has_medium)

    def provenance(self, encoder: Encoder) -> Provenance:
        """What must agree with a file for this job to resume it, or to be its job at all."""
        settings, corpus = self.settings, self.corpus
        config: dict[str, Any] = {
            "layers": settings.layers,
            "pool": settings.pool,
            "precision": settings.precision,
            "dtype": self.dtype,
        }
        if self.modality == Modality.TEXT:
            config |= {"history": settings.history}
            asked = {"reach": settings.reach, "prompt": settings.prompt}
            config |= {k: v for k, v in asked.items() if v != getattr(Settings(), k)}
        if self.modality == Modality.VISUAL:
            decode = corpus.decode
            config |= {"frames": decode.get("frames", FRAMES)}
            if corpus.crop == FACE_CROP:  # cut out of the full frame, whatever the mosaic's height
                config |= {"crop": FACE_CROP, **faces_in(corpus.info)}
            else:
                config |= {"height": decode.get("height")}
        if self.modality == Modality.AUDIO:
            config |= {"rate": 16_000, NAME: DOWNMIX}
        if (times := Segments(corpus).digest(self.modality)) is not None:
            config |= {SEGMENTS: times}
        if isinstance(encoder, Recorded):
            config |= encoder.recorded
        where = encoder.name
        if where not in with_plugins("erc.encoders", ENCODERS) and Path(where).is_dir():
            where = str(Path(where).resolve())
        return Provenance(
            corpus.name, corpus.fingerprint, str(self.modality), where, encoder.revision, config
        )


def feature_stem(modality: Modality, name: str, settings: Settings, crop: str = FRAME_CROP) -> str:
    """`text.minilm+layers-4-+poolmax`: only what differs from the defaults, in a fixed order."""
    default = Settings()
    if not settings.prompt.isidentifier() and settings.prompt:  # words have a short hash
        words = sha256(settings.prompt.encode()).hexdigest()[:8]
        settings = replace(settings, prompt=words)
    variants = [
        f"+{label}{clean_name(str(getattr(settings, field)))}"
        for field, label in _VARIANTS.items()
        if getattr(settings, field) != getattr(default, field)
    ]
    if crop != FRAME_CROP:
        variants.append(f"+{crop}")
    return f"{modality}.{name}{''.join(variants)}"


def make_jobs(
    corpus: Corpus | Path | str,
    *,
    modality: str | None = None,
    encoder: str | None = None,
    allow_empty: bool = False,
    crop: str = FRAME_CROP,
    **options: Unpack[JobOptions],
) -> list[Job]:
    """A job for the requested modality, or for each modality that the corpus has.

    Raises:
        ErcError: there is no such corpus, or an option is unknown; the corpus lacks the modality,
            was prepared without faces that are asked for, or its sound by another rule of mixing
            down; or an encoder of one modality was given without the modality.
    """
    if not isinstance(corpus, Corpus):
        corpus = read_corpus(corpus)
    choose("dtype", options.get("dtype", "float16"), DTYPES)
    if options.get("batch_size", 1) < 1:
        raise ErcError("--batch-size is at least 1.")
    if choose("crop", crop, CROPS) == FACE_CROP:
        if modality != Modality.VISUAL:
            raise ErcError("--crop face is for pictures: add --modality visual.")
        corpus = faces_of(corpus)
    present = [m for m in Modality if any(u.cell(m) for u in corpus.utterances)]
    wanted = present
    if modality is not None:
        wanted = [Modality(choose("modality", modality, Modality))]
        if not allow_empty and wanted[0] not in present:
            what = "a face" if crop == FACE_CROP else modality
            raise CorpusError(
                f"{corpus.root}: no utterance has {what}; it has "
                f"{', '.join(present) or 'no modality'}. `erc doctor` says why."
            )
    elif encoder not in (None, "baseline"):
        raise ErcError(f"--encoder {encoder} needs --modality: choose from {', '.join(present)}.")
    elif not present:
        raise CorpusError(f"{corpus.root}: no utterance has text, a picture or sound.")
    if Modality.AUDIO in wanted:
        must_be_normalised(corpus)
    for each in wanted:
        Segments(corpus).must_be_positions(each)
    return [Job(corpus, each, encoder or DEFAULTS[each], **options) for each in wanted]


def rows_of(corpus: Corpus) -> Rows:
    """The rows of a feature file of the corpus."""
    us = corpus.utterances
    return Rows(
        key=[u.key for u in us],
        split=[str(u.split) for u in us],
        dialogue=[u.dialogue for u in us],
        sequence=[u.sequence for u in us],
        speaker=[u.speaker for u in us],
        text=[u.x_text for u in us],
        label=[u.label for u in us],
        more={
            name: [u.more.get(name, "") for u in us]
            for name in sorted({name for u in us for name in u.more} - _NO_UNITS)
            if _PLAIN.fullmatch(name)
        },
    )
