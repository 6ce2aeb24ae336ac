"""Fetches one remote file to its place, and resumes where an earlier attempt stopped.

Bytes go to a hidden partial file. A note beside it says what they are part of (ETag and size). A
file takes its place whole, by a rename, after its size was compared with the listed one.
"""

import hashlib
import json
import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from threading import Event

import requests

from erc_features.acquire.kaggle import ATTEMPTS, Connection, pause
from erc_features.acquire.remote import Dataset, Passing, RemoteFile, Unavailable

_CHUNK = 1 << 16  # bytes; the most that is lost where a connection breaks
_LARGEST_RATIO = 200  # unpacked to packed bytes of a zip around one file
_RANGE = re.compile(r"bytes ([0-9]+)-[^/]*/([0-9]*)")


class Stopped(Exception):
    """The download ends because of another file's failure, or because the user interrupts it."""


@dataclass(frozen=True)
class _Whole:
    """What a partial file is part of. `tag`: the ETag or else the date; `size`: bytes, or None."""

    tag: str | None
    size: int | None


@dataclass(frozen=True)
class Fetch:
    """One file on its way to `to`; its partial file is in `folder`.

    Attributes:
        report: called with the bytes that are there so far.
        stop: ends the download when it is set.
    """

    kaggle: Connection
    dataset: Dataset
    file: RemoteFile
    to: Path
    folder: Path
    report: Callable[[int], None]
    stop: Event

    @property
    def partial(self) -> Path:
        return self.folder / f"{hashlib.sha256(self.file.name.encode()).hexdigest()[:24]}.part"

    @property
    def note(self) -> Path:
        return self.partial.with_suffix(".json")

    def run(self) -> None:
        """Fetch the file. A connection that breaks is tried again, from the byte where it broke.

        Raises:
            Unavailable: Kaggle does not serve this file, or serves another than it lists.
            CorpusError: nothing can be fetched now.
            Stopped: `stop` was set.
            OSError: the disk is full, or the place cannot be written.
        """
        file, partial, attempt = self.file, self.partial, 0
        while True:
            before = partial.stat().st_size if partial.exists() else 0
            try:
                self._transfer()
                break
            except Passing as error:
                grown = partial.exists() and partial.stat().st_size > before
                attempt = 0 if grown else attempt + 1
                if attempt >= ATTEMPTS:
                    raise
                if self.stop.wait(pause(attempt, error.wait)):
                    raise Stopped from None
        unwrapped = self._unwrap()
        size = partial.stat().st_size
        if file.size and size != file.size and not unwrapped:
            self._forget()
            raise Unavailable(
                f"{file.name}: {size:,} bytes came, but Kaggle lists {file.size:,}; they were "
                "deleted, and the same command fetches the file anew"
            )
        self.to.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "rb+") as done:
            os.fsync(done.fileno())
        os.replace(partial, self.to)
        self.note.unlink(missing_ok=True)
        self.report(file.size or size)

    def _transfer(self) -> None:
        """Make one request; on return the partial file is whole."""
        try:
            known = _Whole(**json.loads(self.note.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            known = None
        start = self.partial.stat().st_size if known and self.partial.exists() else 0
        if known and known.size is not None and start >= known.size:
            if start == known.size:
                return  # killed between the last byte and the rename
            start = 0
        headers = {"Accept-Encoding": "identity"}  # else sizes and ranges are those of other bytes
        if start and known:
            headers["Range"] = f"bytes={start}-"
            if known.tag and known.tag.startswith('"'):  # If-Range takes only a strong ETag
                headers["If-Range"] = known.tag
        with self.kaggle.open(self.dataset, self.file, headers) as response:
            whole, first = _described(response)
            if response.status_code == 206 and (whole != known or first != start):
                self._forget()
                raise Passing(f"{self.file.name}: it changed on Kaggle while it was fetched")
            if response.status_code == 416:
                self._forget()
                raise Passing(f"{self.file.name}: Kaggle cannot resume where the last try stopped")
            if response.status_code != 206:
                start = 0
                self.partial.unlink(missing_ok=True)
                self.note.write_text(json.dumps(asdict(whole)), encoding="utf-8")
            with open(self.partial, "ab") as target:
                for chunk in response.iter_content(_CHUNK):
                    target.write(chunk)
                    start += len(chunk)
                    self.report(start)
                    if self.stop.is_set():
                        raise Stopped
        if whole.size is not None and start != whole.size:
            raise Passing(
                f"{self.file.name}: the connection broke at {start:,} of {whole.size:,} bytes"
            )

    def _forget(self) -> None:
        self.partial.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def _unwrap(self) -> bool:
        """Kaggle serves some single files, mostly CSVs, as a zip around the file: take it out.

        The bytes show whether it did: a zip whose only member has the file's own name.
        """
        file, partial, plain = self.file, self.partial, self.partial.with_suffix(".plain")
        name = PurePosixPath(file.name).name
        if name.lower().endswith(".zip") or not zipfile.is_zipfile(partial):
            return False
        try:
            with zipfile.ZipFile(partial) as opened:
                infos = opened.infolist()
                if len(infos) != 1 or PurePosixPath(infos[0].filename).name != name:
                    return False
                # The listed size may be either; a file of neither is not what was asked for.
                size, packed = infos[0].file_size, partial.stat().st_size
                if file.size not in (0, size, packed) or size > _LARGEST_RATIO * packed:
                    return False
                with opened.open(infos[0]) as source, open(plain, "wb") as target:
                    shutil.copyfileobj(source, target, _CHUNK)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error):
            plain.unlink(missing_ok=True)
            return False
        self.note.unlink(missing_ok=True)  # it describes the zip: nothing may resume from it now
        os.replace(plain, partial)
        return True


def _described(response: requests.Response) -> tuple[_Whole, int | None]:
    """What the body is part of, and, where it is a part, its first byte."""
    tag = response.headers.get("ETag") or response.headers.get("Last-Modified")
    part = _RANGE.match(response.headers.get("Content-Range", ""))
    size = response.headers.get("Content-Length", "")
    if response.status_code == 206:
        size = part[2] if part else ""
    plain = response.headers.get("Content-Encoding", "identity") == "identity"
    known = plain and size.isascii() and size.isdigit()
    return _Whole(tag, int(size) if known else None), int(part[1]) if part else None
