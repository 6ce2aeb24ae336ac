"""Examples in docstrings are run where their files are: see `tests/examples.py`."""

from pathlib import Path

import pytest


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
