"""`make soak`: an extraction killed with SIGKILL at 50 random moments."""

import random
import shutil
import signal
import time

import pytest
from corpora import text_corpus
from forks import forks
from test_extract import same_file

from erc_features.extract import extract
from erc_features.store import FeatureFile, Status

KILLS = 50


def finished_rows(partial):
    """How many rows are done. A partial file has its name only once it is whole: it opens."""
    with FeatureFile(partial) as file:
        return int((file.status != Status.PENDING).sum())


@pytest.mark.soak
def test_killed_at_50_random_moments_it_ends_as_undisturbed(tmp_path):
    root = text_corpus(tmp_path / "words", (900, 60, 60))
    extract(root, features=tmp_path / "whole", encoder="baseline", batch_size=2)
    whole = tmp_path / "whole/words/text.baseline.h5"
    folder = tmp_path / "f" / "words"
    moments = random.Random(0)
    states = {"no file": 0, "partial": 0, "complete": 0}
    finished = 0
    imports = (
        "from erc_features.extract import extract\n"
        "from erc_features.encoders.baseline import encode_text\n"
        "encode_text(['warm'])"
    )
    work = (
        f"extract({str(root)!r}, features={str(tmp_path / 'f')!r}, modality='text', "
        "encoder='baseline', batch_size=2)"
    )
    with forks(tmp_path / "server.py", imports, work) as run:
        assert run() == 0  # the first waits for the imports
        shutil.rmtree(folder)
        began = time.perf_counter()
        assert run() == 0
        length = time.perf_counter() - began
        same_file(folder / whole.name, whole)
        shutil.rmtree(folder)
        done_before = 0
        for kill in range(KILLS):
            # The first half at any moment of one extraction; then again and again into the rest.
            code = run(moments.uniform(0, length if kill < KILLS // 2 else length / 3))
            assert code in (0, signal.SIGKILL)
            path = folder / whole.name
            partial = path.with_name(path.name + ".partial")
            state = "complete" if path.exists() else "partial" if partial.exists() else "no file"
            states[state] += 1
            if state == "no file":
                continue
            if state == "partial":
                done = finished_rows(partial)
                assert done >= done_before, "a finished row was lost"
                done_before = done
                if kill >= KILLS // 2:
                    continue
                assert run() == 0
            same_file(path, whole)
            finished += 1
            done_before = 0
            shutil.rmtree(folder)
        assert run() == 0
        same_file(folder / whole.name, whole)
    print(f"\n{KILLS} kills within {length:.1f} s each: {states}, {finished} resumed to the end")
    assert states["partial"] > KILLS // 2
