"""The files of a download: which are chosen, where each goes, which exist, and the manifest."""

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from erc_features.acquire.archive import is_archive, safe_path, stem
from erc_features.acquire.remote import Dataset, RemoteFile
from erc_features.acquire.unpack import read_mark
from erc_features.errors import CorpusError, listed
from erc_features.whole_file import whole_file

MANIFEST = "download.json"
WORK = ".download"


@dataclass(frozen=True)
class Item:
    """A file of the dataset, its place on disk, and, for an archive, the folder it becomes."""

    remote: RemoteFile
    path: Path
    beside: Path

    @property
    def archive(self) -> bool:
        return is_archive(self.path.name)

    def there(self) -> bool:
        """Whether the file is there with its size. A partial file has another name."""
        return self.path.is_file() and self.remote.size in (0, self.path.stat().st_size)

    def folder(self) -> Path | None:
        """The folder that the archive was unpacked to, if all of its contents are there."""
        beside = self.beside
        while self.archive and beside.is_dir():
            if read_mark(beside, self.path.name, self.remote.size):
                return beside
            beside = beside.with_name(beside.name + ".unpacked")
        return None

    def done(self, unpacking: bool) -> bool:
        return self.folder() is not None or (self.there() and not (self.archive and unpacking))


def choose(files: Sequence[RemoteFile], dataset: Dataset, subdir: str, folder: Path) -> list[Item]:
    """The files below `subdir`, or else the archives that can hold it, each with its place.

    Raises:
        CorpusError: neither exists (names the folders that do), or a name cannot be written.
    """
    found: dict[str, RemoteFile] = {}
    for file in files:
        try:
            found[safe_path(file.name)] = file
        except ValueError as error:
            raise CorpusError(
                f"{dataset} lists {file.name[:100]!r}, which {error}. Nothing was fetched; tell "
                "the dataset's owner."
            ) from error
    inside = f"{subdir}/" if subdir else ""
    below = {path: path.removeprefix(inside) for path in found if path.startswith(inside)}
    if not below:  # archives that stand in a folder around `subdir`, best those named as one
        archives = {path for path in found if is_archive(path)}
        above = {path for path in archives if inside.startswith(path[: path.rfind("/") + 1])}
        named = {path for path in above if inside.startswith(f"{stem(path)}/")}
        below = {path: PurePosixPath(path).name for path in named or above}
    if not below:
        folders = Counter("/".join(path.split("/")[:2][: path.count("/")]) for path in found)
        lines = [f"{place or '(top)'}: {count:,} files" for place, count in folders.items()]
        raise CorpusError(
            f"No folder {subdir!r} in {dataset}, which has:{listed(sorted(lines))}\n"
            "Name one with --subdir, or fetch all of them with --subdir ''."
        )
    taken = {rest for rest in below.values() if rest.split("/")[0] in (MANIFEST, WORK)}
    if taken:
        raise CorpusError(f"{dataset} has a file {min(taken)!r}, a name that erc itself needs.")
    return _place({rest: found[path] for path, rest in below.items()}, folder)


def _place(files: Mapping[str, RemoteFile], folder: Path) -> list[Item]:
    """Each archive becomes a folder of its own, one that no other file of the dataset goes into."""
    taken = {str(place) for path in files for place in (Path(path), *Path(path).parents)}
    items = []
    for path, file in sorted(files.items()):
        beside = str(Path(path).with_name(stem(Path(path).name)))
        while is_archive(path) and beside in taken:
            beside += ".unpacked"
        taken.add(beside)
        items.append(Item(file, folder / path, folder / beside))
    return items


def must_hold(items: Sequence[Item], dataset: Dataset, subdir: str) -> None:
    """Check that one of the archives that were fetched because they can hold `subdir` does so.

    Raises:
        CorpusError: none does; names the folders that are in them.
    """
    if not subdir or any(item.remote.name.startswith(f"{subdir}/") for item in items):
        return
    unpacked = [folder for item in items if (folder := item.folder())]
    within = [Path(place) for folder in unpacked for place, _, _ in os.walk(folder)]
    if PurePosixPath(subdir).name not in {place.name for place in within}:
        raise CorpusError(
            f"No folder {subdir!r} in {dataset}, nor in its archives, which are unpacked and hold:"
            f"{listed(within)}\nName one with --subdir, or fetch all with --subdir ''."
        )


def read_manifest(folder: Path, dataset: Dataset, subdir: str) -> list[Item]:
    """The items that a finished download of the same noted; empty where there is none."""
    try:
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        source = {"dataset": str(dataset), "subdir": subdir}
        there = {name: found[name] for name in source}
        files = {safe_path(f["path"]): RemoteFile(f["name"], f["size"]) for f in found["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return []
    if there != source:
        raise CorpusError(
            f"{folder} holds {there['subdir'] or 'all'} of {there['dataset']}, not "
            f"{subdir or 'all'} of {dataset}. Choose another folder with --to."
        )
    return _place(files, folder)


def write_manifest(folder: Path, dataset: Dataset, subdir: str, items: Sequence[Item]) -> None:
    document = {
        "dataset": str(dataset),
        "page": dataset.page,
        "subdir": subdir,
        "size": sum(item.remote.size for item in items),
        "files": [
            {
                "name": item.remote.name,
                # The size here, not the listed one: a CSV was taken out of its zip.
                "size": item.path.stat().st_size if item.path.is_file() else item.remote.size,
                "path": str(item.path.relative_to(folder)),
            }
            for item in items
        ],
    }
    with whole_file(folder / MANIFEST, "choose another folder with --to", CorpusError) as part:
        part.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")
