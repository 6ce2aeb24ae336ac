"""A corpus with every modality, of many lengths, and the tiny networks that encode it."""

from pathlib import Path

import numpy as np
from checkpoints import tiny_bert, tiny_clip, tiny_sound
from corpora import WORDS, write_rows

from erc_features.media import write_mosaic, write_wav

KINDS = ("text", "visual", "audio")


def mixed_corpus(root: Path, count: int) -> Path:
    """Text, a mosaic and a WAV for each row; here and there one has none, or a broken one."""
    random = np.random.default_rng(0)
    words = " ".join(WORDS.values()).split()
    (root / "train").mkdir(parents=True)
    rows = []
    for i in range(count):
        stem = f"train/d-{i // 8}-seq-{i % 8}"
        sound = random.normal(0, 0.1, random.integers(500, 12_000)).astype(np.float32)
        write_wav(root / f"{stem}.wav", sound)
        frames = random.integers(0, 256, (3, 24, 32, 3), dtype=np.uint8)
        write_mosaic(root / f"{stem}.png", tuple(frames))
        if i % 17 == 5:
            (root / f"{stem}.wav").write_bytes(b"RIFF garbage")
            (root / f"{stem}.png").write_bytes(b"\x89PNG garbage")
        some = i % 13 != 3
        rows.append(
            {"dialogue": i // 8, "sequence": i % 8, "speaker": f"S{i % 3}",
             "x_text": " ".join(random.choice(words, random.integers(1, 30))) if some else "",
             "x_visual": f"{stem}.png" if some else "", "x_audio": f"{stem}.wav" if some else "",
             "label": list(WORDS)[i % 3]}
        )  # fmt: skip
    write_rows(root / "train.csv", rows)
    return root


def tiny_encoders(folder: Path) -> dict[str, str]:
    """A folder for each modality: real architectures with random weights."""
    return {
        "text": str(tiny_bert(folder / "tiny-bert")),
        "visual": str(tiny_clip(folder / "tiny-clip")),
        "audio": str(tiny_sound(folder / "tiny-wav2vec2", "Wav2Vec2")),
    }
