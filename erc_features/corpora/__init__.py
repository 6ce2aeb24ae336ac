"""Corpora by name: readers of raw data, and the 1NF manifest that every later room works on.

Readers say what the files contain: nothing is decoded, downloaded or encoded here.

`CORPORA` holds "module:function" strings, so that nothing is imported before it is used. A
reader takes a folder and returns a :class:`RawCorpus`, or None where the folder does not hold its
corpus. Packages add readers through entry points of the group `erc.corpora`.
"""

from pathlib import Path

from erc_features.corpora.raw import RawCorpus
from erc_features.errors import CorpusError, choose, listed
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

# The first that recognises a folder reads it, so formats that say what they are come first.
CORPORA = {
    "meld": "erc_features.corpora.meld:read_meld",
    "emorynlp": "erc_features.corpora.emorynlp:read_emorynlp",
    "iemocap": "erc_features.corpora.iemocap:read_iemocap",
    "iemocap-4": "erc_features.corpora.iemocap:read_four",
    "iemocap-4-unmerged": "erc_features.corpora.iemocap:read_four_unmerged",
    "iemocap-6": "erc_features.corpora.iemocap:read_six",
    "ravdess": "erc_features.corpora.ravdess:read_ravdess",
    "crema-d": "erc_features.corpora.crema_d:read_crema_d",
    "emodb": "erc_features.corpora.emodb:read_emodb",
    "tess": "erc_features.corpora.tess:read_tess",
}
# What each looks for, somewhere below the folder; said where nothing is found.
_SIGNS = {
    "meld": "train_sent_emo.csv, dev_sent_emo.csv or test_sent_emo.csv",
    "emorynlp": "emorynlp_train_final.csv and so on",
    "iemocap": "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt and so on",
    "iemocap-4": "the same",
    "iemocap-4-unmerged": "the same",
    "iemocap-6": "the same",
    "ravdess": "03-01-06-01-02-01-12.wav or .mp4 and so on",
    "crema-d": "1001_DFA_ANG_XX.wav, .mp3 or .flv and so on",
    "emodb": "03a01Fa.wav and so on",
    "tess": "OAF_back_angry.wav and so on",
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
    signs = [f"{name}: {_SIGNS.get(name, 'as its package says')}" for name in names]
    raise CorpusError(
        f"{source} holds no raw data of {', '.join(names)}. These were looked for in it and in all "
        f"folders below it:{listed(signs)}\n"
        "Your own CSV needs no preparing: docs/own-corpus.md."
    )
