"""`erc prepare`: makes raw data a 1NF corpus with a picture and a sound for each utterance.

It can be killed at any moment and resumes where it was: every file appears whole or not at all, a
journal lists the clips that are done, and `corpus.json` is written last.
"""

import json
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from erc_features.acquire.archive import looks_like_archive, stem
from erc_features.acquire.unpack import unpack
from erc_features.corpora import read_raw
from erc_features.corpora.clipping import clipped_sound
from erc_features.corpora.faces import FACE, FACE_CROP, has_faces, with_face
from erc_features.corpora.manifest import INFO, Corpus, fingerprint, read_corpus, write_corpus
from erc_features.corpora.raw import Defect, RawCorpus, RawSound
from erc_features.corpora.segments import NAME as SEGMENTS
from erc_features.errors import CorpusError, listed
from erc_features.preparation.decode import (
    SOUND_ALONE,
    Decode,
    Outcome,
    Task,
    decode_clips,
    no_face,
)
from erc_features.preparation.journal import JOURNAL, alone_in, clear, differences, read_journal
from erc_features.threads import our_cores
from erc_features.utterance import Split, parse_key

# In real MELD clips, a mosaic's PNG takes 0.49 of its pixels' bytes, and sound lasts 3.6 s.
_PNG_SHARE, _WAV_BYTES = 0.49, 115_000
_WORTH_SAYING = 100e6  # bytes
_FACE_SHARE = 0.45  # of a face's pixels, in the same way


@dataclass(frozen=True)
class Prepared:
    """The summary of a preparation.

    Attributes:
        rows: utterances by split.
        pictures, sounds: how many utterances have one.
        faces: how many utterances have a face; None where none were looked for.
        face_frames: in how many of how many frames there is one.
        defects: every defect, as in `corpus.json`.
        already: the corpus was complete, and nothing was done.
    """

    corpus: Corpus
    rows: Mapping[str, int]
    pictures: int
    sounds: int
    defects: tuple[Defect, ...]
    already: bool = False
    faces: int | None = None
    face_frames: tuple[int, int] = (0, 0)


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

    With `decode.faces`, there are also `to/<split>/*.face.png` and a column `x_face`.

    It starts processes, so a script must call it below `if __name__ == "__main__":`.

    Args:
        kind: the reader of the raw data; by default the first that recognises them.
        jobs: processes that decode; one per core by default.
        strict: make any defect in the raw data an error, before anything is written.
        force: prepare again what was prepared from other data or with other settings.
        progress: called with (clips done, clips).
        say: called with a line about what the reader found, such as counts beside published ones,
            about the space that is needed, before it is used, about why the work of an interrupted
            preparation is done again, or about the detector of faces and its licence.

    Raises:
        CorpusError: the raw data cannot be read or differ from those that `to` was prepared from,
            or `to` cannot be written. What is already there is kept.
    """
    source, to, decode = Path(source), Path(to), decode or Decode()
    if not (1 <= decode.frames <= 100 and 16 <= decode.height <= 2160):
        raise CorpusError(
            f"--frames {decode.frames} --height {decode.height}: 1 to 100 frames of 16 to 2160 "
            "pixels work."
        )
    if decode.faces is not None:
        decode.faces.must_be_installed()
    raw = _read(source, kind, say)
    for note in raw.notes:
        say(note)
    if strict and raw.defects:
        _refuse(source, raw.defects)
    origin = _origin(raw, decode)
    if (to / INFO).is_file() and not force:
        corpus = read_corpus(to)
        if lines := differences(corpus.info.get("prepared_from", {}), origin):
            faces = (
                "\nFaces are cut out of the full frames, so --force decodes every clip again; "
                "features that were extracted before stay valid."
                if decode.faces is not None and not has_faces(corpus)
                else ""
            )
            raise CorpusError(
                f"{to} was prepared differently:{listed(lines)}\n"
                f"Prepare it again with --force, or choose another folder with --to.{faces}"
            )
        return _summary(corpus, already=True)
    try:
        to.mkdir(parents=True, exist_ok=True)
        with alone_in(to):
            clear(to)
            done = read_journal(to, origin, say)
            tasks = _tasks(raw, to, decode, done)
            _need_space(tasks, decode, to, say)
            if decode.faces is not None:
                from erc_features.media import LICENCE

                say(f"Faces are found by {LICENCE}.")
            with open(to / JOURNAL, "a", encoding="utf-8") as journal:
                total = len(tasks) + len(done)
                for outcome in decode_clips(tasks, jobs or our_cores()):
                    done[outcome.key] = outcome
                    journal.write(json.dumps(asdict(outcome)) + "\n")
                    journal.flush()
                    if progress:
                        progress(len(done), total)
            defects = (*raw.defects, *_media_defects(raw, done))
            if strict and len(defects) > len(raw.defects):
                _refuse(source, defects)
            corpus = _write(raw, to, decode, done, defects, origin)
            (to / JOURNAL).unlink(missing_ok=True)
    except OSError as error:
        raise CorpusError(
            f"{to}: cannot be written ({error.strerror}). What is finished is kept: run the same "
            "command again when there is space, or choose another folder with --to."
        ) from error
    return _summary(corpus)


def _need_space(tasks: list[Task], decode: Decode, to: Path, say: Callable[[str], object]) -> None:
    """Estimate the space that the media need; raise an error where far less is free."""
    seen = sum(task.clip is not None for task in tasks)
    need = seen * _PNG_SHARE * decode.frames * decode.height**2 * 16 / 9 * 3
    need += len(tasks) * _WAV_BYTES
    if decode.faces is not None:
        need += seen * _FACE_SHARE * decode.frames * decode.faces.side**2 * 3
    free = shutil.disk_usage(to).free
    if need > _WORTH_SAYING:
        say(f"{len(tasks):,} clips: about {need / 1e9:.1f} GB, {free / 1e9:.1f} GB are free.")
    if free < need / 2:
        raise CorpusError(
            f"{to}: about {need / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free. Free "
            "some space, choose another folder with --to, or lower --frames or --height."
        )


def _read(source: Path, kind: str | None, say: Callable[[str], object]) -> RawCorpus:
    """Read the raw data; where clips or annotations are missing, unpack the archives first."""
    if source.is_file() and looks_like_archive(source):
        archives, source = [source], source.with_name(stem(source.name))
    else:
        files = [path for path in sorted(source.rglob("[!.]*")) if path.is_file()]
        archives = [path for path in files if looks_like_archive(path)]
        try:
            raw = read_raw(source, kind)
            if not archives or all(defect.kind != "no media" for defect in raw.defects):
                packed = [path for path in archives if not path.with_name(stem(path.name)).exists()]
                if packed:
                    say(f"{len(packed)} archives, such as {packed[0]}, are not unpacked: what is "
                        "in them is not part of the corpus.")  # fmt: skip
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


def _refuse(source: Path, defects: tuple[Defect, ...]) -> None:
    lines = [f"{d.kind}: {d.where}: {d.detail}" for d in defects]
    raise CorpusError(f"{source}: {len(defects)} defects, and --strict was given:{listed(lines)}")


def _origin(raw: RawCorpus, decode: Decode) -> dict[str, Any]:
    """What a preparation depends on; while it is the same, nothing needs to be done again."""
    sizes = [row.clip.stat().st_size for row in raw.rows if row.clip and row.clip.is_file()]
    sounds = [size for row in raw.rows if row.sound and (size := _size(row.sound)) is not None]
    heard = {"sounds": len(sounds), "sound_bytes": sum(sounds)} if sounds else {}
    times = [f"{row.utterance.key} {row.segment}" for row in raw.rows if row.segment is not None]
    times += [
        f"{row.utterance.key} sound {row.sound.segment}"
        for row in raw.rows
        if row.sound is not None and row.sound.segment is not None
    ]
    cut = {SEGMENTS: sha256("\n".join(sorted(times)).encode()).hexdigest()} if times else {}
    return {
        "kind": raw.kind,
        "rows": fingerprint(row.utterance for row in raw.rows),
        "clips": len(sizes),
        "bytes": sum(sizes),
        **heard,
        **cut,
        **decode.as_dict(),
    }


def _size(sound: RawSound) -> int | None:
    """The bytes of a sound; None where there is no file."""
    if sound.inside is not None:
        return sound.inside[1]
    return sound.path.stat().st_size if sound.path.is_file() else None


def _tasks(raw: RawCorpus, to: Path, decode: Decode, done: Mapping[str, Outcome]) -> list[Task]:
    tasks = []
    for row in raw.rows:
        key = row.utterance.key
        if (row.clip is not None or row.sound is not None) and key not in done:
            picture, sound = to / f"{key}.png", to / f"{key}.wav"
            face = to / f"{key}{FACE}" if decode.faces is not None else None
            tasks.append(
                Task(
                    key, row.clip, picture, sound, decode, os.getpid(), face, row.segment, row.sound
                )
            )
            picture.parent.mkdir(exist_ok=True)
    return tasks


def _media_defects(raw: RawCorpus, done: Mapping[str, Outcome]) -> list[Defect]:
    defects = []
    # A split of sound alone is one defect, not one for each row.
    alone = {row.utterance.split for row in raw.rows if row.sound}
    alone -= {row.utterance.split for row in raw.rows if not row.sound or row.clip}
    defects += [
        Defect("no pictures", split, SOUND_ALONE, "left empty") for split in Split if split in alone
    ]
    for key in sorted(done):
        reasons = {"picture": done[key].no_picture, "sound": done[key].no_sound}
        if parse_key(key)[0] in alone:
            del reasons["picture"]
        missing = {name: why for name, why in reasons.items() if why}
        if len(set(missing.values())) == 1 and len(missing) == 2:
            missing = {"picture and sound": done[key].no_picture}
        defects += [Defect(f"no {name}", key, why, "left empty") for name, why in missing.items()]
        defects += clipped_sound(key, done[key].clipped)
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
        key, picture, sound = row.utterance.key, "", ""
        if outcome := done.get(key):
            picture, sound = f"{key}.png", f"{key}.wav"
            if outcome.no_picture:
                picture, missing["visual"][key] = "", outcome.no_picture
            if outcome.no_sound:
                sound, missing["audio"][key] = "", outcome.no_sound
        utterance = replace(row.utterance, x_visual=picture, x_audio=sound)
        if decode.faces is not None:
            face = f"{key}{FACE}" if outcome and outcome.faces else ""
            utterance = with_face(utterance, face)
            if outcome and not face:
                missing[FACE_CROP][key] = no_face(outcome)
        utterances.append(utterance)
    for defect in defects:
        if defect.kind == "missing clip":
            for medium in ("visual", "audio", *([FACE_CROP] if decode.faces is not None else [])):
                missing[medium][defect.where] = defect.detail
    info: dict[str, Any] = {
        "source": str(raw.source),
        "prepared_from": dict(origin),
        "decode": decode.as_dict(),
        "defects": [asdict(defect) for defect in defects],
        **({"notes": list(raw.notes)} if raw.notes else {}),
        "missing": missing,
    }
    if decode.faces is not None:
        info["face_frames"] = [
            sum(outcome.faces for outcome in done.values()),
            sum(outcome.frames for outcome in done.values()),
        ]
    return write_corpus(to, utterances, raw.labels, info)


def _summary(corpus: Corpus, *, already: bool = False) -> Prepared:
    utterances = corpus.utterances
    found, frames = corpus.info.get("face_frames", (0, 0))
    return Prepared(
        corpus,
        dict(Counter(str(u.split) for u in utterances)),
        sum(bool(u.x_visual) for u in utterances),
        sum(bool(u.x_audio) for u in utterances),
        tuple(Defect(**defect) for defect in corpus.info.get("defects", [])),
        already,
        sum(bool(u.x_face) for u in utterances) if has_faces(corpus) else None,
        (found, frames),
    )
