"""Counts what a corpus holds, by split: labels, speakers, dialogues, texts, durations."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from erc_features.corpora.segments import read_cell
from erc_features.utterance import Split, Utterance

ALL = "all"
SHORT, LONG = 0.3, 60.0  # seconds; less is hardly a syllable, more is a whole scene
_FREQUENT = 0.01  # share of the rows; main characters have more, guests have less


@dataclass(frozen=True)
class Range:
    """The smallest, the median and the largest of some numbers."""

    low: float
    median: float
    high: float


@dataclass(frozen=True)
class Durations:
    """Durations by `start` and `end`, of the rows where both are times in order.

    Attributes:
        hours: of all rows together.
        median: in seconds.
        short, long: rows of less than 0.3 s, and of more than 60 s.
    """

    rows: int
    hours: float
    median: float
    short: int
    long: int


@dataclass(frozen=True)
class Part:
    """The counts of one split, or of all rows.

    Attributes:
        labels: rows by label, without the unlabelled ones.
        lengths: the lengths of the dialogues, in utterances.
        words: the words of the texts that are not blank; None where all are blank.
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
    """How many rows a speaker has, in all and by split."""

    name: str
    rows: int
    splits: Mapping[str, int]


@dataclass(frozen=True)
class Census:
    """A part for each split, then one for all rows; every speaker, the most frequent first.

    Attributes:
        frequent: how many speakers have at least 1% of the rows each.
        frequent_share: the share of the rows that these have together.
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
    """Count the rows. `labels` gives the order; a label that a split lacks has a count of 0."""
    parts = [
        _part(split.value, rows, labels)
        for split in Split
        if (rows := [u for u in utterances if u.split == split])
    ]
    splits: dict[str, Counter[str]] = defaultdict(Counter)
    for u in utterances:
        if name := u.speaker.strip():
            splits[name][u.split.value] += 1
    speakers = [Speaker(name, counts.total(), dict(counts)) for name, counts in splits.items()]
    speakers.sort(key=lambda speaker: -speaker.rows)
    frequent = [s.rows for s in speakers if s.rows >= _FREQUENT * len(utterances)]
    share = sum(frequent) / max(1, len(utterances))
    parts.append(_part(ALL, utterances, labels))
    return Census(tuple(parts), tuple(speakers), len(frequent), share)


def span(utterance: Utterance) -> tuple[float | None, float | None]:
    """The columns `start` and `end` in seconds, from subtitle times or plain numbers."""
    start, end = (read_cell(utterance.more.get(name, "").strip()) for name in ("start", "end"))
    return start, end


def length(utterance: Utterance) -> float | None:
    """Seconds from `start` to `end`, to the millisecond; negative where they are swapped."""
    start, end = span(utterance)
    return None if start is None or end is None else round(end - start, 3)


def _part(name: str, rows: Sequence[Utterance], labels: Sequence[str]) -> Part:
    counts = Counter(u.label for u in rows if u.label)
    dialogues = Counter((u.split, u.dialogue) for u in rows)
    words = [len(u.x_text.split()) for u in rows if u.x_text.strip()]
    return Part(
        split=name,
        rows=len(rows),
        labels={label: counts[label] for label in labels} if counts else {},
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
    lengths = [seconds for u in rows if (seconds := length(u)) is not None and seconds >= 0]
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
