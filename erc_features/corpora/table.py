"""Reads plain CSVs of files and emotions, such as nkululeko's (github.com/felixbur/nkululeko).

    file,start,end,speaker,gender,emotion
    wav/a.wav,0 days 00:00:00,0 days 00:00:01.5,s1,female,happy

A row is a file, or a part of one where there are times: seconds, or as pandas writes them. Files
are relative to the CSV, to the folder that is prepared, or absolute. Columns may have other names
(`NAMES`); `--kind table:COLUMN` says which holds the label. All others are kept. The split is a
column, or the end of the CSV's name (emodb_train.csv, emodb_test.csv); without either, all is
train.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from erc_features.corpora.annotations import refuse_if_wrong
from erc_features.corpora.cells import Table, read_table
from erc_features.corpora.file_names import files_below
from erc_features.corpora.listing import (
    SPLITS,
    Listed,
    find_file,
    labels_of,
    unnamed,
    utterances,
)
from erc_features.corpora.raw import Defect, RawCorpus, Span
from erc_features.corpora.times import read_time
from erc_features.errors import CorpusError, listed
from erc_features.utterance import Split

# What a column is, and the names it is known by, in lower case; the first that is there counts.
NAMES: Mapping[str, tuple[str, ...]] = {
    "file": ("file", "filename", "file_name", "filepath", "file_path", "path", "audio",
             "audio_path", "audiopath", "wav", "wav_path"),
    "label": ("emotion", "label", "emo", "emotions", "labels", "class_label", "target"),
    "speaker": ("speaker", "speaker_id", "speakerid", "spk", "spk_id", "subject", "actor"),
    "start": ("start", "start_time", "starttime", "onset", "begin"),
    "end": ("end", "end_time", "endtime", "offset", "stop"),
    "duration": ("duration",),
    "text": ("text", "transcription", "transcript", "sentence", "utterance"),
    "split": ("split", "set", "subset", "partition"),
    "dialogue": ("dialogue", "dialog", "dialogue_id", "dialog_id", "conversation"),
}  # fmt: skip
_SPLIT_NAME = re.compile(r"(?:^|.*[-_. ])(" + "|".join(SPLITS) + ")", re.I)


def read_csvs(source: Path, which: str = "") -> RawCorpus | None:
    """Read a CSV, or all below a folder that name files and emotions; None where there is none.

    Args:
        which: the column of the label; by default the first of `NAMES["label"]` that is there.

    Raises:
        CorpusError: names every row that cannot be read, and utterances that are named twice.
    """
    root = source if source.is_dir() else source.parent
    paths = [source]
    if source.is_dir():
        paths = files_below(source, lambda name: name.lower().endswith(".csv"))
    tables: list[tuple[Table, dict[str, str]]] = []
    defects: list[Defect] = []
    for path in paths:
        try:
            table = read_table(path)
        except CorpusError as error:
            if source.is_file():
                raise
            where = os.path.relpath(path, root)
            defects.append(Defect("CSV that is not read", where, str(error)[:300], "left out"))
            continue
        columns = columns_of(table.columns, which)
        if {"file", "label"} <= set(columns):
            tables.append((table, columns))
        else:
            has = f"has the columns {', '.join(table.columns)[:200]}"
            defects.append(
                Defect("CSV that is not read", os.path.relpath(path, root), has, "left out")
            )
    if not tables:
        if source.is_file() or (which and paths):
            lines = [f"{os.path.relpath(path, root)}: {', '.join(read_table(path).columns)}"
                     for path in paths]  # fmt: skip
            label = f"a column {which}" if which else f"one of {', '.join(NAMES['label'])}"
            raise CorpusError(
                f"{source}: {label} and one of {', '.join(NAMES['file'])} were looked for among "
                f"the columns:{listed(lines)}\nSay which holds the label with --kind table:COLUMN."
            )
        return None
    rows: list[Listed] = []
    problems: list[str] = []
    for table, columns in tables:
        problems += table.ragged
        for line, cells in table.rows:
            rows += _row(f"{table.path}:{line}", cells, columns, _by_name(table.path), problems,
                         [table.path.parent, root])  # fmt: skip
    refuse_if_wrong(source, problems)
    if not rows:
        raise CorpusError(f"{source}: {tables[0][0].path} has columns and no rows.")
    _refuse_some_splits(source, tables)
    found, absent = utterances(root, rows)
    kept = sorted({columns["label"] for _, columns in tables})
    csvs = f"{len(tables)} CSV{'s' * (len(tables) > 1)}"
    note = f"{len(found):,} utterances of {csvs}; their labels are of the column {', '.join(kept)}."
    defects += [*absent, *(unnamed(root, rows) if source.is_dir() else ())]
    return RawCorpus("table", root, tuple(found), labels_of(rows), tuple(defects), (note,))


def columns_of(names: Sequence[str], which: str) -> dict[str, str]:
    """What each column that is known is: its role -> its name in the table."""
    lower = {name.lower(): name for name in reversed(names)}
    found = {
        role: lower[known]
        for role, of in NAMES.items()
        for known in [next((known for known in of if known in lower), "")]
        if known
    }
    if which:
        found.pop("label", None)
        if which in names:
            found["label"] = which
    return {role: name for role, name in found.items() if role == "label" or name != which}


def _row(
    place: str,
    cells: dict[str, str],
    columns: Mapping[str, str],
    split: Split | None,
    problems: list[str],
    folders: Sequence[Path],
) -> list[Listed]:
    """The row, or nothing where it is wrong."""
    has = {role: cells[name].strip() for role, name in columns.items()}
    if not has["file"]:
        problems.append(f"{place}: names no file")
        return []
    span, wrong = _span(has)
    named = has.get("split", "").lower()
    if named and named not in SPLITS:
        wrong = f"{columns['split']} {named!r} is none of {', '.join(SPLITS)}"
    if wrong:
        problems.append(f"{place}: {wrong}")
        return []
    used = {columns[role] for role in ("file", "label", "speaker", "text", "split", "dialogue")
            if role in columns}  # fmt: skip
    more = {name: cell.strip() for name, cell in cells.items() if name and name not in used}
    if span is not None:  # under the names that the rest of erc knows
        times = {columns[role] for role in ("start", "end") if role in columns}
        more = {name: cell for name, cell in more.items() if name not in times}
        more |= {"start": f"{span[0]:.10g}", "end": "" if span[1] is None else f"{span[1]:.10g}"}
    path = find_file(has["file"], folders)
    in_split = SPLITS.get(named) or split or Split.TRAIN
    speaker, text = has.get("speaker", ""), has.get("text", "")
    dialogue = has.get("dialogue", "")
    return [Listed(place, path, span, in_split, speaker, has["label"], text, dialogue, more)]


def _span(has: Mapping[str, str]) -> tuple[Span | None, str]:
    """The part of the file that a row is, None for all of it; or what is wrong with its times."""
    times: dict[str, float | None] = {}
    for role in ("start", "end", "duration"):
        cell = has.get(role, "")
        cell = "" if cell.lower() in ("nat", "nan", "none") else cell
        times[role] = read_time(cell) if cell else None
        if cell and times[role] is None:
            return None, f"{role} {cell!r} is not a time; 1.5, 0:00:01.5 and 0 days 00:00:01.5 are"
    start, end, duration = times["start"], times["end"], times["duration"]
    # A duration alone says how long the file is; after a start, how long the part is.
    if end is None and start is not None and duration is not None and "end" not in has:
        end = start + duration
    if not start and end is None:
        return None, ""
    if end is not None and end <= (start or 0.0):
        return None, f"it ends at {end:g} s, and starts at {start or 0:g} s"
    return (start or 0.0, end), ""


def _by_name(path: Path) -> Split | None:
    """The split that a CSV's name says."""
    match = _SPLIT_NAME.fullmatch(path.stem)
    return SPLITS[match[1].lower()] if match else None


def _refuse_some_splits(source: Path, tables: Sequence[tuple[Table, Mapping[str, str]]]) -> None:
    """CSVs that name no split beside some that do are copies of them, or nobody knows."""
    plain = [table.path for table, columns in tables
             if "split" not in columns and _by_name(table.path) is None]  # fmt: skip
    if plain and len(plain) < len(tables):
        raise CorpusError(
            f"{source}: some CSVs say by a column or by their names of which split they are, and "
            f"these do not:{listed(plain)}\nGive the path of one CSV, or move the others away."
        )
