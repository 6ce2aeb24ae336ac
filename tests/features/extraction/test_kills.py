"""`make soak`: extractions killed with SIGKILL at 100 random moments, over three modalities, to
files that keep a probe; two processes started on the same file."""

import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from forks import forks
from mixed import KINDS, mixed_corpus, tiny_encoders
from test_extract import same_file

from erc_features.extraction.extract import extract
from erc_features.store import FeatureFile, Status
from erc_features.store.inspect import inspect

KILLS = {"text": 34, "visual": 33, "audio": 33}
ROWS = 160


def finished_rows(partial):
    """How many rows are done. A partial file has its name only once it is whole: it opens."""
    with FeatureFile(partial) as file:
        assert np.isfinite(file.probe).all() and file.probe.any()
        return int((file.status != Status.PENDING).sum())


@pytest.mark.soak
@pytest.mark.parametrize("modality", KINDS)
def test_killed_at_random_moments_it_ends_as_undisturbed(tmp_path, modality):
    root = mixed_corpus(tmp_path / "mixed", ROWS)
    encoder = tiny_encoders(tmp_path / "models")[modality]
    what = {"modality": modality, "encoder": encoder, "batch_size": 2, "workers": 2}
    (whole,) = extract(root, features=tmp_path / "whole", **what)
    folder = tmp_path / "f" / "mixed"
    path = folder / whole.path.name
    partial = path.with_name(path.name + ".partial")
    moments = random.Random(0)
    states = {"no file": 0, "partial": 0, "complete": 0}
    kills, finished = KILLS[modality], 0
    # Loaded once before the forks, so that kills fall into the work and not into imports.
    imports = (
        "import os\nos.environ['TOKENIZERS_PARALLELISM'] = 'false'\n"
        "import torch\ntorch.set_num_threads(1)\n"
        "from erc_features.extraction.extract import extract\n"
        "from erc_features.encoders import load_encoder\n"
        "from erc_features.encoders.base import Settings\n"
        "from erc_features.utterance import Modality\n"
        f"load_encoder({encoder!r}, Modality({modality!r}), Settings())"
    )
    work = f"extract({str(root)!r}, features={str(tmp_path / 'f')!r}, **{what!r})"
    with forks(tmp_path / "server.py", imports, work) as run:
        assert run() == 0  # the first waits for the imports
        shutil.rmtree(folder)
        began = time.perf_counter()
        assert run() == 0
        length = time.perf_counter() - began
        same_file(path, whole.path)
        shutil.rmtree(folder)
        done_before = 0
        for kill in range(kills):
            # The first half at any moment of one extraction; then again and again into the rest.
            code = run(moments.uniform(0, length if kill < kills // 2 else length / 3))
            assert code in (0, signal.SIGKILL)
            state = "complete" if path.exists() else "partial" if partial.exists() else "no file"
            states[state] += 1
            if state == "no file":
                continue
            if state == "partial":
                done = finished_rows(partial)
                assert done >= done_before, "a finished row was lost"
                done_before = done
                if kill >= kills // 2:
                    continue
                assert run() == 0
            same_file(path, whole.path)
            finished += 1
            done_before = 0
            shutil.rmtree(folder)
        assert run() == 0
        same_file(path, whole.path)
    print(f"\n{modality}: {kills} kills within {length:.1f} s each: {states}, "
          f"{finished} resumed to the end")  # fmt: skip
    assert states["partial"] > kills // 3


COMMAND = """
import sys
import cli
cli.app(sys.argv[1:])
"""


@pytest.mark.soak
@pytest.mark.parametrize("modality", KINDS)
def test_two_processes_on_the_same_file(tmp_path, modality):
    root = mixed_corpus(tmp_path / "mixed", 400)
    encoder = tiny_encoders(tmp_path / "models")[modality]
    what = {"modality": modality, "encoder": encoder, "batch_size": 1}
    (whole,) = extract(root, features=tmp_path / "whole", **what)
    command = [
        sys.executable, "-c", COMMAND, "extract", "--corpus", root, "--features", tmp_path / "f",
        "--modality", modality, "--encoder", encoder, "--batch-size", "1",
    ]  # fmt: skip
    path = tmp_path / "f/mixed" / whole.path.name
    partial = path.with_name(path.name + ".partial")
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as first:
        while not partial.exists() and first.poll() is None:
            time.sleep(0.005)
        second = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        first.send_signal(signal.SIGSTOP)  # so that it cannot end before the second has begun
        assert inspect(partial).counts["pending"] > 0  # one may look meanwhile
        _, said = second.communicate(timeout=120)
        first.send_signal(signal.SIGCONT)
        assert first.wait(120) == 0
    assert second.returncode == 1
    assert "another process is writing it" in said and path.name in said
    same_file(path, whole.path)
