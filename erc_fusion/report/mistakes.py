"""The most confident mistakes of a run, with what was said, seen and heard.

This is the only file of the room that reads a corpus: a picture helps more than a key.
"""

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from erc_features.corpora.manifest import Corpus, read_corpus
from erc_features.errors import MediaError, RunError
from erc_features.utterance import Modality, Utterance
from erc_fusion.report.ensemble import ensemble
from erc_fusion.report.results import Row

if TYPE_CHECKING:
    from erc_features.corpora.recordings import Recordings

MOST = 8
_TEXT = 400  # characters
_HIGH = 100  # pixels of a picture, which then takes about 8 kB
_SECONDS = 5  # of sound: eight of them are 1.7 MB in the page


@dataclass(frozen=True)
class Mistake:
    """A row that the ensemble of the seeds (their mean probability) gets wrong.

    Attributes:
        confidence: the ensemble's probability of `predicted`, 0 to 1.
        agreeing: the share of seeds that predict it too.
        picture: the first, the middle and the last frame side by side, a data URI (JPEG), or "".
        sound: the first seconds at 16 kHz, a data URI (WAV), or "".
    """

    key: str
    speaker: str
    text: str
    label: str
    predicted: str
    confidence: float
    agreeing: float
    picture: str = ""
    sound: str = ""


def pick(row: Row, split: str, corpus_root: Path | None, sound: bool) -> tuple[Mistake, ...]:
    """The run's most confident mistakes on `split`, the most confident first; at most 8.

    Args:
        corpus_root: the corpus, for pictures; None shows none.
        sound: with their sound, about 200 kB each.

    Raises:
        RunError: the predictions are damaged, or the corpus is not the one that the run saw.
        CorpusError: there is no corpus at `corpus_root`.
    """
    found = _mistakes(row, split)
    if corpus_root is None:
        return found
    corpus, saw = read_corpus(corpus_root), row.run.inputs["fingerprint"]
    if corpus.fingerprint != saw:
        raise RunError(
            f"{corpus_root}: its fingerprint is {corpus.fingerprint[:12]}, but {row.run.path} saw "
            f"{saw[:12]}: texts or labels have changed, so pictures may belong to other words. "
            "Name the corpus that the run saw with --corpus, or only its name (--corpus "
            f"{row.run.corpus}) for a report without pictures."
        )
    utterances = {u.key: u for u in corpus.utterances}
    from erc_features.corpora.recordings import Recordings  # PyAV and Pillow: only with a corpus

    shown = [utterances[mistake.key] for mistake in found]
    media = {
        modality: Recordings(corpus, modality, shown, frames=3)
        for modality in (Modality.VISUAL, Modality.AUDIO)
    }
    with TemporaryDirectory(prefix="erc-report-") as folder:

        def medium(
            mistake: Mistake, modality: Modality, kind: str, write: Callable[..., None]
        ) -> str:
            """As a data URI; "" where there is none that can be read."""
            u, to = utterances[mistake.key], Path(folder) / "medium"
            path = corpus.media_path(u, modality)
            if path is None or not path.is_file():  # a pipe would never end
                return ""
            try:
                write(corpus, media[modality], u, to)
            except (MediaError, OSError, ValueError):
                return ""  # figures are reported all the same; `erc doctor` says what is wrong
            return f"data:{kind};base64,{b64encode(to.read_bytes()).decode()}"

        return tuple(
            replace(
                each,
                picture=medium(each, Modality.VISUAL, "image/jpeg", _picture),
                sound=medium(each, Modality.AUDIO, "audio/wav", _sound) if sound else "",
            )
            for each in found
        )


def _mistakes(row: Row, split: str) -> tuple[Mistake, ...]:
    found = ensemble(row, split)
    wrong = np.flatnonzero(found.predicted != found.label)
    # Rounded, so that rows as sure as each other keep the corpus's order on every machine.
    order = wrong[np.argsort(-found.confidence[wrong].round(6), kind="stable")][:MOST]
    return tuple(
        Mistake(
            found.key[i],
            found.speaker[i].strip(),
            shortened(found.text[i]),
            found.label[i],
            str(found.predicted[i]),
            float(found.confidence[i]),
            float(found.agreeing[i]),
        )
        for i in order
    )


def shortened(text: str) -> str:
    """A text of at most 400 characters."""
    text = text.strip()
    return text if len(text) <= _TEXT else f"{text[:_TEXT]}…"


def _picture(corpus: Corpus, media: "Recordings", u: Utterance, to: Path) -> None:
    from erc_features.media import write_jpeg

    decode = corpus.info.get("decode")
    stacked = decode.get("frames") if isinstance(decode, dict) else 1
    frames = media.frames(u, stacked if isinstance(stacked, int) else 1)
    strip = np.hstack([frames[i] for i in sorted({0, len(frames) // 2, len(frames) - 1})])
    k = min(-(-strip.shape[0] // _HIGH), strip.shape[1])
    high, wide = strip.shape[0] // k, strip.shape[1] // k
    squares = strip[: high * k, : wide * k].reshape(high, k, wide, k, 3)
    write_jpeg(to, squares.mean((1, 3)).astype(np.uint8))


def _sound(corpus: Corpus, media: "Recordings", u: Utterance, to: Path) -> None:
    from erc_features.media import RATE, write_wav

    write_wav(to, media.sound(u)[: _SECONDS * RATE])
