"""Makes the golden feature files beside it: format version 1, as erc 0.1 wrote it.

Run once, when a format version is new. The files stay as they are: a reader that can't read them
is wrong, and so is a writer that calls something else version 1. `test_golden.py` has their
numbers written out, and does not take them from here.

    PYTHONPATH=. .venv/bin/python tests/golden/make_golden.py tests/golden/v1

`visual.tiny.h5` and `text.probed.h5.partial` were added when files began to keep a probe, which is
no new version; they were made with `make_golden.py tests/golden/v1 probed`.
"""

import sys
from pathlib import Path

import numpy as np

from erc_features.store import FeatureFile, Probe, Provenance, Rows, Shape, Status, open_writer

LABELS = ("neutral", "joy", "Überraschung")
ROWS = (  # split, dialogue, sequence, speaker, text, label
    ("train", 0, 0, "Ann", "Hello there.", "neutral"),
    ("train", 0, 1, "Ben", "I got the job — really!", "joy"),
    ("train", 2, 0, "Zoë", "NA", "Überraschung"),
    ("dev", 0, 0, "Ann", "何？ 😮", "Überraschung"),
    ("dev", 0, 1, "", "", ""),
    ("test", 0, 0, "Ben", 'He said, "no".', "neutral"),
    ("test", 1, 0, "Ann", "Fine.", "joy"),
)
RECORD = {"versions": '{"erc": "0.1.0"}', "device": "cpu", "engine": "local", "workers": 1}


def rows() -> Rows:
    keys = [f"{split}/d-{dialogue}-seq-{sequence}" for split, dialogue, sequence, *_ in ROWS]
    split, dialogue, sequence, *texts = map(list, zip(*ROWS, strict=True))
    return Rows(keys, split, dialogue, sequence, *texts)


def make(folder: Path) -> None:
    """`audio.tiny.h5`, finished; `text.tiny+bf16.h5.partial`, given up after two batches."""
    n, about = len(ROWS), {"layers": "all", "pool": "mean", "precision": "fp32"}
    x = (np.arange(n * 2 * 3).reshape(n, 2, 3) / 8 - 2).astype(np.float32)
    status = np.array([1, 1, 1, 3, 2, 1, 1])
    assert set(status) == {Status.OK, Status.MISSING, Status.FAILED}
    reasons = ["", "", "", "the clip is truncated: “moov” fehlt", "no sound", "", ""]
    made = Provenance("tiny", "0f" * 32, "audio", "tiny-wav2vec2", "ab" * 32,
                      about | {"dtype": "float16", "rate": 16_000})  # fmt: skip
    with open_writer(folder / "audio.tiny.h5", rows(), LABELS, made, Shape(2, 3), RECORD) as file:
        assert file is not None
        file.write(np.arange(n), x, status, reasons)
        file.finish({"sounds cut to 30 s": 1})
    made = Provenance("tiny", "0f" * 32, "text", "tiny-bert", "cd" * 32,
                      about | {"dtype": "float32", "precision": "bf16", "history": 2})  # fmt: skip
    path, shape = folder / "text.tiny+bf16.h5", Shape(1, 3, "float32")
    with open_writer(path, rows(), LABELS, made, shape, RECORD) as file:
        assert file is not None
        file.write(np.array([0, 2]), x[[0, 2], :1], np.array([1, 1]), ["", ""])
        file.write(np.array([4]), x[[4], :1], np.array([2]), ["blank text"])


class Kept:
    """A probe of those numbers, made on CUDA."""

    def __init__(self, *numbers: float) -> None:
        self._x = np.array(numbers, np.float32).reshape(-1, 3)

    def make(self) -> Probe:
        return Probe(self._x, 1, "cuda")

    def must_agree(self, file: FeatureFile) -> None:
        assert file.probe is not None


def make_probed(folder: Path) -> None:
    """`visual.tiny.h5`, finished; `text.probed.h5.partial`, given up after one batch."""
    n, about = len(ROWS), {"layers": "all", "pool": "mean", "precision": "fp32"}
    x = (np.arange(n * 3).reshape(n, 1, 3) / 4 - 1).astype(np.float32)
    made = Provenance("tiny", "0f" * 32, "visual", "tiny-clip", "ef" * 32,
                      about | {"dtype": "float16", "frames": 5, "height": 240})  # fmt: skip
    path, probe = folder / "visual.tiny.h5", Kept(0.1, -2.5, 1e-30)
    with open_writer(path, rows(), LABELS, made, Shape(1, 3), RECORD, probe=probe) as file:
        assert file is not None
        status = np.array([1, 1, 2, 1, 1, 1, 1])
        file.write(np.arange(n), x, status, ["", "", "no picture", "", "", "", ""])
        file.finish({})
    made = Provenance("tiny", "0f" * 32, "text", "tiny-bert", "cd" * 32,
                      about | {"dtype": "float32", "history": 0})  # fmt: skip
    path, probe = folder / "text.probed.h5", Kept(1, 2, 3, 4, 5, 6)
    shape = Shape(2, 3, "float32")
    with open_writer(path, rows(), LABELS, made, shape, RECORD, probe=probe) as file:
        assert file is not None
        file.write(np.array([1, 5]), np.repeat(x[[1, 5]], 2, 1), np.array([1, 1]), ["", ""])


if __name__ == "__main__":
    (make_probed if "probed" in sys.argv[2:] else make)(Path(sys.argv[1]))
