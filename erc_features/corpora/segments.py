"""Segments: which part of its file an utterance is, by the columns `start` and `end`.

Times cut a recording or a clip, never a picture. They do not cut the files that `erc prepare`
made, which are one file an utterance: such a corpus keeps the times of its raw data, which are
those of an episode. `"segments": false` in `corpus.json` says the same of any other corpus.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from os.path import dirname, splitext
from pathlib import Path
from types import MappingProxyType
from typing import Any

from erc_features.corpora.faces import FACE_CROP
from erc_features.corpora.manifest import INFO, Corpus
from erc_features.corpora.times import read_time
from erc_features.errors import CorpusError, MediaError
from erc_features.utterance import Modality, Split, Utterance

START, END = TIMES = ("start", "end")
FRAMES, HEIGHT = 5, 240  # taken of a clip or recording, and their height in pixels
NAME = "segments"  # in `corpus.json`, and in `config` of a feature file
_TRIED = 20  # files that are looked at to see whether times are positions in them

read_cell = lru_cache(maxsize=1 << 16)(read_time)  # sizes, samples, the digest, `erc doctor`


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a file, in seconds from its beginning; `end` None is the file's end."""

    start: float
    end: float | None


class Segments:
    """The segments of a corpus's utterances.

    Raises:
        CorpusError: `segments` in `corpus.json` is neither true nor false.
    """

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self.said = corpus.info.get(NAME)
        if self.said is not None and not isinstance(self.said, bool):
            raise CorpusError(
                f"{corpus.root / INFO}: {NAME!r} is {self.said!r}; true, where the columns start "
                "and end cut utterances out of recordings, and false, where every file is one "
                "utterance, work."
            )
        self._prepared: dict[str, bool] = {}

    def has(self, utterance: Utterance, modality: Modality) -> bool:
        """Whether times say which part of its file the utterance is; they may be wrong."""
        more = utterance.more
        if self.said is False or modality == Modality.TEXT:
            return False
        if not (more.get(START, "").strip() or more.get(END, "").strip()):
            return False
        cell = utterance.cell(modality)
        if not cell or (modality == Modality.VISUAL and self._corpus.crop == FACE_CROP):
            return False
        if modality == Modality.VISUAL:
            from erc_features.media import PICTURES  # PyAV: not for corpora without times

            if splitext(cell)[1].lower() in PICTURES:
                return False
        return not self._is_prepared(dirname(cell))

    def of(self, utterance: Utterance, modality: Modality) -> Segment | None:
        """The part of its file that the utterance is; None where it is all of it.

        Raises:
            MediaError: its times are no times, are negative, or not in order.
        """
        if not self.has(utterance, modality):
            return None
        segment, wrong = read_segment(utterance)
        if segment is None:
            raise MediaError(wrong)
        return segment

    def digest(self, modality: Modality) -> str | None:
        """A hash of the times that cut this modality, 16 hex digits; None where none do.

        It goes into a feature file's `config`, so that rows that were cut by other times are never
        mixed. Times count as they are read: 12.5 and 0:00:12.500 are the same.
        """
        digest, some = hashlib.sha256(), False
        for u in sorted(self._corpus.utterances, key=lambda u: u.key):
            if self.has(u, modality):
                some = True
                start, end = (u.more.get(name, "").strip() for name in TIMES)
                times = (read_cell(start), read_cell(end))
                line = f"{u.key}\t{times[0] if times[0] is not None else start}"
                line += f"\t{times[1] if times[1] is not None else end}\n"
                digest.update(line.encode("utf-8", "surrogatepass"))
        return digest.hexdigest()[:16] if some else None

    def must_be_positions(self, modality: Modality) -> None:
        """Refuse a corpus whose times all begin after the end of their files: those are times of an
        episode, and its files are already cut. Where every file has a single utterance, most times
        past its end say so too: an episode's first times are within its first files. A look at 20
        files, unless `corpus.json` says it.

        Raises:
            CorpusError: says what to write into `corpus.json`.
        """
        if self.said is not None:
            return
        cut = [u for u in self._corpus.utterances if self.has(u, modality)]
        timed = [(u, found) for u in cut if (found := read_segment(u)[0]) is not None]
        if not timed:
            return
        from erc_features.media import PICTURE_SLACK, duration

        single = len({u.cell(modality) for u, _ in timed}) == len(timed) > 1
        seen, within, early = [], 0, False
        for u, segment in timed[:: max(1, len(timed) // _TRIED)][:_TRIED]:
            path = self._corpus.media_path(u, modality)
            assert path is not None  # `has` says so
            length = duration(path, longest=float("inf"))
            if not length:  # a file that cannot be read says nothing
                continue
            late = single and (segment.end or 0.0) > length + PICTURE_SLACK
            if segment.start < length and not late:
                within += 1
                if not single:
                    return
                continue
            early |= segment.start < length
            seen.append(f"{u.key} starts at {segment.start:.2f} s, and {path.name} lasts "
                        f"{length:.2f} s")  # fmt: skip
        if len(seen) > max(1, within):
            most = (
                f"{len(seen)} of {len(seen) + within} that were tried end after their files"
                if within or early
                else "all that were tried begin after the end of their files"
            )
            raise CorpusError(
                f"{self._corpus.root}: the columns start and end cut utterances out of recordings, "
                f"but {most}: {seen[-1 if within or early else 0]}. If each "
                f'file is one utterance already, write {{"{NAME}": false}} into '
                f'{self._corpus.root / INFO}, beside what is there; {{"{NAME}": true}} cuts all '
                "the same."
            )

    def _is_prepared(self, name: str) -> bool:
        """Whether `erc prepare` wrote the files of a folder: `<corpus>/<split>/`."""
        if name not in self._prepared:
            folder = self._corpus.root / name
            known = folder.parent == self._corpus.root
            info = self._corpus.info if known else info_of(folder.parent / INFO)
            self._prepared[name] = folder.name in set(Split) and made_by_erc(info)
        return self._prepared[name]


def read_segment(utterance: Utterance) -> tuple[Segment | None, str]:
    """The segment that the columns `start` and `end` name, or None and what is wrong with them."""
    start, end = (utterance.more.get(name, "").strip() for name in TIMES)
    first = read_cell(start) if start else 0.0
    last = read_cell(end) if end else None
    if first is None or (end and last is None):
        name, cell = (START, start) if first is None else (END, end)
        return None, f"{name} {cell[:40]!r} is not a time; 12.5 and 0:00:12.5 are"
    if first < 0:
        return None, f"start {start[:40]!r} is negative"
    if last is not None and last <= first:
        what = "its end is its start" if last == first else "it ends before it starts"
        return None, f"{what}: {start[:40] or 0} to {end[:40]}"
    return Segment(first, last), ""


def made_by_erc(info: Mapping[str, Any]) -> bool:
    """Whether `erc prepare` wrote a `corpus.json`. A user may write `decode: {"frames": 5}` for
    mosaics; only prepare writes `rate`, for sound."""
    decode = info.get("decode")
    return "prepared_from" in info or (isinstance(decode, Mapping) and "rate" in decode)


def without_times(utterances: Iterable[Utterance]) -> list[Utterance]:
    """The utterances without their columns `start` and `end`."""
    return [
        replace(u, more=MappingProxyType({k: v for k, v in u.more.items() if k not in TIMES}))
        for u in utterances
    ]


def info_of(path: Path) -> Mapping[str, Any]:
    """What the `corpus.json` at `path` says; nothing where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
