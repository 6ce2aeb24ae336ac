"""`--engine ray`: the same file as `--engine local`, whatever becomes of the workers."""

import os
import pickle
import signal
import socket
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from checkpoints import tiny_bert, tiny_clip, tiny_sound
from corpora import media_corpus, text_corpus
from recordings import cut_corpus, record

from erc_features.encoders.base import Settings
from erc_features.errors import EncoderError, ErcError
from erc_features.extraction.engines import cluster
from erc_features.extraction.engines.ray import Worker, _portable, run_ray, settle
from erc_features.extraction.extract import extract
from erc_features.extraction.job import make_jobs
from erc_features.extraction.probe import Expected
from erc_features.store import FeatureFile, Status, read_probe

ray = pytest.importorskip("ray", reason="extra ray is not installed")

# An encoder that another package brings. Text "kill" kills its process, as a lack of memory would.
ECHO = """
import os, signal, sys, time, zlib
from dataclasses import dataclass
import numpy as np

@dataclass(frozen=True)
class Echo:
    modality: str
    name: str = "echo"
    layers: int = 2
    dim: int = 3
    revision: str = "r"
    device: str = "cpu"
    cap: float = 1e9

    def cost(self, size):
        return size

    def encode(self, items):
        time.sleep(0.02)
        if "kill" in items and os.environ.get("ECHO_MAY_KILL"):
            os.kill(os.getpid(), signal.SIGKILL)
        if "raise" in items:
            raise ValueError("no more")
        if "threads" in items:
            torch = sys.modules["torch"]
            return np.full((len(items), 2, 3), torch.get_num_threads(), np.float32)
        seeds = [zlib.crc32(item.encode()) for item in items]
        return np.stack([np.random.default_rng(s).normal(size=(2, 3)) for s in seeds]).astype("f4")

def load_echo(name, modality, settings):
    if settings.layers == "last":
        import torch
    return Echo(modality)
"""


@pytest.fixture(scope="module")
def echo(tmp_path_factory):
    """`--encoder echo`, installed for this process and those that it starts."""
    site = tmp_path_factory.mktemp("site")
    (site / "erc_echo.py").write_text(ECHO)
    about = site / "erc_echo-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: erc-echo\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[erc.encoders]\necho = erc_echo:load_echo\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        patch.setenv("PYTHONPATH", str(site))
        yield


@pytest.fixture(scope="module")
def two_cores(echo):
    """Ray as a notebook has already started it: with two CPUs and no GPU. It is left running."""
    with cluster._quiet(), cluster._environment("local"), pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECHO_MAY_KILL", "1")  # in the workers, not here
        ray.init(address="local", num_cpus=2, num_gpus=0, include_dashboard=False,
                 log_to_driver=False, configure_logging=False)  # fmt: skip
    cluster._show_deaths(False)
    yield
    cluster._show_deaths(True)
    ray.shutdown()


# First what needs no Ray running.


def test_ray_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ErcError, match=r"Ray is not installed here. pip install 'erc\[ray\]'"):
        extract(text_corpus(tmp_path / "words"), features=tmp_path, engine="ray")


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("127.0.0.1:9", "no Ray cluster can be joined there: .*refused"),
        ("no-such-host.invalid:6379", "no Ray cluster can be joined there"),
        ("ray://127.0.0.1:10001", "one looks like 10.0.0.1:6379"),
        ("127.0.0.1:999999", "no Ray cluster can be joined there"),
    ],
)
def test_an_address_where_no_cluster_is(tmp_path, monkeypatch, address, says):
    monkeypatch.setenv("RAY_ADDRESS", address)
    began = time.monotonic()
    with pytest.raises(ErcError, match=f"RAY_ADDRESS={address}: {says}"):
        extract(text_corpus(tmp_path / "words"), features=tmp_path, engine="ray")
    assert time.monotonic() - began < 30
    assert not ray.is_initialized()


@pytest.mark.parametrize(
    ("nodes", "cuda", "workers", "threads", "share"),
    [
        ([(8, 0)], False, 2, 4, (4, 0.0)),
        ([(8, 0)], False, 3, 4, (2, 0.0)),
        ([(2, 0)], False, 2, 2, (1, 0.0)),
        ([(3, 0), (3, 0)], False, 3, 2, (1, 0.0)),
        ([(16, 4)], True, 4, 8, (1, 1.0)),
        ([(16, 2), (16, 2)], True, 8, 8, (1, 0.5)),
        ([(16, 3)], True, 4, 8, (1, 0.5)),
        ([(2, 8)], True, 8, 2, (0, 1.0)),
        ([(0, 0), (16, 1)], True, 3, 2, (1, 0.3333)),
    ],
)
def test_what_a_worker_books(nodes, cuda, workers, threads, share):
    assert cluster.share(nodes, cuda, workers, threads) == share


def test_a_job_can_be_sent_and_holds_elsewhere(tmp_path, monkeypatch):
    media_corpus(tmp_path / "tiny")
    (tmp_path / "minilm").mkdir()
    monkeypatch.chdir(tmp_path)
    [job] = make_jobs("tiny", modality="audio", encoder="minilm")
    sent = pickle.loads(pickle.dumps(_portable(job)))
    assert sent.corpus.root == tmp_path / "tiny"
    assert sent.encoder == str(tmp_path / "minilm")
    assert sent.corpus.fingerprint == job.corpus.fingerprint
    [named] = make_jobs("tiny", modality="visual", encoder="ViT-B-32=w/clip.safetensors")
    assert _portable(named).encoder == f"ViT-B-32={tmp_path}/w/clip.safetensors"
    [tagged] = make_jobs("tiny", modality="visual", encoder="ViT-B-32/openai=w/clip.safetensors")
    assert _portable(tagged).encoder == f"ViT-B-32/openai={tmp_path}/w/clip.safetensors"


def test_a_worker_gives_the_rows_and_reasons_of_the_local_engine(tmp_path):
    root = media_corpus(tmp_path / "tiny")
    extract(root, features=tmp_path / "f", modality="visual", encoder="baseline", dtype="float32")
    [job] = make_jobs(root, modality="visual", encoder="baseline", dtype="float32")
    worker = Worker(_portable(job), threads=1, decoders=2)
    with pytest.raises(
        EncoderError, match="On node .* has the revision [0-9a-f]{64}; here it is x"
    ):
        worker.load(Expected("x", None, {}))
    with FeatureFile(tmp_path / "f/tiny/visual.baseline.h5") as file:
        revision, probe = file.attributes["revision"], read_probe(file)
        other = Expected(revision, replace(probe, x=probe.x * 2), {"torch": "1.0"})
        with pytest.raises(EncoderError, match="On node (.|\n)*torch: 1.0 then(.|\n)*every node"):
            worker.load(other)
        worker.load(Expected(revision, probe, file.attributes["versions"]))
        rows = np.array([4, 2, 0])
        batch = worker.encode(rows)
        assert np.array_equal(batch.x, file.x(rows))
        assert batch.status.tolist() == [Status.OK, Status.FAILED, Status.OK]
        assert batch.reasons == [file.reason[row] for row in rows]


@pytest.mark.parametrize("modality", ["audio", "visual"])
def test_a_worker_cuts_the_same_segments(tmp_path, modality):
    """It opens the recordings itself, with the times that it was sent."""
    record(tmp_path / "c" / "r.mp4", 4.0, fps=10)
    cells = [("r.mp4", "2.5", "3.5"), ("r.mp4", "x", ""), ("r.mp4", "0.5", "1"), ("r.mp4", "", "")]
    root = cut_corpus(tmp_path / "c", cells, f"x_{modality}")
    what = {"modality": modality, "encoder": "baseline", "dtype": "float32"}
    [made] = extract(root, features=tmp_path / "f", **what)
    [job] = make_jobs(root, **what)
    worker = Worker(pickle.loads(pickle.dumps(_portable(job))), threads=1, decoders=2)
    with FeatureFile(made.path) as file:
        worker.load(Expected(file.attributes["revision"], None, {}))
        batch = worker.encode(np.arange(4))
        assert np.array_equal(batch.x, file.x()) and batch.status.tolist() == [1, 3, 1, 1]
        assert len({row.tobytes() for row in batch.x}) == 4
        assert batch.reasons == file.reason.tolist()


# And with Ray.


def lines_of(root: Path, *texts: str) -> Path:
    """A corpus of these texts, after as many others."""
    text_corpus(root)
    with open(root / "test.csv", "a", newline="") as file:
        file.writelines(f",9,{i},,{text},,,joy\r\n" for i, text in enumerate(texts))
    return root


@pytest.mark.soak
def test_same_file_as_the_local_engine(tmp_path, two_cores):
    root, seen = lines_of(tmp_path / "words", "raise"), []
    job = {"modality": "text", "encoder": "echo", "batch_size": 4, "dtype": "float32"}
    extract(root, features=tmp_path / "local", **job)
    [made] = extract(root, features=tmp_path / "ray", **job, engine="ray", workers=2,
                     progress=lambda stem, done, total: seen.append((done, total)))  # fmt: skip
    same_file(tmp_path / "ray/words/text.echo.h5", tmp_path / "local/words/text.echo.h5")
    assert made.failures == {"the encoder failed: ValueError: no more": 1}
    assert len(seen) == 11
    assert seen == sorted(seen)
    assert seen[-1] == (43, 43)
    assert sum(made.shares.values()) == pytest.approx(1)
    assert ray.is_initialized()


@pytest.mark.soak
def test_what_the_cluster_has_not(tmp_path, two_cores):
    root = text_corpus(tmp_path / "words")
    with pytest.raises(ErcError, match="--workers 3: Ray has 2 CPUs here, and so at most 2"):
        extract(root, features=tmp_path, encoder="baseline", engine="ray", workers=3)
    on_cuda = Settings(device="cuda")
    with pytest.raises(EncoderError, match="--device cuda: no node of the Ray cluster has a GPU"):
        extract(root, features=tmp_path, modality="text", encoder="echo", settings=on_cuda,
                engine="ray")  # fmt: skip
    [job] = make_jobs(root, encoder="baseline")
    settled, workers = settle(job, None)
    assert (settled.settings.device, settled.settings.precision, workers) == ("cpu", "fp32", 2)


def workers_of(driver: int) -> list[int]:
    """The processes of the actors that a driver started on this machine, oldest first."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and b"ray::Worker" in (entry / "cmdline").read_bytes():
                raylet = _parent(int(entry.name))
                if _parent(raylet) == driver:
                    found.append(int(entry.name))
        except OSError:  # it has ended meanwhile
            continue
    return sorted(found)


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.soak
@pytest.mark.parametrize("kills", [1, 10])
def test_workers_killed_in_the_middle(tmp_path, two_cores, kills):
    root = text_corpus(tmp_path / "words", (12 + 10 * kills, 4, 4))
    job = {"modality": "text", "encoder": "echo", "batch_size": 1, "dtype": "float32"}
    extract(root, features=tmp_path / "local", **job)
    killed, seen = [], []

    def progress(stem, done, total):
        seen.append(done)
        if len(killed) < kills and done > 8 * (len(killed) + 1):
            killed.append(workers_of(os.getpid())[0])
            os.kill(killed[-1], signal.SIGKILL)

    extract(root, features=tmp_path / "ray", **job, engine="ray", workers=2, progress=progress)
    assert len(set(killed)) == kills
    same_file(tmp_path / "ray/words/text.echo.h5", tmp_path / "local/words/text.echo.h5")
    assert np.diff(seen).tolist() == [1] * (len(seen) - 1)  # nothing done twice


@pytest.mark.soak
def test_a_batch_that_kills_its_workers_is_named_and_the_rest_stays(tmp_path, two_cores):
    root = lines_of(tmp_path / "words", "kill", "fine")
    job = {"modality": "text", "encoder": "echo", "batch_size": 2, "dtype": "float32"}
    with pytest.raises(ErcError, match=r"died 3 times over the same batch: (.|\n)*test/d-9-seq-0"):
        extract(root, features=tmp_path / "f", **job, engine="ray", workers=2)
    with FeatureFile(tmp_path / "f/words/text.echo.h5.partial") as file:
        assert file.status[list(file.key).index("test/d-9-seq-0")] == Status.PENDING
        assert (file.status == Status.OK).sum() > 10
    extract(root, features=tmp_path / "f", **job)  # here the text is harmless


@pytest.mark.soak
def test_workers_compute_with_the_threads_of_the_driver(tmp_path, two_cores):
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        extract(lines_of(tmp_path / "words", "threads"), features=tmp_path / "f", modality="text",
                encoder="echo", settings=Settings(layers="last"), batch_size=64, engine="ray",
                workers=1)  # fmt: skip
    finally:
        torch.set_num_threads(before)
    with FeatureFile(tmp_path / "f/words/text.echo+layerslast.h5") as file:
        assert (file.x()[file.status == Status.OK] == 3).all()


@pytest.mark.soak
@pytest.mark.parametrize(
    ("modality", "make"),
    [
        ("text", None),
        ("text", tiny_bert),
        ("visual", tiny_clip),
        ("audio", lambda folder: tiny_sound(folder, "Wav2Vec2", "group")),
        ("audio", lambda folder: tiny_sound(folder, "Wav2Vec2", "layer")),
    ],
)
def test_networks_give_the_same_bits(tmp_path, two_cores, modality, make):
    root = media_corpus(tmp_path / "tiny", 16)
    encoder = str(make(tmp_path / "net")) if make else "baseline"
    for engine, workers in (("local", 2), ("ray", 2)):
        [made] = extract(root, features=tmp_path / engine, modality=modality, encoder=encoder,
                         batch_size=3, dtype="float32", engine=engine, workers=workers)  # fmt: skip
    assert made.counts["ok"] >= 14
    same_file(made.path, tmp_path / "local" / made.path.relative_to(tmp_path / "ray"))


@pytest.mark.soak
def test_a_busy_cluster_is_not_waited_for_without_end(tmp_path, two_cores, monkeypatch):
    class Busy:  # in here, so that it is sent whole: workers don't import tests
        def begun(self) -> None:
            pass

    root = text_corpus(tmp_path / "words")
    busy = ray.remote(Busy).options(num_cpus=2).remote()
    ray.get(busy.begun.remote())
    monkeypatch.setattr("erc_features.extraction.engines.ray.START", 3.0)
    try:
        with pytest.raises(ErcError, match="no worker could start in 3 seconds"):
            extract(root, features=tmp_path, modality="text", encoder="echo", engine="ray")
    finally:
        ray.kill(busy)


@pytest.mark.soak
def test_other_weights_on_a_node(tmp_path, two_cores):
    [job] = make_jobs(text_corpus(tmp_path / "words"), modality="text", encoder="echo")
    job, workers = settle(job, 1)
    with pytest.raises(EncoderError, match="has the revision r; here it is other"):
        list(run_ray([np.array([0])], job, Expected("other", None, {}), workers))


DRIVER = """
    import os, signal, sys
    from erc_features.extraction.extract import extract
    def progress(stem, done, total):
        if done >= {at}: os.kill(os.getpid(), signal.SIGKILL)
    if __name__ == "__main__":
        extract({root!r}, features={features!r}, modality="text", encoder="echo", batch_size=1,
                engine="ray", workers=2, progress=progress)
        import ray
        assert not ray.is_initialized()
        assert "RAY_AUTH_TOKEN" not in os.environ or "RAY_ADDRESS" in os.environ
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
"""


def driver(tmp_path: Path, root: Path, at: int, **more: str) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "driver.py"
    features = str(tmp_path / "f")
    script.write_text(textwrap.dedent(DRIVER.format(at=at, root=str(root), features=features)))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return subprocess.run([sys.executable, "-W", "error", script], check=False, text=True,
                          capture_output=True, env={**kept, **more})  # fmt: skip


@pytest.mark.soak
def test_an_instance_of_our_own_says_nothing_and_leaves_nothing(tmp_path, echo):
    root = text_corpus(tmp_path / "words")
    done = driver(tmp_path, root, 10**6, HOME=str(tmp_path / "nowhere"), ERC_MARK=str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (tmp_path / "nowhere").exists()
    assert not left_behind(str(tmp_path), seconds=10)


@pytest.mark.soak
def test_a_cluster_with_a_token(tmp_path, echo):
    root, home = text_corpus(tmp_path / "words"), str(tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "ab" * 32, "HOME": home}
    ray_itself = str(Path(sys.executable).with_name("ray"))
    command = [ray_itself, "start", "--head", "--port", address.split(":")[1], "--num-cpus", "2",
               "--include-dashboard=false", "--disable-usage-stats", "--block"]  # fmt: skip
    with open(tmp_path / "log", "w") as log:
        head = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **token})
    try:
        until = time.monotonic() + 120
        while "block forever" not in (tmp_path / "log").read_text():
            assert head.poll() is None and time.monotonic() < until
            time.sleep(1)
        without = driver(tmp_path, root, 10**6, RAY_ADDRESS=address, HOME=home)
        assert f"RAY_ADDRESS={address}: no Ray cluster can be joined" in without.stderr
        assert "it has tokens" in without.stderr and "RAY_AUTH_MODE=token" in without.stderr
        done = driver(tmp_path, root, 10**6, RAY_ADDRESS=address, **token)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    finally:
        head.terminate()
        head.wait(60)
    extract(root, features=tmp_path / "local", modality="text", encoder="echo", batch_size=1)
    same_file(tmp_path / "f/words/text.echo.h5", tmp_path / "local/words/text.echo.h5")


@pytest.mark.soak
def test_the_driver_killed_it_goes_on_locally_and_no_worker_stays(tmp_path, echo):
    root = text_corpus(tmp_path / "words")
    done = driver(tmp_path, root, 20, ERC_MARK=str(tmp_path))
    assert done.returncode == -signal.SIGKILL
    assert not left_behind(str(tmp_path), seconds=30)
    with FeatureFile(tmp_path / "f/words/text.echo.h5.partial") as file:
        assert 19 <= (file.status == Status.OK).sum() < 41
    job = {"modality": "text", "encoder": "echo", "batch_size": 1}
    extract(root, features=tmp_path / "f", **job)
    extract(root, features=tmp_path / "whole", **job)
    same_file(tmp_path / "f/words/text.echo.h5", tmp_path / "whole/words/text.echo.h5")


def left_behind(mark: str, seconds: float) -> list[str]:
    """Processes that carry a mark in their environment still, after so long."""
    ends = time.monotonic() + seconds
    while found := _marked(mark):
        if time.monotonic() > ends:
            return found
        time.sleep(0.5)
    return []


def _marked(mark: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"ERC_MARK={mark}".encode() in (
                entry / "environ"
            ).read_bytes().split(b"\0"):
                found.append((entry / "cmdline").read_text())
        except OSError:
            continue
    return found


def same_file(one: Path, other: Path) -> None:
    with FeatureFile(one) as a, FeatureFile(other) as b:
        assert a.complete and b.complete
        assert np.array_equal(a.x(), b.x())
        assert np.array_equal(a.status, b.status)
        assert a.reason.tolist() == b.reason.tolist()
        assert a.key.tolist() == b.key.tolist()
