"""A diagnosis as sentences and tables of text cells: what the terminal and the page show alike."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from erc_features.corpora.raw import Defect
from erc_features.doctor.census import LONG, SHORT, Durations, Part, Range
from erc_features.doctor.doctor import Diagnosis
from erc_features.doctor.leakage import Leak
from erc_features.doctor.shared_media import CONTENT, LINK, PATH
from erc_features.utterance import Split

NONE = "–"
_SPEAKERS, _LABELS = 12, 50  # lines of a table, at most
_PLACES = 3  # of each kind of defect, in a terminal


@dataclass(frozen=True)
class Table:
    """The first column names the lines, the others hold numbers; notes stand below."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def sentences(diagnosis: Diagnosis) -> tuple[str, ...]:
    """What matters most, in a few sentences."""
    census, every = diagnosis.census, diagnosis.census.all
    counts = ", ".join(f"{part.rows:,} {part.split}" for part in census.splits)
    lines = [f"{every.rows:,} utterances ({counts}) in {every.dialogues:,} dialogues."]
    label, share = every.majority
    if label:
        lines.append(f"The most frequent label is {label}, of {share:.1%}.")
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
            lines += _speaker_sentences(leak)
    if several := [key for one in diagnosis.shared for key in one.keys]:
        lines.append(f"{len(set(several)):,} rows share a media file, or its content, with another "
                     "row.")  # fmt: skip
    return tuple(printable(line) for line in lines)


def tables(diagnosis: Diagnosis) -> tuple[Table, ...]:
    """Splits, labels, speakers, media, leakage; a table without lines is left out."""
    made = (
        _splits(diagnosis),
        _labels(diagnosis),
        _speakers(diagnosis),
        _media(diagnosis),
        _leakage(diagnosis),
        _shared(diagnosis),
    )
    return tuple(
        Table(
            table.title,
            table.columns,
            tuple(tuple(printable(cell) for cell in row) for row in table.rows),
            tuple(printable(note) for note in table.notes if note),
        )
        for table in made
        if table.rows
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
    """How many, and by split where they are an utterance's, a dialogue's or a split's."""
    splits = Counter(where for d in defects if (where := d.where.split("/")[0]) in set(Split))
    if splits.total() < len(defects) or len(defects) < 2:
        return f"{len(defects):,}"
    return f"{len(defects):,} ({', '.join(f'{n:,} {split}' for split, n in splits.items())})"


def done(defects: Sequence[Defect]) -> str:
    """What was done about most of these defects."""
    return Counter(defect.done for defect in defects).most_common(1)[0][0]


def printable(text: str) -> str:
    """The text without what moves a cursor, hides, or can't be encoded.

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
    notes = ["Ranges: smallest · median · largest."]
    if any(part.durations for part in parts):
        timed: list[tuple[str, Callable[[Durations], str]]] = [
            ("with readable times", lambda found: f"{found.rows:,}"),
            ("hours by their times", lambda found: f"{found.hours:.2f}"),
            ("median seconds", lambda found: f"{found.median:.2f}"),
            (f"under {SHORT} s", lambda found: f"{found.short:,}"),
            (f"over {LONG:.0f} s", lambda found: f"{found.long:,}"),
        ]
        lines += [(name, _timed(say)) for name, say in timed]
    rows = [(name, *(say(part) for part in parts)) for name, say in lines]
    return Table("Splits", ("", *(part.split for part in parts)), tuple(rows), tuple(notes))


def _timed(say: Callable[[Durations], str]) -> Callable[[Part], str]:
    return lambda part: say(part.durations) if part.durations else NONE


def _range(found: Range | None) -> str:
    return f"{found.low:g} · {found.median:g} · {found.high:g}" if found else NONE


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
        f"{label} in {part.split} ({share:.1%})"
        for part in diagnosis.census.splits
        for label, share in (part.majority,)
        if label
    ]
    notes = (
        f"Percent of the labelled rows. Most frequent: {', '.join(majority)}.",
        f"{len(labels) - _LABELS} more labels: --json has all." if len(labels) > _LABELS else "",
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
        f"{len(census.speakers):,} speakers; the {census.frequent} who say 1% of the utterances "
        f"or more say {census.frequent_share:.1%} of all."
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
    columns = ("", *(part.split for part in splits), "file not there")
    return Table("Media", columns, tuple(rows), tuple(notes))


def _leakage(diagnosis: Diagnosis) -> Table:
    leaks = diagnosis.leaks
    if not leaks:
        return Table("Leakage", (), ())
    lines: list[tuple[str, Callable[[Leak], str]]] = [
        ("texts word for word", lambda leak: _known(leak.as_written, leak.rows)),
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
    rows = [(name, *(say(leak) for leak in leaks)) for name, say in lines]
    notes = [note for leak in leaks for note in _leak_notes(leak)]
    if any(leak.as_written is None for leak in leaks):
        notes.insert(0, "Prepared texts are in plain form; raw data shows them word for word.")
    columns = ("", *(f"{leak.second} in {leak.first}" for leak in leaks))
    return Table("Leakage", columns, tuple(rows), tuple(notes))


def _speaker_sentences(leak: Leak) -> list[str]:
    """Who is heard in both, and what a result that doesn't know the speakers would need."""
    if not leak.speakers:
        return []
    return [
        f"{leak.speaker_rows:,} of {leak.rows:,} {leak.second} rows "
        f"({leak.speaker_rows / leak.rows:.1%}) have a speaker who is also in {leak.first} "
        f"({len(leak.speakers):,} of {leak.all_speakers:,} speakers). A speaker-independent result "
        f"would need splits that share none: hold whole speakers out of {leak.first}."
    ]


def _shared(diagnosis: Diagnosis) -> Table:
    """One line for each way in which a media file serves several rows."""
    rows, notes = [], []
    for how in (PATH, LINK, CONTENT):
        found = [one for one in diagnosis.shared if one.how == how]
        if not found:
            continue
        keys = {key for one in found for key in one.keys}
        across = [one for one in found if len(one.splits) > 1]
        several = len({key for one in across for key in one.keys})
        rows.append((how, f"{len(found):,}", f"{len(keys):,}", f"{len(across):,}", f"{several:,}"))
        for one in sorted(found, key=lambda one: (-len(one.splits), -len(one.keys)))[:5]:
            notes.append(
                f"{how[0].upper()}{how[1:]}: {', '.join(one.files[:3])}{_more(one.files, 3)}, of "
                f"{', '.join(one.keys[:5])}{_more(one.keys)}."
            )
        if len(found) > 5:
            notes.append(f"{how[0].upper()}{how[1:]}: {len(found) - 5:,} more; --json has all.")
    if any(one.how == CONTENT for one in diagnosis.shared):
        notes.append("Silence and black frames may be equal by right.")
    columns = ("", "files", "rows", "of several splits", "rows of these")
    return Table("Media of several rows", columns, tuple(rows), tuple(notes))


def _known(count: int | None, of: int) -> str:
    return NONE if count is None else _share(count, of)


def _leak_notes(leak: Leak) -> list[str]:
    name = f"{leak.second.capitalize()} in {leak.first}"
    notes = []
    if leak.speakers:
        names = ", ".join(speaker[:60] for speaker in leak.speakers[:7])
        notes.append(f"{name}, speakers: {names}{_more(leak.speakers, 7)}.")
    if leak.frequent:
        texts = ", ".join(f"“{text[:60]}” ({count:,})" for text, count in leak.frequent)
        notes.append(f"{name}, most often: {texts}.")
    if leak.dialogues:
        pairs = ", ".join(f"{two} as {one} ({n} utterances)" for two, one, n in leak.dialogues[:5])
        notes.append(f"{name}, whole dialogues: {pairs}{_more(leak.dialogues)}.")
    if leak.shared_cells:
        notes.append(
            f"{name}, the same file: {', '.join(leak.shared_cells[:5])}{_more(leak.shared_cells)}."
        )
    if leak.same_bytes:
        pairs = ", ".join(f"{two} as {one}" for two, one in leak.same_bytes[:5])
        notes.append(f"{name}, the same content: {pairs}{_more(leak.same_bytes)}.")
    return notes


def _more(found: Sequence[object], most: int = 5) -> str:
    return f" and {len(found) - most:,} more" if len(found) > most else ""
