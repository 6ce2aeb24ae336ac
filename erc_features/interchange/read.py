"""Choosing the reader of a file by its ending, and of a pickle by its contents."""

from typing import Any

import numpy as np

from erc_features.errors import ErcError
from erc_features.interchange.arrays import from_named, read_arrays
from erc_features.interchange.base import Asked, Found
from erc_features.interchange.conversations import name_items, read_conversations
from erc_features.interchange.mmsa import is_mmsa, read_mmsa
from erc_features.interchange.pickle_values import Budget, numbers, unwrap
from erc_features.interchange.pickles import read_pickle
from erc_features.interchange.row_keys import SPLITS
from erc_features.interchange.tables import read_csv, read_parquet

PICKLES = (".pkl", ".pickle", ".p")
ARRAYS = (".npy", ".npz", ".safetensors", ".pt", ".pth")
TABLES = {".csv": read_csv, ".tsv": read_csv, ".parquet": read_parquet, ".pq": read_parquet}


def read(asked: Asked) -> Found:
    """The rows with features in a file or folder.

    Raises:
        ErcError: it does not exist, is of an unknown kind, is refused, or does not fit the corpus.
    """
    source = asked.source
    if not source.exists():
        raise ErcError(f"{source}: no such file or folder to import.")
    if source.is_dir() or source.suffix in ARRAYS:
        return read_arrays(asked)
    if source.suffix in TABLES:
        return TABLES[source.suffix](asked)
    if source.suffix in PICKLES:
        value, budget = read_pickle(source)
        try:
            return _from_value(asked, unwrap(value), budget)
        except (TypeError, ValueError, AttributeError, LookupError, MemoryError) as error:
            raise ErcError(
                f"{source}: its parts are not what its layout says ({type(error).__name__}: "
                f"{str(error)[:100]}). Save the features as .npy, and import that with --keys."
            ) from error
    known = ", ".join((*ARRAYS, *TABLES, *PICKLES))
    raise ErcError(
        f"{source}: erc imports {known}, and folders of .npy. A file of `erc extract` needs no "
        "import."
    )


def _from_value(asked: Asked, value: Any, budget: Budget) -> Found:
    source = asked.source
    if isinstance(value, np.ndarray):
        return from_named(asked, {"": value}, "pickle", {})
    if is_mmsa(value):
        return read_mmsa(asked, value, budget)
    if isinstance(value, (list, tuple)) and any(isinstance(item, dict) for item in value):
        return _read_tuple(asked, value, budget)
    if isinstance(value, dict) and value:
        names = [str(name) for name in value]
        texts = all(isinstance(name, str) for name in value)
        by_name = texts and asked.names.is_name(names[0], asked.split)
        if by_name or all(name in SPLITS for name in names) or asked.field in value:
            arrays = {str(name): numbers(one, budget) for name, one in value.items()}
            if asked.field is None and (wrong := [n for n, x in arrays.items() if x is None]):
                raise ErcError(f"{source}: {', '.join(wrong[:5])} is no array of numbers.")
            kept = {name: x for name, x in arrays.items() if x is not None}
            return from_named(asked, kept, "pickle", {})
        return read_conversations(asked, {"features": value}, budget)
    rows = numbers(value, budget)
    if rows is None:
        raise ErcError(
            f"{source}: a pickle of {type(value).__name__}. What can be imported: an array, a "
            "dictionary of arrays by utterance or dialogue, MMSA's layout, and the tuples of "
            "DialogueRNN, MMGCN, MM-DFN and COSMIC."
        )
    return from_named(asked, {"": rows}, "pickle", {})


def _read_tuple(asked: Asked, value: Any, budget: Budget) -> Found:
    """A conversation pickle; or three dictionaries, train, dev and test, as MELD's own are."""
    if len(value) == 3 and all(value) and all(isinstance(item, dict) for item in value):
        named = {}
        if all(asked.names.is_name(f"train/{name}") for name in value[0]):
            what = "its three dictionaries are train, dev and test, and name their rows"
            asked.must_not_name(what)
        for split, part in zip(("train", "dev", "test"), value, strict=True):
            for name, one in part.items():
                if asked.names.key_of(f"{split}/{name}") is None:
                    return read_conversations(asked, name_items(value), budget)
                x = numbers(one, budget)
                if x is None:
                    raise ErcError(f"{asked.source}: {split} {name} is no array of numbers.")
                named[f"{split}/{name}"] = x
        return from_named(asked, named, "pickle", {})
    return read_conversations(asked, name_items(value), budget)
