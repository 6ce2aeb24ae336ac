"""`erc score`: a finished run on another corpus, or with modalities missing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from erc_features.errors import ErcError, RunError, choose, listed
from erc_features.extraction.tolerance import compare, in_words, tolerance_of
from erc_features.store import FeatureFile, Probe
from erc_features.utterance import Split, corpus_name
from erc_fusion.config.config import FuseConfig, from_tables, with_options
from erc_fusion.evaluation.masking import masked_scores
from erc_fusion.evaluation.score import Floor, Predicted, score_rows
from erc_fusion.inputs.folds import clusters, dialogue_numbers, make_folds
from erc_fusion.inputs.label_map import in_terms_of
from erc_fusion.inputs.sources import Source, describe, find_sources
from erc_fusion.inputs.table import FeatureTable, load_table
from erc_fusion.inputs.targets import Task, with_target
from erc_fusion.run_inputs import identity_of
from erc_fusion.runs.run import Run
from erc_fusion.runs.scored import Scored, write_scored

ALL = "all"
# What files of two corpora may differ in: what was cut from what, and how exactly it is kept.
_OF_CORPUS = ("segments", "frames", "height", "dtype")


@dataclass(frozen=True)
class ScoreResult:
    """What :func:`score` returns: what was found, and the file that keeps it.

    >>> import erc_fusion
    >>> config = erc_fusion.FuseConfig(corpus="meld")
    >>> run = erc_fusion.fuse(erc_fusion.with_options(config, seeds=(0,), epochs=1)).run
    >>> result = erc_fusion.score(run, split="dev")
    >>> result.path.name, result.scored.scores["rows"]
    ('meld.dev.json', 40)
    """

    scored: Scored
    path: Path


def score(
    run: Run,
    corpus: str = "",
    *,
    features: str | Path = "features",
    split: str = "",
    mapped: Mapping[str, str] | None = None,
    mask: Mapping[str, Sequence[float]] | None = None,
    repeats: int = 20,
    seed: int = 0,
    device: str = "auto",
) -> ScoreResult:
    """Score a finished run on labelled rows that it has not seen. Nothing trains, or is chosen.

    >>> import erc_fusion
    >>> config = erc_fusion.FuseConfig(corpus="meld")
    >>> run = erc_fusion.fuse(erc_fusion.with_options(config, seeds=(0,), epochs=1)).run
    >>> half = erc_fusion.score(run, mask={"audio": (0.5,)}, repeats=3)
    >>> half.scored.masked[0].shares, sorted(half.scored.masked[0].scores)
    ({'audio': 0.5}, ['accuracy', 'uar', 'weighted_f1'])

    Args:
        corpus: its name or folder; by default the run's own, of which only dev and test can be
            scored.
        features: the root folder of feature files.
        split: `train`, `dev`, `test` or `all`; by default test of the run's own corpus, and all
            rows of another one.
        mapped: the corpus's label -> the run's, where they are called differently. Labels of the
            same name are the same; rows of others are left out, and counted.
        mask: modality -> shares of the rows that have it, from which it is taken away at random.
        repeats: how often, with other rows each time.
        seed: of the draw of these rows.

    Raises:
        RunError: the run is unfinished, or its own feature files have changed.
        ErcError: the corpus's feature files are of other encoders, or no row can be scored.
    """
    from erc_fusion.training.checkpoint import load_weights
    from erc_fusion.training.fit import pick_device

    if not run.path.is_dir() or not run.done:
        raise RunError(f"{run.path}: no finished run there; `erc fuse` makes one.")
    config = from_tables(run.config, where=str(run.path / "config.toml"))
    name = corpus_name(corpus) if corpus else run.corpus
    own = name == run.corpus
    folder = Path(features) / name
    sources, warnings = _sources(run, folder, own)
    table = load_table(sources, config.layers)
    if own and table.fingerprint != run.inputs["fingerprint"]:
        raise RunError(
            f"{folder}: the texts, speakers or labels of {name} are not those that {run.path} was "
            "trained on, so it is not known which rows it has seen. Train it again with "
            "--overwrite; another corpus needs another name."
        )
    own = table.fingerprint == run.inputs["fingerprint"]  # by another name, it is still its own
    if own and mapped:
        raise ErcError(f"--map: {name} is the corpus of {run.path}, whose labels it has already.")
    task = Task.of(run.inputs)
    left_out: dict[str, int] = {}
    if own:
        table = with_target(table, config.target, config.loss.loss)
        _must_be_the_same(run, config, table)
    else:
        theirs = with_target(table, config.target, config.loss.loss)
        table, left_out = in_terms_of(task, theirs, mapped or {})
    rows, called = _rows(table, split, own, bool(config.folds))
    weights = load_weights(run, pick_device(device))
    floor = Floor(_majority(run, task), _means(run, task))

    def predict(of: FeatureTable) -> Predicted:
        if own and config.folds:
            return _by_fold(weights, of, config)
        return weights.predict(of, rows)

    if not table.labelled[rows].any():
        raise ErcError(
            f"No row of {name} ({called}) has a label that {run.path} knows. Its labels are "
            f"{', '.join(task.labels) or task.target}; --map THEIRS=OURS says which is which."
        )
    if not own:
        warnings += _strangers(run, table, rows)
    about = {
        "run": run.name, "identity": run.inputs.get("identity", ""), "corpus": name,
        "fingerprint": table.fingerprint, "split": called,
        "mapped": dict(mapped or {}), "left_out": left_out,
        "files": {source.stem: str(source.path) for source in table.sources},
        "warnings": tuple(warnings),
    }  # fmt: skip
    if mask:
        tried = masked_scores(table, rows, mask, repeats, seed, predict)
        found = Scored(**about, masked=tried, repeats=repeats)
    else:
        cluster = _clusters(table, config, own)[rows]
        said = _said_in_train(run)
        unseen = np.array([text not in said for text in table.text[rows]])
        scores = score_rows(table, rows, predict(table), floor, cluster, unseen)
        found = Scored(**about, scores=scores or {})
    return ScoreResult(found, write_scored(run, found))


def _sources(run: Run, folder: Path, own: bool) -> tuple[tuple[Source, ...], list[str]]:
    """The files that stand for the run's, in its order, and what they differ in harmlessly."""
    wanted = {file["stem"]: file for file in run.inputs["files"]}
    missing = [stem for stem in wanted if not (folder / f"{stem}.h5").is_file()]
    if missing:
        lines = (
            f"{stem}: encoder {wanted[stem]['encoder']}, {_settings_of(wanted[stem]['config'])}"
            for stem in missing
        )
        raise ErcError(
            f"{folder} lacks feature files that {run.path} reads:{listed(lines)}\nMake them "
            "with `erc extract` and these settings, and the same --name if the encoder's folder "
            "is called differently."
        )
    found = {source.stem: source for source in find_sources(folder, tuple(wanted))}
    warnings = []
    for stem, file in wanted.items():
        warnings += _must_mean_the_same(stem, file, found[stem], own)
    return describe(found[stem].path for stem in wanted), warnings


def _settings_of(config: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in config.items() if name != "dtype")


def _must_mean_the_same(stem: str, before: Mapping[str, Any], now: Source, own: bool) -> list[str]:
    """Warnings; raises ErcError if the file is of another encoder, by hash, settings or probe."""
    config = before["config"]
    if "source" in config:  # imported: nobody knows how it was made
        return [] if own else [f"{stem} is imported: nobody checked that both are made alike"]
    lines = [] if before["revision"] == now.revision else [
        f"revision: {before['revision'][:12]} there, {now.revision[:12]} here"]  # fmt: skip
    names = sorted({*config, *now.config} - {*_OF_CORPUS})
    lines += [f"{name}: {config.get(name)!r} there, {now.config.get(name)!r} here"
              for name in names if config.get(name) != now.config.get(name)]  # fmt: skip
    if not lines and before.get("probe") and now.probe:
        one, other = Probe.from_json(before["probe"]), Probe.from_json(now.probe)
        if one.input == other.input:
            precision = str(config.get("precision", "fp32"))
            allowed = tolerance_of(precision, one.device, other.device)
            _, gap = compare(one.x, other.x, allowed)
            if gap is not None:
                lines = [f"its probe: {in_words(gap.layer, gap.largest, gap.allowed, gap.cosine)}"]
    if lines:
        raise ErcError(
            f"{now.path} was not made as the run's {stem}:{listed(lines)}\nExtract it again as "
            "the run's was, or train the run again."
        )
    return [
        f"{stem}: {name} {config.get(name)} in training, {now.config.get(name)} here"
        for name in ("frames", "height")
        if config.get(name) != now.config.get(name)
    ]


def _must_be_the_same(run: Run, config: FuseConfig, table: FeatureTable) -> None:
    """Of a run's own corpus, its very files: rows that were in train must not be scored as test."""
    place = {"features": "features", "runs": "runs"}
    same = with_options(config, **place)
    loss = replace(same.loss, contrastive=run.metrics.get("contrastive", same.loss.contrastive))
    training = same.training
    for precision in (training.precision, "fp32", "bf16"):  # `auto` was decided there
        asked = replace(same, loss=loss, training=replace(training, precision=precision))
        if identity_of(asked, table) == run.inputs.get("identity"):
            return
    raise RunError(
        f"{run.path}: its feature files have changed since it was trained, so it is not known "
        "which rows it has seen. Train it again with --overwrite."
    )


def _rows(table: FeatureTable, split: str, own: bool, folds: bool) -> tuple[np.ndarray, str]:
    """(the rows to score, what they are called)."""
    if own and folds:
        if split not in ("", ALL):
            raise ErcError(f"--split {split}: a run of folds holds every row out once; leave it.")
        return np.arange(len(table)), ALL
    split = split or (Split.TEST if own else ALL)
    choose("split", split, (*map(str, (Split.TRAIN, Split.DEV, Split.TEST)), ALL))
    if own and split in (Split.TRAIN, ALL):
        raise ErcError(
            f"--split {split}: the run has learned from train of its own corpus, so those scores "
            "would say nothing; test and dev can be scored."
        )
    rows = np.flatnonzero(table.split != str(Split.NEW)) if split == ALL else table.rows(split)
    if not len(rows):
        raise ErcError(f"{table.corpus} has no row of {split}.")
    return rows, str(split)


def _by_fold(weights: Any, table: FeatureTable, config: FuseConfig) -> Predicted:
    """Every row by the fold that holds it out."""
    from erc_fusion.evaluation.fold_scores import joined

    folds = make_folds(table, config.folds, config.dev)
    found = [own.predict(table, fold.test) for own, fold in zip(weights.folds, folds, strict=True)]
    order = np.argsort(np.concatenate([fold.test for fold in folds]))
    return joined(found, order)


def _clusters(table: FeatureTable, config: FuseConfig, own: bool) -> np.ndarray:
    if own and config.folds:
        return clusters(table, config.folds)
    # As in training, so that the draws of the bootstrap are the same: splits count from 0 each.
    return table.dialogue if own else dialogue_numbers(table.split.tolist(), table.dialogue)


def _said_in_train(run: Run) -> set[str]:
    """The texts that the run learned from, if one of its feature files is still where it was; of a
    run of folds all texts, since each was learned from in some fold."""
    for file in run.inputs["files"]:
        path = Path(file["path"])
        if path.is_file():
            with FeatureFile(path) as kept:
                if kept.provenance.fingerprint == run.inputs["fingerprint"]:
                    train = kept.split == str(Split.TRAIN)
                    folds = bool(run.inputs.get("folds"))
                    return {text for text in kept.text[train | folds].tolist() if text}
    return set()


def _strangers(run: Run, table: FeatureTable, rows: np.ndarray) -> list[str]:
    """What to know of another corpus: texts that the run has learned from, labels that it lacks."""
    said, found = _said_in_train(run), []
    if known := sum(text in said for text in table.text[rows].tolist()):
        found.append(
            f"{known:,} of {len(rows):,} rows say word for word what the run's own corpus says in "
            "train"
        )
    truth = set(table.label[rows].tolist())
    absent = [name for c, name in enumerate(table.labels) if c not in truth]
    if table.task.classes and absent:
        found.append(
            f"no row is {', '.join(absent)}: where the run predicts that, it is wrong by definition"
        )
    return found


def _majority(run: Run, task: Task) -> int:
    """Train's most frequent class, as the run's scores name it."""
    for split in ("test", "dev"):
        found = (run.metrics.get(split) or {}).get("majority")
        if found:
            return task.labels.index(found["label"])
    return 0


def _means(run: Run, task: Task) -> np.ndarray:
    """(T,) the mean of each number in train."""
    from safetensors.numpy import load_file

    if not task.numbers:
        return np.zeros(0)
    kept = load_file(run.path / "model.safetensors")
    return np.mean([kept[name] for name in kept if name.endswith("target.mean")], 0)
