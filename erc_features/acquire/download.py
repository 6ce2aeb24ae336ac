"""`erc download`: fetches and unpacks a dataset on Kaggle, as raw data for `erc prepare`.

    data/raw/MELD.Raw/...            the files below --subdir; archives unpacked beside themselves
    data/raw/MELD.Raw/download.json  what was fetched, with sizes; written last
    data/raw/MELD.Raw/.download/     partial files; removed at the end

Run again, it skips what is there and resumes where it stopped. MELD's dataset lists 13,000
clips one by one, so several are fetched at once.
"""

import fcntl
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from erc_features.acquire.archive import BLOCK, safe_path
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
from erc_features.acquire.transfers import Progress, transfer, unpack_item
from erc_features.acquire.unpack import disk_error
from erc_features.errors import CorpusError, listed

_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class Needs:
    """What a download is about to do.

    Attributes:
        files, size: how many files are to be fetched, and their bytes.
        have: files that are already there.
        space: about how many bytes of disk are needed at the same time: for archives and their
            contents, which are as large for video.
        free: bytes that are free on that disk.
    """

    dataset: Dataset
    folder: Path
    files: int
    size: int
    have: int
    space: int
    free: int

    def __str__(self) -> str:
        there = f", {self.have:,} are already there" if self.have else ""
        return (
            f"{self.dataset}: {self.files:,} files to fetch, {self.size / 1e9:.2f} GB{there}. "
            f"About {self.space / 1e9:.2f} GB of disk are needed; "
            f"{self.free / 1e9:.2f} GB are free."
        )


@dataclass(frozen=True)
class Downloaded:
    """The summary of a download.

    Attributes:
        folder: where the data is, for `erc prepare`.
        files, size: the number and bytes of the files below the subdirectory, as Kaggle lists them.
        fetched: how many of them were fetched now.
        unpacked: the folders that archives became.
        already: everything was there; Kaggle was not asked.
    """

    dataset: Dataset
    folder: Path
    files: int
    size: int
    fetched: int
    unpacked: tuple[Path, ...]
    already: bool = False

    def __str__(self) -> str:
        done = "nothing to do" if self.already else f"{self.fetched:,} fetched now"
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
        unpack: unpack each archive beside itself.
        keep_archives: keep archives after they were unpacked.
        connections: files fetched at once, 1 to 32.
        announce: called once, before anything is fetched.
        progress: called with (what, done, total), in bytes.

    Raises:
        CorpusError: no credentials, a refused licence, no such dataset or subdirectory, no
            network, a full disk, a hostile or damaged archive, a broken transfer; says what to
            do. What is finished is kept, and the same call resumes from there.
    """
    dataset, subdir, folder = _check(owner, name, subdir, Path(to), connections)

    def summary(items: list[Item], fetched: int, already: bool = False) -> Downloaded:
        unpacked = tuple(place for item in items if (place := item.folder()))
        size = sum(item.remote.size for item in items)
        return Downloaded(dataset, folder, len(items), size, fetched, unpacked, already)

    record = read_manifest(folder, dataset, subdir)
    if record and all(item.done(unpack) for item in record):
        return summary(record, 0, already=True)
    report: Progress = progress or (lambda *_: None)
    credentials = find_credentials()
    with Connection(credentials) as kaggle:
        files = kaggle.list_files(dataset, lambda count: report("list", count, count))
    chosen = choose(files, dataset, subdir, folder)
    try:
        with _alone(folder):
            todo = [item for item in chosen if not item.done(unpack)]
            absent = [item for item in todo if not item.there()]
            packed = [item.remote.size for item in todo if item.archive and unpack]
            # An unpacked archive is removed, so only the largest stands beside its contents.
            beside = sum(packed) if keep_archives else max(packed, default=0)
            partial = sum(part.stat().st_size for part in (folder / WORK).glob("*.part"))
            size = sum(item.remote.size for item in absent)
            space = max(0, size + beside + len(absent) * BLOCK - partial)
            have, free = len(chosen) - len(todo), shutil.disk_usage(folder).free
            needs = Needs(dataset, folder, len(absent), size, have, space, free)
            if announce:
                announce(needs)
            if space > free:
                raise CorpusError(
                    f"{folder}: {space / 1e9:.2f} GB of disk are needed and {free / 1e9:.2f} GB "
                    "are free. Make space and run the same command again, or choose a folder on "
                    "another disk with --to."
                )
            problems: list[str] = []

            def arrived(item: Item) -> None:
                if item.archive and unpack:
                    problems.extend(unpack_item(item, keep_archives, report))

            for item in [item for item in todo if item.there()]:
                arrived(item)
            problems += transfer(
                dataset, credentials, absent, folder / WORK, connections, arrived, report
            )
            if problems:
                raise CorpusError(
                    f"{folder}: {len(problems)} of {len(chosen)} files could not be fetched or "
                    f"unpacked; the others are there:{listed(problems)}\n"
                    f"Run the same command again; if that does not help, look at {dataset.page}."
                )
            if unpack:
                must_hold(chosen, dataset, subdir)
            write_manifest(folder, dataset, subdir, chosen)
            shutil.rmtree(folder / WORK, ignore_errors=True)
    except OSError as error:
        raise disk_error(error, folder) from error
    return summary(chosen, len(absent))


def _check(
    owner: str, name: str, subdir: str, to: Path, connections: int
) -> tuple[Dataset, str, Path]:
    for option, value in (("--owner", owner), ("--name", name)):
        if not _SLUG.fullmatch(value):
            raise CorpusError(
                f"{option} {value!r}: only letters, digits, - and _ work, as in the dataset's "
                "address, kaggle.com/datasets/<owner>/<name>."
            )
    if not 1 <= connections <= 32:
        raise CorpusError(f"--connections {connections}: 1 to 32 work.")
    try:
        subdir = safe_path(subdir.rstrip("/")) if subdir.strip("/ ") not in ("", ".") else ""
    except ValueError as error:
        raise CorpusError(
            f"--subdir {subdir!r} {error}; name a folder of the dataset, like MELD-RAW/MELD.Raw."
        ) from error
    return Dataset(owner, name), subdir, to / PurePosixPath(subdir).name if subdir else to


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold a lock: two downloads in one folder would write into each other's partial files."""
    (folder / WORK).mkdir(parents=True, exist_ok=True)
    with open(folder / WORK / "lock", "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CorpusError(
                f"{folder}: another erc download is at work there. Wait until it ends, or choose "
                "another folder with --to."
            ) from error
        except OSError:
            pass  # a file system without locks is no reason to refuse
        yield
