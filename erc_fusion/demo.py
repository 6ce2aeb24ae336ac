"""`erc demo`: the whole pipeline on a rendered corpus, offline, in one folder.

demo/raw  demo/data/sample  demo/features  demo/runs  demo/report.html
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from erc_features.corpora.manifest import INFO
from erc_features.errors import ErcError
from erc_features.extraction.extract import extract
from erc_features.preparation.decode import Decode
from erc_features.preparation.prepare import prepare
from erc_features.sample.sample import DIALOGUES, sample
from erc_fusion.config.config import FuseConfig, with_options
from erc_fusion.fuse import fuse

if TYPE_CHECKING:
    from erc_fusion.report import Comparison

# name of the run: head, modalities (empty: all three)
LADDER: dict[str, tuple[str, tuple[str, ...]]] = {
    "text": ("mlp", ("text",)),
    "audio": ("mlp", ("audio",)),
    "visual": ("mlp", ("visual",)),
    "mlp": ("mlp", ()),
    "attention": ("attention", ()),
    "triplet": ("triplet", ()),
}


@dataclass(frozen=True)
class Demo:
    """What the demo made: the page, and the comparison on it."""

    report: Path
    comparison: "Comparison"


def demo(
    to: Path | str = "demo",
    *,
    seed: int = 0,
    dialogues: tuple[int, int, int] = DIALOGUES,
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4),
    progress: Callable[[str, int, int], None] | None = None,
    say: Callable[[str], object] = lambda line: None,
) -> Demo:
    """Render, prepare, extract, fuse six runs, report. Run again, it does only what is left.

    Args:
        seed: of the rendered corpus.
        dialogues: how many of train, dev and test to render.
        seeds: of each run.
        progress: called with (what, done, total).
        say: called with a line before each step.

    Raises:
        ErcError: `to` holds something else, or can't be written.
    """
    to = Path(to)
    update = progress or (lambda what, done, total: None)
    raw, corpus = to / "raw", to / "data" / "sample"
    made = (corpus / INFO).is_file()
    if not made and not _rendered(raw):
        say(f"1/5 sample: rendering faces and voices into {raw}")
        sample(raw, seed=seed, dialogues=dialogues, progress=lambda *at: update("sample", *at))
    try:
        return _from_raw(raw, corpus, to, seeds, update, say)
    except ErcError as error:
        if not made:
            raise
        raise ErcError(
            f"The demo cannot go on in {to}, which was made by another version of erc or with "
            f"another seed: remove the folder, or choose another with --to. ({error})"
        ) from error


def _from_raw(
    raw: Path,
    corpus: Path,
    to: Path,
    seeds: Sequence[int],
    update: Callable[[str, int, int], None],
    say: Callable[[str], object],
) -> Demo:
    """Prepare, extract, fuse and report what was rendered."""
    say(f"2/5 prepare: a picture and a sound for each utterance in {corpus}")
    # The clips are 120 pixels high: larger pictures would show nothing more.
    prepare(raw, corpus, decode=Decode(height=120), progress=lambda *at: update("prepare", *at))
    say("3/5 extract: the baseline of each modality")
    extract(corpus, features=to / "features", encoder="baseline", progress=update)
    say(f"4/5 fuse: {len(LADDER)} runs of {len(seeds)} seeds each")
    base = with_options(
        FuseConfig(corpus="sample"),
        seeds=tuple(seeds),
        features=str(to / "features"),
        runs=str(to / "runs"),
        device="cpu",
    )
    runs = []
    for name, (head, modalities) in LADDER.items():
        config = with_options(base, head=head, modalities=modalities, name=name)
        done = fuse(config, progress=lambda at, w=f"fuse {name}": update(w, at.epoch, at.epochs))
        runs.append(done.run)
    say("5/5 report")
    from erc_fusion.report import report

    page = to / "report.html"
    return Demo(page, report(runs, to=page))


def _rendered(raw: Path) -> bool:
    """Whether `sample` finished here: it writes the annotations last."""
    names = [f"{split}_sent_emo.csv" for split in ("train", "dev", "test")]
    found = [any(raw.rglob(name)) for name in names]
    if not all(found) and raw.is_dir() and any(raw.iterdir()):
        raise ErcError(
            f"{raw} holds an unfinished sample, or something else. Remove it, or choose another "
            "folder with --to."
        )
    return all(found)
