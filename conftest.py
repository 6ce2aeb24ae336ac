"""Examples in docstrings are run where their files are: see `tests/examples.py`."""

import gc
import os
import sys
from pathlib import Path

import pytest

# Before hypothesis and the tests are imported, and in the processes that tests start. Many
# containers forbid byte-code; then pytest rewrites every assertion of every file again, and each
# command that a test runs compiles torch anew. It lies in __pycache__, which git ignores.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

TESTS = Path(__file__).parent / "tests"


@pytest.fixture(scope="session")
def example_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `features/meld` and `runs/meld`."""
    from examples import make_examples

    return make_examples(tmp_path_factory.mktemp("examples"))


@pytest.fixture(autouse=True)
def _in_their_folder(request: pytest.FixtureRequest) -> None:
    item = request.node
    if (
        isinstance(item, pytest.DoctestItem)
        and item.dtest
        and "meld" in (item.dtest.docstring or "")
    ):
        folder = request.getfixturevalue("example_files")
        request.getfixturevalue("monkeypatch").chdir(folder)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """A module without an example: doctest would import it, open_clip and all, to find none."""
    if collection_path.suffix != ".py" or collection_path.is_relative_to(TESTS):
        return None
    return True if ">>>" not in collection_path.read_text(encoding="utf-8") else None


def pytest_collection_finish() -> None:
    """What was imported stays to the end: no look for garbage need go over it again."""
    gc.collect()
    gc.freeze()
