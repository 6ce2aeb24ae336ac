"""Corpora by name: readers of raw data, and the 1NF manifest that every later room works on.

Readers say what the files contain: nothing is decoded, downloaded or encoded here.

`CORPORA` holds "module:function" strings, so that nothing is imported before it is used. A
reader takes a folder and returns a :class:`RawCorpus`, or None where the folder does not hold its
corpus; a second argument, if it has one, says which labels (`--kind NAME:WHICH`). Packages add
readers through entry points of the group `erc.corpora`.
"""

from inspect import signature
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
    "audformat": "erc_features.corpora.audformat:read_audformat",
    "lhotse": "erc_features.corpora.lhotse:read_lhotse",
    "datasets": "erc_features.corpora.hf_datasets:read_datasets",
    "iemocap": "erc_features.corpora.iemocap:read_iemocap",
    "iemocap-4": "erc_features.corpora.iemocap:read_four",
    "iemocap-4-unmerged": "erc_features.corpora.iemocap:read_four_unmerged",
    "iemocap-6": "erc_features.corpora.iemocap:read_six",
    "ravdess": "erc_features.corpora.ravdess:read_ravdess",
    "crema-d": "erc_features.corpora.crema_d:read_crema_d",
    "emodb": "erc_features.corpora.emodb:read_emodb",
    "tess": "erc_features.corpora.tess:read_tess",
    "table": "erc_features.corpora.table:read_csvs",
}
# What each looks for, somewhere below the folder; said where nothing is found.
_SIGNS = {
    "meld": "train_sent_emo.csv, dev_sent_emo.csv or test_sent_emo.csv",
    "emorynlp": "emorynlp_train_final.csv and so on",
    "audformat": "db.yaml",
    "lhotse": "files like supervisions.jsonl.gz and recordings.jsonl.gz",
    "datasets": "dataset_info.json beside state.json, as save_to_disk of datasets writes them",
    "iemocap": "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt and so on",
    "iemocap-4": "the same",
    "iemocap-4-unmerged": "the same",
    "iemocap-6": "the same",
    "ravdess": "03-01-06-01-02-01-12.wav or .mp4 and so on",
    "crema-d": "1001_DFA_ANG_XX.wav, .mp3 or .flv and so on",
    "emodb": "03a01Fa.wav and so on",
    "tess": "OAF_back_angry.wav and so on",
    "table": "a CSV with the columns file and emotion, and, if you like, start, end, speaker",
}


def read_raw(source: Path, kind: str | None = None) -> RawCorpus:
    """Read raw data with the reader named `kind`, or with the first that recognises it.

    Args:
        source: a folder; or a CSV, which is read as a table.
        kind: NAME, or NAME:WHICH for readers that can be told which labels to read.

    Raises:
        CorpusError: there is no such folder, no reader recognises its contents, or the reader
            cannot be told which labels to read.
    """
    is_table = source.is_file() and source.suffix.lower() == ".csv"
    if not source.is_dir() and not is_table:
        raise CorpusError(
            f"No raw data at {source}: it is not a folder. `erc sample {source}` renders a small "
            "corpus offline; `erc download` fetches MELD."
        )
    readers = with_plugins("erc.corpora", CORPORA)
    named, _, which = (kind or ("table" if is_table else "")).partition(":")
    names = [choose("corpus", named, readers)] if named else list(readers)
    for name in names:
        read = load(readers[name])
        if which and len(signature(read).parameters) < 2:
            raise CorpusError(
                f"--kind {kind}: {name} is read in one way; --kind {name} works. Of audformat, "
                "table, lhotse and datasets you can say which labels, such as table:COLUMN."
            )
        if (raw := read(source, which) if which else read(source)) is not None:
            return raw
    signs = [f"{name}: {_SIGNS.get(name, 'as its package says')}" for name in names]
    raise CorpusError(
        f"{source} holds no raw data of {', '.join(names)}. These were looked for in it and in all "
        f"folders below it:{listed(signs)}\n"
        "Your own CSV needs no preparing: docs/own-corpus.md."
    )
