"""Named arrays: .npy, .npz, safetensors, torch's .pt, and folders of .npy files.

No array is made before its claimed size is checked against the bytes of the file.
"""

import json
import zipfile
from collections import Counter
from collections.abc import Mapping
from math import prod
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np

from erc_features.errors import ErcError, choose, listed
from erc_features.interchange.base import Asked, Found, must_be_about
from erc_features.interchange.checks import readable
from erc_features.interchange.frames import lengths_beside, settle
from erc_features.interchange.row_keys import SPLITS, Named
from erc_features.store import Status

_NAMES = ("key", "keys", "id", "ids", "name", "names", "file", "files", "utterances")
_TIMES, _LEAST = 200, 64 * 2**20  # what a compressed .npz may come to: times its size, and bytes


def read_arrays(asked: Asked) -> Found:
    """Features from named arrays; see :func:`from_named` for what the names may be."""
    source = asked.source
    if source.is_dir():
        return from_named(asked, _folder(source), "folder of npy", {})
    read = {".npy": _npy, ".npz": _npz, ".safetensors": _safetensors, ".pt": _torch, ".pth": _torch}
    with readable(source):
        named, texts = read[source.suffix](source)
    return from_named(asked, named, source.suffix[1:], texts)


def from_named(
    asked: Asked, named: Mapping[str, np.ndarray], kind: str, texts: Mapping[str, Any]
) -> Found:
    """Find out which rows the arrays are. The ways are tried in this order:

    `x` with `key` beside it, as `erc export` writes them; the array that `--field` names, or a
    single one, with `--keys` or `--split`; arrays called train, dev, test, each in that split's
    order; and an array for each utterance, called as :mod:`.row_keys` says.

    Raises:
        ErcError: none of these fits, or the rows are not the corpus's.
    """
    source = asked.source
    if not named:
        raise ErcError(f"{source}: holds no array.")
    about = texts.get("about", named.get("about"))
    if about is not None and "x" in named:
        must_be_about(asked, about)
    if "x" in named and asked.field is None and _beside(named, texts, None) is not None:
        true = lengths_beside(named, "x")
        made = settle(asked, named["x"], "x", true, sure=about is not None)
        keys = asked.keys_of(len(made.x), _beside(named, texts, None))
        return made.found(keys, kind, "x", _gone(keys, named, texts))
    if asked.field is not None:
        name = choose(f"field of {source}", asked.field, list(named))
        made = settle(asked, named[name], name, lengths_beside(named, name))
        keys = asked.keys_of(len(made.x), _beside(named, texts, len(made.x)))
        return made.found(keys, kind, name)
    if len(named) == 1 and next(iter(named)) not in SPLITS and _no_name(asked, named):
        made = settle(asked, next(iter(named.values())))
        return made.found(asked.keys_of(len(made.x)), kind)
    if all(name in SPLITS for name in named):
        return _by_split(asked, named, kind)
    if all(_no_name(asked, [name]) for name in named):
        raise ErcError(
            f"{source}: holds {len(named)} arrays; choose one with --field:"
            f"{listed([f'{name} {x.shape}' for name, x in named.items()], 10)}"
        )
    if asked.keys is not None:
        raise ErcError(f"{source}: has an array for each utterance, called as it is; --keys "
                       "would not be used. Leave it out.")  # fmt: skip
    keys = asked.names.resolve(source, Named(list(named)), asked.split)
    return settle(asked, _together(source, named)).found(keys, kind)


def _by_split(asked: Asked, named: Mapping[str, np.ndarray], kind: str) -> Found:
    """Arrays called train, dev, test; `--split` only says to which of them `--drop` belongs."""
    source = asked.source
    if asked.keys is not None or not asked.drop:
        asked.must_not_name("its arrays are called after the splits, and are in their order")
    if asked.drop and asked.split not in {SPLITS[name] for name in named}:
        raise ErcError(f"{source}: has no array called {asked.split}, of which --drop would be.")
    pieces = {name: settle(asked, x, name) for name, x in named.items()}
    shapes = {made.x.shape[1:] for made in pieces.values()}
    if len(shapes) > 1:
        raise ErcError(f"{source}: the splits have other shapes: {sorted(shapes)}.")
    found: list[str] = []
    gone: dict[str, tuple[Status, str]] = {}
    for name, made in pieces.items():
        keys = asked.in_order(SPLITS[name], len(made.x))
        found += keys
        gone |= made.gone(keys)
    ways = ", ".join(sorted({made.pooling for made in pieces.values()}))
    notes = tuple(dict.fromkeys(note for made in pieces.values() for note in made.notes))
    x = np.concatenate([made.x for made in pieces.values()])
    return Found(found, x, kind, "", ways, gone, notes=notes)


def _together(source: Path, named: Mapping[str, np.ndarray]) -> np.ndarray | list[np.ndarray]:
    """Arrays (D,) or (K, D) as (n, D) or (n, K, D); if only K differs, as they are.

    Raises:
        ErcError: they differ in another way; names the first that does.
    """
    first = next(iter(named))
    shape = named[first].shape
    several = any(value.shape != shape for value in named.values())
    for name, value in named.items():
        same = value.ndim == len(shape) in (1, 2) and value.shape[-1] == shape[-1]
        if not same or value.dtype.kind not in "fiub" or (value.ndim == 2 and not value.shape[1]):
            raise ErcError(
                f"{source}: {name} is {value.shape} {value.dtype}, and {first} is {shape}. Each "
                "utterance has one vector (D,), or (L, D), of the same shape; or with --frames "
                "(T, D), of any T."
            )
    return list(named.values()) if several else np.stack(list(named.values()))


def _beside(
    named: Mapping[str, np.ndarray], texts: Mapping[str, Any], rows: int | None
) -> Named | None:
    """The rows' names in an array `key` or the like, whose length is `rows` if that is known."""
    for name in _NAMES:
        found = texts.get(name, named.get(name))
        if found is None or np.ndim(found) != 1 or rows not in (None, len(found)):
            continue
        splits = named.get("split")
        beside = splits is not None and splits.dtype.kind == "U" and len(splits) == len(found)
        names = [one.decode() if isinstance(one, bytes) else str(one) for one in found]
        return Named(names, list(map(str, splits)) if beside and splits is not None else ())
    return None


def _no_name(asked: Asked, names: Any) -> bool:
    return not asked.names.is_name(next(iter(names)), asked.split)


def _gone(
    keys: list[str], named: Mapping[str, np.ndarray], texts: Mapping[str, Any]
) -> dict[str, tuple[Status, str]]:
    status, reason = named.get("status"), texts.get("reason", named.get("reason"))
    if status is None or len(status) != len(keys):
        return {}
    reasons = [""] * len(keys) if reason is None or len(reason) != len(keys) else reason
    return {
        key: (Status.FAILED if s == Status.FAILED else Status.MISSING, str(why))
        for key, s, why in zip(keys, status, reasons, strict=True)
        if s != Status.OK
    }


def _npy(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    # Mapped: a claim of more than the file holds fails, and nothing is copied.
    return {"": np.load(path, mmap_mode="r", allow_pickle=False)}, {}


def _npz(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    most = max(_LEAST, _TIMES * path.stat().st_size)
    with zipfile.ZipFile(path) as archive:
        total = 0
        members = Counter(info.filename.removesuffix(".npy") for info in archive.infolist())
        if twice := [name for name, count in members.items() if count > 1]:
            raise ErcError(f"{path}: holds {', '.join(twice[:5])} twice.")
        for info in archive.infolist():
            with archive.open(info) as file:
                version = np.lib.format.read_magic(file)
                read = {(1, 0): np.lib.format.read_array_header_1_0,
                        (2, 0): np.lib.format.read_array_header_2_0}.get(version)  # fmt: skip
                if read is None:
                    raise ErcError(f"{path}: {info.filename} is of npy version {version}.")
                shape, _, dtype = read(file)
            if dtype.hasobject:
                raise ErcError(
                    f"{path}: refused, {info.filename} holds Python objects. Save texts with "
                    ".astype(str), and numbers with .astype(np.float32)."
                )
            claimed = prod(shape) * dtype.itemsize
            total += max(claimed, info.file_size)
            if claimed > info.file_size or total > most:
                raise ErcError(
                    f"{path}: refused, {info.filename} claims the shape {shape}, {total:,} bytes, "
                    f"in a file of {path.stat().st_size:,}."
                )
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}, {}


def _safetensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    from safetensors import safe_open

    with safe_open(path, "np") as file:
        metadata = file.metadata() or {}
        about = {name: text for name, text in metadata.items() if name == "about"}
        texts = about | {
            name: json.loads(metadata[name]) for name in ("key", "reason") if name in metadata
        }
        kinds = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
        if not any(kind.startswith(("BF", "F8")) for kind in kinds.values()):
            return {name: file.get_tensor(name) for name in kinds}, texts
    with safe_open(path, "pt") as file:  # numpy has no bfloat16
        return {name: file.get_tensor(name).float().numpy() for name in kinds}, texts


def _torch(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    size = path.stat().st_size
    if not zipfile.is_zipfile(path):
        raise ErcError(
            f"{path}: refused, it is not what torch.save writes since torch 1.6. Load it where it "
            "was made and save its tensors again."
        )
    with zipfile.ZipFile(path) as archive:
        if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
            raise ErcError(f"{path}: refused, torch.save compresses nothing, and this is.")
        if any(info.file_size > size for info in archive.infolist()):
            raise ErcError(f"{path}: refused, a part of it claims more bytes than the file has.")
    import torch

    try:
        value = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except UnpicklingError as error:  # torch's own message says how to run the file anyway
        raise ErcError(
            f"{path}: refused, it holds other things than tensors and plain values, and nothing in "
            "it was run. Load it where it was made and save its tensors alone."
        ) from error
    named = value if isinstance(value, Mapping) else {"": value}
    if wrong := [name for name, one in named.items() if not isinstance(one, torch.Tensor)]:
        raise ErcError(
            f"{path}: holds other things than tensors ({', '.join(map(str, wrong[:5]))}). "
            "A tensor (N, D), or a dictionary of them by key, can be imported."
        )
    if sum(one.numel() * one.element_size() for one in named.values()) > max(size, _LEAST):
        raise ErcError(f"{path}: refused, its tensors claim more bytes than the file has.")
    return {
        str(name): (one.float() if one.dtype == torch.bfloat16 else one).detach().numpy()
        for name, one in named.items()
    }, {}


def _folder(path: Path) -> dict[str, np.ndarray]:
    """Every .npy below a folder, by its path without the ending."""
    files = sorted(path.rglob("*.npy"))
    try:
        return {
            file.relative_to(path).with_suffix("").as_posix(): np.array(
                np.load(file, mmap_mode="r", allow_pickle=False)
            )
            for file in files
        }
    except (OSError, ValueError, EOFError) as error:
        raise ErcError(f"{path}: a file of it cannot be read as .npy ({error}).") from error
