"""Fusion of precomputed features from Python: tables, runs, and `erc fuse`.

>>> import erc_fusion
>>> table = erc_fusion.load_table("meld")
>>> [source.stem for source in table.sources]
['text.bert-base-uncased', 'audio.wav2vec2-base']

`erc_fusion.fuse` and `erc_fusion.score` are the functions. (Their modules have the same names;
import from them with `from erc_fusion.fuse import …`.) Importing this package does not load torch.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from erc_features.errors import ErcError

if TYPE_CHECKING:
    from erc_fusion.config.config import FuseConfig, load_config, with_options
    from erc_fusion.fuse import FuseResult, fuse
    from erc_fusion.inputs.dataset import DialogueDataset, UtteranceDataset, pad_dialogues
    from erc_fusion.inputs.table import FeatureTable
    from erc_fusion.runs.run import Run
    from erc_fusion.score import ScoreResult, score

__all__ = [
    "DialogueDataset",
    "ErcError",
    "FeatureTable",
    "FuseConfig",
    "FuseResult",
    "Run",
    "ScoreResult",
    "UtteranceDataset",
    "fuse",
    "list_runs",
    "load_config",
    "load_table",
    "pad_dialogues",
    "score",
    "with_options",
]

_FILES = {
    "config.config": ("FuseConfig", "load_config", "with_options"),
    "fuse": ("FuseResult", "fuse"),
    "inputs.dataset": ("DialogueDataset", "UtteranceDataset", "pad_dialogues"),
    "inputs.table": ("FeatureTable",),
    "runs.run": ("Run",),
    "score": ("ScoreResult", "score"),
}
_FILE_OF = {name: file for file, names in _FILES.items() for name in names}


def load_table(
    corpus: str = "meld",
    modalities: Sequence[str] = (),
    *,
    features: str | Path = "features",
    files: Sequence[str | Path] = (),
    layers: str = "all",
) -> "FeatureTable":
    """Feature files of one corpus joined by key, as `erc fuse` sees them.

    >>> import erc_fusion
    >>> table = erc_fusion.load_table("meld", modalities=["text", "audio.wav2vec2-base"])
    >>> len(table), table.labels, table.present.shape
    (197, ('anger', 'joy', 'neutral'), (197, 2))
    >>> table.x["audio.wav2vec2-base"][table.rows("dev")].shape
    (40, 3, 8)
    >>> one = erc_fusion.load_table(files=["features/meld/text.bert-base-uncased.h5"])
    >>> list(one.x)
    ['text.bert-base-uncased']

    Args:
        corpus: its name: the folder of its files in `features`.
        modalities: each a modality or a file's stem; by default every modality that has exactly
            one file.
        features: the root folder.
        files: these files or URLs, instead of what the first three would find.
        layers: which layers of every file: `all`, `last`, `-4:` or `0,6,12`.

    Raises:
        ErcError: no file fits, or several (prints which); they are not of one corpus, or damaged.
    """
    from erc_features.utterance import corpus_name
    from erc_fusion.inputs import sources, table

    if files:
        if modalities:
            raise ErcError("Name either files or modalities: files are used as they are.")
        return table.load_table(sources.describe(files), layers)
    found = sources.find_sources(Path(features) / corpus_name(corpus), modalities)
    return table.load_table(found, layers)


def list_runs(corpus: str | None = None, *, runs: str | Path = "runs") -> list["Run"]:
    """The finished runs of a corpus, or of all of them, by path.

    >>> import erc_fusion
    >>> [run.name for run in erc_fusion.list_runs("meld")]
    ['mlp']
    """
    from erc_fusion.runs.run import list_runs

    return list_runs(Path(runs), corpus)[0]


class _Package(ModuleType):
    """Keeps `erc_fusion.fuse` the function when its module is loaded, which Python binds here."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in _FILE_OF and isinstance(value, ModuleType):
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> object:
    if name in _FILE_OF:
        return getattr(import_module(f"{__name__}.{_FILE_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
