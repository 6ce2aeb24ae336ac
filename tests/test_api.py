"""The Python side: every public name is documented by an example that runs, and shows itself."""

import ast
import doctest
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from fusion_files import embeddings, make_corpus, write_features
from report_runs import write_run
from torch.utils.data import DataLoader

import erc_features
import erc_fusion
from erc_features.errors import ErcError, FeatureFileError
from erc_features.store import Status

ROOT = Path(__file__).resolve().parents[1]
PUBLIC = [(package, name) for package in (erc_features, erc_fusion) for name in package.__all__]


@pytest.fixture(params=PUBLIC, ids=lambda named: f"{named[0].__name__}.{named[1]}")
def public(request):
    package, name = request.param
    return getattr(package, name)


def test_every_public_name_has_an_example(public):
    """`--doctest-modules` runs them, in the folder that `tests/examples.py` makes."""
    source = Path(sys.modules[public.__module__].__file__)
    assert source.is_relative_to(ROOT / "erc_features") or source.is_relative_to(
        ROOT / "erc_fusion"
    )
    (found,) = doctest.DocTestFinder(recurse=False).find(public, public.__name__)
    shown = [example for example in found.examples if example.want]
    assert shown, f"{public.__name__}: no example with an answer in its docstring"
    assert not any(doctest.SKIP in example.options for example in found.examples)


@pytest.mark.parametrize("package", [erc_features, erc_fusion])
def test_what_type_checkers_see_is_what_is_there(package):
    """Lazy names are invisible to them: `__init__` imports each again under TYPE_CHECKING."""
    tree = ast.parse(Path(package.__file__).read_text())
    seen = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            seen |= {alias.name for alias in node.names}
    assert set(package.__all__) <= seen
    assert set(package.__all__) <= set(dir(package))
    assert sorted(package.__all__) == package.__all__
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = package.nonsense
    assert (Path(package.__file__).parent / "py.typed").is_file()


def test_fuse_is_the_function_before_and_after_its_module_is_loaded():
    code = (
        "import erc_fusion, sys; first = erc_fusion.fuse; import erc_fusion.fuse\n"
        "from erc_fusion import fuse; from erc_fusion.fuse import FuseResult, fuse as same\n"
        "assert first is erc_fusion.fuse is fuse is same and callable(first)\n"
        "assert erc_fusion.FuseResult is FuseResult\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert callable(erc_fusion.fuse)
    assert import_module("erc_fusion.fuse").fuse is erc_fusion.fuse


@pytest.fixture
def files(tmp_path):
    corpus = make_corpus((6, 3, 3), blank=["train/d-2-seq-0"])
    status = np.full(len(corpus.rows), Status.OK)
    status[4] = Status.MISSING
    folder = tmp_path / "features" / "tiny"
    write_features(folder, "text.a", corpus, embeddings(corpus, 2, 5))
    write_features(folder, "audio.b", corpus, embeddings(corpus, 1, 3), status=status)
    return folder


def test_load_table_by_name_and_by_files(files):
    root = files.parent
    table = erc_fusion.load_table("tiny", features=root)
    assert [source.stem for source in table.sources] == ["text.a", "audio.b"]
    named = erc_fusion.load_table(files=[files / "audio.b.h5", str(files / "text.a.h5")])
    assert named.digest() == table.digest()
    last = erc_fusion.load_table("tiny", ["text"], features=root, layers="last")
    assert last.x["text.a"].shape[1:] == (1, 5)
    with pytest.raises(ErcError, match="Name either files or modalities"):
        erc_fusion.load_table(modalities=["text"], files=[files / "text.a.h5"])
    with pytest.raises(ErcError, match="Two of the files are called text.a"):
        erc_fusion.load_table(files=[files / "text.a.h5"] * 2)
    with pytest.raises(ErcError, match="No feature files in .*nowhere"):
        erc_fusion.load_table("nowhere", features=root)


def test_datasets_hold_the_tables_numbers(files):
    table = erc_fusion.load_table("tiny", features=files.parent)
    train = erc_fusion.UtteranceDataset(table, split="train")
    rows = table.rows("train")
    seen = list(DataLoader(train, batch_size=4))
    assert [key for batch in seen for key in batch["key"]] == table.key[rows].tolist()
    for stem, x in table.x.items():
        found = torch.cat([batch["x"][stem] for batch in seen])
        assert found.dtype == torch.float32
        assert (found.numpy() == x[rows]).all()
    assert (torch.cat([b["label"] for b in seen]).numpy() == table.label[rows]).all()
    present = torch.cat([b["present"] for b in seen])
    assert present.sum().item() == 2 * len(rows) - 1
    whole = erc_fusion.UtteranceDataset(table)
    assert len(whole) == len(table)
    with pytest.raises(ErcError, match="Unknown split 'valid'; choose from dev, new, test, train"):
        erc_fusion.UtteranceDataset(table, split="valid")
    with pytest.raises(ErcError, match="tiny has no row in split 'new'; it has train, dev, test"):
        erc_fusion.DialogueDataset(table, split="new")


def test_dialogues_are_whole_in_order_and_padded(files):
    table = erc_fusion.load_table("tiny", features=files.parent)
    dialogues = erc_fusion.DialogueDataset(table)
    assert len(dialogues) == 6 + 3 + 3
    keys = [key for one in map(dialogues.__getitem__, range(12)) for key in one["keys"]]
    assert keys == table.key.tolist()
    loader = DataLoader(dialogues, batch_size=12, collate_fn=erc_fusion.pad_dialogues)
    (batch,) = loader
    lengths = [len(one) for one in batch["keys"]]
    assert batch["real"].sum(1).tolist() == lengths
    assert batch["x"]["text.a"].shape == (12, max(lengths), 2, 5)
    assert (batch["label"][~batch["real"]] == -1).all()
    assert (batch["x"]["text.a"][~batch["real"]] == 0).all()
    assert (batch["x"]["text.a"][batch["real"]].numpy() == table.x["text.a"]).all()
    assert not batch["present"][~batch["real"]].any()


def test_a_feature_file_shows_itself_and_nothing_else(tmp_path, files):
    with erc_features.open(files / "audio.b.h5") as file:
        shown = file._repr_html_()
        for part in ("audio.b", "anger, joy, neutral", "train", "missing", "D=3", "float32"):
            assert part in shown
        assert "failed" not in shown
    with erc_features.open(files / "audio.b.h5") as file:
        pass
    assert "is closed" in file._repr_html_()
    assert "N=" in repr(file)
    with pytest.raises(FeatureFileError, match="is closed: read it inside its `with` block"):
        _ = file.key
    evil = "<script>alert(1)</script>"
    corpus = make_corpus((1, 1, 1))
    labels = ("anger", "joy", "neutral", evil)
    write_features(tmp_path / "c", "text.x", corpus, embeddings(corpus, 1, 2), labels=labels)
    with erc_features.open(tmp_path / "c" / "text.x.h5") as file:
        assert evil not in file._repr_html_()
        assert "&lt;script&gt;" in file._repr_html_()


def test_a_run_shows_itself_and_says_what_is_wrong(tmp_path):
    run = write_run(tmp_path, "mlp", without=("test",), labels=("a", "b", "c", "d", "e", "f", "g"))
    shown = run._repr_html_()
    mean = 100 * run.metrics["dev"]["accuracy"]["mean"]
    for part in ("mlp", "text.baseline, audio.baseline", f"{mean:.1f} ±", "no labels"):
        assert part in shown
    evil = write_run(tmp_path, "evil", head="<img src=x>")
    assert "<img" not in evil._repr_html_()
    (run.path / "metrics.json").unlink()
    assert "cannot be read" in erc_fusion.Run(run.path)._repr_html_()


def test_runs_are_listed_from_one_folder(tmp_path):
    write_run(tmp_path, "b")
    write_run(tmp_path, "a", corpus="iemocap")
    write_run(tmp_path, "c", done=False)
    assert [run.name for run in erc_fusion.list_runs(runs=tmp_path)] == ["a", "b"]
    assert [run.name for run in erc_fusion.list_runs("meld", runs=tmp_path)] == ["b"]
