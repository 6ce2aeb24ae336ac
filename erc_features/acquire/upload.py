"""A finished corpus to a bucket: gs://, s3:// or any other URL that fsspec knows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from erc_features.corpora.manifest import INFO, read_corpus
from erc_features.errors import CorpusError
from erc_features.utterance import Modality


def is_url(text: str) -> bool:
    """Whether `text` names a bucket and not a folder.

    >>> is_url("gs://bucket/meld"), is_url("data/meld")
    (True, False)
    """
    return "://" in text


def folder_of(to: str) -> Path:
    """Where a corpus is made: the folder itself; for a bucket, `data/` and its last component.

    >>> folder_of("gs://bucket/corpora/meld").as_posix()
    'data/meld'
    """
    return Path("data", to.rstrip("/").rpartition("/")[2]) if is_url(to) else Path(to)


def upload(
    folder: Path, url: str, progress: Callable[[str, int, int], None] | None = None
) -> tuple[int, int]:
    """Copy a prepared corpus to `url`; returns (files sent, files that were there already).

    Only what the corpus names is sent, a file that is there in the same size is not sent again,
    and `corpus.json` goes last: a bucket that has it is complete.

    Raises:
        CorpusError: `folder` is no prepared corpus, the URL's protocol needs a package, or the
            bucket can't be written.
    """
    if not (folder / INFO).is_file():
        raise CorpusError(f"{folder} is not a finished corpus: it has no {INFO}.")
    system, root = _open(url)
    names = _names(folder)
    sent = 0
    try:
        there = {
            path.removeprefix(root).lstrip("/"): entry["size"]
            for path, entry in system.find(root, detail=True).items()
        }
        if names[-1] in there:  # an older upload must not look complete while this one runs
            system.rm_file(f"{root}/{names[-1]}")
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
            "exists and your credentials allow writing; what was sent is kept, run it again."
        ) from error
    return sent, len(names) - sent


def _open(url: str) -> tuple[Any, str]:
    import fsspec

    try:
        system, root = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise CorpusError(f"{url}: needs the extra `cloud`: pip install 'erc[cloud]'.") from error
    except ValueError as error:
        raise CorpusError(f"{url}: {error}. gs://, s3:// and what fsspec knows work.") from error
    return system, root.rstrip("/")


def _names(folder: Path) -> list[str]:
    """Media, then the CSVs, then `corpus.json`, relative to the folder."""
    corpus = read_corpus(folder)
    media = [u.cell(m) for u in corpus.utterances for m in (Modality.VISUAL, Modality.AUDIO)]
    csvs = sorted(f"{split}.csv" for split in {str(u.split) for u in corpus.utterances})
    return [*dict.fromkeys(name for name in media if name), *csvs, INFO]
