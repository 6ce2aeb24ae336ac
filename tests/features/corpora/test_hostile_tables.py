"""Headers, manifests and tables that no library wrote: each is an error that names the file."""

import contextlib
import json
import random
import shutil
from pathlib import Path

import pytest

from erc_features.corpora import read_raw
from erc_features.errors import CorpusError

HERE = Path(__file__).parent
HEADERS = ["", "null", "[1, 2]", "tables: 3", "tables: {a: 3}", "tables: {a: null}",
           "tables: {a: {columns: [emotion]}}", "tables: {a: {columns: {emotion: null}}}",
           "tables: {a: {columns: {emotion: {scheme_id: x}}}}\nschemes: {x: {labels: 7}}",
           "tables: {a: {columns: {emotion: {}}, split_id: 5}}\nsplits: [1]",
           "a: &a [*a]", "!!python/object/apply:os.system ['true']"]  # fmt: skip
LINES = ["3", "null", "[]", "{", '{"id": 1}', '{"recording_id": "talk-1", "custom": "joy"}',
         '{"recording_id": "talk-1", "start": "x", "duration": 1, "custom": {"emotion": "a"}}',
         '{"recording_id": "talk-1", "start": NaN, "duration": 1}', "\x00", '{"id": [[1]]}',
         '{"recording_id": "talk-1", "start": 0, "duration": Infinity, "channel": {}}']  # fmt: skip


@pytest.mark.parametrize("header", HEADERS)
def test_headers_of_audformat(tmp_path, header):
    (tmp_path / "db.yaml").write_text(header)
    with pytest.raises(CorpusError, match=str(tmp_path)):
        read_raw(tmp_path)


@pytest.mark.parametrize("line", LINES)
def test_lines_of_lhotse(tmp_path, line):
    for path in (HERE / "lhotse").glob("*_recordings_*"):
        shutil.copy(path, tmp_path)
    (tmp_path / "supervisions.jsonl").write_text(line + "\n")
    with pytest.raises(CorpusError, match="supervisions.jsonl:1|was looked for in"):
        read_raw(tmp_path)
    (tmp_path / "supervisions.jsonl").write_text('{"recording_id": "r", "start": 0, "duration": 1}')
    (tmp_path / "recordings.jsonl").write_text(line + '\n{"id": "r", "sources": [3, null]}\n')
    with pytest.raises(CorpusError, match="jsonl:1"):
        read_raw(tmp_path)


@pytest.mark.parametrize("seed", range(12))
def test_damaged_datasets(tmp_path, seed):
    """A part is cut off, or bytes are others: an error, or rows that are still within the file."""
    chance, root = random.Random(seed), tmp_path / "saved"
    shutil.copytree(HERE / "datasets/one", root)
    name = ["data-00000-of-00002.arrow", "state.json", "dataset_info.json"][seed % 3]
    data = bytearray((root / name).read_bytes())
    if seed < 6:
        del data[chance.randrange(len(data)) :]
    for _ in range(0 if seed < 6 else 20):
        data[chance.randrange(len(data))] = chance.randrange(256)
    (root / name).write_bytes(data)
    rows = ()
    with contextlib.suppress(CorpusError):  # anything else fails
        rows = read_raw(root).rows
    for row in rows:
        if row.sound is not None and row.sound.inside is not None:
            first, size = row.sound.inside
            assert 0 <= first <= first + size <= row.sound.path.stat().st_size


def test_a_class_that_a_dataset_has_no_name_for(tmp_path):
    root = shutil.copytree(HERE / "datasets/one", tmp_path / "saved")
    info = json.loads((root / "dataset_info.json").read_text())
    info["features"]["emotion"]["names"] = ["sad"]
    (root / "dataset_info.json").write_text(json.dumps(info))
    assert read_raw(root).labels == ("sad", "class 1")
