"""The files of a download: which are wanted, where each goes, which are there, what was noted."""

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
    """A file of the dataset, its place here, and the folder that it becomes if it's an archive."""

    remote: RemoteFile
    path: Path
    beside: Path

    @property
    def archive(self) -> bool:
        return is_archive(self.path.name)

    def there(self) -> bool:
        """Whole, by its size. It got its name only when it was."""
        return self.path.is_file() and self.remote.size in (0, self.path.stat().st_size)

    def folder(self) -> Path | None:
        """What it was unpacked to, if all of that is there."""
        beside = self.beside
        while self.archive and beside.is_dir():
            if read_mark(beside, self.path.name, self.remote.size):
                return beside
            beside = beside.with_name(beside.name + ".unpacked")
        return None

    def done(self, unpacking: bool) -> bool:
        return self.folder() is not None or (self.there() and not (self.archive and unpacking))


def choose(files: Sequence[RemoteFile], dataset: Dataset, subdir: str, folder: Path) -> list[Item]:
    """The files below `subdir`, or else the archives that can hold it; and where each goes."""
    found: dict[str, RemoteFile] = {}
    for file in files:
        try:
            found[safe_path(file.name)] = file
        except ValueError as error:
            raise CorpusError(
                f"{dataset} lists {file.name[:100]!r}, which {error}. Nothing was fetched; tell "
                "the dataset's owner."
            ) from error
    below = {path: path[len(subdir) + 1 :] for path in found if path.startswith(f"{subdir}/")}
    if not subdir:
        below = {path: path for path in found}
    if not below:
        above = {path for path in found if is_archive(path) and _may_hold(path, subdir)}
        named = {path for path in above if f"{subdir}/".startswith(f"{stem(path)}/")}
        below = {path: PurePosixPath(path).name for path in named or above}
    if not below:
        folders = Counter("/".join(path.split("/")[:2][: path.count("/")]) for path in found)
        lines = [f"{place or '(top)'}: {count:,} files" for place, count in folders.items()]
        raise CorpusError(
            f"No folder {subdir!r} in {dataset}, which has:{listed(sorted(lines))}\n"
            "Name one with --subdir, or all with --subdir ''."
        )
    taken = {rest for rest in below.values() if rest.split("/")[0] in (MANIFEST, WORK)}
    if taken:
        raise CorpusError(f"{dataset} has a file {min(taken)!r}, a name that erc needs itself.")
    return _place({rest: found[path] for path, rest in below.items()}, folder)


def _place(files: Mapping[str, RemoteFile], folder: Path) -> list[Item]:
    """Archives become folders of their own: none that other files of the dataset go into."""
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
    """Where archives were fetched because they can hold `subdir`: see that one does.

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
            f"{listed(within)}\nName one with --subdir, or all with --subdir ''."
        )


def _may_hold(archive: str, subdir: str) -> bool:
    """Whether an archive stands in a folder around `subdir`."""
    around = archive.rpartition("/")[0]
    return not around or f"{subdir}/".startswith(f"{around}/")


def read_manifest(folder: Path, dataset: Dataset, subdir: str) -> list[Item]:
    """What a finished download of the same noted; empty where there is none."""
    path = folder / MANIFEST
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        source = {"dataset": str(dataset), "subdir": subdir}
        there = {name: found[name] for name in source}
        files = {safe_path(f["path"]): RemoteFile(f["name"], f["size"]) for f in found["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return []
    if there != source:
        raise CorpusError(
            f"{folder} holds {there['subdir'] or 'all'} of {there['dataset']}, not "
            f"{subdir or 'all'} of {dataset}; choose another folder with --to."
        )
    return _place(files, folder)


def write_manifest(folder: Path, dataset: Dataset, subdir: str, items: Sequence[Item]) -> None:
    files: list[Mapping[str, object]] = []
    for item in items:
        path = str(item.path.relative_to(folder))
        # What stands here, not what was listed: a zip around a CSV was taken off.
        there = item.path.is_file()
        size = item.path.stat().st_size if there else item.remote.size
        files.append({"name": item.remote.name, "size": size, "path": path})
    document = {
        "dataset": str(dataset),
        "page": dataset.page,
        "subdir": subdir,
        "size": sum(item.remote.size for item in items),
        "files": files,
    }
    with whole_file(folder / MANIFEST, "choose another folder with --to", CorpusError) as part:
        part.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")
