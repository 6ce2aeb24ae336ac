"""The whole way on a small rendered corpus: real clips, real runs, a real page."""

import json
import shutil

import pytest

from erc_features.errors import ErcError
from erc_features.sample.sample import sample
from erc_fusion.demo import LADDER, demo


@pytest.mark.soak
def test_demo_small_and_twice(tmp_path):
    said = []
    made = demo(tmp_path, dialogues=(6, 3, 3), seeds=(0, 1), say=said.append)
    rows = {row.name: row for row in made.comparison.rows}
    assert list(rows) == list(LADDER)
    for row in rows.values():
        assert row.test is not None
        assert 0 <= row.test.accuracy.mean <= 1
    page = made.report.read_text()
    for name in LADDER:
        assert name in page
    assert len(said) == 5
    again = demo(tmp_path, dialogues=(6, 3, 3), seeds=(0, 1), say=said.append)
    assert not any(line.startswith("1/5") for line in said[5:])  # nothing is rendered again
    assert {r.name: r.test.accuracy.mean for r in again.comparison.rows} == {
        name: row.test.accuracy.mean for name, row in rows.items()
    }


def test_over_an_older_demo_it_says_what_to_remove(tmp_path):
    """Not --force, which `demo` does not have."""
    to = tmp_path / "demo"
    sample(to / "raw", dialogues=(2, 2, 2))
    for clip in (to / "raw").rglob("*.mp4"):
        clip.unlink()  # no time for decoding
    with pytest.raises(ErcError) as first:
        demo(to, seeds=(0,))  # nothing to see or hear
    assert "remove the folder" not in str(first.value)  # it was not there before
    info = to / "data" / "sample" / "corpus.json"
    found = json.loads(info.read_text())
    found["prepared_from"]["frames"] = 99
    info.write_text(json.dumps(found))
    with pytest.raises(ErcError, match=r"cannot go on in .*demo.*: remove the folder, .*--to"):
        demo(to, seeds=(0,))
    shutil.rmtree(to)
