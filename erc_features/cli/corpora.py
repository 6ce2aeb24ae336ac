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
)

commands = typer.Typer()


@command_of(commands, "erc sample data/raw && erc prepare data/raw --to data/sample")
def sample(dest: Path, seed: int = 0, jobs: JobsOption = None) -> None:
    """Render a small raw corpus in the shape of MELD.

    Faces, voices and sentences show an emotion each; some of MELD's defects are in it as well.

    Arguments:
        dest: A folder that is empty or does not exist yet.

    Options:
        seed: Random seed; the same seed renders the same corpus.
    """
    from erc_features import terminal
    from erc_features.sample.sample import sample as run

    with terminal.bar() as progress:
        made = run(dest, seed=seed, jobs=jobs, progress=lambda *at: progress("sample", *at))
    terminal.show(f"{dest}: {sum(made.utterances)} utterances, {made.clips} clips, "
                  f"{made.seconds:.0f} s; broken on purpose:")  # fmt: skip
    terminal.show(*(f"  {kind}: {where}" for kind, where in made.defects.items()))


@command_of(commands, "erc download && erc prepare data/raw/MELD.Raw --to data/meld")
def download(
    owner: str = "zaber666",
    name: str = "meld-dataset",
    subdir: str = "MELD-RAW/MELD.Raw",
    to: Path = RAW,
    unpack: bool = True,
    keep_archives: bool = False,
    connections: int = 8,
    as_json: JsonOption = False,
) -> None:
    """Download MELD, or any other dataset, from Kaggle.

    Files that are there already are skipped; an interrupted download goes on where it stopped.

    Options:
        owner: Owner of the dataset on Kaggle.
        name: Name of the dataset on Kaggle.
        subdir: Fetch only what lies below this folder; '' fetches everything.
        to: Folder to write to, under the last part of --subdir.
        unpack: Unpack archives, each beside itself.
        keep_archives: Keep archives that have been unpacked.
        connections: Number of files to fetch at the same time.
    """
    from erc_features import terminal
    from erc_features.acquire.download import download as run

    with terminal.bar(of_bytes=True) as progress, terminal.resumable():
        made = run(owner, name, subdir, to, unpack=unpack, keep_archives=keep_archives,
                   connections=connections, progress=progress,
                   announce=lambda needs: terminal.err.print(str(needs), markup=False))  # fmt: skip
    return terminal.show_json(asdict(made)) if as_json else terminal.show(made)


@command_of(commands, "erc prepare data/raw/MELD.Raw --to data/meld --frames 5")
def prepare(
    raw: Path,
    to: str,
    frames: int = 5,
    height: int = 240,
    faces: bool = False,
    jobs: JobsOption = None,
    kind: str | None = None,
    strict: bool = False,
    force: bool = False,
) -> None:
    """Turn raw data into a corpus: a table, pictures and sounds.

    The table is in first normal form, with a PNG mosaic and a 16 kHz WAV for each utterance.
    An interrupted preparation goes on where it stopped.

    It reads MELD, EmoryNLP, IEMOCAP, RAVDESS, CREMA-D, EmoDB and TESS as they are published;
    audformat databases, lhotse manifests, saved datasets of Hugging Face, and plain CSVs of files,
    times, speakers and emotions. It says how many utterances it found beside how many are
    published. Where there is no official split, all is train, for `erc fuse --folds`.

    Arguments:
        raw: Folder or archive of the raw data, or a CSV.

    Options:
        to: Folder of the new corpus, or the URL of a bucket.
        frames: Number of frames of each clip, stacked in one PNG.
        height: Height of each frame in pixels.
        faces: Also cut out the largest face of each frame, for `erc extract --crop face`. Needs
            the extra: pip install 'erc[faces]'.
        kind: Name of the corpus: meld, emorynlp, iemocap, iemocap-4, iemocap-4-unmerged, iemocap-6,
            ravdess, crema-d, emodb, tess, audformat, lhotse, datasets or table. The last four also
            take which labels to read, as in table:COLUMN. [default: recognised by its files]
        strict: Treat every defect as an error.
        force: Prepare again a corpus that was made with other settings.
    """
    from erc_features import terminal
    from erc_features.acquire.upload import folder_of, is_url, upload
    from erc_features.cli import printing
    from erc_features.preparation.decode import Decode
    from erc_features.preparation.prepare import prepare as run

    decode = Decode(frames, height)
    if faces:
        from erc_features.media import FaceCrop  # PyAV

        decode = Decode(frames, height, faces=FaceCrop())
    with terminal.bar() as progress, terminal.resumable():
        made = run(raw, folder_of(to), kind=kind, decode=decode, jobs=jobs,
                   strict=strict, force=force, say=terminal.err.print,
                   progress=lambda *at: progress("prepare", *at))  # fmt: skip
        sent = upload(made.corpus.root, to, progress) if is_url(to) else None
    printing.show_prepared(made)
    return terminal.show(*([f"{to}: {sent[0]} files sent, {sent[1]} there before"] if sent else []))


@command_of(commands, "erc doctor data/meld --html doctor.html")
def doctor(
    corpus: Annotated[
        Path, typer.Argument(envvar="ERC_CORPUS", help="Folder or CSV of a corpus, or raw data.")
    ] = CORPUS,
    html: Path | None = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a corpus holds, what is wrong with it, and what leaks.

    Labels, speakers, every defect, and what one split shares with another; nothing is changed.

    Options:
        html: Also write an HTML page, with utterances to see and hear.
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
