"""Precomputed features of multimodal dialogue corpora, in HDF5.

The Python side of `erc extract`, `erc inspect` and the rest; every command is a function of the
same name in a module of that name (`from erc_features.extraction.extract import extract`).

>>> import erc_features
>>> with erc_features.open("features/meld/audio.wav2vec2-base.h5") as file:
...     file.shape
(197, 3, 8)
"""

from pathlib import Path
from typing import TYPE_CHECKING

from erc_features.errors import ErcError, FeatureFileError
from erc_features.utterance import Modality, Split, Utterance, make_key, parse_key

if TYPE_CHECKING:
    from erc_features.store import FeatureFile, Status

__all__ = [
    "ErcError",
    "FeatureFile",
    "FeatureFileError",
    "Modality",
    "Split",
    "Status",
    "Utterance",
    "list_features",
    "make_key",
    "open",
    "parse_key",
]


def open(path: str | Path) -> "FeatureFile":
    """Open a feature file for reading, here or elsewhere.

    >>> import erc_features
    >>> with erc_features.open("features/meld/audio.wav2vec2-base.h5") as file:
    ...     train = file.rows(split="train")
    ...     x = file.x(train)[:, -1]  # (n, D): the last layer
    ...     label = file.label[train]
    >>> x.shape, sorted(set(label))
    ((117, 8), ['anger', 'joy', 'neutral'])

    Args:
        path: a file, or a URL: `https://…`, and with the extra `cloud` `s3://…`, `gs://…` and
            what else fsspec opens. Of a file elsewhere only the rows that are asked for are
            moved; credentials are those that s3fs or gcsfs find by themselves.

    Raises:
        FeatureFileError: it is not there, not a whole feature file, or of a newer format; the
            server can't send parts of a file; a package is missing (names the pip command).
    """
    from erc_features.store import FeatureFile

    return FeatureFile(path)


def list_features(folder: str | Path) -> list[Path]:
    """The complete feature files of a corpus, by name.

    >>> import erc_features
    >>> [path.name for path in erc_features.list_features("features/meld")]
    ['audio.wav2vec2-base.h5', 'text.bert-base-uncased.h5']
    """
    from erc_features.store import list_features

    return list_features(Path(folder))


def __getattr__(name: str) -> object:
    """Names whose modules load h5py: not before someone asks."""
    if name in ("FeatureFile", "Status"):
        from erc_features import store

        return getattr(store, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
