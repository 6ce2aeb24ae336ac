"""`erc download`: a dataset on Kaggle -> raw data, unpacked, ready for `erc prepare`.

    data/raw/MELD.Raw/...            the files below --subdir; archives unpacked beside themselves
    data/raw/MELD.Raw/download.json  what was fetched, with sizes; written last
    data/raw/MELD.Raw/.download/     what is under way; gone at the end

Run again it skips what is there, and goes on where it stopped. MELD's dataset lists 13,000
clips singly, so several are fetched at once.
"""

import fcntl
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from erc_features.acquire.archive import safe_path
from erc_features.acquire.kaggle import Connection, find_credentials
from erc_features.acquire.remote import Dataset
from erc_features.acquire.remote_files import (
    WORK,
    Item,
    choose,
    must_hold,
    read_manifest,
    write_manifest,
)
from erc_features.acquire.transfers import Progress, Transfers
from erc_features.acquire.unpack import disk_error
from erc_features.errors import CorpusError, listed

_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_BLOCK = 4096  # bytes that a file takes on disk at least


@dataclass(frozen=True)
class Needs:
    """What a download is about to do.

    Attributes:
        files, size: to fetch: how many, and their bytes.
        have: files that are there already.
        space: bytes of disk that are needed at the same time, about: archives beside what they
            hold, which for video is as large.
        free: bytes free on that disk.
    """

    dataset: Dataset
    folder: Path
    files: int
    size: int
    have: int
    space: int
    free: int

    def __str__(self) -> str:
        there = f", {self.have:,} are there" if self.have else ""
        return (
            f"{self.dataset}: {self.files:,} files to fetch, {self.size / 1e9:.2f} GB{there}. "
            f"About {self.space / 1e9:.2f} GB of disk are needed, "
            f"{self.free / 1e9:.2f} GB are free."
        )


@dataclass(frozen=True)
class Downloaded:
    """The summary of a download.

    Attributes:
        folder: where the data is; what `erc prepare` takes.
        files, size: of the dataset's files below the subdirectory, as Kaggle lists them.
        fetched: how many of them came now.
        unpacked: the folders that archives became.
        already: all was there; nothing was asked of Kaggle.
    """

    dataset: Dataset
    folder: Path
    files: int
    size: int
    fetched: int
    unpacked: tuple[Path, ...]
    already: bool = False

    def __str__(self) -> str:
        done = "nothing to do, all is there" if self.already else f"{self.fetched:,} fetched now"
        archives = f"; {len(self.unpacked)} archives unpacked" if self.unpacked else ""
        return (
            f"{self.folder}: {self.files:,} files of {self.dataset}, {self.size / 1e9:.2f} GB; "
            f"{done}{archives}. Next: erc prepare {self.folder} --to data/meld"
        )


def download(
    owner: str = "zaber666",
    name: str = "meld-dataset",
    subdir: str = "MELD-RAW/MELD.Raw",
    to: Path | str = "data/raw",
    *,
    unpack: bool = True,
    keep_archives: bool = False,
    connections: int = 8,
    announce: Callable[[Needs], None] | None = None,
    progress: Progress | None = None,
) -> Downloaded:
    """Fetch the files of a Kaggle dataset that are below `subdir` to `to/<last part of subdir>`.

    Where only an archive can hold `subdir`, the archive is fetched and unpacked.

    Args:
        owner, name: the two parts of the dataset's address.
        subdir: a folder of the dataset; "" takes all of it.
        unpack: unpack archives, each beside itself; remove them then, but for `keep_archives`.
        connections: files fetched at once, 1 to 32.
        announce: called once, before anything is fetched.
        progress: called with (what, done, total), in bytes.

    Raises:
        CorpusError: no credentials, a refused licence, no such dataset or subdirectory, no
            network, a full disk, a hostile or damaged archive, a broken transfer; says what to
            do. What is finished is kept, and the same call goes on from there.
    """
    dataset, subdir, folder = _check(owner, name, subdir, Path(to), connections)
    record = read_manifest(folder, dataset, subdir)
    if record and all(item.done(unpack) for item in record):
        return _summary(dataset, subdir, folder, record, 0, already=True)
    tell: Progress = progress or (lambda *_: None)
    credentials = find_credentials()
    with Connection(credentials) as kaggle:
        files = kaggle.list_files(dataset, lambda count: tell("list", count, count))
    chosen = choose(files, dataset, subdir, folder)
    try:
        with _alone(folder):
            todo = [item for item in chosen if not item.done(unpack)]
            absent = [item for item in todo if not item.there()]
            needs = _needs(dataset, folder, chosen, todo, absent, unpack, keep_archives)
            if announce:
                announce(needs)
            if needs.space > needs.free:
                raise CorpusError(
                    f"{folder}: {needs.space / 1e9:.2f} GB of disk are needed and "
                    f"{needs.free / 1e9:.2f} GB are free. Make space and run the same command "
                    "again, or choose a folder on another disk with --to."
                )
            work = Transfers(dataset, credentials, folder / WORK, connections, tell)
            problems = work.run(todo, absent, unpack, keep_archives)
            if problems:
                raise CorpusError(
                    f"{folder}: {len(problems)} of {len(chosen)} files are not as they should "
                    f"be; the others are there:{listed(problems)}\n"
                    f"Run the same command again; if it stays so, look at {dataset.page}."
                )
            if unpack:
                must_hold(chosen, dataset, subdir)
            write_manifest(folder, dataset, subdir, chosen)
            shutil.rmtree(folder / WORK, ignore_errors=True)
    except OSError as error:
        raise disk_error(error, folder) from error
    return _summary(dataset, subdir, folder, chosen, len(absent))


def _check(
    owner: str, name: str, subdir: str, to: Path, connections: int
) -> tuple[Dataset, str, Path]:
    for option, value in (("--owner", owner), ("--name", name)):
        if not _SLUG.fullmatch(value):
            raise CorpusError(
                f"{option} {value!r}: letters, digits, - and _, as in the dataset's address, "
                "kaggle.com/datasets/<owner>/<name>."
            )
    if not 1 <= connections <= 32:
        raise CorpusError(f"--connections {connections}: 1 to 32 work.")
    try:
        subdir = safe_path(subdir.rstrip("/")) if subdir.strip("/ ") not in ("", ".") else ""
    except ValueError as error:
        raise CorpusError(
            f"--subdir {subdir!r} {error}; name a folder of the dataset, as MELD-RAW/MELD.Raw."
        ) from error
    return Dataset(owner, name), subdir, to / PurePosixPath(subdir).name if subdir else to


def _needs(
    dataset: Dataset,
    folder: Path,
    chosen: Sequence[Item],
    todo: Sequence[Item],
    absent: Sequence[Item],
    unpacking: bool,
    keep: bool,
) -> Needs:
    size = sum(item.remote.size for item in absent)
    packed = [item.remote.size for item in todo if item.archive and unpacking]
    # Each archive is removed once it is unpacked, so only the largest stands beside its contents.
    beside = sum(packed) if keep else max(packed, default=0)
    space = size + beside + len(absent) * _BLOCK
    for part in (folder / WORK).glob("*.part"):
        space -= part.stat().st_size
    free = shutil.disk_usage(folder).free
    return Needs(dataset, folder, len(absent), size, len(chosen) - len(todo), max(0, space), free)


def _summary(
    dataset: Dataset,
    subdir: str,
    folder: Path,
    items: Sequence[Item],
    fetched: int,
    *,
    already: bool = False,
) -> Downloaded:
    unpacked = tuple(found for item in items if (found := item.folder()))
    size = sum(item.remote.size for item in items)
    return Downloaded(dataset, folder, len(items), size, fetched, unpacked, already)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two downloads in one folder would write into each other's partial files."""
    (folder / WORK).mkdir(parents=True, exist_ok=True)
    with open(folder / WORK / "lock", "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CorpusError(
                f"{folder}: another erc download is at work there. Wait for it, or choose "
                "another folder with --to."
            ) from error
        except OSError:
            pass  # a file system without locks is no reason to refuse
        yield
