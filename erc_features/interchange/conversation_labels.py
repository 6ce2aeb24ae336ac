"""Checking by a conversation pickle's own labels that its rows are the corpus's utterances.

Such files do not say which code is which label, and models differ: a code is taken to mean the
label of most of its utterances. If each code means one label, and each label has one code, the rows
are these utterances; equal numbers of utterances alone prove little.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from erc_features.errors import ErcError, listed
from erc_features.interchange.base import Asked
from erc_features.interchange.pickle_values import unwrap
from erc_features.utterance import Utterance

_LENGTHS = "aligned by number of utterances"
REMEDY = (
    "Is it another version of the corpus? --keys FILE, a CSV of id,split,dialogue, says which "
    "dialogue is which, and leaves out those that differ."
)
_INSTEAD = "To import without them, save the features as .npy, one row an utterance, with --keys."


def compare_labels(
    asked: Asked, labels: Any, said: Mapping[Any, Sequence[Utterance]]
) -> tuple[str, tuple[str, ...]]:
    """Require that each code of the file means one label of the corpus, and has it alone.

    Args:
        labels: the file's `videoLabels`: dialogue -> codes, or one-hot rows; None without any.
        said: dialogue -> the corpus's utterances that it would be.

    Returns:
        how alignment was proven, for the provenance; and warnings.

    Raises:
        ErcError: the labels differ, or cannot be compared.
    """
    source = asked.source
    labels = {} if labels is None else labels
    if not isinstance(labels, Mapping):
        raise ErcError(f"{source}: its videoLabels are no dictionary by dialogue. {_INSTEAD}")
    pairs: list[tuple[Any, Utterance]] = []
    lines = []
    for one, utterances in said.items():
        codes = _codes(labels.get(one))
        if codes is None:
            lines.append(f"{one}: neither codes nor one-hot rows")
        elif codes and len(codes) != len(utterances):
            lines.append(f"{one}: {len(codes)} labels there, {len(utterances)} utterances")
        elif codes:
            pairs += [(code, u) for code, u in zip(codes, utterances, strict=True)
                      if code is not None and u.label]  # fmt: skip
    if lines:
        raise ErcError(
            f"{source}: its videoLabels of {len(lines):,} dialogues cannot be compared with the "
            f"corpus:{listed(lines, 5)}\n{_INSTEAD}"
        )
    beside: dict[Any, Counter[str]] = {}
    for code, u in pairs:
        beside.setdefault(code, Counter())[u.label] += 1
    means = {code: counts.most_common(1)[0][0] for code, counts in beside.items()}
    if lines := [f"{u.key}: {code} there, which is {means[code]} elsewhere; {u.label} in the corpus"
                 for code, u in pairs if means[code] != u.label]:  # fmt: skip
        raise ErcError(
            f"{source} and {asked.names.corpus.root} differ in {len(lines):,} of "
            f"{len(pairs):,} labels, so its rows are not these utterances:{listed(lines, 5)}\n"
            f"{REMEDY}"
        )
    if len(set(means.values())) < len(means):
        raise ErcError(
            f"{source}: its videoLabels have {len(means):,} codes, and the same utterances of the "
            f"corpus {len(set(means.values()))} labels, so they prove nothing. {_INSTEAD}"
        )
    count = sum(len(utterances) for utterances in said.values())
    if len(means) < 2:
        return _LENGTHS, (
            "no labels were there to compare: that the file's dialogues are the corpus's was "
            "seen from their numbers of utterances alone",
        )
    if len(pairs) < count:
        return f"{_LENGTHS}, and labels of {len(pairs)} of {count}", (
            f"labels of {len(pairs):,} of {count:,} utterances could be compared, and agree",
        )
    return f"{_LENGTHS} and labels", ()


def _codes(value: Any) -> list[Any] | None:
    """A code or None for each utterance; [] without labels; None if they are something else."""
    value = unwrap(value)
    if value is None or (isinstance(value, np.ndarray) and value.ndim == 0):
        return [] if value is None else None
    if not isinstance(value, (list, tuple, np.ndarray)):
        return None
    codes: list[Any] = []
    for one in value:
        one = unwrap(one)
        one = one.tolist() if isinstance(one, (np.ndarray, np.generic)) else one
        if isinstance(one, (list, tuple)):
            if [cell for cell in one if cell != 0] != [1]:
                return None
            one = one.index(1)
        if one is None or one == -1 or one == "":  # unlabelled
            codes.append(None)
        elif isinstance(one, (int, float, str)):
            codes.append(one)
        else:
            return None
    return codes if any(code is not None for code in codes) else []
