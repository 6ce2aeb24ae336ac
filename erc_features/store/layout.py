"""The feature store: one HDF5 file for one corpus, modality and encoder. Format version 1.

A file can be used with h5py alone:

    features/<corpus>/<modality>.<name>[+variant…].h5

    /key /split /speaker /text /label   (N,) variable-length utf-8, in manifest order
    /dialogue /sequence                 (N,) int32
    /x        (N, L, D) float16 or float32: the pooled embedding, layer by layer;
              zeros where the row is not ok
    /status   (N,) enum uint8: pending 0, ok 1, missing 2 (no medium, blank text),
              failed 3 (the decoder, the encoder, NaN, or past what float16 holds)
    /reason   (N,) utf-8 of at most 200 bytes: why a row is missing or failed
    /column.… (N,) variable-length utf-8: other columns of the corpus, such as column.session
    /probe    (L, D) float32: what the encoder gave for a built-in input. Absent from imported
              files, and from those of an erc older than it

    attributes of the root group
      format "erc-features", format_version 1, complete (bool)
      corpus, fingerprint, labels (JSON list)         what was encoded
      modality, encoder, revision, config (JSON)      how; these must agree to resume
      versions (JSON), created, finished, device, engine, workers, notes (JSON)  for the record
      probe_input, probe_device                       which input, and where it was encoded

A writer MUST write `<stem>.h5.partial` first; the file gets its final name once `complete` is
true and it is synced. `format` is the last attribute of creation, after the probe. For every batch:
x, reason, flush, status, flush: a row's status never says ok before its numbers are in the file.
Who adds rows MUST compare the probe where there is one, and MUST NOT add one to a file with rows.
A reader MUST refuse another `format` and a larger `format_version`, MAY ignore attributes and
datasets it doesn't know, and MUST NOT use rows of `x` whose status is not ok.

x, status and reason are contiguous and allocated at creation, and `complete`, `finished` and
`notes` have a fixed size: after creation no metadata of the file changes, so a full disk shows at
the start, a SIGKILL between any two writes leaves a file that opens, and `erc inspect` may look
at a file that is being written.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from erc_features.errors import FeatureFileError
from erc_features.store.validation import check_dataset

FORMAT = "erc-features"
FORMAT_VERSION = 1
REASON_BYTES = 200
SUFFIX = ".h5"
PARTIAL = ".h5.partial"

TEXT_COLUMNS = ("key", "split", "speaker", "text", "label")
MORE = "column."  # begins the names of datasets that hold further columns
DATASETS = (*TEXT_COLUMNS, "dialogue", "sequence", "x", "status", "reason")


class Status(IntEnum):
    """The state of a row. `MISSING` and `FAILED` are final, as `OK` is.

    >>> import erc_features
    >>> with erc_features.open("features/meld/audio.wav2vec2-base.h5") as file:
    ...     int((file.status == Status.OK).sum())
    197
    """

    PENDING = 0
    OK = 1
    MISSING = 2
    FAILED = 3


@dataclass(frozen=True)
class Provenance:
    """What must agree for two extractions to belong in one file."""

    corpus: str
    fingerprint: str
    modality: str
    encoder: str
    revision: str
    config: Mapping[str, Any]

    def differences(self, other: "Provenance") -> list[str]:
        """A line for each value that differs, with both values. The corpus's name may differ."""
        lines = [
            f"{name}: {mine} here, {theirs} now"
            for name in ("fingerprint", "modality", "encoder", "revision")
            if (mine := getattr(self, name)) != (theirs := getattr(other, name))
        ]
        for name in sorted({*self.config, *other.config}):
            mine, theirs = self.config.get(name), other.config.get(name)
            if mine != theirs:
                lines.append(f"{name}: {mine!r} here, {theirs!r} now")
        return lines


@dataclass(frozen=True)
class Rows:
    """The rows of a feature file, column by column, in manifest order; each (N,).

    `more` has further columns of the corpus, such as `session`, by name.
    """

    key: Sequence[str]
    split: Sequence[str]
    dialogue: Sequence[int]
    sequence: Sequence[int]
    speaker: Sequence[str]
    text: Sequence[str]
    label: Sequence[str]
    more: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.key)


def read_provenance(file: h5py.File) -> Provenance:
    """The provenance in an open file's attributes."""
    names = ("corpus", "fingerprint", "modality", "encoder", "revision")
    texts = {name: str(file.attrs[name]) for name in names}
    return Provenance(**texts, config=json.loads(file.attrs["config"]))


def check_layout(file: h5py.File, path: Path | str) -> None:
    """Refuse anything but a feature file of a version that this erc reads.

    Raises:
        FeatureFileError: says which part of the layout is wrong, or points out of the file.
    """
    if plain(file.attrs.get("format")) != FORMAT:
        raise FeatureFileError(
            f"{path} is an HDF5 file, but not a feature file: its attribute `format` is not "
            f"{FORMAT!r}. `erc extract` writes feature files."
        )
    version = int(file.attrs.get("format_version", 0))
    if version > FORMAT_VERSION:
        raise FeatureFileError(
            f"{path} is of format version {version}; this erc reads up to {FORMAT_VERSION}. "
            "Upgrade erc to read it."
        )
    absent = [name for name in DATASETS if not check_dataset(file, name, path)]
    if absent:
        raise FeatureFileError(f"{path}: damaged, it has no {', '.join(absent)}.")
    rows = file["key"].shape
    wrong = [
        f"{name} {file[name].shape}"
        for name in DATASETS
        if file[name].shape[:1] != rows or file[name].ndim != (3 if name == "x" else 1)
    ]
    if wrong:
        raise FeatureFileError(
            f"{path}: damaged, shapes do not agree with key {rows}: {', '.join(wrong)}."
        )
    for name in more_names(file):
        if not check_dataset(file, name, path) or file[name].shape != rows:
            raise FeatureFileError(f"{path}: damaged, its {name} is not a text for each row.")
    if check_dataset(file, "probe", path) and file["probe"].shape != file["x"].shape[1:]:
        raise FeatureFileError(
            f"{path}: damaged, its probe {file['probe'].shape} is not of the shape "
            f"{file['x'].shape[1:]} of a row."
        )


def more_names(file: h5py.File) -> list[str]:
    """The datasets of further columns."""
    return sorted(name for name in file if name.startswith(MORE))


def plain(value: Any) -> Any:
    """An attribute as a Python value; texts of a fixed size lose their padding."""
    value = value.item() if isinstance(value, np.generic) else value
    return value.decode().rstrip(" \0") if isinstance(value, bytes) else value
