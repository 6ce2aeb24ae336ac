"""A run directory: what one `erc fuse` leaves behind. Format version 1.

runs/<corpus>/<name>/
  config.toml           every setting (`erc fuse --config` takes it)
  inputs.json           format, format_version, corpus, fingerprint, labels, counts by split,
                        files: [{stem, modality, encoder, revision, config, shape, path,
                        versions, probe (see :class:`erc_features.store.Probe`, or null)}],
                        speakers (frequent in train, by number), versions, command, and with
                        folds: [{name, speakers, train, dev, test}]
  history.jsonl         a line for each seed and epoch: {"seed": 0, "epoch": 1,
                        "train": {"loss", "accuracy"},
                        "dev": {"loss", "accuracy", "weighted_f1"}}
  metrics.json          see :mod:`erc_fusion.evaluation.metrics`
                        With folds, `test` is over all rows, each held out once, and `folds` has
                        each fold's scores: see :mod:`erc_fusion.evaluation.fold_scores`
  predictions.parquet   a row for each utterance of dev, test (and new) and each seed:
                        key, split, dialogue, sequence, speaker, text, label, seed, predicted,
                        the probability of each label in `p_<label>`, `missing` (the stems of files
                        without its embedding, with commas), `pca_1`, `pca_2` of its embedding;
                        with folds, also `fold`, every row is of the split test, `dialogue` is that
                        of the split in its key, and `pca_…` have axes of each fold's own
  model.safetensors     weights, every tensor with the seeds first: (S, …); with folds, those of
                        each under `fold.<number>.`
  DONE                  written last: without it the run is unfinished and starts again

The folder appears, or changes into another run, in one step: see :mod:`erc_fusion.runs.writing`.
"""

import json
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from erc_features.errors import RunError
from erc_features.whole_file import sync
from erc_fusion.runs import writing
from erc_fusion.runs.html import as_html
from erc_fusion.runs.predictions import PREDICTIONS, read_predictions
from erc_fusion.runs.writing import DONE, recover

if TYPE_CHECKING:
    import pandas as pd

FORMAT = "erc-run"
FORMAT_VERSION = 1
_PART = ".part"  # what an older erc wrote beside the files of a run
_TAKEN = ("DONE", "tensorboard", "scores")  # in the folder of a corpus's runs
FILES = (
    "config.toml",
    "inputs.json",
    "history.jsonl",
    "metrics.json",
    PREDICTIONS,
    "model.safetensors",
)
_OURS = frozenset({DONE, *FILES, *(f"{name}{_PART}" for name in FILES)})


@dataclass(frozen=True)
class Run:
    """A finished run, read on demand. Jupyter shows it as a table.

    >>> from pathlib import Path
    >>> run = Run(Path("runs/meld/mlp"))
    >>> run.name, run.corpus, round(run.metrics["test"]["accuracy"]["mean"], 2)
    ('mlp', 'meld', 0.66)
    >>> run.predictions().query("split == 'test'")["key"].nunique()
    260

    Raises:
        RunError: when a file of it is read that is absent, damaged or of a newer format.
    """

    path: Path

    def __post_init__(self) -> None:
        recover(self.path)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def corpus(self) -> str:
        return self.inputs["corpus"]

    @property
    def target(self) -> str:
        """What it predicts, as `--target` names it."""
        return (self.inputs.get("task") or {}).get("target", "label")

    @property
    def done(self) -> bool:
        return (self.path / DONE).is_file()

    @cached_property
    def config(self) -> dict[str, Any]:
        """The settings as nested tables, as in `config.toml`."""
        return self._read("config.toml", lambda text: tomllib.loads(text.decode()))

    @cached_property
    def inputs(self) -> dict[str, Any]:
        found = self._read("inputs.json", json.loads)
        version = found.get("format_version", 0)
        if found.get("format") != FORMAT or not isinstance(version, int):
            raise RunError(f"{self.path / 'inputs.json'}: not the inputs of an erc run.")
        if version > FORMAT_VERSION:
            raise RunError(
                f"{self.path}: a run of format version {version}; this erc reads up to "
                f"{FORMAT_VERSION}. Upgrade erc to read it."
            )
        return found

    @cached_property
    def metrics(self) -> dict[str, Any]:
        return self._read("metrics.json", json.loads)

    def history(self) -> list[dict[str, Any]]:
        """Loss and accuracy of train and dev, one entry for each seed and epoch."""
        return self._read("history.jsonl", lambda text: [*map(json.loads, text.splitlines())])

    def predictions(self) -> "pd.DataFrame":
        """A row for each utterance and seed; the module's docstring lists the columns."""
        import pandas as pd

        try:
            return pd.read_parquet(self.path / PREDICTIONS)
        except (OSError, ValueError) as error:
            raise self.damaged(PREDICTIONS, error) from error

    def columns(self) -> dict[str, np.ndarray]:
        """The predictions as columns (n,), read in less time than importing pandas takes."""
        try:
            return read_predictions(self.path / PREDICTIONS)
        except (OSError, ValueError) as error:
            raise self.damaged(PREDICTIONS, error) from error

    def damaged(self, name: str, why: object) -> RunError:
        """The error for a file of this run that can't be used as it is."""
        return RunError(
            f"{self.path / name} is damaged ({why}). Run `erc fuse` again with --overwrite."
        )

    def _repr_html_(self) -> str:
        try:
            folds = str(self.config.get("folds", "")) if self.metrics.get("folds") else ""
            return as_html(self.name, self.corpus, str(self.path), self.metrics, folds)
        except RunError as error:
            return f"<p><b>{escape(self.name)}</b></p><p>{escape(str(error))}</p>"

    def _read(self, name: str, parse: Callable[[bytes], Any]) -> Any:
        try:
            return parse((self.path / name).read_bytes())
        except OSError as error:
            raise RunError(
                f"{self.path / name}: cannot be read ({error.strerror}). "
                "Run `erc fuse` again with --overwrite."
            ) from error
        except ValueError as error:
            raise self.damaged(name, error) from error


def check_name(name: str) -> str:
    """`name`, if it can be a run's; raises RunError if it leads elsewhere, is hidden or taken."""
    if name and (not re.fullmatch(r"[A-Za-z0-9._-]+", name) or name.startswith(".")):
        raise RunError(
            f"--name {name}: use letters, digits, '.', '_' and '-', and do not begin with '.'."
        )
    if name in _TAKEN or name.endswith((".toml", ".json", ".html")):
        raise RunError(f"--name {name}: erc keeps files of such names beside runs; choose another.")
    return name


@contextmanager
def claim(path: Path) -> Iterator[None]:
    """Be the only process that writes the run of a folder; the lock ends with the process.

    Raises:
        RunError: another process writes it, something that is not a run is there, or the folder
            can't be written.
    """
    with writing.claim(path):
        if path.exists() and not path.is_dir():
            raise RunError(f"{path}: cannot be written (it is a file); choose --name or --runs.")
        strangers = [e.name for e in path.iterdir() if e.name not in _OURS] if path.exists() else ()
        if strangers:
            raise RunError(
                f"{path} holds files that no run wrote ({', '.join(sorted(strangers)[:5])}); "
                "choose another --name or --runs."
            )
        yield


def part(path: Path, name: str) -> Path:
    """Where a file of a run is written, until all are complete."""
    return writing.new(path) / name


def finish(path: Path) -> Run:
    """Sync what was written, mark it with DONE, and replace what was there before by it."""
    for name in FILES:
        sync(part(path, name))
    done = part(path, DONE)
    done.write_text(datetime.now(UTC).isoformat(timespec="seconds") + "\n", encoding="utf-8")
    sync(done)
    writing.settle(path, _OURS)
    return Run(path)


def list_runs(root: Path, corpus: str | None = None) -> tuple[list[Run], list[Path]]:
    """(finished runs, directories of unfinished ones) below `root`, by path."""
    corpora = [folder for folder in root.glob(corpus or "*") if folder.is_dir()]
    for path in (each for folder in corpora for each in writing.waiting(folder)):
        recover(path)
    found = (path for folder in corpora for path in folder.glob("*"))
    return _sorted_out(p for p in sorted(found) if p.is_dir() and not p.name.startswith("."))


def find_runs(root: Path, corpus: str, named: Sequence[Path]) -> tuple[list[Run], list[Path]]:
    """(finished runs, unfinished ones): those `named`, or all of the corpus where none is.

    A run is named by its folder, or by its name below `root/corpus`.

    Raises:
        RunError: a name leads to no run; lists those that are there.
    """
    if not named:
        return list_runs(root, corpus)
    folders = []
    for name in named:
        places = (name, root / corpus / name)
        for path in places:
            recover(path)
        if not any(map(_begun, places)):
            known = ", ".join(run.name for run in list_runs(root, corpus)[0]) or "none"
            message = f"No run {name}. Finished runs in {root / corpus}: {known}."
            there = root / name.name
            if (
                there not in (root, root / corpus)
                and there.is_dir()
                and list_runs(root, there.name)[0]
            ):
                message += f" {name.name} is a corpus with runs: say it with --corpus."
            raise RunError(message)
        folders.append(next(filter(_begun, places)))
    return _sorted_out(folders)


def _sorted_out(folders: Iterable[Path]) -> tuple[list[Run], list[Path]]:
    begun = [folder for folder in folders if _begun(folder)]
    done = [folder for folder in begun if (folder / DONE).is_file()]
    return [Run(folder) for folder in done], [folder for folder in begun if folder not in done]


def _begun(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _OURS)
