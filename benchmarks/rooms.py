"""Counts the house: rooms, floors, arrows between rooms, circles, files and lines of a revision.

    python benchmarks/rooms.py [REV …]      the working tree and each revision, side by side

A room is a folder of a package or a file beside the folders; a floor is one more than the highest
room that it imports; a circle is a set of rooms that import each other.
"""

import ast
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import networkx

PACKAGES = ("erc_features", "erc_fusion")


def measure(root: Path) -> dict[str, tuple[int, ...]]:
    """Package -> (rooms, floors, arrows, circles, files, lines)."""
    files = [path for package in PACKAGES for path in root.glob(f"{package}/**/*.py")]
    modules = {_module(path.relative_to(root)): path for path in files}
    rooms = {name: _room(path.relative_to(root)) for name, path in modules.items()}
    graph = networkx.DiGraph()
    graph.add_nodes_from(set(rooms.values()))
    for name, path in modules.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for target in _targets(node):
                known = next((t for t in (target, target.rpartition(".")[0]) if t in rooms), None)
                if known and rooms[known] != rooms[name]:
                    graph.add_edge(rooms[name], rooms[known])
    found = {}
    for package in PACKAGES:
        inside = graph.subgraph([room for room in graph if room.split("/")[0] == package])
        whole = networkx.condensation(inside)
        floors = networkx.dag_longest_path_length(whole) + 1
        circles = sum(len(part) > 1 for part in networkx.strongly_connected_components(inside))
        paths = [path for path in root.glob(f"{package}/**/*") if path.is_file()]
        texts = [p for p in paths if p.suffix in (".py", ".html", ".css", ".toml")]
        lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in texts)
        found[package] = (len(inside), floors, inside.number_of_edges(), circles, len(texts), lines)
    return found


def _module(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def _room(path: Path) -> str:
    return (
        "/".join(path.parts[:2]) if path.name != "__init__.py" or len(path.parts) > 2 else str(path)
    )


def _targets(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def main(revisions: list[str]) -> None:
    """Print a table."""
    here = Path(__file__).resolve().parents[1]
    found = {}
    for revision in revisions:
        with TemporaryDirectory() as folder:
            git = ["git", "-C", str(here), "archive", revision, *PACKAGES]
            packed = subprocess.run(git, capture_output=True, check=True).stdout
            subprocess.run(["tar", "x", "-C", folder], input=packed, check=True)
            found[revision] = measure(Path(folder))
    found["now"] = measure(here)
    print("| | | rooms | floors | arrows | circles | files | lines |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for package in PACKAGES:
        for name, counts in found.items():
            print(f"| {package} | {name} |", " | ".join(f"{n:,}" for n in counts[package]), "|")


if __name__ == "__main__":
    main(sys.argv[1:])
