"""`erc export`: a feature file as .npz, Parquet, safetensors, or MMSA's pickle.

All but MMSA's hold `key`, `x`, `status` and `reason`, with the rows in the file's order, so that
`erc import` reads back what was written. A missing or failed row stays, as zeros.
"""

import json
import pickle
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from erc_features.errors import ErcError, choose, listed
from erc_features.interchange.mmsa import FIELDS
from erc_features.interchange.read import ARRAYS, PICKLES, TABLES
from erc_features.store import FeatureFile, Status
from erc_features.utterance import Modality, Split
from erc_features.whole_file import whole_file

_OTHERS = (*ARRAYS, *TABLES, *PICKLES)  # what is imported, not exported
_MMSA_SPLITS = {Split.TRAIN: "train", Split.DEV: "valid", Split.TEST: "test", Split.NEW: "new"}


@dataclass(frozen=True)
class Exported:
    """The summary of an export: `rows`, of which `ok` have features; `size` in bytes."""

    path: Path
    format: str
    rows: int
    ok: int
    size: int

    def __str__(self) -> str:
        rows = f"{self.rows:,} rows, {self.ok:,} ok"
        return f"{self.path}: {self.format}, {rows}; {self.size:,} bytes"


def export_features(
    files: Path | str | Sequence[Path | str],
    to: Path | str,
    kind: str,
    *,
    layer: int | None = None,
    overwrite: bool = False,
) -> Exported:
    """Write a feature file for other tools.

    >>> import numpy as np
    >>> from erc_features.interchange import export_features
    >>> made = export_features("features/meld/audio.wav2vec2-base.h5", "audio.npz", "npz")
    >>> made.rows, made.ok
    (197, 197)
    >>> with np.load("audio.npz") as arrays:
    ...     arrays["key"][0].item(), arrays["x"].shape
    ('train/d-0-seq-0', (197, 3, 8))

    Args:
        files: one file; for `mmsa` up to three of the same utterances, one for each modality.
        kind: npz, parquet, safetensors or mmsa.
        layer: the layer to write for `mmsa`, which has none; -1 is the last.

    Raises:
        ErcError: an unknown kind, a file that is incomplete or exists already, several layers
            where one is needed, or it cannot be written.
    """
    paths = [Path(files)] if isinstance(files, (str, Path)) else [Path(file) for file in files]
    write = _WRITERS[choose("format", kind, _WRITERS)]
    if other := [path for path in paths if path.suffix in _OTHERS]:
        raise ErcError(
            f"{other[0]}: is no feature file (.h5). `erc import {other[0].name}` makes one of it, "
            "which can be exported."
        )
    to = Path(to)
    if to.exists() and not overwrite:
        raise ErcError(f"{to} is there already; --overwrite replaces it.")
    if kind != "mmsa" and (len(paths) > 1 or layer is not None):
        raise ErcError(f"{kind} takes one file, with all its layers; mmsa takes --layer and more.")
    with ExitStack() as stack:
        opened = [stack.enter_context(FeatureFile(path)) for path in paths]
        if unfinished := [str(file.path) for file in opened if not file.complete]:
            raise ErcError(f"{unfinished[0]} is incomplete: finish it first.")
        with whole_file(to, "choose another file with --to") as part:
            write(opened, part, layer)
        status = opened[0].status
        return Exported(to, kind, len(status), int((status == Status.OK).sum()), to.stat().st_size)


def _about(file: FeatureFile) -> str:
    made = file.provenance
    return json.dumps({
        "corpus": made.corpus, "fingerprint": made.fingerprint, "modality": made.modality,
        "encoder": made.encoder, "revision": made.revision, "config": dict(made.config),
        "labels": list(file.labels), "dtype": file.dtype.name,
    })  # fmt: skip


def _npz(files: Sequence[FeatureFile], to: Path, _: int | None) -> None:
    """Texts and speakers stay out: numpy stores every text as long as the longest."""
    (file,) = files
    columns = {name: getattr(file, name) for name in
               ("key", "split", "dialogue", "sequence", "label", "status", "reason")}  # fmt: skip
    arrays = {name: x.astype(str) if x.dtype == object else x for name, x in columns.items()}
    with open(to, "wb") as out:
        np.savez(out, x=file.x(), about=np.array(_about(file)), **arrays)


def _parquet(files: Sequence[FeatureFile], to: Path, _: int | None) -> None:
    """`x` is a column of lists of L*D numbers, layer after layer; `erc_layers` says L."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    (file,) = files
    _, layers, dim = file.shape
    flat = pa.array(file.x().astype(np.float32).reshape(-1))
    names = [status.name.lower() for status in Status]
    columns: dict[str, Any] = {name: pa.array(getattr(file, name)) for name in (
        "key", "split", "dialogue", "sequence", "speaker", "text", "label")}  # fmt: skip
    columns["status"] = pa.array([names[status] for status in file.status])
    columns["reason"] = pa.array(file.reason)
    columns["x"] = pa.FixedSizeListArray.from_arrays(flat, layers * dim)
    table = pa.table(columns).replace_schema_metadata(
        {"erc_layers": str(layers), "erc_dim": str(dim), "erc_about": _about(file)}
    )
    pq.write_table(table, to)


def _safetensors(files: Sequence[FeatureFile], to: Path, _: int | None) -> None:
    from safetensors.numpy import save_file

    (file,) = files
    texts = {"key": file.key.tolist(), "reason": file.reason.tolist()}
    metadata = {name: json.dumps(value) for name, value in texts.items()}
    save_file({"x": file.x(), "status": file.status}, to, metadata | {"about": _about(file)})


def _mmsa(files: Sequence[FeatureFile], to: Path, layer: int | None) -> None:
    """Sequences of one frame; a row without features has length 0.

    MMSA reads `regression_labels`: here the label's place in `annotations`' order, -1 where
    there is none.
    """
    first = files[0]
    modalities = [Modality(file.provenance.modality) for file in files]
    if len(set(modalities)) < len(modalities):
        raise ErcError("mmsa takes one file for each modality: "
                       f"{', '.join(str(file.path) for file in files)}")  # fmt: skip
    place = {label: number for number, label in enumerate(first.labels)}
    orders = [file.rows(keys=first.key) for file in files]
    document: dict[str, dict[str, Any]] = {}
    for split, name in _MMSA_SPLITS.items():
        rows = first.rows(split=split)
        if len(rows) == 0:
            continue
        pairs = zip(first.dialogue[rows], first.sequence[rows], strict=True)
        labels = first.label[rows].tolist()
        codes = np.array([place.get(label, -1) for label in labels])
        part = {
            "id": [f"{dialogue}$_${sequence}" for dialogue, sequence in pairs],
            "raw_text": np.array(first.text[rows].tolist(), dtype=str),
            "annotations": labels,
            "classification_labels": codes,
            "regression_labels": codes.astype(np.float32),
        }
        for file, modality, order in zip(files, modalities, orders, strict=True):
            field = FIELDS[modality]
            part[field] = _one_layer(file, order[rows], layer)[:, None]  # (n, T = 1, D)
            part[f"{field}_lengths"] = (file.status[order[rows]] == Status.OK).astype(int).tolist()
        document[name] = part
    with open(to, "wb") as out:
        pickle.dump(document, out, protocol=4)


def _one_layer(file: FeatureFile, rows: np.ndarray, layer: int | None) -> np.ndarray:
    layers = file.shape[1]
    if layer is None and layers > 1:
        raise ErcError(
            f"{file.path} has {layers} layers, and MMSA has none: choose one, --layer -1."
        )
    if layer is not None and not -layers <= layer < layers:
        raise ErcError(f"{file.path} has no layer {layer}:{listed(range(layers))}")
    return file.x(rows)[:, layer or 0].astype(np.float32)


_WRITERS: dict[str, Callable[[Sequence[FeatureFile], Path, int | None], None]] = {
    "npz": _npz,
    "parquet": _parquet,
    "safetensors": _safetensors,
    "mmsa": _mmsa,
}
