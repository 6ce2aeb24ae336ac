"""Finding the utterance of a row in someone else's file: by key, file name, or MELD's names.

A name is tried, in this order, as
- a key, `train/d-0-seq-3`;
- a media cell of the corpus, `train/d-0-seq-3.wav`, or a path that ends in one;
- a value of the corpus's further column `id`;
- two numbers as MELD and MMSA write them, `dia0_utt3`, `d-0-seq-3`, `0_3`, `0$_$3`, with or
  without an ending, in a folder named after the split (`train`, `dev`, `valid`, `test`, or MELD's
  own names), or with the split beside it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from erc_features.corpora.manifest import Corpus
from erc_features.errors import ErcError, choose, listed
from erc_features.utterance import Modality, Split, Utterance, make_key, parse_key

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
# In the order in which they are asked; `image_path` is clip-retrieval's.
_COLUMNS = ("file", "filename", "filepath", "file_path", "path", "image_path", "audio_path",
            "video_path", "name", "id")  # fmt: skip
_SPLIT_COLUMNS = ("split", "partition", "subset", "set", "fold")
NAMING = {"key", *_COLUMNS, *_SPLIT_COLUMNS, *(name for pair in _PAIRS for name in pair)}
HEADS = ("key", *_COLUMNS)  # what a list of one column may be headed
COLUMNS = (
    "Such a column is called key; dialogue and sequence; Dialogue_ID and Utterance_ID; or "
    f"{', '.join(_COLUMNS[:-1])} or {_COLUMNS[-1]}."
)
HOW = (
    "A name is a key (train/d-0-seq-3), a media cell of the corpus, or dia0_utt3 or d-0-seq-3 in "
    "a folder named after its split, or with --split."
)


@dataclass(frozen=True)
class Named:
    """The names that a file itself has for its rows.

    Attributes:
        names: n of them.
        splits: the split beside each, such as `valid`; empty if there is none.
        used: the columns that these come from.
    """

    names: Sequence[str]
    splits: Sequence[str] = ()
    used: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Names:
    """The utterances of a corpus by all their names."""

    corpus: Corpus

    @cached_property
    def keys(self) -> frozenset[str]:
        return frozenset(u.key for u in self.corpus.utterances)

    @cached_property
    def _others(self) -> dict[str, list[str]]:
        """Media cells and ids -> the keys that share them."""
        found: dict[str, list[str]] = {}
        for u in self.corpus.utterances:
            for cell in _own(u):
                found.setdefault(cell, []).append(u.key)
        return found

    @cached_property
    def _numbers(self) -> dict[str, tuple[str, tuple[int, int]]]:
        """Key -> a media cell or id with two numbers that are not the key's, and the numbers."""
        read = ((u, cell, _two(cell)) for u in self.corpus.utterances for cell in _own(u))
        return {
            u.key: (cell, two)
            for u, cell, two in read
            if two is not None and two != (u.dialogue, u.sequence)
        }

    def key_of(self, name: str, split: Split | None = None) -> str | None:
        """The key that a name means, in the corpus or not; None if it means none."""
        return self._find(name, split)[0]

    def is_name(self, name: str, split: Split | None = None) -> bool:
        """Whether it means an utterance, or would if it were not ambiguous or contradictory."""
        key, why = self._find(name, split)
        return key is not None or bool(why)

    def _find(self, name: str, split: Split | None) -> tuple[str | None, str]:
        """The key; or None and a reason, which is empty if nothing is called so."""
        name = name.strip().strip("'\"").replace("\\", "/")
        try:
            of, *_ = parse_key(name)
        except ValueError:
            pass
        else:
            return (name, "") if split in (None, of) else (None, f"not of {split}")
        parts = PurePosixPath(name.removeprefix(f"{self._root}/")).parts
        for first in range(len(parts)):
            if keys := self._others.get("/".join(parts[first:])):
                # Only folders outside of the corpus's own cell say a split.
                wanted = {of for of in (_folder(parts[:first]), split) if of}
                left = [key for key in keys if all(parse_key(key)[0] == of for of in wanted)]
                if len(left) == 1:
                    return left[0], ""
                if left:
                    return None, f"ambiguous, {left[0]} and {left[1]} are both called so"
                return None, f"it is {keys[0]}, not of {' and '.join(sorted(wanted))}"
        there = _folder(parts[:-1])
        if there and split and there != split:
            return None, f"its folder says {there}, not {split}"
        two = _two(parts[-1]) if parts else None
        of = there or split
        if two is None or of is None:
            return None, ""
        key = make_key(of, *two)
        if key in self._numbers and self._numbers[key][1] != two:
            return None, f"unclear, {key} itself is called {self._numbers[key][0]}"
        return key, ""

    @cached_property
    def _root(self) -> str:
        return self.corpus.root.resolve().as_posix()

    def resolve(self, source: Path, named: Named, split: Split | None) -> list[str]:
        """A key for each name.

        Raises:
            ErcError: lists the names that are no utterance of the corpus, or of another split than
                `split` or the one beside them, with the reason.
        """
        keys, unknown = [], []
        for row, name in enumerate(named.names):
            beside, key, why = named.splits[row] if named.splits else "", None, ""
            of = SPLITS.get(beside.lower()) if beside else split
            if of is None and beside:
                why = f"{beside!r} is no split"
            elif split not in (None, of):
                why = f"of {of}, and --split says {split}"
            else:
                key, why = self._find(name, of)
            keys.append(key or "")
            if key not in self.keys:
                why = why or ("" if key in (None, name) else str(key))
                unknown.append(f"{name} ({why})" if why else name)
        if unknown:
            raise ErcError(
                f"{source}: {len(unknown):,} of {len(keys):,} rows are no utterance of "
                f"{self.corpus.root}:{listed(unknown, 5)}\n{HOW}"
                + (" Where names say their split themselves, leave --split out." if split else "")
            )
        return keys

    def must_agree(self, source: Path, named: Named, keys: Sequence[str], said: object) -> None:
        """Refuse a file whose own names, if they mean utterances, are not the `keys` of `said`."""
        lines = []
        for row, (name, key) in enumerate(zip(named.names, keys, strict=True)):
            beside = SPLITS.get(named.splits[row].lower()) if named.splits else None
            own = self.key_of(name, beside or parse_key(key)[0]) or self.key_of(name, beside)
            if own in self.keys and own != key:
                lines.append(f"row {row}: {name} there, {key} in {said}")
        if lines:
            raise ErcError(
                f"{source} names its rows itself, and {said} says otherwise in {len(lines):,} of "
                f"{len(keys):,}:{listed(lines, 5)}\nLeave out --keys, or the names in the file."
            )

    def in_order(self, split: Split, drop: Sequence[str] = ()) -> list[str]:
        """The keys of a split in manifest order, without the dropped ones, which must be in it."""
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


def _own(utterance: Utterance) -> set[str]:
    """The corpus's own names of an utterance: its media cells and its `id`."""
    cells = {utterance.cell(m) for m in Modality if m != Modality.TEXT}
    return (cells | {utterance.more.get("id", "").strip()}) - {""}


def _two(name: str) -> tuple[int, int] | None:
    """The two numbers of a file's name, as MELD and MMSA write them."""
    stem = re.sub(r"\.[A-Za-z]\w{0,11}$", "", PurePosixPath(name).name)
    two = _TWO.fullmatch(stem)
    return (int(two[1]), int(two[2])) if two else None


def _folder(parts: Sequence[str]) -> Split | None:
    """The split after which the nearest folder is named."""
    return next((SPLITS[part] for part in reversed(parts) if part in SPLITS), None)


def _whole(cell: object) -> str:
    """A dialogue's number; pandas turns 3 into 3.0 if a cell of the column is empty."""
    return re.sub(r"(?<=\d)\.0+$", "", str(cell).strip())


def names_in(
    source: Path, columns: Mapping[str, Sequence[object]], known: Callable[[str], bool]
) -> Named | None:
    """The names of a table's rows and the columns that they come from; None if there are none.

    They are in `key`; otherwise in `dialogue` and `sequence`, or MELD's `Dialogue_ID` and
    `Utterance_ID`; otherwise in the first of :data:`_COLUMNS` with a cell that is `known` to name
    an utterance, so that a speaker's `name` is not preferred to a `path`; if none has one, in the
    first. Their splits are in `split` or a column like it.

    Raises:
        ErcError: two columns have one name, `Key` and `key`; or names are decimals.
    """
    lower: dict[str, str] = {}
    for name in columns:
        plain = name.strip().lower()
        if plain in lower and plain in NAMING:
            raise ErcError(f"{source}: columns {lower[plain]!r} and {name!r} are one name; "
                           "which of them names the rows? Take the other out.")  # fmt: skip
        lower[plain] = name
    splits, beside = _splits_in(columns, lower)
    found: list[Named] = []
    for names in (("key",), *_PAIRS, *((name,) for name in _COLUMNS)):
        if any(name not in lower for name in names):
            continue
        used = frozenset(lower[name] for name in names) | ({beside} - {""})
        values = [columns[lower[name]] for name in names]
        if len(names) == 2:
            pairs = zip(*values, strict=True)
            return Named([f"d-{_whole(d)}-seq-{_whole(s)}" for d, s in pairs], splits, used)
        cells = _texts(source, lower[names[0]], values[0])
        if names == ("key",):
            if any(cell.lower() not in SPLITS for cell in splits):
                splits, used = [], frozenset({lower["key"]})  # a key says its split itself
            return Named(cells, splits, used)
        found.append(Named(cells, splits, used))
    for made in found if len(found) > 1 else ():
        beside_each = made.splits or [""] * len(made.names)
        if any(known(f"{SPLITS[split.lower()]}/{name}" if split.lower() in SPLITS else name)
               for name, split in zip(made.names, beside_each, strict=True)):  # fmt: skip
            return made
    return found[0] if found else None


def _splits_in(
    columns: Mapping[str, Sequence[object]], lower: Mapping[str, str]
) -> tuple[list[str], str]:
    """The split beside each row, and the column that it comes from."""
    for name in _SPLIT_COLUMNS:
        cells = [str(cell).strip() for cell in columns[lower[name]]] if name in lower else []
        if cells and (name == "split" or all(cell.lower() in SPLITS for cell in cells)):
            return cells, lower[name]
    return [], ""


def _texts(source: Path, column: str, cells: Sequence[object]) -> list[str]:
    if any(isinstance(cell, float) and not cell.is_integer() for cell in cells):
        raise ErcError(f"{source}: column {column!r} names the rows with decimals, "
                       "of which 1.1 may have been 1.10. Save it as text.")  # fmt: skip
    return [_whole(cell) if isinstance(cell, float) else str(cell) for cell in cells]
