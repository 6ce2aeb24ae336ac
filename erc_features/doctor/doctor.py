"""`erc doctor`: what a corpus holds, what is wrong with it, and what leaks between its splits.

It looks at a prepared corpus, at any CSV of the 1NF columns, or at raw data before it is
prepared. It changes nothing. Files are counted, weighed and compared; it decodes sound alone, and
only of a corpus that `erc prepare` did not make, to see whether it is clipped.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from erc_features.corpora import read_raw
from erc_features.corpora.cells import plain_text, read_table
from erc_features.corpora.clipping import find_clipped
from erc_features.corpora.downmix import old_sound
from erc_features.corpora.manifest import TABLES, Corpus, read_corpus, tables_in
from erc_features.corpora.media_files import Medium, look_at_media
from erc_features.corpora.raw import Defect, RawCorpus
from erc_features.doctor.census import Census, take_census
from erc_features.doctor.leakage import Leak, find_leaks
from erc_features.doctor.shared_media import MediaNames, SharedFile
from erc_features.doctor.symptoms import TIME_KINDS, symptoms
from erc_features.errors import CorpusError
from erc_features.utterance import Split


@dataclass(frozen=True)
class Diagnosis:
    """Everything that was found.

    Attributes:
        corpus: the rows; of raw data, with the clip as both picture and sound.
        kind: "prepared", "CSV", or "raw meld" and the like.
        census: the counts.
        media: the state of pictures and sounds, or of raw clips.
        defects: those noted when the corpus was prepared or read, then those seen in its rows.
        leaks: one for each two splits.
        shared: media files that several rows name, and those of equal content.
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
        return {kind: tuple(found) for kind, found in sorted(kinds.items(), key=_few_first)}

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON has it: every defect with its key, every row that leaks."""
        census = self.census
        found = {
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
        return _encodable(found)


@dataclass(frozen=True)
class _Patient:
    """A corpus, and where its texts stand as they were written; None where nowhere."""

    corpus: Corpus
    kind: str
    written: Mapping[str, str] | None = None
    noted: tuple[Defect, ...] = ()


def doctor(
    corpus: Corpus | Path | str, *, progress: Callable[[int, int], None] | None = None
) -> Diagnosis:
    """Examine a corpus: a folder or CSV as `read_corpus` takes, or a folder of raw data.

    Args:
        progress: called with (sounds read, sounds), where they are read.

    Raises:
        CorpusError: there is neither a corpus nor known raw data, or rows are wrong.
    """
    patient = _read(corpus)
    found, raw = patient.corpus, patient.kind.startswith("raw ")
    rows = found.utterances
    seen = symptoms(rows, (patient.written or {}) if raw else {})
    timed = {defect.where for defect in patient.noted if defect.kind in TIME_KINDS}
    seen = [d for d in seen if not (d.kind in TIME_KINDS and d.where in timed)]
    media = look_at_media(found.root, rows, found.info, patient.noted, clips=raw)
    names = MediaNames(rows, media.files, found.root)
    shared = names.shared()
    # Raw and prepared sound is measured when `erc prepare` decodes it, and noted then.
    clipped = find_clipped(found, media.files, progress) if patient.kind == "CSV" else []
    return Diagnosis(
        corpus=found,
        kind=patient.kind,
        census=take_census(rows, found.labels),
        media=media.media,
        defects=(*patient.noted, *seen, *old_sound(found), *clipped, *media.defects),
        leaks=find_leaks(rows, patient.written, names, shared),
        shared=shared,
    )


def _read(corpus: Corpus | Path | str) -> _Patient:
    if isinstance(corpus, Corpus):
        return _patient(corpus)
    path = Path(corpus)
    if path.is_dir() and not tables_in(path):
        try:
            return _raw_patient(read_raw(path))
        except CorpusError as error:
            raise CorpusError(
                f"No corpus at {path}: it has no {TABLES}. As raw data: {error}"
            ) from error
    return _patient(read_corpus(path))


def _patient(corpus: Corpus) -> _Patient:
    if "prepared_from" in corpus.info:  # prepare has brought its texts into plain form
        return _Patient(corpus, "prepared", None, tuple(_noted(corpus.info)))
    written = {u.key: u.x_text.strip() for u in corpus.utterances}
    return _Patient(corpus, "CSV", written, tuple(_noted(corpus.info)))


def _noted(info: Mapping[str, Any]) -> Iterator[Defect]:
    """The defects of `corpus.json`; whatever else someone wrote there is passed over."""
    defects = info.get("defects")
    for entry in defects if isinstance(defects, list) else []:
        if isinstance(entry, Mapping) and entry.get("kind"):
            names = ("kind", "where", "detail", "done")
            yield Defect(*(str(entry.get(name, "")) for name in names))


def _raw_patient(raw: RawCorpus) -> _Patient:
    rows = []
    for row in raw.rows:
        clip = os.path.relpath(row.clip, raw.source) if row.clip is not None else ""
        rows.append(replace(row.utterance, x_visual=clip, x_audio=clip))
    if not rows:
        raise CorpusError(f"{raw.source}: the annotations have no rows.")
    name = raw.source.resolve().name
    corpus = Corpus(raw.source, name, tuple(rows), raw.labels, MappingProxyType({}))
    return _Patient(corpus, f"raw {raw.kind}", _texts_as_written(raw), raw.defects)


def _texts_as_written(raw: RawCorpus) -> dict[str, str] | None:
    """The text of each key as its annotations hold it; None where they are not found again.

    A reader gives the rows in the order of the annotations with their texts in plain form. So
    a CSV below the source is a split's if the plain form of its texts is that split's texts;
    of several that one with the split in its name.
    """
    found: list[tuple[str, list[str], list[str]]] = []
    for folder, subfolders, names in os.walk(raw.source):
        subfolders.sort()
        for name in sorted(names):
            if name.lower().endswith(".csv"):
                texts = _column(Path(folder) / name, "Utterance")
                found.append((name, texts, [plain_text(text).strip() for text in texts]))
    written: dict[str, str] = {}
    for split in Split:
        rows = [row.utterance for row in raw.rows if row.utterance.split == split]
        wanted = [u.x_text for u in rows]
        same = [(split not in name, texts) for name, texts, plain in found if plain == wanted]
        if same:
            texts = min(same, key=lambda match: match[0])[1]
            written |= {u.key: text.strip() for u, text in zip(rows, texts, strict=True)}
    return written if len(written) == len(raw.rows) else None


def _column(path: Path, name: str) -> list[str]:
    """The cells of a column; none where there is no such column, or no CSV."""
    try:
        table = read_table(path)
    except CorpusError:
        return []
    return [cells[name] for _, cells in table.rows if name in cells]


def _few_first(item: tuple[str, list[Defect]]) -> tuple[int, str]:
    return len(item[1]), item[0]


def _encodable(value: Any) -> Any:
    """The value without lone surrogates, which file names and JSON can hold and UTF-8 can't."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encodable(item) for item in value]
    return value
