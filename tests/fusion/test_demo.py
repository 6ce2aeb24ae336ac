"""The whole way on a small rendered corpus: real clips, real runs, a real page."""

import pytest

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
