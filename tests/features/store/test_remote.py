"""Feature files over HTTP and other file systems: few bytes, equal numbers, clear refusals."""

import subprocess
import sys

import h5py
import numpy as np
import pytest
from fusion_files import embeddings, make_corpus, write_features
from range_server import serve

import erc_features
from erc_features.errors import FeatureFileError
from erc_features.store import Provenance, Rows, Shape, Status, open_writer

pytest.importorskip("aiohttp", reason="extra cloud is not installed")


def write_large(path, rows, shape):
    """A whole feature file of zeros; where the disk can, without a byte of `x` on it."""
    keys = [f"train/d-{i // 10}-seq-{i % 10}" for i in range(rows)]
    columns = Rows(
        keys, ["train"] * rows, [i // 10 for i in range(rows)], [i % 10 for i in range(rows)],
        ["Ross"] * rows, [f"I know that you are not serious, {i}" for i in range(rows)],
        ["joy"] * rows,
    )  # fmt: skip
    made = Provenance("meld", "f" * 64, "audio", "large", "r" * 64, {"layers": "all"})
    with open_writer(path, columns, ("joy",), made, shape, {}) as writer:
        writer.finish({})
    with h5py.File(path, "r+") as file:  # the writer's work of hours, in a moment
        file["status"][:] = Status.OK
        for row in range(0, rows, 7):
            file["x"][row, 0, :8] = np.arange(8) + row % 100
    return path


def read_hundred(server, path, count, rows):
    """Opens it, reads rows scattered and in a run; returns bytes moved for each."""
    moved = []
    draw = np.random.default_rng(0)
    with erc_features.open(path) as local:
        total = local.path.stat().st_size
        for wanted in (draw.choice(rows, count, replace=False), np.arange(count) + rows // 3):
            server.reset()
            with erc_features.open(f"{server.url}/{path.name}") as far:
                assert far.shape == local.shape
                assert (far.x(wanted) == local.x(wanted)).all()
                assert (far.status[wanted] == Status.OK).all()
            moved.append(server.moved)
    return total, moved


def test_some_rows_move_few_bytes(tmp_path):
    path = write_large(tmp_path / "audio.large.h5", 6000, Shape(2, 1024))
    with serve(tmp_path) as server:
        total, moved = read_hundred(server, path, 40, 6000)
        assert total > 24e6
        assert max(moved) < 0.02 * total


@pytest.mark.soak
def test_a_hundred_rows_of_a_gigabyte(tmp_path):
    path = write_large(tmp_path / "audio.large.h5", 13_708, Shape(13, 3072))
    with serve(tmp_path) as server:
        total, moved = read_hundred(server, path, 100, 13_708)
        assert total > 1e9
        print(f"of {total:,} bytes: {moved} moved")
        assert max(moved) < 0.02 * total
        server.reset()
        with erc_features.open(f"{server.url}/{path.name}") as far:
            wanted = [f"train/d-{i}-seq-3" for i in range(100)]
            far.x(far.rows(keys=wanted))  # the whole column of keys too
        assert server.moved < 0.02 * total


@pytest.fixture
def folder(tmp_path):
    corpus = make_corpus((12, 4, 4), blank=["train/d-1-seq-0"])
    write_features(tmp_path, "audio.wav2vec2-base", corpus, embeddings(corpus, 3, 8))
    (tmp_path / "plain.txt").write_text("hello " * 1000)
    (tmp_path / "cut.h5").write_bytes((tmp_path / "audio.wav2vec2-base.h5").read_bytes()[:20_000])
    return tmp_path


def test_every_column_and_any_order_of_rows(folder):
    with (
        serve(folder) as server,
        erc_features.open(folder / "audio.wav2vec2-base.h5") as local,
        erc_features.open(f"{server.url}/audio.wav2vec2-base.h5") as far,
    ):
        assert far.stem == "audio.wav2vec2-base"
        assert far.labels == local.labels
        assert far.provenance == local.provenance
        assert far.attributes == local.attributes
        for name in ("key", "split", "speaker", "text", "label", "dialogue", "status", "reason"):
            assert (getattr(far, name) == getattr(local, name)).all()
        for rows in ([], [3], [9, 2, 2, 30], range(20, 40), [0, len(local.key) - 1]):
            assert (far.x(np.array(rows, int)) == local.x(np.array(rows, int))).all()
        assert (far.x() == local.x()).all()
        frame, expected = (file.to_pandas(split="dev", layer=2) for file in (far, local))
        assert frame.equals(expected)
        assert server.url in far._repr_html_()
        with pytest.raises(FeatureFileError, match="rows are from 0 to "):
            far.x(np.array([10_000]))


def test_scattered_rows_are_asked_for_together(folder):
    with serve(folder) as server:
        far = erc_features.open(f"{server.url}/audio.wav2vec2-base.h5")
        server.reset()
        far.x(np.arange(10, 60))
        assert len(server.requests) == 1
        far.close()


def test_chunked_files_of_other_tools_read_too(folder):
    path = folder / "audio.chunked.h5"
    with h5py.File(folder / "audio.wav2vec2-base.h5") as old, h5py.File(path, "w") as new:
        for name, dataset in old.items():
            if name != "x":
                old.copy(dataset, new)
        new.create_dataset("x", data=old["x"][()], chunks=(5, 1, 8), compression="gzip")
        for name, value in old.attrs.items():
            new.attrs[name] = value
    with (
        serve(folder) as server,
        erc_features.open(f"{server.url}/{path.name}") as far,
        erc_features.open(path) as local,
    ):
        rows = np.array([7, 3, 3, 20])
        assert (far.x(rows) == local.x(rows)).all()
        assert (far.x() == local.x()).all()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing.h5", "no such file there"),
        ("secret.h5", "the server refuses it .*credentials"),
        ("plain.txt", "is not an HDF5 file"),
        ("cut.h5", "is truncated"),
    ],
)
def test_what_is_not_there_is_said(folder, name, message):
    with serve(folder) as server, pytest.raises(FeatureFileError, match=message):
        erc_features.open(f"{server.url}/{name}")


@pytest.mark.parametrize("say", ["none", "bytes"])
def test_a_server_without_ranges_is_refused_and_not_drained(tmp_path, say):
    path = write_large(tmp_path / "audio.large.h5", 6000, Shape(2, 1024))
    with serve(tmp_path) as server:
        server.ranges, server.say = False, say
        with pytest.raises(FeatureFileError, match="no range requests.*Copy the file here"):
            erc_features.open(f"{server.url}/{path.name}")
        assert server.moved < path.stat().st_size / 2


def test_a_server_that_stops_midway(folder):
    with serve(folder) as server:
        far = erc_features.open(f"{server.url}/audio.wav2vec2-base.h5")
        server.broken = True
        with pytest.raises(FeatureFileError, match="cannot be read .*503.*open the copy"):
            far.x(np.array([3]))
        far.close()
        url = server.url
    with pytest.raises(FeatureFileError, match="cannot be read .*Check the address and the net"):
        erc_features.open(f"{url}/audio.wav2vec2-base.h5")


def test_a_server_that_stops_in_a_column(tmp_path):
    path = write_large(tmp_path / "audio.large.h5", 6000, Shape(1, 8))
    with serve(tmp_path) as server, erc_features.open(f"{server.url}/{path.name}") as far:
        server.broken = True
        with pytest.raises(FeatureFileError, match="cannot be read .*open the copy"):
            _ = far.text
        server.broken = False
        assert len(far.text) == 6000


def test_packages_that_are_not_there_are_named(monkeypatch):
    import fsspec

    def absent(url):
        raise ImportError("Install s3fs to access S3")

    with pytest.raises(FeatureFileError, match="no way to open nowhere://"):
        erc_features.open("nowhere://bucket/text.a.h5")
    monkeypatch.setattr(fsspec.core, "url_to_fs", absent)
    with pytest.raises(FeatureFileError, match=r"needs s3fs: pip install 'erc\[cloud\]'"):
        erc_features.open("s3://bucket/text.a.h5")
    with pytest.raises(FeatureFileError, match="needs gcsfs"):
        erc_features.open("gs://bucket/text.a.h5")


def test_any_file_system_of_fsspec(folder):
    import fsspec

    data = (folder / "audio.wav2vec2-base.h5").read_bytes()
    fsspec.filesystem("memory").pipe("/bucket/audio.wav2vec2-base.h5", data)
    with erc_features.open("memory://bucket/audio.wav2vec2-base.h5") as far:
        assert far.x(far.rows(split="dev")).shape[1:] == (3, 8)


def test_left_open_at_the_end_of_python(folder):
    """HDF5 closes its files after Python's own are gone, and crashed there."""
    with serve(folder) as server:
        url = f"{server.url}/audio.wav2vec2-base.h5"
        code = f"import erc_features; file = erc_features.open({url!r}); print(file.x()[0, 0, 0])"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


# Garbage with an open HDF5 file in it, and in fsspec's thread enough new objects for a look at it,
# while HDF5 waits for bytes.
GARBAGE = """
import gc
import fsspec.asyn, fsspec.spec, h5py
import erc_features

async def make_objects():
    return len([[] for _ in range(10_000)])

def readinto(self, out):
    gc.collect()
    held = [h5py.File({path!r})]
    held.append(held)
    del held
    fsspec.asyn.sync(fsspec.asyn.get_loop(), make_objects)
    return real(self, out)

with erc_features.open({url!r}) as far:
    real, fsspec.spec.AbstractBufferedFile.readinto = (
        fsspec.spec.AbstractBufferedFile.readinto, readinto)
    print(len(far.text), gc.isenabled())
"""


def test_garbage_in_the_thread_that_fetches_stops_nothing(folder):
    path = folder / "audio.wav2vec2-base.h5"
    with serve(folder) as server:
        code = GARBAGE.format(path=str(path), url=f"{server.url}/{path.name}")
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                              timeout=120)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1] == "True"
