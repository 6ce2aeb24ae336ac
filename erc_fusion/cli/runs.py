"""The commands on finished runs: report, score, predict. See `cli.py`."""

import os
from pathlib import Path

import typer

from erc_features.cli.options import (
    CORPUS,
    FEATURES,
    RUNS,
    CorpusOption,
    FeaturesOption,
    JsonOption,
    RunsOption,
    command_of,
)
from erc_features.errors import ErcError

commands = typer.Typer()


@command_of(commands, "erc report --study objectives --latex ladder.tex")
def report(
    run: list[Path] | None = None,
    corpora: list[Path] | None = None,
    runs: RunsOption = RUNS,
    study: str | None = None,
    target: str | None = None,
    baseline: Path | None = None,
    to: Path | None = None,
    csv: Path | None = None,
    latex: Path | None = None,
    media: bool = False,
    as_json: JsonOption = False,
) -> None:
    """Compare runs in a table and in one self-contained HTML page.

    If --corpus is a folder with corpus.json, the page shows pictures of the mistakes.

    With several corpora (--corpus iemocap --corpus meld) it is a matrix: a run of each, the one
    that dev chooses, on its own test, and on the other corpora as `erc score` scored it.

    Arguments:
        run: Folders or names of runs. [default: every run of the corpus]

    Inputs:
        corpora --corpus CORPUS: Folder or name of the corpus; of several, one for each --corpus.
            [default: $ERC_CORPUS or data/meld]
        study: Name of a study, to show its ladder: objectives.
        target label|COLUMN,…: Only runs that predict this. [default: all, which must agree]
        baseline RUN: Run that the others are compared with.

    Output:
        to: HTML page. [default: RUNS/report.html; RUNS/across.html of several corpora]
        csv: Also write the table's numbers as CSV.
        latex: Also write the table for a paper.
        media: Let the page play the sound of mistakes.
    """
    from erc_features import terminal
    from erc_features.utterance import corpus_name

    given = corpora or [Path(os.environ.get("ERC_CORPUS") or CORPUS)]
    if len({corpus_name(str(each)) for each in given}) > 1:
        if study or baseline or media:
            raise ErcError(
                "--study, --baseline and --media are of one corpus: give one --corpus with them."
            )
        return _report_across(given, run or [], runs, target, to, csv, latex, as_json)
    corpus = given[0]
    from erc_fusion.report import as_dict, find_study, rich_table, sentences, write_csv, write_latex
    from erc_fusion.report import report as write
    from erc_fusion.runs.run import Run, find_runs

    root = corpus if (corpus / "corpus.json").is_file() else None
    if media and root is None:
        raise ErcError(f"--media needs the corpus: {corpus} has no corpus.json; choose --corpus.")
    of = corpus_name(str(corpus))
    ladder, finished, unfinished = find_study(runs, of, study) if study else (None, [], [])
    more = find_runs(runs, of, run or []) if run or not study else ([], [])
    bases = find_runs(runs, of, [baseline]) if baseline else ([], [])
    base = next(iter([*bases[0], *map(Run, bases[1])]), None)  # an unfinished one is refused
    page = to or runs / "report.html"
    named = [one for one in more[0] if target in (None, one.target)]
    if more[0] and not named:
        known = ", ".join(sorted({one.target for one in more[0]}))
        raise ErcError(f"--target {target}: no run predicts it; those here predict {known}.")
    if run and all(one.corpus != of for one in named):
        root = None  # these runs were named, and the corpus, data/meld unless said, is not theirs
    made = write([*finished, *named], to=page, baseline=base, ladder=ladder, sound=media,
                 unfinished=[*unfinished, *more[1]], corpus_root=root)  # fmt: skip
    for file, export in ((csv, write_csv), (latex, write_latex)):
        if file:
            export(made, file)
    if as_json:
        return terminal.show_json(as_dict(made) | {"page": page})
    terminal.out.print(rich_table(made))
    return terminal.show(*sentences(made), f"The page: {page.resolve()}")


def _report_across(
    corpora: list[Path], named: list[Path], runs: Path, target: str | None,
    to: Path | None, csv: Path | None, latex: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """`erc report` of several corpora."""
    from erc_features import terminal
    from erc_fusion.cli.printing import show_matrix
    from erc_fusion.report import across, matrix_as_dict, write_matrix_csv, write_matrix_latex

    page = to or runs / "across.html"
    made = across(runs, [*map(str, corpora)], named, to=page, target=target)
    for file, export in ((csv, write_matrix_csv), (latex, write_matrix_latex)):
        if file:
            export(made, file)
    if as_json:
        return terminal.show_json(matrix_as_dict(made) | {"page": page})
    show_matrix(made)
    return terminal.show(f"The page: {page.resolve()}")


@command_of(commands, "erc compare mlp-text attention-all")
def compare(
    first: Path,
    second: Path,
    corpus: CorpusOption = CORPUS,
    runs: RunsOption = RUNS,
    rows: int = 10,
    as_json: JsonOption = False,
) -> None:
    """Show how two runs differ: settings, scores, and rows.

    It names the settings that differ, tests the second run against the first on the rows that
    both were tested on, and lists rows of which they say different things.

    Arguments:
        first: Folder or name of a run.
        second: Folder or name of the run that is compared with it.

    Output:
        rows: How many of the changed rows to list.
    """
    from erc_features import terminal
    from erc_features.utterance import corpus_name
    from erc_fusion.cli.difference import show_difference
    from erc_fusion.report import difference, difference_as_dict
    from erc_fusion.runs.run import Run, find_runs

    if rows < 0:
        raise ErcError(f"--rows {rows}: at least 0.")
    of = corpus_name(str(corpus))
    found = [find_runs(runs, of, [name]) for name in (first, second)]
    one, other = (next(iter([*done, *map(Run, begun)])) for done, begun in found)
    made = difference(one, other)
    if as_json:
        return terminal.show_json(difference_as_dict(made))
    return show_difference(made, rows)


@command_of(commands, "erc score runs/iemocap/best meld --map happy=joy,sad=sadness")
def score(
    run: Path,
    corpus: str = "",
    features: FeaturesOption = FEATURES,
    split: str = "",
    mapped: list[str] | None = None,
    mask: list[str] | None = None,
    repeats: int = 20,
    seed: int = 0,
    device: str = "auto",
    as_json: JsonOption = False,
) -> None:
    """Score a finished run on another corpus, or with gaps.

    Gaps are modalities that are missing. Nothing trains, and nothing is chosen. The other corpus
    needs feature files of the same names, made by the same encoders with the same settings, which
    is checked.

    Arguments:
        run: Folder of a finished run.
        corpus: Name or folder of a labelled corpus. [default: the run's own]

    Inputs:
        split train|dev|test|all: Rows to score. [default: test of the run's own corpus, all of
            another]
        mapped --map THEIRS=OURS,…: What labels of the corpus are called in the run. Labels of the
            same name are the same; rows of others are left out, and counted.
        device auto|cpu|cuda: Device to predict on.

    Missing modalities:
        mask MODALITY=SHARE:…: Hide a modality from a share of the rows that have it, at random:
            audio=0.3, or for a curve audio=0:0.25:0.5:1.
        repeats: How often, with other rows each time.
        seed: Seed of the draw of these rows.
    """
    from dataclasses import asdict

    from erc_features import terminal
    from erc_fusion.cli.printing import show_scored
    from erc_fusion.evaluation.masking import parse_masks, parse_pairs
    from erc_fusion.runs.run import Run
    from erc_fusion.score import score as run_score

    found = run_score(
        Run(run), corpus, features=features, split=split,
        mapped=parse_pairs(mapped or [], "--map", "theirs=ours: happy=joy"),
        mask=parse_masks(mask or []), repeats=repeats, seed=seed, device=device,
    )  # fmt: skip
    if as_json:
        return terminal.show_json(asdict(found.scored) | {"path": found.path})
    return show_scored(found)


@command_of(commands, "erc predict runs/meld/best scene.mp4 --text 'Oh my god!'")
def predict(
    run: Path,
    clips: list[Path] | None = None,
    text: list[str] | None = None,
    speaker: list[str] | None = None,
    table: Path | None = None,
    encoder: list[str] | None = None,
    device: str = "auto",
    to: Path | None = None,
    work: Path | None = None,
    as_json: bool = False,
) -> None:
    """Predict the emotions of a dialogue with a finished run.

    Clips and texts are prepared and encoded in the same way as the run's training data.

    Arguments:
        run: Folder of a finished run.
        clips: Clips of one dialogue, in its order.

    Inputs:
        text: What is said; give it once for each utterance.
        speaker: Who says it; give it once for each utterance.
        table --csv: CSV with the columns of a corpus, or a corpus; in place of clips and texts.
            Its columns start and end may cut recordings.
        encoder STEM=PATH: Where an encoder is now, if it has moved.
        device auto|cpu|cuda: Device of the encoders.

    Output:
        to: Also write the answers to a .csv or .jsonl file.
        work: Folder that keeps the prepared media and the features.
        as_json --json: Print JSON lines.
    """
    from erc_features import terminal
    from erc_features.preparation.live_dialogue import make_talk, read_talk
    from erc_fusion.cli.printing import show_answers
    from erc_fusion.predict import json_lines, parse_encoders, write_answers
    from erc_fusion.predict import predict as answer
    from erc_fusion.runs.run import Run

    if table and (clips or text or speaker):
        raise ErcError("--csv takes the place of clips, --text and --speaker: leave these out.")
    asked = read_talk(table) if table else make_talk(clips or [], text or [], speaker or [])
    with terminal.bar() as progress:
        found = answer(made := Run(run), asked, encoders=parse_encoders(encoder or []),
                       device=device, work=work, progress=progress)  # fmt: skip
    if made.inputs.get("folds"):
        terminal.err.print(
            f"{run} is over folds: each row of {made.corpus} was learned from in some of them, so "
            "answers on such rows flatter; its predictions.parquet has those that are held out.",
            markup=False, highlight=False,
        )  # fmt: skip
    for stem, why in found.unchecked.items():
        terminal.err.print(f"{stem}: {why}", markup=False, highlight=False)
    if to:
        write_answers(found, to)
    if as_json:
        return terminal.show(*json_lines(found))
    return show_answers(found.rows)


@command_of(commands, "erc serve runs/meld/best --port 8000")
def serve(
    run: Path,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    encoder: list[str] | None = None,
    device: str = "auto",
    waiting: int = 64,
    megabytes: int = 32,
    clip_seconds: float = 20.0,
) -> None:
    """Serve a finished run over HTTP: erc predict as an API.

    Encoders are loaded once. POST /v1/predict takes a dialogue as JSON, as JSON lines, or as a
    form with clips, WAVs and pictures; POST /v1/dialogues begins one that is told line by line;
    GET /v1/model says what the run is; /openapi.json describes it all. It needs pip install
    'erc[serve]'.

    Arguments:
        run: Folder of a finished run.

    Inputs:
        encoder STEM=PATH: Where an encoder is now, if it has moved.
        device auto|cpu|cuda: Device of the encoders.

    Access:
        host: Address to listen at; one that other machines reach needs a token.
        port: Port; 0 takes any that is free.
        token: What requests must bring as Authorization: Bearer TOKEN. [default: $ERC_TOKEN]

    Limits:
        waiting: Requests at work at one time; more are answered 429.
        megabytes: Largest request with files, in MiB.
        clip_seconds: Longest time to decode the media of an utterance.
    """
    from erc_features import terminal
    from erc_fusion.predict import parse_encoders
    from erc_fusion.runs.run import Run
    from erc_fusion.serving.limits import Limits

    try:
        from erc_fusion.serving.server import serve as listen
    except ModuleNotFoundError as error:
        raise ErcError(
            f"erc serve needs {error.name}, which is not installed: pip install 'erc[serve]'."
        ) from error
    limits = Limits(body=megabytes << 20, waiting=waiting, clip_seconds=clip_seconds)
    listen(
        Run(run), host=host, port=port, token=token or os.environ.get("ERC_TOKEN") or None,
        encoders=parse_encoders(encoder or []), device=device, limits=limits,
        started=lambda url: terminal.show(f"{run} answers at {url}; Ctrl-C ends it."),
    )  # fmt: skip
