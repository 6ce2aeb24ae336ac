"""What verbs of fusion print: the scores of a run, the answers of a prediction."""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from erc_features.terminal import err, out, show, table
from erc_fusion.config.seeds import describe_seeds, seeds_warning
from erc_fusion.runs.scores import NAMES, number, scale, scores_of
from erc_fusion.runs.scores import unit as unit_of
from erc_fusion.training.tensorboard import events_folder

if TYPE_CHECKING:  # importing a verb takes as long as running it on a small corpus
    from erc_fusion.answers import Answer
    from erc_fusion.fuse import FuseResult
    from erc_fusion.report import Matrix
    from erc_fusion.runs.ladder import Ladder
    from erc_fusion.score import ScoreResult
    from erc_fusion.search.overfit import Overfit
    from erc_fusion.search.study import Studied
    from erc_fusion.search.tune import Tuned


def show_answers(answers: Sequence["Answer"]) -> None:
    """What `erc predict` prints: a line for each utterance, and what it did without."""
    rows = []
    for answer in answers:
        ranked = sorted(answer.probability.items(), key=lambda item: -item[1])[:3]
        said = " ".join(answer.text.split())
        rows.append(
            [
                f"{answer.dialogue}/{answer.sequence}",
                answer.speaker,
                said if len(said) <= 48 else said[:47] + "…",
                *([answer.emotion, ", ".join(f"{label} {p:.2f}" for label, p in ranked),
                   f"{answer.agreement:.0%}"] if ranked else []),
                *(f"{number('mae', value)} ± {number('mae', answer.deviation[name])}"
                  for name, value in answer.numbers.items()),
            ]
        )  # fmt: skip
    first = answers[0] if answers else None
    of_labels = ("emotion", "probability", "seeds agree") if first and first.probability else ()
    numbers = first.numbers if first else ()
    table(("utterance", "speaker", "text", *of_labels, *numbers), rows)
    for answer in answers:
        show(*(f"{answer.key} without {stem}: {why}" for stem, why in answer.without.items()))


def show_seeds(seeds: Sequence[int], of: str) -> None:
    """The first line of a command that trains: --seeds 100 is a hundred, --seeds 100, is one."""
    err.print(f"{of} {describe_seeds(seeds)}.", markup=False)
    if many := seeds_warning(seeds):
        err.print(f"Warning: {many}", markup=False)
        warnings.filterwarnings("ignore", message=re.escape(many))  # Python need not say it again


def show_run(result: "FuseResult", *, log: str = "") -> None:
    """The summary of `erc fuse`: its scores, what the user should know, and where it is."""
    path, metrics, already = result.run.path, result.run.metrics, result.already
    rows, names = [], [name for name in scores_of(metrics) if name != "pearson"]
    classes = "accuracy" in names
    seeds = len(metrics["seeds"])
    unit = "scores" if not any(map(unit_of, names)) else "percent"
    for split in ("dev", "test"):
        found = metrics[split]
        if found is None:
            show(f"{split} has no labelled rows: no scores.")
            continue
        figures = [figure_of(name, found.get(name)) for name in names]
        floor = [f"{100 * found['majority']['weighted_f1']:.1f}"] if "majority" in found else [""]
        floor = floor if classes else []
        rows.append([split, found["labelled"], *figures, *floor])
        if seeds > 1 and "ensemble" in found:
            together = [number(name, value) if (value := found["ensemble"].get(name)) is not None
                        else "-" for name in names]  # fmt: skip
            rows.append([f"{split}, ensemble", found["labelled"], *together, *floor])
    show(f"{metrics['head']} on {', '.join(metrics['files'])}; {unit} over "
         f"{seeds} seed{'s' if seeds > 1 else ''}:")  # fmt: skip
    floors = ["maj. wF1"] if classes else []
    table(("split", "rows", *(NAMES[name] for name in names), *floors), rows)
    _show_numbers(metrics)
    for fold in metrics.get("folds", ()):
        if not fold["labelled"]:
            show(f"without {fold['name']}: {fold['rows']:,} rows, none with a label: no scores")
            continue
        scores = ", ".join(
            f"{NAMES[name]} {figure_of(name, fold[name])}"
            for name in ("weighted_f1", "uar", "micro_f1", "macro_f1", "ccc")
            if fold.get(name)
        )
        show(f"without {fold['name']}: {fold['rows']:,} rows, {scores}")
    if any("ensemble" in str(row[0]) for row in rows):
        show("Ensemble: the mean of the seeds' probabilities, taken as one model.")
    if rows and classes:
        show("maj. wF1: the weighted F1 of always predicting the most frequent class.")
    show(*(f"Warning: {warning}" for warning in result.warnings))
    if already:
        show(f"{path}: this run is finished already; --overwrite trains it again.")
    else:
        show(f"{path}: done in {metrics['seconds']['total']:.1f} s.")
    if log:
        show(f"Curves: tensorboard --logdir {events_folder(path).parent}")


def figure_of(name: str, found: Mapping[str, Any] | None) -> str:
    """ "59.4 ± 0.6"; a dash where there is none, or an older erc made the run."""
    return f"{number(name, found['mean'])} ± {number(name, found['std'])}" if found else "-"


def _show_numbers(metrics: dict[str, Any]) -> None:
    """The scores of each predicted number, and the error of always saying train's mean."""
    rows = [
        [split, name, own["rows"],
         *(figure_of(score, own[score]) for score in ("ccc", "pearson", "mae", "rmse")),
         number("mae", own["mean_of_train"]["mae"])]
        for split in ("dev", "test")
        for name, own in ((metrics[split] or {}).get("numbers") or {}).items()
    ]  # fmt: skip
    if rows:
        table(("split", "number", "rows", "CCC", "r", "MAE", "RMSE", "mean's MAE"), rows)


def show_scored(result: "ScoreResult") -> None:
    """What `erc score` prints: the scores, and what does not count."""
    found = result.scored
    names = [name for name in NAMES if name in found.scores]
    if names:
        show(f"{found.run} on {found.corpus}, {found.split}: {found.scores['labelled']:,} rows, "
             f"{found.scores['dialogues']:,} dialogues")  # fmt: skip
        table(
            ("score", "mean ± deviation over seeds", "95% interval"),
            [[NAMES[name], figure_of(name, own), f"[{number(name, own['low'])}, "
              f"{number(name, own['high'])}]"] for name in names
             for own in [found.scores[name]]],
        )  # fmt: skip
    if found.masked:
        times = f"mean ± deviation over {found.repeats} draws of the rows"
        show(f"{found.run} on {found.corpus}, {found.split}, with modalities missing; {times}")
        scores = [name for name in NAMES if name in found.masked[0].scores]
        rows = [
            [", ".join(f"{name} {share:.0%}" for name, share in step.shares.items()),
             *(figure_of(name, asdict(step.scores[name])) for name in scores)]
            for step in found.masked
        ]  # fmt: skip
        table(("missing", *(NAMES[name] for name in scores)), rows)
    if found.left_out:
        listed = ", ".join(f"{name} {rows:,}" for name, rows in found.left_out.items())
        show(f"Left out, as the run has no such label (--map THEIRS=OURS): {listed} rows.")
    show(*(f"Warning: {warning}" for warning in found.warnings))
    show(f"{result.path}; `erc report` shows it beside the run.")


def show_matrix(matrix: "Matrix") -> None:
    """What `erc report` prints of several corpora: a table for each score, and the gaps."""
    for score in matrix.scores:
        show(f"{NAMES[score]}{unit_of(score)}: lines trained on, columns tested on; mean ± "
             "deviation over seeds, [95% interval]")  # fmt: skip
        rows = []
        for line in matrix.lines:
            stats = [entry.scores.get(score) for entry in line.entries]
            cells = [
                f"{figure_of(score, asdict(stat))}\n[{number(score, stat.low)}, "
                f"{number(score, stat.high)}]" if stat else "–"
                for stat in stats
            ]  # fmt: skip
            rows.append([f"{line.corpus.name}\n{line.row.name}", *cells])
        table(("", *matrix.corpora), rows)
        show("")
    for line in matrix.lines:
        show(f"{line.name}: {line.chosen}.")
        show(*(f"{line.name} on {note}." for entry in line.entries if not entry.missing
               for note in entry.notes))  # fmt: skip
    show(*matrix.notes)
    if matrix.unfinished:
        show(f"Not finished: {', '.join(map(str, matrix.unfinished))}; run the same `erc fuse` "
             "again.")  # fmt: skip
    for line, entry in matrix.gaps:
        show(f"Missing: {line.name} on {entry.corpus}: {entry.missing}.")
        show(*([f"  {entry.command}"] if entry.command else []))
        show(*(f"  {note}." for note in entry.notes))


def show_overfit(found: "Overfit") -> None:
    """What `erc fuse --overfit` prints: a line for each width, and what it says."""
    rows = [
        [
            fit.width, f"{fit.parameters:,}", fit.epochs, f"{100 * fit.train_accuracy:.1f}",
            f"{fit.train_loss:.3f}", f"{100 * fit.dev_accuracy:.1f}",
            f"{100 * fit.best_dev_accuracy:.1f}",
        ]
        for fit in found.fits
    ]  # fmt: skip
    columns = ("width", "parameters", "epochs", "train acc.", "train loss", "dev acc.", "best dev")
    table(columns, rows)  # fmt: skip
    last = found.fits[-1]
    if found.fitted:
        show(f"Width {last.width} fits train ({last.train_accuracy:.1%}): there is something to "
             "regularise. `erc tune` does that on dev.")  # fmt: skip
    else:
        show(f"Not even width {last.width} fits train ({last.train_accuracy:.1%}, and "
             f"{found.enough:.0%} would be enough): try more --epochs or a larger --lr, more "
             "layers, or other features. Identical rows with different labels cannot be fitted."
        )  # fmt: skip


def show_ladder(ladder: "Ladder") -> None:
    """What the two phases of each rung chose, for which run."""
    rows: list[list[object]] = []
    for rung in ladder.rungs:
        if not rung.run:
            continue
        width = fits = "-"
        if rung.scaled:
            width, fits = rung.scaled.width, f"{100 * rung.scaled.train_accuracy:.1f}"
        best = max(rung.tried, key=lambda tried: tried.dev).settings if rung.tried else {}
        chosen = ", ".join(f"{name} {_short(value)}" for name, value in best.items()) or "-"
        rows.append([rung.title, width, fits, chosen, rung.run])
    table(("rung", "width", "fits train", "chosen on dev", "run"), rows)


def show_study(found: "Studied") -> None:
    """What `erc study` prints: the headline table, what was chosen, what it says, where it is."""
    from erc_fusion.report import rich_table, sentences

    out.print(rich_table(found.comparison), "")
    show_ladder(found.ladder)
    show("", *sentences(found.comparison), f"The ladder: {found.path}",
         f"The page: {found.page.resolve()}")  # fmt: skip


def study_as_dict(found: "Studied") -> dict[str, Any]:
    """The same for `--json`."""
    from erc_fusion.report import as_dict

    return as_dict(found.comparison) | {"ladder_file": found.path, "page": found.page}


def show_tuned(found: "Tuned") -> None:
    """What `erc tune` prints: the best trials, how the others ended, and what to type next."""
    names = list(dict.fromkeys(name for trial in found.best[:5] for name in trial.options))
    rows = [
        [name, *(_short(trial.options.get(name, "-")) for trial in found.best[:5])]
        for name in names
    ]
    monitor = found.config.monitor
    digits = 2 if unit_of(monitor) else 4
    scores = [f"{scale(monitor) * trial.score:.{digits}f}" for trial in found.best[:5]]
    table((monitor, *scores), rows)
    ended = ", ".join(f"{count} {how}" for how, count in sorted(found.counts.items()))
    show(f"{sum(found.counts.values())} trials ({ended}) in {found.seconds:.0f} s.",
         "The score of a search is optimistic: the run below scores dev again with other seeds, "
         "and test once.",
         f"erc fuse --config {found.path}")  # fmt: skip


def tuned_as_dict(found: "Tuned") -> dict[str, Any]:
    """The same for `--json`."""
    return {
        "path": str(found.path),
        "monitor": found.config.monitor,
        "counts": dict(found.counts),
        "seconds": found.seconds,
        "best": [
            {"trial": t.number, "score": t.score, "options": dict(t.options)} for t in found.best
        ],
    }


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
