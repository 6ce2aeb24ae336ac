"""Uploads a prepared corpus to a bucket: gs://, s3:// or any other URL that fsspec knows."""

from collections.abc import Callable
from pathlib import Path

from erc_features.corpora.manifest import INFO, read_corpus
from erc_features.errors import CorpusError
from erc_features.utterance import Modality


def is_url(text: str) -> bool:
    """Whether `text` names a bucket rather than a folder.

    >>> is_url("gs://bucket/meld"), is_url("data/meld")
    (True, False)
    """
    return "://" in text


def folder_of(to: str) -> Path:
    """Where a corpus is prepared: the folder itself, or for a bucket `data/<last component>`.

    >>> folder_of("gs://bucket/corpora/meld").as_posix()
    'data/meld'
    """
    return Path("data", to.rstrip("/").rpartition("/")[2]) if is_url(to) else Path(to)


def upload(
    folder: Path, url: str, progress: Callable[[str, int, int], None] | None = None
) -> tuple[int, int]:
    """Copy a prepared corpus to `url`; returns (files sent, files that were already there).

    Only files that the corpus names are sent, and no medium that is already there in the same
    size. `corpus.json` goes last: a bucket that has it is complete.

    Raises:
        CorpusError: `folder` is not a prepared corpus, the URL's protocol needs a package, or the
            bucket cannot be written.
    """
    if not (folder / INFO).is_file():
        raise CorpusError(f"{folder} is not a finished corpus: it has no {INFO}.")
    import fsspec

    try:
        system, root = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise CorpusError(f"{url}: needs the extra `cloud`: pip install 'erc[cloud]'.") from error
    except ValueError as error:
        raise CorpusError(
            f"{url}: {error}. gs://, s3:// and the other protocols of fsspec work."
        ) from error
    root = root.rstrip("/")
    corpus = read_corpus(folder)
    media = [
        cell
        for u in corpus.utterances
        for cell in (u.cell(Modality.VISUAL), u.cell(Modality.AUDIO), u.x_face)
    ]
    csvs = sorted({f"{u.split}.csv" for u in corpus.utterances})
    names = [*dict.fromkeys(name for name in media if name), *csvs, INFO]
    sent = 0
    try:
        there = {
            path.removeprefix(root).lstrip("/"): entry["size"]
            for path, entry in system.find(root, detail=True).items()
        }
        if INFO in there:  # an older upload must not look complete while this one runs
            system.rm_file(f"{root}/{INFO}")
        for number, name in enumerate(names, 1):
            path = folder / name
            if name == INFO or there.get(name) != path.stat().st_size or path.suffix == ".csv":
                system.makedirs(f"{root}/{name}".rpartition("/")[0], exist_ok=True)
                system.put_file(str(path), f"{root}/{name}")
                sent += 1
            if progress:
                progress("upload", number, len(names))
    except Exception as error:
        raise CorpusError(
            f"{url}: cannot be written ({type(error).__name__}: {error}). Check that the bucket "
            "exists and your credentials allow writing, then run it again; what was sent is kept."
        ) from error
    return sent, len(names) - sent
