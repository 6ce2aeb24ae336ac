"""`erc doctor`: what a corpus holds, what is wrong with it, and what leaks between its splits.

It examines a prepared corpus, any CSV with the 1NF columns, or raw data before it is prepared, and
changes nothing. It compares media files without decoding them. Only the sound of a corpus that
`erc prepare` did not make is decoded, to see whether it is clipped.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from erc_features.corpora import read_raw
from erc_features.corpora.clipping import find_clipped
from erc_features.corpora.downmix import old_sound
from erc_features.corpora.manifest import TABLES, Corpus, read_corpus, tables_in
from erc_features.corpora.media_files import Medium, look_at_media
from erc_features.corpora.raw import Defect, RawCorpus
from erc_features.corpora.segments import END, START, without_times
from erc_features.corpora.segments import NAME as SEGMENTS
from erc_features.doctor.census import Census, take_census
from erc_features.doctor.leakage import Leak, find_leaks, shared_numbers
from erc_features.doctor.segment_defects import find_cut, segment_defects
from erc_features.doctor.shared_media import MediaNames, SharedFile
from erc_features.doctor.symptoms import TIME_KINDS, symptoms
from erc_features.errors import CorpusError


@dataclass(frozen=True)
class Diagnosis:
    """Everything that was found.

    Attributes:
        corpus: the rows; in raw data, the clip is both picture and sound.
        kind: "prepared", "CSV", or for raw data "raw meld" and the like.
        census: the counts.
        media: the state of pictures and sounds, or of raw clips.
        defects: those noted when the corpus was prepared or read, then those seen in its rows.
        leaks: one for each pair of splits.
        shared: media files that several rows name, and files of equal content.
    """

    corpus: Corpus
    kind: str
    census: Census
    media: tuple[Medium, ...]
    defects: tuple[Defect, ...]
    leaks: tuple[Leak, ...]
    shared: tuple[SharedFile, ...]

    @property
    def by_kind(self) -> Mapping[str, tuple[Defect, ...]]:
        """The defects by kind, the most frequent kind last."""
        kinds: dict[str, list[Defect]] = {}
        for defect in self.defects:
            kinds.setdefault(defect.kind, []).append(defect)
        rarest_first = sorted(kinds.items(), key=lambda item: (len(item[1]), item[0]))
        return {kind: tuple(defects) for kind, defects in rarest_first}

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON: every defect with its key, every row that leaks."""
        census = self.census
        return _encodable(
            {
                "corpus": self.corpus.name,
                "path": str(self.corpus.root),
                "kind": self.kind,
                "fingerprint": self.corpus.fingerprint,
                "labels": list(self.corpus.labels),
                "splits": {part.split: asdict(part) for part in census.parts},
                "speakers": {s.name: dict(s.splits) for s in census.speakers},
                "frequent_speakers": {"count": census.frequent, "share": census.frequent_share},
                "media": [asdict(medium) for medium in self.media],
                "defects": {
                    kind: [{"where": d.where, "detail": d.detail, "done": d.done} for d in defects]
                    for kind, defects in self.by_kind.items()
                },
                "leaks": [asdict(leak) for leak in self.leaks],
                "shared_media": [asdict(one) for one in self.shared],
            }
        )


def doctor(
    corpus: Corpus | Path | str, *, progress: Callable[[int, int], None] | None = None
) -> Diagnosis:
    """Examine a corpus: a folder or CSV that `read_corpus` takes, or a folder of raw data.

    Args:
        progress: called with (sounds read, sounds), where they are read.

    Raises:
        CorpusError: there is neither a corpus nor known raw data, or rows are wrong.
    """
    raw = None
    if not isinstance(corpus, Corpus):
        path = Path(corpus)
        if path.is_dir() and not tables_in(path):
            try:
                raw = read_raw(path)
            except CorpusError as error:
                raise CorpusError(
                    f"No corpus at {path}: it has no {TABLES}. As raw data: {error}"
                ) from error
        corpus = read_corpus(path) if raw is None else _from_raw(raw)
    rows = corpus.utterances
    written: dict[str, str] | None = None
    if raw is not None:
        kind, noted = f"raw {raw.kind}", raw.defects
        texts = {row.utterance.key: row.written for row in raw.rows if row.written is not None}
        written = texts if len(texts) == len(raw.rows) else None
    else:
        kind, noted = "prepared" if "prepared_from" in corpus.info else "CSV", _noted(corpus.info)
        if kind == "CSV":  # `erc prepare` brings texts into plain form
            written = {u.key: u.x_text.strip() for u in rows}
    cut = find_cut(corpus)
    seen = symptoms(rows, (written or {}) if raw else {}, {key for key, _ in cut})
    timed = {defect.where for defect in noted if defect.kind in TIME_KINDS}
    seen = [d for d in seen if not (d.kind in TIME_KINDS and d.where in timed)]
    media = look_at_media(
        corpus.root,
        rows,
        corpus.info,
        noted,
        clips=raw is not None and not any(row.sound for row in raw.rows),
    )
    seen += segment_defects(corpus, cut, media.files)
    names = MediaNames(rows, media.files, corpus.root, cut)
    shared = names.shared()
    leaks = find_leaks(rows, written, names, shared)
    seen += shared_numbers(leaks)
    # `erc prepare` measures raw sound when it decodes it, and notes what is clipped.
    clipped = find_clipped(corpus, media.files, set(cut), progress) if kind == "CSV" else []
    return Diagnosis(
        corpus=corpus,
        kind=kind,
        census=take_census(rows, corpus.labels),
        media=media.media,
        defects=(*noted, *seen, *old_sound(corpus), *clipped, *media.defects),
        leaks=leaks,
        shared=shared,
    )


def _noted(info: Mapping[str, Any]) -> tuple[Defect, ...]:
    """The defects of `corpus.json`; anything else that someone wrote there is ignored."""
    defects, names = info.get("defects"), ("kind", "where", "detail", "done")
    return tuple(
        Defect(*(str(entry.get(name, "")) for name in names))
        for entry in (defects if isinstance(defects, list) else [])
        if isinstance(entry, Mapping) and entry.get("kind")
    )


def _from_raw(raw: RawCorpus) -> Corpus:
    """The rows of raw data as a corpus whose media are the clips."""
    spans = [row.sound.segment if row.sound else row.segment for row in raw.rows]
    rows, some = [], any(span is not None for span in spans)
    missing: dict[str, dict[str, str]] = {"visual": {}, "audio": {}}
    for row in raw.rows:
        clip = os.path.relpath(row.clip, raw.source) if row.clip is not None else ""
        sound, span = clip, row.segment
        if row.sound is not None:
            sound = os.path.relpath(row.sound.path, raw.source)
            # A row has one pair of times: here it is that of the sound.
            if row.sound.segment != span:
                clip, span = "", row.sound.segment
                missing["visual"][row.utterance.key] = "cut out of a recording by erc prepare"
            if row.sound.inside is not None:
                sound, missing["audio"][row.utterance.key] = "", f"inside {row.sound.path.name}"
        u = replace(row.utterance, x_visual=clip, x_audio=sound)
        (u,) = without_times([u]) if some and span is None else [u]
        if span is not None:
            start, end = span
            times = {START: str(start), END: "" if end is None else str(end)}
            u = replace(u, more=MappingProxyType({**u.more, **times}))
        rows.append(u)
    if not rows:
        raise CorpusError(f"{raw.source}: the annotations have no rows.")
    name = raw.source.resolve().name
    # Without segments, the times are those of an episode, and the clips are already cut.
    info = MappingProxyType({SEGMENTS: some, "missing": missing})
    return Corpus(raw.source, name, tuple(rows), raw.labels, info)


def _encodable(value: Any) -> Any:
    """The value without lone surrogates, which file names and JSON can hold and UTF-8 cannot."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encodable(item) for item in value]
    return value
