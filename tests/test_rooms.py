"""DESIGN.md section 2: who may import whom, and who keeps which outside world."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(
    [*ROOT.glob("erc_features/**/*.py"), *ROOT.glob("erc_fusion/**/*.py"), ROOT / "cli.py"]
)
KEEPERS = {
    "h5py": ["erc_features/store/"],
    "av": ["erc_features/media/"],
    "PIL": ["erc_features/media/", "erc_features/corpora/sample"],
    "moviepy": ["erc_features/corpora/sample"],
    "transformers": ["erc_features/encoders/"],
    "open_clip": ["erc_features/encoders/"],
    "huggingface_hub": ["erc_features/encoders/"],
    "kaggle": ["erc_features/corpora/kaggle.py"],
    "kagglesdk": ["erc_features/corpora/kaggle.py"],
    "ray": ["erc_features/engines"],
    "optuna": ["erc_fusion/tune.py", "erc_fusion/space.py"],
    "tensorboard": ["erc_fusion/events.py"],
    "fsspec": ["erc_features/store/", "erc_features/upload.py", "erc_features/corpora/remote.py"],
    "typer": [
        "cli.py",
        "erc_features/commands.py",
        "erc_features/options.py",
        "erc_fusion/commands.py",
    ],
    "click": ["cli.py"],
    "matplotlib": ["erc_fusion/report/"],
    "jinja2": ["erc_fusion/report/", "erc_features/doctor_page.py"],
    "rich": ["erc_features/terminal.py", "erc_fusion/report/text.py"],
}
WHOLE_WAY = {
    "erc_fusion/predict.py", "erc_fusion/demo.py", "erc_fusion/commands.py", "erc_fusion/shown.py",
    # A corpus's rows and media, for the few mistakes that a report shows; never for a figure.
    "erc_fusion/report/mistakes.py",
}  # fmt: skip


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows_and_keepers(path):
    name = str(path.relative_to(ROOT))
    for module in imports(path):
        top = module.split(".")[0]
        for keeper in KEEPERS.get(top, [name]):
            if name.startswith(keeper):
                break
        else:
            pytest.fail(f"{name} imports {module}, which only {KEEPERS[top]} may")
        if name.startswith("erc_features/"):
            assert top not in ("erc_fusion", "cli"), f"{name} imports {module}: up the stream"
        if name.startswith("erc_fusion/"):
            assert top != "cli", f"{name} imports {module}: up the stream"
            if top == "erc_features" and name not in WHOLE_WAY:
                room = module.split(".")[1]
                assert room in ("errors", "utterance", "store", "plugins", "layers", "threads"), (
                    f"{name}: {module}"
                )


@pytest.mark.parametrize("name", ["utterance", "errors"])
def test_the_domain_imports_nothing_of_ours(name):
    found = imports(ROOT / "erc_features" / f"{name}.py")
    assert not any(module.startswith("erc_") for module in found)


@pytest.mark.parametrize("module", ["cli", "erc_features", "erc_fusion", "erc_fusion.fuse"])
def test_nothing_heavy_at_import(module):
    code = f"import sys, {module}; print(*sys.modules)"
    heavy = {"torch", "transformers", "pandas", "sklearn", "moviepy", "av", "matplotlib"}
    if module == "cli":
        heavy |= {"h5py", "numpy"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not heavy & set(done.stdout.split())


def test_files_stay_short():
    long = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in FILES}
    assert {name: count for name, count in long.items() if count > 330} == {}
