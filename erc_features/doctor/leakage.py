"""Leaks between splits: speakers, texts, dialogues, scenes, media and numbers that two share.

A model that has seen a test utterance in training is scored too well.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

from erc_features.corpora.cells import plain_text
from erc_features.corpora.raw import Defect
from erc_features.corpora.segments import read_segment
from erc_features.doctor.census import span
from erc_features.doctor.shared_media import CONTENT, MediaNames, SharedFile, cells_of
from erc_features.utterance import Split, Utterance

_OVERLAP = 0.1  # seconds; subtitles that only touch do not overlap
_SHORTEST_DIALOGUE = 2  # utterances
# What stands for an unknown speaker, who is not the same person in two splits.
_NOBODY = {"", "unknown", "unk", "unknown speaker", "n/a", "na", "none", "nan", "null", "?", "-"}


@dataclass(frozen=True)
class Leak:
    """What the split `second` has in common with the split `first`.

    Attributes:
        rows: the rows of `second`.
        numbers: pairs of dialogue and utterance number that both have; harmless.
        as_written: rows of `second` whose text occurs word for word in `first`; None where
            the corpus no longer has its texts as they were written.
        in_plain_form: the same, with quotes, dashes and ellipses in plain form.
        keys: the keys of these rows.
        words: the median length of their texts.
        frequent: the most frequent of these texts, and how many rows of `second` have each.
        dialogues: (one of `second`, one of `first`, utterances) with the same texts in order.
        overlapping: rows of `second` whose time overlaps one of `first` in the same season
            and episode, or the same recording; None without these columns and recordings.
        shared_cells: rows of `second` with a media file that `first` has too, by any name.
        same_bytes: (file of `second`, file of `first`) with the same content.
        speakers: those of `second` who also speak in `first`, those with most rows first.
        all_speakers: how many known speakers `second` has.
        speaker_rows: rows of `second` whose speaker also speaks in `first`.
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
    """One :class:`Leak` for each pair of splits.

    Args:
        written: the text of each key as it was written; None where that is not known.
        names: which file each media cell means.
        shared: the files that several rows share.
    """
    splits = [rows for s in Split if (rows := [u for u in utterances if u.split == s])]
    plain = {u.key: plain_text(u.x_text).strip() for u in utterances}
    return tuple(
        _leak(first, second, plain, written, names, shared)
        for first, second in combinations(splits, 2)
    )


def shared_numbers(leaks: Sequence[Leak]) -> list[Defect]:
    """A defect for each pair of splits that use the same numbers, which is harmless."""
    kind, done = "numbers shared by splits", "kept apart: the split is in every key and path"
    unit = "pairs of dialogue and utterance number"
    return [
        Defect(kind, f"{leak.first}-{leak.second}", f"{leak.numbers:,} {unit}", done)
        for leak in leaks
        if leak.numbers
    ]


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
        overlapping=_overlapping(first, second, media),
        shared_cells=tuple(u.key for u in second if media.files_of(u) & files),
        same_bytes=tuple(_same_bytes(first, second, shared)),
        speakers=tuple(spelled[name] for name in both),
        all_speakers=len(speakers.keys() - _NOBODY),
        speaker_rows=sum(speakers[name] for name in both),
    )


def _repeated(
    first: Sequence[Utterance], second: Sequence[Utterance], texts: Mapping[str, str]
) -> list[str]:
    """The keys of `second` whose text occurs in `first`; blank texts do not count."""
    known = {texts[u.key] for u in first} - {""}
    return [u.key for u in second if texts[u.key] in known]


def _speaker(u: Utterance) -> str:
    """The speaker's name without differences in case, spaces and quotes."""
    return " ".join(plain_text(u.speaker).casefold().split())


def _same_bytes(
    first: Sequence[Utterance], second: Sequence[Utterance], shared: Sequence[SharedFile]
) -> Iterable[tuple[str, str]]:
    """Each file of `second` with the first file of `first` that has the same content."""
    splits = {first[0].split.value, second[0].split.value}
    in_first = {cell for u in first for cell in cells_of(u)}
    only_second = {cell for u in second for cell in cells_of(u)} - in_first
    for group in shared:
        if group.how == CONTENT and splits <= set(group.splits):
            same = next(name for name in group.files if name in in_first)
            yield from ((name, same) for name in group.files if name in only_second)


def _same_dialogues(
    first: Sequence[Utterance], second: Sequence[Utterance], plain: Mapping[str, str]
) -> Iterable[tuple[str, str, int]]:
    known = {texts: name for name, texts in reversed(_dialogues(first, plain).items())}
    for name, texts in _dialogues(second, plain).items():
        if len(texts) >= _SHORTEST_DIALOGUE and any(texts) and texts in known:
            yield name, known[texts], len(texts)


def _dialogues(
    utterances: Sequence[Utterance], plain: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    """The texts of each dialogue, in order."""
    dialogues: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for u in utterances:
        dialogues[f"{u.split}/d-{u.dialogue}"].append((u.sequence, plain[u.key]))
    return {name: tuple(text for _, text in sorted(rows)) for name, rows in dialogues.items()}


def _overlapping(
    first: Sequence[Utterance], second: Sequence[Utterance], media: MediaNames
) -> tuple[str, ...] | None:
    """Rows of `second` whose time overlaps a time of `first` by 0.1 s or more."""
    columns = {"season", "episode", "start", "end"}
    if not columns <= first[0].more.keys() & second[0].more.keys() and not any(
        media.recording_of(u) is not None for u in second
    ):
        return None
    covered = _covered(first, media)
    found = []
    for u in second:
        start, end = _span(u, media)
        times = covered.get(_episode(u, media), [])
        if start is None or end is None:
            continue
        # The times of a union are disjoint and in order, so their ends are in order too.
        at = bisect_left(times, start, key=lambda time: time[1])
        near = [(max(start, s), min(end, e)) for s, e in times[at:] if s < end]
        if any(round(last - first, 3) >= _OVERLAP for first, last in near):
            found.append(u.key)
    return tuple(found)


def _episode(u: Utterance, media: MediaNames) -> tuple[object, object]:
    """What its times are positions in: a recording, or a season and an episode."""
    if (recording := media.recording_of(u)) is not None:
        return recording, None
    return u.more.get("season", "").strip(), u.more.get("episode", "").strip()


def _span(u: Utterance, media: MediaNames) -> tuple[float | None, float | None]:
    """From when to when it lasts; of a recording, an empty end is that of the file."""
    if media.recording_of(u) is None:
        return span(u)
    segment, _ = read_segment(u)
    if segment is None:
        return None, None
    return segment.start, float("inf") if segment.end is None else segment.end


def _covered(
    utterances: Sequence[Utterance], media: MediaNames
) -> dict[tuple[object, object], list[tuple[float, float]]]:
    """The union of all times of an episode, as disjoint intervals in order."""
    times = []
    for u in utterances:
        start, end = _span(u, media)
        if start is not None and end is not None and end > start and any(_episode(u, media)):
            times.append((start, end, _episode(u, media)))
    covered: dict[tuple[object, object], list[tuple[float, float]]] = defaultdict(list)
    for start, end, episode in sorted(times, key=lambda time: time[:2]):
        union = covered[episode]
        if union and start <= union[-1][1]:
            union[-1] = (union[-1][0], max(end, union[-1][1]))
        else:
            union.append((start, end))
    return covered
