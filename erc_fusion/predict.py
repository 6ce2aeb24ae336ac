"""`erc predict`: from clips and texts to emotions, with a run's own encoders and weights."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from erc_features.corpora.downmix import must_be_made_alike
from erc_features.corpora.faces import FACE_CROP, FRAME_CROP
from erc_features.encoders.base import LAST_LAYER, MODULES, PREPROCESSING, WORDS, settings_of
from erc_features.errors import ErcError, RunError, choose, listed
from erc_features.extraction.extract import extract
from erc_features.extraction.job import feature_stem
from erc_features.extraction.probe import EncoderProbe
from erc_features.preparation.decode import Decode
from erc_features.preparation.live_dialogue import prepare_talk
from erc_features.store import FeatureFile, Probe, Status, must_have_encoder
from erc_features.utterance import Modality, Utterance
from erc_fusion.answers import Answers, answers_of, in_order, json_lines, write_answers
from erc_fusion.inputs.sources import find_sources
from erc_fusion.inputs.table import load_table
from erc_fusion.inputs.targets import Task
from erc_fusion.runs.run import Run

__all__ = [
    "check_of",
    "decode_of",
    "files_of",
    "json_lines",
    "must_mean_the_same",
    "parse_encoders",
    "predict",
    "write_answers",
]


def predict(
    run: Run,
    utterances: Sequence[Utterance],
    *,
    encoders: Mapping[str, str] | None = None,
    device: str = "auto",
    work: Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Answers:
    """Prepare and extract as was done for the run's own rows, and predict.

    Give all utterances of a dialogue, for its context.
    :mod:`erc_features.preparation.live_dialogue` reads utterances from files. Clips are decoded in
    other processes, so a script calls this below `if __name__ == "__main__":`.

    Args:
        encoders: stem -> where its encoder is now, if it has moved.
        work: a folder to keep prepared media and feature files in; by default a temporary one.

    Raises:
        RunError: the run is unfinished, damaged, or needs what can't be encoded here.
        ErcError: an encoder can't be loaded, has other weights than the run's had, or gives other
            numbers with the libraries that are installed here.
    """
    files, where = files_of(run, encoders or {})
    temporary = TemporaryDirectory(prefix="erc-predict-") if work is None else nullcontext(work)
    with temporary as folder:
        return _predict(run, utterances, files, where, device, Path(folder), progress)


def files_of(
    run: Run, encoders: Mapping[str, str]
) -> tuple[dict[str, Mapping[str, Any]], dict[str, str]]:
    """(stem -> what the run records of that file, stem -> the encoder to load for it).

    Args:
        encoders: stem -> where its encoder is now, if it has moved.

    Raises:
        RunError: there is no such run, or it is unfinished.
        ErcError: a file was imported, its sound was made by another rule, an encoder's folder is
            not there, or a stem is no file of the run.
    """
    if not run.path.is_dir():
        raise RunError(f"No run at {run.path}: `erc fuse` makes one.")
    if not run.done:
        raise RunError(f"{run.path} is not finished: run its `erc fuse` again.")
    files = {file["stem"]: file for file in run.inputs["files"]}
    for stem, file in files.items():
        must_have_encoder(stem, file["encoder"], file["config"])
        must_be_made_alike(
            file.get("path", f"{stem}.h5"), file["modality"], file["encoder"], file["config"],
            f"data/{run.corpus}",
        )  # fmt: skip
    for stem in encoders:
        choose("feature file", stem, files)
    where = {stem: encoders.get(stem, file["encoder"]) for stem, file in files.items()}
    for stem, encoder in where.items():
        # A local folder that has moved can't be found by its name: say so before anything is done.
        if Path(encoder).is_absolute() and not Path(encoder).exists():
            raise ErcError(
                f"{stem} was made with {encoder} (revision {files[stem]['revision'][:12]}), which "
                f"is not there. --encoder {stem}=PATH says where it is now."
            )
    return files, where


def parse_encoders(items: Sequence[str]) -> dict[str, str]:
    """The `STEM=PATH` items of a command line.

    >>> parse_encoders(["text.minilm=models/minilm"])
    {'text.minilm': 'models/minilm'}

    Raises:
        ErcError: an item has no `=`.
    """
    for item in items:
        if "=" not in item:
            raise ErcError(f"--encoder takes STEM=PATH, not {item!r}.")
    return dict(item.split("=", 1) for item in items)


def _predict(
    run: Run,
    utterances: Sequence[Utterance],
    files: Mapping[str, Mapping[str, Any]],
    encoders: Mapping[str, str],
    device: str,
    work: Path,
    progress: Callable[[str, int, int], None] | None,
) -> Answers:
    from erc_fusion.training.checkpoint import load_weights

    labels, task = tuple(run.inputs["labels"]), Task.of(run.inputs)
    update = progress or (lambda what, done, total: None)
    decode = decode_of(files)
    for stem, file in files.items():
        if (
            file["config"].get("crop") == FACE_CROP
            and (decode is None or decode.faces is None)
            and not any(u.x_face for u in utterances)
        ):
            raise RunError(
                f"{stem} was made from faces that erc did not cut out, so it cannot cut out such "
                "faces here: predict from a --csv with a column x_face that names them."
            )
    weights = load_weights(run)
    corpus = prepare_talk(
        utterances, work / "talk", labels, decode, lambda *at: update("prepare", *at)
    )
    folder = work / "features" / corpus.name
    unchecked: dict[str, str] = {}
    without: dict[str, dict[str, str]] = {}  # key -> stem -> why that row has no embedding
    for stem, file in files.items():
        modality, config = file["modality"], file["config"]
        settings = settings_of(config, device)
        # The encoder's name is the stem without modality and variants.
        crop = config.get("crop", FRAME_CROP)
        variants = feature_stem(Modality(modality), "", settings, crop)[len(modality) + 1 :]
        # Keys are always `new/…`, so a file that was kept is of other clips.
        (made,) = extract(
            corpus, features=folder.parent, modality=modality, encoder=encoders[stem],
            name=stem.removeprefix(f"{modality}.").removesuffix(variants), settings=settings,
            dtype=config["dtype"], revision=file["revision"], allow_empty=True,
            crop=crop, overwrite=True, check=check_of(run, file, unchecked), progress=progress,
        )  # fmt: skip
        if made.path.name != f"{stem}.h5":  # the run's was renamed
            made.path.replace(made.path.with_name(f"{stem}.h5"))
        with FeatureFile(folder / f"{stem}.h5") as new:
            must_mean_the_same(stem, config, new.provenance.config)
            for row in np.flatnonzero(new.status != Status.OK):
                without.setdefault(str(new.key[row]), {})[stem] = str(new.reason[row])
    table = load_table(find_sources(folder, tuple(files)), run.config.get("layers", "all"))
    found = weights.predict(table, np.arange(len(table)))
    place = {key: row for row, key in enumerate(table.key.tolist())}
    order = [place[u.key] for u in corpus.utterances]
    rows = answers_of(corpus.utterances, labels, task, in_order(found, order), without)
    return Answers(rows, labels, found.probability[:, order], unchecked)


def check_of(
    run: Run, file: Mapping[str, Any], unchecked: dict[str, str]
) -> Callable[[EncoderProbe], None]:
    """A function that compares an encoder's probe with the one that the run keeps for that file."""
    stem, kept = file["stem"], file.get("probe")
    try:
        before = Probe.from_json(kept) if kept else None
    except ValueError as error:
        raise run.damaged("inputs.json", f"the probe of {stem}: {error}") from error

    def check(probe: EncoderProbe) -> None:
        anew = "make the file and the run anew: `erc extract --overwrite`, `erc fuse --overwrite`"
        probe.must_be(before, file.get("versions") or {}, f"{run.path}, {stem}", anew)
        if probe.unchecked:
            unchecked[stem] = probe.unchecked

    return check


def decode_of(files: Mapping[str, Mapping[str, Any]]) -> Decode | None:
    """How a run's clips were prepared, from what it records of its files; None where erc did not
    prepare any."""
    if all(file["modality"] == Modality.TEXT for file in files.values()):
        return None
    seen = [file["config"] for file in files.values() if file["modality"] == Modality.VISUAL]
    if not seen:
        return Decode()
    faces = next((config for config in seen if config.get("crop") == FACE_CROP), None)
    whole = next((config for config in seen if config is not faces), None)
    if faces is None or "detector" not in faces:
        frames, height = ((whole or {}).get(name) for name in ("frames", "height"))
        return Decode(frames, height) if frames and height else None
    from erc_features.media import FaceCrop

    crop = FaceCrop(**{each.name: faces[each.name] for each in fields(FaceCrop)})
    # The mosaic's height is of no concern to faces.
    height = (whole or {}).get("height") or Decode().height
    return Decode(faces["frames"], height, faces=crop)


def must_mean_the_same(stem: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse embeddings that mean something else than the run's: those of another last layer, of
    pictures that were preprocessed in another way, or of other words or another pooling that a
    model's folder names."""
    lines = [
        f"{name} is {before.get(name)!r} there, {now.get(name)!r} now"
        for name in (LAST_LAYER, PREPROCESSING, MODULES, WORDS)
        if before.get(name) != now.get(name)
    ]
    if lines:
        raise RunError(
            f"{stem} of this run was made by an erc whose encoder gave other numbers:"
            f"{listed(lines)}\nExtract it again with `erc extract --overwrite` and the options of "
            "that time, and run `erc fuse` again."
        )
