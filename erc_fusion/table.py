"""Feature files of one corpus joined by key: what fusion trains on."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from erc_features.errors import ErcError, choose, listed
from erc_features.layers import pick_layers
from erc_features.store import SUFFIX, FeatureFile, Status, list_features
from erc_features.utterance import Modality, Split

_ORDER = {split: place for place, split in enumerate(Split)}


@dataclass(frozen=True)
class Source:
    """A feature file as a run records it.

    Attributes:
        stem: the file's name without `.h5`.
        path: a file, or a URL.
        shape: (N, L, D).
        rows: how many are ok, missing, failed.
    """

    stem: str
    path: Path | str
    corpus: str
    fingerprint: str
    modality: str
    encoder: str
    revision: str
    config: Mapping[str, Any]
    labels: tuple[str, ...]
    shape: tuple[int, int, int]
    dtype: str
    rows: Mapping[str, int]
    versions: Mapping[str, str]


@dataclass(frozen=True)
class FeatureTable:
    """N utterances and M feature files, in the order split, dialogue, sequence.

    >>> import erc_fusion
    >>> table = erc_fusion.load_table("meld")
    >>> dev = table.rows("dev")
    >>> table.key[dev][:2].tolist(), table.label[dev][:2].tolist()
    (['dev/d-0-seq-0', 'dev/d-1-seq-0'], [2, 2])

    Attributes:
        sources: the M files, by modality and name.
        key, split, speaker, text: (N,) str.
        dialogue, sequence: (N,) int32.
        label: (N,) int64, a place in `labels`, -1 where unlabelled.
        x: stem -> (N, L, D) as stored, zero where not present.
        present: (N, M) bool, the row's status is ok.
    """

    sources: tuple[Source, ...]
    labels: tuple[str, ...]
    key: np.ndarray
    split: np.ndarray
    dialogue: np.ndarray
    sequence: np.ndarray
    speaker: np.ndarray
    text: np.ndarray
    label: np.ndarray
    x: Mapping[str, np.ndarray]
    present: np.ndarray

    def __len__(self) -> int:
        return len(self.key)

    @property
    def corpus(self) -> str:
        return self.sources[0].corpus

    @property
    def fingerprint(self) -> str:
        return self.sources[0].fingerprint

    def digest(self) -> str:
        """A hash of all that a run learns from: keys, labels, embeddings, and which are there."""
        digest = hashlib.blake2b(digest_size=32)
        for column in (self.key, self.speaker, self.text):
            digest.update("\0".join(column).encode("utf-8", "surrogatepass"))
        digest.update(json.dumps(self.labels).encode())
        for values in (self.label, self.present, *(self.x[name] for name in sorted(self.x))):
            digest.update(np.ascontiguousarray(values).view(np.uint8).data)
        return digest.hexdigest()

    def rows(self, split: Split | str) -> np.ndarray:
        """Row numbers of a split."""
        return np.flatnonzero(self.split == str(split))


def find_sources(folder: Path, modalities: Sequence[str] = ()) -> tuple[Source, ...]:
    """The feature files that `--modalities` means, described, by modality and name.

    Each of `modalities` is a modality, which needs exactly one complete file, or a file's stem.
    Without any: every modality that has a file.

    Raises:
        ErcError: none is there, an item means no file or several (prints the command to type),
            a file is incomplete, or the files are not of one corpus.
    """
    stems = {path.name.removesuffix(SUFFIX): path for path in list_features(folder)}
    partial = {path.name.split(".h5.partial")[0] for path in list_features(folder, partial=True)}
    partial -= stems.keys()
    if not stems:
        raise ErcError(_nothing(folder, partial))
    if modalities:
        chosen = [_pick(item, stems, partial, folder.name) for item in modalities]
    else:
        # A modality left out without a word would be a silent mistake, so each must be clear.
        there = dict.fromkeys(stem.split(".")[0] for stem in sorted({*stems, *partial}))
        chosen = [_pick(modality, stems, partial, folder.name) for modality in there]
    if len(set(chosen)) < len(chosen):
        raise ErcError(f"--modalities {','.join(modalities)} names a file twice.")
    return describe(stems[stem] for stem in chosen)


def describe(paths: Iterable[Path | str]) -> tuple[Source, ...]:
    """The feature files at those paths, by modality and name.

    Raises:
        ErcError: two have one name, a file is incomplete, or they are not of one corpus.
    """
    found = tuple(sorted((_describe(path) for path in paths), key=_place))
    twice = sorted(a.stem for a, b in pairwise(found) if a.stem == b.stem)
    if twice:
        raise ErcError(f"Two of the files are called {twice[0]}: tables name a file by its stem.")
    _must_be_one_corpus(found)
    return found


def load_table(sources: Sequence[Source], layers: str = "all") -> FeatureTable:
    """Read the files and join them by key, never by row number.

    Of each file those `layers` alone; the table's sources have the shape of what was taken.

    Raises:
        ErcError: their keys or labels disagree, a row that is ok holds NaN or infinity
            (names file and keys), or a file has no such layer.
    """
    sources = tuple(sources)
    picked = {source.stem: _pick_layers(source, layers) for source in sources}
    first = sources[0]
    with FeatureFile(first.path) as file:
        ranks = np.array([_ORDER[Split(split)] for split in file.split])
        order = np.lexsort((file.sequence, file.dialogue, ranks))
        key, truth = file.key[order], file.label[order]
        columns = {
            name: getattr(file, name)[order]
            for name in ("split", "dialogue", "sequence", "speaker", "text")
        }
    x, present = {}, []
    for source in sources:
        with FeatureFile(source.path) as file:
            rows = _rows(file, key, first)
            _labels_must_agree(file, file.label[rows], key, truth, first)
            ok = file.status[rows] == Status.OK
            values = file.x()[rows][:, picked[source.stem]]
        values[~ok] = 0
        _must_be_finite(source, values, key)
        x[source.stem] = values
        present.append(ok)
    places = {label: place for place, label in enumerate(first.labels)} | {"": -1}
    unknown = sorted(set(truth) - places.keys())
    if unknown:
        raise ErcError(
            f"{first.path}: rows are labelled {', '.join(unknown)}, outside its label set "
            f"{', '.join(first.labels)}. Extract it again with --overwrite."
        )
    return FeatureTable(
        sources=tuple(
            replace(source, shape=(len(key), *x[source.stem].shape[1:])) for source in sources
        ),
        labels=first.labels,
        key=key,
        label=np.array([places[label] for label in truth], dtype=np.int64),
        x=x,
        present=np.stack(present, axis=1),
        **columns,
    )


def _pick_layers(source: Source, layers: str) -> list[int]:
    if source.shape[1] == 1 and re.fullmatch(r"[\d,:-]+", layers):
        return [0]  # a baseline's only one, beside a file of many
    try:
        return pick_layers(layers, source.shape[1])
    except ErcError as error:
        raise ErcError(f"{source.path}: {error} -4: takes what there is.") from error


def _describe(path: Path | str) -> Source:
    with FeatureFile(path) as file:
        status = file.status
        if not file.complete or (status == Status.PENDING).any():
            raise ErcError(
                f"{path} is incomplete ({int((status == Status.PENDING).sum())} rows pending). "
                "Run the same `erc extract` again: it resumes."
            )
        made = file.provenance
        if made.modality not in list(Modality):
            choose(f"modality of {path}", made.modality, Modality)
        return Source(
            stem=file.stem,
            path=path,
            corpus=made.corpus,
            fingerprint=made.fingerprint,
            modality=made.modality,
            encoder=made.encoder,
            revision=made.revision,
            config=made.config,
            labels=file.labels,
            shape=file.shape,
            dtype=file.dtype.name,
            rows={s.name.lower(): int((status == s).sum()) for s in Status if s != Status.PENDING},
            versions=file.attributes.get("versions", {}),
        )


def _pick(item: str, stems: Mapping[str, Path], partial: set[str], corpus: str) -> str:
    """The stem that one item of `--modalities` means."""
    if item in stems:
        return item
    if item in partial:
        raise ErcError(f"{item} is not finished. Run the same `erc extract` again: it resumes.")
    found = _of_modality(item, stems)
    if len(found) == 1:
        return found[0]
    if found:
        # The command to type keeps the other modalities: to follow it drops none of them.
        first = {stem.split(".")[0]: stem for stem in sorted(stems, reverse=True)}
        example = ",".join([found[0], *sorted(first[m] for m in first if m != item)])
        raise ErcError(_several(f"modality {item!r}", found, corpus, example))
    if item in list(Modality):
        waiting = sorted(stem for stem in partial if stem.split(".")[0] == item)
        resume = f"{waiting[0]} is not finished: " if waiting else ""
        raise ErcError(
            f"No complete feature file of modality {item!r}. {resume}run "
            f"`erc extract --corpus {corpus} --modality {item}`, or choose others with "
            f"--modalities. There are: {', '.join(sorted(stems))}."
        )
    raise ErcError(
        f"Unknown modality or feature file {item!r}; choose from "
        f"{', '.join(Modality)}, {', '.join(sorted(stems))}."
    )


def _of_modality(modality: str, stems: Iterable[str]) -> list[str]:
    return sorted(stem for stem in stems if stem.split(".")[0] == modality)


def _several(what: str, stems: Iterable[str], corpus: str, example: str) -> str:
    return (
        f"More than one feature file for {what}:{listed(sorted(stems))}\nName the ones to use: "
        f"`erc fuse --corpus {corpus} --modalities {example}`."
    )


def _nothing(folder: Path, partial: set[str]) -> str:
    if partial:
        return (
            f"{folder} has no complete feature file; unfinished: {', '.join(sorted(partial))}. "
            "Run the same `erc extract` again: it resumes."
        )
    return (
        f"No feature files in {folder}. Make them with `erc extract`, or say where they are with "
        "--features and --corpus."
    )


def _place(source: Source) -> tuple[int, str]:
    return list(Modality).index(Modality(source.modality)), source.stem


def _must_be_one_corpus(sources: Sequence[Source]) -> None:
    if len({source.fingerprint for source in sources}) > 1:
        lines = (f"{source.path}: fingerprint {source.fingerprint}" for source in sources)
        raise ErcError(
            "The feature files are not of one corpus: keys, texts, speakers or labels changed "
            f"between them.{listed(lines)}\nExtract the older ones again with --overwrite."
        )
    if len({source.labels for source in sources}) > 1:
        lines = (f"{source.path}: {', '.join(source.labels)}" for source in sources)
        raise ErcError(f"The feature files have different label sets or orders:{listed(lines)}")


def _rows(file: FeatureFile, key: np.ndarray, first: Source) -> np.ndarray:
    """Where the keys stand in the file."""
    if len(np.unique(file.key)) < len(file.key):
        raise ErcError(f"{file.path}: keys occur twice. Extract it again with --overwrite.")
    apart = sorted(set(file.key) ^ set(key))
    if apart:
        raise ErcError(
            f"{file.path} and {first.path} have {len(apart)} keys that the other lacks:"
            f"{listed(apart, 5)}\nExtract one of them again with --overwrite."
        )
    return file.rows(keys=key)


def _labels_must_agree(
    file: FeatureFile, labels: np.ndarray, key: np.ndarray, truth: np.ndarray, first: Source
) -> None:
    apart = np.flatnonzero(labels != truth)
    if len(apart):
        lines = (f"{key[i]}: {labels[i]!r}, {truth[i]!r} there" for i in apart)
        raise ErcError(f"{file.path}: labels differ from those of {first.path}:{listed(lines, 5)}")


def _must_be_finite(source: Source, values: np.ndarray, key: np.ndarray) -> None:
    bad = ~np.isfinite(values).all(axis=(1, 2))
    if bad.any():
        raise ErcError(
            f"{source.path}: {int(bad.sum())} rows are marked ok but hold NaN or infinity:"
            f"{listed(key[bad], 5)}\nExtract it again with --overwrite."
        )
