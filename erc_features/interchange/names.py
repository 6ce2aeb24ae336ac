"""Which utterance a row of someone else's file is: keys, file names, MELD's names.

A name is, in this order,
- a key, `train/d-0-seq-3`;
- a media cell of the corpus, `train/d-0-seq-3.wav`, or a path that ends in one;
- what stands in the corpus's own further column `id`;
- two numbers as MELD and MMSA write them, `dia0_utt3`, `d-0-seq-3`, `0_3`, `0$_$3`, with or
  without an ending, in a folder that names the split (`train`, `dev`, `valid`, `test`, or MELD's
  own), or with the split said beside it.
"""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from erc_features.corpora.manifest import Corpus
from erc_features.errors import ErcError, choose, listed
from erc_features.utterance import Modality, Split, make_key, parse_key

_TWO = re.compile(
    r"(?:d-|dia(?:logue)?_?)?(\d{1,9})(?:-seq-|_utt(?:erance)?_?|\$_\$(?:utt)?|_)(\d{1,9})"
)
SPLITS = {
    **{str(split): split for split in Split},
    "valid": Split.DEV,
    "val": Split.DEV,
    "validation": Split.DEV,
    "train_splits": Split.TRAIN,
    "dev_splits_complete": Split.DEV,
    "output_repeated_splits_test": Split.TEST,
}
_PAIRS = (("dialogue", "sequence"), ("dialogue_id", "utterance_id"))
_COLUMNS = ("file", "filename", "name", "path", "id")
HOW = (
    "A name is a key (train/d-0-seq-3), a media cell of the corpus, or dia0_utt3 or d-0-seq-3 in "
    "a folder named after its split, or with --split."
)


@dataclass(frozen=True)
class Names:
    """The utterances of a corpus by all the names that they go by."""

    corpus: Corpus

    @cached_property
    def keys(self) -> frozenset[str]:
        return frozenset(u.key for u in self.corpus.utterances)

    @cached_property
    def _others(self) -> dict[str, str | None]:
        """Media cells and ids -> key; None where two utterances share one."""
        found: dict[str, str | None] = {}
        for u in self.corpus.utterances:
            cells = {u.cell(m) for m in Modality if m != Modality.TEXT} | {u.more.get("id", "")}
            for cell in cells - {""}:
                found[cell] = None if cell in found else u.key
        return found

    def key_of(self, name: str, split: Split | None = None) -> str | None:
        """The key that a name means, in the corpus or not; None where it means none."""
        name = name.strip().strip("'\"").replace("\\", "/")
        try:
            parse_key(name)
        except ValueError:
            pass
        else:
            return name
        parts = PurePosixPath(name).parts
        for first in range(len(parts)):
            if key := self._others.get("/".join(parts[first:])):
                return key
        stem = parts[-1] if parts else ""
        two = _TWO.fullmatch(re.sub(r"\.[A-Za-z]\w{0,11}$", "", stem))
        folders = [SPLITS[part] for part in reversed(parts[:-1]) if part in SPLITS]
        there = folders[0] if folders else split
        return make_key(there, int(two[1]), int(two[2])) if two and there else None

    def resolve(self, source: Path, names: Iterable[str], split: Split | None) -> list[str]:
        """A key for each name.

        Raises:
            ErcError: lists the names that are no utterance of the corpus.
        """
        keys, unknown = [], []
        for name in names:
            key = self.key_of(name, split)
            keys.append(key or "")
            if key not in self.keys:
                unknown.append(name if key in (None, name) else f"{name} ({key})")
        if unknown:
            raise ErcError(
                f"{source}: {len(unknown):,} of {len(keys):,} rows are no utterance of "
                f"{self.corpus.root}:{listed(unknown, 5)}\n{HOW}"
            )
        return keys

    def in_order(self, split: Split, drop: Sequence[str] = ()) -> list[str]:
        """The keys of a split in manifest order, without those dropped.

        Raises:
            ErcError: a dropped one is not in the split.
        """
        keys = [u.key for u in self.corpus.utterances if u.split == split]
        dropped = {self.key_of(name, split): name for name in drop}
        if wrong := [name for key, name in dropped.items() if key not in set(keys)]:
            raise ErcError(f"--drop: {', '.join(wrong[:5])} is no utterance of {split}. {HOW}")
        return [key for key in keys if key not in dropped]


def split_named(name: str | None) -> Split | None:
    """`--split`, under any of its names.

    >>> split_named("valid")
    <Split.DEV: 'dev'>
    """
    return None if name is None else SPLITS[choose("split", name, SPLITS)]


def names_in(columns: Mapping[str, Sequence[object]]) -> tuple[list[str], set[str]] | None:
    """The names of a table's rows, and which columns say them; None where none does.

    `key`; else `dialogue` and `sequence`, or MELD's `Dialogue_ID` and `Utterance_ID`, with
    `split` if it is there; else `file`, `filename`, `name`, `path` or `id`.
    """
    lower = {name.strip().lower(): name for name in columns}
    if "key" in lower:
        return [str(cell) for cell in columns[lower["key"]]], {lower["key"]}
    for dialogue, sequence in _PAIRS:
        if dialogue in lower and sequence in lower:
            used = {lower[name] for name in (dialogue, sequence, "split") if name in lower}
            pairs = zip(columns[lower[dialogue]], columns[lower[sequence]], strict=True)
            found = [f"d-{str(d).strip()}-seq-{str(s).strip()}" for d, s in pairs]
            if "split" in lower:
                splits = (str(cell).strip() for cell in columns[lower["split"]])
                found = [f"{split}/{name}" for split, name in zip(splits, found, strict=True)]
            return found, used
    for name in _COLUMNS:
        if name in lower:
            return [str(cell) for cell in columns[lower[name]]], {lower[name]}
    return None


def read_columns(path: Path) -> dict[str, list[str]]:
    """A CSV of `--keys`, column by column; one column without a header is `key`.

    Raises:
        ErcError: it can't be read, or a row has too few or too many cells.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = [[cell.strip() for cell in row] for row in csv.reader(file) if row]
    except (OSError, ValueError, csv.Error) as error:
        raise ErcError(f"{path}: the list of keys cannot be read ({error}).") from error
    if not rows:
        raise ErcError(f"{path}: the list of keys is empty; it has one key a row.")
    if len(rows[0]) == 1 and rows[0][0].lower() not in ("key", *_COLUMNS):
        rows.insert(0, ["key"])
    columns = [cell.lower() for cell in rows[0]]
    wrong = [f"row {n}: {len(row)} cells" for n, row in enumerate(rows) if len(row) != len(columns)]
    if wrong:
        raise ErcError(f"{path}: not {len(columns)} cells a row:{listed(wrong, 5)}")
    return {name: [row[i] for row in rows[1:]] for i, name in enumerate(columns)}
