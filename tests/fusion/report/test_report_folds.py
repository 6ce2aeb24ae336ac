"""Reports of runs over folds, alone and beside runs over a corpus's splits."""

import csv
import io
import json

import numpy as np
import pandas as pd
import pytest
from pages import Page
from sklearn.metrics import recall_score

from erc_features.errors import RunError
from erc_features.extraction.extract import extract
from erc_fusion.config.config import FuseConfig, with_options
from erc_fusion.evaluation.bootstrap import Dialogues
from erc_fusion.evaluation.paired_test import Outcomes, compare, outcomes, paired
from erc_fusion.fuse import fuse
from erc_fusion.report import as_dict, report
from erc_fusion.report.export import as_csv, as_latex
from erc_fusion.report.plots_run import _lines
from erc_fusion.report.results import row
from erc_fusion.runs.run import Run

WORDS = {"joy": "great lovely yay", "anger": "hate stupid angry", "neutral": "the a text"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Three splits, each with dialogues 0 to 5, and runs over folds of three kinds and over them;
    the fifth speaker has no labels."""
    root = tmp_path_factory.mktemp("folds")
    random = np.random.default_rng(0)
    (root / "data/talks").mkdir(parents=True)
    for split in ("train", "dev", "test"):
        rows = [
            {"dialogue": d, "sequence": s, "speaker": f"p{(d + s) % 5}", "x_visual": "",
             "x_audio": "", "label": "" if (d + s) % 5 == 4 else label,
             "x_text": " ".join(random.choice([*WORDS[label].split(), "no", "the", "hate"], 3))}
            for d in range(6) for s in range(5) for label in [random.choice(list(WORDS))]
        ]  # fmt: skip
        pd.DataFrame(rows).to_csv(root / f"data/talks/{split}.csv")
    extract(root / "data/talks", features=root / "features", encoder="baseline")
    options = {"features": str(root / "features"), "runs": str(root / "runs"), "device": "cpu",
               "width": 8, "epochs": 3, "seeds": (0, 1), "head": "linear"}  # fmt: skip
    config = with_options(FuseConfig(corpus="talks"), **options)
    return {
        name: fuse(with_options(config, name=name, **more)).run
        for name, more in (
            ("speaker", {"folds": "speaker"}), ("four", {"folds": "4"}),
            ("other", {"folds": "dialogue:6", "lr": 0.01}), ("fixed", {}),
        )
    }  # fmt: skip


def _by(run, unit):
    """Outcomes with the clusters that a person would write down, from the predictions alone."""
    frame = run.predictions()
    frame = frame[(frame.label != "") & (frame.seed == 0)].sort_values("key")
    name = frame.speaker if unit == "speaker" else frame.key.str.rpartition("-seq-")[0]
    codes = np.unique(name.to_numpy().astype(str), return_inverse=True)[1]
    found = outcomes(run)
    assert found.key.tolist() == frame.key.tolist()
    return Outcomes(found.name, found.split, found.corpus, found.labels, found.key, codes,
                    found.truth, found.predicted)  # fmt: skip


def test_dialogues_of_several_splits_are_not_one(runs):
    """Dialogue 3 of train is not dialogue 3 of test, though both are numbered 3."""
    assert Dialogues(outcomes(runs["four"]).dialogue).count == 18
    same = paired(runs["other"], runs["four"], "uar")
    assert same == compare(_by(runs["other"], "dialogue"), _by(runs["four"], "dialogue"), "uar")


def test_runs_that_hold_out_speakers_are_compared_by_speakers(runs):
    for first, second in (("speaker", "four"), ("four", "speaker")):
        found = paired(runs[first], runs[second], "accuracy")
        by_hand = compare(_by(runs[first], "speaker"), _by(runs[second], "speaker"), "accuracy")
        assert found == by_hand


def test_folds_and_splits_are_no_pair(runs):
    with pytest.raises(RunError, match=r"speaker is over folds \(--folds speaker\).*splits"):
        paired(runs["fixed"], runs["speaker"], "accuracy")


def test_scores_of_each_fold_and_none_without_labels(runs):
    frame = runs["speaker"].predictions()
    for fold in row(runs["speaker"]).folds:
        own = frame[(frame.fold == fold.name) & (frame.label != "")]
        assert fold.labelled == len(own) / 2
        if not fold.labelled:
            assert fold.name == "p4" and fold.accuracy is fold.uar is None
            continue
        seeds = [recall_score(s.label, s.predicted, average="macro", labels=s.label.unique())
                 for _, s in own.groupby("seed")]  # fmt: skip
        assert fold.uar is not None and fold.uar.mean == pytest.approx(np.mean(seeds), abs=1e-12)


def test_a_report_of_folds_alone(runs, tmp_path):
    found = report([runs["speaker"], runs["four"]], baseline=runs["four"], to=tmp_path / "r.html")
    assert found.best is not None and set(found.paired) == {
        ("speaker", "four"), ("four", "speaker")
    }  # fmt: skip
    said = as_dict(found)
    assert "by whole dialogues, and by speakers of speaker" in " ".join(said["summary"])
    assert [each["name"] for each in said["runs"][0]["folds"]] == ["p0", "p1", "p2", "p3", "p4"]
    page = Page((tmp_path / "r.html").read_text())
    lines = page.table("Held out")
    assert [line[0] for line in lines] == ["Held out", "p0", "p1", "p2", "p3", "p4"]
    assert lines[-1][2:] == ["–", "–", "–"]
    line = next(csv.DictReader(io.StringIO(as_csv(found).split("\n", 2)[0] + "\n"
                                           + as_csv(found).split("\n", 2)[2])))  # fmt: skip
    uar = runs["speaker"].metrics["test"]["uar"]
    assert (line["folds"], float(line["test_uar_low"])) == ("speaker", uar["low"])
    assert "speaker (--folds speaker)" in as_latex(found) and "& UAR &" in as_latex(found)


def test_a_report_of_folds_beside_splits_names_no_best(runs):
    found = report([*runs.values()], baseline=runs["fixed"], to=None)
    assert found.mixed and found.best is None and not found.paired
    said = " ".join(as_dict(found)["summary"])
    assert "speaker, four and other over folds, fixed over the corpus's splits" in said
    assert "highest" not in said
    assert "are no pairs" in said


def test_curves_are_of_one_fold_each(runs):
    run = runs["four"]
    found = row(run)
    lines = _lines(run.history(), found.seeds, "dev", "accuracy")
    assert [len(line) for line in lines] == list(found.epochs) and len(lines) == 8
    wanted = [100 * e["dev"]["accuracy"] for e in run.history() if (e["fold"], e["seed"]) == (2, 1)]
    assert lines[5] == wanted


def test_runs_without_uar_are_reported(runs, tmp_path):
    """A run as an older erc wrote it."""
    import shutil

    old = tmp_path / "talks" / "old"
    shutil.copytree(runs["fixed"].path, old)
    metrics = json.loads((old / "metrics.json").read_text())
    for split in ("dev", "test"):
        for part in (metrics[split], metrics[split]["majority"], metrics[split]["ensemble"]):
            del part["uar"]
    (old / "metrics.json").write_text(json.dumps(metrics))
    alone = report([Run(old)], to=None)
    assert "UAR" not in as_latex(alone) and as_dict(alone)["runs"][0]["test"]["uar"] is None
    both = report([Run(old), runs["fixed"]], to=tmp_path / "b.html")
    assert "& UAR &" in as_latex(both)
    line = list(csv.DictReader(io.StringIO(as_csv(both))))
    assert [each["test_uar_mean"] != "" for each in line] == [False, False, True]
    assert "UAR" not in Run(old)._repr_html_() and "UAR" in runs["fixed"]._repr_html_()


def test_jupyter_says_what_intervals_are_over(runs):
    assert "95% interval over speakers" in runs["speaker"]._repr_html_()
    assert '<td style="text-align: left">4; test is every row' in runs["four"]._repr_html_()
    for name in ("four", "fixed"):
        assert "95% interval over whole dialogues" in runs[name]._repr_html_()
