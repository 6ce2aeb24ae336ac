"""The commands up to a corpus: parse, one call, print. See `cli.py`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from erc_features.cli.options import (
    CORPUS,
    RAW,
    JobsOption,
    JsonOption,
    command_of,
    option,
)

commands = typer.Typer()
command = command_of(commands)


@command(epilog="Example: erc sample data/raw && erc prepare data/raw --to data/sample")
def sample(
    dest: Annotated[Path, typer.Argument(help="A folder that is empty or does not exist yet.")],
    seed: Annotated[int, option("Random seed; the same seed renders the same corpus.")] = 0,
    jobs: JobsOption = None,
) -> None:
    """Render a small raw corpus in the shape of MELD.

    Faces, voices and sentences show an emotion each; some of MELD's defects are in it as well.
    """
    from erc_features import terminal
    from erc_features.sample.sample import sample as run

    with terminal.bar() as progress:
        made = run(dest, seed=seed, jobs=jobs, progress=lambda *at: progress("sample", *at))
    terminal.show(f"{dest}: {sum(made.utterances)} utterances, {made.clips} clips, "
                  f"{made.seconds:.0f} s; broken on purpose:")  # fmt: skip
    terminal.show(*(f"  {kind}: {where}" for kind, where in made.defects.items()))


@command(epilog="Example: erc download && erc prepare data/raw/MELD.Raw --to data/meld")
def download(
    owner: Annotated[str, option("Owner of the dataset on Kaggle.")] = "zaber666",
    name: Annotated[str, option("Name of the dataset on Kaggle.")] = "meld-dataset",
    subdir: Annotated[
        str, option("Fetch only what lies below this folder; '' fetches everything.")
    ] = "MELD-RAW/MELD.Raw",
    to: Annotated[Path, option("Folder to write to, under the last part of --subdir.")] = RAW,
    unpack: Annotated[bool, option("Unpack archives, each beside itself.")] = True,
    keep_archives: Annotated[
        bool, option("Keep archives that have been unpacked.", "--keep-archives")
    ] = False,
    connections: Annotated[int, option("Number of files to fetch at the same time.")] = 8,
    as_json: JsonOption = False,
) -> None:
    """Download MELD, or any other dataset, from Kaggle.

    Files that are there already are skipped; an interrupted download goes on where it stopped.
    """
    from erc_features import terminal
    from erc_features.acquire.download import download as run

    with terminal.bar(of_bytes=True) as progress, terminal.resumable():
        made = run(owner, name, subdir, to, unpack=unpack, keep_archives=keep_archives,
                   connections=connections, progress=progress,
                   announce=lambda needs: terminal.err.print(str(needs), markup=False))  # fmt: skip
    return terminal.show_json(asdict(made)) if as_json else terminal.show(made)


@command(epilog="Example: erc prepare data/raw/MELD.Raw --to data/meld --frames 5")
def prepare(
    raw: Annotated[Path, typer.Argument(help="Folder or archive of the raw data.")],
    to: Annotated[str, option("Folder of the new corpus, or the URL of a bucket.")],
    frames: Annotated[int, option("Number of frames of each clip, stacked in one PNG.")] = 5,
    height: Annotated[int, option("Height of each frame in pixels.")] = 240,
    jobs: JobsOption = None,
    kind: Annotated[
        str | None, option("Name of the corpus. [default: recognised by its files]")
    ] = None,
    strict: Annotated[bool, option("Treat every defect as an error.", "--strict")] = False,
    force: Annotated[
        bool, option("Prepare again a corpus that was made with other settings.", "--force")
    ] = False,
) -> None:
    """Turn raw data into a corpus: a table, pictures and sounds.

    The table is in first normal form, with a PNG mosaic and a 16 kHz WAV for each utterance.
    An interrupted preparation goes on where it stopped.
    """
    from erc_features import terminal
    from erc_features.acquire.upload import folder_of, is_url, upload
    from erc_features.cli import printing
    from erc_features.preparation.decode import Decode
    from erc_features.preparation.prepare import prepare as run

    with terminal.bar() as progress, terminal.resumable():
        made = run(raw, folder_of(to), kind=kind, decode=Decode(frames, height), jobs=jobs,
                   strict=strict, force=force, say=terminal.err.print,
                   progress=lambda *at: progress("prepare", *at))  # fmt: skip
        sent = upload(made.corpus.root, to, progress) if is_url(to) else None
    printing.show_prepared(made)
    return terminal.show(*([f"{to}: {sent[0]} files sent, {sent[1]} there before"] if sent else []))


@command(epilog="Example: erc doctor data/meld --html doctor.html")
def doctor(
    corpus: Annotated[
        Path, typer.Argument(envvar="ERC_CORPUS", help="Folder or CSV of a corpus, or raw data.")
    ] = CORPUS,
    html: Annotated[
        Path | None, option("Also write an HTML page, with utterances to see and hear.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a corpus holds, what is wrong with it, and what leaks.

    Labels, speakers, every defect, and what one split shares with another; nothing is changed.
    """
    from erc_features import terminal
    from erc_features.doctor.doctor import doctor as run
    from erc_features.doctor.page import write_page
    from erc_features.doctor.tables import show

    with terminal.bar() as progress:
        found = run(corpus, progress=lambda *at: progress("sound", *at))
    page = write_page(found, html).resolve() if html else None
    if as_json:
        return terminal.show_json(found.as_dict() | ({"page": page} if page else {}))
    show(found)
    return terminal.show(*([f"The page: {page}"] if page else []))
