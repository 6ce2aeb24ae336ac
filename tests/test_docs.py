"""The documentation holds: every option is in it, what it names exists, and it can be followed."""

import os
import re
import runpy
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer
import yaml
from fusion_files import embeddings, make_corpus, write_features
from typer.testing import CliRunner

import cli
from erc_features import plugins
from erc_fusion.config.config import FuseConfig, with_options
from erc_fusion.fuse import fuse

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")])
WRITER = runpy.run_path(str(DOCS / "make_commands.py"))
COMMANDS = typer.main.get_command(cli.app).commands
OWN_HEAD = (DOCS / "own-head.md").read_text(encoding="utf-8")


def test_every_command_and_option_has_help_and_every_command_an_example():
    assert WRITER["lacking"]() == []


def test_the_page_of_commands_is_what_the_commands_are():
    written = (DOCS / "reference" / "commands.md").read_text(encoding="utf-8")
    assert written == WRITER["page"](), "out of date: make docs-commands"
    for name, command in COMMANDS.items():
        about = written.split(f"\n## erc {name}\n")[1].split("\n## ")[0]
        for one in command.params:
            assert f"| `{one.name.upper() if one.opts == [one.name] else one.opts[0]}`" in about


def test_a_command_without_documentation_is_found(monkeypatch):
    app = typer.Typer()

    @app.command(epilog="Example: erc known")
    def known(undescribed: int = 0) -> None:
        """Something."""

    @app.command()
    def unknown() -> None:
        pass

    monkeypatch.setattr(cli, "app", app)
    assert WRITER["lacking"]() == [
        "erc known --undescribed: no help",
        "erc unknown: no help text",
        "erc unknown: no example in its epilog",
    ]


def typed(page: Path) -> list[str]:
    """Every command line that starts with `erc` in a page's shell blocks."""
    blocks = re.findall(r"```(?:bash|sh)\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    parts = [part.strip() for line in lines for part in re.split(r"&&|\||;", line)]
    return [part for part in parts if re.match(r"(\w+=\S+ )*erc ", part)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_is_to_be_typed_exists(page):
    for line in typed(page):
        words = [word for word in shlex.split(line, comments=True) if "=" not in word[:12] or
                 word.startswith("-")]  # fmt: skip
        if words[1].startswith("-"):
            continue
        assert words[1] in COMMANDS, line
        known = {name for one in COMMANDS[words[1]].params
                 for name in (*one.opts, *one.secondary_opts)} | {"--help"}  # fmt: skip
        options = [word.split("=")[0] for word in words[2:] if word.startswith("--")]
        assert set(options) <= known, line


def test_every_make_target_that_is_named_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for page in PAGES:
        code = re.findall(r"`make ([a-z-]+)`|^make ([a-z-]+)", page.read_text(), re.M)
        assert {one or other for one, other in code} <= targets, page


def test_a_commit_is_checked_as_make_lint_checks_it():
    settings = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [one["repo"] for one in settings["repos"]] == ["local"]  # nothing is fetched
    make = (ROOT / "Makefile").read_text().replace("$(BIN)", ".venv/bin")
    lint = re.search(r"^lint:.*\n((?:\t.*\n)+)", make, re.M)
    assert lint
    for hook in settings["repos"][0]["hooks"]:
        assert hook["entry"].removesuffix(" --force-exclude") in lint[1]
    assert len(settings["repos"][0]["hooks"]) == len(lint[1].splitlines())


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The two files of own-head.md, on the path as pip would have put them there."""
    about, module = re.findall(r"```(?:toml|python)\n(.*?)```", OWN_HEAD, re.S)[:2]
    group = re.search(r'\[project.entry-points."(erc.heads)"\]\n(.*?)\n\n', about, re.S)
    assert group
    site = tmp_path / "site"
    installed = site / "erc_maxout-1.0.dist-info"
    installed.mkdir(parents=True)
    (site / "erc_maxout.py").write_text(module)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: erc-maxout\nVersion: 1.0\n")
    points = group[2].replace('"', "")
    (installed / "entry_points.txt").write_text(f"[{group[1]}]\n{points}\n")
    monkeypatch.syspath_prepend(site)
    yield about
    sys.modules.pop("erc_maxout", None)


def test_a_head_by_following_the_page(package, tmp_path):
    assert plugins.with_plugins("erc.heads", {})["maxout"] == "erc_maxout:MaxoutHead"
    corpus = make_corpus((24, 8, 8))
    for number, stem in enumerate(["text.a", "audio.b"]):
        x = embeddings(corpus, 2 - number, 8, signal=4, seed=number)
        write_features(tmp_path / "features" / "tiny", stem, corpus, x)
    settings = with_options(
        FuseConfig(corpus="tiny"), head="maxout", seeds=(0, 1), epochs=30, width=32, device="cpu",
        features=str(tmp_path / "features"), runs=str(tmp_path / "runs"),
    )  # fmt: skip
    scores = fuse(settings).run.metrics["test"]
    assert scores["majority"]["accuracy"] < 0.6 < 0.8 < scores["accuracy"]["mean"]


def test_the_pages_test_of_a_head_passes_and_can_fail(package):
    test = re.findall(r"```python\n(.*?)```", OWN_HEAD, re.S)[1]
    names: dict = {}
    exec(test, names)
    names["test_rows_and_seeds_stand_alone"]()
    import erc_maxout

    class Leaky(erc_maxout.MaxoutHead):
        def forward(self, x, present):
            out = super().forward(x, present)
            return out - out.mean(1, keepdim=True)  # over the batch

    names["MaxoutHead"] = Leaky
    with pytest.raises(AssertionError):
        names["test_rows_and_seeds_stand_alone"]()


def test_the_readers_ten_lines_of_the_format(tmp_path, monkeypatch):
    code = re.search(r"```python\n(.*?)```", (DOCS / "reference/format.md").read_text(), re.S)
    assert code
    corpus = make_corpus((4, 1, 1))
    x = embeddings(corpus, 2, 5)
    write_features(tmp_path / "features" / "meld", "audio.wav2vec2-base", corpus, x)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(code[1], names)
    assert names["x"].shape == (len(names["key"]), 5)
    assert set(names["label"]) <= {"anger", "joy", "neutral"}


class Addresses(HTMLParser):
    """What a browser fetches by itself to show a page; links to click are not among it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag != "a":
            self.found += [given[name] for name in ("src", "href", "srcset", "data", "poster")
                           if name in given]  # fmt: skip
        self.found += re.findall(r"url\(([^)]*)\)", given.get("style", ""))


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, built strictly; a dead link in it is an error."""
    missing = [name for name in ("mkdocs", "material", "mkdocstrings") if not find_spec(name)]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed: pip install -e '.[docs]'")
    to = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", to]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False,
                          env=os.environ | {"NO_MKDOCS_2_WARNING": "1"})  # fmt: skip
    assert done.returncode == 0, done.stderr
    return to


def test_the_site_is_built_strictly_and_asks_nothing_of_other_hosts(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) >= len(list(DOCS.rglob("*.md")))
    for page in pages:
        addresses = Addresses()
        text = page.read_text(encoding="utf-8")
        addresses.feed(text)
        assert len(addresses.found) > 2
        outside = [one for one in addresses.found if re.match(r"(https?:)?//", one.strip("'\" "))]
        assert outside == [], page
    for style in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*['\"]?(https?:)?//", style.read_text()), style


def test_the_reference_shows_examples_as_code_and_names_without_roles(site):
    text = (site / "reference" / "python.html").read_text(encoding="utf-8")
    assert 'class="gp">&gt;&gt;&gt;' in text  # the prompt, coloured
    assert not re.search(r":(mod|class|func|meth):", text)
    assert "<blockquote>" not in text
    for name in (
        "erc_features.open",
        "erc_features.FeatureFile.x",
        "erc_fusion.load_table",
        "erc_fusion.config.config.LossConfig",
        "erc_fusion.model.heads.base.Head.weigh",
    ):
        assert f'id="{name}"' in text


def erc(*arguments: str, **environment: str) -> str:
    command = [Path(sys.executable).parent / "erc", *arguments]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True,
                          check=False)  # fmt: skip
    return done.stdout


def test_version_names_what_a_bug_report_needs():
    lines = CliRunner().invoke(cli.app, ["--version"]).stdout.splitlines()
    assert re.fullmatch(r"erc \d+\.\d+\.\d+\S*", lines[0])
    assert lines[1].startswith(f"python {sys.version.split()[0]}, ")
    names = {line.split()[0] for line in lines[2:]}
    assert {"torch", "numpy", "h5py", "transformers", "open_clip_torch"} <= names
    assert re.match(r"devices: \d+ CPU cores, .*(CUDA|CPU only)", lines[-1])


def test_version_says_what_is_not_there(monkeypatch):
    monkeypatch.setattr(cli, "REPORTED", ("numpy", "never-heard-of"))
    monkeypatch.setitem(sys.modules, "torch", None)  # as a wheel that does not fit
    assert cli.versions()[3] == "never-heard-of not installed"
    assert "no GPU to be seen: ModuleNotFoundError" in cli.versions()[-1]


def test_the_shell_completes_commands_and_options():
    assert "_ERC_COMPLETE" in erc(_ERC_COMPLETE="source_bash")
    found = erc(_ERC_COMPLETE="complete_bash", COMP_WORDS="erc ex", COMP_CWORD="1").split()
    assert "extract" in found
    found = erc(_ERC_COMPLETE="complete_bash", COMP_WORDS="erc fuse --he", COMP_CWORD="2").split()
    assert "--head" in found


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_the_files_that_a_page_names_are_there(page):
    """And what it says to be in one of them: "a line in `HEADS`, `erc_fusion/…/__init__.py`"."""
    text = (ROOT / page).read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:erc_features|erc_fusion|tests|docs)/[\w./]+)`", text))
    assert len(named) > 15
    assert [name for name in named if "NAME" not in name and not (ROOT / name).exists()] == []
    for word, name in re.findall(r"`(\w+)`, `(erc_[\w/]+\.py)`", text):
        assert word in (ROOT / name).read_text(encoding="utf-8"), f"{name} has no {word}"
