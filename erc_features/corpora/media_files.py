"""The media files that rows name: which exist, which do not, and which files no row names.

Files are not opened: only their names, their existence and their sizes are looked at.
"""

import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erc_features.corpora.faces import FACE_CROP, faces_in
from erc_features.corpora.manifest import reasons_in
from erc_features.corpora.raw import Defect
from erc_features.utterance import Modality, Split, Utterance

# "dia1_utt1.mp4 cannot be opened" and "dia1_utt2.mp4 cannot be opened" are one kind of reason.
_PARTICULAR = re.compile(r"\S*[0-9]\S*")
# Defects of a row, or of a whole split, without a clip: the reason, where `missing` has none.
_NO_CLIP = frozenset({"missing clip", "no media"})


@dataclass(frozen=True)
class Medium:
    """The state of one medium.

    Attributes:
        name: "picture", "sound" and, where faces were looked for, "face"; or "clip" in raw data,
            where a file is both.
        there: rows whose file exists and is not empty, by split.
        named: rows whose cell names a file.
        lost: rows whose file does not exist, is not a regular file, or is empty.
        reasons: how many of the other cells are empty for which reason, as far as it was noted.
    """

    name: str
    there: Mapping[str, int]
    named: int
    lost: int
    reasons: Mapping[str, int]


@dataclass(frozen=True)
class MediaFiles:
    """Every medium; the files that exist, with their bytes; and the defects of any file."""

    media: tuple[Medium, ...]
    files: Mapping[Path, int]
    defects: tuple[Defect, ...]


def look_at_media(
    root: Path,
    utterances: Sequence[Utterance],
    info: Mapping[str, Any],
    noted: Sequence[Defect] = (),
    *,
    clips: bool = False,
) -> MediaFiles:
    """Look for every file that a row names.

    Args:
        info: what `corpus.json` says; its `missing` holds reasons by modality and key.
        noted: the defects noted when the corpus was read or prepared.
        clips: whether both media cells of a row name the same clip.
    """
    defects: list[Defect] = []
    media = []
    names: dict[str, str] = {"picture": Modality.VISUAL, "sound": Modality.AUDIO}
    if clips:
        names = {"clip": Modality.VISUAL}
    elif faces_in(info) or any(u.x_face for u in utterances):
        names["face"] = FACE_CROP
    no_clip = {d.where: d.kind for d in noted if d.kind in _NO_CLIP}
    sizes: dict[Path, int | None] = {}
    for name, medium in names.items():
        reasons = reasons_in(info, medium)
        there, empty = Counter[str](), Counter[str]()
        lost = 0
        for u in utterances:
            if not (cell := u.x_face if medium == FACE_CROP else u.cell(Modality(medium))):
                reason = _PARTICULAR.sub("…", str(reasons.get(u.key, "")))[:200]
                kind = no_clip.get(u.key) or no_clip.get(u.split) or "none named"
                empty[reason or kind] += 1
                continue
            path = root / cell
            if path not in sizes:
                sizes[path] = _size(path)
            size = sizes[path]
            if size:
                there[u.split.value] += 1
                continue
            lost += 1
            kind = "media file is not there" if size is None else "media file is empty"
            done = "kept; extract will mark it as failed"
            defects.append(Defect(kind, u.key, f"{name}: {cell[:200]}", done))
        named = len(utterances) - empty.total()
        media.append(Medium(name, dict(there), named, lost, dict(empty.most_common())))
    files = {path: size for path, size in sizes.items() if size is not None}
    folders = {path.parent for path in files} | {root / split for split in Split}
    defects += [
        Defect("media file that no row names", os.path.relpath(path, root), "", "left alone")
        for path in _orphans(folders, sizes)
    ]
    return MediaFiles(tuple(media), files, tuple(defects))


def _size(path: Path) -> int | None:
    """The bytes of a file; None where there is none. A pipe or a device is not a file."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _orphans(folders: set[Path], named: Mapping[Path, object]) -> Iterator[Path]:
    """Media files that no row names, in the folders of those that rows do name, or of a split."""
    from erc_features.media import CLIPS, PICTURES, SOUNDS

    endings = CLIPS | PICTURES | SOUNDS
    known = {os.path.normpath(path) for path in named}
    for folder in sorted(folders):
        try:
            paths = sorted(folder.iterdir())
        except (OSError, ValueError):
            continue
        for path in paths:
            if (
                path.suffix.lower() in endings
                and not path.name.startswith("._")  # a Mac's archives hold one for each file
                and os.path.normpath(path) not in known
                and path.is_file()
            ):
                yield path
