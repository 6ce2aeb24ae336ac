"""`erc import`: features that people already have become a feature file."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from json import dumps
from pathlib import Path

import numpy as np

from erc_features.corpora.manifest import Corpus, read_corpus
from erc_features.encoders import clean_name
from erc_features.errors import ErcError, choose, listed
from erc_features.extraction.job import DTYPES, rows_of
from erc_features.interchange.base import Asked, Found
from erc_features.interchange.frames import POOLS
from erc_features.interchange.read import read
from erc_features.interchange.row_keys import Names, split_named
from erc_features.store import IMPORTED, FeatureFile, Provenance, Shape, Status, open_writer
from erc_features.utterance import Modality

_BATCH = 4096  # rows


@dataclass(frozen=True)
class Imported:
    """The summary of an import.

    Attributes:
        counts: rows ok, missing and failed.
        reasons: why rows are missing or failed -> how many.
        left_out: columns of a table that are not features.
        notes: what was taken, and warnings.
        already: the same was imported before; nothing was done.
    """

    path: Path
    source: Path
    sha256: str
    format: str
    field: str
    pooling: str
    shape: tuple[int, int, int]
    counts: Mapping[str, int]
    reasons: Mapping[str, int]
    left_out: tuple[str, ...]
    notes: tuple[str, ...]
    already: bool

    def __str__(self) -> str:
        rows = ", ".join(f"{count:,} {name}" for name, count in self.counts.items())
        what = f"{self.format}, {self.field}" if self.field else self.format
        lines = [
            f"{self.path}: {rows}; {self.shape[1]} x {self.shape[2]} a row",
            f"  of {self.source} ({what}; pooling: {self.pooling}; sha256 {self.sha256[:12]})",
            *(["  nothing to do, it was imported before"] if self.already else []),
            *(f"  {count:,} rows: {reason}" for reason, count in list(self.reasons.items())[:5]),
        ]
        if self.left_out:
            more = " …" if len(self.left_out) > 10 else ""
            lines.append(f"  columns left out: {', '.join(self.left_out[:10])}{more}")
        lines += [f"  {note}" for note in self.notes]
        return "\n".join(lines)


def import_features(
    source: Path | str,
    corpus: Corpus | Path | str,
    *,
    modality: str,
    name: str | None = None,
    keys: Path | str | None = None,
    split: str | None = None,
    drop: tuple[str, ...] = (),
    field: str | None = None,
    frames: str | None = None,
    layers: bool = False,
    features: Path | str = "features",
    dtype: str = "float32",
    overwrite: bool = False,
) -> Imported:
    """Write a feature file, `features/meld/audio.egemaps.h5`, from another tool's file.

    Every utterance of the corpus is a row of it; those for which the source has no features are
    marked as missing. Its provenance has the encoder `imported`, the source's sha256 as revision,
    and format, field and pooling as config.

    >>> import numpy as np
    >>> from pathlib import Path
    >>> from erc_features.interchange import import_features
    >>> Path("mine").mkdir()
    >>> lines = ["dialogue,sequence,speaker,x_text,x_visual,x_audio,label"]
    >>> lines += [f"0,{number},Ann,Hello.,,,joy" for number in range(4)]
    >>> _ = Path("mine/train.csv").write_text("\\n".join(lines))
    >>> np.save("egemaps.npy", np.ones((3, 88)))  # (N, D); the last utterance has none
    >>> made = import_features(
    ...     "egemaps.npy", "mine", modality="audio", split="train", drop=("dia0_utt3",)
    ... )
    >>> made.path.as_posix(), made.shape
    ('features/mine/audio.egemaps.h5', (4, 1, 88))
    >>> made.counts
    {'ok': 3, 'missing': 1, 'failed': 0}

    Args:
        source: .npy, .npz, .safetensors, .pt, .csv, .tsv, .parquet, a pickle of MMSA or of the
            conversation models, or a folder of .npy files.
        name: of the feature file; by default the source's name.
        keys: a file that names the rows, one per line; for a conversation pickle, a CSV of
            id,split,dialogue.
        split: the split of rows that do not say it; rows without names are in its order.
        drop: utterances of `split` that the source leaves out.
        field: which of several arrays or columns; `a,b` are two columns of numbers of a table,
            and two layers of a conversation pickle or where columns hold lists.
        frames: `mean`, `mean+std` or `max`: the second axis of three is frames, to be pooled so.
        layers: the second axis of three is layers, whatever it looks like.

    Raises:
        ErcError: the source does not fit the corpus (lists what differs), is refused, or the
            feature file cannot be written.
    """
    source = Path(source)
    if not isinstance(corpus, Corpus):
        corpus = read_corpus(corpus)
    of = Modality(choose("modality", modality, Modality))
    choose("dtype", dtype, DTYPES)
    if drop and split is None:
        raise ErcError("--drop names utterances of a split: say which with --split.")
    if frames is not None:
        choose("pooling of frames", frames, POOLS)
        if layers:
            raise ErcError("--frames and --layers contradict each other: say one of them.")
    asked = Asked(source, Names(corpus), of, field, Path(keys) if keys else None,
                  split_named(split), tuple(drop), frames, layers)  # fmt: skip
    found = read(asked)
    twice = [key for key, count in Counter(found.keys).items() if count > 1]
    if twice:
        raise ErcError(f"{source}: {len(twice):,} utterances are there twice:{listed(twice, 5)}")
    names = asked.names
    dropped = {names.key_of(one, asked.split): one for one in drop}
    if asked.split is not None:
        names.in_order(asked.split, drop)  # or says which are no utterances of it
    if there := [dropped[key] for key in found.keys if key in dropped]:
        raise ErcError(f"{source}: has features for {', '.join(there[:5])}, which --drop leaves "
                       "out. Leave it out of --drop.")  # fmt: skip
    digest = _sha256(source)
    config = {"format": found.format, "source": source.name, "pooling": found.pooling,
              "dtype": dtype, "rows": _rows_digest(found, dropped),
              **({"field": found.field} if found.field else {})}  # fmt: skip
    made = Provenance(corpus.name, corpus.fingerprint, str(of), IMPORTED, digest, config)
    path = Path(features) / corpus.name / f"{of}.{clean_name(name or source.stem)}.h5"
    versions = {"erc": version("erc"), "numpy": np.__version__}
    record = {"versions": dumps(versions), "imported_from": str(source.resolve())}
    x, status, reasons = _rows(asked, found, dtype, dropped)
    shape = Shape(found.x.shape[1], found.x.shape[2], dtype)
    with open_writer(path, rows_of(corpus), corpus.labels, made, shape, record,
                     overwrite=overwrite) as writer:  # fmt: skip
        if writer is not None:
            for first in range(0, len(x), _BATCH):
                rows = np.arange(first, min(first + _BATCH, len(x)))
                some = [reasons[row] for row in rows]
                writer.write(rows, x[rows], status[rows], some)
            writer.finish({})
    with FeatureFile(path) as file:
        counts = {s.name.lower(): int((file.status == s).sum())
                  for s in Status if s != Status.PENDING}  # fmt: skip
        why = Counter(reason for reason in file.reason.tolist() if reason)
    return Imported(path, source, digest, found.format, found.field, found.pooling,
                    (len(x), shape.layers, shape.dim), counts, dict(why.most_common()),
                    found.left_out, tuple(found.notes), writer is None)  # fmt: skip


def _rows_digest(found: Found, dropped: Mapping[str | None, str]) -> str:
    """A hash of which rows are which: another list of keys, split or drop is another import."""
    gone = sorted((key, int(status), why) for key, (status, why) in found.gone.items())
    lines = dumps([list(found.keys), gone, sorted(map(str, dropped))])
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


def _rows(
    asked: Asked, found: Found, dtype: str, dropped: Mapping[str | None, str]
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """x (N, L, D) of every utterance, its status (N,) and its reason."""
    corpus, source = asked.names.corpus, asked.source
    x = np.zeros((len(corpus.utterances), *found.x.shape[1:]), dtype)
    status = np.full(len(x), Status.MISSING, np.uint8)
    place = {key: row for row, key in enumerate(found.keys)}
    reasons = []
    for row, u in enumerate(corpus.utterances):
        at = place.get(u.key)
        if u.key in found.gone:
            status[row], reason = found.gone[u.key]
        elif at is None:
            out = u.key in dropped
            reason = "left out with --drop" if out else f"{source.name} has no features for it"
        else:
            with np.errstate(over="ignore"):
                x[row] = found.x[at]
            status[row], reason = Status.OK, ""
            if not np.isfinite(x[row]).all():
                largest = float(np.abs(found.x[at].astype(np.float64)).max())
                status[row], reason = Status.FAILED, "the embedding holds NaN or infinity"
                if np.isfinite(largest):
                    fits = dtype == "float16" and largest <= float(np.finfo(np.float32).max)
                    way = "--dtype float32" if fits else "scale it before"
                    reason = f"{largest:.4g} overflows {dtype}; {way}"
                x[row] = 0
        reasons.append(reason)
    return x, status, reasons


def _sha256(source: Path) -> str:
    """The sha256 of a file; of a folder, over the names and hashes of its .npy files."""
    if source.is_dir():
        files = sorted(source.rglob("*.npy"))
        lines = [[file.relative_to(source).as_posix(), _sha256(file)] for file in files]
        return hashlib.sha256(dumps(lines).encode()).hexdigest()
    with open(source, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
