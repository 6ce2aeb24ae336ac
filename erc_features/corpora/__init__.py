"""Corpora by name: readers of raw data, and the 1NF manifest that every later room works on.

Readers say what the files contain: nothing is decoded, downloaded or encoded here.

`CORPORA` holds "module:function" strings, so that nothing is imported before it is used. A
reader takes a folder and returns a :class:`RawCorpus`, or None where the folder does not hold its
corpus. Packages add readers through entry points of the group `erc.corpora`.
"""

from pathlib import Path

from erc_features.corpora.raw import RawCorpus
from erc_features.errors import CorpusError, choose
from erc_features.plugins import load, with_plugins

__all__ = [
    "CORPORA",
    "cells",
    "clipping",
    "downmix",
    "faces",
    "manifest",
    "media_files",
    "raw",
    "read_raw",
    "recordings",
    "segments",
    "times",
]

CORPORA = {
    "meld": "erc_features.corpora.meld:read_meld",
    "emorynlp": "erc_features.corpora.emorynlp:read_emorynlp",
}


def read_raw(source: Path, kind: str | None = None) -> RawCorpus:
    """Read raw data with the reader named `kind`, or with the first that recognises it.

    Raises:
        CorpusError: there is no such folder, or no reader recognises its contents.
    """
    if not source.is_dir():
        raise CorpusError(
            f"No raw data at {source}: it is not a folder. `erc sample {source}` renders a small "
            "corpus offline; `erc download` fetches MELD."
        )
    readers = with_plugins("erc.corpora", CORPORA)
    names = [choose("corpus", kind, readers)] if kind else list(readers)
    for name in names:
        if (raw := load(readers[name])(source)) is not None:
            return raw
    raise CorpusError(
        f"{source} holds no raw data of {', '.join(names)}. Somewhere below, MELD has files named "
        "train_sent_emo.csv, dev_sent_emo.csv or test_sent_emo.csv, EmoryNLP "
        "emorynlp_train_final.csv and so on. Your own CSV needs no preparing: docs/own-corpus.md."
    )
