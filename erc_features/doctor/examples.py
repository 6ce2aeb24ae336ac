"""A few utterances of each label to see and hear, small enough to be embedded in one page."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from erc_features.corpora.manifest import Corpus
from erc_features.corpora.recordings import Recordings
from erc_features.errors import MediaError
from erc_features.media import RATE, write_jpeg, write_wav
from erc_features.utterance import Modality, Split, Utterance

_LABELS = 24
_FRAMES = 3  # the first, the middle and the last
_HEIGHT = 144  # pixels
_SECONDS = 10
_TEXT = 400  # characters
BUDGET = 8_000_000  # bytes of pictures and sounds in a page
_TOO_LARGE = "left out: the page would be too large"

Media = Mapping[Modality, Recordings]


@dataclass(frozen=True)
class Example:
    """One utterance.

    Attributes:
        picture, sound: data URIs; "" where there is none.
        no_picture, no_sound: the reason; also "" for a medium that the whole corpus lacks.
    """

    key: str
    speaker: str
    text: str
    picture: str = ""
    sound: str = ""
    no_picture: str = ""
    no_sound: str = ""


def choose_examples(corpus: Corpus, each: int = 4) -> dict[str, list[Utterance]]:
    """Choose `each` utterances of every label, spread over the splits and over each split's rows.

    Those with a picture and a sound come first. The choice is always the same for the same corpus.
    Unlabelled utterances are under "".
    """
    chosen: dict[str, list[Utterance]] = {}
    for label in (*corpus.labels[:_LABELS], ""):
        rows = [u for u in corpus.utterances if u.label == label]
        spread = [_spread([u for u in rows if u.split == split], each) for split in Split]
        turns = [u for turn in zip_longest(*spread) for u in turn if u is not None]
        if turns:
            order = list(Split)
            chosen[label] = sorted(turns[:each], key=lambda u: order.index(u.split))
    return chosen


def load_examples(
    corpus: Corpus, chosen: dict[str, list[Utterance]], budget: int = BUDGET
) -> dict[str, list[Example]]:
    """The chosen utterances with their media, which take at most `budget` bytes together."""
    loaded: dict[str, list[Example]] = {label: [] for label in chosen}
    every = [u for of_label in chosen.values() for u in of_label]
    media = {m: Recordings(corpus, m, every) for m in (Modality.VISUAL, Modality.AUDIO)}
    with TemporaryDirectory(prefix="erc-doctor-") as folder:
        # By turns, so that every label has its first examples when the budget runs out.
        for turn in zip_longest(*chosen.values()):
            for label, u in zip(chosen, turn, strict=True):
                if u is not None:
                    example = _load(corpus, media, u, Path(folder), budget)
                    budget -= len(example.picture) + len(example.sound)
                    loaded[label].append(example)
    return loaded


def _spread(rows: Sequence[Utterance], each: int) -> list[Utterance]:
    whole = [u for u in rows if u.cell(Modality.VISUAL) and u.cell(Modality.AUDIO)]
    rows = whole if len(whole) >= min(each, len(rows)) else rows
    count = min(each, len(rows))
    return [rows[(i + 1) * len(rows) // (count + 1)] for i in range(count)]


def _load(corpus: Corpus, media: Media, u: Utterance, folder: Path, budget: int) -> Example:
    picture, no_picture = _medium(corpus, media, u, Modality.VISUAL, folder)
    if len(picture) > budget:
        picture, no_picture = "", _TOO_LARGE
    sound, no_sound = _medium(corpus, media, u, Modality.AUDIO, folder)
    if len(picture) + len(sound) > budget:
        sound, no_sound = "", _TOO_LARGE
    text = u.x_text.strip()
    text = text if len(text) <= _TEXT else f"{text[:_TEXT]}…"
    return Example(u.key, u.speaker.strip(), text, picture, sound, no_picture, no_sound)


def _medium(
    corpus: Corpus, media: Media, u: Utterance, modality: Modality, folder: Path
) -> tuple[str, str]:
    """A data URI and "", or "" and the reason why there is none."""
    path, small = corpus.media_path(u, modality), folder / "small"
    if path is None:
        some = any(other.cell(modality) for other in corpus.utterances)
        return "", corpus.missing_reason(u, modality) if some else ""
    try:
        if not path.is_file():  # nor a pipe, which would never end
            return "", "the file does not exist"
        if modality == Modality.AUDIO:
            kind = "audio/wav"
            write_wav(small, media[modality].sound(u)[: _SECONDS * RATE])
        else:
            kind = "image/jpeg"
            write_jpeg(small, _strip(corpus, media[modality], u))
        data = small.read_bytes()
    except MediaError as error:
        return "", str(error)
    except (OSError, ValueError) as error:
        return "", f"cannot be read ({type(error).__name__})"
    return f"data:{kind};base64,{b64encode(data).decode()}", ""


def _strip(corpus: Corpus, media: Recordings, u: Utterance) -> np.ndarray:
    """A few frames side by side: (H, W, 3) uint8."""
    decode = corpus.info.get("decode")
    stacked = decode.get("frames") if isinstance(decode, dict) else 1
    frames = media.frames(u, stacked if isinstance(stacked, int) else 1)
    picked = np.linspace(0, len(frames) - 1, min(_FRAMES, len(frames))).round().astype(int)
    small = []
    for frame in (frames[i] for i in picked):
        high, wide, _ = frame.shape
        k = max(1, min(round(high / _HEIGHT), wide))  # k x k squares are averaged
        square = frame[: high // k * k, : wide // k * k].reshape(high // k, k, wide // k, k, 3)
        small.append(square.mean((1, 3)).astype(np.uint8))
    return np.hstack(small)
