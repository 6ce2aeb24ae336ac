"""Feature files of one corpus joined by key: what fusion trains on."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from erc_features.encoders.layers import pick_layers
from erc_features.errors import ErcError, listed
from erc_features.store import FeatureFile, Status
from erc_features.utterance import Split
from erc_fusion.inputs.sources import Source
from erc_fusion.inputs.streaming import Streaming, blocks, mapped
from erc_fusion.inputs.targets import LABEL, Task

BLOCK = 1024  # rows
_ORDER = {split: place for place, split in enumerate(Split)}


@dataclass(frozen=True, repr=False)
class FeatureTable:
    """N utterances and M feature files, in the order split, dialogue, sequence.

    >>> import erc_fusion
    >>> table = erc_fusion.load_table("meld")
    >>> dev = table.rows("dev")
    >>> table.key[dev][:2].tolist(), table.label[dev][:2].tolist()
    (['dev/d-0-seq-0', 'dev/d-1-seq-0'], [2, 2])

    Attributes:
        sources: the M files, by modality and name.
        key, split, speaker, text: (N,) str.
        dialogue, sequence: (N,) int32.
        label: (N,) int64, an index of `labels`, -1 where unlabelled.
        x: stem -> (N, L, D) as stored, zero where not present.
        present: (N, M) bool, whether the row's status is ok.
        more: other columns of the corpus, such as `session`: (N,) str each.
        apart: of those in which files differ, how; they are not in `more`.
        target: the columns to predict, see :mod:`erc_fusion.inputs.targets`; `labels` and `label`
            are of these.
        sets: (N, K) float64, 1 for each label that a row has, NaN where unlabelled, where rows
            have sets of labels; else None.
        number_names, numbers: the T columns of numbers, (N, T) float64, NaN where unlabelled.
        streamed: whether x is on the disk, see :mod:`erc_fusion.inputs.streaming`.
    """

    sources: tuple[Source, ...]
    labels: tuple[str, ...]
    key: np.ndarray
    split: np.ndarray
    dialogue: np.ndarray
    sequence: np.ndarray
    speaker: np.ndarray
    text: np.ndarray
    label: np.ndarray
    x: Mapping[str, np.ndarray]
    present: np.ndarray
    more: Mapping[str, np.ndarray] = field(default_factory=dict)
    apart: Mapping[str, str] = field(default_factory=dict)
    target: str = LABEL
    sets: np.ndarray | None = None
    number_names: tuple[str, ...] = ()
    numbers: np.ndarray | None = None
    streamed: bool = False

    def __len__(self) -> int:
        return len(self.key)

    @property
    def corpus(self) -> str:
        return self.sources[0].corpus

    @property
    def fingerprint(self) -> str:
        return self.sources[0].fingerprint

    def __repr__(self) -> str:
        """Short: the arrays of a corpus would fill a notebook."""
        files = ", ".join(f"{source.stem} {source.shape[1:]}" for source in self.sources)
        return f"FeatureTable({self.corpus}: {len(self):,} utterances; {files})"

    def digest(self) -> str:
        """A hash of all that a run learns from: keys, labels, embeddings, and which are present."""
        digest = hashlib.blake2b(digest_size=32)
        for column in (self.key, self.speaker, self.text):
            for part in blocks(len(column), BLOCK):
                text = "\0".join(column[part])
                digest.update(("\0" * bool(part.start) + text).encode("utf-8", "surrogatepass"))
        digest.update(json.dumps(self.labels).encode())
        for values in (self.label, self.present, *(self.x[name] for name in sorted(self.x))):
            for part in blocks(len(values), BLOCK):
                digest.update(np.ascontiguousarray(values[part]).view(np.uint8).data)
        if self.target != LABEL or self.sets is not None:
            digest.update(json.dumps(self.task.as_dict()).encode())
            for truth in (self.sets, self.numbers):
                if truth is not None:
                    digest.update(np.ascontiguousarray(truth).view(np.uint8).data)
        return digest.hexdigest()

    @property
    def task(self) -> Task:
        return Task(self.target, self.labels, self.sets is not None, self.number_names)

    @property
    def labelled(self) -> np.ndarray:
        """(N,) bool, whether anything of what is predicted is known of the row."""
        found = self.label >= 0
        for values in (self.sets, self.numbers):
            if values is not None:
                found = found | ~np.isnan(values).all(-1)
        return found

    def rows(self, split: Split | str) -> np.ndarray:
        """Row numbers of a split."""
        return np.flatnonzero(self.split == str(split))


def load_table(
    sources: Sequence[Source], layers: str = "all", streaming: Streaming | None = None
) -> FeatureTable:
    """Read those `layers` of the files and join them by key, never by row number.

    The shapes of the table's sources are those of the layers that were read. A table that is
    streamed has the same numbers.

    Raises:
        ErcError: their keys or labels disagree, a row that is ok holds NaN or infinity
            (names file and keys), a file has no such layer, or the disk has no room for a copy to
            stream from.
    """
    sources = tuple(sources)
    picked = {source.stem: layers_of(source, layers) for source in sources}
    streaming = streaming or Streaming()
    streamed = streaming.decide(
        sum(source.shape[0] * len(picked[source.stem]) * source.shape[2] for source in sources)
    )
    kept = streaming if streamed else None
    first = sources[0]
    with FeatureFile(first.path) as file:
        ranks = np.array([_ORDER[Split(split)] for split in file.split])
        order = np.lexsort((file.sequence, file.dialogue, ranks))
        key, truth = file.key[order], file.label[order]
        columns = {
            name: getattr(file, name)[order]
            for name in ("split", "dialogue", "sequence", "speaker", "text")
        }
    x, present = {}, []
    more: dict[str, np.ndarray] = {}
    whose: dict[str, Source] = {}
    differing: dict[str, str] = {}
    for source in sources:
        with FeatureFile(source.path) as file:
            rows = _rows(file, key, first)
            for name, values in file.more.items():
                found, known = values[rows], more.setdefault(name, values[rows])
                whose.setdefault(name, source)
                at = np.flatnonzero(found != known)
                if len(at):
                    differing.setdefault(
                        name,
                        f"{len(at)} rows differ, such as {key[at[0]]}: {known[at[0]]!r} in "
                        f"{whose[name].path}, {found[at[0]]!r} in {file.path}. Run the `erc "
                        "extract` of both again: it takes the columns of the corpus, and encodes "
                        "nothing anew.",
                    )
            apart = np.flatnonzero(file.label[rows] != truth)
            if len(apart):
                lines = (f"{key[i]}: {file.label[rows][i]!r}, {truth[i]!r} there" for i in apart)
                raise ErcError(
                    f"{file.path}: labels differ from those of {first.path}:{listed(lines, 5)}"
                )
            ok = file.status[rows] == Status.OK
            values, bad = _read(file, rows, picked[source.stem], ok, kept)
        if bad.any():
            raise ErcError(
                f"{source.path}: {int(bad.sum())} rows are marked ok but hold NaN or infinity:"
                f"{listed(key[bad], 5)}\nExtract it again with --overwrite."
            )
        x[source.stem] = values
        present.append(ok)
    places = {label: place for place, label in enumerate(first.labels)} | {"": -1}
    unknown = sorted(set(truth) - places.keys())
    if unknown:
        raise ErcError(
            f"{first.path}: rows are labelled {', '.join(unknown)}, outside its label set "
            f"{', '.join(first.labels)}. Extract it again with --overwrite."
        )
    return FeatureTable(
        sources=tuple(replace(source, shape=x[source.stem].shape) for source in sources),
        labels=first.labels,
        key=key,
        label=np.array([places[label] for label in truth], dtype=np.int64),
        x=x,
        present=np.stack(present, axis=1),
        more={name: values for name, values in more.items() if name not in differing},
        apart=differing,
        streamed=streamed,
        **columns,
    )


def _read(
    file: FeatureFile, rows: np.ndarray, layers: Sequence[int], ok: np.ndarray,
    streaming: Streaming | None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """(those layers of the rows (n, l, D), zero where not ok; (n,) bool, which are not finite).

    A block at a time: beside the result, no more of the file is ever in memory. With `streaming`,
    the result is on the disk: in the file itself, or in a copy.
    """
    shape, why = (len(rows), len(layers), file.shape[2]), ""
    bad = np.zeros(len(rows), bool)
    if streaming:
        found, why = mapped(file, rows, layers)
        if found is not None:
            left_over = False
            for part in blocks(len(rows), BLOCK):
                block = found[part]
                bad[part] = ok[part] & ~np.isfinite(block).all(axis=(1, 2))
                left_over |= bool(np.ascontiguousarray(block[~ok[part]]).view(np.uint8).any())
            if not left_over:
                return found, bad
            why = "it has numbers in rows that are not ok"
    values = np.empty(shape, file.dtype)
    if streaming:
        values = streaming.array(file.stem, shape, file.dtype, why)
    order = np.argsort(rows, kind="stable")  # as they are on the disk
    for places in blocks(len(rows), BLOCK):
        part = order[places]
        block = file.x(rows[part])[:, layers]
        block[~ok[part]] = 0
        bad[part] = ~np.isfinite(block).all(axis=(1, 2))
        values[part] = block
    return values, bad


def layers_of(source: Source, layers: str) -> list[int]:
    if source.shape[1] == 1 and re.fullmatch(r"[\d,:-]+", layers):
        return [0]  # the only layer of a baseline, beside a file of many layers
    try:
        return pick_layers(layers, source.shape[1])
    except ErcError as error:
        raise ErcError(f"{source.path}: {error} -4: takes as many as there are.") from error


def _rows(file: FeatureFile, key: np.ndarray, first: Source) -> np.ndarray:
    """The rows of the file that have those keys."""
    if len(np.unique(file.key)) < len(file.key):
        raise ErcError(f"{file.path}: keys occur twice. Extract it again with --overwrite.")
    apart = sorted(set(file.key) ^ set(key))
    if apart:
        raise ErcError(
            f"{file.path} and {first.path} have {len(apart)} keys that the other lacks:"
            f"{listed(apart, 5)}\nExtract one of them again with --overwrite."
        )
    return file.rows(keys=key)
