"""What the readers of corpora of single sentences share: files whose names say everything.

RAVDESS, CREMA-D, EmoDB and TESS have no dialogues and no official splits. Each utterance is a
dialogue of its own, and all are train, so that `erc fuse --folds speaker` makes the parts.
"""

import os
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erc_features.corpora.raw import Defect, RawSound, RawUtterance
from erc_features.errors import CorpusError, listed
from erc_features.utterance import Split, Utterance

# How the files of each corpus are called, without their endings.
PATTERNS = {
    "RAVDESS": re.compile(
        r"(0[1-3])-(0[12])-(0[1-8])-(0[12])-(0[12])-(0[12])-(0[1-9]|1[0-9]|2[0-4])"
    ),
    "CREMA-D": re.compile(
        r"(1[0-9]{3})_(IEO|TIE|IOM|IWW|TAI|MTI|IWL|ITH|DFA|ITS|TSI|WSI)"
        r"_(ANG|DIS|FEA|HAP|NEU|SAD)_(LO|MD|HI|XX?)"
    ),
    "EmoDB": re.compile(r"(0[389]|1[0-6])([ab][0-9]{2})([WLEAFTN])([a-z])"),
    "TESS": re.compile(r"(OAF?|YAF)_([A-Za-z]+)_(angry|disgust|fear|happy|neutral|ps|sad)", re.I),
}
_POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class Named:
    """A media file whose name is one of a corpus's, and what its name says."""

    path: Path
    parts: tuple[str, ...]


def named_files(source: Path, corpus: str) -> tuple[list[Named], list[Defect]] | None:
    """The media files of a corpus below a folder, by name; None where there is none.

    A file that is there twice, as in some archives, is counted once. Media files with other names
    are defects.

    Raises:
        CorpusError: two files of one name differ, there are files of another of these corpora
            too, or they are pointers that git-lfs left.
    """
    from erc_features.media import CLIPS, SOUNDS

    pattern, endings = PATTERNS[corpus], CLIPS | SOUNDS
    found: dict[str, Named] = {}
    defects: list[Defect] = []
    unknown: list[Path] = []
    for path in media_below(source, endings):
        match = pattern.fullmatch(path.stem)
        if match is None:
            unknown.append(path)
            continue
        if not path.is_file():
            what = "it is a link to nothing" if path.is_symlink() else "it is no file"
            defects.append(Defect("no media file", os.path.relpath(path, source), what, "left out"))
            continue
        # Where an ending is written in capitals, it is still the same file.
        name = match[0] + path.suffix.lower()
        first = found.setdefault(name, Named(path, match.groups()))
        if first.path == path:
            continue
        where = os.path.relpath(path, source)
        if not _same(first.path, path):
            raise CorpusError(
                f"{source}: {os.path.relpath(first.path, source)} and {where} have one name and "
                "differ. Remove one of them."
            )
        other = f"equals {os.path.relpath(first.path, source)}"
        defects.append(Defect("file that is there twice", where, other, "counted once"))
    if not found:
        return None
    for other in PATTERNS.keys() - {corpus}:
        if theirs := [path for path in unknown if PATTERNS[other].fullmatch(path.stem)]:
            raise CorpusError(
                f"{source} holds files of {corpus} and of {other}, such as "
                f"{os.path.relpath(theirs[0], source)}. Prepare each corpus from its own folder."
            )
    names = sorted(found)
    _refuse_pointers(source, [found[name].path for name in names])
    defects += [
        Defect("unknown file name", os.path.relpath(path, source),
               f"no file of {corpus} is called like this", "left out")
        for path in unknown
    ]  # fmt: skip
    return [found[name] for name in names], defects


def media_below(source: Path, endings: Iterable[str]) -> list[Path]:
    """Files of these endings below a folder, in order of their paths; hidden ones, and the `._*`
    that archives made on a Mac hold, are none of a corpus."""
    known = frozenset(endings)
    return files_below(source, lambda name: os.path.splitext(name)[1].lower() in known)


def files_below(source: Path, wanted: Callable[[str], bool]) -> list[Path]:
    """The files below a folder whose names are wanted, in order of their paths; see `folders`."""
    return sorted(
        folder / name
        for folder, _, names in folders(source)
        for name in names
        if name[0] != "." and wanted(name)
    )


def folders(source: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """As `os.walk`, in order, without hidden folders and what archives made on a Mac hold.

    Folders that are links are entered, since corpora are often put together of links, but none of
    those that this way has come through.
    """
    for folder, subfolders, names in os.walk(source, followlinks=True):
        subfolders[:] = sorted(
            name
            for name in subfolders
            if name[0] != "." and name != "__MACOSX" and not _leads_back(folder, name)
        )
        yield Path(folder), subfolders, names


def _leads_back(folder: str, name: str) -> bool:
    path = os.path.join(folder, name)
    if not os.path.islink(path):
        return False
    target = os.path.realpath(path)
    way = {os.path.realpath(each) for each in (folder, *Path(folder).parents)}
    return target in way or f"{os.path.realpath(folder)}/".startswith(f"{target}/")


def by_utterance(
    source: Path, files: Iterable[tuple[Hashable, Path]], defects: list[Defect]
) -> dict[Any, dict[str, Path]]:
    """The files of each utterance by their endings; `files` are (what the name says, path).

    Raises:
        CorpusError: two of one ending differ.
    """
    found: dict[Any, dict[str, Path]] = {}
    for key, path in files:
        first = found.setdefault(key, {}).setdefault(path.suffix.lower(), path)
        if first == path:
            continue
        one, other = (os.path.relpath(each, source) for each in (first, path))
        if not _same(first, path):
            raise CorpusError(
                f"{source}: {one} and {other} are one utterance and differ. Remove one of them."
            )
        defects.append(Defect("file that is there twice", other, f"equals {one}", "counted once"))
    return found


def sound_of(forms: Mapping[str, Path]) -> Path | None:
    """The file of sound alone: the WAV, else what loses least."""
    order = (".wav", ".flac", ".m4a", ".aac", ".opus", ".ogg", ".mp3")
    return next((forms[ending] for ending in order if ending in forms), None)


def clip_of(forms: Mapping[str, Path]) -> Path | None:
    """The file that may have a picture."""
    from erc_features.media import CLIPS

    return next((path for ending, path in sorted(forms.items()) if ending in CLIPS), None)


def sentence(
    number: int,
    speaker: str,
    text: str,
    label: str,
    more: Mapping[str, str],
    files: Mapping[str, Path | None],
) -> RawUtterance:
    """The utterance of that number, alone in its dialogue.

    Args:
        files: `clip` and `sound`, as in :class:`RawUtterance`.
    """
    u = Utterance(Split.TRAIN, number, 0, speaker=speaker, x_text=text, label=label, more=more)
    sound = files.get("sound")
    return RawUtterance(u, files.get("clip"), text, sound=RawSound(sound) if sound else None)


def counted(what: str, found: int, published: int, source: str) -> str:
    """A line that compares a count with the published one.

    >>> counted("utterances of EmoDB", 534, 535, "Burkhardt et al. 2005")
    '534 utterances of EmoDB, 1 fewer than the 535 that are published (Burkhardt et al. 2005).'
    """
    if found == published:
        return f"{found:,} {what}, as published ({source})."
    gap = f"{abs(found - published):,} {'fewer' if found < published else 'more'}"
    return f"{found:,} {what}, {gap} than the {published:,} that are published ({source})."


def _same(one: Path, other: Path) -> bool:
    return one.stat().st_size == other.stat().st_size and one.read_bytes() == other.read_bytes()


def _refuse_pointers(source: Path, paths: Sequence[Path]) -> None:
    """A clone without git-lfs has files of three lines in the place of media."""
    wrong = []
    for path in paths:
        if path.stat().st_size < 200:
            with open(path, "rb") as file:
                if file.read(len(_POINTER)) == _POINTER:
                    wrong.append(os.path.relpath(path, source))
    if wrong:
        raise CorpusError(
            f"{source}: {len(wrong):,} of {len(paths):,} media files are pointers of git-lfs, not "
            f"media:{listed(wrong)}\nRun `git lfs pull` there."
        )
