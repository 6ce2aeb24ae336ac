import os
import resource
import shutil
import subprocess
import sys
import textwrap
from dataclasses import fields, replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from feature_files import (
    PROBE,
    PROVENANCE,
    Kept,
    begin,
    complete,
    rows,
    touch,
    touch_with,
    values,
)

from erc_features.errors import FeatureFileError
from erc_features.store import FeatureFile, Rows, Shape, Status


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
    with begin(path) as writer:
        assert writer is None  # nothing to do
    assert os.listdir(tmp_path) == ["text.a.h5"]


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
    complete(path) if finished else touch(path)
    kept = path if finished else tmp_path / "text.a.h5.partial"
    before = kept.read_bytes()
    with pytest.raises(FeatureFileError, match=f"{message}(.|\n)*--name.*--overwrite"):
        touch_with(path, provenance=replace(PROVENANCE, **change))
    assert kept.read_bytes() == before
    touch_with(path, provenance=replace(PROVENANCE, corpus="renamed"))
    with begin(path, provenance=replace(PROVENANCE, **change), overwrite=True) as writer:
        assert not writer.status.any()


def test_another_shape_is_refused(tmp_path):
    complete(tmp_path / "text.a.h5")
    with pytest.raises(FeatureFileError, match=r"x: \(N, 2, 3\) float16 here, \(N, 2, 9\) float16"):
        touch_with(tmp_path / "text.a.h5", shape=Shape(2, 9))


def test_retry_reopens_the_chosen_rows(tmp_path):
    path = complete(tmp_path / "text.a.h5")
    with begin(path, again=lambda status: np.flatnonzero(status == Status.FAILED)) as writer:
        assert writer.status.tolist() == [1, 1, 1, 2, 0, 1]
        with FeatureFile(path) as file:  # the finished file stays until its copy is done
            assert file.complete
            assert file.status.tolist() == [1, 1, 1, 2, 3, 1]
        writer.write(np.array([4]), values([4]), np.array([1]), [""])
        writer.finish({})
    with FeatureFile(path) as file:
        assert file.status.tolist() == [1, 1, 1, 2, 1, 1]
        assert file.reason[4] == ""
        assert file.x()[4, 0, 0] == 4


def test_a_killed_retry_leaves_the_finished_file_and_goes_on(tmp_path):
    path = complete(tmp_path / "text.a.h5")
    before = path.read_bytes()

    def failed(status):
        return np.flatnonzero(status == Status.FAILED)

    with begin(path, again=failed) as writer:
        writer.write(np.array([4]), values([4]), np.array([1]), [""])  # and no finish
    assert path.read_bytes() == before
    with begin(path) as writer:
        assert writer is None
    with begin(path, again=failed) as writer:
        assert writer.status.tolist() == [1, 1, 1, 2, 1, 1]
        writer.finish({})
    with FeatureFile(path) as file:
        assert file.x()[4, 0, 0] == 4


def test_rows_in_another_order_go_where_their_keys_are(tmp_path):
    path = tmp_path / "text.a.h5"
    with begin(path) as writer:
        writer.write(np.array([0, 2]), values([10, 12]), np.array([1, 1]), ["", ""])
    back = rows()
    turned = Rows(
        **{name: list(reversed(getattr(back, name))) for name in (f.name for f in fields(Rows))}
    )
    with begin(path, rows=turned) as writer:
        assert writer.status.tolist() == [0, 0, 0, 1, 0, 1]
        left = np.array([0, 4, 2, 1])
        writer.write(left, values([15, 11, 13, 14]), np.ones(4, int), [""] * 4)
        writer.finish({})
    with FeatureFile(path) as file:
        assert file.x()[:, 0, 0].tolist() == [10, 11, 12, 13, 14, 15]
        assert file.key.tolist() == list(back.key)


def test_labels_that_changed_are_put_right_without_encoding_again(tmp_path):
    path = complete(tmp_path / "text.a.h5")
    with begin(path, labels=("fear", "joy", "anger")) as writer:
        assert writer is None
    with FeatureFile(path) as file:
        assert file.labels == ("fear", "joy", "anger")
        assert file.x()[5, 0, 0] == 5


HOLDER = """
    import sys; sys.path[:0] = {path!r}
    from test_store import *
    from pathlib import Path
    with begin(Path({file!r})) as writer:
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
        for options in ({}, {"overwrite": True}, {"again": np.flatnonzero}):
            with pytest.raises(FeatureFileError, match="another process is writing it"):
                touch_with(path, **options)
        with FeatureFile(tmp_path / "text.a.h5.partial") as file:  # looking is allowed
            assert file.status.tolist() == [1, 0, 0, 0, 0, 0]
        holder.kill()
    with begin(path) as writer:  # the lock went with the process
        assert writer.status.tolist() == [1, 0, 0, 0, 0, 0]
    assert os.listdir(tmp_path) == ["text.a.h5.partial"]


def test_a_notebook_that_reads_does_not_stop_a_retry(tmp_path):
    path = complete(tmp_path / "text.a.h5")
    with h5py.File(path) as notebook, FeatureFile(path):
        with begin(path, again=lambda status: np.flatnonzero(status == 3)) as writer:
            writer.write(np.array([4]), values([4]), np.array([1]), [""])
            writer.finish({})
        assert notebook["status"][4] == 3


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n", b"garbage" * 50])
def test_a_creation_cut_short_is_made_anew(tmp_path, content):
    (tmp_path / "text.a.h5.partial.new").write_bytes(content)
    with begin(tmp_path / "text.a.h5") as writer:
        assert not writer.status.any()


def test_a_damaged_partial_is_an_error_and_never_removed(tmp_path):
    partial = tmp_path / "text.a.h5.partial"
    partial.write_bytes(b"garbage" * 50)
    with pytest.raises(FeatureFileError, match="not an HDF5 file"):
        touch(tmp_path / "text.a.h5")
    assert partial.read_bytes() == b"garbage" * 50
    touch_with(tmp_path / "text.a.h5", overwrite=True)


def test_no_file_descriptors_left_removes_nothing(tmp_path):
    path = tmp_path / "text.a.h5"
    touch(path)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open("/dev/null", os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 1, limits[1]))
    try:
        with pytest.raises(FeatureFileError, match="Too many open files"):
            touch(path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert (tmp_path / "text.a.h5.partial").exists()


@pytest.mark.soak
@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
@pytest.mark.parametrize("what", ["fresh", "retry"])
def test_killed_at_each_write_nothing_finished_is_lost(tmp_path, what):
    """SIGKILL before the n-th write to the file, for every n until the run comes through."""
    library = tmp_path / "kill.so"
    source = Path(__file__).parents[2] / "kill_at_write.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    kills = 0
    for n in range(1, 500):
        folder = tmp_path / str(n)
        folder.mkdir()
        path = folder / "text.a.h5"
        if what == "retry":
            complete(path, probe=Kept())
        code = f"""
            import sys; sys.path[:0] = {sys.path!r}
            from test_store import *
            from pathlib import Path
            complete_in_steps(Path({str(path)!r}), {what == "retry"})
        """
        environment = os.environ | {"LD_PRELOAD": str(library), "KILL_AT": str(n)}
        done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], env=environment,
                              capture_output=True, text=True, check=False)  # fmt: skip
        if done.returncode == 0:
            break
        assert done.returncode == -9, done.stderr
        kills += 1
        if what == "retry":
            with FeatureFile(path) as file:
                assert file.complete
        complete_in_steps(path, what == "retry")
        with FeatureFile(path) as file:
            assert file.complete
            assert file.x()[:, 0, 0].tolist() == [0.5, 1, 2, 3, 4, 5]
            assert file.status.tolist() == [1] * 6
            assert not any(file.reason)
            assert np.array_equal(file.probe, PROBE)
        assert os.listdir(folder) == ["text.a.h5"]
    print(f"\n{what}: killed before each of {kills} writes")
    assert kills > 10


def complete_in_steps(path, retry):
    """Two rows at a time, resuming; what is done already must say what was written."""
    numbers = np.array([0.5, 1, 2, 3, 4, 5])
    again = (lambda status: np.flatnonzero(status > 1)) if retry else None
    with begin(path, again=again, probe=Kept()) as writer:
        if writer is None:
            return
        for first in (0, 2, 4):
            two = np.arange(first, first + 2)
            if (writer.status[two] == 0).any():
                writer.write(two, values(numbers[two]), np.ones(2, int), ["", ""])
        writer.finish({"truncated": 1})


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
        ("truncated", "is truncated. Extract it again"),
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
            touch_with(Path({str(tmp_path / "text.a.h5")!r}), shape=Shape(50, 768))
        except FeatureFileError as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert "no space left to write it" in done.stdout, done.stderr
    assert done.returncode == 0
    assert list(tmp_path.iterdir()) == []
