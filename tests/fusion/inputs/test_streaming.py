"""Features that are streamed from their files: the same results, in bounded memory."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from fusion_files import embeddings, make_corpus, write_features
from typer.testing import CliRunner

import cli
from erc_features.errors import ErcError
from erc_features.store import FeatureFile, Status
from erc_fusion.config.config import FuseConfig, load_config, with_options, without_place
from erc_fusion.fuse import fuse
from erc_fusion.inputs import streaming as module
from erc_fusion.inputs.free_memory import free_memory
from erc_fusion.inputs.sources import find_sources
from erc_fusion.inputs.streaming import Streaming
from erc_fusion.inputs.table import FeatureTable, load_table
from erc_fusion.runs.run import FILES


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Text in the table's order; audio in another, every fifth row missing."""
    root = tmp_path_factory.mktemp("stream")
    corpus = make_corpus((30, 10, 10))
    rows = len(corpus.rows)
    write_features(root / "features/tiny", "text.a", corpus, embeddings(corpus, 4, 12))
    status = np.where(np.arange(rows) % 5 == 0, Status.MISSING, Status.OK)
    order = np.random.default_rng(3).permutation(rows)
    sound = embeddings(corpus, 1, 8, seed=2)
    write_features(root / "features/tiny", "audio.b", corpus, sound, status=status, order=order)
    return root


def tables(root: Path, layers: str, *, folder: Path | None) -> tuple[FeatureTable, FeatureTable]:
    """(in memory, streamed)."""
    sources = find_sources(root / "features/tiny")
    streamed = load_table(sources, layers, Streaming(True, folder))
    return load_table(sources, layers, Streaming(False)), streamed


def is_mapped(values: np.ndarray) -> bool:
    """Whether an array is over a file."""
    base: object = values
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
        base = base.base
    return isinstance(base, np.memmap)


@pytest.mark.parametrize(("layers", "as_it_is"), [("all", 1), ("last", 1), ("-2:", 1), ("0,2", 1),
                                                  ("0,1,3", 0)])  # fmt: skip
def test_a_streamed_table_has_the_same_numbers(
    root: Path, tmp_path: Path, layers: str, as_it_is: bool
) -> None:
    (memory, streamed), said = tables(root, layers, folder=tmp_path), []
    assert streamed.streamed and not memory.streamed
    assert streamed.digest() == memory.digest()
    for stem, x in memory.x.items():
        assert np.array_equal(streamed.x[stem], x) and is_mapped(streamed.x[stem])
        assert not is_mapped(x)
    load_table(find_sources(root / "features/tiny"), layers, Streaming(True, tmp_path, said.append))
    copied = [line.split(" ")[0] for line in said]
    assert copied == ["text.a", "audio.b"][as_it_is:]
    assert "in another order" in said[-1] and "deleted at the end" in said[0]
    assert not list(tmp_path.iterdir())  # a copy has no name


@pytest.mark.parametrize("options", [{}, {"context": "gru", "contrastive": "supcon"},
                                     {"folds": "3", "monitor": "weighted_f1"}])  # fmt: skip
def test_a_streamed_run_is_the_same_to_the_bit(
    root: Path, tmp_path: Path, options: dict[str, str]
) -> None:
    small = {"width": 8, "epochs": 2, "batch_size": 64, "seeds": (0, 1), "device": "cpu"}
    config = with_options(
        FuseConfig(corpus="tiny"), features=str(root / "features"), **small, **options
    )
    runs = []
    for stream in (False, True):
        placed = with_options(config, runs=str(tmp_path / str(stream)), stream=stream)
        assert without_place(placed) == without_place(config)
        runs.append(fuse(placed).run)
    one, other = runs
    assert one.name == other.name
    assert one.inputs["identity"] == other.inputs["identity"]
    for file in set(FILES) - {"config.toml", "inputs.json", "metrics.json"}:  # time, places
        assert (one.path / file).read_bytes() == (other.path / file).read_bytes(), file
    for split in ("dev", "test"):
        assert one.metrics[split] == other.metrics[split]
    assert load_config(other.path / "config.toml").place.stream is None
    assert "stream =" not in (other.path / "config.toml").read_text()


def test_little_memory_streams_and_says_so(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "free_memory", lambda: 10_000)
    command = ["fuse", "--corpus", "tiny", "--features", str(root / "features"), "--epochs", "1",
               "--runs", str(tmp_path), "--seeds", "1", "--device", "cpu",
               "--modalities", "text"]  # fmt: skip
    told = CliRunner().invoke(cli.app, command)
    assert told.exit_code == 0, told.output
    words = " ".join(told.output.split())
    assert "streamed from their files: in float32 they are" in words
    assert "10.0 kB of memory are free. --no-stream reads them" in words
    quiet = CliRunner().invoke(cli.app, [*command, "--no-stream", "--overwrite"])
    assert quiet.exit_code == 0 and "streamed" not in quiet.output


def test_a_copy_needs_room_and_a_folder(root: Path, tmp_path: Path) -> None:
    sources = find_sources(root / "features/tiny", ["audio"])
    kept = module.KEPT
    try:
        module.KEPT = 2**60
        with pytest.raises(ErcError, match=r"audio.b must be copied .*another order.*--no-stream"):
            load_table(sources, "all", Streaming(True, tmp_path))
    finally:
        module.KEPT = kept
    (tmp_path / "file").write_text("")
    with pytest.raises(ErcError, match="can't be copied there"):
        load_table(sources, "all", Streaming(True, tmp_path / "file"))
    found = load_table(sources, "all", Streaming(True))  # nowhere to copy to
    assert not is_mapped(found.x["audio.b"])


@pytest.mark.parametrize("what", ["compressed", "numbers where there are none", "not finite"])
def test_files_of_others(root: Path, tmp_path: Path, what: str) -> None:
    """What another tool may have written is copied, or refused as it is in memory."""
    corpus = make_corpus((3, 2, 2))
    status = np.where(np.arange(len(corpus.rows)) == 1, Status.MISSING, Status.OK)
    folder = tmp_path / "features/other"
    path = write_features(folder, "text.a", corpus, embeddings(corpus, 2, 6), status=status)
    with h5py.File(path, "r+") as file:
        x = file["x"][()]
        if what == "compressed":
            del file["x"]
            file.create_dataset("x", data=x, chunks=(5, 2, 6), compression="gzip")
        else:
            file["x"][1 if "there" in what else 2, 0, 3] = np.nan
    with FeatureFile(path) as file:
        assert (file.mapped() is None) == (what == "compressed")
    sources, said = find_sources(folder), []
    if what == "not finite":
        with pytest.raises(ErcError, match="1 rows are marked ok but hold NaN"):
            load_table(sources, "all", Streaming(True, tmp_path))
        return
    found = load_table(sources, "all", Streaming(True, tmp_path, said.append))
    assert found.digest() == load_table(sources).digest()
    assert ("compressed" if what == "compressed" else "rows that are not ok") in said[0]


def test_what_is_mapped_can_be_written_without_harm(root: Path) -> None:
    path = root / "features/tiny/text.a.h5"
    before = path.read_bytes()
    with FeatureFile(path) as file:
        x = file.mapped()
    assert x is not None
    x[:] = 0
    assert path.read_bytes() == before


def test_free_memory_is_that_of_the_smallest_control_group(tmp_path: Path) -> None:
    proc, groups = tmp_path / "proc", tmp_path / "groups"
    (proc / "self").mkdir(parents=True)
    assert free_memory(groups, proc) > 2**50  # nothing is said
    (proc / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    8000000 kB\n")
    assert free_memory(groups, proc) == 8_000_000 * 1024
    (proc / "self/cgroup").write_text("0::/job/step\n")
    (groups / "job/step").mkdir(parents=True)
    (groups / "job/step/memory.max").write_text("max\n")
    (groups / "job/memory.max").write_text("5000000\n")
    (groups / "job/memory.current").write_text("4000000\n")
    (groups / "job/memory.stat").write_text("anon 1\ninactive_file 700\nactive_file 300\n")
    assert free_memory(groups, proc) == 1_001_000
    (proc / "self/cgroup").write_text("7:cpu,memory:/old\n")
    (groups / "memory/old").mkdir(parents=True)
    (groups / "memory/old/memory.limit_in_bytes").write_text("3000\n")
    (groups / "memory/old/memory.usage_in_bytes").write_text("4000\n")
    (groups / "memory/old/memory.stat").write_text("total_inactive_file 50\n")
    assert free_memory(groups, proc) == 0


def test_a_streamed_table_is_never_standardised_as_a_whole(root: Path) -> None:
    from erc_fusion.inputs.standardise import Standardised, fit_standardiser, is_large, on_device

    memory, streamed = tables(root, "all", folder=None)
    assert is_large(streamed, 1) and not is_large(memory, len(memory))
    assert not is_large(replace(streamed, streamed=False), len(memory))
    rows = streamed.rows("train")
    split = fit_standardiser(streamed, rows).split(
        streamed, rows, "cpu", on_device(streamed, "cpu")
    )
    assert all(isinstance(x, Standardised) for x in split.x.values())
