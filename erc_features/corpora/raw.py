"""What a reader of raw data returns: utterances, their clips, and the defects found."""

from dataclasses import dataclass
from pathlib import Path

from erc_features.utterance import Utterance


@dataclass(frozen=True)
class Defect:
    """Something wrong in a corpus or its raw data, and what was done about it.

    Attributes:
        kind: a short name, the same for all defects of the kind.
        where: an utterance's key, a split, or a file.
        detail: what was found.
        done: what was done about it; a row is never dropped.
    """

    kind: str
    where: str
    detail: str
    done: str


Span = tuple[float, float | None]


@dataclass(frozen=True)
class RawSound:
    """A file of sound alone.

    Attributes:
        segment: which part of it the utterance is, as in :class:`RawUtterance`; None is all of it.
        inside: where the sound is a part of the file's bytes, as in a table of sounds: the first
            byte and how many.
    """

    path: Path
    segment: Span | None = None
    inside: tuple[int, int] | None = None


@dataclass(frozen=True)
class RawUtterance:
    """An utterance whose media cells are still empty.

    Attributes:
        clip: the file that its picture and sound come from; only its picture, where there is
            `sound`. None with a `sound`: the corpus has no picture of it.
        segment: which part of `clip` it is, where that is a recording: start and end in seconds
            (None is its end). None is all of it.
        written: its text before it was brought into plain form, if that is known.
        sound: the file that its sound comes from, where that is another one than `clip`.
    """

    utterance: Utterance
    clip: Path | None
    written: str | None = None
    segment: Span | None = None
    sound: RawSound | None = None


@dataclass(frozen=True)
class RawCorpus:
    """Raw data as read: rows in manifest order, and what was wrong with them.

    `notes` are lines that whoever prepares them reads, such as counts beside published ones.
    """

    kind: str
    source: Path
    rows: tuple[RawUtterance, ...]
    labels: tuple[str, ...]
    defects: tuple[Defect, ...]
    notes: tuple[str, ...] = ()
