"""The 1NF manifest that the rooms exchange: CSVs with one row per utterance.

    data/meld/train.csv dev.csv test.csv    ,dialogue,sequence,speaker,x_text,x_visual,x_audio,label
    data/meld/corpus.json                   name, labels in order, counts, settings, defects

First normal form as in HLM12ERC, with the split in the key and in the media's paths. Media cells
are relative to the CSV. Further columns are kept.
"""

import csv
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from erc_features.corpora.cells import read_table
from erc_features.errors import CorpusError, listed
from erc_features.utterance import Modality, Split, Utterance, corpus_name
from erc_features.whole_file import whole_file

COLUMNS = ("dialogue", "sequence", "speaker", "x_text", "x_visual", "x_audio", "label")
INFO = "corpus.json"
SINGLE = "corpus.csv"  # holds every split, in a folder without a CSV for each
TABLES = f"{', '.join(f'{split}.csv' for split in Split)} or {SINGLE}"
_NO_MORE: Mapping[str, str] = MappingProxyType({})
_LARGEST = 2**31 - 1  # dialogue and sequence are int32 in feature files


@dataclass(frozen=True)
class Corpus:
    """Utterances in manifest order: train, dev, test, new, each as in its CSV.

    Attributes:
        root: the folder that media cells are relative to.
        name: the last component of that folder.
        labels: the emotions, in the order of the classifier's outputs.
        info: what `corpus.json` says; empty where there is none.
        crop: what `x_visual` shows: whole frames, or "face"; see :mod:`.faces`.
    """

    root: Path
    name: str
    utterances: tuple[Utterance, ...]
    labels: tuple[str, ...]
    info: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    crop: str = "frame"

    @cached_property
    def fingerprint(self) -> str:
        """See :func:`fingerprint`. It is always computed from the rows, never read."""
        return fingerprint(self.utterances)

    @property
    def decode(self) -> Mapping[str, Any]:
        """What `corpus.json` says of pictures: `frames` of a mosaic or of a segment, `height`.

        Raises:
            CorpusError: it says something else.
        """
        found = self.info.get("decode", {})
        if not isinstance(found, Mapping):
            raise CorpusError(
                f'{self.root / INFO}: decode is {found!r}; {{"frames": 5, "height": 240}} works.'
            )
        for name in ("frames", "height"):
            value = found.get(name, 1)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise CorpusError(
                    f"{self.root / INFO}: {name} in decode is {value!r}; whole numbers from 1 work."
                )
        return found

    def media_path(self, utterance: Utterance, modality: Modality) -> Path | None:
        """The path of an utterance's picture or sound; None where there is none."""
        cell = utterance.cell(modality)
        return self.root / cell if cell else None

    def missing_reason(self, utterance: Utterance, modality: Modality) -> str:
        """Why a media cell is empty, as `prepare` noted it."""
        reason = reasons_in(self.info, modality).get(utterance.key)
        if reason is not None:
            return str(reason)
        what = "face" if (modality, self.crop) == (Modality.VISUAL, "face") else modality
        return f"the corpus has no {what} for it"


def reasons_in(info: Mapping[str, Any], medium: str) -> Mapping[str, Any]:
    """Why cells of a medium, a modality or `face`, are empty, by key, as `corpus.json` says; other
    contents are ignored."""
    missing = info.get("missing")
    reasons = missing.get(medium) if isinstance(missing, Mapping) else None
    return reasons if isinstance(reasons, Mapping) else {}


def fingerprint(utterances: Iterable[Utterance]) -> str:
    """sha256 (hex) over the lines `key\\tspeaker\\tx_text\\tlabel`, sorted by key.

    Media and decode settings are left out, so that preparing a corpus again with other frames
    does not make its text features stale.
    """
    digest = hashlib.sha256()
    for u in sorted(utterances, key=lambda u: u.key):
        line = f"{u.key}\t{u.speaker}\t{u.x_text}\t{u.label}\n"
        digest.update(line.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def read_corpus(path: Path | str, *, otherwise: Split | None = None) -> Corpus:
    """Read a corpus: a folder with `<split>.csv` files or with a `corpus.csv`, or a single CSV.

    The split of a single CSV is its name, or else its `split` column, or else `otherwise`.

    Raises:
        CorpusError: there is no corpus, or rows are wrong; names every bad row at once.
    """
    path = Path(path)
    tables = _find_tables(path)
    root = path if path.is_dir() else path.parent
    info = _read_info(root / INFO)
    problems: list[str] = []
    utterances: list[Utterance] = []
    places: dict[str, str] = {}
    for split, csv_path in tables:
        table = read_table(csv_path)
        problems += table.ragged
        absent = [name for name in COLUMNS if name not in table.columns]
        if split is None and "split" not in table.columns:
            if otherwise is None:
                absent.append("split (or name the file train.csv, dev.csv, test.csv or new.csv)")
            split = otherwise
        if absent:
            hint = "; its cells may be empty" if absent == ["label"] else ""
            problems.append(f"{csv_path}:1: has no column {', '.join(absent)}{hint}")
            continue
        for line, cells in table.rows:
            place = f"{csv_path}:{line}"
            utterance, wrong = _read_row(cells, split)
            problems += [f"{place}: {reason}" for reason in wrong]
            if utterance is None:
                continue
            earlier = places.setdefault(utterance.key, place)
            if earlier == place:
                utterances.append(utterance)
            else:
                problems.append(f"{place}: {utterance.key} is already in {earlier}")
    order = {split: number for number, split in enumerate(Split)}
    utterances.sort(key=lambda u: order[u.split])  # stable: within a split as in the CSV
    labels = tuple(info.get("labels") or ())
    if not labels:
        train = {u.label for u in utterances if u.split == Split.TRAIN and u.label}
        labels = tuple(sorted(train or {u.label for u in utterances if u.label}))
    problems += [
        f"{places[u.key]}: label {u.label!r} is not one of {', '.join(labels)}"
        for u in utterances
        if u.label and u.label not in labels
    ]
    if problems:
        raise CorpusError(
            f"{path}: {len(problems)} problems in the corpus:{listed(problems)}\n"
            "Correct these rows; dialogue and sequence are whole numbers from 0, and each pair of "
            "them is unique within its split."
        )
    if not utterances:
        raise CorpusError(f"{path}: the corpus has no rows.")
    return Corpus(root, corpus_name(str(root)), tuple(utterances), labels, MappingProxyType(info))


def write_corpus(
    root: Path, utterances: Sequence[Utterance], labels: Sequence[str], info: Mapping[str, Any]
) -> Corpus:
    """Write one CSV per split, then `corpus.json`. Each file appears whole or not at all.

    Raises:
        CorpusError: a file cannot be written.
    """
    more = list(dict.fromkeys(name for u in utterances for name in u.more))
    for split in Split:
        if not (rows := [u for u in utterances if u.split == split]):
            continue
        with (
            whole_file(root / f"{split}.csv", error=CorpusError) as part,
            open(part, "w", encoding="utf-8", newline="") as file,
        ):
            writer = csv.writer(file, lineterminator="\r\n")
            writer.writerow(["", *COLUMNS, *more])
            for n, u in enumerate(rows):
                known = (getattr(u, name) for name in COLUMNS)
                writer.writerow([n, *known, *(u.more.get(name, "") for name in more)])
    name = corpus_name(str(root))
    document = {
        "name": name,
        **info,
        "labels": list(labels),
        "counts": dict(Counter(u.split.value for u in utterances)),
        "fingerprint": fingerprint(utterances),
    }
    with whole_file(root / INFO, error=CorpusError) as part:
        part.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return Corpus(root, name, tuple(utterances), tuple(labels), MappingProxyType(document))


def tables_in(folder: Path) -> list[tuple[Split | None, Path]]:
    """The CSVs of a corpus in a folder: one for each split, else a `corpus.csv`; else none."""
    each = [(split, folder / f"{split}.csv") for split in Split]
    tables = [(split, path) for split, path in each if path.is_file()]
    return [*tables] or [(None, path) for path in [folder / SINGLE] if path.is_file()]


def _find_tables(path: Path) -> list[tuple[Split | None, Path]]:
    if path.is_file():
        return [(Split(path.stem) if path.stem in set(Split) else None, path)]
    if tables := tables_in(path):
        return tables
    what = f"has no {TABLES}" if path.is_dir() else "does not exist"
    others = sorted(other.name for other in path.glob("*.csv"))
    named = f" If its {others[0]} is the corpus, name it: {path / others[0]}." if others else ""
    raise CorpusError(
        f"No corpus at {path}: it {what}.{named} To make one, `erc sample data/raw` renders a "
        f"small one offline, `erc download` fetches MELD; then `erc prepare data/raw --to "
        f"{path}`. Or name another corpus with --corpus."
    )


def _read_info(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CorpusError(f"{path}: cannot be read as JSON ({error}).") from error
    labels = info.get("labels") if isinstance(info, dict) else None
    if not isinstance(info, dict) or not (
        labels is None or (isinstance(labels, list) and all(isinstance(x, str) for x in labels))
    ):
        raise CorpusError(f"{path}: must be an object, and its `labels` a list of texts.")
    if labels is not None and (len(set(labels)) < len(labels) or not all(map(str.strip, labels))):
        raise CorpusError(f"{path}: `labels` holds a duplicate or a blank one: {labels}.")
    return info


def _read_row(cells: Mapping[str, str], split: Split | None) -> tuple[Utterance | None, list[str]]:
    """The utterance of a row, or None, and what is wrong with the row."""
    wrong: list[str] = []
    named = cells.get("split", "").strip()
    if split is None:
        if named in set(Split):
            split = Split(named)
        else:
            wrong.append(f"split {named!r} is not one of {', '.join(Split)}")
    elif named and named != split:
        wrong.append(f"split {named!r} in a file of {split}")
    numbers: list[int] = []
    for name in ("dialogue", "sequence"):
        cell = cells[name].strip()
        if cell.isascii() and cell.isdigit() and len(cell) < 11 and int(cell) <= _LARGEST:
            numbers.append(int(cell))
        else:
            wrong.append(f"{name} {cell[:40]!r} is not a whole number from 0")
    if nul := [name for name, cell in cells.items() if "\0" in cell]:
        wrong.append(f"{', '.join(nul)}: holds a NUL character")
    if wrong or split is None:
        return None, wrong
    known = {name: cells[name] for name in COLUMNS[2:]}
    # The same few speakers and labels occur many times: keep each once.
    known["label"] = sys.intern(known["label"].strip())
    known["speaker"] = sys.intern(known["speaker"])
    more = {name: cell for name, cell in cells.items() if name not in (*COLUMNS, "split", "")}
    kept = MappingProxyType(more) if more else _NO_MORE
    return Utterance(split, *numbers, **known, more=kept), []
