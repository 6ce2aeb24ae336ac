"""A diagnosis as sentences and tables of text cells, for both the terminal and the page."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from erc_features.corpora.raw import Defect
from erc_features.doctor.census import LONG, SHORT, Durations, Part, Range
from erc_features.doctor.doctor import Diagnosis
from erc_features.doctor.leakage import Leak
from erc_features.doctor.shared_media import CONTENT, LINK, PATH
from erc_features.utterance import Split

NONE = "–"
_SPEAKERS, _LABELS = 12, 50  # the most lines of a table
_PLACES = 3  # the most defects of a kind that the terminal lists


@dataclass(frozen=True)
class Table:
    """The first column names the lines, the others hold numbers; the notes go below."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def sentences(diagnosis: Diagnosis) -> tuple[str, ...]:
    """The main findings, in a few sentences."""
    census, every = diagnosis.census, diagnosis.census.all
    counts = ", ".join(f"{part.rows:,} {part.split}" for part in census.splits)
    lines = [f"{every.rows:,} utterances ({counts}) in {every.dialogues:,} dialogues."]
    label, share = every.majority
    if label:
        lines.append(f"The most frequent label is {label}, with {share:.1%}.")
    if diagnosis.defects:
        rows = {defect.where for defect in diagnosis.defects}
        kinds = len(diagnosis.by_kind)
        lines.append(
            f"{len(diagnosis.defects):,} defects of {kinds} kind{'s' * (kinds > 1)} in "
            f"{len(rows):,} places; nothing was changed, and no row is ever dropped."
        )
    else:
        lines.append("No defects were found.")
    for leak in diagnosis.leaks:
        if leak.first == Split.TRAIN and leak.second == Split.TEST:
            lines.append(_leak_sentence(leak))
            if leak.speakers:
                share = leak.speaker_rows / leak.rows
                lines.append(
                    f"{leak.speaker_rows:,} of {leak.rows:,} {leak.second} rows ({share:.1%}) have "
                    f"a speaker who is also in {leak.first} ({len(leak.speakers):,} of "
                    f"{leak.all_speakers:,} speakers). A speaker-independent result would need "
                    f"splits that share none: hold whole speakers out of {leak.first}."
                )
    if several := [key for one in diagnosis.shared for key in one.keys]:
        rows = f"{len(set(several)):,} rows"
        lines.append(f"{rows} share a media file, or its content, with another row.")
    return tuple(printable(line) for line in lines)


def tables(diagnosis: Diagnosis) -> tuple[Table, ...]:
    """Splits, labels, speakers, media, leakage; a table without lines is left out."""
    makers = (_splits, _labels, _speakers, _media, _leakage, _shared)
    return tuple(
        replace(
            table,
            rows=tuple(tuple(map(printable, row)) for row in table.rows),
            notes=tuple(printable(note) for note in table.notes if note),
        )
        for make in makers
        if (table := make(diagnosis)).rows
    )


def show(diagnosis: Diagnosis) -> None:
    """Print a diagnosis to the terminal."""
    from erc_features import terminal

    terminal.show(printable(f"{diagnosis.corpus.root} ({diagnosis.kind})"), *sentences(diagnosis))
    for table in tables(diagnosis):
        terminal.show("", table.title)
        terminal.table(table.columns, table.rows)
        terminal.show(*table.notes)
    if diagnosis.defects:
        terminal.show("", "Defects (--json has every key)")
    for kind, defects in diagnosis.by_kind.items():
        places = [f"{d.where}: {d.detail}" if d.detail else d.where for d in defects[:_PLACES]]
        more = f"; and {len(defects) - _PLACES:,} more" if len(defects) > _PLACES else ""
        terminal.show(
            printable(f"  {kind}: {count(defects)}; {done(defects)}"),
            printable(f"    {'; '.join(places)}{more}"),
        )


def count(defects: Sequence[Defect]) -> str:
    """How many defects, also by split where each is of an utterance, a dialogue or a split."""
    splits = Counter(where for d in defects if (where := d.where.split("/")[0]) in set(Split))
    if splits.total() < len(defects) or len(defects) < 2:
        return f"{len(defects):,}"
    return f"{len(defects):,} ({', '.join(f'{n:,} {split}' for split, n in splits.items())})"


def done(defects: Sequence[Defect]) -> str:
    """What was done about most of these defects."""
    return Counter(defect.done for defect in defects).most_common(1)[0][0]


def printable(text: str) -> str:
    """The text without characters that move a cursor, are invisible, or cannot be encoded.

    >>> printable("a\\x1b[31mb")
    'a�[31mb'
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)


def _leak_sentence(leak: Leak) -> str:
    plain = f"{leak.in_plain_form:,} of {leak.rows:,} {leak.second} texts"
    share = f"{leak.in_plain_form / leak.rows:.1%}"
    if leak.as_written is None:
        return f"{plain} ({share}) occur in {leak.first}, quotes and dashes in plain form."
    return (
        f"{leak.as_written:,} of {leak.rows:,} {leak.second} texts occur word for word in "
        f"{leak.first}; {leak.in_plain_form:,} ({share}) with quotes and dashes in plain form."
    )


def _splits(diagnosis: Diagnosis) -> Table:
    parts = diagnosis.census.parts
    lines: list[tuple[str, Callable[[Part], str]]] = [
        ("utterances", lambda part: f"{part.rows:,}"),
        ("unlabelled", lambda part: f"{part.unlabelled:,}"),
        ("dialogues", lambda part: f"{part.dialogues:,}"),
        ("utterances a dialogue", lambda part: _range(part.lengths)),
        ("speakers", lambda part: f"{part.speakers:,}"),
        ("words a text", lambda part: _range(part.words)),
        ("blank texts", lambda part: f"{part.blank:,}"),
    ]
    if any(part.unnamed for part in parts):
        lines.insert(5, ("without a speaker", lambda part: f"{part.unnamed:,}"))
    rows = [(name, *(cell(part) for part in parts)) for name, cell in lines]
    if any(part.durations for part in parts):
        times: list[tuple[str, Callable[[Durations], str]]] = [
            ("with readable times", lambda times: f"{times.rows:,}"),
            ("hours by their times", lambda times: f"{times.hours:.2f}"),
            ("median seconds", lambda times: f"{times.median:.2f}"),
            (f"under {SHORT} s", lambda times: f"{times.short:,}"),
            (f"over {LONG:.0f} s", lambda times: f"{times.long:,}"),
        ]
        durations = [part.durations for part in parts]
        rows += [(name, *(cell(d) if d else NONE for d in durations)) for name, cell in times]
    note = "Ranges: smallest · median · largest."
    return Table("Splits", ("", *(part.split for part in parts)), tuple(rows), (note,))


def _range(numbers: Range | None) -> str:
    return f"{numbers.low:g} · {numbers.median:g} · {numbers.high:g}" if numbers else NONE


def _labels(diagnosis: Diagnosis) -> Table:
    parts = diagnosis.census.parts
    if not diagnosis.census.all.labels:
        return Table("Labels", (), ())
    labels = diagnosis.corpus.labels
    rows = [
        (label, *(_share(part.labels.get(label, 0), part.rows - part.unlabelled) for part in parts))
        for label in labels[:_LABELS]
    ]
    if diagnosis.census.all.unlabelled:
        rows.append(("(unlabelled)", *(f"{part.unlabelled:,}" for part in parts)))
    majority = [
        f"{part.majority[0]} in {part.split} ({part.majority[1]:.1%})"
        for part in diagnosis.census.splits
        if part.labels
    ]
    notes = (
        f"Percentages are of the labelled rows. Most frequent: {', '.join(majority)}.",
        f"{len(labels) - _LABELS} more labels; --json has all." if len(labels) > _LABELS else "",
    )
    return Table("Labels", ("", *(part.split for part in parts)), tuple(rows), notes)


def _share(count: int, of: int) -> str:
    return f"{count:,} ({count / of:.1%})" if of else NONE


def _speakers(diagnosis: Diagnosis) -> Table:
    census = diagnosis.census
    splits = [part.split for part in census.splits]
    rows = [
        (
            speaker.name[:60],
            *(f"{speaker.splits.get(split, 0):,}" for split in splits),
            _share(speaker.rows, census.all.rows),
        )
        for speaker in census.speakers[:_SPEAKERS]
    ]
    note = (
        f"{len(census.speakers):,} speakers; {census.frequent} of them have 1% of the utterances "
        f"or more each, and together {census.frequent_share:.1%} of all."
    )
    return Table("Speakers", ("", *splits, "all"), tuple(rows), (note,))


def _media(diagnosis: Diagnosis) -> Table:
    splits = diagnosis.census.splits
    rows, notes = [], []
    for medium in diagnosis.media:
        there = (f"{medium.there.get(p.split, 0):,} of {p.rows:,}" for p in splits)
        rows.append((medium.name, *there, f"{medium.lost:,}"))
        reasons = [f"{why} ({count:,})" for why, count in list(medium.reasons.items())[:8]]
        if reasons:
            notes.append(f"No {medium.name}: {'; '.join(reasons)}.")
    columns = ("", *(part.split for part in splits), "file missing")
    return Table("Media", columns, tuple(rows), tuple(notes))


def _leakage(diagnosis: Diagnosis) -> Table:
    leaks = diagnosis.leaks
    if not leaks:
        return Table("Leakage", (), ())
    lines: list[tuple[str, Callable[[Leak], str]]] = [
        (
            "texts word for word",
            lambda leak: NONE if leak.as_written is None else _share(leak.as_written, leak.rows),
        ),
        ("texts in plain form", lambda leak: _share(leak.in_plain_form, leak.rows)),
        ("median words of these", lambda leak: f"{leak.words:g}" if leak.keys else NONE),
        ("whole dialogues", lambda leak: f"{len(leak.dialogues):,}"),
        (
            "overlapping in time",
            lambda leak: NONE if leak.overlapping is None else f"{len(leak.overlapping):,}",
        ),
        ("speakers", lambda leak: f"{len(leak.speakers):,} of {leak.all_speakers:,}"),
        ("rows of these speakers", lambda leak: _share(leak.speaker_rows, leak.rows)),
        ("naming the same file", lambda leak: f"{len(leak.shared_cells):,}"),
        ("files of the same content", lambda leak: f"{len(leak.same_bytes):,}"),
        ("same numbers (harmless)", lambda leak: f"{leak.numbers:,}"),
    ]
    rows = [(name, *(cell(leak) for leak in leaks)) for name, cell in lines]
    notes = [note for leak in leaks for note in _leak_notes(leak)]
    if any(leak.as_written is None for leak in leaks):
        notes.insert(0, "Prepared texts are in plain form; only raw data has them word for word.")
    columns = ("", *(f"{leak.second} in {leak.first}" for leak in leaks))
    return Table("Leakage", columns, tuple(rows), tuple(notes))


def _shared(diagnosis: Diagnosis) -> Table:
    """One line for each way in which several rows share a media file."""
    rows, notes = [], []
    for how in (PATH, LINK, CONTENT):
        shared = [one for one in diagnosis.shared if one.how == how]
        if not shared:
            continue
        across = [one for one in shared if len(one.splits) > 1]
        numbers = [
            n
            for files in (shared, across)
            for n in (len(files), len({key for one in files for key in one.keys}))
        ]
        rows.append((how, *(f"{n:,}" for n in numbers)))
        for one in sorted(shared, key=lambda one: (-len(one.splits), -len(one.keys)))[:5]:
            notes.append(f"{how.capitalize()}: {_first(one.files, 3)}, of {_first(one.keys)}.")
        if len(shared) > 5:
            notes.append(f"{how.capitalize()}: {len(shared) - 5:,} more; --json has all.")
    if any(one.how == CONTENT for one in diagnosis.shared):
        notes.append("Silence and black frames may rightly be equal.")
    columns = ("", "files", "rows", "of several splits", "rows of these")
    return Table("Media of several rows", columns, tuple(rows), tuple(notes))


def _leak_notes(leak: Leak) -> list[str]:
    name = f"{leak.second.capitalize()} in {leak.first}"
    lists = {
        "speakers": _first([speaker[:60] for speaker in leak.speakers], 7),
        "most often": _first([f"“{text[:60]}” ({count:,})" for text, count in leak.frequent]),
        "whole dialogues": _first([f"{b} as {a} ({n} utterances)" for b, a, n in leak.dialogues]),
        "the same file": _first(leak.shared_cells),
        "the same content": _first([f"{b} as {a}" for b, a in leak.same_bytes]),
    }
    return [f"{name}, {what}: {items}." for what, items in lists.items() if items]


def _first(items: Sequence[str], most: int = 5) -> str:
    more = f" and {len(items) - most:,} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more
