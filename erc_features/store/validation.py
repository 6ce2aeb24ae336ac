"""Checks that datasets lie in the file, have the right type, and are no larger than its bytes.

An HDF5 file can point elsewhere (external links and storage, virtual datasets), hold references
instead of numbers, and claim a billion rows in a kilobyte. A feature file does none of that.
"""

from math import prod
from pathlib import Path

import h5py

from erc_features.errors import FeatureFileError

_TIMES, _LEAST = 200, 2**16  # the allowed size of a dataset: times its stored size; any, in bytes
_NUMBERS = {"x": ("f", (2, 4)), "probe": ("f", (4,)), "status": ("iu", (1,)),
            "dialogue": ("iu", (4, 8)), "sequence": ("iu", (4, 8))}  # fmt: skip


def check_dataset(file: h5py.File, name: str, path: Path | str) -> bool:
    """Whether the dataset exists.

    Raises:
        FeatureFileError: it points out of the file, is of another type, or claims more than the
            file holds.
    """
    link = file.get(name, getlink=True)
    if link is None:
        return False
    if not isinstance(link, h5py.HardLink):
        raise _refused(path, name, f"is a link to something else ({type(link).__name__})")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        return False
    if dataset.is_virtual or dataset.external:
        raise _refused(path, name, "keeps its numbers in other files")
    kinds, sizes = _NUMBERS.get(name, ("", ()))
    if kinds:
        right = dataset.dtype.kind in kinds and dataset.dtype.itemsize in sizes
    else:
        right = h5py.check_string_dtype(dataset.dtype) is not None
    if not right:
        raise _refused(path, name, f"is of type {str(dataset.dtype)[:60]}")
    claimed = prod(dataset.shape or ()) * dataset.id.get_type().get_size()
    stored = dataset.id.get_storage_size()
    if claimed > max(_LEAST, _TIMES * stored):
        raise _refused(
            path, name, f"claims the shape {dataset.shape}, {claimed:,} bytes, and holds {stored:,}"
        )
    return True


def _refused(path: Path | str, name: str, why: str) -> FeatureFileError:
    return FeatureFileError(
        f"{path}: refused, its {name} {why}. No feature file does; extract or import it again."
    )
