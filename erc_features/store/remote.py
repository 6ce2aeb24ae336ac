"""Feature files at URLs: s3://, gs://, https://, and whatever else fsspec opens.

HDF5's own structures and the columns are read through a cache of small blocks. Rows of `x` are not:
it is contiguous, so the byte ranges of its rows are known. Exactly these are fetched, near ones
together and all at once. A hundred rows of a file of 1 GB move about 1% of it, in as many round
trips as a server answers in parallel.
"""

import gc
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from erc_features.errors import FeatureFileError

# Opening touches about eight places of the file, a text column is read block after block: small
# blocks waste little of a small file, large ones save round trips on a large one.
BLOCKS, LEAST_BLOCK, MOST_BLOCK = 8192, 32 * 1024, 256 * 1024
CACHED = 64  # blocks
GAP = 16 * 1024  # bytes that are cheaper to read than to ask again
PIECE = 4 * 1024 * 1024  # most bytes of one request
TOGETHER = 32  # requests at once: at most 128 MiB wait in memory

_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs",
             "http": "aiohttp", "https": "aiohttp", "hf": "huggingface_hub"}  # fmt: skip


def is_url(path: object) -> bool:
    """Whether it is a URL and not a path.

    >>> is_url("s3://bucket/features/meld/text.bert.h5"), is_url("features/meld/text.bert.h5")
    (True, False)
    """
    return isinstance(path, str) and "://" in path


@dataclass(frozen=True)
class Remote:
    """An open remote file: its URL, its file system and path there, and its bytes as a file."""

    url: str
    system: Any
    path: str
    file: Any

    def rows(self, x: h5py.Dataset, rows: np.ndarray) -> np.ndarray:
        """Rows (n,) of a dataset (N, …), in their order; no others are fetched.

        Raises:
            FeatureFileError: a row is outside the dataset, or cannot be fetched.
        """
        offset = x.id.get_offset()
        wanted, place = np.unique(rows, return_inverse=True)
        if len(wanted) and not 0 <= wanted[0] <= wanted[-1] < len(x):
            raise FeatureFileError(f"{self.url}: rows are from 0 to {len(x) - 1}.")
        if offset is None:  # another tool wrote it, in chunks: HDF5 alone finds its way there
            return x[wanted][place]
        size = x.dtype.itemsize * int(np.prod(x.shape[1:], dtype=np.int64))  # of a row, bytes
        out = np.empty((len(wanted), *x.shape[1:]), x.dtype)
        runs = list(_runs(wanted, size))
        for group in (runs[i : i + TOGETHER] for i in range(0, len(runs), TOGETHER)):
            starts = [offset + int(wanted[first]) * size for first, _ in group]
            ends = [offset + (int(wanted[stop - 1]) + 1) * size for _, stop in group]
            for (first, stop), part in zip(group, self._parts(starts, ends), strict=True):
                values = np.frombuffer(part, x.dtype).reshape(-1, *x.shape[1:])
                out[first:stop] = values[wanted[first:stop] - wanted[first]]
        return out[place]

    def _parts(self, starts: list[int], ends: list[int]) -> list[bytes]:
        """The bytes of those ranges, requested in parallel."""
        try:
            parts = self.system.cat_ranges(
                [self.path] * len(starts), starts, ends, on_error="raise"
            )
        except Exception as error:
            raise explained(self.url, error) from error
        for start, end, part in zip(starts, ends, parts, strict=True):
            if len(part) != end - start:
                raise FeatureFileError(
                    f"{self.url}: the server sent {len(part)} bytes where {end - start} were asked "
                    "for. The file may have changed meanwhile: open it again."
                )
        return parts

    def close(self) -> None:
        self.file.close()


class _Bytes(io.RawIOBase):
    """The bytes that HDF5 reads; errors of the network become FeatureFileErrors."""

    def __init__(self, url: str, file: Any) -> None:
        self._url, self._file = url, file

    def readinto(self, out: Any) -> int:
        # h5py's lock is held here, and the bytes are fetched by fsspec's thread. Were garbage
        # collected there, an HDF5 object among it would wait for that lock: for ever.
        collects = gc.isenabled()
        gc.disable()
        try:
            return self._file.readinto(out)
        except Exception as error:
            raise explained(self._url, error) from error
        finally:
            if collects:
                gc.enable()

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


def _runs(wanted: np.ndarray, size: int) -> Iterator[tuple[int, int]]:
    """Stretches (first, stop) of the sorted row numbers that one request each fetches."""
    first = 0
    for at in range(1, len(wanted) + 1):
        if (
            at == len(wanted)
            or (wanted[at] - wanted[at - 1] - 1) * size > GAP
            or (wanted[at] - wanted[first] + 1) * size > PIECE
        ):
            yield first, at
            first = at


def open_remote(url: str) -> tuple[Remote, h5py.File]:
    """Open a URL for reading; credentials are those that its file system finds by itself.

    Raises:
        FeatureFileError: there is no such file, the protocol needs a package (names the pip
            command), the server cannot send parts of a file, or the file is not HDF5.
    """
    try:
        import fsspec

        system, path = fsspec.core.url_to_fs(url)
        # An earlier listing may not have the file.
        system.invalidate_cache()
        size = system.info(path)["size"]
        block = min(max((size or 0) // BLOCKS, LEAST_BLOCK), MOST_BLOCK)
        file = system.open(
            path, "rb", block_size=block, cache_type="blockcache",
            cache_options={"maxblocks": CACHED},
        )  # fmt: skip
    except Exception as error:
        raise explained(url, error) from error
    remote = Remote(url, system, path, file)
    try:
        if size:
            file.seek(size - 1)
            file.read(1)  # so that a server that ignores ranges is noticed here, not by HDF5
        file.seek(0)
        return remote, h5py.File(_Bytes(url, file), "r")
    except Exception as error:
        remote.close()
        raise explained(url, error) from error


def explained(url: str, error: Exception) -> FeatureFileError:
    """What a user can do about an error of fsspec, of the server or of HDF5."""
    if isinstance(error, FeatureFileError):
        return error
    protocol = url.partition("://")[0]
    cause = error.__cause__ or error
    status = getattr(cause, "status", None)  # aiohttp's; other clients raise OSErrors
    text = " ".join(str(cause).split())[:200]
    if isinstance(error, ImportError):
        package = _PACKAGES.get(protocol, "fsspec")
        return FeatureFileError(
            f"{url}: {protocol}:// needs {package}: pip install 'erc[cloud]' (or {package} alone)."
        )
    if isinstance(error, ValueError) and "Protocol not known" in text:
        return FeatureFileError(
            f"{url}: no way to open {protocol}:// is known. https://, s3://, gs:// and what fsspec "
            "has a package for work; or copy the file here."
        )
    if isinstance(error, ValueError) and ("range requests" in text or "Cannot seek" in text):
        return FeatureFileError(
            f"{url}: the server does not send parts of a file (no range requests), so reading some "
            "rows would move all of it. Copy the file here and open the copy, or serve it from a "
            "server with ranges: nginx, Apache, S3 and Hugging Face have them; Python's "
            "http.server does not."
        )
    if isinstance(error, PermissionError) or status in (401, 403):
        return FeatureFileError(
            f"{url}: the server refuses it ({text}). Check the address and your credentials for "
            f"{protocol}://."
        )
    if status in (404, 410) or (isinstance(error, FileNotFoundError) and cause is error):
        return FeatureFileError(f"{url}: no such file there. Check the address.")
    if "signature not found" in text:
        return FeatureFileError(f"{url} is not an HDF5 file. `erc extract` writes feature files.")
    if "truncated file" in text:
        return FeatureFileError(f"{url} is truncated. Upload it again.")
    return FeatureFileError(
        f"{url}: cannot be read ({type(cause).__name__}: {text}). Check the address and the "
        "network, or copy the file here and open the copy."
    )
