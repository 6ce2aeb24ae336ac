"""The report's numbers: a ladder's table, paired tests, exports, mistakes, published figures."""

import csv
import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from report_runs import write_run, write_study
from rich.console import Console
from typer.testing import CliRunner

import cli
from erc_features.errors import ErcError, RunError
from erc_fusion.evaluation.paired_test import holm, paired
from erc_fusion.report import (
    Comparison,
    as_dict,
    find_study,
    footnotes,
    report,
    rich_table,
    sentences,
    tabulate,
    write_csv,
    write_latex,
)
from erc_fusion.report.comparison import compare
from erc_fusion.report.export import as_csv, as_latex, escape
from erc_fusion.report.mistakes import pick
from erc_fusion.report.results import row as read_row
from erc_fusion.runs.ladder import Ladder, Rung
from erc_fusion.runs.run import Run, list_runs

RUNGS = (
    Rung("baseline", "1. Baseline", "hashed words", "base"),
    Rung("text", "2. Better text", "MiniLM & its layers", "text"),
    Rung("visual", "3. Better visual", "pictures", not_run="no visual features"),
    Rung("audio", "4. Better audio", "sound", "audio"),
    Rung("fusion", "5. Better fusion", "attention", "fusion"),
)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """The runs of a ladder: 2 helps, 4 is the final one, 5 is worse; `alone` is none of it."""
    root = tmp_path_factory.mktemp("runs")
    write_run(root, "base", modalities=("text",), skill=0.35)
    write_run(root, "text", modalities=("text",), skill=0.55)
    write_run(root, "audio", skill=0.56)
    write_run(root, "fusion", skill=0.3, head="attention", seeds=(0, 1))
    write_run(root, "alone", head="linear", skill=0.4)
    write_study(root, RUNGS, final="audio")
    write_study(root, (RUNGS[0], RUNGS[2]), final="baseline", name="short")
    return root


@pytest.fixture(scope="module")
def ladder(root) -> Ladder:
    return find_study(root, "meld", "objectives")[0]


@pytest.fixture(scope="module")
def climbed(root, ladder) -> Comparison:
    runs = find_study(root, "meld", "objectives")[1]
    return report([Run(root / "meld" / "alone"), *runs], to=None, ladder=ladder)


def shown(comparison: Comparison) -> str:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(rich_table(comparison))
    return console.export_text()


def of(comparison: Comparison, title: str):
    return next(line for line in tabulate(comparison).lines if line.name == title)


def test_rungs_stand_in_order_with_those_not_run_and_other_runs_last(climbed):
    lines = tabulate(climbed).lines
    assert [line.name for line in lines] == [
        "majority: neutral", *(rung.title for rung in RUNGS), "alone",
    ]  # fmt: skip
    absent = of(climbed, "3. Better visual")
    assert absent.note == "not run: no visual features"
    assert all(cell.value is None for cell in absent.cells)
    assert [line.name for line in lines if line.final] == ["4. Better audio"]
    assert of(climbed, "2. Better text").adds == "MiniLM & its layers"
    assert [row.name for row in climbed.rows] == ["base", "text", "audio", "fusion", "alone"]


def test_each_rung_is_tested_against_the_last_before_it_that_was_run(root, climbed):
    couples = [("text", "base"), ("audio", "text"), ("fusion", "audio")]
    assert climbed.couples() == (*couples, ("audio", "base"), ("fusion", "base"), ("alone", "base"))
    runs = {each.name: each.run for each in climbed.rows}
    for metric in ("accuracy", "weighted_f1"):
        tests = [paired(runs[one], runs[other], metric) for one, other in climbed.couples()]
        # One family: the first rung's two differences are one pair and have one verdict.
        for (one, other), test, p in zip(
            climbed.couples(), tests, holm([test.p for test in tests]), strict=True
        ):
            assert climbed.paired[one, other].tests[metric] == test
            assert climbed.paired[one, other].holm[metric] == p
            turned = climbed.paired[other, one]
            assert turned.tests[metric].difference == -test.difference
            assert (turned.tests[metric].low, turned.holm[metric]) == (-test.high, p)
    for rung, (one, other) in zip([RUNGS[1], *RUNGS[3:]], couples, strict=True):
        assert climbed.before(rung) == climbed.paired[one, other]
    assert climbed.before(RUNGS[0]) is climbed.before(RUNGS[2]) is None
    assert climbed.baseline is not None
    assert climbed.baseline.name == "base"
    assert climbed.against_baseline(climbed.baseline) is None
    headings, cells = tabulate(climbed).headings, of(climbed, "2. Better text").cells
    for metric in ("accuracy", "weighted F1"):
        before, base = (
            cells[headings.index(f"Δ {kind} {metric}")] for kind in ("before", "baseline")
        )
        assert before == base
    assert "the 6 pairs of runs compared here" in footnotes(climbed)[1]


def test_a_rung_that_repeats_a_run_is_what_the_next_is_compared_with(root):
    """mlp, linear, mlp again, late: late is against mlp, and the third against the second."""
    rungs = tuple(
        Rung(name, name.upper(), "", run)
        for name, run in (("a", "base"), ("b", "text"), ("c", "base"), ("d", "fusion"))
    )
    runs = [Run(root / "meld" / name) for name in ("base", "text", "fusion")]
    made = report(runs, to=None, ladder=Ladder("s", "meld", "5f" * 32, "accuracy", rungs))
    at = tabulate(made).headings.index("Δ before accuracy")
    means = {row.name: row.test.accuracy.mean for row in made.rows if row.test}
    found = [of(made, title).cells[at].value for title in "ABCD"]
    steps = ("text", "base"), ("base", "text"), ("fusion", "base")
    assert found == [None, *(pytest.approx(means[one] - means[other]) for one, other in steps)]
    assert made.couples() == (("text", "base"), ("fusion", "base"))  # there and back is one pair
    assert of(made, "C").cells[at].p == of(made, "B").cells[at].p
    said = " ".join(sentences(made))
    assert said.index("B (+") < said.index("C (−")
    cells = [
        line["before_accuracy_difference"] for line in csv.DictReader(as_csv(made).splitlines())
    ]
    assert [bool(cell) for cell in cells[1:]] == [False, True, True, True]
    told = [rung["before"] for rung in as_dict(made)["ladder"]["rungs"]]
    assert told[2]["accuracy"]["difference"] == -told[1]["accuracy"]["difference"]


def test_what_a_star_does_not_cover_is_said(root, climbed, tmp_path):
    said = " ".join(footnotes(climbed))
    assert "other seeds are not covered" in said
    assert "Intervals are not adjusted" in said
    assert "One seed only" not in said
    assert "different seeds" in said  # fusion has two
    same = report([climbed.rows[1].run], to=None, baseline=climbed.rows[0].run)
    assert "different seeds" not in " ".join(footnotes(same))
    one = write_run(tmp_path, "one", seeds=(4,), skill=0.7)
    made = report([one], to=None, baseline=Run(root / "meld" / "base"))
    said = " ".join(footnotes(made))
    assert "that seed's luck: one." in said
    assert "different seeds" in said
    assert "the one pair of runs" in said


def test_a_final_model_without_a_finished_run_is_said(root, tmp_path):
    copy = Path(shutil.copytree(root, tmp_path / "runs"))
    (copy / "meld" / "audio" / "DONE").unlink()
    ladder, finished, unfinished = find_study(copy, "meld", "objectives")
    made = report(finished, to=None, ladder=ladder, unfinished=unfinished)
    assert sentences(made)[0].startswith(
        "The final model, 4. Better audio, is not finished. Until it is: Of 3 runs, "
    )
    assert "Not finished: " in shown(made)
    assert not any(line.final for line in tabulate(made).lines)


def test_a_difference_shows_points_interval_and_a_star_where_it_is_significant(climbed):
    table = tabulate(climbed)
    assert table.headings[:4] == (
        "test accuracy", "test weighted F1", "dev accuracy", "dev weighted F1",
    )  # fmt: skip
    at = table.headings.index("Δ before accuracy")
    helped, chance = (of(climbed, t).cells[at] for t in ("2. Better text", "4. Better audio"))
    means = {row.name: row.test.accuracy.mean for row in climbed.rows if row.test}
    assert helped.value == pytest.approx(means["text"] - means["base"])
    assert helped.text == f"{100 * helped.value:+.1f}*"
    assert helped.p is not None
    assert helped.p < 0.05 <= chance.p
    assert not chance.text.endswith("*")
    test = climbed.paired["audio", "text"].tests["accuracy"]
    low, high = f"{100 * test.low:.1f}", f"{100 * test.high:.1f}"
    assert chance.interval == f"[{low}, {high}]".replace("-", "−")
    assert of(climbed, "1. Baseline").cells[at].value is None
    assert of(climbed, "majority: neutral").cells[at].value is None


def test_sentences_say_what_helped_hurt_and_could_be_chance(climbed):
    first, helped, hurt, chance, over, *_, protocol = sentences(climbed)
    assert "final model is 4. Better audio" in first
    assert re.search(r"Significantly better than the rung before.*2\. Better text \(\+", helped)
    assert "4. Better audio" not in helped
    assert re.search(r"Significantly worse.*5\. Better fusion \(−", hurt)
    assert re.search(r"Could be chance: 4\. Better audio \(.*p = 0\.", chance)
    assert "4. Better audio against 1. Baseline" in over
    assert "significant" in over
    assert "chosen on dev" in protocol
    assert any("Holm" in note for note in footnotes(climbed))


def test_nothing_helped_is_said(root, tmp_path):
    twin = write_run(tmp_path, "twin", modalities=("text",), skill=0.36)
    rungs = (RUNGS[0], Rung("twin", "2. The same again", "nothing", "twin"))
    runs = [Run(root / "meld" / "base"), twin]
    made = report(runs, to=None, ladder=Ladder("s", "meld", "5f" * 32, "accuracy", rungs))
    said = " ".join(sentences(made))
    assert made.paired["twin", "base"].holm["accuracy"] >= 0.05
    assert "No rung is significantly better than the one before" in said
    assert "Could be chance: 2. The same again" in said


def test_the_terminal_shows_a_ladder_in_80_columns(climbed):
    text = shown(climbed)
    assert "…" not in text
    assert all(len(line) <= 80 for line in text.splitlines())
    for rung in RUNGS:
        assert rung.title in text
    assert "not run: no visual" in text
    assert "the final model" in text
    cell = of(climbed, "2. Better text").cells[4]
    assert f"{cell.text} " in text + " "
    assert cell.interval in text


def test_a_baseline_gives_paired_columns_without_a_ladder(root):
    runs = [Run(root / "meld" / name) for name in ("base", "text", "alone")]
    made = report(runs, to=None, baseline=runs[0])
    assert made.couples() == (("text", "base"), ("alone", "base"))
    pairs = [made.paired[couple] for couple in made.couples()]
    p = [pair.tests["accuracy"].p for pair in pairs]
    assert tuple(pair.holm["accuracy"] for pair in pairs) == holm(p)
    assert tabulate(made).headings[-2:] == ("Δ baseline accuracy", "Δ baseline weighted F1")
    assert "text against base on test: accuracy +" in " ".join(sentences(made))
    assert "against base" in shown(made)
    alone = report(runs, to=None)
    assert alone.paired == {}
    assert footnotes(alone) == ()
    assert not any("Δ" in heading for heading in tabulate(alone).headings)


def test_a_ladder_of_other_rows_is_refused(root, ladder):
    runs = [Run(root / "meld" / "base")]
    with pytest.raises(RunError, match=r"study 'objectives' is of meld, fingerprint abab"):
        report(runs, to=None, ladder=replace(ladder, fingerprint="ab" * 32))


def test_an_unfinished_rung_is_named_and_its_neighbours_are_compared(root, ladder, tmp_path):
    copy = Path(shutil.copytree(root, tmp_path / "runs"))
    (copy / "meld" / "text" / "DONE").unlink()
    ladder, finished, unfinished = find_study(copy, "meld", "objectives")
    made = report(finished, to=None, ladder=ladder, unfinished=unfinished)
    assert of(made, "2. Better text").note == "not finished"
    assert as_dict(made)["unfinished"] == [str(copy / "meld" / "text")]
    assert made.before(RUNGS[3]) == made.paired["audio", "base"]  # which is the baseline too
    shutil.rmtree(copy / "meld" / "text")
    with pytest.raises(RunError, match=r"No run .*text.*Finished runs.*alone, audio, base"):
        find_study(copy, "meld", "objectives")


def test_a_final_rung_that_names_a_run_again_is_that_run(root):
    rungs = (*RUNGS, Rung("final", "6. The final model", "the best on dev", "audio"))
    runs = [Run(root / "meld" / name) for name in ("base", "text", "audio", "fusion")]
    ladder = Ladder("s", "meld", "5f" * 32, "accuracy", rungs, "final")
    made = report(runs, to=None, ladder=ladder)
    assert made.final is not None
    assert made.final.name == "audio"
    first, again = of(made, "4. Better audio"), of(made, "6. The final model")
    assert (first.final, again.final) == (False, True)
    assert [c.text for c in again.cells[:4]] == [c.text for c in first.cells[:4]]
    turned = of(made, "5. Better fusion").cells[4].value  # against audio; this is audio against it
    assert turned is not None
    assert again.cells[4].value == -turned


def test_two_runs_of_one_name_are_told_apart(root, tmp_path):
    other = write_run(tmp_path / "more", "base", skill=0.7)
    made = report([Run(root / "meld" / "base"), other], to=None)
    assert [row.name for row in made.rows] == ["base", str(other.path)]


def test_new_metrics_are_read_and_old_runs_stay_readable(root, tmp_path):
    found = read_row(Run(root / "meld" / "fusion"))
    assert found.layers["text.baseline"].weight == (0.1, 0.2, 0.3, 0.4)
    assert found.weighing is not None
    assert found.weighing["audio.baseline"].mean == pytest.approx(0.4)
    assert read_row(Run(root / "meld" / "base")).weighing is None
    test = found.test
    assert test is not None
    assert len(test.reliability) == 15
    assert sum(each.rows for each in test.reliability) == pytest.approx(260)
    assert {"speaker", "position", "length", "missing"} <= set(test.slices)
    assert sum(each.rows for each in test.slices["position"]) == 260
    gap = sum(
        b.rows * abs(b.confidence - b.accuracy)
        for b in test.reliability
        if b.confidence is not None and b.accuracy is not None
    )
    assert gap / 260 <= test.ece.mean + 1e-6  # seeds pooled: gaps can only cancel
    old = Run(Path(shutil.copytree(root / "meld" / "fusion", tmp_path / "meld" / "fusion")))
    metrics = json.loads((old.path / "metrics.json").read_text())
    for key in ("layers", "weighing"):
        del metrics[key]
    for split in ("dev", "test"):
        del metrics[split]["reliability"], metrics[split]["slices"]
    (old.path / "metrics.json").write_text(json.dumps(metrics))
    table = old.predictions().drop(columns=["missing", "pca_1", "pca_2"])
    table.to_parquet(old.path / "predictions.parquet")
    row = read_row(Run(old.path))
    assert (row.layers, row.weighing) == ({}, None)
    assert row.test is not None
    assert (row.test.reliability, row.test.slices) == ((), {})
    assert len(pick(row, "test", None, sound=False)) == 8
    assert as_dict(report([Run(old.path)], to=None))["runs"][0]["weighing"] is None


def test_json_holds_the_ladder_and_every_test(climbed):
    data = json.loads(json.dumps(as_dict(climbed)))
    assert [rung["name"] for rung in data["ladder"]["rungs"]] == [rung.name for rung in RUNGS]
    assert data["best_on_dev"] == "audio"
    text = next(run for run in data["runs"] if run["name"] == "text")
    test = climbed.paired["text", "base"].tests["accuracy"]
    assert text["paired"]["before"]["accuracy"]["p"] == test.p
    assert text["paired"]["before"]["accuracy"]["p_holm"] >= test.p
    assert data["runs"][0]["paired"] == {"before": None, "baseline": None}
    assert data["published"][0]["mark"] == "reported, not reproduced"
    assert len(data["runs"][0]["test"]["reliability"]) == 15


def test_csv_holds_the_numbers_unrounded(climbed, tmp_path):
    write_csv(climbed, tmp_path / "new" / "t.csv")
    lines = list(csv.DictReader((tmp_path / "new" / "t.csv").read_text().splitlines()))
    assert [line["name"] for line in lines][1:6] == [rung.title for rung in RUNGS]
    by_name = {line["name"]: line for line in lines}
    audio, row = by_name["4. Better audio"], climbed.rows[2]
    assert row.test is not None
    assert float(audio["test_weighted_f1_low"]) == row.test.weighted_f1.low
    pair = climbed.paired["audio", "text"]
    assert float(audio["before_accuracy_p_holm"]) == pair.holm["accuracy"]
    assert (audio["final"], by_name["2. Better text"]["final"]) == ("yes", "")
    assert by_name["3. Better visual"]["note"] == "not run: no visual features"
    assert by_name["3. Better visual"]["test_accuracy_mean"] == ""
    floor = climbed.majority("test")
    assert floor is not None
    assert float(lines[0]["test_accuracy_mean"]) == floor.accuracy
    assert as_csv(climbed) == (tmp_path / "new" / "t.csv").read_text()


def test_latex_is_a_tabular_whose_rows_have_every_cell(climbed, tmp_path):
    write_latex(climbed, tmp_path / "t.tex")
    text = (tmp_path / "t.tex").read_text()
    body = [line for line in text.splitlines() if not line.startswith("%")]
    assert body[0] == r"\begin{tabular}{lcccccccc}"
    assert body[-1] == r"\end{tabular}"
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert rule in body
    for line in body:
        if line.endswith(r"\\"):
            spans = [int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d)\}", line)]
            assert len(re.findall(r"(?<!\\)&", line)) + sum(spans) == 8, line
        assert line.isascii()
        assert line.count("{") == line.count("}")
    assert r"\textbf{" in text
    assert r"3. Better visual & \multicolumn{8}{l}{\emph{not run: no visual features}} \\" in text
    assert re.search(r"2\. Better text &.*\$\^\{\*\}\$", text)


def test_latex_escapes_whatever_a_name_holds(root, tmp_path):
    assert escape("50% of a_b & {c} #1 $x^2~\\") == (
        r"50\% of a\_b \& \{c\} \#1 \$x\textasciicircum{}2\textasciitilde{}\textbackslash{}"
    )
    assert escape("two\nlines") == "two lines"
    run = write_run(tmp_path, "a_1", head="m&m")
    assert r"a\_1 &" in as_latex(report([run], to=None))


def test_exports_that_cannot_be_written(climbed, tmp_path):
    (tmp_path / "file").write_text("")
    for write, option in ((write_csv, "--csv"), (write_latex, "--latex")):
        for to in (tmp_path, tmp_path / "file" / "t"):
            with pytest.raises(ErcError, match=f"cannot be written.*{option}"):
                write(climbed, to)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def erc(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(cli.app, ["report", *map(str, arguments)])
    return done.exit_code, done.output


def test_the_command_reports_a_study_with_other_runs_in_every_form(root, tmp_path):
    files = {name: tmp_path / f"t.{name}" for name in ("html", "csv", "tex")}
    code, said = erc("alone", "--study", "short", "--corpus", "meld", "--runs", root, "--to",
                     files["html"], "--csv", files["csv"], "--latex", files["tex"])  # fmt: skip
    assert code == 0, said
    assert "1. Baseline" in said
    assert "not run: no visual" in said
    assert "Holm" in said
    names = [line["name"] for line in csv.DictReader(files["csv"].read_text().splitlines())]
    assert names == ["majority: neutral", "1. Baseline", "3. Better visual", "alone"]
    assert r"\toprule" in files["tex"].read_text()
    page = files["html"].read_text()
    assert "3. Better visual" in page
    assert "data:image/jpeg" not in page  # --corpus is a name alone: no media are looked for


def test_the_command_says_what_is_there(root, tmp_path):
    at = ("--corpus", "meld", "--runs", root, "--to", tmp_path / "r.html")
    code, said = erc("--study", "objective", *at)
    assert code == 1
    assert re.search(r"No study 'objective' in .*there: objectives, short\.", said)
    code, said = erc("--study", "x", "--corpus", "other", *at[2:])
    assert code == 1
    assert "there: none" in said
    code, said = erc("--media", *at)
    assert code == 1
    assert "--media needs the corpus" in said
    assert not (tmp_path / "r.html").exists()


def test_several_files_of_a_modality_are_named(tmp_path):
    for name, stems in (("both", ["text.minilm", "text.minilm+history4"]),
                        ("one", ["text.minilm", "audio.baseline"])):  # fmt: skip
        run = write_run(tmp_path, name, modalities=tuple(s.split(".")[0] for s in stems))
        path = run.path / "metrics.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"files": stems}))
    found = compare(list_runs(tmp_path)[0])
    lines = {line.name: line.inputs for line in tabulate(found).lines}
    page = report(list_runs(tmp_path)[0], to=tmp_path / "page.html")
    assert page.rows == found.rows
    assert lines["both"] == "text.minilm + text.minilm+history4"
    assert lines["one"] == "text.minilm + audio"  # text alone could be either
    console = Console(width=200, file=io.StringIO())
    console.print(rich_table(found))
    for text in (console.file.getvalue(), (tmp_path / "page.html").read_text()):
        assert "text.minilm + text.minilm+history4" in text and "text + text" not in text
    (both, one) = list(csv.DictReader(io.StringIO(as_csv(found))))[1:]
    assert both["files"] == "text.minilm text.minilm+history4"
    assert one["modalities"] == "text+audio"
    (alone,) = compare([Run(tmp_path / "meld" / "one")]).rows
    assert compare([alone.run]).inputs_of(alone) == ("text", "audio")
