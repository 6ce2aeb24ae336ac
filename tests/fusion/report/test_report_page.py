"""The page shows each kind of evidence where runs have it, and is silent where they have not."""

import html
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tomli_w
from pages import Page, asks_nobody
from report_runs import LABELS, write_corpus, write_run

from erc_fusion.report import report
from erc_fusion.report.comparison import Comparison
from erc_fusion.report.maps import MOST, maps, points
from erc_fusion.report.mistakes import pick
from erc_fusion.report.page import render
from erc_fusion.report.results import row
from erc_fusion.runs.ladder import Candidate, Ladder, Rung, Scaled
from erc_fusion.runs.run import Run

HOSTILE = "<i>x</i> & \"'$"
TRIED = (
    Candidate({"dropout": 0.1, "weight_decay": 0.01}, 0.61, 0.01),
    Candidate({"dropout": 0.5, "weight_decay": 0.1}, 0.64, 0.02),
)
RUNGS = (
    Rung("baseline", "1. Baseline", "hashed words", "base", "", Scaled(128, 0.993, True), TRIED),
    Rung("visual", "2. Better visual", HOSTILE, None, f"no visual features {HOSTILE}"),
    Rung("fusion", f"3. {HOSTILE}", "attention", "fusion", "", Scaled(1024, 0.71, False), ()),
    Rung("triplet", "4. Triplet loss", "contrastive: triplet", "triplet"),
    Rung("final", "5. Final model", "the best on dev", "fusion"),
)


def contrastive(run: Run, loss: str) -> Run:
    (run.path / "config.toml").write_text(tomli_w.dumps({"loss": {"contrastive": loss}}))
    return Run(run.path)


def aged(run: Run) -> Run:
    """The run as an older erc left it."""
    metrics = json.loads((run.path / "metrics.json").read_text())
    for key in ("layers", "weighing"):
        del metrics[key]
    for split in ("dev", "test"):
        for key in ("reliability", "slices"):
            del metrics[split][key]
    (run.path / "metrics.json").write_text(json.dumps(metrics))
    table = run.predictions().drop(columns=["pca_1", "pca_2", "missing"])
    table.to_parquet(run.path / "predictions.parquet", index=False)
    return Run(run.path)


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> tuple[Comparison, str, Page]:
    """Three rungs with media beside the mistakes of the final one, and one rung not run."""
    root = tmp_path_factory.mktemp("study")
    corpus = root / "data" / "meld"
    corpus.mkdir(parents=True)
    fingerprint = write_corpus(corpus)

    def run(name: str, **more) -> Run:
        return write_run(root, name, fingerprint=fingerprint, seeds=(0, 1), **more)

    runs = [
        run("base", skill=0.35, modalities=("text",)),
        run("fusion", skill=0.6, head="attention"),
        contrastive(run("triplet", skill=0.5, head="triplet"), "triplet"),
    ]
    keys = [each.key for each in pick(row(runs[1]), "test", None, sound=False)]
    write_corpus(corpus, keys[:2])
    ladder = Ladder("objectives", "meld", fingerprint, "accuracy", RUNGS, "final")
    to = root / "r.html"
    comparison = report(runs, to=to, ladder=ladder, corpus_root=corpus, sound=True)
    text = to.read_text()
    return comparison, text, Page(text)


def test_a_ladder_stands_in_the_headline(study):
    _, text, page = study
    groups, names, majority, *lines = page.table("Step")
    assert groups == ["Step", "test", "dev", "Δ before", "Δ baseline"]
    assert names == ["accuracy", "weighted F1"] * 4
    assert majority[0] == "majority: neutral"
    assert [line[0].split(".")[0] for line in lines] == ["1", "2", "3", "4", "5"]
    assert lines[1][1:] == [f"not run: no visual features {HOSTILE}"]
    assert "chosen on dev" in lines[4][0]
    assert re.search(r"\]p (< )?0\.\d{3}$", lines[2][5])  # of the difference to the rung before
    assert re.fullmatch(r"[\d.]+ ± [\d.]+\[[\d.]+, [\d.]+\]", lines[2][1])
    assert page.text.count("Significant:") == 1
    assert {"#run-1", "#run-2", "#run-3"} == {
        attrs["href"] for tag, attrs in page.tags if tag == "a"
    }
    assert text.count('colspan="8"><span>not run') == 1


def test_how_a_rung_was_chosen_is_told_with_its_run(study):
    _, _, page = study
    assert "a width of 128 fits train in the epochs given: accuracy 99.3" in page.text
    assert (
        "1024 does not fit train in the epochs given: accuracy 71.0 in the last. More" in page.text
    )
    assert page.table("Settings tried")[1:] == [
        ["dropout 0.1, weight_decay 0.01", "61.0 ± 1.0"],
        ["dropout 0.5, weight_decay 0.1", "64.0 ± 2.0"],
    ]


def test_each_kind_of_picture_is_there_where_its_data_is(study):
    comparison, _, page = study
    said = page.pictures()
    for each in comparison.rows:
        assert sum(f"accuracy of {each.name} on test by confidence" in name for name in said) == 1
    assert sum("weight of each feature file" in name for name in said) == 1  # of the attention head
    files = sum(len(each.layers) for each in comparison.rows)
    assert sum("weight of each layer of" in name for name in said) == files > 0
    assert [name for name in said if "map" in name] == [  # without and with, side by side
        "map of the embeddings of fusion, points by class",
        "map of the embeddings of triplet, points by class",
    ]
    assert "with the triplet loss" in page.text


def test_slices_are_tables_beside_each_other(study):
    comparison, _, page = study
    best = comparison.best
    assert best is not None
    assert best.test is not None
    for corner, by in (("Speaker", "speaker"), ("Words", "length"), ("Missing", "missing")):
        # Runs stand in the ladder's order; the best is the second.
        found = [lines for lines in page.tables if lines[0][0] == corner][1]
        assert [line[:3] for line in found[1:]] == [
            [each.value, f"{each.rows:,}", f"{100 * each.accuracy:.1f}"]
            for each in best.test.slices[by]
        ]


def test_mistakes_are_cards_with_pictures_and_sound(study):
    comparison, text, page = study
    best = comparison.best
    assert best is not None
    expected = pick(best, "test", None, sound=False)
    assert page.count("article") == len(expected) == 8
    assert page.count("img") == page.count("audio") == 2
    for each in expected:
        assert each.key in page.text
        sure = "> 99" if each.confidence >= 0.995 else f"{100 * each.confidence:.0f}"
        assert f"{each.predicted}, {sure} %" in page.text
    assert asks_nobody(text, page)


def test_published_figures_have_a_block_of_their_own(study):
    comparison, _, page = study
    lines = page.table("System")[1:]
    assert lines[0][:2] == ["HLM12ERC", "57"]  # 260 rows are not MELD's test split
    assert "reported, not reproduced" in page.text
    assert not any("EmoBERTa" in cell for line in page.table("Step") for cell in line)
    corpus = replace(comparison.corpus, counts={"test": 2610})
    whole = replace(comparison, corpus=corpus, rows=comparison.rows[:1], ladder=None)
    assert Page(render(whole)).table("System")[1][0] == "ours: base"
    rows = tuple(replace(each, test=None) for each in whole.rows)
    dev_only = replace(whole, rows=rows, baseline=None, paired={})
    assert Page(render(dev_only)).table("System")[1][0] == "HLM12ERC"


def test_hostile_names_are_text(study):
    _, text, page = study
    assert page.open == []
    assert page.text.count(HOSTILE) >= 4
    assert page.count("i") == 0
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    used = set(re.findall(r"url\(#([^)]*)\)", text))
    used |= {attrs["href"][1:] for tag, attrs in page.tags if tag in ("a", "use")}
    assert used <= set(ids)


def test_an_older_run_shows_what_it_has(tmp_path):
    run = aged(write_run(tmp_path, "old", head="attention", seeds=(0,), labels=("joy", "neutral")))
    report([run], to=tmp_path / "r.html")
    page = Page((tmp_path / "r.html").read_text())
    assert len(page.pictures()) == 2 + 4
    assert not any(
        word in said for said in page.pictures() for word in ("map of", "layer", "weight of")
    )
    assert "By slice" not in page.text
    assert "Published figures" not in page.text  # its labels are not MELD's
    assert page.count("img") == page.count("audio") == 0


def test_without_a_ladder_the_best_of_each_kind_is_mapped(study):
    comparison, _, _ = study
    alone = replace(comparison, ladder=None)
    best = comparison.rows[1]
    assert [found.row.name for found in maps(alone, best)] == ["fusion", "triplet"]
    plain = replace(alone, rows=alone.rows[:2])
    assert [found.row.name for found in maps(plain, best)] == ["fusion"]


def test_a_map_is_a_sample_of_the_labelled_rows_of_one_seed(tmp_path):
    run = write_run(tmp_path, "m", seeds=(3, 4))
    table = run.predictions()
    first = table[(table["split"] == "test") & (table["seed"] == 3)]
    found = points(row(run), "test")
    assert found is not None
    assert found.rows == len(first) == len(found.at)
    assert (found.at == first[["pca_1", "pca_2"]].to_numpy(float)).all()
    assert (found.label == first["label"].to_numpy()).all()

    many = pd.concat([table.assign(seed=3)] * 8)  # as many as MELD's
    many.to_parquet(run.path / "predictions.parquet", index=False)
    found = points(row(run), "test")
    assert found is not None
    assert (found.rows, len(found.at), len(found.label)) == (16 * 260, MOST, MOST)
    shares = [np.mean(found.label == label) for label in LABELS]
    assert shares == pytest.approx([np.mean(first["label"] == label) for label in LABELS], abs=0.06)

    table.assign(pca_1=0.0, pca_2=0.0).to_parquet(run.path / "predictions.parquet", index=False)
    assert points(row(run), "test") is None  # too few rows for components


@pytest.fixture(scope="module")
def twenty(tmp_path_factory) -> Path:
    """A report of 20 runs of five seeds, with pictures beside the mistakes."""
    root = tmp_path_factory.mktemp("twenty")
    corpus = root / "data" / "meld"
    corpus.mkdir(parents=True)
    fingerprint = write_corpus(corpus)
    runs = [
        write_run(
            root,
            f"run-{i:02}-of-a-long-name-1a2b3c4d",
            skill=0.2 + i / 40,
            head=("mlp", "attention")[i % 2],
            modalities=("text", "audio", "visual"),
            seeds=(0, 1, 2, 3, 4),
            fingerprint=fingerprint,
        )
        for i in range(20)
    ]
    keys = [each.key for each in pick(row(runs[-1]), "test", None, sound=False)]
    write_corpus(corpus, keys)
    report(runs, to=root / "r.html", corpus_root=corpus)
    return root / "r.html"


@pytest.mark.soak
def test_twenty_runs_stay_under_three_megabytes(twenty):
    assert 500_000 < twenty.stat().st_size < 3_000_000


@pytest.mark.soak
@pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium here")
@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("scheme", ["0", "1"], ids=["dark", "light"])
def test_chromium_shows_it_without_an_error_or_a_request(twenty, tmp_path, width, scheme):
    """A copy of the page, all folds open, tells what it measures in the title of a page around it.

    In a frame, since Chromium's own window is never narrower than 500 pixels.
    """
    probe = """<script>
      document.querySelectorAll("details").forEach(fold => fold.open = true);
      const wide = [...document.querySelectorAll("body *")].filter(each =>
        each.getBoundingClientRect().right > innerWidth + 1 && !each.closest(".scroll, figure"));
      const seen = matchMedia("(prefers-color-scheme: dark)").matches;
      parent.document.title = JSON.stringify({
        inner: innerWidth, scroll: document.documentElement.scrollWidth, dark: seen,
        wide: wide.map(each => each.outerHTML.slice(0, 80)),
        pictures: [...document.querySelectorAll("svg, img")].filter(each =>
          each.getBoundingClientRect().width < 100).length,
      });
    </script></body>"""
    page = tmp_path / "page.html"
    copy = html.escape(twenty.read_text().replace("</body>", probe))
    page.write_text(
        '<!doctype html><html style="color-scheme: light dark"><title></title><body>'
        f'<iframe style="border: 0; width: {width}px; height: 2000px" srcdoc="{copy}"></iframe>'
    )
    done = subprocess.run(
        [
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={tmp_path / 'profile'}", "--hide-scrollbars",
            "--window-size=1600,2100", f"--blink-settings=preferredColorScheme={scheme}",
            "--enable-logging=stderr", f"--log-net-log={tmp_path / 'net.json'}",
            "--dump-dom", page.as_uri(),
        ],
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)
    assert title is not None
    found = json.loads(html.unescape(title[1]))
    assert found["inner"] == width
    assert found["scroll"] == width
    assert found["wide"] == []
    assert found["dark"] == (scheme == "0")
    assert found["pictures"] == 0
    # Chromium's own requests, for updates and the time, come from no page.
    asked = re.findall(
        r'"initiator":"(?!not an origin")[^\n]*"url":"(\w+:[^"]{0,60})',
        (tmp_path / "net.json").read_text(),
    )
    assert [url for url in asked if url.startswith(("http", "ws", "ftp"))] == []
