"""Finished run directories for the report's tests: every file, and numbers that agree.

Predictions are drawn, then scored by scikit-learn; nothing in `metrics.json` is invented.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import tomli_w
from safetensors.numpy import save_file
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
)

from erc_fusion.runs import Run

LABELS = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")
SHARES = (0.12, 0.03, 0.02, 0.17, 0.48, 0.07, 0.11)  # MELD's, nearly
ROWS = {"train": 700, "dev": 120, "test": 260}
PER_DIALOGUE = 9


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

    Args:
        never: Labels that no seed predicts.
        without: Splits (dev, test) that have no labelled row.
    """
    path = root / corpus / name
    path.mkdir(parents=True)
    draw = np.random.default_rng([int(1000 * skill), len(name)])
    shares = np.resize(SHARES, len(labels)) / np.resize(SHARES, len(labels)).sum()
    history, epochs = _history(draw, seeds, skill, dev="dev" not in without)
    tables, splits = [], {}
    for split in ("dev", "test"):
        # The truth is the corpus's, so every run of a corpus has the same.
        truth = np.random.default_rng(ROWS[split]).choice(len(labels), ROWS[split], p=shares)
        logits = _logits(draw, truth, len(seeds), skill, shares)  # (S, N, C)
        logits[:, :, [labels.index(label) for label in never]] = -20.0
        probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        known = split not in without
        tables.append(_predictions(split, truth, probabilities, seeds, labels, known))
        splits[split] = _split(truth, probabilities, labels) if known else None
    pd.concat(tables).to_parquet(path / "predictions.parquet")
    files = [f"{modality}.baseline" for modality in modalities]
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
                "stem": stem,
                "modality": modality,
                "encoder": "baseline",
                "revision": "9c" * 32,
                "config": {"layers": "all", "pool": "mean", "dtype": "float16"},
                "shape": [sum(ROWS.values()), 1, 512],
                "path": f"features/{corpus}/{stem}.h5",
            }
            for stem, modality in zip(files, modalities, strict=True)
        ],
        "versions": {"erc": "0.1.0", "torch": "2.11.0"},
        "command": [
            "erc",
            "fuse",
            "--head",
            head,
            "--modalities",
            ",".join(modalities),
        ],
    }
    config = {
        "head": {"name": head, "hidden": 256, "dropout": 0.3},
        "train": {
            "epochs": 40,
            "batch_size": 64,
            "learning_rate": 0.001,
            "seeds": list(seeds),
        },
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


def _logits(draw, truth, seeds, skill, shares):
    """(S, N, C): the truth stands out in a share `skill` of rows, the same rows in most seeds."""
    shared = draw.random(len(truth)) < skill
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


def _predictions(split, truth, probabilities, seeds, labels, known):
    tables = []
    for seed, each in zip(seeds, probabilities, strict=True):
        rows = np.arange(len(truth))
        table = pd.DataFrame(
            {
                "key": [f"{split}/d-{i // PER_DIALOGUE}-seq-{i % PER_DIALOGUE}" for i in rows],
                "split": split,
                "dialogue": rows // PER_DIALOGUE,
                "sequence": rows % PER_DIALOGUE,
                "speaker": "Ross",
                "text": "I know!",
                "label": [labels[i] if known else "" for i in truth],
                "seed": seed,
                "predicted": [labels[i] for i in each.argmax(-1)],
            }
        )
        for i, label in enumerate(labels):
            table[f"p_{label}"] = each[:, i]
        tables.append(table)
    return pd.concat(tables)


def _scores(truth, predicted):
    return {
        "accuracy": accuracy_score(truth, predicted),
        "weighted_f1": f1_score(truth, predicted, average="weighted", zero_division=0),
        "macro_f1": f1_score(truth, predicted, average="macro", zero_division=0),
    }


def _ece(truth, probabilities):
    sure, right = probabilities.max(-1), probabilities.argmax(-1) == truth
    bins = np.minimum((sure * 15).astype(int), 14)
    gaps = [abs((sure - right)[bins == i].sum()) for i in range(15)]
    return sum(gaps) / len(truth)


def _stat(score, truth, parts):
    """STAT of `score(truth, part)` over the seeds' parts, 30 resamples of whole dialogues."""
    values = [float(score(truth, part)) for part in parts]
    draw = np.random.default_rng(0)
    dialogues = np.array_split(np.arange(len(truth)), len(truth) // PER_DIALOGUE)
    means = []
    for _ in range(30):
        picked = np.concatenate(
            [dialogues[i] for i in draw.integers(len(dialogues), size=len(dialogues))]
        )
        means.append(np.mean([score(truth[picked], part[picked]) for part in parts]))
    low, high = np.quantile(means, [0.025, 0.975])
    std = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    mean = float(np.mean(values))
    return {
        "mean": mean,
        "std": std,
        "low": float(low),
        "high": float(high),
        "seeds": values,
    }


def _split(truth, probabilities, labels):
    predicted = probabilities.argmax(-1)  # (S, N)
    stats = {
        name: _stat(lambda t, p, name=name: _fast(t, p, len(labels))[name], truth, predicted)
        for name in ("accuracy", "weighted_f1", "macro_f1")
    }
    classes = list(range(len(labels)))
    each = np.array(
        [
            precision_recall_fscore_support(truth, part, labels=classes, zero_division=0)
            for part in predicted
        ]
    )  # (S, 4, C)
    deviation = each[:, 2].std(0, ddof=1) if len(each) > 1 else np.zeros(len(labels))
    confusion = np.mean([confusion_matrix(truth, p, labels=classes) for p in predicted], axis=0)
    support = each[0, 3].astype(int)
    most = labels.index("neutral") if "neutral" in labels else int(support.argmax())
    unseen = truth[: len(truth) * 7 // 8]
    return {
        "rows": len(truth),
        "labelled": len(truth),
        "dialogues": -(-len(truth) // PER_DIALOGUE),
        **stats,
        "ece": _stat(_ece, truth, probabilities),
        "per_class": [
            {
                "label": label,
                "precision": float(each[:, 0, i].mean()),
                "recall": float(each[:, 1, i].mean()),
                "f1": float(each[:, 2, i].mean()),
                "f1_std": float(deviation[i]),
                "support": int(support[i]),
            }
            for i, label in enumerate(labels)
        ],
        "confusion": confusion.tolist(),
        "majority": {
            "label": labels[most],
            **_scores(truth, np.full_like(truth, most)),
        },
        "ensemble": _scores(truth, probabilities.mean(0).argmax(-1)),
        "unseen_text": {
            "rows": len(unseen),
            **{
                name: _stat(
                    lambda t, p, name=name: _fast(t, p, len(labels))[name],
                    unseen,
                    predicted[:, : len(unseen)],
                )
                for name in ("accuracy", "weighted_f1")
            },
        },
        "prototype": None,
        "collapsed": [
            label for i, label in enumerate(labels) if support[i] and not (predicted == i).any()
        ],
    }


def _fast(truth, predicted, classes):
    """`_scores` for the resamples: the same numbers, without scikit-learn's checks."""
    table = np.bincount(truth * classes + predicted, minlength=classes**2)
    table = table.reshape(classes, classes)
    hits, support, said = table.diagonal(), table.sum(1), table.sum(0)
    f1 = np.divide(2 * hits, support + said, where=support + said > 0, out=np.zeros(classes))
    return {
        "accuracy": hits.sum() / len(truth),
        "weighted_f1": (f1 * support).sum() / len(truth),
        "macro_f1": f1[support + said > 0].mean(),
    }
