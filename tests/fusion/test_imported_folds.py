"""The sample corpus, features of one's own making, and folds: one import, one fuse, one report."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from corpora import write_rows
from pages import Page
from typer.testing import CliRunner

import cli
from erc_features.sample.sample import DIALOGUES
from erc_features.sample.script import write_script
from erc_fusion.inputs.folds import make_folds
from erc_fusion.inputs.sources import find_sources
from erc_fusion.inputs.table import FeatureTable, load_table
from erc_fusion.runs.run import Run

ROWS, SPEAKERS = 528, 6


def run(*arguments: str) -> None:
    done = CliRunner().invoke(cli.app, arguments)
    assert done.exit_code == 0, done.output


@dataclass(frozen=True)
class Mine:
    root: Path
    table: FeatureTable

    def fuse(self, rule: str) -> Run:
        name = rule.partition(":")[0]
        settings = "--head linear --lr 0.01 --epochs 6 --batch-size 64 --width 16 --seeds 0,1"
        run("fuse", "--corpus", "mine", "--folds", rule, "--name", name, "--device", "cpu",
            "--features", f"{self.root}/features", "--runs", f"{self.root}/runs",
            *settings.split())  # fmt: skip
        return Run(self.root / "runs/mine" / name)


@pytest.fixture(scope="module")
def mine(tmp_path_factory) -> Mine:
    """What the sample corpus's script says, and features of one's own, with the emotion in them."""
    root = tmp_path_factory.mktemp("mine")
    lines = write_script(0, DIALOGUES)
    emotions = sorted({line.emotion for line in lines})
    keys, x = [], np.random.default_rng(0).normal(size=(len(lines), 24)).astype(np.float32)
    for split in ("train", "dev", "test"):
        own = [line for line in lines if line.split == split]
        write_rows(root / f"data/mine/{split}.csv", [
            {"dialogue": line.dialogue, "sequence": line.utterance, "speaker": line.speaker,
             "x_text": line.text, "label": line.emotion} for line in own
        ])  # fmt: skip
    for row, line in enumerate(lines):
        keys.append(f"{line.split}/d-{line.dialogue}-seq-{line.utterance}")
        x[row, emotions.index(line.emotion)] += 2
    order = np.random.default_rng(1).permutation(len(lines))  # in no order of the corpus
    np.save(root / "own.npy", x[order])
    (root / "keys.txt").write_text("\n".join(keys[row] for row in order))
    run("import", f"{root}/own.npy", "--corpus", f"{root}/data/mine", "--modality", "audio",
        "--keys", f"{root}/keys.txt", "--features", f"{root}/features")  # fmt: skip
    return Mine(root, load_table(find_sources(root / "features/mine", ())))


def test_five_folds_of_imported_features_are_one_import_one_fuse_and_one_report(mine: Mine) -> None:
    found = mine.fuse("dialogue:5")
    frame = found.predictions()
    assert len(mine.table) == ROWS and len(found.metrics["folds"]) == 5
    assert frame.groupby("seed").key.nunique().tolist() == [ROWS, ROWS]
    assert sorted(frame.key.unique()) == sorted(mine.table.key.tolist())
    assert found.metrics["test"]["accuracy"]["mean"] > 0.5
    page = mine.root / "report.html"
    run("report", "--corpus", "mine", "--runs", str(mine.root / "runs"), "--to",
        str(page))  # fmt: skip
    assert "dialogue:5" in Page(page.read_text()).text


def test_no_speaker_is_on_two_sides_of_any_fold(mine: Mine) -> None:
    """On what the run itself wrote down, with the names of the corpus's own CSVs."""
    found = mine.fuse("speaker")
    said = {(f"{line.split}/d-{line.dialogue}-seq-{line.utterance}"): line.speaker
            for line in write_script(0, DIALOGUES)}  # fmt: skip
    folds = make_folds(mine.table, "speaker")
    assert len(folds) == len(found.metrics["folds"]) == SPEAKERS == len(set(said.values()))
    frame = found.predictions()
    rows = 0
    for fold, written in zip(folds, found.metrics["folds"], strict=True):
        parts = [mine.table.key[part].tolist() for part in (fold.train, fold.dev, fold.test)]
        train, dev, test = ({said[key] for key in part} for part in parts)
        assert test == {written["name"]} and not test & (train | dev) and not train & dev
        own = frame[(frame.fold == written["name"]) & (frame.seed == 0)].key.tolist()
        assert sorted(own) == sorted(parts[2])
        assert sum(map(len, parts)) == ROWS and len({key for part in parts for key in part}) == ROWS
        rows += len(own)
    assert rows == ROWS == len(said)
    record = json.loads((found.path / "history.jsonl").read_text().splitlines()[0])
    assert {"fold", "seed", "epoch"} <= record.keys()
