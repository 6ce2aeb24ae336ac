"""Reads lhotse's manifests (lhotse.readthedocs.io): recordings and supervisions, as JSON lines.

    *recordings*.jsonl[.gz]     {"id", "sources": [{"type": "file", "source": PATH}], "duration", …}
    *supervisions*.jsonl[.gz]   {"id", "recording_id", "start", "duration", "speaker", "text",
                                 "custom": {"emotion": …}, …}

An utterance is a supervision. Its label is `custom.emotion`, or `emotion`; `--kind lhotse:FIELD`
names another field of either place. The split is a word in the name of the manifest
(meld_supervisions_train.jsonl.gz), else all is train. The supervisions of one recording are a
dialogue. Sound of several channels is mixed down, whichever of them a supervision names.
"""

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from erc_features.corpora.annotations import refuse_if_wrong
from erc_features.corpora.file_names import files_below
from erc_features.corpora.listing import (
    SPLITS,
    Listed,
    find_file,
    labels_of,
    unnamed,
    utterances,
)
from erc_features.corpora.raw import Defect, RawCorpus
from erc_features.errors import CorpusError, listed
from erc_features.utterance import Split

EMOTION = "emotion"
_WHOLE = 0.01  # seconds by which a supervision may miss its recording's end and still be all of it


def read_lhotse(source: Path, which: str = "") -> RawCorpus | None:
    """Read the manifests below a folder; None where there are no supervisions.

    Args:
        which: the field of the label.

    Raises:
        CorpusError: names every line that cannot be read, and what has no recording.
    """
    spoken = [*_manifests(source, "supervisions")]
    if not spoken:
        return None
    recorded = [*_manifests(source, "recordings")]
    problems: list[str] = []
    recordings: dict[str, tuple[str, dict[str, Any]]] = {}
    for path in recorded:
        for place, line in _lines(path, problems):
            _, known = recordings.setdefault(str(line.get("id")), (str(path), line))
            if known != line:
                problems.append(f"{place}: recording {line.get('id')} is described twice")
    rows: list[Listed] = []
    fields: dict[str, int] = {}
    channels, several = 0, 0
    for path in spoken:
        split = _split(path)
        for place, line in _lines(path, problems):
            if (recording := recordings.get(str(line.get("recording_id")))) is None:
                problems.append(f"{place}: no recording {line.get('recording_id')!r}")
                continue
            custom = line.get("custom") or {}
            if not isinstance(custom, dict):
                problems.append(f"{place}: custom is no object")
                continue
            for name in (*custom, *line):
                fields[name] = fields.get(name, 0) + 1
            label = custom.get(which or EMOTION, line.get(which or EMOTION))
            several += isinstance(label, list) and len(label) > 1
            row = _row(place, line, recording, label, split, source, problems)
            rows += [row] if row else []
            channels += _count(recording[1].get("channel_ids")) > _count(line.get("channel"))
    refuse_if_wrong(source, problems)
    if not any(row.label for row in rows):
        names = [f"{name}: in {count:,} supervisions" for name, count in sorted(fields.items())]
        raise CorpusError(
            f"{source}: {which or EMOTION} was looked for in {len(rows):,} supervisions and in "
            f"their custom, and is in none. They have:{listed(names)}\n"
            "Say which holds the label with --kind lhotse:FIELD."
        )
    found, defects = utterances(source, rows)
    defects += unnamed(source, rows)
    if several:
        what = f"{several:,} supervisions have several {which or EMOTION}s, as in joy|sad"
        done = "read without a label; `erc fuse --target` takes the column"
        defects.append(Defect("several labels", str(source), what, done))
    if channels:
        what = f"{channels:,} supervisions are of some channels of their recording"
        defects.append(Defect("one channel of several", str(source), what, "all are mixed down"))
    note = (
        f"{len(found):,} utterances of {len(recordings):,} recordings in lhotse manifests; their "
        f"labels are of the field {which or EMOTION}."
    )
    return RawCorpus("lhotse", source, tuple(found), labels_of(rows), tuple(defects), (note,))


def _manifests(source: Path, what: str) -> Iterator[Path]:
    yield from files_below(
        source, lambda name: what in name and name.endswith((".jsonl", ".jsonl.gz"))
    )


def _lines(path: Path, problems: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The place and the object of each line."""
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8") as file:
            for number, text in enumerate(file, 1):
                if not text.strip():
                    continue
                try:
                    line = json.loads(text)
                except ValueError as error:
                    problems.append(f"{path}:{number}: no JSON ({error})")
                    continue
                if isinstance(line, dict):
                    yield f"{path}:{number}", line
                else:
                    problems.append(f"{path}:{number}: is no object")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise CorpusError(f"{path}: cannot be read ({error}).") from error


def _row(
    place: str,
    line: dict[str, Any],
    recording: tuple[str, dict[str, Any]],
    label: Any,
    split: Split,
    source: Path,
    problems: list[str],
) -> Listed | None:
    manifest, of = recording
    sources = of.get("sources") if isinstance(of.get("sources"), list) else []
    sources = [entry for entry in sources or () if isinstance(entry, dict)]
    files = [entry for entry in sources if entry.get("type") == "file"]
    if len(files) != 1:
        kinds = ", ".join(str(entry.get("type")) for entry in sources) or "none"
        problems.append(f"{place}: recording {of.get('id')} has the sources {kinds}, not one file")
        return None
    path = find_file(str(files[0].get("source")), [Path(manifest).parent, source])
    try:
        start, duration = float(line["start"]), float(line["duration"])
        length = float(of.get("duration") or 0)
    except (KeyError, TypeError, ValueError):
        problems.append(f"{place}: has no start or duration in seconds")
        return None
    if not (start >= 0 and 0 < duration < float("inf")):  # NaN is neither
        problems.append(f"{place}: starts at {start:g} s and lasts {duration:g} s")
        return None
    whole = start == 0 and abs(duration - length) < _WHOLE
    end = round(start + duration, 9)
    custom = dict(line.get("custom") or {})
    facts = {name: line.get(name) for name in ("id", "language", "gender")} | custom
    more = {name: _text(cell) for name, cell in facts.items() if _text(cell) or name in custom}
    if not whole:
        more |= {"start": f"{start:.10g}", "end": f"{end:.10g}"}
    return Listed(
        place, path, None if whole else (start, end), split, _text(line.get("speaker")),
        _text(label) if _count(label) == 1 else "", _text(line.get("text")), more=more,
    )  # fmt: skip


def _split(path: Path) -> Split:
    words = re.split(r"[-_. ]", path.name.lower())
    return next((SPLITS[word] for word in reversed(words) if word in SPLITS), Split.TRAIN)


def _count(channel: Any) -> int:
    return len(channel) if isinstance(channel, list) else 1


def _text(cell: Any) -> str:
    """A cell as text, several values as in joy|sad; "" for nothing, and for an object."""
    if isinstance(cell, list):
        return "|".join(filter(None, map(_text, cell)))
    return "" if cell is None or isinstance(cell, dict) else str(cell).strip()
