"""`erc score`: runs on other corpora, with other names of labels, and with modalities missing."""

import json
import shutil
from dataclasses import replace

import h5py
import numpy as np
import pytest
from fusion_files import LABELS, Corpus, make_corpus, write_features
from sklearn.metrics import accuracy_score, f1_score
from typer.testing import CliRunner

import cli
from erc_features.errors import ErcError, RunError
from erc_features.store import Status
from erc_fusion.config.config import FuseConfig, with_options
from erc_fusion.evaluation.masking import parse_masks, parse_pairs
from erc_fusion.fuse import fuse
from erc_fusion.inputs.sources import find_sources
from erc_fusion.inputs.table import load_table
from erc_fusion.report import report
from erc_fusion.runs.run import Run, list_runs
from erc_fusion.runs.scored import read_scored
from erc_fusion.score import score
from erc_fusion.training.checkpoint import load_weights

FILES = {"text.x": 2.0, "audio.y": 1.0}  # how much they say
THEIRS = {"anger": "angry", "joy": "happy", "neutral": "bored"}


def embeddings(corpus: Corpus, signal: float, seed: int) -> np.ndarray:
    """The same direction of a class in every corpus."""
    directions = np.random.default_rng(5).normal(size=(3, 6))
    noise = np.random.default_rng(seed).normal(size=(len(corpus.rows), 1, 6))
    return (noise + signal * directions[corpus.target][:, None]).astype(np.float32)


def write(folder, corpus, *, seed=0, labels=LABELS, fingerprint="f" * 64):
    for i, (stem, signal) in enumerate(FILES.items()):
        status = np.full(len(corpus.rows), Status.OK)
        status[3 + i :: 17] = Status.MISSING
        x = embeddings(corpus, signal, 10 * seed + i)
        write_features(folder, stem, corpus, x, status=status, labels=labels,
                       fingerprint=fingerprint)  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scores")
    write(folder / "features/ours", make_corpus())
    theirs = make_corpus((6, 0, 10), seed=3)
    words = [f"other {text}" for text in theirs.rows.text]
    renamed = [THEIRS[label] for label in theirs.rows.label]
    words[0] = make_corpus().rows.text[0]
    other = Corpus(replace(theirs.rows, label=renamed, text=words), theirs.target)
    write(folder / "features/theirs", other, seed=1, labels=tuple(sorted(THEIRS.values())),
          fingerprint="e" * 64)  # fmt: skip
    return folder


def fused(root, **options):
    config = with_options(
        FuseConfig(corpus="ours"), features=str(root / "features"), runs=str(root / "runs"),
        device="cpu", epochs=8, width=16, lr=5e-3, batch_size=32, seeds=(0, 1), **options,
    )  # fmt: skip
    return fuse(config).run


@pytest.fixture(scope="module")
def run(root):
    return fused(root, name="mlp")


def scored(root, run, *given, **options):
    return score(run, *given, features=root / "features", device="cpu", **options).scored


def test_its_own_test_is_scored_as_it_was(root, run):
    found = scored(root, run)
    kept = {name: run.metrics["test"][name] for name in found.scores}
    assert json.loads(json.dumps(found.scores)) == kept
    assert (found.corpus, found.split, found.left_out) == ("ours", "test", {})
    assert scored(root, run, split="dev").scores["accuracy"] == run.metrics["dev"]["accuracy"]
    folded = fused(root, name="folds", folds="dialogue:3")
    of_folds = scored(root, folded).scores
    assert of_folds["weighted_f1"] == folded.metrics["test"]["weighted_f1"]


def test_another_corpus_through_a_map(root, run):
    names = {theirs: ours for ours, theirs in THEIRS.items()}
    found = scored(root, run, "theirs", mapped=names)
    table = load_table(find_sources(root / "features/theirs"))
    probability = load_weights(run).predict(table, np.arange(len(table))).probability
    truth = np.array([sorted(names).index(table.labels[c]) for c in table.label])
    ours = np.array([LABELS.index(names[table.labels[c]]) for c in table.label])
    assert found.scores["labelled"] == len(truth)
    for seed, own in enumerate(probability.argmax(-1)):
        assert found.scores["accuracy"]["seeds"][seed] == accuracy_score(ours, own)
        weighted = f1_score(ours, own, average="weighted")
        assert found.scores["weighted_f1"]["seeds"][seed] == pytest.approx(weighted)
    assert found.scores["accuracy"]["mean"] > 0.8
    assert "1 of " in found.warnings[0] and "word for word" in found.warnings[0]
    part = scored(root, run, "theirs", mapped={"happy": "joy", "angry": "anger"})
    assert part.left_out == {"bored": int((ours == LABELS.index("neutral")).sum())}
    assert part.scores["labelled"] == int((ours != LABELS.index("neutral")).sum())
    assert any("no row is neutral" in warning for warning in part.warnings)
    two = scored(root, run, "theirs", mapped={**names, "bored": "joy"}).scores
    assert two["labelled"] == len(truth)  # several of theirs may be one of ours
    test = scored(root, run, "theirs", mapped=names, split="test")
    assert test.scores["labelled"] == len(table.rows("test"))
    assert scored(root, fused(root, name="folds", folds="dialogue:3"), "theirs",
                  mapped=names).scores["accuracy"]["mean"] > 0.8  # fmt: skip


def test_what_cannot_be_scored(root, run, tmp_path):
    features = root / "features"
    with pytest.raises(ErcError, match="has a label that .* knows.*--map"):
        scored(root, run, "theirs")
    with pytest.raises(ErcError, match="Unknown label of theirs 'joy'; choose from angry"):
        scored(root, run, "theirs", mapped={"joy": "joy"})
    with pytest.raises(ErcError, match="Unknown label of the run 'calm'"):
        scored(root, run, "theirs", mapped={"happy": "calm"})
    for split in ("train", "all"):
        with pytest.raises(ErcError, match="has learned from train of its own corpus"):
            scored(root, run, split=split)
    with pytest.raises(ErcError, match="lacks feature files .*\n  text.x: encoder"):
        scored(root, run, "nowhere")
    with pytest.raises(RunError, match="no finished run there"):
        scored(root, Run(tmp_path))
    other = make_corpus((6, 0, 10), seed=3)
    write(features / "changed", other, fingerprint="d" * 64)
    for change, message in (
        ({"revision": "s" * 64}, "revision: rrrrrrrrrrrr there, ssssssssssss here"),
        (
            {"revision": "r" * 64, "config": '{"layers": "last"}'},
            "layers: 'all' there, 'last' here",
        ),
    ):
        with h5py.File(features / "changed/text.x.h5", "r+") as file:
            for name, value in change.items():
                file.attrs[name] = value
        with pytest.raises(ErcError, match=f"not made as the run's text.x:\n  {message}"):
            scored(root, run, "changed")
    shutil.copytree(features / "ours", features / "copy")  # by another name, still its own
    with pytest.raises(ErcError, match="has learned from train of its own corpus"):
        scored(root, run, "copy", split="all")
    copied = score(run, "copy", features=features, device="cpu")
    assert copied.scored.scores["rows"] == run.metrics["test"]["rows"]
    copied.path.unlink()
    with pytest.raises(ErcError, match="whose labels it has already"):
        scored(root, run, mapped={"joy": "anger"})
    # Of its own corpus: which rows it has seen is known only of its very files.
    write(tmp_path / "features/ours", make_corpus(), seed=7)
    with pytest.raises(RunError, match="its feature files have changed"):
        score(run, features=tmp_path / "features")
    write(tmp_path / "other/ours", make_corpus(seed=9), fingerprint="c" * 64)
    with pytest.raises(RunError, match="are not those that .* was trained on"):
        score(run, features=tmp_path / "other")


def test_masks(root, run):
    curve = scored(root, run, mask={"audio": (0.0, 0.5, 1.0)}, repeats=5)
    none, half, every = (step.scores["weighted_f1"] for step in curve.masked)
    assert none.mean == pytest.approx(run.metrics["test"]["weighted_f1"]["mean"]) and none.std == 0
    assert every.std == 0 and half.std > 0 and half.low <= half.mean <= half.high
    # With no audio at all: what the run says of a table without it.
    table = load_table(find_sources(root / "features/ours"))
    rows = table.rows("test")
    deaf = table.present.copy()
    audio = [source.modality for source in table.sources].index("audio")
    deaf[:, audio] = False
    own = load_weights(run).predict(replace(table, present=deaf), rows).probability.argmax(-1)
    want = [f1_score(table.label[rows], seed, average="weighted") for seed in own]
    assert every.mean == pytest.approx(np.mean(want))
    again = scored(root, run, mask={"audio": (0.0, 0.5, 1.0)}, repeats=5)
    assert again == curve and scored(root, run, mask={"audio": (0.5,)}, repeats=5, seed=1) != curve
    both = scored(root, run, mask={"audio": (1.0,), "text": (0.0, 1.0)})
    assert both.masked[1].shares == {"audio": 1.0, "text": 1.0}
    assert both.masked[1].scores["accuracy"].mean < both.masked[0].scores["accuracy"].mean
    with pytest.raises(ErcError, match="Unknown modality of the run 'visual'"):
        scored(root, run, mask={"visual": (0.5,)})
    with pytest.raises(ErcError, match="has 2 shares and another 3"):
        scored(root, run, mask={"audio": (0.1, 0.2), "text": (0.1, 0.2, 0.3)})


@pytest.mark.parametrize(
    ("items", "message"), [(["audio"], "say it as"), (["audio=2"], "from 0 to 1"),
                           (["audio=x"], "from 0 to 1"), (["a=0", "a=1"], "there twice")]
)  # fmt: skip
def test_masks_that_are_none(items, message):
    with pytest.raises(ErcError, match=message):
        parse_masks(items)
    assert parse_pairs([], "--map", "a=b") == {}


def test_the_report_and_the_command_line(root, run, tmp_path):
    given = ["score", str(run.path), "--features", str(root / "features"), "--device", "cpu"]
    done = CliRunner().invoke(cli.app, [*given, "theirs", "--map", "happy=joy,angry=anger"])
    assert done.exit_code == 0, done.output
    assert "Left out, as the run has no such label" in done.output and "bored" in done.output
    done = CliRunner().invoke(cli.app, [*given, "--mask", "audio=0:0.5:1", "--repeats", "3"])
    assert "audio 50%" in done.output
    runs = list_runs(root / "runs", "ours")[0]
    assert [each.name for each in runs if each.name == "scores"] == []  # its folder is no run
    made = report([run], to=tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert "On other corpora" in page and "With modalities missing" in page and "bored (" in page
    done = CliRunner().invoke(cli.app, ["report", str(run.path), "--to", str(tmp_path / "r.html"),
                                        "--json"])  # fmt: skip
    record = json.loads(done.stdout)["elsewhere"][0]
    assert record["corpus"] == "theirs" and record["run"] == "mlp" and record["weighted_f1"]
    assert len(made.rows) == 1
    # What was found of another run of that name counts no more.
    kept = read_scored(run)
    assert {each.corpus for each in kept} == {"ours", "theirs"}
    changed = fused(root, name="mlp", head="linear", overwrite=True)
    assert read_scored(changed) == ()
    (run.path.parent / "scores/mlp/ours.test.json").write_text("{")
    with pytest.raises(RunError, match="is damaged.*Run `erc score` again"):
        read_scored(changed)


def test_fuse_scores_other_corpora_too(root):
    done = CliRunner().invoke(cli.app, [
        "fuse", "--train", "ours", "--features", str(root / "features"), "--runs",
        str(root / "runs"), "--name", "both", "--epochs", "2", "--seeds", "2", "--device", "cpu",
        "--test", "theirs", "--map", "happy=joy,angry=anger,bored=neutral",
    ])  # fmt: skip
    assert done.exit_code == 0 and "both on theirs, all" in done.output
    done = CliRunner().invoke(cli.app, ["fuse", "--map", "a=b"])
    assert done.exit_code == 1 and "name it with --test" in done.output
