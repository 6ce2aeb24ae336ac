"""What an encoder gets of a corpus: the item of a row, and what is known of it beforehand."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from erc_features.corpora.faces import FACE_CROP
from erc_features.corpora.manifest import Corpus
from erc_features.corpora.segments import FRAMES
from erc_features.encoders.base import Settings, Turn
from erc_features.utterance import Modality

if TYPE_CHECKING:  # PyAV: not for texts
    from erc_features.corpora.recordings import Recordings


def loader(
    corpus: Corpus,
    modality: Modality,
    settings: Settings,
    cut: "Recordings | None" = None,
) -> Callable[[int], Any]:
    """A function from a row to its item: its text or turn, its sound, or its frames.

    It raises MediaError where the medium cannot be read.

    Args:
        cut: the recordings of the rows that it will be called with; by default of all rows.
    """
    if modality == Modality.TEXT:
        if settings.history or "{speaker}" in settings.prompt:
            return turns(corpus, settings.history, settings.reach).__getitem__
        return [u.x_text for u in corpus.utterances].__getitem__
    from erc_features.corpora.recordings import Recordings

    found = cut or Recordings(corpus, modality)
    if modality == Modality.AUDIO:
        return lambda row: found.sound(corpus.utterances[row])
    # As many squares as there are frames with a face, for faces.
    stacked = None if corpus.crop == FACE_CROP else corpus.decode.get("frames", 1)
    return lambda row: found.frames(corpus.utterances[row], stacked)


def recordings(corpus: Corpus, modality: Modality, rows: np.ndarray) -> "Recordings | None":
    """The files that segments of those rows are cut from; None for texts."""
    if modality == Modality.TEXT:
        return None
    from erc_features.corpora.recordings import Recordings

    return Recordings(corpus, modality, [corpus.utterances[row] for row in rows])


def turns(corpus: Corpus, history: int | str, reach: str = "past") -> list[Turn]:
    """Each utterance with the last `history` utterances of its dialogue that have a text, or with
    all of them; if the reach is "whole", with as many that follow."""
    most = len(corpus.utterances) if history == "all" else int(history)
    later = most if reach == "whole" else 0
    dialogues: dict[tuple[str, int], list[int]] = {}
    for row, u in enumerate(corpus.utterances):
        dialogues.setdefault((u.split, u.dialogue), []).append(row)
    found = [Turn(((u.speaker, u.x_text),), 0) for u in corpus.utterances]
    for rows in dialogues.values():
        rows.sort(key=lambda row: corpus.utterances[row].sequence)
        rows = [row for row in rows if found[row].text.strip()]  # others are never encoded
        said = tuple(found[row].dialogue[0] for row in rows)
        for at, row in enumerate(rows):
            first, stop = max(0, at - most), at + 1 + later
            found[row] = Turn(said[first:stop], at - first)
    return found


def known(corpus: Corpus, modality: Modality, rows: np.ndarray, settings: Settings) -> list[Any]:
    """What is known of each row without decoding: its text or turn, frames, or seconds."""
    if modality == Modality.TEXT:
        return list(map(loader(corpus, modality, settings), rows.tolist()))
    if modality == Modality.VISUAL and corpus.crop == FACE_CROP:
        from erc_features.media import PICTURES, count_frames

        faces = [Path(corpus.root, corpus.utterances[row].x_visual) for row in rows]
        return [
            float(count_frames(path) if path.suffix.lower() in PICTURES else FRAMES)
            for path in faces
        ]
    if modality == Modality.VISUAL:
        return [float(corpus.decode.get("frames", FRAMES))] * len(rows)
    from erc_features.corpora.recordings import seconds_of

    return seconds_of(corpus, [corpus.utterances[row] for row in rows])
