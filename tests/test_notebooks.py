"""The notebooks run from a clean kernel on feature files as the demo has them, and draw."""

import ast
import json
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from fusion_files import embeddings, make_corpus, write_features

from erc_features.store import Status

nbclient = pytest.importorskip("nbclient", reason="extra dev is not installed")
pytest.importorskip("ipykernel", reason="extra dev is not installed")

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
NAMES = ("explore_features", "fusion_in_five_minutes")


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """Three files of a small corpus, of several layers, a row without sound, one unlabelled."""
    folder = tmp_path_factory.mktemp("demo") / "features" / "sample"
    corpus = make_corpus((24, 8, 8), blank=["test/d-1-seq-1"])
    status = np.full(len(corpus.rows), Status.OK)
    status[3] = Status.MISSING
    write_features(folder, "text.a", corpus, embeddings(corpus, 2, 6))
    write_features(folder, "visual.b", corpus, embeddings(corpus, 1, 4, seed=2))
    write_features(folder, "audio.c", corpus, embeddings(corpus, 1, 5, seed=3), status=status,
                   order=np.arange(len(corpus.rows))[::-1])  # fmt: skip
    return folder


@pytest.mark.parametrize(
    ("name", "plots"),
    [("explore_features", 3), ("fusion_in_five_minutes", 4)],
)
@pytest.mark.soak
@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:jupyter_client")
def test_it_runs_and_draws(name, plots, features, tmp_path, monkeypatch):
    monkeypatch.setenv("ERC_FEATURES", str(features))
    monkeypatch.setenv("ERC_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("PYTHONWARNINGS", "error::FutureWarning")
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    shown = [out for cell in notebook.cells for out in cell.get("outputs", ())]
    assert not [out for out in shown if out.output_type == "error" or out.get("name") == "stderr"]
    pictures = [out.data["image/png"] for out in shown if "image/png" in out.get("data", {})]
    assert len(pictures) == plots
    assert min(map(len, pictures)) > 10_000  # an empty plot has some 3,000
    tables = "".join(out.data.get("text/html", "") for out in shown if "data" in out)
    for stem in ("text.a", "visual.b", "audio.c"):
        assert stem in tables
    if name == "fusion_in_five_minutes":
        assert "95% interval over whole dialogues" in tables
        assert "<th>missing</th>" in tables
        assert len(list((tmp_path / "runs" / "sample").glob("mlp-*"))) == 5
        said = "".join(out.get("text", "") for out in shown)
        assert "dev accuracy of a linear layer" in said


@pytest.mark.parametrize("name", NAMES)
def test_it_is_kept_clean(name):
    text = (NOTEBOOKS / f"{name}.ipynb").read_text()
    cells = json.loads(text)["cells"]
    assert "To run it:" in "".join(cells[0]["source"])
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert not any(
        cell["outputs"] or cell["execution_count"] for cell in cells if "outputs" in cell
    )
    assert max(len(line) for part in code for line in part.splitlines()) <= 100
    found = set()
    for node in ast.walk(ast.parse("\n".join(code))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module).split(".")[0])
    outside = found - sys.stdlib_module_names
    plain = {"h5py", "matplotlib", "numpy", "pandas", "sklearn"}
    assert outside <= plain | (
        {"erc_features", "erc_fusion", "torch"} if "fusion" in name else set()
    )
