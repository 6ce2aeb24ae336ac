"""The sound and the frames of utterances: of whole files, or of segments of recordings.

Each recording is decoded once, when the first of its utterances is needed, into a temporary file;
its other utterances are read from there, in any order. Nothing else is kept in memory.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from shutil import disk_usage
from tempfile import gettempdir

import numpy as np

from erc_features.corpora.manifest import Corpus
from erc_features.corpora.segments import FRAMES, HEIGHT, Segment, Segments
from erc_features.errors import ErcError, MediaError
from erc_features.media import (
    RATE,
    Pictures,
    Sound,
    Spool,
    duration,
    read_audio,
    read_frames,
    sample_at,
)
from erc_features.utterance import Modality, Utterance

_PNG_SHARE = 0.49  # of the bytes of pixels, in real MELD clips


class Recordings:
    """What rows of a corpus sound or look like, for any number of threads.

    Args:
        utterances: those that may be asked for; by default all of the corpus.
        frames: how many frames are taken of a clip or segment, instead of the corpus's own number.
    """

    def __init__(
        self,
        corpus: Corpus,
        modality: Modality,
        utterances: Iterable[Utterance] | None = None,
        *,
        frames: int | None = None,
    ) -> None:
        self._corpus, self._modality = corpus, modality
        self._segments = Segments(corpus)
        self._spool = Spool()
        decode = corpus.info.get("decode")
        settings = decode if isinstance(decode, dict) else {}
        self._each = frames or _whole(settings.get("frames"), FRAMES)
        self._height = _whole(settings.get("height"), HEIGHT)
        self._wanted = frames or FRAMES
        self._cut: dict[Path, dict[Segment, None]] = {}
        for utterance in corpus.utterances if utterances is None else utterances:
            path = corpus.media_path(utterance, modality)
            try:
                segment = self._segments.of(utterance, modality)
            except MediaError:
                continue
            if path is not None and segment is not None:
                self._cut.setdefault(path, {})[segment] = None
        self._sounds = {path: Sound(path, self._spool) for path in self._cut}
        self._pictures = {
            path: Pictures(path, [(s.start, s.end) for s in segments], self._each,
                           self._height, self._spool)
            for path, segments in self._cut.items()
        }  # fmt: skip

    @property
    def count(self) -> int:
        """How many files are cut."""
        return len(self._cut)

    @property
    def size(self) -> int:
        """Bytes of the temporary file, so far."""
        return self._spool.size

    @property
    def hours(self) -> float:
        """The hours of all files that are cut, as they declare them."""
        return sum(duration(path, longest=float("inf")) for path in self._cut) / 3600

    @property
    def expected_size(self) -> float:
        """Bytes of the temporary file when all is decoded, about."""
        if self._modality == Modality.AUDIO:
            return sum(sound.expected_size for sound in self._sounds.values())
        spans = sum(map(len, self._cut.values()))
        return spans * self._each * _PNG_SHARE * self._height**2 * 16 / 9 * 3

    def must_fit(self) -> None:
        """Refuse to begin where the temporary file has far too little space.

        Raises:
            ErcError: names the folder, and how much it needs.
        """
        need, folder = self.expected_size, gettempdir()
        if need and (free := disk_usage(folder).free) < need / 2:
            raise ErcError(
                f"{folder}: recordings are decoded once into a temporary file there, which needs "
                f"about {need / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free. TMPDIR=FOLDER names "
                "another folder."
            )

    def decode(self, threads: int) -> None:
        """Decode every recording now; one that fails says so when it is asked for."""

        def one(path: Path) -> None:
            with suppress(MediaError):
                if self._modality == Modality.AUDIO:
                    self._sounds[path].prepare()
                else:
                    self._pictures[path].decode()

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(one, self._cut))

    def sound(self, utterance: Utterance) -> np.ndarray:
        """Mono at 16 kHz: float32 (n,), n >= 1.

        Raises:
            MediaError: there is no sound, or its times are wrong; says why.
        """
        path, segment = self._find(utterance)
        if segment is None:
            return read_audio(path)
        return self._sounds[path].segment(segment.start, segment.end)

    def frames(self, utterance: Utterance, stacked: int | None) -> tuple[np.ndarray, ...]:
        """Its pictures: (H, W, 3) uint8 RGB each.

        Args:
            stacked: see :func:`erc_features.media.read_frames`; only for pictures.

        Raises:
            MediaError: there is no picture, or its times are wrong; says why.
        """
        path, segment = self._find(utterance)
        if segment is None:
            return read_frames(path, stacked=stacked, wanted=self._wanted)
        return self._pictures[path].segment(segment.start, segment.end)

    def _find(self, utterance: Utterance) -> tuple[Path, Segment | None]:
        path = self._corpus.media_path(utterance, self._modality)
        assert path is not None  # utterances without a medium are not asked for
        return path, self._segments.of(utterance, self._modality)


def _whole(found: object, otherwise: int) -> int:
    return found if isinstance(found, int) and found > 0 else otherwise


def seconds_of(corpus: Corpus, utterances: Iterable[Utterance]) -> list[float]:
    """The seconds of sound of each utterance, as its times and its file say, without decoding; 0
    where neither does, or times are wrong."""
    segments = Segments(corpus)
    lengths: dict[Path, float] = {}
    found = []
    for utterance in utterances:
        path = corpus.media_path(utterance, Modality.AUDIO)
        assert path is not None  # utterances without a medium are not asked for
        try:
            segment = segments.of(utterance, Modality.AUDIO)
        except MediaError:
            found.append(0.0)
            continue
        if segment is None:
            found.append(duration(path))
            continue
        if path not in lengths:
            lengths[path] = duration(path, longest=float("inf"))
        length = lengths[path]
        end = segment.end if segment.end is not None else length
        end = min(end, length) if length else end
        samples = sample_at(end) - sample_at(min(segment.start, end))
        found.append(samples / RATE)
    return found
