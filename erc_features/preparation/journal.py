"""The journal of a preparation: which clips are done, so that a kill loses none of them."""

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from erc_features.corpora.manifest import INFO, tables_in
from erc_features.errors import CorpusError
from erc_features.preparation.decode import Outcome
from erc_features.utterance import Split
from erc_features.whole_file import whole_file

JOURNAL = ".prepare.jsonl"


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a lock on the folder itself; it goes with the process, and leaves no file."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise CorpusError(f"{folder}: another process is preparing it; wait for it.") from error
    try:
        yield
    finally:
        os.close(handle)


def clear(to: Path) -> None:
    """Remove what says that the corpus is complete: else old rows would name new pictures.

    Raises:
        CorpusError: there are CSVs that no preparation wrote; a user's own are never removed.
    """
    tables = [path for _, path in tables_in(to)]
    ours = (to / INFO).exists() or (to / JOURNAL).exists()
    if tables and not ours:
        raise CorpusError(
            f"{tables[0]} is there already, and was not prepared by erc. "
            "Choose another folder with --to."
        )
    (to / JOURNAL).touch()  # from here on a kill leaves a folder that is known as ours
    for path in (to / INFO, *(to / f"{split}.csv" for split in Split)):
        path.unlink(missing_ok=True)
    for split in Split:
        for partial in (to / split).glob("*.partial.*"):
            partial.unlink(missing_ok=True)


def read_journal(
    to: Path, origin: Mapping[str, Any], say: Callable[[str], object] = lambda line: None
) -> dict[str, Outcome]:
    """Clips that an interrupted preparation of the same data finished.

    Its first line is the origin; of another origin it is begun anew, and `say` is called with a
    line that says what differs. A line that was cut short by a kill is the last, and its clip is
    decoded again.
    """
    done: dict[str, Outcome] = {}
    path = to / JOURNAL
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    try:
        began = json.loads(lines[0]) if lines else {}
    except ValueError:
        began = {}
    same = began == origin
    if isinstance(began, dict) and began and not same:
        differing = ", ".join(differences(began, origin))
        say(f"{to}: an unfinished preparation is begun anew, since it had other settings or data "
            f"({differing}).")  # fmt: skip
    kept = [json.dumps(origin)]
    for line in lines[1:] if same else []:
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
    """What of its origin differs between a preparation that is there and the one wanted."""
    return [
        f"{name}: {found.get(name)!r} there, {value!r} now"
        for name, value in wanted.items()
        if found.get(name) != value
    ]


def is_there(to: Path, outcome: Outcome) -> bool:
    """Whether the files that an outcome tells of exist; a user may have removed some."""
    return all(
        reason or (to / f"{outcome.key}{suffix}").is_file()
        for reason, suffix in ((outcome.no_picture, ".png"), (outcome.no_sound, ".wav"))
    )
