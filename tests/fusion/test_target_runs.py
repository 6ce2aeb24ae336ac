"""`erc fuse --target` on feature files, and everything that reads such a run."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import f1_score, mean_absolute_error
from typer.testing import CliRunner

import cli
from erc_features.errors import ErcError
from erc_features.extraction.extract import extract
from erc_features.preparation.live_dialogue import read_talk
from erc_fusion.config.config import FuseConfig, with_options
from erc_fusion.evaluation.paired_test import compare, outcomes
from erc_fusion.fuse import fuse
from erc_fusion.inputs.sources import find_sources
from erc_fusion.inputs.splits import check_splits
from erc_fusion.inputs.table import load_table
from erc_fusion.inputs.targets import Task, settle, with_target
from erc_fusion.predict import predict, write_answers
from erc_fusion.report.comparison import compare as report
from erc_fusion.report.export import as_csv
from erc_fusion.report.plots import overview
from erc_fusion.report.summary import sentences
from erc_fusion.report.text import as_dict
from erc_fusion.runs.run import Run
from erc_fusion.search.tune import tune
from erc_fusion.search.tune_space import Space

WORDS = {"joy": "great lovely yay", "anger": "hate stupid angry", "neutral": "the a text"}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Texts whose words say the label, the valence and a set of emotions."""
    folder = tmp_path_factory.mktemp("targets")
    random = np.random.default_rng(0)
    (folder / "data/talks").mkdir(parents=True)
    for split, dialogues in (("train", 24), ("dev", 10), ("test", 10)):
        rows = []
        for place in range(dialogues * 6):
            label = random.choice(list(WORDS))
            said = [*random.choice([*WORDS[label].split(), "no"], 3), random.choice(["wow", "so"])]
            valence = {"joy": 1, "anger": -1, "neutral": 0}[label] * 2 + random.normal() * 0.4 + 3
            emotions = {label} - {"neutral"} | ({"surprise"} if "wow" in said else set())
            rows.append({
                "dialogue": place // 6, "sequence": place % 6, "label": label,
                "speaker": f"s{place % 4}", "x_text": " ".join(said), "x_visual": "",
                "x_audio": "", "valence": "" if place % 9 == 8 else f"{valence:.3f}",
                "arousal": f"{random.normal():.3f}", "emotions": "|".join(sorted(emotions)) or "|",
            })  # fmt: skip
        pd.DataFrame(rows).to_csv(folder / f"data/talks/{split}.csv", index=False)
    extract(folder / "data/talks", features=folder / "features", encoder="baseline")
    return folder


def config(root, target, **options):
    start = with_options(
        FuseConfig(corpus="talks"), features=str(root / "features"), runs=str(root / "runs"),
        device="cpu", target=target, width=16, epochs=12, lr=5e-3, batch_size=32, seeds=(0, 1),
    )  # fmt: skip
    return with_options(start, **options)


@pytest.fixture(scope="module")
def runs(root):
    """A run of each kind, by its name."""
    asked = {"numbers": "valence,arousal", "sets": "emotions", "both": "label,valence",
             "plain": "label"}  # fmt: skip
    return {name: fuse(config(root, target, name=name)).run for name, target in asked.items()}


def test_scores_are_those_of_the_predictions(runs):
    frame = runs["numbers"].predictions().query("split == 'test' and seed == 1")
    known = frame[frame.true_valence.notna()]
    found = runs["numbers"].metrics["test"]["numbers"]["valence"]
    r = stats.pearsonr(known.true_valence, known.predicted_valence).statistic
    assert found["rows"] == len(known) == 54
    assert found["pearson"]["seeds"][1] == pytest.approx(r, abs=1e-9)
    error = mean_absolute_error(known.true_valence, known.predicted_valence)
    assert found["mae"]["seeds"][1] == pytest.approx(error)
    train = pd.read_csv(runs["numbers"].path.parents[2] / "data/talks/train.csv").valence.mean()
    floor = mean_absolute_error(known.true_valence, np.full(len(known), train))
    assert found["mean_of_train"]["mae"] == pytest.approx(floor)
    assert found["ccc"]["mean"] > 0.7 > found["mae"]["mean"] < floor
    frame = runs["sets"].predictions().query("split == 'test' and seed == 0")
    names = runs["sets"].inputs["labels"]
    truth, chosen = (
        np.array([[name in text.split("|") for name in names] for text in frame[column]])
        for column in ("label", "predicted")
    )
    want = f1_score(truth, chosen, average="micro")
    assert runs["sets"].metrics["test"]["micro_f1"]["seeds"][0] == pytest.approx(want)
    assert want > 0.8
    both = runs["both"].metrics["test"]
    assert both["accuracy"]["mean"] > 0.8 and both["ccc"]["mean"] > 0.7


def test_the_same_run_is_found_again_and_another_target_is_another(root, runs):
    assert fuse(config(root, "emotions", name="sets")).already
    names = {fuse(config(root, target, epochs=1)).run.name for target in ("valence", "arousal")}
    assert len(names) == 2


@pytest.mark.parametrize("rule", ["speaker", "dialogue:3"])
@pytest.mark.parametrize("target", ["valence,arousal", "emotions", "label,valence"])
def test_folds(root, target, rule):
    run = fuse(config(root, target, folds=rule, epochs=2)).run
    frame = run.predictions()
    assert frame.groupby("seed").key.nunique().tolist() == [264, 264]
    assert len(run.metrics["folds"]) == (4 if rule == "speaker" else 3)
    for each in run.metrics["folds"]:
        assert ("ccc" in each) == ("valence" in target)


def test_predict_says_what_was_predicted_in_test(root, runs, tmp_path):
    told = read_talk(root / "data/talks/test.csv")
    for name, run in runs.items():
        found = predict(run, told, device="cpu")
        frame = run.predictions().query("split == 'test'")
        assert [answer.text for answer in found.rows] == frame[frame.seed == 0].text.tolist()
        for number in run.inputs["task"]["numbers"]:
            mean = frame.groupby("key", sort=False)[f"predicted_{number}"].mean()
            mine = [answer.numbers[number] for answer in found.rows]
            assert mine == pytest.approx(mean.tolist(), abs=1e-4)
            spread = frame.groupby("key", sort=False)[f"predicted_{number}"].std()
            assert [a.deviation[number] for a in found.rows] == pytest.approx(spread, abs=1e-4)
        if name == "sets":
            labels = {answer.emotion for answer in found.rows}
            assert "|" in labels and "joy|surprise" in labels
        assert (found.rows[0].emotion == "") == (name == "numbers")
        write_answers(found, tmp_path / f"{name}.csv")
        kept = pd.read_csv(tmp_path / f"{name}.csv")
        assert ("valence" in kept) == (name in ("numbers", "both"))


def test_runs_of_one_target_are_compared_in_pairs(root, runs):
    narrow = fuse(config(root, "valence,arousal", name="narrow", head="linear", epochs=1)).run
    one, other = outcomes(runs["numbers"]), outcomes(narrow)
    found = compare(one, other, "ccc")
    means = [run.metrics["test"]["ccc"]["mean"] for run in (runs["numbers"], narrow)]
    assert found.difference == pytest.approx(means[0] - means[1], abs=1e-9)
    assert found.low < found.difference < found.high and 0 < found.p < 0.05
    assert compare(one, one, "ccc").p == 1
    sets = outcomes(runs["sets"])
    assert compare(sets, sets, "micro_f1").difference == 0
    with pytest.raises(Exception, match="which has no accuracy"):
        compare(one, other, "accuracy")
    with pytest.raises(Exception, match="different labels, targets"):
        compare(one, sets, "ccc")


def test_the_report_of_each_target(root, runs, tmp_path):
    def report(*options):
        given = ["report", "--corpus", "talks", "--runs", str(root / "runs"), "--to",
                 str(tmp_path / "r.html"), *options]  # fmt: skip
        return CliRunner().invoke(cli.app, given)

    mixed = report()
    assert mixed.exit_code == 1 and "predict" in mixed.output and "--target" in mixed.output
    path = str(runs["numbers"].path)
    done = report(path, "--csv", str(tmp_path / "r.csv"), "--latex", str(tmp_path / "r.tex"))
    assert done.exit_code == 0, done.output
    mean = runs["numbers"].metrics["test"]["ccc"]["mean"]
    assert f"{mean:.3f}" in done.output and "On test its CCC is" in done.output
    assert pd.read_csv(tmp_path / "r.csv")["test_ccc_mean"].iloc[0] == mean
    assert f"{mean:.3f}" in (tmp_path / "r.tex").read_text()
    page = (tmp_path / "r.html").read_text()
    assert "Numbers on test" in page and "arousal" in page and "Confusion" not in page
    done = report("--target", "emotions", "--json")
    shown = json.loads(done.stdout)
    assert shown["runs"][0]["test"]["map"] and shown["labels"] == ["anger", "joy", "surprise"]
    assert "Labels on test" in (tmp_path / "r.html").read_text()
    done = report(str(runs["both"].path))
    page = (tmp_path / "r.html").read_text()
    assert done.exit_code == 0 and "Numbers on test" in page and "Confusion on test" in page
    for run in runs.values():
        assert "<table" in Run(run.path)._repr_html_()


def test_tune_searches_for_targets(root, tmp_path):
    pytest.importorskip("optuna")
    from erc_fusion.search.tune import tune

    found = tune(config(root, "valence", epochs=2), trials=2, to=tmp_path / "tuned.toml")
    assert found.config.target == "valence" and found.config.monitor == "ccc"
    assert "loss" not in found.best[0].options
    assert fuse(found.config).run.metrics["test"]["ccc"]


@pytest.fixture(scope="module")
def lacking(root):
    """A table of label, valence and sets, and which of its rows are of which split."""
    return load_table(find_sources(root / "features/talks"))


def without(table, split, *columns):
    """The table, with no truth of these columns in a split."""
    rows = table.rows(split)
    more = {name: texts.copy() for name, texts in table.more.items()}
    label = table.label.copy()
    for column in columns:
        if column == "label":
            label[rows] = -1
        else:
            more[column][rows] = ""
    return replace(table, label=label, more=more)


@pytest.mark.parametrize(
    ("target", "split", "columns", "monitor", "said"),
    [("label,valence", "dev", ["label"], "accuracy", "no row has a class.*nothing to choose on"),
     ("label,valence", "dev", ["valence"], "ccc", "valence is never known.*nothing to choose on"),
     ("valence,arousal", "dev", ["valence", "arousal"], "ccc", "no labelled dev row"),
     ("label,valence", "train", ["label"], "accuracy", "no train row has label"),
     ("label,valence", "dev", ["valence"], "accuracy", ["no dev row has valence: dev scores"]),
     ("valence,arousal", "test", ["arousal"], "ccc", ["no test row has arousal: test scores"]),
     ("emotions", "test", ["emotions"], "map", [])],
)  # fmt: skip
def test_what_a_split_lacks_is_said(lacking, target, split, columns, monitor, said):
    table = with_target(without(lacking, split, *columns), target)
    if isinstance(said, str):
        with pytest.raises(ErcError, match=said):
            check_splits(table, monitor)
        return
    found = check_splits(table, monitor)
    assert len(found) == len(said) and all(map(str.startswith, found, said))


def test_dev_sets_without_a_label_and_constant_numbers_choose_nothing(lacking):
    dev = lacking.rows("dev")
    more = {name: texts.copy() for name, texts in lacking.more.items()}
    more["emotions"][dev], more["valence"][dev] = "|", "0.1"
    table = replace(lacking, more=more)
    for target, monitor in (("emotions", "map"), ("valence", "ccc")):
        with pytest.raises(ErcError, match="in dev, so there is nothing to choose on"):
            check_splits(with_target(table, target), monitor)


def test_runs_whose_test_lacks_one_of_two_targets_are_reported(root, tmp_path):
    """Scores, pairs and the page are of what test has; p of what it lacks would be a star."""
    for place, column in enumerate(("valence", "label")):
        folder = tmp_path / f"data{place}/talks"
        folder.mkdir(parents=True)
        for split in ("train", "dev", "test"):
            frame = pd.read_csv(root / f"data/talks/{split}.csv", dtype=str, keep_default_na=False)
            if split == "test":
                frame[column] = ""
            frame.to_csv(folder / f"{split}.csv", index=False)
        where = tmp_path / f"features{place}"
        extract(folder, features=where, encoder="baseline")
        options = {"features": str(where), "runs": str(tmp_path / f"runs{place}"), "epochs": 1,
                   "seeds": (0,)}  # fmt: skip
        one, other = (
            fuse(config(root, "label,valence", name=head, head=head, **options)).run
            for head in ("mlp", "linear")
        )
        comparison = report([one, other], baseline=other)
        assert "[" in " ".join(sentences(comparison)) and as_csv(comparison)
        (found, _), by = as_dict(comparison)["runs"], comparison.paired_by
        assert overview(comparison, by[0], "x", {}) and comparison.best is not None
        scored = {"accuracy", "weighted_f1"} if column == "valence" else {"ccc"}
        assert set(found["paired"]["baseline"]) == scored
        assert all(0 < own["p"] <= 1 for own in found["paired"]["baseline"].values())
        assert {name for name in ("accuracy", "ccc") if found["test"][name]} == scored - {
            "weighted_f1"
        }


def test_settings_that_do_nothing_are_refused():
    numbers, sets = Task("v", numbers=("v",)), Task("e", ("a", "b"), several=True)
    for task, option, said in (
        (numbers, {"batch_size": 1}, "--batch-size 1 leaves nothing"),
        (numbers, {"class_weights": "sqrt"}, "--class-weights: --target v has neither"),
        (sets, {"label_smoothing": 0.1}, "--label-smoothing: --target e has no classes"),
    ):
        with pytest.raises(ErcError, match=said):
            settle(with_options(FuseConfig(), **option), task)


def test_tune_does_not_lose_what_was_asked(root, tmp_path):
    given = config(root, "label,valence", loss="cross-entropy,mse", epochs=1, seeds=(0,))
    space = Space(("mlp",), ("none",), ("focal",), ("none",))
    found = tune(given, space=space, trials=1, to=tmp_path / "tuned.toml")
    assert found.config.loss.loss == "focal,mse"
    with pytest.raises(ErcError, match="--losses: only classes have that"):
        tune(config(root, "valence"), space=space, trials=1)
