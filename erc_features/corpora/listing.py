"""What the readers of tables share: rows that name a file, or a part of one, and say what it is.

The rows of one file are a dialogue, in the order of their times, unless the table says which
dialogues there are. Files, and so dialogues, are numbered in the order of their names.
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from erc_features.corpora.cells import plain_text
from erc_features.corpora.file_names import media_below
from erc_features.corpora.manifest import COLUMNS
from erc_features.corpora.raw import Defect, RawSound, RawUtterance, Span
from erc_features.errors import CorpusError, listed
from erc_features.utterance import Split, Utterance

SPLITS = {
    "train": Split.TRAIN, "training": Split.TRAIN,
    "dev": Split.DEV, "development": Split.DEV, "val": Split.DEV, "valid": Split.DEV,
    "validation": Split.DEV,
    "test": Split.TEST, "testing": Split.TEST,
}  # fmt: skip
_TAKEN = frozenset({*COLUMNS, "split", "x_face", ""})


@dataclass(frozen=True)
class Listed:
    """A row of a table.

    Attributes:
        where: the table and its line, for messages.
        path: the file of sound or video.
        span: which part of it, in seconds; None is all of it.
        inside: which bytes of the file, as :class:`RawSound`.
        dialogue: the name of its dialogue; "" where that is its file.
        more: further columns.
    """

    where: str
    path: Path
    span: Span | None = None
    split: Split = Split.TRAIN
    speaker: str = ""
    label: str = ""
    text: str = ""
    dialogue: str = ""
    more: Mapping[str, str] = field(default_factory=dict)
    inside: tuple[int, int] | None = None


def utterances(source: Path, rows: Sequence[Listed]) -> tuple[list[RawUtterance], list[Defect]]:
    """The utterances of a table's rows, in manifest order; a file that is not there is a defect.

    Raises:
        CorpusError: rows name the same part of the same file.
    """
    from erc_features.media import CLIPS

    known: dict[tuple[object, ...], str] = {}
    twice = []
    for row in rows:
        first = known.setdefault((row.path, row.span, row.inside), row.where)
        if first != row.where:
            twice.append(f"{row.where}: the same file and times as {first}")
    if twice:
        raise CorpusError(
            f"{source}: {len(twice)} rows name an utterance that another names:{listed(twice)}\n"
            "Give the folder or file of one table."
        )
    groups: dict[tuple[Split, str], list[Listed]] = {}
    for row in rows:
        name = row.dialogue or os.path.relpath(row.path, source)
        if row.inside is not None and not row.dialogue:
            name += f" {row.inside[0]:020}"
        groups.setdefault((row.split, name), []).append(row)
    order = {split: number for number, split in enumerate(Split)}
    found: list[RawUtterance] = []
    defects: list[Defect] = []
    numbers = dict.fromkeys(Split, 0)
    for split, name in sorted(groups, key=lambda group: (order[group[0]], _natural(group[1]))):
        group = groups[split, name]
        group.sort(key=lambda row: (row.span or (0.0, None))[0])  # stable: else as in the table
        for sequence, row in enumerate(group):
            u = Utterance(
                split, numbers[split], sequence, speaker=plain_text(row.speaker).strip(),
                x_text=plain_text(row.text).strip(), label=row.label.strip(),
                more={_free(column): plain_text(cell) for column, cell in row.more.items()},
            )  # fmt: skip
            clip, sound = None, None
            if not row.path.is_file():
                what = f"no file {os.path.relpath(row.path, source)}"
                defects.append(Defect("missing clip", u.key, what, "picture and sound left empty"))
            elif row.path.suffix.lower() in CLIPS and row.inside is None:
                clip = row.path
            else:
                sound = RawSound(row.path, row.span, row.inside)
            span = row.span if clip is not None else None
            found.append(RawUtterance(u, clip, row.text.strip(), span, sound))
        numbers[split] += 1
    return found, defects


def unnamed(source: Path, rows: Iterable[Listed]) -> list[Defect]:
    """The media files below a folder that no row names."""
    from erc_features.media import CLIPS, SOUNDS

    named = {os.path.normpath(row.path) for row in rows}
    return [
        Defect("media file that no row names", os.path.relpath(path, source), "", "left out")
        for path in media_below(source, CLIPS | SOUNDS)
        if os.path.normpath(path) not in named
    ]


def find_file(name: str, folders: Sequence[Path]) -> Path:
    """The file of that name: absolute, or relative to the first of the folders that has it; where
    none has it, it would be in the first."""
    places = [folder / name for folder in folders]
    # A table that was written on Windows separates folders by backslashes.
    more = [folder / name.replace("\\", "/") for folder in folders if "\\" in name]
    return next((path for path in (*places, *more) if path.is_file()), places[0])


def labels_of(rows: Iterable[Listed], order: Sequence[str] = ()) -> tuple[str, ...]:
    """The labels that occur, in the given order, then sorted."""
    seen = {row.label.strip() for row in rows} - {""}
    first = [label for label in dict.fromkeys(order) if label in seen]
    return (*first, *sorted(seen - set(first)))


def _natural(text: str) -> list[tuple[int, str]]:
    """A key that sorts 2.wav before 10.wav."""
    parts = re.split(r"([0-9]+)", text)
    return [(int(part), "") if i % 2 else (0, part) for i, part in enumerate(parts)]


def _free(column: str) -> str:
    """The name of a further column, which may not be one of the manifest's own."""
    return f"raw_{column}" if column in _TAKEN else column
