"""What the verbs up to the feature files print: summaries, a preview, an inspection."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from erc_features.store import IMPORTED
from erc_features.terminal import duration, show, size, table

if TYPE_CHECKING:  # importing a verb takes as long as running it on a small corpus
    from erc_features.extraction.dry_run import Preview
    from erc_features.extraction.extract import Extracted
    from erc_features.extraction.verify import Verified
    from erc_features.preparation.prepare import Prepared
    from erc_features.store.inspect import Column, Inspection

_MOST_ROWS = 20  # of a file, that differ


def show_prepared(prepared: "Prepared") -> None:
    """The summary of `erc prepare`."""
    corpus = prepared.corpus
    rows = ", ".join(f"{count} {split}" for split, count in prepared.rows.items())
    if prepared.already:
        show(f"{corpus.root}: nothing to do: it is prepared already.")
    show(f"{corpus.root}: {rows} utterances; {prepared.pictures} with a picture, "
         f"{prepared.sounds} with sound.")  # fmt: skip
    if prepared.faces is not None:
        found, frames = prepared.face_frames
        show(f"{prepared.faces:,} of {len(corpus.utterances):,} utterances have a face, in "
             f"{found:,} of {frames:,} frames.")  # fmt: skip
    kinds: dict[str, list[str]] = {}
    for defect in prepared.defects:
        kinds.setdefault(defect.kind, []).append(defect.where)
    if kinds:
        show("Defects (every row is kept; corpus.json has the details):")
    for kind, places in sorted(kinds.items()):
        more = f" and {len(places) - 3} more" if len(places) > 3 else ""
        show(f"  {kind}: {len(places)} ({', '.join(places[:3])}{more})")


def show_extracted(files: Sequence["Extracted"]) -> None:
    """The summary of `erc extract`: two lines for each file, and why rows failed."""
    for file in files:
        rows = ", ".join(f"{count:,} {name}" for name, count in file.counts.items())
        _, layers, dim = file.shape
        show(f"{file.path}: {rows}; {layers} x {dim} a row, {size(file.size)}")
        if file.already:
            show("  nothing to do: it is complete")
        else:
            shares = ", ".join(f"{share:.0%} {what}" for what, share in file.shares.items())
            show(f"  {file.rate:,.0f} utterances/s over {file.seconds:.1f} s: {shares}")
        if file.recordings:
            what = "recording was" if file.recordings == 1 else "recordings were"
            more = f", into {size(file.decoded)} of a temporary file" if file.decoded else ""
            show(f"  {file.recordings:,} {what} decoded once for all utterances{more}")
        if file.unchecked:
            show(f"  {file.unchecked}")
        for reason, count in list(file.failures.items())[:5]:
            show(f"  {count:,} failed: {reason}")
        show(*(f"  {count:,} {note}" for note, count in file.notes.items()))


def show_preview(files: Sequence["Preview"]) -> None:
    """What `erc extract --dry-run` prints."""
    for file in files:
        n, layers, dim = file.shape
        show(f"{file.path}: {file.state}; {file.encoder} on {file.device}, {file.precision}")
        show(f"  {file.rows:,} of {n:,} rows have {file.modality}, {file.done:,} are done; "
             f"{_amount(file)} {file.unit}")  # fmt: skip
        show(f"  {file.batches[0]:,} of {file.batches[1]:,} batches to encode")
        if file.recordings:
            what = "recording" if file.recordings == 1 else "recordings"
            more = ""
            if file.temporary:
                more = f", into about {size(file.temporary)} of a temporary file (TMPDIR)"
            show(f"  cut out of {file.recordings:,} {what} of {file.hours:.2f} hours, each decoded "
                 f"once{more}")  # fmt: skip
        if file.seconds is not None:
            rows = "utterance" if file.timed == 1 else "utterances"
            show(
                f"  about {duration(file.seconds)} here, from a timed batch of {file.timed} {rows}"
            )
        show(f"  about {size(file.size)}: {n:,} x {layers} x {dim} {file.dtype}; "
             f"{size(file.free)} are free there")  # fmt: skip
        show(*(f"  {count:,} {note}" for note, count in file.notes.items()))
        if file.differences:
            show("  the file there was made differently, so this would be refused:")
            show(*(f"    {line}" for line in file.differences))


def show_inspection(found: "Inspection") -> None:
    """What `erc inspect` prints."""
    attributes = found.attributes
    state = "complete" if found.complete else "unfinished"
    show(f"{found.path}: {state}, {size(found.size)}")
    facts: Mapping[str, object] = {
        "corpus": f"{attributes['corpus']} ({attributes['fingerprint'][:12]})",
        "modality": attributes["modality"],
        "encoder": f"{attributes['encoder']} (revision {attributes['revision'][:12]})",
        "config": ", ".join(f"{k} {v}" for k, v in attributes["config"].items()),
        "x": f"(N, L, D) = {found.shape} {found.dtype}",
        "status": ", ".join(f"{count:,} {name}" for name, count in found.counts.items() if count),
        "splits": ", ".join(f"{s} {n:,} ({ok:,} ok)" for s, (n, ok) in found.splits.items()),
        "labels": ", ".join(f"{name or '(none)'} {n:,}" for name, n in found.labels.items()),
        "columns": ", ".join(f"{name} {_column(of)}" for name, of in found.columns.items()) or "-",
        "probe": _probe(found),
        "not finite": found.not_finite,
        "equal rows": _duplicates(found),
        "notes": ", ".join(f"{n:,} {what}" for what, n in (attributes.get("notes") or {}).items())
        or "-",
        "written": f"{attributes['created']} to {attributes.get('finished', '-')} on "
        f"{attributes.get('device', '-')}",
        "versions": ", ".join(f"{k} {v}" for k, v in attributes.get("versions", {}).items()),
    }
    for name, value in facts.items():
        show(f"  {name:<14} {value}")
    equal = found.duplicates
    for count, keys in equal.largest if equal.groups != equal.explained else ():
        show(f"  {count:>6} equal: {', '.join(keys)}{' …' if count > len(keys) else ''}")
    for reason, count in list(found.reasons.items())[:10]:
        show(f"  {count:>6} rows: {reason}")
    dim = found.shape[2]
    table(
        ("layer", "mean norm", "least", "most", f"dead of {dim:,}"),
        [
            (number, *(f"{norm:.2f}" for norm in (layer.norm, layer.least, layer.most)),
             f"{layer.dead:,}{' constant' if layer.dead == dim else ''}")
            for number, layer in enumerate(found.layers)
        ],
    )  # fmt: skip


def _column(found: "Column") -> str:
    """ "264 (1.2 to 4.9)", of names "264 (6 values)"."""
    if found.least is None or found.most is None:
        return f"{found.filled:,} ({found.values:,} value{'s' * (found.values != 1)})"
    return f"{found.filled:,} ({found.least:g} to {found.most:g})"


def _duplicates(found: "Inspection") -> str:
    equal = found.duplicates
    text = f"{equal.rows:,} in {equal.groups:,} groups"
    if not equal.groups or equal.explained is None:
        return text
    if found.attributes["modality"] != "text":
        return f"{text}: is the same clip there twice?"
    return f"{text}, {equal.explained:,} of them of equal texts"


def _probe(found: "Inspection") -> str:
    if found.probe is None:
        is_imported = found.attributes["encoder"] == IMPORTED
        return (
            "none: the file was imported" if is_imported else "not recorded: made by an older erc"
        )
    norms = ", ".join(f"{norm:.2f}" for norm in found.probe)
    return f"norm {norms}; on {found.attributes.get('probe_device', '-')}"


def show_verified(found: "Verified") -> None:
    """What `erc verify` prints."""
    tolerance = found.tolerance
    state = "" if found.complete else " (unfinished)"
    show(
        f"{found.path}{state}: {found.compared:,} of {found.ok:,} ok rows encoded again on "
        f"{found.device} in {found.seconds:.1f} s",
        f"  largest difference {found.largest:.2g}; allowed {tolerance.relative:g} of a layer's "
        f"largest number and one unit in the last place ({tolerance.why})",
        f"  {len(found.differing):,} rows differ" if found.differing else "  no row differs",
    )
    show(*([f"  {found.unchecked}"] if found.unchecked else ["  the probe agrees"]))
    show(*(f"  {row.key}: {row.reason or row.by}" for row in found.differing[:_MOST_ROWS]))
    if (hidden := len(found.differing) - _MOST_ROWS) > 0:
        show(f"  … and {hidden:,} more; --json lists all")
    for row in found.mendable:
        show(f"  {row.key} was {row.was} ({row.reason}) and can be encoded now: "
             "`erc extract --retry` would mend it")  # fmt: skip


def _amount(file: "Preview") -> str:
    """Hours with a decimal or two; characters and frames without."""
    if file.unit == "hours of audio":
        return f"{file.amount:,.1f}" if file.amount >= 1 else f"{file.amount:.2f}"
    return f"{file.amount:,.0f}"
