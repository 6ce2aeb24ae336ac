"""What the benchmarks work on: corpora as `erc prepare` leaves them, made quickly.

MELD has 13,708 utterances, 13.7 hours and 41 characters each in the mean; its texts are the real
ones where ../shared/data/meld is there. The media are real files: WAVs of lengths like MELD's, and
PNG mosaics of five frames of 426 x 240. Of 128 mosaics there are copies under other names (hard
links), so a mosaic is read from memory, as those of a corpus are that was prepared just now.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from erc_features.corpora.manifest import Corpus, write_corpus
from erc_features.corpora.meld import read_meld
from erc_features.utterance import Modality, Split, Utterance

MELD = 13_708
SECONDS = 13.7 * 3600 / MELD  # of an utterance, in the mean
LABELS = ("neutral", "joy")
_FRAMES, _HEIGHT, _WIDTH = 5, 240, 426
_PICTURES, _CLIPS = 128, 16
_ANNOTATIONS = Path(__file__).resolve().parents[2] / "shared" / "data" / "meld"
WORDS = ["the", "you", "I", "to", "a", "it", "and", "that", "oh", "no", "okay", "yeah", "what",
          "is", "this", "me", "not", "hey", "know", "just", "Ross", "Joey", "Monica", "wait",
          "about", "going", "apartment", "transition", "something", "ridiculous"]  # fmt: skip


def utterances(count: int) -> list[Utterance]:
    """MELD's own, spread evenly over it; generated where it isn't there, or has not so many."""
    raw = read_meld(_ANNOTATIONS) if _ANNOTATIONS.is_dir() else None
    if raw is None or len(raw.rows) < count:
        return generated(count)
    picked = np.linspace(0, len(raw.rows) - 1, count).astype(int)
    return [replace(raw.rows[i].utterance, more={}) for i in picked]


def generated(count: int) -> list[Utterance]:
    """Words at random, as many as MELD's utterances have: log-normal, 8 in the mean, at most 69."""
    random = np.random.default_rng(0)
    lengths = random.lognormal(1.73, 0.85, count).round().clip(1, 69).astype(int)
    return [
        Utterance(
            Split.TRAIN, i // 10, i % 10, f"S{i % 3}",
            " ".join(random.choice(WORDS, length)) + ".", label=LABELS[i % 2],
        )
        for i, length in enumerate(lengths)
    ]  # fmt: skip


def make_corpus(
    root: Path, rows: Sequence[Utterance], modality: Modality, seconds: float = SECONDS
) -> Corpus:
    """Write a corpus of these utterances with the media of one modality.

    Args:
        seconds: the mean length of the sounds, which are log-normal, at most 20 s.
    """
    random = np.random.default_rng(1)
    (root / "media").mkdir(parents=True)
    names = [f"media/{u.split}-{u.dialogue}-{u.sequence}" for u in rows]
    if modality == Modality.AUDIO:
        from erc_features.media import RATE  # with PyAV, which a machine for texts may lack

        lengths = random.lognormal(np.log(seconds) - 0.7**2 / 2, 0.7, len(rows)).clip(0.05, 20)
        noise = _sound(random)
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            jobs = zip(names, lengths, random.integers(0, 9 * RATE, len(rows)), strict=True)
            for _ in threads.map(lambda job: _write_sound(root, noise, *job), jobs):
                pass
        rows = [replace(u, x_audio=f"{name}.wav") for u, name in zip(rows, names, strict=True)]
    elif modality == Modality.VISUAL:
        _write_mosaics(root, names)
        rows = [replace(u, x_visual=f"{name}.png") for u, name in zip(rows, names, strict=True)]
    labels = sorted({u.label for u in rows})
    return write_corpus(root, rows, labels, {"decode": {"frames": _FRAMES, "height": _HEIGHT}})


def _sound(random: np.random.Generator) -> np.ndarray:
    """30 s of noise and a tone that rise and fall like syllables: (n,) float32 in [-1, 1]."""
    from erc_features.media import RATE

    time = np.arange(30 * RATE, dtype=np.float32) / RATE
    voice = np.sin(2 * np.pi * (150 + 30 * np.sin(time)) * time)
    noise = random.standard_normal(len(time), np.float32) * 0.1
    return (0.5 * np.abs(np.sin(2 * np.pi * 2 * time)) * (voice + noise)).clip(-1, 1)


def _write_sound(root: Path, sound: np.ndarray, name: str, seconds: float, first: int) -> None:
    from erc_features.media import RATE, write_wav

    write_wav(root / f"{name}.wav", sound[first : first + round(seconds * RATE)])


def _write_mosaics(root: Path, names: Sequence[str]) -> None:
    from erc_features.media import write_mosaic

    def write(name: str) -> None:
        random = np.random.default_rng(int.from_bytes(name.encode()))
        write_mosaic(root / f"{name}.png", tuple(_frame(random) for _ in range(_FRAMES)))

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(write, names[:_PICTURES]))
    for i, name in enumerate(names[_PICTURES:]):
        os.link(root / f"{names[i % _PICTURES]}.png", root / f"{name}.png")


def make_clips(
    root: Path,
    rows: Sequence[Utterance],
    seconds: float = SECONDS,
    size: tuple[int, int] = (1280, 720),
) -> Corpus:
    """Write a corpus whose pictures and sounds are those of clips: mp4, H.264 with 24 frames a
    second and AAC at 48 kHz. Of 16 clips there are copies under other names."""
    (root / "media").mkdir(parents=True)
    names = [f"media/{u.split}-{u.dialogue}-{u.sequence}.mp4" for u in rows]
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(lambda n: write_clip(root / n, seconds, size), names[:_CLIPS]))
    for i, name in enumerate(names[_CLIPS:]):
        os.link(root / names[i % _CLIPS], root / name)
    rows = [replace(u, x_visual=name, x_audio=name) for u, name in zip(rows, names, strict=True)]
    labels = sorted({u.label for u in rows})
    return write_corpus(root, rows, labels, {"decode": {"frames": _FRAMES, "height": _HEIGHT}})


def write_clip(path: Path, seconds: float, size: tuple[int, int]) -> None:
    """A clip whose picture moves and whose sound rises and falls."""
    import av

    random = np.random.default_rng(int.from_bytes(path.name.encode()))
    wide, high = size
    still = np.asarray(Image.fromarray(_frame(random)).resize((wide, high)))
    sound = _sound(random)[None, :]  # (1, n) at 16 kHz, played three times as fast
    with av.open(str(path), "w") as file:
        pictures = file.add_stream("libx264", rate=24, options={"preset": "veryfast"})
        pictures.width, pictures.height, pictures.pix_fmt = wide, high, "yuv420p"
        sounds = file.add_stream("aac", rate=48_000, layout="mono")
        for number in range(round(24 * seconds)):
            moved = np.ascontiguousarray(np.roll(still, 4 * number, axis=1))
            file.mux(pictures.encode(av.VideoFrame.from_ndarray(moved, format="rgb24")))
        for first in range(0, round(48_000 * seconds), 1024):
            piece = np.ascontiguousarray(sound[:, first : first + 1024])
            frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 48_000, first
            file.mux(sounds.encode(frame))
        for stream in (pictures, sounds):
            file.mux(stream.encode(None))


def _frame(random: np.random.Generator) -> np.ndarray:
    """Shapes under a grain: (H, W, 3) uint8. A mosaic has 0.8 MB and takes 19 ms to decode; that
    of the real clip of MELD in ../shared/data/clips has 0.75 and takes 18."""
    coarse = Image.fromarray(random.integers(0, 256, (9, 16, 3), np.uint8))
    smooth = np.asarray(coarse.resize((_WIDTH, _HEIGHT), Image.Resampling.BICUBIC), np.int16)
    grain = random.integers(-2, 3, (_HEIGHT, _WIDTH, 1), np.int16)
    return (smooth + grain).clip(0, 255).astype(np.uint8)


def tiny_bert(folder: Path) -> Path:
    """A random BERT of 2 layers of 32 with a tokenizer, as a checkpoint."""
    import torch
    from tokenizers.implementations import BertWordPieceTokenizer
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    letters = [chr(c) for c in range(97, 123)]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *("##" + c for c in letters), "."]
    words = BertWordPieceTokenizer(vocab={token: i for i, token in enumerate(tokens)})
    PreTrainedTokenizerFast(
        tokenizer_object=words._tokenizer, model_max_length=128,
        pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
    ).save_pretrained(folder)  # fmt: skip
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokens), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=128,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder
