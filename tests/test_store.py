import os
import subprocess
import sys
import textwrap
from dataclasses import replace

import h5py
import numpy as np
import pytest

from erc_features.errors import FeatureFileError
from erc_features.store import FeatureFile, Provenance, Rows, Shape, Status, open_writer

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


def begin(path, **options):
    return open_writer(path, rows(), ("joy", "fear"), options.pop("provenance", PROVENANCE),
                       options.pop("shape", SHAPE), **options)  # fmt: skip


def values(numbers):
    return np.array(numbers, np.float32)[:, None, None] * np.ones((1, 2, 3), np.float32)


def complete(path):
    with begin(path) as writer:
        writer.write(np.array([5, 0, 1]), values([5, 0.5, 1]), np.array([1, 1, 1]), [""] * 3)
        writer.write(np.array([2, 3, 4]), values([2, 3, 4]), np.array([1, 2, 3]),
                     ["", "no medium", "ü" * 150])  # fmt: skip
        writer.finish({"device": "cpu", "versions": "{}"})
    return path


def test_round_trip(tmp_path):
    path = complete(tmp_path / "c" / "text.a.h5")
    assert os.listdir(path.parent) == ["text.a.h5"]
    with FeatureFile(path) as file:
        assert file.shape == (6, 2, 3)
        assert file.dtype == np.float16
        assert file.complete
        assert file.labels == ("joy", "fear")
        assert file.provenance == PROVENANCE
        assert file.text[2] == "text 2 🙂"
        assert file.status.tolist() == [1, 1, 1, 2, 3, 1]
        assert file.x()[:, 0, 0].tolist() == [0.5, 1, 2, 0, 0, 5]  # zeros where not ok
        assert file.reason[3] == "no medium"
        assert file.reason[4] == "ü" * 100  # 200 bytes, not cut inside a character
        assert file.x(np.array([5, 0, 1]))[:, 0, 0].tolist() == [5, 0.5, 1]
        assert file.rows(keys=["train/d-0-seq-4", "train/d-0-seq-0"]).tolist() == [4, 0]
        assert file.rows(split="test").tolist() == [4, 5]
        with pytest.raises(FeatureFileError, match="1 keys are not in it(.|\n)*dev/d-0-seq-0"):
            file.rows(keys=["dev/d-0-seq-0"])
        frame = file.to_pandas(split="test", layer=1)
        assert frame.index.tolist() == ["train/d-0-seq-4", "train/d-0-seq-5"]
        assert frame["x2"].tolist() == [0, 5]


def test_layout_is_the_documented_one(tmp_path):
    with h5py.File(complete(tmp_path / "text.a.h5")) as file:
        assert set(file) == {"key", "split", "speaker", "text", "label", "dialogue", "sequence",
                             "x", "status", "reason"}  # fmt: skip
        assert file["dialogue"].dtype == np.int32
        assert h5py.check_enum_dtype(file["status"].dtype) == {
            "pending": 0, "ok": 1, "missing": 2, "failed": 3}  # fmt: skip
        assert h5py.check_string_dtype(file["reason"].dtype) == ("utf-8", 200)
        assert file["x"].chunks is None
        assert file.attrs["format"] == "erc-features"
        assert file.attrs["format_version"] == 1


def test_resume_keeps_what_was_written(tmp_path):
    path = tmp_path / "text.a.h5"
    with begin(path) as writer:
        writer.write(np.array([0]), values([7]), np.array([1]), [""])
    assert not path.exists()
    with FeatureFile(tmp_path / "text.a.h5.partial") as file:
        assert not file.complete
        assert file.status.tolist() == [1, 0, 0, 0, 0, 0]
    with begin(path) as writer:
        assert writer.status.tolist() == [1, 0, 0, 0, 0, 0]
        writer.write(np.arange(1, 6), values(range(1, 6)), np.ones(5, int), [""] * 5)
        writer.finish({})
    with FeatureFile(path) as file:
        assert file.x()[:, 0, 0].tolist() == [7, 1, 2, 3, 4, 5]
    assert begin(path) is None  # nothing to do


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fingerprint": "0" * 64}, "fingerprint: ffff.* here, 0000.* now"),
        ({"revision": "other"}, "revision: rev here, other now"),
        ({"encoder": "bert"}, "encoder: enc here, bert now"),
        ({"config": {"layers": "last"}}, "layers: 'all' here, 'last' now"),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_other_provenance_is_refused_and_nothing_is_lost(tmp_path, change, message, finished):
    path = tmp_path / "text.a.h5"
    if finished:
        complete(path)
    else:
        begin(path).__exit__(None, None, None)
    with pytest.raises(FeatureFileError, match=f"{message}(.|\n)*--name.*--overwrite"):
        begin(path, provenance=replace(PROVENANCE, **change))
    assert begin(path, provenance=replace(PROVENANCE, corpus="renamed")) is None or not finished
    replaced = begin(path, provenance=replace(PROVENANCE, **change), overwrite=True)
    assert not replaced.status.any()
    replaced.__exit__(None, None, None)


def test_another_shape_is_refused(tmp_path):
    complete(tmp_path / "text.a.h5")
    with pytest.raises(FeatureFileError, match=r"x: \(N, 2, 3\) float16 here, \(N, 2, 9\) float16"):
        begin(tmp_path / "text.a.h5", shape=Shape(2, 9))


def test_retry_reopens_the_chosen_rows(tmp_path):
    path = complete(tmp_path / "text.a.h5")
    with begin(path, again=lambda status: np.flatnonzero(status == Status.FAILED)) as writer:
        assert writer.status.tolist() == [1, 1, 1, 2, 0, 1]
        assert not path.exists()
        writer.write(np.array([4]), values([4]), np.array([1]), [""])
        writer.finish({})
    with FeatureFile(path) as file:
        assert file.status.tolist() == [1, 1, 1, 2, 1, 1]
        assert file.reason[4] == ""
        assert file.x()[4, 0, 0] == 4


HOLDER = """
    import sys; sys.path[:0] = {path!r}
    from test_store import *
    from pathlib import Path
    writer = begin(Path({file!r}))
    writer.write(np.array([0]), values([7]), np.array([1]), [""])
    print("holding", flush=True)
    sys.stdin.read()
"""


def test_a_second_writer_is_refused_and_harms_nothing(tmp_path):
    path = tmp_path / "text.a.h5"
    code = textwrap.dedent(HOLDER.format(path=sys.path, file=str(path)))
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as holder:  # fmt: skip
        assert holder.stdout.readline() == b"holding\n"
        for options in ({}, {"overwrite": True}):
            with pytest.raises(FeatureFileError, match="another process is writing it"):
                begin(path, **options)
        with pytest.raises(FeatureFileError, match="another process is writing it"):
            FeatureFile(tmp_path / "text.a.h5.partial")
        holder.kill()
    with begin(path) as writer:  # the lock went with the process
        assert writer.status.tolist() == [1, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n", b"garbage" * 50])
def test_a_creation_cut_short_is_made_anew(tmp_path, content):
    (tmp_path / "text.a.h5.partial").write_bytes(content)
    with begin(tmp_path / "text.a.h5") as writer:
        assert not writer.status.any()


def test_without_format_a_partial_is_made_anew(tmp_path):
    begin(tmp_path / "text.a.h5").__exit__(None, None, None)
    with h5py.File(tmp_path / "text.a.h5.partial", "r+") as file:
        del file.attrs["format"]
        file["status"][:] = 1
    with begin(tmp_path / "text.a.h5") as writer:
        assert not writer.status.any()


def damaged(path, how):
    data = path.read_bytes()
    if how == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif how == "text":
        path.write_text("hello")
    elif how == "empty":
        path.write_bytes(b"")
    else:
        with h5py.File(path, "r+") as file:
            if how == "newer":
                file.attrs["format_version"] = 2
            elif how == "other":
                del file.attrs["format"]
            elif how == "no x":
                del file["x"]
            elif how == "short":
                del file["label"]
                file["label"] = ["a"]
            elif how == "no config":
                del file.attrs["config"]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("truncated", "is truncated, or is damaged"),
        ("text", "is not an HDF5 file"),
        ("empty", "is not an HDF5 file|is truncated"),
        ("newer", "format version 2; this erc reads up to 1. Upgrade erc"),
        ("other", "not a feature file"),
        ("no x", "damaged, it has no x"),
        ("short", "shapes do not agree"),
        ("no config", "absent or damaged"),
    ],
)
def test_files_that_are_not_whole(tmp_path, how, message):
    path = complete(tmp_path / "text.a.h5")
    damaged(path, how)
    with pytest.raises(FeatureFileError, match=message):
        FeatureFile(path)


def test_no_file_and_a_folder(tmp_path):
    with pytest.raises(FeatureFileError, match="no such file. `erc extract`"):
        FeatureFile(tmp_path / "x.h5")
    with pytest.raises(FeatureFileError, match="is a folder"):
        FeatureFile(tmp_path)


def test_a_file_size_limit_shows_at_creation_and_loses_nothing(tmp_path):
    code = f"""
        import sys; sys.path[:0] = {sys.path!r}
        import resource, signal
        from test_store import *
        from pathlib import Path
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        try:
            begin(Path({str(tmp_path / "text.a.h5")!r}), shape=Shape(50, 768))
        except FeatureFileError as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert "no space left to write it" in done.stdout, done.stderr
    assert done.returncode == 0
    assert list(tmp_path.iterdir()) == []
