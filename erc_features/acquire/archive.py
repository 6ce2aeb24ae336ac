"""Reads archives from untrusted sources member by member: zip, tar and tar.gz.

Every member is checked as it is read. A path or a link that leads out of its folder, a device, an
encrypted member or an endless header makes the whole archive a :class:`HostileArchive`; damage
makes it a :class:`DamagedArchive`.
"""

import errno
import gzip
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from erc_features.errors import CorpusError

MARK = ".unpacked.json"
_ENDINGS = (".tar.gz", ".tgz", ".tar", ".zip")
_LONGEST_READ = 1 << 20  # bytes; no honest tar header needs more, and a pax header is read whole
RATIO_FROM = 50_000_000  # bytes; below this size any compression ratio is harmless
CHUNK = 1 << 18
BLOCK = 4096  # bytes; the least that a file takes on a disk
# What a damaged archive raises. BadGzipFile is an OSError, so this is caught before a full disk.
_DAMAGE = (
    tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError,
    struct.error, ValueError, IndexError, KeyError, OverflowError,
)  # fmt: skip


class HostileArchive(CorpusError):
    """An archive that must not be unpacked. Nothing from it is left on the disk."""

    def __init__(self, archive: str, why: str) -> None:
        super().__init__(
            f"{archive}: refused, and nothing of it is written: {why}. Tell the dataset's owner. "
            "--no-unpack downloads the archive without opening it."
        )


class DamagedArchive(CorpusError):
    """An archive that is cut short or has wrong checksums. Nothing from it is left on the disk."""

    def __init__(self, archive: str, why: object) -> None:
        super().__init__(
            f"{archive}: is damaged ({why}). Run the same command again: it will be fetched anew."
        )


@dataclass(frozen=True)
class Member:
    """One member. `kind` is "folder", "link" (to the path `target`) or "file" (of `size` bytes)."""

    path: str
    kind: str
    size: int = 0
    target: str = ""
    open: Callable[[], IO[bytes]] = BytesIO


def is_archive(name: str) -> bool:
    """Whether the name is that of an archive.

    >>> is_archive("train.tar.gz"), is_archive("MELD.ZIP"), is_archive("clip.mp4")
    (True, True, False)
    """
    return stem(name) != name


def stem(name: str) -> str:
    """The name of an archive without its ending, which is the folder that it is unpacked to.

    >>> stem("train.tar.gz"), stem("MELD.Raw.zip"), stem(".zip")
    ('train', 'MELD.Raw', '.zip')
    """
    for ending in _ENDINGS:
        if name.lower().endswith(ending) and len(name) > len(ending):
            return name[: -len(ending)]
    return name


def safe_path(name: str) -> str:
    """Normalise a relative path that stays inside its folder.

    Raises:
        ValueError: the path is absolute, leads out of its folder, or cannot be written.

    >>> safe_path("./train_splits//dia0_utt0.mp4")
    'train_splits/dia0_utt0.mp4'
    """
    if name.startswith("/") or name[1:2] == ":":
        raise ValueError("is absolute")
    if "\\" in name or any(c < " " or c == "\x7f" or "\ud800" <= c <= "\udfff" for c in name):
        raise ValueError("has characters that no file name should have")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ValueError("leads out of its folder")
    if not parts or any(len(part.encode()) > 255 for part in parts) or len(name.encode()) > 3000:
        raise ValueError("is empty or too long")
    return "/".join(parts)


def looks_like_archive(path: Path) -> bool:
    """Judge by the name and the first bytes: a file that is only called .zip is no archive."""
    if not is_archive(path.name):
        return False
    with open(path, "rb") as file:
        head = file.read(4)
    if path.name.lower().endswith(".zip"):
        return head in (b"PK\x03\x04", b"PK\x05\x06")
    return path.name.lower().endswith(".tar") or head[:2] == b"\x1f\x8b"


@contextmanager
def reading(archive: Path) -> Iterator[Iterator[Member]]:
    """The members of an archive, checked one by one.

    Raises:
        HostileArchive, DamagedArchive: while the members are read.
    """
    reader = _zip_members if archive.name.lower().endswith(".zip") else _tar_members
    try:
        with open(archive, "rb") as file:
            yield reader(file, archive.name)
    except _DAMAGE as error:
        raise DamagedArchive(archive.name, error) from error
    except (NotImplementedError, RuntimeError) as error:  # an unknown compression method in a zip
        raise HostileArchive(archive.name, str(error)) from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # a seek to before the start of the file
            raise
        raise DamagedArchive(archive.name, "a part of it is outside the file") from error


def _checked(archive: str, path: str) -> str:
    try:
        path = safe_path(path)
    except ValueError as error:
        raise HostileArchive(archive, f"the path {path[:100]!r} {error}") from error
    if path == MARK:
        raise HostileArchive(archive, f"it holds a file named {MARK}, which is erc's own")
    return path


def _zip_members(file: IO[bytes], archive: str) -> Iterator[Member]:
    # zipfile reads the central directory whole: one of more than half a million names is a bomb.
    end: Any = zipfile._EndRecData(file)  # type: ignore[attr-defined]
    if end and end[5] > 200_000_000:
        raise HostileArchive(archive, "its list of files is larger than 200 MB")
    with zipfile.ZipFile(file) as opened:
        for info in opened.infolist():
            mode = info.external_attr >> 16
            kind = stat.S_IFMT(mode)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise HostileArchive(archive, f"{info.filename[:100]!r} is a link or a device")
            if info.flag_bits & 1:
                raise HostileArchive(archive, f"{info.filename[:100]!r} is encrypted")
            if info.filename == "./":
                continue
            path = _checked(archive, info.filename)
            if info.is_dir() or kind == stat.S_IFDIR:
                yield Member(path, "folder")
            else:
                yield Member(path, "file", info.file_size, "", lambda i=info: opened.open(i))


class _Guarded:
    """A stream that refuses to read more at once than an honest header needs.

    tarfile reads a pax header whole, whatever size it claims: 4 GB of zeros pack to 4 MB.
    """

    def __init__(self, stream: IO[bytes], archive: str) -> None:
        self._stream, self._archive = stream, archive
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _LONGEST_READ:
            raise HostileArchive(self._archive, "a header in it is longer than 1 MB")
        return self._stream.read(size)


def _tar_members(file: IO[bytes], archive: str) -> Iterator[Member]:
    packed = not archive.lower().endswith(".tar")
    stream: Any = gzip.GzipFile(fileobj=file) if packed else file
    guarded: Any = _Guarded(stream, archive)
    with tarfile.open(fileobj=guarded, mode="r:") as tar:
        opened: Any = tar
        while (info := opened.next()) is not None:
            opened.members = []  # otherwise all of them stay in memory
            if info.size < 0:  # tarfile would seek back and loop for ever (CVE-2025-8194)
                raise tarfile.ReadError("a member has a negative size")
            if info.name in (".", "./"):
                continue
            path = _checked(archive, info.name)
            if info.isdir():
                yield Member(path, "folder")
            elif info.islnk() or info.issym():
                yield Member(path, "link", target=_link_target(archive, path, info))
            elif info.isreg() and not info.issparse():
                yield Member(path, "file", info.size, "", lambda i=info: opened.extractfile(i))
            else:
                raise HostileArchive(archive, f"{path!r} is a device or another special file")
        # tarfile takes a damaged header for the end of the archive, and gzip's checksum comes last.
        stream.seek(opened.offset)
        if stream.read(tarfile.BLOCKSIZE).strip(b"\0"):
            raise tarfile.ReadError("a header is damaged")
        rest = 0
        while more := stream.read(CHUNK):
            rest += len(more)
            if rest > RATIO_FROM:
                raise HostileArchive(archive, "it goes on after its end")


def _link_target(archive: str, path: str, info: tarfile.TarInfo) -> str:
    """A link's target as a path from the archive's root; symbolic links start at their folder."""
    target = info.linkname
    if target.startswith("/"):
        raise HostileArchive(archive, f"{path!r} is a link to {target[:100]!r}, which is absolute")
    parts = path.split("/")[:-1] if info.issym() else []
    for part in target.split("/"):
        if part == ".." and not parts:
            raise HostileArchive(
                archive, f"{path!r} is a link to {target[:100]!r}, which leads out"
            )
        if part == "..":
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return _checked(archive, "/".join(parts) or ".")
