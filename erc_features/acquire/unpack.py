"""Unpacks archives that strangers made: zip, tar and tar.gz, and those within them.

An archive is read through before anything of it is written: names that lead out of its folder,
links that do, devices, encrypted or doubled members, and bombs are refused, the archive as a
whole. Then it is unpacked into a hidden folder beside its place, and renamed at the end, so a
folder that was cut short by a kill is never taken for whole; `.unpacked.json`, the last file
written, says what is in it.

Why not `tarfile.data_filter`: chains of links deceive it before Python 3.11.13 (CVE-2025-4517,
CVE-2025-4330), and it stops half way, with the first members written. Here no symbolic link
is ever made, so no path can lead through one.
"""

import errno
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from erc_features.acquire.archive import (
    CHUNK,
    MARK,
    RATIO_FROM,
    HostileArchive,
    Member,
    damaged,
    hostile,
    looks_like_archive,
    reading,
    stem,
)
from erc_features.errors import CorpusError

_BLOCK = 4096  # bytes that a file takes on disk at least


@dataclass(frozen=True)
class Limits:
    """The most that one archive, with those inside it, may hold.

    MELD.Raw is 13,889 files and about 11 GB, packed to nearly as much.

    Attributes:
        size: bytes, unpacked.
        files: files and folders.
        ratio: unpacked bytes to packed ones, where they are over 50 MB.
        depth: archives within archives.
    """

    size: int = 200_000_000_000
    files: int = 500_000
    ratio: int = 200
    depth: int = 3


@dataclass(frozen=True)
class Contents:
    """What was unpacked: how many files, and their bytes."""

    files: int
    size: int


@dataclass
class _Count:
    """What an archive and those in it have come to; `packed` is the outermost one's size."""

    packed: int
    limits: Limits
    files: int = 0
    size: int = 0
    of_archive: str = ""

    def add(self, size: int) -> None:
        self.files += 1
        self.size += size
        limits = self.limits
        if self.files > limits.files:
            raise self._bomb(f"more than {limits.files:,} files")
        if self.size > limits.size:
            raise self._bomb(f"more than {limits.size / 1e9:,.0f} GB")
        if self.size > max(RATIO_FROM, limits.ratio * self.packed):
            raise self._bomb(f"more than {limits.ratio} times its own size")

    def _bomb(self, what: str) -> HostileArchive:
        return hostile(self.of_archive, f"it would unpack to {what}")


@dataclass
class _Names:
    """The paths of an archive, each once, and no file where a folder is needed."""

    archive: str
    files: set[str] = field(default_factory=set)
    folders: set[str] = field(default_factory=set)

    def add(self, member: Member) -> None:
        path = member.path
        parent = path.rpartition("/")[0]
        while parent and parent not in self.folders:
            if parent in self.files:
                raise hostile(self.archive, f"{parent!r} is a file and a folder in it")
            self.folders.add(parent)
            parent = parent.rpartition("/")[0]
        if path in self.files or (member.kind != "folder" and path in self.folders):
            raise hostile(self.archive, f"{path!r} is in it twice")
        (self.folders if member.kind == "folder" else self.files).add(path)


def unpack(
    archive: Path,
    to: Path,
    *,
    limits: Limits | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Contents:
    """Unpack `archive`, and archives in it beside themselves, as the new folder `to`.

    A folder in the archive that is alone and has `to`'s name becomes `to` itself. Links to files
    of the archive become those files. The archive is left as it is.

    Args:
        progress: called with (bytes written, bytes) of the outermost archive.

    Raises:
        HostileArchive, DamagedArchive: nothing is written, or all of it is removed.
        CorpusError: the disk is full (before or while unpacking), or `to` can't be written.
    """
    limits = limits or Limits()
    partial = to.with_name(f".{to.name}.unpacking")
    try:
        shutil.rmtree(partial, ignore_errors=True)  # of an unpacking that was killed
        packed = archive.stat().st_size
        count = _Count(packed, limits, of_archive=archive.name)
        _unpack(archive, partial, count, 1, progress)
        only = list(partial.iterdir())
        lifted = len(only) == 1 and only[0].name == to.name and only[0].is_dir()
        root = only[0] if lifted else partial
        contents = _measure(root)
        mark = {"archive": archive.name, "packed": packed, **contents.__dict__}
        (root / MARK).write_text(json.dumps(mark) + "\n", encoding="utf-8")
        os.replace(root, to)
    except OSError as error:
        raise disk_error(error, to) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return contents


def read_mark(folder: Path, archive: str, packed: int) -> Contents | None:
    """What `folder` holds if it is all of that archive, of that size, unpacked; else None."""
    try:
        mark = json.loads((folder / MARK).read_text(encoding="utf-8"))
        contents = Contents(mark["files"], mark["size"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    same = mark.get("archive") == archive and packed in (0, mark.get("packed"))
    return contents if same and _measure(folder) == contents else None


def disk_error(error: OSError, where: Path) -> CorpusError:
    """A file that can't be written, as a message."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return CorpusError(
            f"{where}: the disk is full. What is finished is kept; make space and run the same "
            "command again, or choose a folder on another disk with --to."
        )
    return CorpusError(
        f"{where}: cannot be written ({error.strerror or error}). What is finished is kept; "
        "mend it and run the same command again, or choose another folder with --to."
    )


def _measure(folder: Path) -> Contents:
    files = size = 0
    for place, _, names in os.walk(folder):
        for name in names:
            if name != MARK:
                files += 1
                size += os.lstat(os.path.join(place, name)).st_size
    return Contents(files, size)


def _unpack(
    archive: Path,
    to: Path,
    count: _Count,
    depth: int,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Into `to`, which is new and hidden; `count` goes on from the archive around this one."""
    if depth > count.limits.depth:
        raise hostile(count.of_archive, f"it holds archives more than {depth - 1} deep")
    size_before, files_before = count.size, count.files
    names, links = _Names(archive.name), dict[str, str]()
    with reading(archive) as members:
        for member in members:
            names.add(member)
            count.add(member.size)
            if member.kind == "link":
                links[member.path] = member.target
    for path, target in links.items():
        if target not in names.files or target in links:
            raise hostile(archive.name, f"{path!r} is a link to {target!r}, no file of it")
    total = count.size - size_before
    needed = total + (count.files - files_before) * _BLOCK
    to.mkdir(parents=True)
    free = shutil.disk_usage(to).free
    if needed > free:
        raise CorpusError(
            f"{archive.name}: {needed / 1e9:.2f} GB are needed to unpack it and {free / 1e9:.2f} "
            "GB are free. The archive is kept; make space and run the same command again."
        )
    written = 0
    with reading(archive) as members:
        for member in members:
            place = to / member.path
            if member.kind == "folder":
                place.mkdir(parents=True, exist_ok=True)
            if member.kind != "file":
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            with member.open() as source, open(place, "xb") as target:
                shutil.copyfileobj(source, target, CHUNK)
                if target.tell() != member.size:
                    raise damaged(archive.name, f"{member.path} is not of the size it should be")
            written += member.size
            if progress:
                progress(written, total)
    for link, target in links.items():
        _link(to / link, to / target)
    # Sorted, so that what is in two archives ends the same every time.
    for path in sorted(p for p in to.rglob("*") if p.is_file() and looks_like_archive(p)):
        beside = free_name(path.with_name(stem(path.name)))
        _unpack(path, beside, count, depth + 1)
        path.unlink()


def free_name(folder: Path) -> Path:
    """The folder if nothing is there, or else one of a name like it."""
    while folder.exists():
        folder = folder.with_name(folder.name + ".unpacked")
    return folder


def _link(link: Path, target: Path) -> None:
    """Links to files become those files: the same bytes, no link to follow."""
    link.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(target, link)
    except OSError:  # a file system without hard links
        shutil.copyfile(target, link)
