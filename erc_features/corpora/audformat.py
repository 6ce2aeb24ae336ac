"""Reads audformat databases (audeering.github.io/audformat) without the library.

    db.yaml                     the header: tables, their columns, schemes with labels, splits
    db.TABLE.csv or .parquet    filewise (file) or segmented (file, start, end) tables
    the media files, relative to the folder of the header

The label is the column of the scheme `emotion`, or of that name; `--kind audformat:TABLE` says of
which table, or tables separated by commas or as a pattern (`emotion.*.gold_standard`), and
`audformat:TABLE:COLUMN` which column. Without it,
all tables that have such a column are read, which must agree. The order of labels is the
scheme's. A table's split is that of its rows; else they are train. Speakers, their gender and age,
transcriptions and everything else that is known of a file become columns, under their own names.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase as fnmatch
from pathlib import Path
from typing import Any

from erc_features.corpora.cells import read_table
from erc_features.corpora.file_names import files_below
from erc_features.corpora.listing import SPLITS, Listed, labels_of, unnamed, utterances
from erc_features.corpora.raw import Defect, RawCorpus, Span
from erc_features.corpora.times import read_time
from erc_features.errors import CorpusError, listed
from erc_features.utterance import Split

HEADER = "db.yaml"
EMOTION = "emotion"
TEXTS = ("transcription", "transcript", "text")
_Key = tuple[str, Span | None]


def read_audformat(source: Path, which: str = "") -> RawCorpus | None:
    """Read a database; None where there is no db.yaml with tables in `source` or below it.

    Args:
        which: TABLE, TABLE:COLUMN, or several tables, by commas or a pattern.

    Raises:
        CorpusError: the header or a table cannot be read, no table has emotions, or tables differ.
    """
    headers = files_below(source, lambda name: name == HEADER)
    if not headers:
        return None
    if len(headers) > 1:
        raise CorpusError(
            f"{source} holds {len(headers)} databases:{listed(headers)}\n"
            "Prepare the folder of one of them."
        )
    root, header = headers[0].parent, _header(headers[0])
    chosen = _chosen(headers[0], header, which)
    rows: dict[_Key, Listed] = {}
    splits: dict[_Key, Split] = {}
    problems: list[str] = []
    order: list[str] = []
    for table, column in chosen:
        order += _labels(root, header, table, column)
        said = header["tables"][table].get("split_id")
        split = _split(header, said)
        for place, key, cells in _rows(root, header, table):
            label = _text(cells.pop(column))
            new = Listed(place, root / key[0], key[1], label=label,
                         more={name: _text(cell) for name, cell in cells.items()})  # fmt: skip
            known = rows.setdefault(key, new)
            if known.label != label:
                problems.append(f"{place}: {label!r}, but {known.label!r} in {known.where}")
            if split is not None and splits.setdefault(key, split) != split:
                problems.append(f"{place}: {split}, but {splits[key]} in another table")
            rows[key] = replace(known, more={**new.more, **known.more})
    if problems:
        ids = ", ".join(dict.fromkeys(table for table, _ in chosen))
        raise CorpusError(
            f"{headers[0]}: the tables {ids} differ in {len(problems)} rows:{listed(problems)}\n"
            "Say which to read with --kind audformat:TABLE."
        )
    facts = _facts(root, header, chosen)
    named = [
        replace(_described(row, key, facts), split=splits.get(key, Split.TRAIN))
        for key, row in rows.items()
    ]
    found, defects = utterances(root, named)
    tables = ", ".join(f"{table} ({column})" for table, column in chosen)
    name = header.get("name", root.name)
    note = f"{len(found):,} utterances of the database {name}; their labels are of {tables}."
    defects += [*unnamed(root, named), *_left(header, chosen)]
    labels = labels_of(named, order)
    return RawCorpus("audformat", root, tuple(found), labels, tuple(defects), (note,))


def _header(path: Path) -> dict[str, Any]:
    import yaml

    try:
        header = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise CorpusError(f"{path}: cannot be read as YAML ({error}).") from error
    if not isinstance(header, dict) or not isinstance(header.get("tables"), dict):
        raise CorpusError(f"{path}: is no header of an audformat database: it has no tables.")
    # Empty parts are left out of some headers, and null in others.
    for part in ("tables", "schemes", "splits"):
        header[part] = _mapping(path, part, header.get(part))
    for name, table in header["tables"].items():
        table["columns"] = _mapping(path, f"columns of {name}", table.get("columns"))
    return header


def _mapping(path: Path, what: str, found: Any) -> dict[str, dict[str, Any]]:
    """A part of the header as names and what they are."""
    found = {} if found is None else found
    if not isinstance(found, dict) or not all(
        of is None or isinstance(of, dict) for of in found.values()
    ):
        raise CorpusError(f"{path}: its {what} are not names with what they are.")
    return {str(name): of or {} for name, of in found.items()}


def _chosen(path: Path, header: Mapping[str, Any], which: str) -> list[tuple[str, str]]:
    """(table, column) of the labels."""
    wanted, _, column = which.partition(":")
    names = [name.strip() for name in wanted.split(",") if name.strip()] or ["*"]
    tables = [table for table in header["tables"] if any(fnmatch(table, name) for name in names)]
    if unknown := [name for name in names if not any(fnmatch(t, name) for t in header["tables"])]:
        raise CorpusError(
            f"{path}: has no table {', '.join(unknown)}; {', '.join(header['tables'])} are there."
        )
    found = []
    for table in tables:
        columns = header["tables"][table]["columns"]
        if column:
            found += [(table, column)] if column in columns else []
            continue
        schemes = {name: of.get("scheme_id") for name, of in columns.items()}
        emotions = [name for name, scheme in schemes.items() if EMOTION in (scheme, name)]
        if len(emotions) > 1 and EMOTION in emotions:
            emotions = [EMOTION]
        found += [(table, name) for name in emotions]
    if not found:
        lines = [f"{name}: {', '.join(of['columns']) or 'no columns'}"
                 for name, of in header["tables"].items()]  # fmt: skip
        what = f"a column {column}" if column else "a column of the scheme emotion, or of that name"
        raise CorpusError(
            f"{path}: {what} was looked for in {', '.join(tables)}, and there is none. Its tables "
            f"are:{listed(lines)}\nSay which to read with --kind audformat:TABLE:COLUMN."
        )
    if twice := sorted({table for table, _ in found if [t for t, _ in found].count(table) > 1}):
        lines = [f"{table}:{name}" for table, name in found if table in twice]
        raise CorpusError(
            f"{path}: several columns of a table hold emotions:{listed(lines)}\n"
            "Say which to read with --kind audformat:TABLE:COLUMN."
        )
    return found


def _labels(root: Path, header: Mapping[str, Any], table: str, column: str) -> list[str]:
    """The labels of a column's scheme, in its order; none where it has none."""
    of = header["tables"][table]["columns"][column]
    labels = header["schemes"].get(of.get("scheme_id"), {}).get("labels")
    if isinstance(labels, str):  # a table that lists them
        return [_text(next(iter(cells.values()))) for _, cells in _cells(root, labels)]
    return [_text(label) for label in labels] if isinstance(labels, list | dict) else []


def _split(header: Mapping[str, Any], said: str | None) -> Split | None:
    if said is None:
        return None
    kind = header["splits"].get(str(said), {}).get("type", said)
    return SPLITS.get(str(kind).lower())


def _facts(
    root: Path, header: Mapping[str, Any], chosen: list[tuple[str, str]]
) -> dict[_Key, dict[str, str]]:
    """What other tables say of files and segments."""
    facts: dict[_Key, dict[str, str]] = {}
    schemes = header["schemes"]
    emotions = {name for _, name in chosen}
    meanings = {name: _meanings(root, of.get("labels")) for name, of in schemes.items()}
    for table in header["tables"]:
        columns = header["tables"][table]["columns"]
        for _, key, cells in _rows(root, header, table):
            known = facts.setdefault(key, {})
            for name, cell in cells.items():
                if name in emotions:
                    continue
                known.setdefault(name, _text(cell))
                scheme = columns.get(name, {}).get("scheme_id")
                means = meanings.get(scheme, {}).get(_text(cell))
                if isinstance(means, dict):  # a speaker's gender and age
                    for fact, value in means.items():
                        known.setdefault(str(fact), _text(value))
                elif isinstance(means, str) and name in TEXTS:
                    known[name] = means
    return facts


def _meanings(root: Path, labels: Any) -> dict[str, Any]:
    """What is known of each label of a scheme, in the header or in the table that it names."""
    if isinstance(labels, dict):
        return {_text(label): means for label, means in labels.items()}
    if not isinstance(labels, str):
        return {}
    found = {}
    for _, cells in _cells(root, labels):
        label, *_ = cells.values()
        found[_text(label)] = dict([*cells.items()][1:])
    return found


def _described(row: Listed, key: _Key, facts: Mapping[_Key, Mapping[str, str]]) -> Listed:
    """The row with what is known of it, or of its file."""
    file, span = key
    known = {**facts.get((file, None), {}), **facts.get(key, {})}
    more = {name: cell for name, cell in {**row.more, **known}.items() if name != "speaker"}
    text = next((more.pop(name) for name in TEXTS if name in more), "")
    if span is not None:
        more |= {"start": f"{span[0]:.10g}", "end": "" if span[1] is None else f"{span[1]:.10g}"}
    return replace(row, speaker=known.get("speaker", ""), text=text, more=more)


def _left(header: Mapping[str, Any], chosen: list[tuple[str, str]]) -> Iterator[Defect]:
    """Splits that are none of ours, whose rows are train."""
    for table in dict.fromkeys(table for table, _ in chosen):
        said = header["tables"][table].get("split_id")
        if said is not None and _split(header, said) is None:
            yield Defect("split of another kind", table, f"its split is {said}", "read as train")


def _rows(
    root: Path, header: Mapping[str, Any], table: str
) -> Iterator[tuple[str, _Key, dict[str, Any]]]:
    """The place, the file and part, and the other cells of each row of a table."""
    segmented = header["tables"][table].get("type") == "segmented"
    for place, cells in _cells(root, table):
        if "file" not in cells or (segmented and not {"start", "end"} <= set(cells)):
            raise CorpusError(f"{place}: has no column file{', start or end' * segmented}.")
        file, span = _text(cells.pop("file")), None
        if segmented:
            start, end = (_seconds(cells.pop(name), place) for name in ("start", "end"))
            # From its beginning to its end is the whole file.
            span = (start or 0.0, end) if start or end is not None else None
        yield place, (file, span), cells


def _cells(root: Path, table: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row's place and cells."""
    path = root / f"db.{table}.csv"
    if path.is_file():
        read = read_table(path)
        if read.ragged:
            raise CorpusError(f"{path}: rows are wrong:{listed(read.ragged)}")
        for line, cells in read.rows:
            yield f"{path}:{line}", dict(cells)
        return
    parquet = path.with_suffix(".parquet")
    if not parquet.is_file():
        raise CorpusError(
            f"{root}: the table {table} was looked for as {path.name} and {parquet.name}, and is "
            "neither. One that is pickled is not read: save the database with "
            "db.save(FOLDER, storage_format='csv')."
        )
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        read = pq.read_table(parquet)
    except (OSError, pa.ArrowException) as error:
        raise CorpusError(f"{parquet}: cannot be read as Parquet ({error}).") from error
    durations = [field.name for field in read.schema if pa.types.is_duration(field.type)]
    for name in durations:  # as nanoseconds, which need no pandas
        column = read.column(name).cast(pa.duration("ns")).cast(pa.int64())
        read = read.set_column(read.schema.get_field_index(name), name, column)
    for number, cells in enumerate(read.to_pylist()):
        for name in durations:
            cells[name] = None if cells[name] is None else cells[name] / 1e9
        yield f"{parquet}:row {number}", cells


def _seconds(cell: Any, place: str) -> float | None:
    """A time in seconds; None for an end that is not given (NaT)."""
    text = _text(cell)
    if not text:
        return None
    seconds = float(cell) if isinstance(cell, float) else read_time(text)
    if seconds is None:
        raise CorpusError(f"{place}: {text!r} is not a time; 0 days 00:00:01.5 and 1.5 are.")
    return seconds


def _text(cell: Any) -> str:
    """A cell as text; what pandas writes for nothing is nothing."""
    if cell is None or cell != cell:
        return ""
    text = str(cell).strip()
    return "" if text in ("NaT", "<NA>") else text
