"""Which feature files a run uses, and what it records about them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from erc_features.errors import ErcError, choose, listed
from erc_features.store import SUFFIX, FeatureFile, Status, list_features, read_probe
from erc_features.utterance import Modality


@dataclass(frozen=True)
class Source:
    """A feature file as a run records it.

    Attributes:
        stem: the file's name without `.h5`.
        path: a file, or a URL.
        shape: (N, L, D).
        rows: how many are ok, missing, failed.
        probe: what the encoder gave for its built-in input, see `erc_features.store.Probe`, as
            the file keeps it, for `erc predict`; None where it keeps none.
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
    probe: Mapping[str, Any] | None = None


def find_sources(folder: Path, modalities: Sequence[str] = ()) -> tuple[Source, ...]:
    """The feature files that `--modalities` means, described, by modality and name.

    Each of `modalities` is a modality, which needs exactly one complete file, or a file's stem. By
    default every modality that has a file.

    Raises:
        ErcError: there is none, an item means no file or several (prints the command to type),
            a file is incomplete, or the files are not of one corpus.
    """
    stems = {path.name.removesuffix(SUFFIX): path for path in list_features(folder)}
    partial = {path.name.split(".h5.partial")[0] for path in list_features(folder, partial=True)}
    partial -= stems.keys()
    if not stems and partial:
        raise ErcError(
            f"{folder} has no complete feature file; unfinished: {', '.join(sorted(partial))}. "
            "Run the same `erc extract` again: it resumes."
        )
    if not stems:
        raise ErcError(
            f"No feature files in {folder}. Make them with `erc extract`, or say where they are "
            "with --features and --corpus."
        )
    # To leave out a modality without a word would be a silent mistake, so each must be clear.
    there = dict.fromkeys(stem.split(".")[0] for stem in sorted({*stems, *partial}))
    chosen = [_pick(item, stems, partial, folder.name) for item in modalities or there]
    if len(set(chosen)) < len(chosen):
        raise ErcError(f"--modalities {','.join(modalities)} names a file twice.")
    return describe(stems[stem] for stem in chosen)


def describe(paths: Iterable[Path | str]) -> tuple[Source, ...]:
    """The feature files at those paths, by modality and name.

    Raises:
        ErcError: two have one name, a file is incomplete, or they are not of one corpus.
    """
    order = [*Modality]
    described = map(_describe, paths)
    found = tuple(sorted(described, key=lambda s: (order.index(Modality(s.modality)), s.stem)))
    twice = sorted(a.stem for a, b in pairwise(found) if a.stem == b.stem)
    if twice:
        raise ErcError(f"Two of the files are called {twice[0]}: tables name a file by its stem.")
    if len({source.fingerprint for source in found}) > 1:
        lines = (f"{source.path}: fingerprint {source.fingerprint}" for source in found)
        raise ErcError(
            "The feature files are not of one corpus: keys, texts, speakers or labels changed "
            f"between them.{listed(lines)}\nExtract the older ones again with --overwrite."
        )
    if len({source.labels for source in found}) > 1:
        lines = (f"{source.path}: {', '.join(source.labels)}" for source in found)
        raise ErcError(f"The feature files have different label sets or orders:{listed(lines)}")
    return found


def _describe(path: Path | str) -> Source:
    with FeatureFile(path) as file:
        rows = {status.name.lower(): int((file.status == status).sum()) for status in Status}
        pending = rows.pop("pending")
        if not file.complete or pending:
            raise ErcError(
                f"{path} is incomplete ({pending} rows pending). "
                "Run the same `erc extract` again: it resumes."
            )
        made = file.provenance
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
            rows=rows,
            versions=file.attributes.get("versions", {}),
            probe=probe.as_json() if (probe := read_probe(file)) else None,
        )


def _pick(item: str, stems: Mapping[str, Path], partial: set[str], corpus: str) -> str:
    """The stem that one item of `--modalities` means."""
    if item in stems:
        return item
    if item in partial:
        raise ErcError(f"{item} is not finished. Run the same `erc extract` again: it resumes.")
    found = sorted(stem for stem in stems if stem.split(".")[0] == item)
    if len(found) == 1:
        return found[0]
    if found:
        # The command to type keeps the other modalities, so that following it drops none of them.
        first = {stem.split(".")[0]: stem for stem in sorted(stems, reverse=True)}
        example = ",".join([found[0], *sorted(first[m] for m in first if m != item)])
        raise ErcError(
            f"More than one feature file for modality {item!r}:{listed(found)}\nName the ones to "
            f"use: `erc fuse --corpus {corpus} --modalities {example}`."
        )
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
