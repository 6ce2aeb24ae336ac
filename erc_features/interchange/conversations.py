"""The pickles that published conversation models share: a tuple of dictionaries by dialogue.

DialogueRNN (Majumder et al. 2019), MMGCN (Hu et al. 2021), MM-DFN (Hu et al. 2022), COSMIC
(Ghosal et al. 2020), SDT and MultiEMO use the layouts below. The files have no names in them: a
layout is recognised by the number of its items, and by which of them are dictionaries.

MELD numbers its dialogues from 0 in each split; these files number them through: train from 0, dev
from 1039, test from 1153. The corpus's number is therefore the file's less the lengths of the
splits before it, which follow from their largest dialogue numbers. That proves nothing yet: every
dialogue must also have as many utterances as in the corpus, and each of the file's label codes
must mean one label of the corpus.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from erc_features.errors import ErcError, choose, listed
from erc_features.interchange.base import Asked, Found
from erc_features.interchange.conversation_labels import REMEDY, compare_labels
from erc_features.interchange.key_files import read_columns
from erc_features.interchange.pickle_values import Budget, numbers, unwrap
from erc_features.interchange.row_keys import SPLITS
from erc_features.utterance import Modality, Split, Utterance

_HEAD = ("videoIDs", "videoSpeakers", "videoLabels", "videoText")
_ROBERTA = ("roberta1", "roberta2", "roberta3", "roberta4")
_TAIL = ("videoAudio", "videoVisual", "videoSentence", "trainVid", "testVid")
_IDS = ("sentences", "trainIds", "testIds", "validIds")
LAYOUTS: tuple[tuple[str, ...], ...] = (
    (*_HEAD, *_TAIL),  # IEMOCAP: DialogueRNN, MMGCN
    (*_HEAD, *_TAIL, "sentimentLabels"),  # MELD: MMGCN, MM-DFN
    (*_HEAD, "videoAudio", "videoSentence", "trainVid", "testVid", "sentimentLabels"),  # MELD: RNN
    ("speakers", "videoLabels", *_ROBERTA, *_IDS),  # COSMIC but for MELD
    ("speakers", "videoLabels", "sentimentLabels", *_ROBERTA, *_IDS),  # COSMIC's MELD
    (*_HEAD, *_ROBERTA[1:], *_TAIL),  # IEMOCAP: SDT, MultiEMO
    (*_HEAD, *_ROBERTA[1:], *_TAIL, "sentimentLabels"),  # MELD: SDT, MultiEMO
)
_FIELDS = {Modality.AUDIO: ("videoAudio",), Modality.VISUAL: ("videoVisual",)}
_HOLDS = {
    "trainVid": (Split.TRAIN, Split.DEV),
    "testVid": (Split.TEST,),
    "trainIds": (Split.TRAIN,),
    "validIds": (Split.DEV,),
    "testIds": (Split.TEST,),
}
_Place = tuple[Split, int]


def name_items(value: Sequence[Any]) -> dict[str, Any]:
    """The items of a tuple by their names in the layout that fits; otherwise by number."""
    for layout in LAYOUTS:
        items = dict(zip(layout, value, strict=False))
        if len(layout) == len(value) and all(
            isinstance(item, dict) != (name in _HOLDS) for name, item in items.items()
        ):
            return items
    return {str(number): item for number, item in enumerate(value)}


def read_conversations(asked: Asked, items: Mapping[str, Any], budget: Budget) -> Found:
    """Features by dialogue: a dictionary id -> (T, D), or several of them as layers.

    Raises:
        ErcError: nothing fits (lists the items of the file); or says where file and corpus differ.
    """
    source = asked.source
    asked.must_not_pool("each utterance of it has one vector a field, and fields are layers")
    fields = _choose(asked, items)
    ids = list(items[fields[0]])
    places = _places(asked, ids)
    ids = [one for one in ids if one in places]  # a list of --keys may leave some out
    _must_be_split(source, items, places)
    turns: dict[_Place, list[Utterance]] = {}
    for u in sorted(asked.names.corpus.utterances, key=lambda u: u.sequence):
        turns.setdefault((u.split, u.dialogue), []).append(u)
    lines, keys, rows = [], [], []
    for one in ids:
        utterances = turns.get(places[one], [])
        layers = [numbers(items[name].get(one), budget) for name in fields]
        there = [x for x in layers if x is not None and x.ndim == 2]
        shapes = [None if x is None else x.shape for x in layers]
        if len(there) < len(layers) or len(set(shapes)) > 1:
            raise ErcError(
                f"{source}: {', '.join(fields)} of dialogue {str(one)[:40]} are {shapes}; an array "
                "(T, D) is needed, the same for each field."
            )
        x = np.stack(there, axis=1)  # (T, L, D)
        if len(x) != len(utterances):
            where = "{}/d-{}".format(*places[one])
            lines.append(
                f"{one} ({where}): {len(x)} utterances there, {len(utterances)} in the corpus"
            )
            continue
        keys += [u.key for u in utterances]
        rows.append(x)
    if lines:
        raise ErcError(
            f"{source} and {asked.names.corpus.root} differ in {len(lines):,} of {len(ids):,} "
            f"dialogues:{listed(lines, 5)}\n{REMEDY}"
        )
    if len({x.shape[1:] for x in rows}) > 1:
        raise ErcError(f"{source}: the dialogues have {fields[0]} of several dimensions.")
    said = {one: turns[places[one]] for one in ids}
    proof, notes = compare_labels(asked, items.get("videoLabels"), said)
    return Found(keys, np.concatenate(rows), f"conversations, {proof}", ",".join(fields),
                 notes=notes)  # fmt: skip


def _choose(asked: Asked, items: Mapping[str, Any]) -> list[str]:
    """The fields to take: those of `--field`, otherwise those of the modality."""
    there = {name: item for name, item in items.items() if isinstance(item, dict) and item}
    if asked.field is not None:
        wanted = [name.strip() for name in asked.field.split(",")]
    elif len(there) == 1:
        wanted = list(there)
    elif asked.modality == Modality.TEXT:
        wanted = [name for name in ("videoText", *_ROBERTA) if name in there]
    else:
        wanted = [name for name in _FIELDS[asked.modality] if name in there]
    if not wanted:
        lines = [f"{name}: {_what(item)}" for name, item in items.items()]
        raise ErcError(
            f"{asked.source}: which of its {len(items)} items is {asked.modality}? Choose with "
            f"--field:{listed(lines)}"
        )
    for name in wanted:
        choose(f"field of {asked.source}", name, there)
    return wanted


def _what(item: Any) -> str:
    """What an item of the tuple looks like, for a user who has to choose one."""
    if not isinstance(item, dict) or not item:
        return f"{len(item)} ids" if isinstance(item, (list, tuple, set)) else "nothing to choose"
    first = unwrap(next(iter(item.values())))
    inner = unwrap(first[0]) if isinstance(first, (list, tuple)) and first else first
    kind = f"{inner.shape} {inner.dtype}" if isinstance(inner, np.ndarray) else type(inner).__name__
    many = f"lists of {kind}" if isinstance(first, (list, tuple)) else kind
    return f"{len(item)} dialogues of {many}"


def _places(asked: Asked, ids: Sequence[Any]) -> dict[Any, _Place]:
    """The dialogue of the corpus that each id means."""
    source, corpus = asked.source, asked.names.corpus
    if asked.keys is not None:
        found = _places_in(asked.keys, ids, source)
        if asked.split and (other := {split for split, _ in found.values()} - {asked.split}):
            raise ErcError(f"{asked.keys}: names dialogues of {', '.join(sorted(other))}, and "
                           f"--split says {asked.split}. Leave --split out.")  # fmt: skip
        return found
    if wrong := [one for one in ids if not str(one).isdigit()]:
        raise ErcError(
            f"{source}: its dialogues are called {', '.join(str(one)[:30] for one in wrong[:3])}. "
            "Say which they are with --keys FILE, a CSV of id,split,dialogue."
        )
    if asked.split is not None:
        return {one: (asked.split, int(one)) for one in ids}
    lengths = [
        (split, 1 + max(u.dialogue for u in corpus.utterances if u.split == split))
        for split in (Split.TRAIN, Split.DEV, Split.TEST)
        if any(u.split == split for u in corpus.utterances)
    ]
    found = {}
    for one in ids:
        number = int(one)
        for split, length in lengths:
            if number < length:
                found[one] = split, number
                break
            number -= length
        else:
            ends = ", ".join(f"{split} {length}" for split, length in lengths)
            raise ErcError(f"{source}: dialogue {one} is past the corpus's end ({ends}). {REMEDY}")
    return found


def _places_in(path: Path, ids: Sequence[Any], source: Path) -> dict[Any, _Place]:
    columns = read_columns(path)
    if absent := {"id", "split", "dialogue"} - columns.keys():
        raise ErcError(f"{path}: has no column {', '.join(sorted(absent))}; {REMEDY}")
    rows = zip(columns["id"], columns["split"], columns["dialogue"], strict=True)
    named: dict[str, _Place] = {}
    for one, split, dialogue in rows:
        if split not in SPLITS or not dialogue.isdigit():
            raise ErcError(f"{path}: {one},{split},{dialogue} is no dialogue.")
        if one in named:
            raise ErcError(f"{path}: names {one} twice.")
        named[one] = SPLITS[split], int(dialogue)
    if unknown := named.keys() - {str(one) for one in ids}:
        raise ErcError(f"{path}: {source} has no dialogue {', '.join(sorted(unknown)[:5])}.")
    ids_named = {one: named[str(one)] for one in ids if str(one) in named}
    if not ids_named:
        raise ErcError(f"{path}: names no dialogue of {source}.")
    return ids_named


def _must_be_split(source: Path, items: Mapping[str, Any], places: Mapping[Any, _Place]) -> None:
    """Refuse places that contradict the file's own lists of train and test (ids 4 or "4")."""
    known = {str(one) for item in items.values() if isinstance(item, dict) for one in item}
    by_name = {str(one): place for one, place in places.items()}
    for name, splits in _HOLDS.items():
        ids = unwrap(items.get(name, ()))
        ids = ids.reshape(-1).tolist() if isinstance(ids, np.ndarray) else ids or ()
        texts = [str(unwrap(one)) for one in ids]
        if unknown := [one for one in texts if one not in known]:
            raise ErcError(
                f"{source}: its {name} holds {len(unknown):,} dialogues that are not in the file:"
                f"{listed([one[:40] for one in unknown], 5)}"
            )
        wrong = [f"{one}: {by_name[one][0]}/d-{by_name[one][1]} by its number"
                 for one in texts if one in by_name and by_name[one][0] not in splits]  # fmt: skip
        if wrong:
            raise ErcError(
                f"{source}: its {name} holds {len(wrong):,} dialogues that are not of "
                f"{' or '.join(splits)}:{listed(wrong, 5)}\n{REMEDY}"
            )
