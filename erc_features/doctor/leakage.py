"""What of one split occurs in another: speakers, texts, dialogues, scenes, media, numbers.

A model that has seen a test utterance in training is scored too well; these are the places.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

from erc_features.corpora.cells import plain_text
from erc_features.doctor.census import span
from erc_features.doctor.shared_media import CONTENT, MediaNames, SharedFile, across, cells_of
from erc_features.utterance import Split, Utterance

_OVERLAP = 0.1  # seconds: subtitles that touch don't overlap
_SHORTEST_DIALOGUE = 2
# What stands for a speaker who is not known: no person, and so none in two splits.
_NOBODY = {"", "unknown", "unk", "unknown speaker", "n/a", "na", "none", "nan", "null", "?", "-"}


@dataclass(frozen=True)
class Leak:
    """What of the split `second` occurs in the split `first`.

    Attributes:
        rows: of `second`.
        numbers: pairs of dialogue and utterance number that both have; harmless.
        as_written: rows of `second` whose text occurs word for word in `first`; None where
            the corpus no longer has its texts as they were written.
        in_plain_form: the same, with quotes, dashes and ellipses in plain form.
        keys: the rows of `in_plain_form`.
        words: the median length of these texts.
        frequent: the most frequent of them, and how many rows of `second` each is.
        dialogues: (of `second`, of `first`, utterances) with the same texts in the same order.
        overlapping: rows of `second` whose time overlaps one of `first` in the same season
            and episode; None without these columns.
        shared_cells: rows of `second` that name a file that `first` names too, by any name.
        same_bytes: (file of `second`, file of `first`) of the same content.
        speakers: of `second` who speak in `first` too, those with most rows first.
        all_speakers: of `second`, who are known.
        speaker_rows: rows of `second` whose speaker speaks in `first` too.
    """

    first: str
    second: str
    rows: int
    numbers: int
    as_written: int | None
    in_plain_form: int
    keys: tuple[str, ...]
    words: float
    frequent: tuple[tuple[str, int], ...]
    dialogues: tuple[tuple[str, str, int], ...]
    overlapping: tuple[str, ...] | None
    shared_cells: tuple[str, ...]
    same_bytes: tuple[tuple[str, str], ...]
    speakers: tuple[str, ...]
    all_speakers: int
    speaker_rows: int


def find_leaks(
    utterances: Sequence[Utterance],
    written: Mapping[str, str] | None,
    names: MediaNames,
    shared: Sequence[SharedFile],
) -> tuple[Leak, ...]:
    """One :class:`Leak` for each two splits.

    Args:
        written: the text of each key as it was written; None where that is not known.
        names: which file each media cell means.
        shared: the files of several rows.
    """
    by_split = {s: rows for s in Split if (rows := [u for u in utterances if u.split == s])}
    plain = {u.key: plain_text(u.x_text).strip() for u in utterances}
    return tuple(
        _leak(by_split[first], by_split[second], plain, written, names, shared)
        for first, second in combinations(by_split, 2)
    )


def _leak(
    first: Sequence[Utterance],
    second: Sequence[Utterance],
    plain: Mapping[str, str],
    written: Mapping[str, str] | None,
    media: MediaNames,
    shared: Sequence[SharedFile],
) -> Leak:
    repeated = _repeated(first, second, plain)
    texts = Counter(plain[key] for key in repeated)
    files = {file for u in first for file in media.files_of(u)}
    known = {_speaker(u) for u in first} - _NOBODY
    speakers = Counter(_speaker(u) for u in second)
    both = [name for name, _ in speakers.most_common() if name in known]
    spelled = {_speaker(u): u.speaker.strip() for u in reversed(second)}
    numbers = {(u.dialogue, u.sequence) for u in first}
    return Leak(
        first=first[0].split.value,
        second=second[0].split.value,
        rows=len(second),
        numbers=sum((u.dialogue, u.sequence) in numbers for u in second),
        as_written=None if written is None else len(_repeated(first, second, written)),
        in_plain_form=len(repeated),
        keys=tuple(repeated),
        words=median(len(plain[key].split()) for key in repeated) if repeated else 0.0,
        frequent=tuple(texts.most_common(5)),
        dialogues=tuple(_same_dialogues(first, second, plain)),
        overlapping=_overlapping(first, second),
        shared_cells=tuple(u.key for u in second if media.files_of(u) & files),
        same_bytes=tuple(_same_bytes(first, second, shared)),
        speakers=tuple(spelled[name] for name in both),
        all_speakers=len(speakers.keys() - _NOBODY),
        speaker_rows=sum(speakers[name] for name in both),
    )


def _repeated(
    first: Sequence[Utterance], second: Sequence[Utterance], texts: Mapping[str, str]
) -> list[str]:
    """Keys of `second` whose text occurs in `first`; a blank text repeats nothing."""
    known = {texts[u.key] for u in first} - {""}
    return [u.key for u in second if texts[u.key] in known]


def _speaker(u: Utterance) -> str:
    """Whose name it is, whatever its case, spaces and quotes."""
    return " ".join(plain_text(u.speaker).casefold().split())


def _same_bytes(
    first: Sequence[Utterance], second: Sequence[Utterance], shared: Sequence[SharedFile]
) -> Iterable[tuple[str, str]]:
    """A file of `second`, and the first one of `first` with the same content."""
    groups = across(shared, first[0].split.value, second[0].split.value, CONTENT)
    named = {name for one in groups for name in one.files}
    theirs = [{cell for u in rows for cell in cells_of(u)} & named for rows in (first, second)]
    for one in groups:
        ours = [name for name in one.files if name in theirs[0]]
        yield from ((name, ours[0]) for name in one.files
                    if name in theirs[1] and name not in theirs[0])  # fmt: skip


def _same_dialogues(
    first: Sequence[Utterance], second: Sequence[Utterance], plain: Mapping[str, str]
) -> Iterable[tuple[str, str, int]]:
    known: dict[tuple[str, ...], str] = {}
    for name, texts in _dialogues(first, plain).items():
        known.setdefault(texts, name)
    for name, texts in _dialogues(second, plain).items():
        if len(texts) >= _SHORTEST_DIALOGUE and any(texts) and texts in known:
            yield name, known[texts], len(texts)


def _dialogues(
    utterances: Sequence[Utterance], plain: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for u in utterances:
        found[f"{u.split}/d-{u.dialogue}"].append((u.sequence, plain[u.key]))
    return {name: tuple(text for _, text in sorted(rows)) for name, rows in found.items()}


def _overlapping(first: Sequence[Utterance], second: Sequence[Utterance]) -> tuple[str, ...] | None:
    """Rows of `second` whose time lies, by 0.1 s or more, in a time of `first`."""
    needed = {"season", "episode", "start", "end"}
    if not needed <= set(first[0].more) or not needed <= set(second[0].more):
        return None
    covered = {episode: _union(times) for episode, times in _times(first).items()}
    found = []
    for u in second:
        start, end = span(u)
        times = covered.get(_episode(u), [])
        if start is None or end is None:
            continue
        # Those of a union are in order and apart, so their ends are in order too.
        at = bisect_left(times, start, key=lambda time: time[1])
        while at < len(times) and times[at][0] < end:
            if round(min(end, times[at][1]) - max(start, times[at][0]), 3) >= _OVERLAP:
                found.append(u.key)
                break
            at += 1
    return tuple(found)


def _episode(u: Utterance) -> tuple[str, str]:
    return u.more.get("season", "").strip(), u.more.get("episode", "").strip()


def _times(utterances: Sequence[Utterance]) -> dict[tuple[str, str], list[tuple[float, float]]]:
    times: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for u in utterances:
        start, end = span(u)
        if start is not None and end is not None and end > start and any(_episode(u)):
            times[_episode(u)].append((start, end))
    return times


def _union(times: list[tuple[float, float]]) -> list[tuple[float, float]]:
    union: list[tuple[float, float]] = []
    for start, end in sorted(times):
        if union and start <= union[-1][1]:
            union[-1] = (union[-1][0], max(end, union[-1][1]))
        else:
            union.append((start, end))
    return union
