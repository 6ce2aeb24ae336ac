"""The journal of a preparation lists the clips that are done, so that a kill loses none of them."""

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from erc_features.corpora.faces import FACE
from erc_features.corpora.manifest import INFO, tables_in
from erc_features.errors import CorpusError
from erc_features.preparation.decode import Outcome
from erc_features.utterance import Split
from erc_features.whole_file import whole_file

JOURNAL = ".prepare.jsonl"


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a lock on the folder itself, which leaves no file and ends with the process."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise CorpusError(
            f"{folder}: another process is preparing it; wait until it ends."
        ) from error
    try:
        yield
    finally:
        os.close(handle)


def clear(to: Path) -> None:
    """Remove what says that the corpus is complete; otherwise old rows would name new pictures.

    Raises:
        CorpusError: there are CSVs that no preparation wrote, which are never removed.
    """
    tables = tables_in(to)
    if tables and not ((to / INFO).exists() or (to / JOURNAL).exists()):
        raise CorpusError(
            f"{tables[0][1]} already exists and was not prepared by erc. "
            "Choose another folder with --to."
        )
    (to / JOURNAL).touch()  # a kill from here on leaves a folder that is known as ours
    for path in (to / INFO, *(to / f"{split}.csv" for split in Split)):
        path.unlink(missing_ok=True)
    for split in Split:
        for partial in (to / split).glob("*.partial.*"):
            partial.unlink(missing_ok=True)


def read_journal(
    to: Path, origin: Mapping[str, Any], say: Callable[[str], object] = lambda line: None
) -> dict[str, Outcome]:
    """The clips that an interrupted preparation of the same data finished.

    The journal's first line is its origin. If that differs, the preparation starts again, and
    `say` is called with a line that names the differences. A last line that a kill cut short is
    ignored, and its clip is decoded again.
    """
    done: dict[str, Outcome] = {}
    path = to / JOURNAL
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    try:
        began = json.loads(lines[0]) if lines else {}
    except ValueError:
        began = {}
    if isinstance(began, dict) and began and began != origin:
        differing = ", ".join(differences(began, {**dict.fromkeys(began), **origin}))
        say(f"{to}: an unfinished preparation with other settings or data begins anew: {differing}")
    kept = [json.dumps(origin)]
    for line in lines[1:] if began == origin else []:
        try:
            outcome = Outcome(**json.loads(line))
        except (ValueError, TypeError):
            break
        if is_there(to, outcome):
            done[outcome.key] = outcome
            kept.append(line)
    with whole_file(path, error=CorpusError) as part:
        part.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
    return done


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """What differs between the origins of an existing preparation and of the wanted one."""
    return [
        f"{name}: {found.get(name)!r} there, {value!r} now"
        for name, value in wanted.items()
        if found.get(name) != value
    ]


def is_there(to: Path, outcome: Outcome) -> bool:
    """Whether the files of an outcome exist; a user may have removed some."""
    return all(
        absent or (to / f"{outcome.key}{suffix}").is_file()
        for absent, suffix in (
            (outcome.no_picture, ".png"), (outcome.no_sound, ".wav"), (not outcome.faces, FACE)
        )
    )  # fmt: skip
