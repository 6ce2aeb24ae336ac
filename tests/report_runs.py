"""Finished run directories for the report's tests: every file, and numbers that agree.

Predictions are drawn, then scored by `erc_fusion.evaluation.score` as `erc fuse` does; nothing of
dev or test in `metrics.json` is invented.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tomli_w
from clips import tone
from corpora import write_rows
from safetensors.numpy import save_file

from erc_features.corpora.manifest import INFO, read_corpus
from erc_features.media import write_mosaic, write_wav
from erc_fusion.evaluation.score import Predicted, score_splits
from erc_fusion.inputs.sources import Source
from erc_fusion.inputs.table import FeatureTable
from erc_fusion.runs.ladder import Ladder, Rung, write_ladder
from erc_fusion.runs.predictions import PREDICTIONS, write_predictions
from erc_fusion.runs.run import Run

LABELS = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")
SHARES = (0.12, 0.03, 0.02, 0.17, 0.48, 0.07, 0.11)  # MELD's, nearly
ROWS = {"train": 700, "dev": 120, "test": 260}
PER_DIALOGUE = 9
SPEAKERS = ("Ross", "Rachel", "Joey", "Chandler", "Monica", "Phoebe", "Waiter")
WORDS = ("oh", "my", "god", "I", "know", "you", "are", "not", "serious", "coffee", "so", "now")


def write_run(
    root: Path,
    name: str = "mlp-1a2b3c4d",
    *,
    corpus: str = "meld",
    fingerprint: str = "5f" * 32,
    labels: tuple[str, ...] = LABELS,
    head: str = "mlp",
    modalities: tuple[str, ...] = ("text", "audio"),
    skill: float = 0.5,
    seeds: tuple[int, ...] = (0, 1, 2),
    never: tuple[str, ...] = (),
    without: tuple[str, ...] = (),
    done: bool = True,
) -> Run:
    """A run whose seeds know the truth with probability `skill` and else draw from the prior.

    Runs of one corpus have the same rows; the row that one knows, a more skilled one knows too.

    Args:
        never: Labels that no seed predicts.
        without: Splits (dev, test) that have no labelled row.
    """
    path = root / corpus / name
    path.mkdir(parents=True)
    draw = np.random.default_rng([int(1000 * skill), len(name)])
    shares = np.resize(SHARES, len(labels)) / np.resize(SHARES, len(labels)).sum()
    history, epochs = _history(draw, seeds, skill, dev="dev" not in without)
    table = _table(corpus, fingerprint, labels, modalities, without)

    def predict(of: FeatureTable, rows: np.ndarray) -> Predicted:
        truth = _truth(str(of.split[rows[0]]), labels)
        logits = _logits(draw, truth, len(seeds), skill, shares)  # (S, n, C)
        logits[:, :, [labels.index(label) for label in never]] = -20.0
        probability = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        centres = np.stack([np.cos(truth), np.sin(truth)], -1)
        pca = centres + draw.normal(0, 1.1 - skill, (len(seeds), len(rows), 2))
        return Predicted(probability.astype(np.float32), None, pca.astype(np.float32))

    splits, predictions = score_splits(table, seeds, predict)
    write_predictions(path / PREDICTIONS, predictions)
    files = [source.stem for source in table.sources]
    weighed = {stem: {"mean": 0.6 - 0.2 * i, "std": 0.02} for i, stem in enumerate(files)}
    metrics = {
        "seeds": list(seeds),
        "labels": list(labels),
        "head": head,
        "modalities": list(modalities),
        "files": files,
        "monitor": "accuracy",
        "best_epoch": [count - 4 for count in epochs],
        "epochs": epochs,
        "parameters": 148_231,
        "seconds": {"train": 3.2, "total": 5.0},
        "layers": {
            source.stem: {"weight": [0.1, 0.2, 0.3, 0.4], "std": [0.01, 0.02, 0.0, 0.03]}
            for source in table.sources
            if source.shape[1] > 1
        },
        "weighing": weighed if head in ("attention", "gated", "late") else None,
        **splits,
    }
    inputs = {
        "format": "erc-run",
        "format_version": 1,
        "corpus": corpus,
        "fingerprint": fingerprint,
        "labels": list(labels),
        "counts": ROWS,
        "files": [
            {
                "stem": source.stem,
                "modality": source.modality,
                "encoder": source.encoder,
                "revision": source.revision,
                "config": dict(source.config),
                "shape": list(source.shape),
                "path": str(source.path),
            }
            for source in table.sources
        ],
        "versions": {"erc": "0.1.0", "torch": "2.11.0"},
        "command": ["erc", "fuse", "--head", head, "--modalities", ",".join(modalities)],
    }
    config = {
        "head": {"name": head, "hidden": 256, "dropout": 0.3},
        "train": {"epochs": 40, "batch_size": 64, "learning_rate": 0.001, "seeds": list(seeds)},
    }
    (path / "config.toml").write_text(tomli_w.dumps(config))
    (path / "inputs.json").write_text(json.dumps(inputs))
    (path / "history.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in history))
    (path / "metrics.json").write_text(json.dumps(metrics))
    save_file(
        {"classifier.weight": np.zeros((len(seeds), 8, len(labels)), np.float32)},
        path / "model.safetensors",
    )
    if done:
        (path / "DONE").write_text("2026-11-20T10:00:00+00:00\n")
    return Run(path)


def write_study(
    root: Path,
    rungs: Sequence[Rung],
    *,
    final: str | None,
    name: str = "objectives",
    corpus: str = "meld",
    fingerprint: str = "5f" * 32,
) -> Ladder:
    """`runs/<corpus>/<name>.ladder.json`, as `erc study` leaves it."""
    ladder = Ladder(name, corpus, fingerprint, "accuracy", tuple(rungs), final)
    write_ladder(ladder, root)
    return ladder


def write_corpus(root: Path, pictures: Sequence[str] = (), labels: tuple[str, ...] = LABELS) -> str:
    """The corpus that the runs saw; a mosaic and a sound for the keys in `pictures`.

    Returns:
        its fingerprint.
    """
    for split, count in ROWS.items():
        rows = []
        for i, (text, speaker) in enumerate(zip(*_said(split), strict=True)):
            row = {"dialogue": i // PER_DIALOGUE, "sequence": i % PER_DIALOGUE, "speaker": speaker,
                   "x_text": text, "label": labels[_truth(split, labels)[i]]}  # fmt: skip
            stem = _key(split, i)
            if stem in pictures:
                row |= {"x_visual": f"{stem}.png", "x_audio": f"{stem}.wav"}
                (root / split).mkdir(parents=True, exist_ok=True)
                # Brighter from left to right, and from frame to frame.
                line = np.arange(430) % (i + 90)
                frames = [
                    np.tile((line + n).astype(np.uint8)[:, None], (240, 1, 3)) for n in range(5)
                ]
                write_mosaic(root / f"{stem}.png", tuple(frames))
                write_wav(root / f"{stem}.wav", tone(11.0, 16_000, 220)[0])
            rows.append(row)
        assert len(rows) == count
        write_rows(root / f"{split}.csv", rows)
    (root / INFO).write_text(json.dumps({"labels": labels, "decode": {"frames": 5}}))
    return read_corpus(root).fingerprint


def _key(split: str, i: int) -> str:
    return f"{split}/d-{i // PER_DIALOGUE}-seq-{i % PER_DIALOGUE}"


def _truth(split: str, labels: tuple[str, ...]) -> np.ndarray:
    """(n,) classes: the corpus's, so every run of a corpus has the same."""
    shares = np.resize(SHARES, len(labels)) / np.resize(SHARES, len(labels)).sum()
    return np.random.default_rng(ROWS[split]).choice(len(labels), ROWS[split], p=shares)


def _said(split: str) -> tuple[list[str], list[str]]:
    """Texts of 0 to 13 words and their speakers, some of them of train too."""
    draw = np.random.default_rng([7, ROWS[split]])
    texts = [
        "I know!" if i % 20 == 3 else " ".join(draw.choice(WORDS, draw.integers(0, 14)))
        for i in range(ROWS[split])
    ]
    return texts, [SPEAKERS[i * i % len(SPEAKERS)] for i in range(ROWS[split])]


def _table(
    corpus: str,
    fingerprint: str,
    labels: tuple[str, ...],
    modalities: tuple[str, ...],
    without: tuple[str, ...],
) -> FeatureTable:
    """Every row but its embeddings; the last file lacks one row in 23."""
    count = sum(ROWS.values())
    stems = [f"{modality}.baseline" for modality in modalities]
    sources = tuple(
        Source(
            stem=stem,
            path=Path(f"features/{corpus}/{stem}.h5"),
            corpus=corpus,
            fingerprint=fingerprint,
            modality=modality,
            encoder="baseline",
            revision="9c" * 32,
            config={"layers": "all", "pool": "mean", "dtype": "float16"},
            labels=labels,
            shape=(count, 4 if modality == "text" else 1, 512),
            dtype="float16",
            rows={"ok": count, "missing": 0, "failed": 0},
            versions={},
        )
        for stem, modality in zip(stems, modalities, strict=True)
    )
    places = [(split, i) for split, rows in ROWS.items() for i in range(rows)]
    present = np.ones((count, len(stems)), bool)
    present[5::23, -1] = False
    said = [_said(split) for split in ROWS]
    label = [
        _truth(split, labels) if split not in without else np.full(ROWS[split], -1)
        for split in ROWS
    ]
    return FeatureTable(
        sources=sources,
        labels=labels,
        key=np.array([_key(*place) for place in places], dtype=object),
        split=np.array([split for split, _ in places], dtype=object),
        dialogue=np.array([i // PER_DIALOGUE for _, i in places], np.int32),
        sequence=np.array([i % PER_DIALOGUE for _, i in places], np.int32),
        speaker=np.array([who for _, whos in said for who in whos], dtype=object),
        text=np.array([text for texts, _ in said for text in texts], dtype=object),
        label=np.concatenate(label).astype(np.int64),
        x={stem: np.zeros((count, 1, 1), np.float16) for stem in stems},
        present=present,
    )


def _logits(draw, truth, seeds, skill, shares):
    """(S, N, C): the truth stands out in a share `skill` of rows, the same rows in most seeds."""
    shared = np.random.default_rng(len(truth)).random(len(truth)) < skill
    logits = np.log(shares) + draw.gumbel(size=(seeds, len(truth), len(shares)))
    flips = draw.random((seeds, len(truth))) < 0.06
    logits[np.arange(seeds)[:, None], np.arange(len(truth)), truth] += 6.0 * (shared ^ flips)
    return logits


def _history(draw, seeds, skill, dev):
    entries, epochs = [], []
    for seed in seeds:
        count = int(draw.integers(14, 24))
        epochs.append(count)
        for epoch in range(1, count + 1):
            rise = 1 - np.exp(-epoch / 5)
            noise = draw.normal(0, 0.008, 4)
            train = {
                "loss": 1.9 - 1.5 * rise + noise[0],
                "accuracy": 0.35 + 0.5 * rise + noise[1],
            }
            seen = {
                "loss": 1.9 - 0.7 * rise + 0.012 * epoch + noise[2],
                "accuracy": 0.4 + skill * 0.4 * rise + noise[3],
                "weighted_f1": 0.35 + skill * 0.4 * rise,
            }
            entries.append(
                {
                    "seed": seed,
                    "epoch": epoch,
                    "train": train,
                    "dev": seen if dev else None,
                }
            )
    return entries, epochs
