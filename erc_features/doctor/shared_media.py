"""Media files that serve several rows: one path, one file under several names, equal content.

A path is resolved first, so `./a.wav`, a symbolic link and a hard link are the file itself. Content
is compared by size, then by a piece of the middle, then by sha256 of the whole: of 13,708 sounds
most sizes occur more than once, and few of those files are ever read to their end.
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from posixpath import normpath

from erc_features.utterance import Utterance

PATH, LINK, CONTENT = "one path", "links to one file", "equal content"
_PIECE = 4096  # bytes; at the start stand headers and silence


@dataclass(frozen=True)
class SharedFile:
    """One file, or files of one content, that several rows name.

    Attributes:
        how: "one path", "links to one file", or "equal content".
        files: their names, as rows have them, in the order of the rows.
        keys: the rows, in that order.
        splits: of the rows.
    """

    how: str
    files: tuple[str, ...]
    keys: tuple[str, ...]
    splits: tuple[str, ...]


def cells_of(u: Utterance) -> list[str]:
    """The media that a row names. A raw clip is its picture and its sound: one file."""
    cells = (cell.strip() for cell in (u.x_visual, u.x_audio))
    return sorted({normpath(cell) for cell in cells if cell})


class MediaNames:
    """Which file each media cell means, and which rows name it.

    Args:
        files: the media files that are there, and their bytes.
        root: the folder that media cells are relative to.
    """

    def __init__(
        self, utterances: Sequence[Utterance], files: Mapping[Path, int], root: Path
    ) -> None:
        self._rows: dict[object, dict[str, Utterance]] = defaultdict(dict)
        self._names: dict[object, dict[str, None]] = defaultdict(dict)
        self._file: dict[str, object] = {}
        self._bytes: dict[object, int] = {}
        self._root = root
        for u in utterances:
            for cell in cells_of(u):
                if cell not in self._file:
                    self._file[cell] = file = _identity(root / cell)
                    self._bytes[file] = files.get(root / cell, 0)
                file = self._file[cell]
                self._rows[file][u.key] = u
                self._names[file].setdefault(cell)

    def files_of(self, u: Utterance) -> set[object]:
        """What the cells of a row mean, each the same for all names of one file."""
        return {self._file[cell] for cell in cells_of(u)}

    def shared(self) -> tuple[SharedFile, ...]:
        """The files that several rows name, and those of equal content that other rows name.

        An empty file, and one that is not there, is a defect of its own and equals no other.
        """
        found = [
            self._made(LINK if len(self._names[file]) > 1 else PATH, [file])
            for file, rows in self._rows.items()
            if len(rows) > 1
        ]
        groups = [[file for file in self._rows if self._bytes[file]]]
        for trait in (self._bytes.__getitem__, self._middle, self._whole):
            groups = [part for group in groups for part in _parted(group, trait)]
        equal = (self._made(CONTENT, group) for group in groups)
        return (*found, *(one for one in equal if len(one.keys) > 1))

    def _made(self, how: str, group: Sequence[object]) -> SharedFile:
        rows = {key: u for file in group for key, u in self._rows[file].items()}
        names = [name for file in group for name in self._names[file]]
        splits = dict.fromkeys(u.split.value for u in rows.values())
        return SharedFile(how, tuple(names), tuple(rows), tuple(splits))

    def _path(self, file: object) -> Path:
        return self._root / next(iter(self._names[file]))

    def _middle(self, file: object) -> object:
        try:
            with open(self._path(file), "rb") as opened:
                opened.seek(max(0, self._bytes[file] - _PIECE) // 2)
                return opened.read(_PIECE)
        except OSError:
            return file  # what can't be read equals no other

    def _whole(self, file: object) -> object:
        try:
            with open(self._path(file), "rb") as opened:
                return hashlib.file_digest(opened, "sha256").digest()
        except OSError:
            return file


def across(shared: Sequence[SharedFile], first: str, second: str, how: str) -> list[SharedFile]:
    """Those of a kind with rows in both splits."""
    return [one for one in shared if one.how == how and {first, second} <= set(one.splits)]


def _identity(path: Path) -> object:
    """The same for every name of a file; of what is not there, the resolved path."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return os.path.abspath(path)
    return found.st_dev, found.st_ino


def _parted(group: Sequence[object], trait: Callable[[object], object]) -> list[list[object]]:
    """The group by trait; only what more than one file has."""
    parts: dict[object, list[object]] = defaultdict(list)
    for file in group:
        parts[trait(file)].append(file)
    return [part for part in parts.values() if len(part) > 1]
