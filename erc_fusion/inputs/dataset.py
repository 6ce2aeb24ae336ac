"""A FeatureTable as `torch.utils.data.Dataset`: for a training loop of your own.

Embeddings are as in the feature file, not standardised: see `erc_fusion.inputs.standardise` for
what `erc fuse` does (mean and deviation of train's rows, for each file and layer).
"""

from collections.abc import Mapping, Sequence
from typing import TypedDict, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from erc_features.errors import ErcError, choose
from erc_features.utterance import Split
from erc_fusion.inputs.table import FeatureTable

UNLABELLED = -1  # give it to a loss: F.cross_entropy(logits, label, ignore_index=UNLABELLED)
_Item = TypeVar("_Item")


class Utterance(TypedDict):
    """One row; `DataLoader` stacks them into batches.

    Attributes:
        key: its name.
        x: stem -> (L, D) float32; zeros where not present.
        present: (M,) bool, in the order of the table's sources.
        label: () int64, a place in the table's labels; -1 where unlabelled.
    """

    key: str
    x: Mapping[str, Tensor]
    present: Tensor
    label: Tensor


class Dialogue(TypedDict):
    """The T rows of a dialogue in order; as a padded batch, B dialogues of at most T.

    Attributes:
        keys: T names; in a batch, B such lists.
        x: stem -> ([B,] T, L, D) float32.
        present: ([B,] T, M) bool.
        label: ([B,] T) int64; -1 where unlabelled, and past a dialogue's end.
        real: ([B,] T) bool, false past a dialogue's end.
    """

    keys: list
    x: Mapping[str, Tensor]
    present: Tensor
    label: Tensor
    real: Tensor


class _TableDataset(Dataset[_Item]):
    """The rows of a split, and the table's numbers as tensors on the same memory."""

    def __init__(self, table: FeatureTable, split: Split | str | None = None) -> None:
        self.table = table
        self.rows = _rows(table, split)
        self._x = {source.stem: torch.from_numpy(table.x[source.stem]) for source in table.sources}
        self._present = torch.from_numpy(table.present)
        self._label = torch.from_numpy(table.label)


class UtteranceDataset(_TableDataset[Utterance]):
    """The rows of a table, or of one split, one utterance an item.

    >>> import erc_fusion
    >>> from torch.utils.data import DataLoader
    >>> table = erc_fusion.load_table("meld")
    >>> train = erc_fusion.UtteranceDataset(table, split="train")
    >>> batch = next(iter(DataLoader(train, batch_size=16)))
    >>> len(train), batch["x"]["text.bert-base-uncased"].shape, batch["label"].shape
    (117, torch.Size([16, 1, 12]), torch.Size([16]))

    Args:
        table: from :func:`erc_fusion.load_table`; its numbers are shared, not copied.
        split: train, dev, test or new; by default all rows.

    Raises:
        ErcError: no such split, or no row in it.
    """

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Utterance:
        row = int(self.rows[index])
        return {
            "key": str(self.table.key[row]),
            "x": {stem: x[row].float() for stem, x in self._x.items()},
            "present": self._present[row],
            "label": self._label[row],
        }


class DialogueDataset(_TableDataset[Dialogue]):
    """The dialogues of a table, or of one split, whole and in order, one an item.

    >>> import erc_fusion
    >>> from torch.utils.data import DataLoader
    >>> table = erc_fusion.load_table("meld")
    >>> dev = erc_fusion.DialogueDataset(table, split="dev")
    >>> loader = DataLoader(dev, batch_size=4, collate_fn=erc_fusion.pad_dialogues)
    >>> batch = next(iter(loader))
    >>> batch["x"]["audio.wav2vec2-base"].shape, batch["real"].sum(1).tolist()
    (torch.Size([4, 7, 3, 8]), [1, 6, 2, 7])

    Arguments and errors are those of :class:`UtteranceDataset`.
    """

    def __init__(self, table: FeatureTable, split: Split | str | None = None) -> None:
        super().__init__(table, split)
        # The table is in the order split, dialogue, sequence.
        after, before = self.rows[1:], self.rows[:-1]
        new = table.dialogue[after] != table.dialogue[before]
        new |= table.split[after] != table.split[before]
        self.dialogues = np.split(self.rows, np.flatnonzero(new) + 1)

    def __len__(self) -> int:
        return len(self.dialogues)

    def __getitem__(self, index: int) -> Dialogue:
        rows = self.dialogues[index]
        at = torch.from_numpy(rows)
        return {
            "keys": self.table.key[rows].tolist(),
            "x": {stem: x[at].float() for stem, x in self._x.items()},
            "present": self._present[at],
            "label": self._label[at],
            "real": torch.ones(len(rows), dtype=torch.bool),
        }


def pad_dialogues(dialogues: Sequence[Dialogue]) -> Dialogue:
    """B dialogues as one padded batch: the `collate_fn` of a :class:`DialogueDataset`.

    >>> import erc_fusion
    >>> dev = erc_fusion.DialogueDataset(erc_fusion.load_table("meld"), split="dev")
    >>> batch = erc_fusion.pad_dialogues([dev[0], dev[1]])
    >>> batch["label"].shape, batch["real"][0].tolist()
    (torch.Size([2, 6]), [True, False, False, False, False, False])
    """

    def pad(tensors: list[Tensor], value: int = 0) -> Tensor:
        return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=value)

    return {
        "keys": [dialogue["keys"] for dialogue in dialogues],
        "x": {stem: pad([one["x"][stem] for one in dialogues]) for stem in dialogues[0]["x"]},
        "present": pad([one["present"] for one in dialogues]),
        "label": pad([one["label"] for one in dialogues], UNLABELLED),
        "real": pad([one["real"] for one in dialogues]),
    }


def _rows(table: FeatureTable, split: Split | str | None) -> np.ndarray:
    if split is None:
        return np.arange(len(table))
    rows = table.rows(choose("split", str(split), [str(one) for one in Split]))
    if not len(rows):
        there = ", ".join(dict.fromkeys(table.split.tolist()))
        raise ErcError(f"{table.corpus} has no row in split {str(split)!r}; it has {there}.")
    return rows
