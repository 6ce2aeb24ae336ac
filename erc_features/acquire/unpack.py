"""Unpacks zip, tar and tar.gz archives from untrusted sources, and the archives within them.

An archive is read to its end before anything is written. Paths and links that lead out of its
folder, devices, encrypted or duplicate members, and bombs make erc refuse the whole archive. Then
it is unpacked into a hidden folder, which is renamed at the end, so that a folder that a kill left
unfinished is never taken for a whole one. The last file written, `.unpacked.json`, says how much
the folder holds.

`tarfile.data_filter` would not do: chains of links deceive it before Python 3.11.13
(CVE-2025-4517, CVE-2025-4330), and it stops half way, with the first members written. Here no
symbolic link is ever made, so no path can lead through one.
"""

import errno
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from erc_features.acquire.archive import (
    BLOCK,
    CHUNK,
    MARK,
    RATIO_FROM,
    DamagedArchive,
    HostileArchive,
    Member,
    looks_like_archive,
    reading,
    stem,
)
from erc_features.errors import CorpusError


@dataclass(frozen=True)
class Limits:
    """The most that an archive may hold, including the archives inside it.

    MELD.Raw is 13,889 files and about 11 GB, packed to nearly as much.

    Attributes:
        size: unpacked bytes.
        files: files and folders.
        ratio: unpacked to packed bytes, checked from 50 MB on.
        depth: levels of archives within archives.
    """

    size: int = 200_000_000_000
    files: int = 500_000
    ratio: int = 200
    depth: int = 3


@dataclass(frozen=True)
class Contents:
    """How many files were unpacked, and their bytes."""

    files: int
    size: int


@dataclass
class _Count:
    """The running totals of an archive of `packed` bytes and of the archives inside it."""

    archive: str
    packed: int
    limits: Limits
    files: int = 0
    size: int = 0

    def add(self, size: int) -> None:
        self.files += 1
        self.size += size
        limits, most = self.limits, ""
        if self.files > limits.files:
            most = f"{limits.files:,} files"
        elif self.size > limits.size:
            most = f"{limits.size / 1e9:,.0f} GB"
        elif self.size > max(RATIO_FROM, limits.ratio * self.packed):
            most = f"{limits.ratio} times its own size"
        if most:
            raise HostileArchive(self.archive, f"it would unpack to more than {most}")


def _add_name(member: Member, archive: str, files: set[str], folders: set[str]) -> None:
    """Note a path, which may not occur twice, or be both a file and a folder."""
    path = member.path
    parent = path.rpartition("/")[0]
    while parent and parent not in folders:
        if parent in files:
            raise HostileArchive(archive, f"{parent!r} is a file and a folder in it")
        folders.add(parent)
        parent = parent.rpartition("/")[0]
    if path in files or (member.kind != "folder" and path in folders):
        raise HostileArchive(archive, f"{path!r} is in it twice")
    (folders if member.kind == "folder" else files).add(path)


def unpack(
    archive: Path,
    to: Path,
    *,
    limits: Limits | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Contents:
    """Unpack `archive` as the new folder `to`, and the archives within it beside themselves.

    If the archive holds nothing but a folder named as `to`, that folder becomes `to`. Links to
    files of the archive become copies of them. The archive itself stays.

    Args:
        progress: called with (bytes written, bytes in all) of the outermost archive.

    Raises:
        HostileArchive, DamagedArchive: nothing from the archive is left on the disk.
        CorpusError: the disk is full (before or while unpacking), or `to` cannot be written.
    """
    partial = to.with_name(f".{to.name}.unpacking")
    try:
        shutil.rmtree(partial, ignore_errors=True)  # what a killed process left
        packed = archive.stat().st_size
        _unpack(archive, partial, _Count(archive.name, packed, limits or Limits()), 1, progress)
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
    """What `folder` holds if it is that archive, of that size, completely unpacked; else None."""
    try:
        mark = json.loads((folder / MARK).read_text(encoding="utf-8"))
        contents = Contents(mark["files"], mark["size"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    same = mark.get("archive") == archive and packed in (0, mark.get("packed"))
    return contents if same and _measure(folder) == contents else None


def disk_error(error: OSError, where: Path) -> CorpusError:
    """The message for a file that cannot be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return CorpusError(
            f"{where}: the disk is full. What is finished is kept: make space and run the same "
            "command again, or choose a folder on another disk with --to."
        )
    return CorpusError(
        f"{where}: cannot be written ({error.strerror or error}). What is finished is kept: "
        "remove the cause and run the same command again, or choose another folder with --to."
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
    """Unpack into the new, hidden folder `to`; `count` includes the archives around this one."""
    if depth > count.limits.depth:
        raise HostileArchive(count.archive, f"it holds archives more than {depth - 1} deep")
    size_before, files_before = count.size, count.files
    files, folders, links = set[str](), set[str](), dict[str, str]()
    with reading(archive) as members:
        for member in members:
            _add_name(member, archive.name, files, folders)
            count.add(member.size)
            if member.kind == "link":
                links[member.path] = member.target
    for path, target in links.items():
        if target not in files or target in links:
            raise HostileArchive(
                archive.name, f"{path!r} is a link to {target!r}, which is no file of it"
            )
    total = count.size - size_before
    needed = total + (count.files - files_before) * BLOCK
    to.mkdir(parents=True)
    free = shutil.disk_usage(to).free
    if needed > free:
        raise CorpusError(
            f"{archive.name}: {needed / 1e9:.2f} GB are needed to unpack it and {free / 1e9:.2f} "
            "GB are free. The archive is kept: make space and run the same command again."
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
                    raise DamagedArchive(
                        archive.name, f"{member.path} does not have the size it should"
                    )
            written += member.size
            if progress:
                progress(written, total)
    for link, target in links.items():
        (to / link).parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(to / target, to / link)
        except OSError:  # a file system without hard links
            shutil.copyfile(to / target, to / link)
    # Sorted, so that names that two archives share are resolved the same way every time.
    for path in sorted(p for p in to.rglob("*") if p.is_file() and looks_like_archive(p)):
        _unpack(path, free_name(path.with_name(stem(path.name))), count, depth + 1)
        path.unlink()


def free_name(folder: Path) -> Path:
    """`folder` if there is nothing yet, else a similar name that is free."""
    while folder.exists():
        folder = folder.with_name(folder.name + ".unpacked")
    return folder
