"""`erc compare`: two runs side by side."""

import json

import numpy as np
import pytest
from report_runs import LABELS, write_run
from typer.testing import CliRunner

import cli
from erc_features.errors import RunError
from erc_fusion.report import difference
from erc_fusion.runs.run import Run


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> tuple[Run, Run]:
    root = tmp_path_factory.mktemp("compared") / "runs"
    return write_run(root, "weak", skill=0.3), write_run(
        root, "strong", skill=0.7, head="attention"
    )


def test_settings_scores_and_rows(runs):
    found = difference(*runs)
    assert found.settings == {"head.name": ("mlp", "attention")}
    assert found.pair is not None and found.pair.tests["weighted_f1"].difference > 0
    # By hand: the mean probabilities of the seeds, row by row.
    said, truth = [], None
    for run in runs:
        table = run.predictions().query("split == 'test'")
        mean = table.groupby("key", sort=False)[[f"p_{label}" for label in LABELS]].mean()
        said.append(np.array(LABELS)[mean.to_numpy().argmax(-1)])
        truth = table.drop_duplicates("key")["label"].to_numpy()
    right = [own == truth for own in said]
    assert found.rows == len(truth) == 260
    assert found.mended == (right[1] & ~right[0]).sum() > found.broken
    assert found.broken == (right[0] & ~right[1]).sum()
    assert len(found.changed) == (said[0] != said[1]).sum()
    kinds = [(row.second == row.label, row.first == row.label) for row in found.changed]
    assert kinds == sorted(kinds, reverse=True)
    back = difference(*reversed(runs))
    assert (back.mended, back.broken) == (found.broken, found.mended)


def test_the_command(runs):
    root = runs[0].path.parents[1]
    asked = ["compare", "weak", "strong", "--runs", str(root), "--corpus", "meld"]
    done = CliRunner().invoke(cli.app, [*asked, "--rows", "4"])
    assert done.exit_code == 0, done.output
    assert "head.name" in done.output and "attention" in done.output
    assert "that only strong has right" in " ".join(done.output.split())
    found = json.loads(CliRunner().invoke(cli.app, [*asked, "--json"]).stdout)
    assert found["settings"]["head.name"] == ["mlp", "attention"]
    assert found["mended"] + found["broken"] <= len(found["changed"])
    assert found["paired"]["weighted_f1"]["difference"] > 0


def test_what_is_refused(runs, tmp_path):
    with pytest.raises(RunError, match="both are this run"):
        difference(runs[0], runs[0])
    other = write_run(tmp_path, "other", corpus="iemocap", fingerprint="6a" * 32)
    with pytest.raises(RunError, match="2 corpora"):
        difference(runs[0], other)
    with pytest.raises(RunError, match="not a finished run"):
        difference(runs[0], write_run(tmp_path, "begun", done=False))
    with pytest.raises(RunError, match="no run there"):
        difference(runs[0], Run(tmp_path / "nowhere"))
