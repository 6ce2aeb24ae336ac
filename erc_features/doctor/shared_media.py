"""Media files that several rows share: one path, one file under several names, equal content.

Paths are resolved first, so `./a.wav`, a symbolic link and a hard link are the same file. Contents
are compared by size, then by a piece of the middle, then by sha256 of the whole: of 13,708 sounds
most sizes occur more than once, but few of those files are ever read to their end.
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from posixpath import normpath

from erc_features.utterance import Utterance

PATH, LINK, CONTENT = "one path", "links to one file", "equal content"
_PIECE = 4096  # bytes; from the middle, because files begin with headers and silence


@dataclass(frozen=True)
class SharedFile:
    """One file, or files of equal content, that several rows name.

    Attributes:
        how: "one path", "links to one file", or "equal content".
        files: their names as in the rows, in the order of the rows.
        keys: the keys of the rows, in that order.
        splits: the splits of the rows.
    """

    how: str
    files: tuple[str, ...]
    keys: tuple[str, ...]
    splits: tuple[str, ...]


def cells_of(u: Utterance) -> list[str]:
    """The media files that a row names. A raw clip is one file, both picture and sound."""
    cells = (cell.strip() for cell in (u.x_visual, u.x_audio))
    return sorted({normpath(cell) for cell in cells if cell})


class MediaNames:
    """Which file each media cell means, and which rows name it.

    Args:
        files: the media files that exist, with their bytes.
        root: the folder that media cells are relative to.
        cut: key and cell of each utterance that is only a part of its file.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        files: Mapping[Path, int],
        root: Path,
        cut: Collection[tuple[str, str]] = (),
    ) -> None:
        self._rows: dict[object, dict[str, Utterance]] = defaultdict(dict)
        self._names: dict[object, dict[str, None]] = defaultdict(dict)
        self._file: dict[str, object] = {}
        self._bytes: dict[object, int] = {}
        self._root, self._cut = root, cut
        for u in utterances:
            for cell in cells_of(u):
                if cell not in self._file:
                    self._file[cell] = file = _identity(root / cell)
                    self._bytes[file] = files.get(root / cell, 0)
                file = self._file[cell]
                self._rows[file][u.key] = u
                self._names[file].setdefault(cell)

    def files_of(self, u: Utterance) -> set[object]:
        """The files that the cells of a row mean, the same for every name of a file."""
        return {self._file[cell] for cell in cells_of(u)}

    def recording_of(self, u: Utterance) -> object | None:
        """The file that an utterance is a part of, its sound's first; None where it is a whole."""
        for cell in (u.x_audio.strip(), u.x_visual.strip()):
            if cell and (u.key, normpath(cell)) in self._cut:
                return self._file[normpath(cell)]
        return None

    def shared(self) -> tuple[SharedFile, ...]:
        """The files that several rows name, and the files of equal content.

        An empty or missing file is a defect of its own and equals no other. Parts of one recording
        share it rightly, as long as all of them are in one split.
        """
        found = [
            self._made(LINK if len(self._names[file]) > 1 else PATH, [file])
            for file, rows in self._rows.items()
            if len(rows) > 1 and not self._is_recording(file)
        ]
        groups = [[file for file in self._rows if self._bytes[file]]]
        for trait in (self._bytes.__getitem__, self._middle, self._whole):
            groups = [part for group in groups for part in _parted(group, trait)]
        equal = (self._made(CONTENT, group) for group in groups)
        return (*found, *(one for one in equal if len(one.keys) > 1))

    def _is_recording(self, file: object) -> bool:
        """Whether all rows that name a file are parts of it, and in one split."""
        rows, names = self._rows[file].values(), self._names[file]
        return len({u.split for u in rows}) == 1 and all(
            any((u.key, name) in self._cut for name in names) for u in rows
        )

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
            return file  # an unreadable file equals no other

    def _whole(self, file: object) -> object:
        try:
            with open(self._path(file), "rb") as opened:
                return hashlib.file_digest(opened, "sha256").digest()
        except OSError:
            return file


def _identity(path: Path) -> object:
    """What is the same for every name of a file; for a missing file, its absolute path."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return os.path.abspath(path)
    return status.st_dev, status.st_ino


def _parted(group: Sequence[object], trait: Callable[[object], object]) -> list[list[object]]:
    """Divide a group by a trait of its files; drop the parts with a single file."""
    parts: dict[object, list[object]] = defaultdict(list)
    for file in group:
        parts[trait(file)].append(file)
    return [part for part in parts.values() if len(part) > 1]
