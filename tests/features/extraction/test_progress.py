import os
import signal
import time

import numpy as np
import pytest
from checkpoints import tiny_bert
from corpora import media_corpus, text_corpus
from forks import forks

from erc_features import terminal
from erc_features.extraction.dry_run import preview
from erc_features.extraction.extract import extract
from erc_features.store import FeatureFile
from erc_features.terminal import Work


def test_work_grows_to_all_of_it_and_counts_what_costs(tmp_path):
    """The longest come first, so the share of the work is ahead of the share of the rows."""
    root = text_corpus(tmp_path / "words", (300, 60, 60))
    seen: list[Work] = []
    folder = tiny_bert(tmp_path / "tiny")
    extract(root, features=tmp_path / "f", modality="text", encoder=str(folder), batch_size=16,
            watch=seen.append)  # fmt: skip
    share = [at.work_done / at.work_total for at in seen]
    assert share[0] == 0 and share == sorted(share) and share[-1] == pytest.approx(1)
    assert seen[-1].done == seen[-1].total == 420
    middle = seen[len(seen) // 2]
    assert middle.work_done / middle.work_total > middle.done / middle.total


def test_plain_lines_have_share_rate_and_time_left(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(terminal, "monotonic", lambda: now[0])
    with terminal.working() as watch:
        watch(Work("text.minilm", 1_000, 10_000, 400.0, 1_000.0))  # an earlier run's
        now[0] = 20.0
        watch(Work("text.minilm", 3_000, 10_000, 600.0, 1_000.0))
    said = capsys.readouterr().err
    assert said.strip() == ("text.minilm: 3,000 of 10,000 utterances, 60% of the work, "
                            "100.0 utterances/s, about 40 s left")  # fmt: skip
    with terminal.bar() as progress:
        progress("prepare", 0, 13_708)
        now[0] = 40.0
        progress("prepare", 11, 13_708)
    said = capsys.readouterr().err
    assert said.startswith("prepare: 11 of 13,708, 0%, 0.6/s, about 6 h 55 min left")


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    """`erc extract` of 5,120 texts one by one, in a fork; `line` is where it writes."""
    folder = tmp_path_factory.mktemp("interrupted")
    root, encoder = text_corpus(folder / "words", (5000, 60, 60)), tiny_bert(folder / "tiny")
    imports = (
        "import cli\nimport signal\nimport torch\ntorch.set_num_threads(1)\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # nohup and `&` ignore it
        "from erc_features.encoders import load_encoder\n"
        "from erc_features.encoders.base import Settings\n"
        "from erc_features.extraction import extract\n"
        "from erc_features.utterance import Modality\n"
        f"load_encoder({str(encoder)!r}, Modality.TEXT, Settings())"
    )
    work = (
        "os.dup2(os.open(line.strip() + '/said', os.O_WRONLY | os.O_CREAT), 2); os.dup2(2, 1); "
        f"cli.app(['extract', '--corpus', {str(root)!r}, '--features', line.strip() + '/f', "
        f"'--modality', 'text', '--encoder', {str(encoder)!r}, '--batch-size', '1'])"
    )
    with forks(folder / "server.py", imports, work) as run:
        yield root, encoder, run


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_it_says_that_it_goes_on(commands, tmp_path, number, code):
    root, folder, run = commands
    partial = tmp_path / "f" / "words" / "text.tiny.h5.partial"

    def begun():
        for _ in range(2400):
            if partial.exists():
                break
            time.sleep(0.02)

    status = run(begun, number, str(tmp_path))
    said = (tmp_path / "said").read_text()
    assert os.waitstatus_to_exitcode(status) == code
    assert "Interrupted. What was written is kept; the same command continues from there" in said
    assert "Traceback" not in said
    assert partial.exists()
    (made,) = extract(root, features=tmp_path / "f", modality="text", encoder=str(folder))
    assert sum(made.counts.values()) == 5120 and made.counts["failed"] == 0


def test_a_dry_run_estimates_the_time(tmp_path):
    root = media_corpus(tmp_path / "media")
    for seen in preview(root, features=tmp_path / "f", encoder="baseline"):
        assert seen.seconds is not None and seen.seconds > 0 and 1 <= seen.timed <= 32
    assert not (tmp_path / "f").exists()
    (made,) = extract(root, features=tmp_path / "f", modality="text", encoder="baseline")
    (again,) = preview(root, features=tmp_path / "f", modality="text", encoder="baseline")
    assert again.seconds is None and again.timed == 0
    with FeatureFile(made.path) as file:
        assert np.isfinite(file.x()).all()
