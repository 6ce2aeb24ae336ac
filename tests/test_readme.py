"""What the README shows is run."""

import contextlib
import io
import re
from pathlib import Path

from corpora import text_corpus

from erc_features.extraction.extract import extract

README = Path(__file__).resolve().parents[1] / "README.md"


def test_the_ten_lines_with_only_h5py(tmp_path, monkeypatch):
    code = re.search(r"## Only h5py.*?```python\n(.*?)```", README.read_text(), re.S)[1]
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    assert "erc" not in code.replace("features/meld", "")
    extract(text_corpus(tmp_path / "meld", (60, 12, 30)), features=tmp_path / "features",
            encoder="baseline")  # fmt: skip
    monkeypatch.chdir(tmp_path)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(code, {})
    accuracy = float(re.search(r"accuracy on test: ([\d.]+)", out.getvalue())[1])
    assert accuracy > 0.9
