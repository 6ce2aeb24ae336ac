"""What looks wrong in the rows of a corpus. Defects are only reported; no row is changed."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise

from erc_features.corpora.cells import plain_text
from erc_features.corpora.raw import Defect
from erc_features.corpora.times import judge, seconds
from erc_features.doctor.census import length
from erc_features.utterance import Split, Utterance

TIME_KINDS = frozenset(
    {"malformed time", "end before start", "no duration", "too short", "whole scene"}
)
_SUBTITLE = re.compile(r"[0-9]{2}:[0-5][0-9]:[0-5][0-9],[0-9]{3}")
_KEPT = "kept as it is"


def symptoms(
    utterances: Sequence[Utterance], written: Mapping[str, str], cut: Collection[str] = ()
) -> list[Defect]:
    """The defects that rows show in their times, numbers, labels and texts.

    Args:
        written: the text of each key before it was brought into plain form, where that is known.
        cut: the keys of segments; `segment_defects.py` judges their times.
    """
    return [
        *(defect for u in utterances if u.key not in cut for defect in _time(u)),
        *_gaps(utterances),
        *_absent_labels(utterances),
        *(defect for u in utterances for defect in _text(u, written.get(u.key))),
        *_repeated(utterances),
    ]


def _time(u: Utterance) -> Iterator[Defect]:
    start, end = (u.more.get(name, "").strip() for name in ("start", "end"))
    if not start and not end:
        return
    duration, times = length(u), f"{start[:40]} to {end[:40]}"
    kind, detail = judge(duration, times)
    if kind:
        yield Defect(kind, u.key, detail, "kept; times are not used to cut clips")
    odd = [c for c in (start, end) if seconds(c) is not None and not _SUBTITLE.fullmatch(c)]
    if odd and duration is not None:
        yield Defect("time in an unusual format", u.key, times, "read as hours, minutes, seconds")


def _gaps(utterances: Sequence[Utterance]) -> Iterator[Defect]:
    dialogues: dict[tuple[Split, int], list[int]] = defaultdict(list)
    for u in utterances:
        dialogues[u.split, u.dialogue].append(u.sequence)
    for (split, dialogue), numbers in dialogues.items():
        if gap := _missing(numbers):
            done = "kept; the utterances on both sides of a gap count as neighbours"
            yield Defect("gap in utterance numbers", f"{split}/d-{dialogue}", f"no {gap}", done)
    for split in Split:
        if gap := _missing([number for found, number in dialogues if found == split]):
            yield Defect("gap in dialogue numbers", split.value, f"no {gap}", _KEPT)


def _missing(numbers: Sequence[int]) -> str:
    """The missing numbers from 0 to the largest, as "3, 5 to 9": ranges, as they may be huge."""
    gaps = [
        str(low + 1) if high - low == 2 else f"{low + 1} to {high - 1}"
        for low, high in pairwise([-1, *sorted(numbers)])
        if high - low > 1
    ]
    return ", ".join(gaps[:20]) + (f" and {len(gaps) - 20} more gaps" if len(gaps) > 20 else "")


def _absent_labels(utterances: Sequence[Utterance]) -> Iterator[Defect]:
    labels: dict[Split, set[str]] = defaultdict(set)
    for u in utterances:
        if u.label:
            labels[u.split].add(u.label)
    every = set().union(*labels.values())
    for split in labels:
        if lacking := sorted(every - labels[split]):
            detail = f"no {', '.join(lacking[:20])}"
            done = "cannot be learned" if split == Split.TRAIN else "cannot be scored there"
            yield Defect("label absent from a split", split.value, detail, done)


def _text(u: Utterance, written: str | None) -> Iterator[Defect]:
    text = u.x_text if written is None else written
    done = _KEPT if written is None else "erc prepare writes the plain form"
    if not text.strip():
        yield Defect("blank text", u.key, "no text", "kept; text features mark it as missing")
        return
    if text.isascii() and text.isprintable():
        return
    if control := sorted({f"U+{ord(c):04X}" for c in text if c < " " or "\x7f" <= c <= "\x9f"}):
        yield Defect("control character in a text", u.key, ", ".join(control[:10]), done)
    if "\ufffd" in text:
        yield Defect("undecodable text", u.key, "U+FFFD where letters were", _KEPT)
    if signs := sorted({c for c in text if c > "\x9f" and plain_text(c) != c}):
        detail = " ".join(c if c.isprintable() else f"U+{ord(c):04X}" for c in signs)
        yield Defect("typographic signs in a text", u.key, detail, done)


def _repeated(utterances: Sequence[Utterance]) -> Iterator[Defect]:
    for one, two in pairwise(utterances):
        same = (one.split, one.dialogue, one.speaker) == (two.split, two.dialogue, two.speaker)
        if same and two.x_text.strip() and one.x_text == two.x_text:
            detail = f"as {one.key}: {two.x_text.strip()[:60]}"
            yield Defect("same text twice in a row", two.key, detail, _KEPT)
