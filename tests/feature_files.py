"""Feature files of six rows, written through the store itself."""

import numpy as np

from erc_features.store import Probe, Provenance, Rows, Shape, open_writer

PROVENANCE = Provenance("c", "f" * 64, "text", "enc", "rev", {"layers": "all", "dtype": "float16"})
SHAPE = Shape(2, 3)
N = 6


def rows(n=N):
    return Rows(
        key=[f"train/d-0-seq-{i}" for i in range(n)],
        split=["train"] * (n - 2) + ["test"] * 2,
        dialogue=[0] * n,
        sequence=list(range(n)),
        speaker=["Zoë"] * n,
        text=[f"text {i} 🙂" for i in range(n)],
        label=["joy", ""] * (n // 2),
    )


PROBE = np.arange(6, dtype=np.float32).reshape(2, 3) / 7


class Kept:
    """Makes that probe, and takes any file that keeps it."""

    def make(self):
        return Probe(PROBE, 1, "cpu")

    def must_agree(self, file):
        assert np.array_equal(file.probe, PROBE)


def begin(path, **options):
    return open_writer(path, options.pop("rows", rows()), options.pop("labels", ("joy", "fear")),
                       options.pop("provenance", PROVENANCE), options.pop("shape", SHAPE),
                       {"device": "cpu", "versions": "{}"}, **options)  # fmt: skip


def touch(path):
    touch_with(path)


def touch_with(path, **options):
    with begin(path, **options):
        pass


def values(numbers):
    return np.array(numbers, np.float32)[:, None, None] * np.ones((1, 2, 3), np.float32)


def complete(path, **options):
    with begin(path, **options) as writer:
        writer.write(np.array([5, 0, 1]), values([5, 0.5, 1]), np.array([1, 1, 1]), [""] * 3)
        writer.write(np.array([2, 3, 4]), values([2, 3, 4]), np.array([1, 2, 3]),
                     ["", "no medium", "ü" * 150])  # fmt: skip
        writer.finish({"truncated": 3})
    return path
