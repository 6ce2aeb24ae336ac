"""`erc prepare`: raw data -> a 1NF corpus with a picture and a sound for each utterance.

Killed at any moment it goes on where it was: every file appears whole or not at all, a journal
says which clips are done, and `corpus.json` is written last.
"""

import json
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from erc_features.acquire.archive import looks_like_archive, stem
from erc_features.acquire.unpack import unpack
from erc_features.corpora import read_raw
from erc_features.corpora.clipping import clipped_sound, is_clipped
from erc_features.corpora.manifest import INFO, Corpus, fingerprint, read_corpus, write_corpus
from erc_features.corpora.raw import Defect, RawCorpus
from erc_features.errors import CorpusError, listed
from erc_features.preparation.decode import Decode, Outcome, Task, decode_clips
from erc_features.preparation.journal import JOURNAL, alone_in, clear, differences, read_journal
from erc_features.threads import our_cores
from erc_features.utterance import Utterance, make_key

# Of real MELD clips: a mosaic's PNG takes 0.49 of its pixels' bytes, sound lasts 3.6 s.
_PNG_SHARE, _WAV_BYTES = 0.49, 115_000
_WORTH_SAYING = 100e6


@dataclass(frozen=True)
class Prepared:
    """The summary of a preparation.

    Attributes:
        rows, labels: utterances by split, and by label.
        pictures, sounds: how many utterances have one.
        defects: every defect by kind.
        already: the corpus was complete; nothing was done.
    """

    corpus: Corpus
    rows: Mapping[str, int]
    pictures: int
    sounds: int
    defects: tuple[Defect, ...]
    already: bool = False


def prepare(
    source: Path | str,
    to: Path | str,
    *,
    kind: str | None = None,
    decode: Decode | None = None,
    jobs: int | None = None,
    strict: bool = False,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
    say: Callable[[str], object] = lambda line: None,
) -> Prepared:
    """Prepare the corpus in `source` as `to/<split>.csv`, `to/<split>/*.png|wav`, `to/corpus.json`.

    Args:
        jobs: processes that decode; one a core by default.
        strict: any defect in the raw data is an error, before anything is written.
        force: prepare again what was prepared from other data or with other settings.
        progress: called with (clips done, clips).
        say: called with a line that says the space needed, before it is used, or why what an
            interrupted preparation did is done again.

    It starts processes, so a script that calls it does so below `if __name__ == "__main__":`.

    Raises:
        CorpusError: the raw data can't be read, is of another corpus than `to` holds, or
            `to` can't be written. What is already there is kept.
    """
    source, to, decode = Path(source), Path(to), decode or Decode()
    _check(decode)
    raw = _read(source, kind, say)
    if strict and raw.defects:
        _refuse(source, raw.defects)
    origin = _origin(raw, decode)
    if (to / INFO).is_file() and not force:
        corpus = read_corpus(to)
        _must_agree(to, corpus.info.get("prepared_from", {}), origin)
        return _summary(corpus, already=True)
    try:
        to.mkdir(parents=True, exist_ok=True)
        with alone_in(to):
            clear(to)
            done = read_journal(to, origin, say)
            tasks = _tasks(raw, to, decode, done)
            _need_space(tasks, decode, to, say)
            with open(to / JOURNAL, "a", encoding="utf-8") as journal:
                total = len(tasks) + len(done)
                for outcome in decode_clips(tasks, jobs or our_cores()):
                    done[outcome.key] = outcome
                    journal.write(json.dumps(asdict(outcome)) + "\n")
                    journal.flush()
                    if progress:
                        progress(len(done), total)
            defects = (*raw.defects, *_media_defects(done))
            if strict and len(defects) > len(raw.defects):
                _refuse(source, defects)
            corpus = _write(raw, to, decode, done, defects, origin)
            (to / JOURNAL).unlink(missing_ok=True)
    except OSError as error:
        raise CorpusError(
            f"{to}: cannot be written ({error.strerror}). What is finished is kept; run the same "
            "command again when there is space, or choose another folder with --to."
        ) from error
    return _summary(corpus)


def _need_space(tasks: list[Task], decode: Decode, to: Path, say: Callable[[str], object]) -> None:
    """Say about how much space the media will take, and refuse where far less is free."""
    need = len(tasks) * (_PNG_SHARE * decode.frames * decode.height**2 * 16 / 9 * 3 + _WAV_BYTES)
    free = shutil.disk_usage(to).free
    if need > _WORTH_SAYING:
        say(f"{len(tasks):,} clips: about {need / 1e9:.1f} GB, {free / 1e9:.1f} GB are free.")
    if free < need / 2:
        raise CorpusError(
            f"{to}: about {need / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free. Free "
            "some space, choose another folder with --to, or fewer or smaller --frames, --height."
        )


def _check(decode: Decode) -> None:
    if not (1 <= decode.frames <= 100 and 16 <= decode.height <= 2160):
        raise CorpusError(
            f"--frames {decode.frames} --height {decode.height}: 1 to 100 frames of 16 to 2160 "
            "pixels work."
        )


def _read(source: Path, kind: str | None, say: Callable[[str], object]) -> RawCorpus:
    """Read the raw data; where clips or annotations are lacking, unpack the archives first."""
    if source.is_file() and looks_like_archive(source):
        archives, source = [source], source.with_name(stem(source.name))
    else:
        archives = [path for path in sorted(source.rglob("*")) if _is_packed(path)]
        try:
            raw = read_raw(source, kind)
            if not archives or all(defect.kind != "no media" for defect in raw.defects):
                return raw
        except CorpusError:
            if not archives:
                raise
    for archive in archives:
        to = archive.with_name(stem(archive.name))
        if not to.exists():
            say(f"unpacking {archive} ({archive.stat().st_size / 1e9:.1f} GB) beside itself")
            unpack(archive, to)
    return read_raw(source, kind)


def _is_packed(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".") and looks_like_archive(path)


def _refuse(source: Path, defects: tuple[Defect, ...]) -> None:
    lines = [f"{d.kind}: {d.where}: {d.detail}" for d in defects]
    raise CorpusError(f"{source}: {len(defects)} defects, and --strict was given:{listed(lines)}")


def _origin(raw: RawCorpus, decode: Decode) -> dict[str, Any]:
    """What a preparation depends on; where it is the same, nothing needs to be done again."""
    sizes = [row.clip.stat().st_size for row in raw.rows if row.clip and row.clip.is_file()]
    return {
        "kind": raw.kind,
        "rows": fingerprint(row.utterance for row in raw.rows),
        "clips": len(sizes),
        "bytes": sum(sizes),
        **asdict(decode),
    }


def _must_agree(to: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    if lines := differences(found, wanted):
        raise CorpusError(
            f"{to} was prepared differently:{listed(lines)}\n"
            "Prepare it again with --force, or choose another folder with --to."
        )


def _names(utterance: Utterance) -> tuple[str, str]:
    """Where the picture and the sound of an utterance stand, relative to the corpus."""
    stem = make_key(utterance.split, utterance.dialogue, utterance.sequence)
    return f"{stem}.png", f"{stem}.wav"


def _tasks(raw: RawCorpus, to: Path, decode: Decode, done: Mapping[str, Outcome]) -> list[Task]:
    tasks = []
    for row in raw.rows:
        utterance = row.utterance
        if row.clip is None or utterance.key in done:
            continue
        picture, sound = _names(utterance)
        tasks.append(Task(utterance.key, row.clip, to / picture, to / sound, decode, os.getpid()))
        (to / picture).parent.mkdir(exist_ok=True)
    return tasks


def _media_defects(done: Mapping[str, Outcome]) -> list[Defect]:
    defects = []
    for key in sorted(done):
        reasons = {"picture": done[key].no_picture, "sound": done[key].no_sound}
        missing = {name: why for name, why in reasons.items() if why}
        if len(set(missing.values())) == 1 and len(missing) == 2:
            missing = {"picture and sound": reasons["picture"]}
        defects += [Defect(f"no {name}", key, why, "left empty") for name, why in missing.items()]
        if is_clipped(done[key].clipped):
            defects.append(clipped_sound(key, done[key].clipped))
    return defects


def _write(
    raw: RawCorpus,
    to: Path,
    decode: Decode,
    done: Mapping[str, Outcome],
    defects: tuple[Defect, ...],
    origin: Mapping[str, Any],
) -> Corpus:
    missing: dict[str, dict[str, str]] = defaultdict(dict)
    utterances = []
    for row in raw.rows:
        utterance = row.utterance
        key = utterance.key
        outcome = done.get(key)
        picture, sound = _names(utterance) if outcome else ("", "")
        if outcome and outcome.no_picture:
            picture, missing["visual"][key] = "", outcome.no_picture
        if outcome and outcome.no_sound:
            sound, missing["audio"][key] = "", outcome.no_sound
        utterances.append(replace(utterance, x_visual=picture, x_audio=sound))
    for defect in defects:
        if defect.kind == "missing clip":
            missing["visual"][defect.where] = missing["audio"][defect.where] = defect.detail
    info = {
        "source": str(raw.source),
        "prepared_from": dict(origin),
        "decode": asdict(decode),
        "defects": [asdict(defect) for defect in defects],
        "missing": missing,
    }
    return write_corpus(to, utterances, raw.labels, info)


def _summary(corpus: Corpus, *, already: bool = False) -> Prepared:
    utterances = corpus.utterances
    return Prepared(
        corpus,
        dict(Counter(str(u.split) for u in utterances)),
        sum(bool(u.x_visual) for u in utterances),
        sum(bool(u.x_audio) for u in utterances),
        tuple(Defect(**defect) for defect in corpus.info.get("defects", [])),
        already,
    )
