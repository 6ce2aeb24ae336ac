"""Reads folders that `save_to_disk` of Hugging Face's `datasets` wrote, without the library.

    dataset_info.json, state.json, data-00000-of-00001.arrow      a Dataset
    dataset_dict.json and a folder for each split                 a DatasetDict

The sound is the column of the type Audio: bytes inside the table, or a path. Columns are known by
the names of `table.NAMES`; a ClassLabel has its names and their order, and -1 is no label.
`--kind datasets:COLUMN` says which column holds the label. A single Dataset is train.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from erc_features.corpora.file_names import files_below
from erc_features.corpora.listing import SPLITS, Listed, find_file, labels_of, utterances
from erc_features.corpora.raw import Defect, RawCorpus
from erc_features.corpora.table import NAMES, columns_of
from erc_features.errors import CorpusError, listed
from erc_features.utterance import Split


def read_datasets(source: Path, which: str = "") -> RawCorpus | None:
    """Read a saved dataset; None where there is none in `source` or below it.

    Args:
        which: the column of the label.

    Raises:
        CorpusError: a file cannot be read, or there is no column of sound or of labels.
    """
    states = files_below(source, lambda name: name == "state.json")
    folders = [path.parent for path in states if (path.parent / "dataset_info.json").is_file()]
    if not folders:
        return None
    if len(folders) > 1 and len({folder.parent for folder in folders}) > 1:
        raise CorpusError(
            f"{source} holds several datasets:{listed(folders)}\nPrepare the folder of one of them."
        )
    single = len(folders) == 1 and not (folders[0].parent / "dataset_dict.json").is_file()
    rows: list[Listed] = []
    defects: list[Defect] = []
    order: list[str] = []
    label = ""
    for folder in folders:
        split = Split.TRAIN if single else SPLITS.get(folder.name.lower())
        if split is None:
            what = f"the split is called {folder.name}"
            done = "read as train; the column part has its name"
            defects.append(Defect("split of another kind", folder.name, what, done))
        features = _json(folder / "dataset_info.json").get("features")
        if not isinstance(features, dict):
            raise CorpusError(f"{folder / 'dataset_info.json'}: names no features.")
        columns = _columns(folder, features, which)
        label = columns["label"]
        order += features[label].get("names") or ()
        kinds = {name: feature.get("_type") for name, feature in features.items()
                 if isinstance(feature, dict)}  # fmt: skip
        for name, kind in kinds.items():
            if kind not in ("Value", "ClassLabel") and name != columns["file"]:
                left = Defect("column that is not read", name, f"its type is {kind}", "left out")
                defects += [left] if left not in defects else []
        single_valued = [name for name, kind in kinds.items() if kind in ("Value", "ClassLabel")]
        for place, cells, inside in _rows(folder, columns["file"], single_valued):
            rows.append(_row(place, cells, inside, columns, features, split, folder))
    found, absent = utterances(source, rows)
    note = f"{len(found):,} utterances of a saved dataset; their labels are of the column {label}."
    labels = labels_of(rows, order)
    return RawCorpus("datasets", source, tuple(found), labels, (*defects, *absent), (note,))


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CorpusError(f"{path}: cannot be read as JSON ({error}).") from error
    if not isinstance(found, dict):
        raise CorpusError(f"{path}: is no object.")
    return found


def _columns(folder: Path, features: Mapping[str, Any], which: str) -> dict[str, str]:
    """What each column is; `file` is that of the sound."""
    types = {name: of.get("_type") if isinstance(of, dict) else "a list"
             for name, of in features.items()}  # fmt: skip
    sounds = [name for name, kind in types.items() if kind == "Audio"]
    columns = columns_of([name for name in features if name not in sounds], which)
    sound = sounds[0] if len(sounds) == 1 else "audio"
    lines = [f"{name}: {kind}" for name, kind in types.items()]
    if sound not in sounds:
        what = "one column of the type Audio, or one called audio,"
        raise CorpusError(f"{folder}: {what} was looked for among its columns:{listed(lines)}")
    single = types.get(columns.get("label", "")) in ("Value", "ClassLabel")
    if not single:
        what = which or f"one of {', '.join(NAMES['label'])}"
        raise CorpusError(
            f"{folder}: {what}, with one label in a cell, was looked for among its columns:"
            f"{listed(lines)}\nSay which holds the label with --kind datasets:COLUMN."
        )
    return columns | {"file": sound}


def _rows(folder: Path, sound: str, others: list[str]) -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Each row's place, the cells of the other columns, and where its sound is: a path, or which
    bytes of the table's file, the first and how many."""
    import pyarrow as pa

    files = _json(folder / "state.json").get("_data_files")
    names = [entry.get("filename") for entry in files or () if isinstance(entry, dict)]
    number = 0
    for path in (folder / str(name) for name in names):
        try:
            whole = pa.memory_map(str(path)).read_buffer()
            batches = list(pa.ipc.open_stream(whole))
            for batch in batches:
                batch.validate(full=True)  # offsets that point out of the file would be followed
            absent = {sound, *others} - set(batches[0].schema.names) if batches else set()
        except (OSError, ValueError, pa.ArrowException) as error:
            raise CorpusError(f"{path}: cannot be read as a table of Arrow ({error}).") from error
        if absent:
            raise CorpusError(f"{path}: has no column {', '.join(sorted(absent))}.")
        for batch in batches:
            places = list(_sounds(path, whole, batch.column(sound)))
            for cells, inside in zip(batch.select(others).to_pylist(), places, strict=True):
                yield f"{folder.name}:row {number}", cells, (path, inside)
                number += 1


def _sounds(path: Path, whole: Any, column: Any) -> Iterator[Any]:
    """Where each sound is: (first byte, how many), its path, or None."""
    import numpy as np
    import pyarrow as pa

    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    kind = column.type
    if not pa.types.is_struct(kind) or not {"bytes", "path"} <= {field.name for field in kind}:
        raise CorpusError(f"{path}: its sounds are {kind}, not bytes and path.")
    data, names = column.field("bytes"), column.field("path").to_pylist()
    if not (pa.types.is_binary(data.type) or pa.types.is_large_binary(data.type)):
        raise CorpusError(f"{path}: the bytes of its sounds are {data.type}, not binary.")
    _, offsets, buffer = data.buffers()
    size = np.int64 if pa.types.is_large_binary(data.type) else np.int32
    ends = np.frombuffer(offsets, size)[data.offset : data.offset + len(data) + 1]
    valid = data.is_valid().to_pylist()
    for i, name in enumerate(names):
        if not valid[i]:
            yield name
            continue
        first = buffer.address - whole.address + int(ends[i])
        if not 0 <= first <= whole.size - int(ends[i + 1] - ends[i]):
            raise CorpusError(
                f"{path}: its sounds are compressed. Save it again with save_to_disk of datasets."
            )
        yield first, int(ends[i + 1] - ends[i])


def _row(
    place: str,
    cells: dict[str, Any],
    found: Any,
    columns: Mapping[str, str],
    features: Mapping[str, Any],
    split: Split | None,
    folder: Path,
) -> Listed:
    path, inside = found
    if not isinstance(inside, tuple):
        path, inside = find_file(str(inside), [folder, folder.parent]), None
    texts = {name: _text(cell, features[name]) for name, cell in cells.items()}
    used = {columns[role] for role in ("label", "speaker", "text", "dialogue") if role in columns}
    more = {name: text for name, text in texts.items() if name not in used and text is not None}
    if split is None:
        more["part"] = folder.name
    has = {role: texts.get(name) or "" for role, name in columns.items()}
    return Listed(
        place, path, None, split or Split.TRAIN, has.get("speaker", ""), has["label"],
        has.get("text", ""), has.get("dialogue", ""), more, inside,
    )  # fmt: skip


def _text(cell: Any, feature: Any) -> str | None:
    """A cell as text, a ClassLabel by its name; None for what is no single value."""
    if cell is None:
        return ""
    if not isinstance(feature, dict) or feature.get("_type") not in ("Value", "ClassLabel"):
        return None
    if feature["_type"] == "ClassLabel":
        names = feature.get("names") or ()
        return "" if cell < 0 else str(names[cell]) if cell < len(names) else f"class {cell}"
    return f"{cell:.9g}" if isinstance(cell, float) else str(cell).strip()
