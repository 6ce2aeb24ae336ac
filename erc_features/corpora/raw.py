"""What a reader of raw data hands to `prepare`: utterances, their clips, and the defects seen."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from erc_features.utterance import Utterance


@dataclass(frozen=True)
class Defect:
    """Something wrong in the raw data, and what was done about it.

    Attributes:
        kind: a short name, the same for all defects of the kind.
        where: an utterance's key, a split, or a file.
        detail: what was seen.
        done: what became of it; never that a row was dropped.
    """

    kind: str
    where: str
    detail: str
    done: str


@dataclass(frozen=True)
class RawUtterance:
    """An utterance whose media cells are still empty, and the clip that they come from."""

    utterance: Utterance
    clip: Path | None


@dataclass(frozen=True)
class RawCorpus:
    """Raw data as read: rows in manifest order, and what was wrong with them."""

    kind: str
    source: Path
    rows: tuple[RawUtterance, ...]
    labels: tuple[str, ...]
    defects: tuple[Defect, ...]

    @property
    def clips(self) -> Iterable[RawUtterance]:
        return (row for row in self.rows if row.clip is not None)
