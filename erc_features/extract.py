"""`erc extract`: a corpus -> feature files, once."""

import os
import platform
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from json import dumps
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from erc_features.corpora.manifest import Corpus, read_corpus
from erc_features.encoders import (
    DEFAULTS,
    ENCODERS,
    clean_name,
    default_name,
    load_encoder,
    resolve,
)
from erc_features.encoders.base import Encoder, Measured, Settings, measure
from erc_features.engines import run_local
from erc_features.errors import CorpusError, ErcError, choose
from erc_features.items import FRAMES, known, loader
from erc_features.plan import plan
from erc_features.plugins import with_plugins
from erc_features.store import Provenance, Rows, Shape, Status, open_writer
from erc_features.utterance import Modality

DTYPES = ("float16", "float32")


@dataclass(frozen=True)
class Extracted:
    """The summary of one feature file.

    Attributes:
        counts: rows ok, missing and failed.
        failures: reasons of failed rows, and how often each.
        notes: what the encoder left out, and of how many rows: "texts cut to 512 tokens".
        seconds: of work, without loading the encoder.
        rate: rows a second of those done now.
        shares: of the seconds, waiting for decoding, encoding, writing; they add up to 1.
        size: of the file, in bytes.
        already: it was complete; nothing was done.
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
    workers: int | None = None,
    retry: bool = False,
    overwrite: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
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
        workers: threads that decode; one a core by default.
        progress: called with (file stem, rows done, rows).

    Raises:
        ErcError: nothing to encode, an unknown choice, weights that can't be had, a file of
            other provenance, a full disk. Rows already written are kept.
    """
    if not isinstance(corpus, Corpus):
        corpus = read_corpus(corpus)
    choose("dtype", dtype, DTYPES)
    if batch_size < 1 or (workers is not None and workers < 1):
        raise ErcError("--batch-size and --workers are at least 1.")
    chosen = _modalities(corpus, modality, encoder)
    return [
        _extract_one(
            corpus, each, encoder or DEFAULTS[each], Path(features), name, settings or Settings(),
            dtype, batch_size, workers or os.cpu_count() or 1, retry, overwrite, progress,
        )
        for each in chosen
    ]  # fmt: skip


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


def _modalities(corpus: Corpus, modality: str | None, encoder: str | None) -> list[Modality]:
    if modality is not None:
        wanted = Modality(choose("modality", modality, Modality))
        if not any(u.cell(wanted) for u in corpus.utterances):
            raise CorpusError(
                f"{corpus.root}: no utterance has {wanted}; it has "
                f"{', '.join(_present(corpus)) or 'no modality'}. `erc doctor` says why."
            )
        return [wanted]
    if encoder not in (None, "baseline"):
        raise ErcError(
            f"--encoder {encoder} needs --modality: choose from {', '.join(_present(corpus))}."
        )
    found = _present(corpus)
    if not found:
        raise CorpusError(f"{corpus.root}: no utterance has text, a picture or sound.")
    return found


def _present(corpus: Corpus) -> list[Modality]:
    return [m for m in Modality if any(u.cell(m) for u in corpus.utterances)]


def _extract_one(
    corpus: Corpus,
    modality: Modality,
    encoder_name: str,
    features: Path,
    name: str | None,
    settings: Settings,
    dtype: str,
    batch_size: int,
    workers: int,
    retry: bool,
    overwrite: bool,
    progress: Callable[[str, int, int], None] | None,
) -> Extracted:
    settings = resolve(encoder_name, settings)
    file_name = clean_name(name) if name else default_name(encoder_name, modality)
    stem = feature_stem(modality, file_name, settings)
    path = features / corpus.name / f"{stem}.h5"
    encoder = load_encoder(encoder_name, modality, settings)
    has_medium = np.array([bool(u.cell(modality)) for u in corpus.utterances])

    def again(status: np.ndarray) -> np.ndarray:
        redo = (status == Status.FAILED) | ((status == Status.MISSING) & has_medium)
        return np.flatnonzero(redo)

    with open_writer(
        path,
        _rows(corpus),
        corpus.labels,
        _provenance(corpus, modality, encoder, settings, dtype),
        Shape(encoder.layers, encoder.dim, dtype),
        {"versions": dumps(_versions()), "device": encoder.device, "engine": "local",
         "workers": workers},
        overwrite=overwrite,
        again=again if retry else None,
    ) as writer:  # fmt: skip
        if writer is None:
            return _summary(path, modality, already=True)
        began = perf_counter()
        waited = encoded = 0.0
        done_before = int((writer.status != Status.PENDING).sum())
        _write_missing(writer, corpus, modality, has_medium)
        planned, measured = _plan(
            corpus, modality, encoder, settings.history, has_medium, batch_size
        )
        load = loader(corpus, modality, settings.history)
        batches = [rows for rows in planned if (writer.status[rows] == Status.PENDING).any()]
        total = len(corpus.utterances)
        for batch in run_local(batches, load, encoder, dtype, workers):
            writer.write(batch.rows, batch.x, batch.status, batch.reasons)
            waited, encoded = waited + batch.waited, encoded + batch.encoded
            if progress:
                progress(stem, int((writer.status != Status.PENDING).sum()), total)
        writer.finish(measured.notes)
    seconds = perf_counter() - began
    rate = (total - done_before) / seconds
    shares = {"decoding": waited / seconds, "encoding": encoded / seconds}
    shares["writing"] = max(0.0, 1 - sum(shares.values()))
    return _summary(path, modality, seconds=seconds, rate=rate, shares=shares)


def _rows(corpus: Corpus) -> Rows:
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


def _provenance(
    corpus: Corpus, modality: Modality, encoder: Encoder, settings: Settings, dtype: str
) -> Provenance:
    config: dict[str, Any] = {
        "layers": settings.layers,
        "pool": settings.pool,
        "precision": settings.precision,
        "dtype": dtype,
    }
    decode = corpus.info.get("decode", {})
    if modality == Modality.TEXT:
        config |= {"history": settings.history}
    if modality == Modality.VISUAL:
        config |= {"frames": decode.get("frames", FRAMES), "height": decode.get("height")}
    if modality == Modality.AUDIO:
        config |= {"rate": 16_000}
    named = with_plugins("erc.encoders", ENCODERS)
    folder = Path(encoder.name)
    is_folder = encoder.name not in named and folder.is_dir()
    where = str(folder.resolve()) if is_folder else encoder.name
    return Provenance(
        corpus.name, corpus.fingerprint, str(modality), where, encoder.revision, config
    )


def _plan(
    corpus: Corpus,
    modality: Modality,
    encoder: Encoder,
    history: int,
    has_medium: np.ndarray,
    batch_size: int,
) -> tuple[list[np.ndarray], Measured]:
    rows = np.flatnonzero(has_medium)
    found = measure(encoder, known(corpus, modality, rows, history))
    batches = plan(
        rows, found.sizes, groups=found.groups, batch_size=batch_size, cost=encoder.cost,
        cap=encoder.cap,
    )  # fmt: skip
    return batches, found


def _write_missing(writer: Any, corpus: Corpus, modality: Modality, has_medium: np.ndarray) -> None:
    rows = np.flatnonzero(~has_medium & (writer.status == Status.PENDING))
    if len(rows) == 0:
        return
    blank = "the text is blank"
    reasons = [
        blank if modality == Modality.TEXT
        else corpus.missing_reason(corpus.utterances[row], modality)
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
    from erc_features.store import FeatureFile

    with FeatureFile(path) as file:
        status, shape = file.status, file.shape
        failures = Counter(file.reason[status == Status.FAILED].tolist())
        notes = file.attributes.get("notes", {})
    counts = {s.name.lower(): int((status == s).sum()) for s in Status if s != Status.PENDING}
    return Extracted(
        path, modality, shape, counts, dict(failures.most_common()), seconds, rate, shares or {},
        path.stat().st_size, notes, already,
    )  # fmt: skip


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("erc", "torch", "transformers", "open_clip_torch", "torchaudio", "av",
                    "scikit-learn", "numpy", "h5py"):  # fmt: skip
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
