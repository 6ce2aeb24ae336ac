"""What an encoder gets of a corpus: the item of a row, and what is known of it beforehand."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from erc_features.corpora.faces import FACE_CROP
from erc_features.corpora.manifest import Corpus
from erc_features.encoders.base import Turn
from erc_features.utterance import Modality

FRAMES = 5  # taken from a clip, where a corpus names clips instead of mosaics


def loader(corpus: Corpus, modality: Modality, history: int = 0) -> Callable[[int], Any]:
    """A function from a row to its item: its text or turn, its sound, or its frames.

    It raises MediaError where the medium cannot be read.
    """
    if modality == Modality.TEXT:
        texts = turns(corpus, history) if history else [u.x_text for u in corpus.utterances]
        return texts.__getitem__
    from erc_features.media import read_audio, read_frames

    # As many squares as there are frames with a face, for faces.
    stacked = None if corpus.crop == FACE_CROP else corpus.info.get("decode", {}).get("frames", 1)

    def read(row: int) -> Any:
        path = corpus.media_path(corpus.utterances[row], modality)
        assert path is not None  # rows without a medium are not in the plan
        if modality == Modality.AUDIO:
            return read_audio(path)
        return read_frames(path, stacked=stacked, wanted=FRAMES)

    return read


def turns(corpus: Corpus, history: int) -> list[Turn]:
    """Each utterance with the last `history` utterances of its dialogue that have a text."""
    dialogues: dict[tuple[str, int], list[int]] = {}
    for row, u in enumerate(corpus.utterances):
        dialogues.setdefault((u.split, u.dialogue), []).append(row)
    found = [Turn(u.x_text, u.speaker, ()) for u in corpus.utterances]
    for rows in dialogues.values():
        said: list[tuple[str, str]] = []
        for row in sorted(rows, key=lambda row: corpus.utterances[row].sequence):
            found[row] = replace(found[row], before=tuple(said[-history:]))
            if found[row].text.strip():
                said.append((found[row].speaker, found[row].text))
    return found


def known(corpus: Corpus, modality: Modality, rows: np.ndarray, history: int = 0) -> list[Any]:
    """What is known of each row without decoding: its text or turn, frames, or seconds."""
    if modality == Modality.TEXT:
        return list(map(loader(corpus, modality, history), rows.tolist()))
    if modality == Modality.VISUAL and corpus.crop == FACE_CROP:
        from erc_features.media import PICTURES, count_frames

        faces = [Path(corpus.root, corpus.utterances[row].x_visual) for row in rows]
        return [
            float(count_frames(path) if path.suffix.lower() in PICTURES else FRAMES)
            for path in faces
        ]
    if modality == Modality.VISUAL:
        return [float(corpus.info.get("decode", {}).get("frames", FRAMES))] * len(rows)
    from erc_features.media import duration

    paths = [corpus.media_path(corpus.utterances[row], modality) for row in rows]
    return [duration(path) for path in paths if path is not None]
