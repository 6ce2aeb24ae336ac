"""Small corpora on disk: CSVs with real sounds and pictures beside them."""

import csv
from pathlib import Path

import numpy as np
from clips import tone

from erc_features.corpora.manifest import COLUMNS
from erc_features.media import write_mosaic, write_wav

WORDS = {
    "joy": "great lovely happy yay",
    "anger": "hate stupid angry no",
    "neutral": "the table is",
}


def write_rows(path: Path, rows: list[dict[str, object]], more: tuple[str, ...] = ()) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["", *COLUMNS, *more], restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def text_corpus(root: Path, counts: tuple[int, int, int] = (24, 9, 9)) -> Path:
    """Texts alone; every label in every split; one blank text in train."""
    random = np.random.default_rng(0)
    for split, count in zip(("train", "dev", "test"), counts, strict=True):
        rows = []
        for i in range(count):
            label = list(WORDS)[i % 3]
            words = random.choice(WORDS[label].split(), size=random.integers(1, 12))
            rows.append(
                {"dialogue": i // 4, "sequence": i % 4, "speaker": f"S{i % 2}",
                 "x_text": " ".join(words), "label": label}
            )  # fmt: skip
        write_rows(root / f"{split}.csv", rows)
    lines = (root / "train.csv").read_text().splitlines()
    cells = lines[2].split(",")
    cells[4] = " "
    (root / "train.csv").write_text("\n".join([lines[0], lines[1], ",".join(cells), *lines[3:]]))
    return root


def media_corpus(root: Path, count: int = 6) -> Path:
    """Text, a WAV and a mosaic of two frames for each row; row 1 has none, row 2's are broken."""
    rows = []
    for i in range(count):
        stem = f"train/d-0-seq-{i}"
        (root / "train").mkdir(parents=True, exist_ok=True)
        write_wav(root / f"{stem}.wav", tone(0.2 + 0.1 * i, 16_000, 200 + 60 * i)[0])
        frame = np.full((32, 40, 3), 10 * i, np.uint8)
        frame[:, : 5 * i] = 255
        write_mosaic(root / f"{stem}.png", (frame, frame[::-1]))
        rows.append(
            {"dialogue": 0, "sequence": i, "x_text": f"text {i}",
             "label": "joy" if i % 2 else "fear",
             "x_visual": f"{stem}.png", "x_audio": f"{stem}.wav"}
        )  # fmt: skip
    rows[1] |= {"x_visual": "", "x_audio": "", "x_text": ""}
    (root / "train/d-0-seq-2.wav").write_bytes(b"RIFF garbage")
    (root / "train/d-0-seq-2.png").write_bytes(b"\x89PNG garbage")
    write_rows(root / "train.csv", rows)
    return root


HEADER = ["Sr No.", "Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID",
          "Season", "Episode", "StartTime", "EndTime"]  # fmt: skip


def annotate(path: Path, rows: list[tuple]) -> None:
    """Annotations as MELD has them: (text, emotion, dialogue, utterance, start, end) a row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\r\n")
        writer.writerow(HEADER)
        for number, (text, emotion, dialogue, utterance, start, end) in enumerate(rows):
            writer.writerow(
                [number, text, "Ann", emotion, "x", dialogue, utterance, 1, 2, start, end]
            )
