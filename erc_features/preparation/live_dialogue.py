"""What somebody wants predicted: a CSV of the corpus columns, or clips and texts, as a corpus.

Its media are prepared as those that a run learned from, so that the same clip gives the same
embedding.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from erc_features.corpora.cells import plain_text
from erc_features.corpora.manifest import Corpus, read_corpus
from erc_features.errors import CorpusError, ErcError
from erc_features.media import PICTURES, SOUNDS
from erc_features.preparation.decode import Decode, Task, decode_clips
from erc_features.threads import our_cores
from erc_features.utterance import Split, Utterance


def read_talk(path: Path | str) -> tuple[Utterance, ...]:
    """The utterances of a CSV of the corpus columns, or of a corpus; media by absolute paths.

    A CSV that says no split is of the split `new`.

    Raises:
        CorpusError: it isn't there, or rows are wrong.
    """
    corpus = read_corpus(path, otherwise=Split.NEW)
    root = corpus.root.resolve()
    return tuple(
        replace(u, x_visual=_absolute(root, u.x_visual), x_audio=_absolute(root, u.x_audio))
        for u in corpus.utterances
    )


def make_talk(
    clips: Sequence[Path], texts: Sequence[str], speakers: Sequence[str]
) -> tuple[Utterance, ...]:
    """One dialogue in the order given; clips, texts and speakers stand beside each other.

    Texts are brought to plain form, as `erc prepare` does it; those of a CSV are taken as written.

    Raises:
        ErcError: there is nothing, the numbers differ, or a clip isn't there.
    """
    counts = {"clips": len(clips), "--text": len(texts), "--speaker": len(speakers)}
    given = {name: count for name, count in counts.items() if count}
    if not clips and not texts:
        raise ErcError("Nothing to predict: name clips, or give --text or --csv.")
    if len(set(given.values())) > 1:
        lines = ", ".join(f"{count} {name}" for name, count in given.items())
        raise ErcError(f"Each utterance needs one of each: there are {lines}.")
    absent = [str(clip) for clip in clips if not clip.is_file()]
    if absent:
        raise ErcError(f"No such clip: {', '.join(absent[:5])}.")
    utterances = []
    for number in range(max(counts.values())):
        clip = str(clips[number].resolve()) if clips else ""
        picture = "" if Path(clip).suffix.lower() in SOUNDS else clip
        sound = "" if Path(clip).suffix.lower() in PICTURES else clip
        utterances.append(
            Utterance(
                Split.NEW, 0, number, speakers[number] if speakers else "",
                plain_text(texts[number]) if texts else "", picture, sound,
            )
        )  # fmt: skip
    return tuple(utterances)


def prepare_talk(
    utterances: Sequence[Utterance],
    to: Path,
    labels: Sequence[str],
    decode: Decode | None,
    progress: Callable[[int, int], None] | None = None,
) -> Corpus:
    """The corpus, its clips as a mosaic and a WAV each below `to`; None leaves clips as they are.

    A clip that can't be decoded is a missing medium with its reason. Labels are taken off: they
    are no part of a prediction.

    Raises:
        CorpusError: `to` can't be written.
    """
    cells = [cell for u in utterances for cell in (u.x_visual, u.x_audio) if cell]
    clips = [cell for cell in dict.fromkeys(cells) if _is_clip(cell)] if decode else []
    missing: dict[str, dict[str, str]] = {"visual": {}, "audio": {}}
    info: dict[str, Any] = {"missing": missing}
    tasks, outcomes = {}, {}
    if decode is not None:
        info["decode"] = asdict(decode)
        for n, clip in enumerate(clips):
            picture, sound = to / f"{n}.png", to / f"{n}.wav"
            tasks[clip] = Task(clip, Path(clip), picture, sound, decode, os.getpid())
        try:
            to.mkdir(parents=True, exist_ok=True)
            for outcome in decode_clips(list(tasks.values()), our_cores()):
                outcomes[outcome.key] = outcome
                if progress:
                    progress(len(outcomes), len(tasks))
        except OSError as error:
            raise CorpusError(f"{to}: cannot be written ({error.strerror}).") from error
    found = []
    for u in utterances:
        picture, sound = u.x_visual, u.x_audio
        if picture in tasks:
            if why := outcomes[picture].no_picture:
                missing["visual"][u.key] = why
            picture = "" if why else str(tasks[picture].picture)
        if sound in tasks:
            if why := outcomes[sound].no_sound:
                missing["audio"][u.key] = why
            sound = "" if why else str(tasks[sound].sound)
        found.append(replace(u, label="", x_visual=picture, x_audio=sound))
    return Corpus(to, "talk", tuple(found), tuple(labels), MappingProxyType(info))


def _absolute(root: Path, cell: str) -> str:
    return str(root / cell.strip()) if cell.strip() else ""


def _is_clip(cell: str) -> bool:
    return Path(cell).suffix.lower() not in PICTURES | SOUNDS
