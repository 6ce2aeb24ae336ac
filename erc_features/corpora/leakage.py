"""What of one split occurs in another: numbers, texts, dialogues, scenes, media.

A model that has seen a test utterance in training is scored too well; these are the places.
"""

import hashlib
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from posixpath import normpath
from statistics import median

from erc_features.corpora.cells import plain_text
from erc_features.corpora.census import span
from erc_features.utterance import Split, Utterance

_OVERLAP = 0.1  # seconds: subtitles that touch don't overlap
_HEAD = 65_536  # bytes: most files that differ, differ in these
_SHORTEST_DIALOGUE = 2


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
        shared_cells: rows of `second` that name a file that `first` names too.
        same_bytes: (file of `second`, file of `first`) of the same content.
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


def find_leaks(
    utterances: Sequence[Utterance],
    written: Mapping[str, str] | None,
    files: Mapping[Path, int],
    root: Path,
) -> tuple[Leak, ...]:
    """One :class:`Leak` for each two splits.

    Args:
        written: the text of each key as it was written; None where that is not known.
        files: the media files that are there, and their bytes.
        root: the folder that media cells are relative to.
    """
    by_split = {s: rows for s in Split if (rows := [u for u in utterances if u.split == s])}
    plain = {u.key: plain_text(u.x_text).strip() for u in utterances}
    same = _same_bytes(utterances, files, root)
    return tuple(
        _leak(by_split[first], by_split[second], plain, written, same.get((first, second), ()))
        for first, second in combinations(by_split, 2)
    )


def _leak(
    first: Sequence[Utterance],
    second: Sequence[Utterance],
    plain: Mapping[str, str],
    written: Mapping[str, str] | None,
    same_bytes: Iterable[tuple[str, str]],
) -> Leak:
    repeated = _repeated(first, second, plain)
    texts = Counter(plain[key] for key in repeated)
    cells = {cell for u in first for cell in _cells(u)}
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
        shared_cells=tuple(u.key for u in second if any(cell in cells for cell in _cells(u))),
        same_bytes=tuple(same_bytes),
    )


def _repeated(
    first: Sequence[Utterance], second: Sequence[Utterance], texts: Mapping[str, str]
) -> list[str]:
    """Keys of `second` whose text occurs in `first`; a blank text repeats nothing."""
    known = {texts[u.key] for u in first} - {""}
    return [u.key for u in second if texts[u.key] in known]


def _cells(u: Utterance) -> set[str]:
    """The media that a row names. A raw clip is its picture and its sound: one file."""
    return {normpath(cell) for cell in (u.x_visual.strip(), u.x_audio.strip()) if cell}


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


def _same_bytes(
    utterances: Sequence[Utterance], files: Mapping[Path, int], root: Path
) -> dict[tuple[Split, Split], list[tuple[str, str]]]:
    """Files of two splits with the same content. Only files of one size are read at all."""
    owners: dict[str, Split] = {}
    for u in utterances:
        for cell in sorted(_cells(u)):
            if files.get(root / cell):  # an empty file is a defect of its own
                owners.setdefault(cell, u.split)
    groups = [list(owners)]
    traits: tuple[Callable[[str], object], ...] = (
        lambda cell: files[root / cell],
        lambda cell: _digest(root / cell, _HEAD),
        lambda cell: _digest(root / cell),
    )
    for trait in traits:
        groups = [part for group in groups for part in _parted(group, trait, owners)]
    found: dict[tuple[Split, Split], list[tuple[str, str]]] = defaultdict(list)
    for group in groups:
        one = {owners[cell]: cell for cell in reversed(group)}
        for cell in group:
            for split in list(Split)[: list(Split).index(owners[cell])]:
                if split in one:
                    found[split, owners[cell]].append((cell, one[split]))
    return found


def _parted(
    group: Sequence[str], trait: Callable[[str], object], owners: Mapping[str, Split]
) -> list[list[str]]:
    """The group by trait; only what more than one split has."""
    parts: dict[object, list[str]] = defaultdict(list)
    for cell in group:
        parts[trait(cell)].append(cell)
    return [p for p in parts.values() if len({owners[cell] for cell in p}) > 1]


def _digest(path: Path, most: int | None = None) -> str:
    """sha256 of a file's first bytes, or of all; a file that can't be read equals no other."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(most or 1 << 20):
                digest.update(block)
                if most:
                    break
    except OSError:
        return str(path)
    return digest.hexdigest()
