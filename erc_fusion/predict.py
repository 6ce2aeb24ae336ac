"""`erc predict`: clips and texts to emotions, with a run's own encoders and weights."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from erc_features.corpora.downmix import must_be_made_alike
from erc_features.encoders.base import LAST_LAYER, PREPROCESSING, Settings
from erc_features.errors import ErcError, RunError, choose, listed
from erc_features.extraction.extract import extract
from erc_features.extraction.job import feature_stem
from erc_features.extraction.probe import EncoderProbe
from erc_features.preparation.decode import Decode
from erc_features.preparation.live_dialogue import prepare_talk
from erc_features.store import FeatureFile, Probe, Status, must_have_encoder
from erc_features.utterance import Modality, Utterance
from erc_features.whole_file import whole_file
from erc_fusion.inputs.sources import find_sources
from erc_fusion.inputs.table import load_table
from erc_fusion.runs.run import Run


@dataclass(frozen=True)
class Answer:
    """The emotion of one utterance.

    Attributes:
        emotion: the most probable, by the mean over the run's seeds.
        probability: of each label, that mean.
        agreement: share of the seeds that choose the same emotion by themselves.
        without: stem -> why that embedding is not there; the head did without it.
    """

    key: str
    dialogue: int
    sequence: int
    speaker: str
    text: str
    emotion: str
    probability: Mapping[str, float]
    agreement: float
    without: Mapping[str, str]


@dataclass(frozen=True)
class Answers:
    """The answers in the order asked, and `probability` (S, N, C) seed by seed.

    `unchecked`: stem -> why it was not checked that its encoder still gives the same numbers.
    """

    rows: tuple[Answer, ...]
    labels: tuple[str, ...]
    probability: np.ndarray
    unchecked: Mapping[str, str]


def predict(
    run: Run,
    utterances: Sequence[Utterance],
    *,
    encoders: Mapping[str, str] | None = None,
    device: str = "auto",
    work: Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Answers:
    """Prepare, extract and predict, as the run's own rows were.

    A dialogue keeps its context: give all of its utterances. See
    :mod:`erc_features.preparation.live_dialogue` for where utterances come from.

    Args:
        encoders: stem -> where its encoder is now, if it has moved.
        work: a folder to keep prepared media and feature files in; a temporary one if left.

    It starts processes where there are clips, so a script that calls it does so below
    `if __name__ == "__main__":`.

    Raises:
        RunError: the run is unfinished, damaged, or needs what can't be encoded here.
        ErcError: an encoder can't be had, has other weights than the run's had, or gives other
            numbers with the libraries that are here.
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
    for stem in encoders or {}:
        choose("feature file", stem, files)
    if work is not None:
        return _predict(run, utterances, files, encoders or {}, device, work, progress)
    with TemporaryDirectory(prefix="erc-predict-") as folder:
        return _predict(run, utterances, files, encoders or {}, device, Path(folder), progress)


def parse_encoders(items: Sequence[str]) -> dict[str, str]:
    """`STEM=PATH` items of a command line.

    >>> parse_encoders(["text.minilm=models/minilm"])
    {'text.minilm': 'models/minilm'}

    Raises:
        ErcError: an item has no `=`.
    """
    wrong = [item for item in items if "=" not in item]
    if wrong:
        raise ErcError(f"--encoder takes STEM=PATH, not {wrong[0]!r}.")
    return {stem: path for stem, _, path in (item.partition("=") for item in items)}


def write_answers(answers: Answers, path: Path) -> None:
    """As a CSV, or as JSON lines where the name ends in `.jsonl`.

    Raises:
        ErcError: the name ends otherwise, or it can't be written.
    """
    import pandas as pd

    choose("ending", path.suffix, (".csv", ".jsonl"))
    with whole_file(path, "choose another file with --to") as part:
        if path.suffix == ".jsonl":
            part.write_text("".join(f"{line}\n" for line in json_lines(answers)), encoding="utf-8")
            return
        rows: list[dict[str, Any]] = []
        for answer in answers.rows:
            row = asdict(answer)
            row |= {f"p_{label}": p for label, p in row.pop("probability").items()}
            row["without"] = "; ".join(f"{stem}: {why}" for stem, why in answer.without.items())
            rows.append(row)
        pd.DataFrame(rows).to_csv(part, index=False)


def json_lines(answers: Answers) -> list[str]:
    """One JSON object for each utterance."""
    return [json.dumps(asdict(answer), ensure_ascii=False) for answer in answers.rows]


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

    labels = tuple(run.inputs["labels"])
    for stem, file in files.items():
        _must_be_there(stem, encoders.get(stem, file["encoder"]), file["revision"])
    update = progress or (lambda what, done, total: None)
    weights = load_weights(run)
    corpus = prepare_talk(
        utterances, work / "talk", labels, _decode(files), lambda *at: update("prepare", *at)
    )
    features = work / "features"
    unchecked: dict[str, str] = {}
    for stem, file in files.items():
        encoder = encoders.get(stem, file["encoder"])
        settings = _settings(file, device)
        # Keys are `new/…` whatever is asked: a file that was kept is of other clips.
        (made,) = extract(
            corpus, features=features, modality=file["modality"], encoder=encoder,
            name=_name(stem, file["modality"], settings), settings=settings,
            dtype=file["config"]["dtype"], revision=file["revision"], allow_empty=True,
            overwrite=True, check=_check(run, file, unchecked), progress=progress,
        )  # fmt: skip
        if made.path.name != f"{stem}.h5":  # the run's was renamed
            made.path.replace(made.path.with_name(f"{stem}.h5"))
        _must_mean_the_same(stem, file["config"], features / corpus.name / f"{stem}.h5")
    sources = find_sources(features / corpus.name, tuple(files))
    table = load_table(sources, run.config.get("layers", "all"))
    found = weights.predict(table, np.arange(len(table))).probability  # (S, N, C)
    place = {key: row for row, key in enumerate(table.key.tolist())}
    order = np.array([place[u.key] for u in corpus.utterances])
    probability = found[:, order]
    mean = probability.mean(0)  # (N, C)
    best = mean.argmax(-1)
    agreement = (probability.argmax(-1) == best).mean(0)
    without = _without(features / corpus.name, files)
    rows = tuple(
        Answer(
            u.key, u.dialogue, u.sequence, u.speaker, u.x_text, labels[best[n]],
            dict(zip(labels, mean[n].tolist(), strict=True)), float(agreement[n]),
            without.get(u.key, {}),
        )
        for n, u in enumerate(corpus.utterances)
    )  # fmt: skip
    return Answers(rows, labels, probability, unchecked)


def _check(
    run: Run, file: Mapping[str, Any], unchecked: dict[str, str]
) -> Callable[[EncoderProbe], None]:
    """What compares an encoder's probe with the one that the run keeps of that file."""
    stem, kept = file["stem"], file.get("probe")
    try:
        before = Probe.from_json(kept) if kept else None
    except ValueError as error:
        raise RunError(
            f"{run.path / 'inputs.json'}: the probe of {stem} is damaged ({error}). Run `erc fuse` "
            "again with --overwrite."
        ) from error

    def check(probe: EncoderProbe) -> None:
        anew = "make the file and the run anew: `erc extract --overwrite`, `erc fuse --overwrite`"
        probe.must_be(before, file.get("versions") or {}, f"{run.path}, {stem}", anew)
        if probe.unchecked:
            unchecked[stem] = probe.unchecked

    return check


def _decode(files: Mapping[str, Mapping[str, Any]]) -> Decode | None:
    """How the run's clips were prepared; None where nothing or other means did that."""
    if all(file["modality"] == Modality.TEXT for file in files.values()):
        return None
    for file in files.values():
        if file["modality"] == Modality.VISUAL:
            frames, height = file["config"].get("frames"), file["config"].get("height")
            return Decode(frames, height) if frames and height else None
    return Decode()


def _settings(file: Mapping[str, Any], device: str) -> Settings:
    config = file["config"]
    return Settings(
        config["layers"], config["pool"], config["precision"], device, config.get("history", 0)
    )


def _name(stem: str, modality: str, settings: Settings) -> str:
    """The part of a stem that is the encoder's name: without modality and variants."""
    variants = feature_stem(Modality(modality), "", settings).removeprefix(f"{modality}.")
    return stem.removeprefix(f"{modality}.").removesuffix(variants)


def _must_be_there(stem: str, encoder: str, revision: str) -> None:
    """A local folder that has moved can't be found by its name; say so before anything is done."""
    if Path(encoder).is_absolute() and not Path(encoder).exists():
        raise ErcError(
            f"{stem} was made with {encoder} (revision {revision[:12]}), which is not there. "
            f"--encoder {stem}=PATH says where it is now."
        )


def _must_mean_the_same(stem: str, before: Mapping[str, Any], made: Path) -> None:
    """Refuse embeddings of another meaning than the run's: of another last layer, or of pictures
    that were prepared otherwise."""
    with FeatureFile(made) as file:
        now = file.provenance.config
    lines = [
        f"{name} is {before.get(name)!r} there, {now.get(name)!r} now"
        for name in (LAST_LAYER, PREPROCESSING)
        if before.get(name) != now.get(name)
    ]
    if lines:
        raise RunError(
            f"{stem} of this run was made by an erc whose encoder gave other numbers:"
            f"{listed(lines)}\nMake it anew with `erc extract --overwrite` and the options that it "
            "was made with, and run `erc fuse` again."
        )


def _without(folder: Path, files: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """key -> stem -> why that row has no embedding."""
    found: dict[str, dict[str, str]] = {}
    for stem in files:
        with FeatureFile(folder / f"{stem}.h5") as file:
            for row in np.flatnonzero(file.status != Status.OK):
                found.setdefault(str(file.key[row]), {})[stem] = str(file.reason[row])
    return found
