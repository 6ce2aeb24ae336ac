"""What a corpus holds, by split: labels, speakers, dialogues, texts, durations."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import median

from erc_features.corpora.times import seconds
from erc_features.utterance import Split, Utterance

ALL = "all"
SHORT, LONG = 0.3, 60.0  # seconds: hardly a syllable; a whole scene
_FREQUENT = 0.01  # of the rows: a main character, not a guest
_NUMBER = re.compile(r"[0-9]{1,7}(\.[0-9]{1,9})?")


@dataclass(frozen=True)
class Range:
    """The smallest, the median and the largest of some numbers."""

    low: float
    median: float
    high: float


@dataclass(frozen=True)
class Durations:
    """Of the rows whose `start` and `end` are times, in order: seconds, and `hours` in all."""

    rows: int
    hours: float
    median: float
    short: int
    long: int


@dataclass(frozen=True)
class Part:
    """The counts of one split, or of all rows.

    Attributes:
        labels: rows by label, the unlabelled left out.
        lengths: of its dialogues, in utterances.
        words: of its texts that are not blank; None where all are.
        durations: None without columns `start` and `end`.
    """

    split: str
    rows: int
    labels: Mapping[str, int]
    unlabelled: int
    speakers: int
    unnamed: int
    dialogues: int
    lengths: Range
    words: Range | None
    blank: int
    durations: Durations | None

    @property
    def majority(self) -> tuple[str, float]:
        """The most frequent label, and its share of the labelled rows; ("", 0) without labels."""
        if not self.labels:
            return "", 0.0
        label = max(self.labels, key=lambda name: self.labels[name])
        return label, self.labels[label] / sum(self.labels.values())


@dataclass(frozen=True)
class Speaker:
    """Rows of one speaker, by split."""

    name: str
    rows: int
    splits: Mapping[str, int]


@dataclass(frozen=True)
class Census:
    """One part a split, and one of all rows; every speaker, the most frequent first.

    Attributes:
        frequent: speakers of at least 1% of the rows.
        frequent_share: of the rows, theirs.
    """

    parts: tuple[Part, ...]
    speakers: tuple[Speaker, ...]
    frequent: int
    frequent_share: float

    @property
    def all(self) -> Part:
        return self.parts[-1]

    @property
    def splits(self) -> tuple[Part, ...]:
        return self.parts[:-1]


def take_census(utterances: Sequence[Utterance], labels: Sequence[str]) -> Census:
    """Count. `labels` gives the order; a label that a split lacks is counted as 0 there."""
    by_split = {s: rows for s in Split if (rows := [u for u in utterances if u.split == s])}
    parts = [_part(split.value, rows, labels) for split, rows in by_split.items()]
    counts = Counter(u.speaker.strip() for u in utterances if u.speaker.strip())
    splits: dict[str, Counter[str]] = {name: Counter() for name in counts}
    for u in utterances:
        if u.speaker.strip():
            splits[u.speaker.strip()][u.split.value] += 1
    speakers = tuple(Speaker(name, n, dict(splits[name])) for name, n in counts.most_common())
    frequent = [s.rows for s in speakers if s.rows >= _FREQUENT * len(utterances)]
    return Census(
        (*parts, _part(ALL, utterances, labels)),
        speakers,
        len(frequent),
        sum(frequent) / max(1, len(utterances)),
    )


def span(utterance: Utterance) -> tuple[float | None, float | None]:
    """Seconds of the columns `start` and `end`: subtitle times, or plain numbers of seconds."""
    start, end = (_time(utterance.more.get(name, "")) for name in ("start", "end"))
    return start, end


def length(utterance: Utterance) -> float | None:
    """Seconds from `start` to `end`, to the millisecond; negative where they are swapped."""
    start, end = span(utterance)
    return None if start is None or end is None else round(end - start, 3)


@lru_cache(maxsize=1 << 16)  # each is read for its split, for all, for its defects and overlaps
def _time(cell: str) -> float | None:
    cell = cell.strip()
    return float(cell) if cell.isascii() and _NUMBER.fullmatch(cell) else seconds(cell)


def _part(name: str, rows: Sequence[Utterance], labels: Sequence[str]) -> Part:
    found = Counter(u.label for u in rows if u.label)
    dialogues = Counter((u.split, u.dialogue) for u in rows)
    words = [len(u.x_text.split()) for u in rows if u.x_text.strip()]
    return Part(
        split=name,
        rows=len(rows),
        labels={label: found[label] for label in labels} if found else {},
        unlabelled=sum(not u.label for u in rows),
        speakers=len({u.speaker.strip() for u in rows} - {""}),
        unnamed=sum(not u.speaker.strip() for u in rows),
        dialogues=len(dialogues),
        lengths=_range(list(dialogues.values())),
        words=_range(words) if words else None,
        blank=len(rows) - len(words),
        durations=_durations(rows),
    )


def _durations(rows: Sequence[Utterance]) -> Durations | None:
    lengths = [found for u in rows if (found := length(u)) is not None and found >= 0]
    if not lengths:
        return None
    return Durations(
        rows=len(lengths),
        hours=math.fsum(lengths) / 3600,
        median=median(lengths),
        short=sum(seconds < SHORT for seconds in lengths),
        long=sum(seconds > LONG for seconds in lengths),
    )


def _range(numbers: Sequence[int]) -> Range:
    return Range(min(numbers), median(numbers), max(numbers))
