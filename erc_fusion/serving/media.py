"""The media of one utterance, from files that a stranger sent to what encoders read.

:func:`read_media` runs in a process of :class:`erc_features.preparation.guard.Guard`, and prepares
and loads as `erc predict` does.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from erc_features.corpora.faces import FACE_CROP, faces_of
from erc_features.encoders.base import Settings
from erc_features.errors import CorpusError, MediaError
from erc_features.extraction.engines.batch import load_items
from erc_features.extraction.items import known, loader
from erc_features.preparation.decode import Decode, Outcome, Task, decode_clip
from erc_features.preparation.live_dialogue import prepare_talk
from erc_features.utterance import Modality, Split, Utterance

if TYPE_CHECKING:
    from erc_features.corpora.manifest import Corpus


@dataclass(frozen=True)
class Wanted:
    """What one of the run's feature files needs of the media."""

    stem: str
    modality: Modality
    settings: Settings
    crop: str


@dataclass(frozen=True)
class Item:
    """What an encoder gets of a row: the item, or the MediaError that takes its place; and what
    is known of it before, by which batches are planned."""

    item: Any
    known: Any


@dataclass(frozen=True)
class Media:
    """The files of one utterance, which are ours: "" for none."""

    visual: str = ""
    audio: str = ""


@dataclass(frozen=True)
class Rules:
    """How media are prepared, and how large they may be; see :class:`.limits.Limits`."""

    labels: Sequence[str]
    decode: Decode | None
    wanted: tuple[Wanted, ...]
    longest: float
    pixels: int
    missing: Mapping[str, str] = field(default_factory=dict)


def read_media(folder: Path, media: Media, rules: Rules) -> dict[str, Item | str]:
    """stem -> the item, or why there is none. `folder` is where clips are decoded to."""
    told = Utterance(Split.NEW, 0, 0, x_visual=media.visual, x_audio=media.audio)
    if why := _too_long(told, rules.longest):
        return dict.fromkeys((wanted.stem for wanted in rules.wanted), why)
    corpus = prepare_talk([told], folder, rules.labels, rules.decode, decoder=_decode_here)
    return {wanted.stem: _item(corpus, wanted, rules) for wanted in rules.wanted}


def _decode_here(tasks: list[Task]) -> Iterable[Outcome]:
    """Decode in this process: it is one of a guard already."""
    for task in tasks:
        yield decode_clip(replace(task, parent=os.getppid()))


def _too_long(told: Utterance, longest: float) -> str:
    from erc_features.media import PICTURES, duration

    for cell in {told.x_visual, told.x_audio} - {""}:
        if Path(cell).suffix not in PICTURES:
            seconds = duration(Path(cell), longest=float("inf"))
            if seconds > longest:
                return f"it lasts {seconds:.0f} s; at most {longest:.0f} s are taken"
    return ""


def _item(corpus: "Corpus", wanted: Wanted, rules: Rules) -> Item | str:
    if wanted.crop == FACE_CROP:
        try:
            corpus = faces_of(corpus)
        except CorpusError:  # clips are not prepared here, so no face is cut out
            return "no faces are cut out here"
    (told,) = corpus.utterances
    if not told.cell(wanted.modality):
        return corpus.missing_reason(told, wanted.modality)
    load = loader(corpus, wanted.modality, wanted.settings)
    (item,) = load_items(load, [0])
    (about,) = known(corpus, wanted.modality, np.array([0]), wanted.settings)
    if isinstance(item, MediaError):
        return Item(item, about)
    size = sum(part.nbytes for part in (item if isinstance(item, tuple) else (item,)))
    if wanted.modality == Modality.AUDIO and len(item) > rules.longest * 16_000:
        why = f"it lasts {len(item) / 16_000:.0f} s; at most {rules.longest:.0f} s are taken"
        return Item(MediaError(why), about)
    if size > rules.pixels:
        why = f"it has {size >> 20} MiB when decoded; at most {rules.pixels >> 20} MiB are taken"
        return Item(MediaError(why), about)
    return Item(item, about)
