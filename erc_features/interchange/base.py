"""What a reader of someone else's file is asked for, and what it finds."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from erc_features.errors import ErcError
from erc_features.interchange.key_files import read_columns
from erc_features.interchange.row_keys import COLUMNS, Named, Names, names_in
from erc_features.store import Status
from erc_features.utterance import Modality, Split


@dataclass(frozen=True)
class Asked:
    """What to import, and how.

    Attributes:
        field: which of several things in the file; `a,b` stacks them as layers.
        keys: a file that names the rows.
        split: the split of rows that do not say it themselves.
        drop: utterances of that split that the file leaves out.
        frames: how to pool the second axis of three, which is frames; see :mod:`.frames`.
        layers: the second axis of three is layers, whatever it looks like.
    """

    source: Path
    names: Names
    modality: Modality
    field: str | None = None
    keys: Path | None = None
    split: Split | None = None
    drop: tuple[str, ...] = ()
    frames: str | None = None
    layers: bool = False

    def keys_of(self, rows: int, own: Named | None = None) -> list[str]:
        """The keys of the rows: their `own` names in the file, those of `--keys`, or a split's.

        Raises:
            ErcError: none is given, the number of rows differs, or `--keys` and the file's own
                names differ.
        """
        if own is not None and len(own.names) != rows:
            raise ErcError(f"{self.source} has {rows:,} rows, and names {len(own.names):,}.")
        if own is not None and self.keys is None:
            return self.names.resolve(self.source, own, self.split)
        if self.keys is not None:
            named = names_in(self.keys, read_columns(self.keys), self.is_name)
            if named is None:
                raise ErcError(f"{self.keys}: none of its columns names the rows. {COLUMNS}")
            keys = self.names.resolve(self.keys, named, self.split)
            if len(keys) != rows:
                raise ErcError(
                    f"{self.source} has {rows:,} rows, and {self.keys} names {len(keys):,}."
                )
            if own is not None:
                self.names.must_agree(self.source, own, keys, self.keys)
            return keys
        if self.split is None:
            raise ErcError(
                f"{self.source}: its {rows:,} rows have no names. Name them with --keys FILE, one "
                "key a row; or say --split train if they are in that split's order."
            )
        return self.in_order(self.split, rows)

    def must_not_pool(self, what: str) -> None:
        """Refuse `--frames` and `--layers`: the file says itself (`what`) what its axes are."""
        self._must_not_say(what, {"--frames": self.frames, "--layers": self.layers})

    def must_not_name(self, what: str) -> None:
        """Refuse `--keys` and `--split`: the file says itself (`what`) which its rows are."""
        self._must_not_say(what, {"--keys": self.keys, "--split": self.split})

    def _must_not_say(self, what: str, options: Mapping[str, object]) -> None:
        if given := [name for name, value in options.items() if value]:
            raise ErcError(f"{self.source}: {what}; {given[0]} would not be used. Leave it out.")

    def is_name(self, name: str) -> bool:
        """See :meth:`.Names.is_name`."""
        return self.names.is_name(name, self.split)

    def in_order(self, split: Split, rows: int) -> list[str]:
        """The keys of a split's rows.

        Raises:
            ErcError: they are more or fewer than the utterances.
        """
        keys = self.names.in_order(split, self.drop if split == self.split else ())
        if len(keys) != rows:
            dropped = f" less {len(self.drop)} dropped" if self.drop else ""
            raise ErcError(
                f"{self.source} has {rows:,} rows; {split} has {len(keys):,} utterances{dropped}. "
                "Name those that it leaves out with --split and --drop dia110_utt7,…, or its rows "
                "with --keys FILE."
            )
        return keys


@dataclass(frozen=True)
class Found:
    """Rows with features.

    Attributes:
        keys: n of them, each an utterance of the corpus.
        x: (n, L, D), as stored in the file.
        format, field, pooling: for the provenance.
        gone: key -> status and reason, of rows that the file itself calls missing or failed.
        left_out: columns that are not features.
        notes: what the user should know.
    """

    keys: Sequence[str]
    x: np.ndarray
    format: str
    field: str = ""
    pooling: str = "none"
    gone: Mapping[str, tuple[Status, str]] = dataclasses.field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def must_be_about(asked: Asked, about: object) -> None:
    """Refuse features that `erc export` wrote of another corpus or modality, by their `about`."""
    try:
        said = json.loads(str(about))
        corpus, fingerprint, modality = (said[n] for n in ("corpus", "fingerprint", "modality"))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ErcError(f"{asked.source}: its `about` is not what `erc export` writes.") from error
    theirs = asked.names.corpus
    if modality != asked.modality:
        raise ErcError(
            f"{asked.source}: was exported as {str(modality)[:40]}, not {asked.modality}: import "
            f"it with --modality {str(modality)[:40]}."
        )
    if fingerprint != theirs.fingerprint:
        raise ErcError(
            f"{asked.source}: was exported from the corpus {str(corpus)[:80]}, fingerprint "
            f"{str(fingerprint)[:12]}, and {theirs.root} is {theirs.fingerprint[:12]}: its texts, "
            "labels or utterances are others. If the same rows are meant, save x alone as .npy, "
            "and import that with --keys."
        )


def as_rows(source: Path, x: np.ndarray, what: str = "") -> np.ndarray:
    """(N, D) or (N, L, D) as (N, L, D).

    Raises:
        ErcError: it has another number of axes, is empty, or does not hold numbers.
    """
    where = f"{source}{f' ({what})' if what else ''}"
    if x.dtype.kind not in "fiub":
        raise ErcError(f"{where}: holds {x.dtype}, not numbers.")
    if x.ndim not in (2, 3) or 0 in x.shape:
        raise ErcError(
            f"{where}: has the shape {x.shape}; features are (N, D), or (N, L, D) for L layers, "
            "or with --frames (N, T, D) for T frames."
        )
    return x[:, None] if x.ndim == 2 else x
