"""The mistakes that a run is surest of, with what was said, seen and heard.

The one file of this room that reads a corpus: a picture helps more than a key.
"""

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from erc_features.corpora.manifest import Corpus, read_corpus
from erc_features.errors import MediaError, RunError
from erc_features.utterance import Modality, Utterance
from erc_fusion.report.results import Row

MOST = 8
_TEXT = 400  # characters
_HIGH = 100  # pixels of a picture, which then takes some 8 kB
_SECONDS = 5  # of sound: eight of them are 1.7 MB in the page


@dataclass(frozen=True)
class Mistake:
    """A row that the seeds' ensemble, their mean probability, gets wrong.

    Attributes:
        confidence: the ensemble's probability of `predicted`, 0 to 1.
        agreeing: the share of seeds that predict it too.
        picture: the first, the middle and the last frame side by side, a data URI (JPEG).
        sound: at most 10 s at 16 kHz, a data URI (WAV). Both "" where there is none.
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
    """The run's most confident mistakes on `split`, the surest first; at most 8.

    Args:
        corpus_root: the corpus, for pictures; None shows none.
        sound: with their sound, some 400 kB each.

    Raises:
        RunError: the predictions are damaged, or the corpus is not the one that the run saw.
        CorpusError: there is no corpus at `corpus_root`.
    """
    found = _mistakes(row, split)
    if corpus_root is None:
        return found
    corpus = _corpus(row, corpus_root)
    utterances = {u.key: u for u in corpus.utterances}
    with TemporaryDirectory(prefix="erc-report-") as place:
        return tuple(_with_media(each, corpus, utterances[each.key], Path(place), sound)
                     for each in found)  # fmt: skip


def _mistakes(row: Row, split: str) -> tuple[Mistake, ...]:
    table = row.run.predictions()
    try:
        table = table[(table["split"] == split) & (table["label"] != "")]
        seeds = table["seed"].nunique()
        mean = table.groupby("key", sort=False)[[f"p_{label}" for label in row.labels]].mean()
        first = table.drop_duplicates("key").set_index("key")
        probability = mean.to_numpy()  # (n, C)
        chosen = np.array(row.labels)[probability.argmax(-1)]
        sure = probability.max(-1)
        wrong = np.flatnonzero(chosen != first["label"].to_numpy())
        votes = table.groupby(["key", "predicted"]).size()
        # Rounded, so that rows as sure as each other keep the corpus's order on every machine.
        order = wrong[np.argsort(-sure[wrong].round(6), kind="stable")][:MOST]
        return tuple(
            Mistake(
                key,
                first["speaker"][key].strip(),
                _cut(first["text"][key].strip()),
                first["label"][key],
                str(chosen[i]),
                float(sure[i]),
                float(votes.get((key, chosen[i]), 0) / seeds),
            )
            for i in order
            for key in (str(mean.index[i]),)
        )
    except (KeyError, AttributeError, TypeError) as error:
        raise RunError(
            f"{row.run.path / 'predictions.parquet'} is damaged ({type(error).__name__}: {error}). "
            "Run `erc fuse` again with --overwrite."
        ) from error


def _cut(text: str) -> str:
    return text if len(text) <= _TEXT else f"{text[:_TEXT]}…"


def _corpus(row: Row, root: Path) -> Corpus:
    corpus = read_corpus(root)
    saw = row.run.inputs["fingerprint"]
    if corpus.fingerprint != saw:
        raise RunError(
            f"{root}: fingerprint {corpus.fingerprint[:12]}, and {row.run.path} saw {saw[:12]}: "
            "texts or labels changed, so its pictures may be of other words. Name the corpus "
            f"that the run saw with --corpus, or its name alone (--corpus {row.run.corpus}) for "
            "a report without pictures."
        )
    return corpus


def _with_media(
    mistake: Mistake, corpus: Corpus, u: Utterance, place: Path, sound: bool
) -> Mistake:
    return replace(
        mistake,
        picture=_uri(corpus, u, Modality.VISUAL, "image/jpeg", place, _picture),
        sound=_uri(corpus, u, Modality.AUDIO, "audio/wav", place, _sound) if sound else "",
    )


def _uri(
    corpus: Corpus,
    u: Utterance,
    modality: Modality,
    kind: str,
    place: Path,
    write: Callable[[Corpus, Path, Path], None],
) -> str:
    """The medium as a data URI; "" where there is none that can be read."""
    path = corpus.media_path(u, modality)
    if path is None or not path.is_file():  # a pipe would never end
        return ""
    to = place / "medium"
    try:
        write(corpus, path, to)
    except (MediaError, OSError, ValueError):
        return ""  # a report on figures doesn't fail for a clip; `erc doctor` says what is wrong
    return f"data:{kind};base64,{b64encode(to.read_bytes()).decode()}"


def _picture(corpus: Corpus, path: Path, to: Path) -> None:
    from erc_features.media import read_frames, write_jpeg  # PyAV and Pillow: only with a corpus

    decode = corpus.info.get("decode")
    stacked = decode.get("frames") if isinstance(decode, dict) else 1
    frames = read_frames(path, stacked=stacked if isinstance(stacked, int) else 1, wanted=3)
    strip = np.hstack([frames[i] for i in sorted({0, len(frames) // 2, len(frames) - 1})])
    k = min(-(-strip.shape[0] // _HIGH), strip.shape[1])
    high, wide = strip.shape[0] // k, strip.shape[1] // k
    squares = strip[: high * k, : wide * k].reshape(high, k, wide, k, 3)
    write_jpeg(to, squares.mean((1, 3)).astype(np.uint8))


def _sound(corpus: Corpus, path: Path, to: Path) -> None:
    from erc_features.media import RATE, read_audio, write_wav

    write_wav(to, read_audio(path)[: _SECONDS * RATE])
