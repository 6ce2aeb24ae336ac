"""A dialogue to predict, from a CSV with the corpus columns or from clips and texts, as a corpus.

Its media are prepared like those that the run was trained on, so that the same clip gives the same
embedding.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from types import MappingProxyType
from typing import Any

from erc_features.corpora.cells import plain_text
from erc_features.corpora.faces import FACE, FACE_CROP, with_face
from erc_features.corpora.manifest import Corpus, read_corpus
from erc_features.corpora.segments import NAME as SEGMENTS
from erc_features.corpora.segments import TIMES, Segments, without_times
from erc_features.errors import CorpusError, ErcError
from erc_features.preparation.decode import Decode, Outcome, Task, decode_clips, no_face
from erc_features.threads import our_cores
from erc_features.utterance import Modality, Split, Utterance


def read_talk(path: Path | str) -> tuple[Utterance, ...]:
    """The utterances of a corpus, or of a CSV with its columns; media by absolute paths.

    A CSV that names no split is of the split `new`. Its columns `start` and `end` are kept where
    they cut utterances out of recordings.

    Raises:
        CorpusError: it does not exist, or rows are wrong.
    """
    corpus = read_corpus(path, otherwise=Split.NEW)
    root, segments = corpus.root.resolve(), Segments(corpus)
    media = (Modality.VISUAL, Modality.AUDIO)
    for modality in media:
        segments.must_be_positions(modality)

    def absolute(cell: str) -> str:
        return str(root / cell.strip()) if cell.strip() else ""

    found = []
    for u in corpus.utterances:
        if not any(segments.has(u, modality) for modality in media):
            (u,) = without_times([u])  # what says that they cut nothing stays behind
        u = replace(u, x_visual=absolute(u.x_visual), x_audio=absolute(u.x_audio))
        found.append(with_face(u, absolute(u.x_face)) if u.x_face else u)
    return tuple(found)


def make_talk(
    clips: Sequence[Path], texts: Sequence[str], speakers: Sequence[str]
) -> tuple[Utterance, ...]:
    """One dialogue in the given order; utterance i has the clip, text and speaker i.

    Texts are brought into plain form, as in `erc prepare`; those of a CSV are taken as written.

    Raises:
        ErcError: there is nothing, the numbers differ, or a clip does not exist.
    """
    counts = {"clips": len(clips), "--text": len(texts), "--speaker": len(speakers)}
    given = {name: count for name, count in counts.items() if count}
    if not clips and not texts:
        raise ErcError("Nothing to predict: name clips, or give --text or --csv.")
    if len(set(given.values())) > 1:
        numbers = ", ".join(f"{count} {name}" for name, count in given.items())
        raise ErcError(f"Each utterance needs one of each, but there are {numbers}.")
    absent = [str(clip) for clip in clips if not clip.is_file()]
    if absent:
        raise ErcError(f"No such clip: {', '.join(absent[:5])}.")
    utterances = []
    for number, (path, text, speaker) in enumerate(zip_longest(clips, texts, speakers)):
        picture, sound = _media_of(str(path.resolve())) if path else ("", "")
        text = plain_text(text or "")
        utterances.append(Utterance(Split.NEW, 0, number, speaker or "", text, picture, sound))
    return tuple(utterances)


def prepare_talk(
    utterances: Sequence[Utterance],
    to: Path,
    labels: Sequence[str],
    decode: Decode | None,
    progress: Callable[[int, int], None] | None = None,
    decoder: Callable[[list[Task]], Iterable[Outcome]] | None = None,
) -> Corpus:
    """The corpus, with its clips as a mosaic and a WAV each below `to`.

    A clip that cannot be decoded is a missing medium with its reason. What times cut out of a
    recording stays there: the extraction cuts it, with as many frames of the same height. Labels
    are removed, because they are no part of a prediction.

    Args:
        decode: None leaves clips as they are. With `faces`, these are cut out of the clips.
        decoder: what decodes; by default processes, one for each core, that end with the call.

    Raises:
        CorpusError: `to` cannot be written.
        ErcError: faces are wanted by another detector than the one that is installed.
    """
    missing: dict[str, dict[str, str]] = {"visual": {}, "audio": {}, FACE_CROP: {}}
    info: dict[str, Any] = {"missing": missing, SEGMENTS: True}
    tasks: dict[str, Task] = {}
    outcomes = {}
    if decode is not None:
        info["decode"] = decode.as_dict()
        if decode.faces is not None:
            decode.faces.must_be_installed()
        whole = [u for u in utterances if not _is_cut(u)]
        for cell in (cell for u in whole for cell in (u.x_visual, u.x_audio)):
            if cell and cell not in tasks and all(_media_of(cell)):
                picture, sound = to / f"{len(tasks)}.png", to / f"{len(tasks)}.wav"
                face = to / f"{len(tasks)}{FACE}" if decode.faces is not None else None
                tasks[cell] = Task(cell, Path(cell), picture, sound, decode, os.getpid(), face)
        try:
            to.mkdir(parents=True, exist_ok=True)
            run = decoder or (lambda wanted: decode_clips(wanted, our_cores()))
            for outcome in run(list(tasks.values())):
                outcomes[outcome.key] = outcome
                if progress:
                    progress(len(outcomes), len(tasks))
        except OSError as error:
            raise CorpusError(f"{to}: cannot be written ({error.strerror}).") from error
    prepared = []
    for u in utterances:
        picture, sound = u.x_visual, u.x_audio
        if picture and decode is not None and decode.faces is not None:
            if _is_cut(u):
                if not u.x_face:
                    missing[FACE_CROP][u.key] = "faces are cut out of clips, not out of segments"
            elif picture in tasks:
                found = outcomes[picture]
                u = with_face(u, str(tasks[picture].face) if found.faces else "")
                if not found.faces:
                    missing[FACE_CROP][u.key] = no_face(found)
            elif not u.x_face:
                missing[FACE_CROP][u.key] = "faces are cut out of clips, and this is a picture"
        if picture in tasks and not _is_cut(u):
            if why := outcomes[picture].no_picture:
                missing["visual"][u.key] = why
            picture = "" if why else str(tasks[picture].picture)
        if sound in tasks and not _is_cut(u):
            if why := outcomes[sound].no_sound:
                missing["audio"][u.key] = why
            sound = "" if why else str(tasks[sound].sound)
        prepared.append(replace(u, label="", x_visual=picture, x_audio=sound))
    return Corpus(to, "talk", tuple(prepared), tuple(labels), MappingProxyType(info))


def _is_cut(u: Utterance) -> bool:
    """Whether its times cut it out of its files; :func:`read_talk` keeps no others."""
    return any(u.more.get(name, "").strip() for name in TIMES)


def _media_of(clip: str) -> tuple[str, str]:
    """Where its picture and its sound are; "" of a medium that a file of its ending has not."""
    from erc_features.media import PICTURES, SOUNDS  # PyAV: not for texts alone

    ending = Path(clip).suffix.lower()
    return "" if ending in SOUNDS else clip, "" if ending in PICTURES else clip
