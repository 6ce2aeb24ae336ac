"""The report: what it says, what it refuses, and that the page stands alone."""

import io
import json
import re
import shutil
from pathlib import Path

import pytest
from pages import Page, asks_nobody
from report_runs import LABELS, write_run
from rich.console import Console

from erc_features.errors import ErcError, RunError
from erc_fusion.report import as_dict, report, rich_table, sentences, tabulate, warnings
from erc_fusion.runs.run import Run, list_runs

MINOR = tuple(label for label in LABELS if label != "neutral")
HOSTILE = "<b>x</b>"
HOSTILE_FOLDER = "a&'\"$<i>"  # a folder's name can hold no slash


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Four finished runs of meld and one unfinished, one run of another corpus."""
    root = tmp_path_factory.mktemp("runs")
    write_run(root, "a-text", modalities=("text",), skill=0.4, never=("fear", "disgust"))
    write_run(root, "b-mlp", skill=0.7)
    write_run(root, "c-guess", head="linear", modalities=("audio",), seeds=(0,), never=MINOR)
    write_run(root, HOSTILE_FOLDER, skill=0.45, head=HOSTILE)
    write_run(root, "late", done=False)
    write_run(
        root,
        "s",
        corpus="sample",
        fingerprint="aa" * 32,
        labels=("joy", HOSTILE, "neutral"),
    )
    return root


@pytest.fixture(scope="module")
def runs(root) -> list[Run]:
    order = ("a-text", "c-guess", HOSTILE_FOLDER, "b-mlp")
    return [Run(root / "meld" / name) for name in order]


@pytest.fixture(scope="module")
def page(root, runs) -> tuple[str, Page]:
    to = root / "out" / "report.html"
    _, unfinished = list_runs(root, "meld")
    report(runs, to=to, baseline=runs[0], unfinished=unfinished)
    assert [entry.name for entry in to.parent.iterdir()] == ["report.html"]  # no part left
    text = to.read_text()
    return text, Page(text)


@pytest.fixture
def copied(runs, tmp_path) -> Run:
    """A run of one's own, to damage."""
    return Run(Path(shutil.copytree(runs[-1].path, tmp_path / "meld" / "b-mlp")))


def edited(run: Run, name: str, change) -> Run:
    found = json.loads((run.path / name).read_text())
    change(found)
    (run.path / name).write_text(json.dumps(found))
    return Run(run.path)


def test_the_page_needs_nothing_else(page):
    text, parsed = page
    assert parsed.open == []  # every tag is closed, in order
    assert asks_nobody(text, parsed)
    assert len(text.encode()) < 4 * 100_000  # bytes, of four runs


def test_ids_are_unique_and_every_reference_has_one(page):
    text, parsed = page
    ids = [attrs["id"] for _, attrs in parsed.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    used = {attrs["href"][1:] for tag, attrs in parsed.tags if tag in ("a", "use")}
    used |= set(re.findall(r"url\(#([^)]*)\)", text))
    used |= {attrs["aria-labelledby"] for _, attrs in parsed.tags if "aria-labelledby" in attrs}
    assert used <= set(ids)
    assert {f"run-{i}" for i in range(1, 5)} <= used


def test_each_run_has_its_pictures_and_one_is_open(page, runs):
    _, parsed = page
    assert all(attrs["role"] == "img" for tag, attrs in parsed.tags if tag == "svg")
    assert all(parsed.pictures())
    for run in runs:
        own = [said for said in parsed.pictures() if run.name in said and "map" not in said]
        assert len(own) == 5  # two of curves, confusion, classes, reliability
    folds = [attrs for tag, attrs in parsed.tags if tag == "details"]
    assert len(folds) == len(runs)
    assert sum("open" in attrs for attrs in folds) == 1


def test_pictures_take_the_colours_of_the_page(page):
    text, _ = page
    pictures = "".join(re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL))
    assert "var(--dev)" in pictures
    assert "var(--train)" in pictures
    assert not re.search(r"#[0-9a-f]{6}\b(?!\")", pictures.replace("url(#", "").replace('="#', ""))


def test_names_are_text_never_markup(page, root, tmp_path):
    _, parsed = page
    assert HOSTILE_FOLDER in parsed.text
    assert HOSTILE in parsed.text
    assert parsed.count("i") == 0
    to = tmp_path / "r.html"
    report([Run(root / "sample" / "s")], to=to)
    parsed = Page(to.read_text())
    assert HOSTILE in parsed.text
    assert HOSTILE not in to.read_text()


def test_the_table_is_the_metrics(page, runs):
    _, parsed = page
    groups, head, *lines = parsed.table("Run")
    assert groups == ["Run", "Head", "Modalities", "test", "dev", "ensemble", "Δ baseline"]
    both = ["accuracy", "weighted F1"]
    assert head == [*both, "macro F1", "UAR", *both, "weighted F1", *both]
    floor = runs[0].metrics["test"]["majority"]
    assert lines[0][0] == "majority: neutral"
    assert lines[0][3:5] == [f"{100 * floor[m]:.1f}" for m in ("accuracy", "weighted_f1")]
    for line, run in zip(lines[1:], runs, strict=True):
        assert line[0].startswith(run.name)
        assert ("chosen on dev" in line[0]) == (run.name == "b-mlp")
        assert ("baseline" in line[0]) == (run is runs[0])
        assert line[1] == run.metrics["head"]
        stat = run.metrics["test"]["weighted_f1"]
        spread = f" ± {100 * stat['std']:.1f}" if len(run.metrics["seeds"]) > 1 else ""
        low, high = 100 * stat["low"], 100 * stat["high"]
        assert line[4] == f"{100 * stat['mean']:.1f}{spread}[{low:.1f}, {high:.1f}]"
        ensemble = run.metrics["test"]["ensemble"]["weighted_f1"]
        assert line[9] == f"{100 * ensemble:.1f}"
        uar = run.metrics["test"]["uar"]
        assert line[6].startswith(f"{100 * uar['mean']:.1f}")
        assert line[6].endswith(f"[{100 * uar['low']:.1f}, {100 * uar['high']:.1f}]")
    first, last = (run.metrics["test"]["accuracy"]["mean"] for run in (runs[0], runs[-1]))
    assert lines[-1][10].startswith(f"{100 * (last - first):+.1f}*[".replace("-", "−"))
    assert lines[-1][10].endswith("]p < 0.001")
    assert lines[1][10] == "–"  # the baseline itself


def test_the_table_of_classes_is_the_metrics(page, runs):
    _, parsed = page
    classes = parsed.table("Emotion")[1:]
    assert [line[0].split(" never")[0].strip() for line in classes] == list(LABELS)
    expected = runs[0].metrics["test"]["per_class"][0]
    assert classes[0][2] == f"{100 * expected['precision']:.1f}"
    assert classes[0][1] == str(expected["support"])
    assert "never predicted" in classes[LABELS.index("fear")][0]
    assert "never predicted" not in classes[LABELS.index("joy")][0]


def test_the_confusion_holds_the_counts(runs):
    from erc_fusion.report import plots_run
    from erc_fusion.report.results import row

    found = row(runs[-1])
    assert found.test is not None
    drawn = plots_run.confusion(found, found.test, "test", "c")
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", drawn)
    counts = [f"{cell:.0f}" for line in found.test.confusion for cell in line]
    assert [text for text in texts if text.isdigit()] == counts


def test_curves_are_four_and_reproducible(runs):
    from erc_fusion.report import plots_run
    from erc_fusion.report.results import row

    found, history = row(runs[-1]), runs[-1].history()
    for metric in ("loss", "accuracy"):
        drawn = plots_run.curves(found, history, metric, metric)
        # two splits, each a line for every seed and one for the mean
        lines = re.findall(r'<path d="M [^"]*" clip-path[^>]*(?:--train|--dev)', drawn)
        assert len(lines) == 2 * (len(found.seeds) + 1)
        assert drawn == plots_run.curves(found, history, metric, metric)


def test_the_best_of_each_column_is_bold(runs):
    table = tabulate(report(runs, to=None))
    for column in range(len(table.headings)):
        cells = [line.cells[column] for line in table.lines]
        best = max(cell.value for cell in cells if cell.value is not None)
        marked = [cell.value for cell in cells if cell.best]
        assert best in marked
        assert all(round(100 * (best - value), 6) < 0.1 for value in marked)


def test_terminal_and_json_say_the_same(runs):
    comparison = report(runs, to=None, baseline=runs[0])
    data = json.loads(json.dumps(as_dict(comparison)))
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(rich_table(comparison))
    shown = console.export_text()
    assert "…" not in shown  # nothing is cut in 80 columns
    assert f"{100 * data['majority']['test']['weighted_f1']:.1f}" in shown
    for entry in data["runs"]:
        assert entry["name"] in shown
        stat = entry["test"]["accuracy"]
        assert f"{100 * stat['mean']:.1f}" in shown
        assert f"[{100 * stat['low']:.1f}, {100 * stat['high']:.1f}]" in shown
    assert data["runs"][0]["test"]["confusion"] == runs[0].metrics["test"]["confusion"]
    assert data["runs"][0]["dev"]["macro_f1"] == runs[0].metrics["dev"]["macro_f1"]
    assert data["baseline"] == "a-text"
    assert data["best_on_dev"] == "b-mlp"
    assert data["fingerprint"] == "5f" * 32


def test_a_name_in_richs_markup_stays_a_name(root, tmp_path):
    run = write_run(tmp_path, "[red]m[red]", skill=0.5)
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(rich_table(report([run], to=None)))
    assert "[red]m[red]" in console.export_text()


def test_dev_chooses_and_the_sentence_says_what_that_gives_on_test(runs):
    comparison = report(runs, to=None)
    best = max(runs, key=lambda run: run.metrics["dev"]["accuracy"]["mean"])
    assert comparison.best is not None
    assert comparison.best.name == best.name == "b-mlp"
    first, second, last = sentences(comparison)
    test = best.metrics["test"]
    over = 100 * (test["accuracy"]["mean"] - test["majority"]["accuracy"])
    low, high = (100 * test["accuracy"][end] for end in ("low", "high"))
    assert "Of 4 runs, b-mlp has the highest dev accuracy" in first
    assert "over 3 seeds" in first
    assert f"95% interval [{low:.1f}, {high:.1f}], {over:.1f} points above always" in first
    assert f"always predicting neutral ({100 * test['majority']['accuracy']:.1f})." in first
    for run in runs:
        low, high = (run.metrics["test"]["weighted_f1"][end] for end in ("low", "high"))
        near = low <= test["weighted_f1"]["high"] and test["weighted_f1"]["low"] <= high
        assert (run.name in second) == near  # its own name is in it too
    assert "chosen on dev, so dev figures flatter" in last


def test_what_reads_the_same_is_not_higher(runs, copied, tmp_path):
    other = Run(Path(shutil.copytree(runs[0].path, tmp_path / "meld" / "other")))
    score = copied.metrics["test"]["weighted_f1"]["mean"]
    mean = (round(1000 * score) + 0.4) / 1000  # higher, and the same to a tenth of a percent
    assert mean > score
    twin = edited(other, "metrics.json", lambda m: m["test"]["weighted_f1"].update(mean=mean))
    assert "higher weighted F1" not in " ".join(sentences(report([copied, twin], to=None)))


def test_several_versions_are_said(runs, copied):
    assert "made by" not in " ".join(sentences(report(runs, to=None)))
    newer = edited(copied, "inputs.json", lambda m: m["versions"].update(torch="2.12.0"))
    said = sentences(report([runs[0], newer], to=None))[-2]
    assert "made by torch 2.11.0 and 2.12.0" in said


def test_better_on_test_is_said_but_not_chosen(runs, copied, tmp_path):
    other = Run(Path(shutil.copytree(runs[0].path, tmp_path / "meld" / "other")))

    def lift(metrics):
        for stat in (metrics["test"]["weighted_f1"], metrics["test"]["accuracy"]):
            stat.update(mean=0.99, low=0.98, high=1.0)

    comparison = report([copied, edited(other, "metrics.json", lift)], to=None)
    assert comparison.best is not None
    assert comparison.best.name == "b-mlp"
    said = sentences(comparison)[1]
    assert "overlaps that of no other run" in said
    assert "On test other has the higher weighted F1" in said


def test_the_monitor_that_all_share_chooses(runs, copied):
    weighted = edited(copied, "metrics.json", lambda m: m.update(monitor="weighted_f1"))
    assert report([weighted], to=None).monitor == "weighted_f1"
    assert report([weighted, runs[0]], to=None).monitor == "accuracy"  # they differ


def test_warnings(runs):
    text, guess, _, mlp = report(runs, to=None).rows
    assert any("disgust and fear" in line for line in warnings(text, "test"))
    assert any("nothing was learned" in line for line in warnings(guess, "test"))
    assert any("One seed only" in line for line in warnings(guess, "test"))
    assert warnings(mlp, "test") == ()


def test_nothing_learned_is_said_of_predictions_and_not_of_a_coincidence(copied):
    floor = copied.metrics["test"]["majority"]["accuracy"]
    for mean, said in ((floor, "reaches down to"), (floor - 0.1, "test accuracy is below")):
        change = {"mean": mean, "low": mean - 0.02, "high": mean + 0.02}
        run = edited(copied, "metrics.json", lambda m, c=change: m["test"]["accuracy"].update(c))
        (found,) = warnings(report([run], to=None).rows[0], "test")
        assert said in found
        assert "nothing was learned" not in found


def test_what_the_run_warned_of_is_shown_again(copied, tmp_path):
    run = edited(copied, "metrics.json", lambda m: m.update(warnings=["3 rows <lack> text."]))
    made = report([run], to=tmp_path / "r.html")
    assert warnings(made.rows[0], "test") == ("3 rows <lack> text.",)
    assert "3 rows <lack> text." in Page((tmp_path / "r.html").read_text()).text


def test_without_labelled_test_rows_only_dev_is_shown(tmp_path):
    run = write_run(tmp_path, "m", without=("test",))
    to = tmp_path / "r.html"
    comparison = report([run], to=to)
    assert comparison.split == "dev"
    assert "test split has no labelled rows" in " ".join(sentences(comparison))
    parsed = Page(to.read_text())
    groups, head = parsed.table("Run")[:2]
    assert (groups[3], head[0]) == ("dev", "accuracy")
    assert "test" not in groups


def test_without_any_label_the_page_still_stands(tmp_path):
    run = write_run(tmp_path, "m", without=("dev", "test"))
    to = tmp_path / "r.html"
    comparison = report([run], to=to)
    assert comparison.best is None
    assert "nothing here was chosen on dev" in sentences(comparison)[0]
    pictures = Page(to.read_text()).pictures()
    assert not any("confusion" in said or "map" in said for said in pictures)
    assert sum("by epoch" in said for said in pictures) == 2  # of train alone
    Console(file=io.StringIO()).print(rich_table(comparison))


def test_unfinished_runs_are_named(page, root, runs):
    _, parsed = page
    assert str(root / "meld" / "late") in parsed.text
    assert "run the same erc fuse again" in parsed.text
    comparison = report([*runs, Run(root / "meld" / "late")], to=None)
    assert as_dict(comparison)["unfinished"] == [str(root / "meld" / "late")]
    assert len(comparison.rows) == len(runs)


def test_nothing_to_report_says_erc_fuse(root):
    with pytest.raises(RunError, match=r"No finished run.*erc fuse"):
        report([], to=None)
    late = root / "meld" / "late"
    with pytest.raises(RunError, match=r"(?s)Not finished:.*late.*same `erc fuse` again"):
        report([Run(late)], to=None)
    with pytest.raises(RunError, match="no run there"):
        report([Run(root / "meld" / "absent")], to=None)
    with pytest.raises(RunError, match="--baseline"):
        report([], to=None, baseline=Run(late))


def test_corpora_are_never_mixed(root, runs, tmp_path):
    other = Run(root / "sample" / "s")
    with pytest.raises(RunError) as caught:
        report([*runs, other], to=tmp_path / "r.html")
    said = str(caught.value)
    assert "2 corpora" in said
    assert "--corpus meld" in said
    assert str(other.path) in said
    assert str(runs[0].path) in said
    with pytest.raises(RunError, match="2 corpora"):
        report(runs, to=None, baseline=other)
    changed = write_run(tmp_path, "n", fingerprint="bb" * 32)
    with pytest.raises(RunError, match=r"(?s)2 versions of a corpus.*bbbbbbbbbbbb.*erc report"):
        report([runs[0], changed], to=None)
    assert not (tmp_path / "r.html").exists()


def test_a_run_given_twice_counts_once_and_a_baseline_comes_first(runs):
    comparison = report([runs[1], runs[1], runs[3]], to=None, baseline=runs[0])
    assert [row.name for row in comparison.rows] == ["a-text", "c-guess", "b-mlp"]
    comparison = report(runs, to=None, baseline=runs[3])
    assert [row.name for row in comparison.rows] == [run.name for run in runs]


def test_a_damaged_run_is_named(copied, runs, tmp_path):
    to, whole = tmp_path / "r.html", runs[-1].path
    broken = edited(copied, "metrics.json", lambda m: m["test"].pop("accuracy"))
    with pytest.raises(RunError, match=r"metrics.json is damaged.*accuracy.*--overwrite"):
        report([broken], to=to)
    for bad in (float("nan"), float("inf")):
        other = Run(Path(shutil.copytree(whole, tmp_path / f"{bad}" / "b-mlp")))
        broken = edited(other, "metrics.json", lambda m, x=bad: m["dev"]["accuracy"].update(mean=x))
        with pytest.raises(RunError, match=rf"metrics.json is damaged.*a finite number, not {bad}"):
            report([broken], to=None)
    broken = edited(copied, "inputs.json", lambda m: m.pop("fingerprint"))
    with pytest.raises(RunError, match=r"damaged"):
        report([broken], to=to)
    assert not to.exists()


def test_damaged_history_or_settings_leave_the_old_page(copied, tmp_path):
    to = tmp_path / "r.html"
    to.write_text("the report of yesterday")
    lines = (copied.path / "history.jsonl").read_text().splitlines(keepends=True)
    (copied.path / "history.jsonl").write_text('{"seed": 0}\n')
    with pytest.raises(RunError, match="is damaged"):
        report([copied], to=to)
    (copied.path / "history.jsonl").write_text("")
    with pytest.raises(RunError, match=r"history\.jsonl is damaged \(no epoch of seed 0, 1, 2\)"):
        report([copied], to=to)
    (copied.path / "history.jsonl").write_text("".join(lines))
    for damaged in (b"\xff", b""):
        (copied.path / "config.toml").write_bytes(damaged)
        with pytest.raises(RunError, match=r"config\.toml is damaged"):
            report([copied], to=to)
    assert to.read_text() == "the report of yesterday"


def test_a_place_that_cannot_be_written(runs, tmp_path):
    (tmp_path / "file").write_text("")
    for to in (tmp_path / "file" / "r.html", tmp_path, Path("/proc/r.html")):
        with pytest.raises(ErcError, match=r"cannot be written.*--to"):
            report(runs[:1], to=to)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert not list(tmp_path.parent.glob("*.part"))
