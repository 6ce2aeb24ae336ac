"""What is wrong with the segments of recordings: times that cut nothing, overlaps, lengths."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from posixpath import normpath

from erc_features.corpora.manifest import Corpus
from erc_features.corpora.raw import Defect
from erc_features.corpora.segments import Segment, Segments, read_segment
from erc_features.corpora.times import judge
from erc_features.utterance import Modality, Utterance

OVERLAP = 0.1  # seconds; times that only touch, or are rounded, do not overlap
_FAILS = "kept; extract will mark it as failed"
_CUT = "kept; it is cut by these times"

# Key and media cell of each utterance that is a part of its file, and what it takes of it.
Cut = Mapping[tuple[str, str], Sequence[Modality]]


def find_cut(corpus: Corpus) -> Cut:
    """Which cells of which utterances name a recording that their times cut; sound comes first."""
    segments = Segments(corpus)
    found: dict[tuple[str, str], list[Modality]] = {}
    for modality in (Modality.AUDIO, Modality.VISUAL):
        for u in corpus.utterances:
            if segments.has(u, modality):
                found.setdefault((u.key, normpath(u.cell(modality))), []).append(modality)
    return found


def segment_defects(corpus: Corpus, cut: Cut, files: Mapping[Path, int]) -> list[Defect]:
    """The defects of the segments, each named once, whether of sound, pictures or both.

    Args:
        files: the files that exist, with their bytes; no others are opened.
    """
    rows = {u.key: u for u in corpus.utterances}
    defects: dict[tuple[str, str], Defect] = {}
    within: dict[str, list[tuple[Segment, Utterance]]] = defaultdict(list)
    lengths: dict[tuple[Path, Modality], float] = {}
    for (key, cell), modalities in cut.items():
        u = rows[key]
        segment, wrong = read_segment(u)
        if segment is None:
            defect = Defect("segment that cannot be cut", key, wrong, _FAILS)
            defects.setdefault((defect.kind, key), defect)
            continue
        for modality in modalities:
            path = corpus.media_path(u, modality)
            if path is not None and files.get(path):
                for defect in _past_the_end(key, segment, path, modality, lengths):
                    defects.setdefault((defect.kind, key), defect)
        if segment.end is not None:
            span = f"{segment.start:.2f} to {segment.end:.2f} s"
            kind, detail = judge(segment.end - segment.start, span)
            if kind:
                defects.setdefault((kind, key), Defect(kind, key, detail, _CUT))
        within[cell].append((segment, u))
    for found in within.values():
        for defect in _overlaps(found):
            defects.setdefault((defect.kind, defect.where), defect)
    return list(defects.values())


def _past_the_end(
    key: str,
    segment: Segment,
    path: Path,
    modality: Modality,
    lengths: dict[tuple[Path, Modality], float],
) -> Iterator[Defect]:
    from erc_features.media import PICTURE_SLACK, SLACK, duration

    seen = modality == Modality.VISUAL
    if (path, modality) not in lengths:
        kind = "video" if seen else "audio"
        lengths[path, modality] = duration(path, kind, longest=1e9)
    length, slack = lengths[path, modality], PICTURE_SLACK if seen else SLACK
    if length and (segment.start >= length + slack * seen or (segment.end or 0.0) > length + slack):
        end = "its end" if segment.end is None else f"{segment.end:.2f} s"
        lasts = f"the pictures of {path.name} last" if seen else f"{path.name} lasts"
        detail = f"{segment.start:.2f} s to {end}, but {lasts} {length:.2f} s"
        yield Defect("segment past the end", key, detail, _FAILS)


def _overlaps(found: Sequence[tuple[Segment, Utterance]]) -> Iterator[Defect]:
    """A defect for each segment of a file that overlaps an earlier one."""
    order = sorted(found, key=lambda each: (each[0].start, each[0].end or float("inf")))
    last, of = 0.0, ""  # where the segments so far end, and the one that ends there
    for segment, u in order:
        end = float("inf") if segment.end is None else segment.end
        shared = min(last, end) - segment.start
        if of and round(shared, 3) >= OVERLAP:
            by = f"by {shared:.2f} s" if shared < float("inf") else "to the end of the file"
            done = "kept; each is cut by its own times"
            yield Defect("overlapping segments", u.key, f"overlaps {of} {by}", done)
        if end > last:
            last, of = end, u.key
