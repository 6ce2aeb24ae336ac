"""Fetches one remote file to one place, and goes on where an earlier try stopped.

Bytes go to a hidden partial file, beside it a note of what they are part of (ETag and size). A
file appears in its place whole, by a rename, after its size was compared with the listing.
"""

import hashlib
import json
import os
import shutil
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from time import sleep

import requests

from erc_features.acquire.kaggle import ATTEMPTS, Connection, pause
from erc_features.acquire.remote import Dataset, Passing, RemoteFile, Unavailable

_CHUNK = 1 << 16  # bytes; where a connection breaks, so much is lost at most
_LARGEST_RATIO = 200  # of a zip around one file, unpacked to packed


class Stopped(Exception):
    """Another file's failure, or the user, ended the download."""


@dataclass(frozen=True)
class _Whole:
    """What a partial file is part of. `tag`: the ETag or else the date; `size`: bytes, or None."""

    tag: str | None
    size: int | None


def fetch(
    kaggle: Connection,
    dataset: Dataset,
    file: RemoteFile,
    to: Path,
    folder: Path,
    said: Callable[[int], None],
    stopped: Callable[[], bool],
) -> None:
    """Fetch `file` to `to`; its partial file stands in `folder`. `said`: bytes there so far.

    A connection that breaks is tried again, from the byte where it broke.

    Raises:
        Unavailable: this file isn't served, or what is served is not what is listed.
        CorpusError: nothing can be fetched now.
        Stopped: `stopped()` became true.
        OSError: the disk is full, or the place can't be written.
    """
    partial = folder / f"{hashlib.sha256(file.name.encode()).hexdigest()[:24]}.part"
    note = partial.with_suffix(".json")
    attempt = 0
    while True:
        before = partial.stat().st_size if partial.exists() else 0
        try:
            _transfer(kaggle, dataset, file, partial, note, said, stopped)
            break
        except Passing as error:
            grown = partial.exists() and partial.stat().st_size > before
            attempt = 0 if grown else attempt + 1
            if attempt >= ATTEMPTS:
                raise
            _wait(pause(attempt, error.wait), stopped)
    unwrapped = _unwrap(partial, note, file)
    size = partial.stat().st_size
    if file.size and size != file.size and not unwrapped:
        _forget(partial, note)
        raise Unavailable(
            f"{file.name}: {size:,} bytes came, and Kaggle lists {file.size:,}; it was put away "
            "and is fetched anew when the same command is run again"
        )
    to.parent.mkdir(parents=True, exist_ok=True)
    with open(partial, "rb+") as done:
        os.fsync(done.fileno())
    os.replace(partial, to)
    note.unlink(missing_ok=True)
    said(file.size or size)


def _transfer(
    kaggle: Connection,
    dataset: Dataset,
    file: RemoteFile,
    partial: Path,
    note: Path,
    said: Callable[[int], None],
    stopped: Callable[[], bool],
) -> None:
    """One request; on return the partial file is whole."""
    known = _read_note(note)
    start = partial.stat().st_size if known and partial.exists() else 0
    if known and known.size is not None and start >= known.size:
        if start == known.size:
            return  # killed between the last byte and the rename
        start = 0
    headers = {"Accept-Encoding": "identity"}  # else sizes and ranges are of something else
    if start and known:
        headers["Range"] = f"bytes={start}-"
        if known.tag and known.tag.startswith('"'):  # only a strong ETag may stand here
            headers["If-Range"] = known.tag
    with kaggle.open(dataset, file, headers) as response:
        whole = _described(response)
        if response.status_code == 206 and (whole != known or _first_byte(response) != start):
            _forget(partial, note)
            raise Passing(f"{file.name}: it changed on Kaggle while it was fetched")
        if response.status_code == 416:
            _forget(partial, note)
            raise Passing(f"{file.name}: Kaggle cannot go on where the last try stopped")
        if response.status_code != 206:
            start = 0
            partial.unlink(missing_ok=True)
            note.write_text(json.dumps(asdict(whole)), encoding="utf-8")
        with open(partial, "ab") as target:
            for chunk in response.iter_content(_CHUNK):
                target.write(chunk)
                start += len(chunk)
                said(start)
                if stopped():
                    raise Stopped
    if whole.size is not None and start != whole.size:
        raise Passing(f"{file.name}: the connection broke at {start:,} of {whole.size:,} bytes")


def _described(response: requests.Response) -> _Whole:
    tag = response.headers.get("ETag") or response.headers.get("Last-Modified")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        return _Whole(tag, None)
    size = response.headers.get("Content-Length", "")
    if response.status_code == 206:
        size = response.headers.get("Content-Range", "").rpartition("/")[2]
    return _Whole(tag, int(size) if size.isascii() and size.isdigit() else None)


def _first_byte(response: requests.Response) -> int | None:
    place = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    return int(place) if place.isascii() and place.isdigit() else None


def _read_note(note: Path) -> _Whole | None:
    try:
        return _Whole(**json.loads(note.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _forget(partial: Path, note: Path) -> None:
    partial.unlink(missing_ok=True)
    note.unlink(missing_ok=True)


def _wait(seconds: float, stopped: Callable[[], bool]) -> None:
    while seconds > 0:
        if stopped():
            raise Stopped
        sleep(min(seconds, 0.2))
        seconds -= 0.2


def _unwrap(partial: Path, note: Path, file: RemoteFile) -> bool:
    """Kaggle serves some single files (CSVs, mostly) as a zip of the one file: take it out.

    Whether it did is seen from the bytes: a zip whose only member has the file's own name.
    """
    name = PurePosixPath(file.name).name
    if name.lower().endswith(".zip") or not zipfile.is_zipfile(partial):
        return False
    plain = partial.with_suffix(".plain")
    try:
        with zipfile.ZipFile(partial) as opened:
            infos = opened.infolist()
            if len(infos) != 1 or PurePosixPath(infos[0].filename).name != name:
                return False
            # Either size may be the listed one; a file of neither is not what was asked for.
            size, packed = infos[0].file_size, partial.stat().st_size
            if file.size not in (0, size, packed) or size > _LARGEST_RATIO * packed:
                return False
            with opened.open(infos[0]) as source, open(plain, "wb") as target:
                shutil.copyfileobj(source, target, _CHUNK)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error):
        plain.unlink(missing_ok=True)
        return False
    note.unlink(missing_ok=True)  # it is of the zip: killed here, nothing goes on from it
    os.replace(plain, partial)
    return True
