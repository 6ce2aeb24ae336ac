"""A run takes its place in one step: SIGKILL before every single operation on the disk."""

import os
import shutil
import signal
from pathlib import Path

import pytest
from forks import forks
from fusion_files import embeddings, make_corpus, write_features

from erc_fusion.config.config import FuseConfig, with_options
from erc_fusion.fuse import fuse
from erc_fusion.inputs.sources import find_sources
from erc_fusion.inputs.table import load_table
from erc_fusion.report import report
from erc_fusion.runs.run import DONE, FILES, Run, find_runs, list_runs
from erc_fusion.training.checkpoint import load_weights

# Audit events come right before what they name. Kills by number; without one, counts.
IMPORTS = """
import os, signal
import torch
torch.set_num_threads(1)
from erc_fusion.runs import writing
from erc_fusion.config.config import FuseConfig, with_options
from erc_fusion.fuse import fuse
root = {root!r}
if not {exchange}:  # as on a file system that cannot do it, such as NFS
    writing.exchange = lambda one, other: False
seen = 0

def count(event, args):
    global seen
    if event == "open" and root + "/runs" not in str(args[0]):
        return
    if event in ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "fcntl.flock",
                 "ctypes.call_function"):
        seen += 1
        if seen == at:
            os.kill(os.getpid(), signal.SIGKILL)

config = with_options(FuseConfig(), corpus="tiny", width=8, epochs=1, seeds=(0, 1), name="mine",
                      lr=0.01, overwrite=True, device="cpu", features=root + "/features",
                      runs=root + "/warm")
fuse(config)  # all that it imports is there before the forks

def work():
    global at
    at = int(open(root + "/at").read())
    os.sys.addaudithook(count)
    fuse(with_options(config, runs=root + "/runs"))
    with open(root + "/events", "w") as file:
        file.write(str(seen))
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    corpus = make_corpus((16, 6, 6))
    write_features(tmp_path / "features" / "tiny", "text.t", corpus, embeddings(corpus, 1, 6))
    return tmp_path


def settings(root: Path, **options) -> FuseConfig:
    return with_options(
        FuseConfig(), corpus="tiny", features=str(root / "features"), runs=str(root / "runs"),
        width=8, epochs=1, seeds=(0, 1), name="mine", device="cpu", **options,
    )  # fmt: skip


def files(run: Run) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.path.iterdir()}


def whole(root: Path, run: Run) -> float:
    """Its learning rate, once everything of it has been read and used, and a page written."""
    assert {path.name for path in run.path.iterdir()} == {*FILES, DONE}
    table = load_table(find_sources(root / "features" / "tiny"))
    found = load_weights(run).predict(table, table.rows("test")).probability
    stored = run.predictions().query("split == 'test' and seed == 1").filter(like="p_")
    assert abs(found[1] - stored.to_numpy()).max() < 1e-5
    return run.config["training"]["lr"]


@pytest.mark.parametrize(
    ("exchange", "there", "last"),
    [
        (True, "old", 14),  # the operations that exchange the two, and delete the old one
        *(
            pytest.param(exchange, there, 1000, marks=pytest.mark.soak)
            for exchange in (True, False)
            for there in ("old", "none")
        ),
    ],
)
def test_killed_before_every_operation_one_whole_run_is_there(root, exchange, there, last) -> None:
    runs = root / "runs"
    (root / "at").write_text("-1")
    if there == "old":
        old = fuse(settings(root, lr=0.02)).run
        kept = files(old)
        shutil.copytree(runs, root / "kept")
    code = IMPORTS.replace("{root!r}", repr(str(root))).replace("{exchange}", str(exchange))
    outcomes: list[str] = []
    with forks(root / "server.py", code, "work()") as run:
        assert run() == 0
        events = int((root / "events").read_text())
        assert events > 15
        for at in range(max(1, events - last), events + 1):
            shutil.rmtree(runs, ignore_errors=True)
            if there == "old":
                shutil.copytree(root / "kept", runs)
            (root / "at").write_text(str(at))
            assert os.WTERMSIG(run()) == signal.SIGKILL
            finished, unfinished = list_runs(runs)  # and not a word to a reader of what is left
            assert unfinished == []
            if there == "old":
                (one,) = finished
                outcomes.append("old" if files(one) == kept else "new")
                assert find_runs(runs, "tiny", [Path("mine")])[0] == [one]
                assert Run(runs / "tiny" / "mine").done
            else:
                outcomes.append("new" if finished else "none")
            if finished and outcomes[-1] != "old":
                assert whole(root, finished[0]) == 0.01
            (root / "at").write_text("-1")
            if at % 7 == 0:
                assert run() == 0  # the next one begins as if nothing had been
                assert [path.name for path in (runs / "tiny").iterdir()] == ["mine"]
                assert whole(root, Run(runs / "tiny" / "mine")) == 0.01
                report([Run(runs / "tiny" / "mine")], to=root / "page.html")
    # First what was there, then the new run, and never back.
    assert outcomes == sorted(outcomes, key=["none", "old", "new"].index)
    assert {there, "new"} == set(outcomes)
