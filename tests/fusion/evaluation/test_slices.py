"""Slices of a run against pandas, and the columns of its predictions."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fusion_files import LABELS, embeddings, make_corpus, write_features
from sklearn.metrics import accuracy_score, f1_score

from erc_features.store import Status
from erc_fusion.evaluation.score import Predicted, score_splits
from erc_fusion.evaluation.slices import slices
from erc_fusion.inputs.sources import find_sources
from erc_fusion.inputs.table import FeatureTable, load_table
from erc_fusion.runs.predictions import write_predictions

SEEDS = (3, 8)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> FeatureTable:
    """Text, and audio of four rows in five; speakers by number of rows; texts of 0 to 13 words."""
    folder = tmp_path_factory.mktemp("features") / "tiny"
    corpus = make_corpus((4, 4, 40), blank=("test/d-1-seq-2", "dev/d-0-seq-0"))
    count = np.arange(len(corpus.rows))
    audio = np.where(count % 5 == 0, Status.MISSING, Status.OK)
    text = np.where(count % 50 == 10, Status.MISSING, Status.OK)
    write_features(folder, "audio.b", corpus, embeddings(corpus, 1, 3), status=audio)
    write_features(folder, "text.a", corpus, embeddings(corpus, 1, 4), status=text)
    found = load_table(find_sources(folder))
    speakers = np.array(["Ross", "Ross", "Ross", "Joey", "Ann", "", "", "Rare"])
    rare = np.array([f"guest {i}" for i in count])
    speaker = np.where(count % 9 == 4, rare, speakers[count % 8])
    words = np.array([" ".join(["so"] * (i % 14)) for i in count])
    return replace(found, speaker=speaker, text=words)


def predict(table: FeatureTable, rows: np.ndarray) -> Predicted:
    source = np.random.default_rng(int(rows[0]))
    logits = source.normal(size=(2, len(rows), 3))
    logits[:, np.arange(len(rows)), table.label[rows]] += 1
    probability = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    pca = source.normal(size=(2, len(rows), 2)).astype(np.float32)
    return Predicted(probability.astype(np.float32), None, pca)


def test_every_slice_is_what_pandas_groups(table: FeatureTable) -> None:
    scores, blocks = score_splits(table, SEEDS, predict)
    frame = pd.concat([pd.DataFrame(columns) for columns in blocks], ignore_index=True)
    frame = frame[frame.split == "test"].sort_values(["seed", "dialogue", "sequence"])
    frame["position"] = frame.groupby(["seed", "dialogue"]).cumcount() + 1
    words = frame.text.str.split().str.len()
    known = frame.label != ""
    often = frame[known & (frame.seed == 3)].speaker.value_counts()
    often = set(often[often >= 20].index)
    assert often < set(frame.speaker) and len(often) >= 3
    groups = pd.DataFrame({
        "speaker": [(s or "no speaker") if s in often else "(others)" for s in frame.speaker],
        "position": pd.cut(frame.position, [0, 1, 4, 9, 99], labels=["1", "2–4", "5–9", "10+"]),
        "length": pd.cut(words, [-1, 0, 2, 5, 10, 99],
                         labels=["no text", "1–2", "3–5", "6–10", "11+"]),
        "missing": frame.missing.str.replace(",", ", ").replace("", "none"),
    }, index=frame.index).astype(str)  # fmt: skip
    found = scores["test"]["slices"]
    assert list(found) == ["speaker", "position", "length", "missing"]
    for name, items in found.items():
        assert {item["value"] for item in items} == set(groups[name][known])
        assert sum(item["rows"] for item in items) == scores["test"]["labelled"]
        for item in items:
            part = frame[known & (groups[name] == item["value"])]
            assert item["rows"] == len(part) / 2
            each = [g for _, g in part.groupby("seed")]
            assert item["accuracy"] == pytest.approx(
                np.mean([accuracy_score(g.label, g.predicted) for g in each])
            )
            assert item["weighted_f1"] == pytest.approx(
                np.mean([f1_score(g.label, g.predicted, average="weighted") for g in each])
            )


def test_the_order_of_slices(table: FeatureTable) -> None:
    found = score_splits(table, SEEDS, predict)[0]["test"]["slices"]
    values = {name: [item["value"] for item in items] for name, items in found.items()}
    assert values["speaker"][0] == "Ross" and values["speaker"][-1] == "(others)"
    assert "no speaker" in values["speaker"]
    rows = [item["rows"] for item in found["speaker"][:-1]]
    assert rows == sorted(rows, reverse=True) and rows[-1] >= 20
    assert values["position"] == ["1", "2–4", "5–9"]  # no dialogue here has ten rows
    assert values["length"] == ["1–2", "3–5", "6–10", "11+", "no text"]
    assert values["missing"] == ["none", "audio.b", "text.a, audio.b"]


def test_unlabelled_rows_hold_their_place_and_are_not_scored(table: FeatureTable) -> None:
    """Every first row unlabelled: there is no position 1, and no row has moved up."""
    label = np.where(table.sequence == 0, -1, table.label)
    rows = table.rows("test")
    found = slices(replace(table, label=label), rows, table.label[rows][None])
    assert [item["value"] for item in found["position"]] == ["2–4", "5–9"]
    labelled = int((label[rows] >= 0).sum())
    assert sum(item["rows"] for item in found["position"]) == labelled
    blank = replace(table, label=np.where(table.split == "test", -1, table.label))
    scores, blocks = score_splits(blank, SEEDS, predict)
    assert scores["test"] is None and scores["dev"]["slices"]
    assert {split for columns in blocks for split in columns["split"]} == {"dev", "test"}


def test_new_columns_of_the_predictions(table: FeatureTable, tmp_path: Path) -> None:
    _, columns = score_splits(table, SEEDS, predict)
    write_predictions(tmp_path / "p.parquet", columns)
    frame = pd.read_parquet(tmp_path / "p.parquet")
    assert frame.pca_1.dtype == frame.pca_2.dtype == np.float32
    for split in ("dev", "test"):
        rows = table.rows(split)
        expected = predict(table, rows).pca
        for seed, pca in zip(SEEDS, expected, strict=True):
            part = frame[(frame.split == split) & (frame.seed == seed)]
            assert part.key.tolist() == table.key[rows].tolist()
            np.testing.assert_array_equal(part[["pca_1", "pca_2"]], pca)
            present = [
                ",".join(s.stem for s, there in zip(table.sources, row, strict=True) if not there)
                for row in table.present[rows]
            ]
            assert part.missing.tolist() == present
    assert set(frame.missing) == {"", "audio.b", "text.a,audio.b"}
    assert set(frame.predicted) <= set(LABELS)


def test_positions_begin_again_in_another_split(table: FeatureTable) -> None:
    """Over folds, rows of all splits are scored together, and each split has a dialogue 0."""
    numbered = replace(table, dialogue=np.zeros_like(table.dialogue))
    rows = np.arange(len(table))
    found = slices(numbered, rows, np.zeros((1, len(rows)), np.int64))["position"]
    known = pd.Series(table.label >= 0)
    place = pd.Series(table.split).groupby(table.split).cumcount() + 1
    assert found[0]["value"] == "1" and found[0]["rows"] == (known & (place == 1)).sum()
