"""Files of strangers: their first bytes say what they are, and their names are never used."""

import asyncio
import os
import re
import shutil
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO

from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from erc_features.terminal import err
from erc_fusion.serving.limits import Limits
from erc_fusion.serving.lines import refused
from erc_fusion.serving.media import Media
from erc_fusion.serving.schema import Said

_PREFIX = "erc-serve-"
_OF = re.compile(rf"{_PREFIX}(\d+)-")
# First bytes -> the ending by which our own rooms know the format.
_STARTS = (
    (b"\x89PNG\r\n\x1a\n", ".png"), (b"\xff\xd8\xff", ".jpg"), (b"GIF87a", ".gif"),
    (b"GIF89a", ".gif"), (b"BM", ".bmp"), (b"II*\0", ".tif"), (b"MM\0*", ".tif"),
    (b"OggS", ".ogg"), (b"fLaC", ".flac"), (b"ID3", ".mp3"), (b"\xff\xfb", ".mp3"),
    (b"\xff\xf3", ".mp3"), (b"\xff\xf2", ".mp3"), (b"\xff\xf1", ".aac"), (b"\xff\xf9", ".aac"),
    (b"\x1a\x45\xdf\xa3", ".webm"), (b"FLV\x01", ".flv"),
)  # fmt: skip
_RIFF = {b"WAVE": ".wav", b"AVI ": ".avi", b"WEBP": ".webp"}
KNOWN = "PNG, JPEG, GIF, BMP, TIFF, WebP; WAV, MP3, Ogg, FLAC, AAC, M4A; MP4, MOV, WebM, AVI, FLV"


def ending_of(start: bytes) -> str | None:
    """The ending of a file that begins with these bytes; None for one that is not taken.

    >>> ending_of(b"RIFF....WAVEfmt "), ending_of(b"#EXTM3U")
    ('.wav', None)
    """
    if start[:4] in (b"RIFF", b"RF64"):
        return _RIFF.get(start[8:12])
    if start[4:8] == b"ftyp":
        return ".m4a" if start[8:11] == b"M4A" else ".mp4"
    return next((ending for first, ending in _STARTS if start.startswith(first)), None)


def private_root() -> Path:
    """A folder that only we can read, for all uploads; those that a killed server left are
    emptied."""
    with suppress(OSError):
        for old in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
            match = _OF.match(old.name)
            ours = match and old.is_dir() and not old.is_symlink()
            if ours and old.stat().st_uid == os.getuid() and not _lives(int(match[1])):
                err.print(f"{old}: left by a server that was killed; removed.", markup=False)
                shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


@asynccontextmanager
async def folder_in(root: Path) -> AsyncIterator[Path]:
    """A folder for one request, which is gone afterwards, whatever happens."""
    path = Path(tempfile.mkdtemp(dir=root))
    try:
        yield path
    finally:
        # Shielded: a client that goes away must not leave its files here.
        await asyncio.shield(asyncio.to_thread(shutil.rmtree, path, True))


class _Form(MultiPartParser):
    """Knows whether a form has its end: one that was cut off lacks a part, or half of it."""

    ended = False

    def on_end(self) -> None:
        self.ended = True


@asynccontextmanager
async def read_form(request: Request, limits: Limits) -> AsyncIterator[FormData]:
    """A form, whose files Starlette keeps in memory or in files without a name, until the end.

    Raises:
        HTTPException: 400, it is no form, was cut off, or has too many parts.
    """

    async def body() -> AsyncGenerator[bytes, None]:
        async for part in request.stream():
            yield part
        if not parser.ended:
            raise MultiPartException("it was cut off")

    parser = _Form(
        request.headers, body(), max_files=3 * limits.utterances, max_fields=8,
        max_part_size=limits.lines,
    )  # fmt: skip
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise refused(f"The form cannot be read: {error.message[:200]}", 400) from error
    except (KeyError, ValueError) as error:
        raise refused("The form cannot be read: its head is damaged.", 400) from error
    try:
        yield form
    finally:
        await form.close()


def save(files: Mapping[str, IO[bytes]], folder: Path) -> dict[str, Path]:
    """Part -> our own file; called in a thread.

    Raises:
        HTTPException: 415, a file is of no kind that is taken.
    """
    found = {}
    for number, (name, file) in enumerate(files.items()):
        file.seek(0)
        ending = ending_of(file.read(16))
        if ending is None:
            raise refused(f"The part {name[:40]!a} is none of {KNOWN}.", 415)
        file.seek(0)
        found[name] = folder / f"{number}{ending}"
        with open(found[name], "xb") as out:
            shutil.copyfileobj(file, out)
    return found


def media_of(said: Sequence[Said], files: Mapping[str, Path]) -> list[Media]:
    """The files of each utterance.

    Raises:
        HTTPException: 422, an utterance names a part that was not sent, or that has not its
            medium, or one medium twice; or a part belongs to no utterance.
    """
    from erc_features.media import PICTURES, SOUNDS

    used, found = set(), []
    for number, one in enumerate(said, start=1):
        visual = audio = ""
        for field in ("picture", "sound", "clip"):
            name = getattr(one, field)
            if name is None:
                continue
            if name not in files:
                raise refused(
                    f"Utterance {number}: {field} is {name[:40]!a}, and no file was sent in a "
                    "part of that name. Paths and URLs are not opened: send the file, as "
                    "multipart/form-data."
                )
            used.add(name)
            path = files[name]
            seen, heard = path.suffix not in SOUNDS, path.suffix not in PICTURES
            if (field == "picture" and not seen) or (field == "sound" and not heard):
                raise refused(f"Utterance {number}: its {field} is a {path.suffix[1:]} file.")
            if field != "sound" and seen:
                visual = visual or str(path)
            if field != "picture" and heard:
                audio = audio or str(path)
        found.append(Media(visual, audio))
    if unused := sorted(set(files) - used):
        names = ", ".join(ascii(name[:40]) for name in unused[:5])
        raise refused(f"No utterance names the part {names}, as its clip, sound or picture.")
    return found
