"""The domain's words: utterance, modality, split, and the key that names an utterance.

An utterance is one turn of a dialogue, as in MELD (Poria et al. 2019,
"MELD: A Multimodal Multi-Party Dataset for Emotion Recognition in Conversations").
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType


class Split(StrEnum):
    """Which part of a corpus an utterance belongs to, in manifest order.

    `NEW` holds utterances that are only predicted: it has no role in training.

    >>> [str(split) for split in Split]
    ['train', 'dev', 'test', 'new']
    """

    TRAIN = "train"
    DEV = "dev"
    TEST = "test"
    NEW = "new"


class Modality(StrEnum):
    """What a feature file was computed from.

    >>> [str(modality) for modality in Modality]
    ['text', 'visual', 'audio']
    """

    TEXT = "text"
    VISUAL = "visual"
    AUDIO = "audio"


X_FACE = "x_face"  # the column that `erc prepare --faces` adds

_KEY = re.compile(r"(train|dev|test|new)/d-(0|[1-9][0-9]*)-seq-(0|[1-9][0-9]*)")


def make_key(split: str, dialogue: int, sequence: int) -> str:
    """The utterance's name: `train/d-0-seq-3`.

    The split is part of it, because MELD counts its dialogues from 0 in each split:
    without it 2,415 dev and test utterances share a name with a training one.

    >>> make_key("train", 0, 3)
    'train/d-0-seq-3'
    """
    return f"{split}/d-{dialogue}-seq-{sequence}"


def parse_key(key: str) -> tuple[Split, int, int]:
    """Split, dialogue and sequence of a key.

    >>> parse_key("test/d-12-seq-0")
    (<Split.TEST: 'test'>, 12, 0)

    Raises:
        ValueError: if `key` is not of that form.
    """
    match = _KEY.fullmatch(key)
    if match is None:
        raise ValueError(f"{key!r} is not an utterance key; one looks like 'train/d-0-seq-3'")
    return Split(match[1]), int(match[2]), int(match[3])


def corpus_name(text: str) -> str:
    """The name of a corpus: the last component of its folder's path, or of its CSV's folder.

    Links and `.` are resolved first where the path exists.

    >>> corpus_name("data/meld/"), corpus_name("meld")
    ('meld', 'meld')
    """
    path = Path(text)
    if path.is_file():
        path = path.parent
    return (path.resolve() if path.exists() else path).name


@dataclass(frozen=True, slots=True)
class Utterance:
    """One row of a corpus (first normal form: one value a cell).

    >>> said = Utterance(Split.TRAIN, 0, 3, speaker="Ross", x_text="Hi.", label="neutral")
    >>> said.key, said.cell(Modality.TEXT)
    ('train/d-0-seq-3', 'Hi.')

    Attributes:
        split: the part of the corpus.
        dialogue, sequence: whole numbers from 0; unique together within a split.
        speaker: who says it; may be empty.
        x_text: what is said; blank means that there is no text.
        x_visual, x_audio: paths relative to the corpus's CSV; empty means no medium.
        label: the emotion; empty means unlabelled.
        more: any further columns, as they stand in the CSV.
    """

    split: Split
    dialogue: int
    sequence: int
    speaker: str = ""
    x_text: str = ""
    x_visual: str = ""
    x_audio: str = ""
    label: str = ""
    more: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def key(self) -> str:
        """`split/d-<dialogue>-seq-<sequence>`, see :func:`make_key`."""
        return make_key(self.split, self.dialogue, self.sequence)

    @property
    def x_face(self) -> str:
        """The path of its faces, a mosaic of squares, relative to the corpus's CSV; often empty,
        and always in a corpus that was prepared without them."""
        return self.more.get(X_FACE, "").strip()

    def cell(self, modality: Modality) -> str:
        """The text, or the path of the picture or sound; blank where there is none."""
        return str(getattr(self, f"x_{modality}")).strip()
