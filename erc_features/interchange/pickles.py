"""Reading pickles of strangers: numpy arrays and plain containers, without calling anything.

A pickle is a program. Here Python's own reader, the one written in Python, finds only the few names
below, so that no class or function of the file's choosing is reached. Nor is numpy's own
reconstruction, which allocates whatever a shape claims. What remains are ways to be large: those
are bounded by the file's size.
"""

import mmap
import pickle
from collections.abc import Callable, Iterable
from math import prod
from pathlib import Path
from types import NoneType
from typing import Any, Literal, NoReturn

import numpy as np

from erc_features.errors import ErcError
from erc_features.interchange.pickle_values import Array, Budget, Refused

_CONTAINER = 64  # bytes of an empty one, which is one byte in the file; a set has four times that
_PLAIN_KEYS = (str, int, float, bytes, bool, NoneType)

_OBJECTS = [
    code[0]
    for code in (pickle.NEWOBJ, pickle.NEWOBJ_EX, pickle.OBJ, pickle.EXT1, pickle.EXT2,
                 pickle.EXT4, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER)
]  # fmt: skip


class _Dtype:
    """A dtype of the pickle: made of its text, and then given its byte order."""

    def __init__(self, text: str) -> None:
        self.value = np.dtype(text)


class _Known:
    """A name that a pickle may look up. It can be called, and nothing else."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)


def _empty(container: type) -> Callable[["_Reader"], None]:
    def load(reader: "_Reader") -> None:
        reader._budget.spend(4 * _CONTAINER if container is set else _CONTAINER)
        reader.append(container())

    return load


class _Reader(pickle._Unpickler):  # the one in C can't be held back: its memo alone takes 64 GB
    stack: list[Any]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]
    read: Callable[[int], bytes]
    dispatch = dict(pickle._Unpickler.dispatch)  # noqa: RUF012 - as in the class above it

    def __init__(self, file: Any, path: Path, budget: Budget) -> None:
        super().__init__(file, encoding="latin1")  # of Python 2
        self._path, self._budget = path, budget

    def refuse(self, what: str, way: str = "") -> NoReturn:
        raise Refused(
            f"{self._path}: refused, and nothing in it was run: it holds {what}. erc reads numpy "
            "arrays, numbers, texts, lists and dictionaries; if you trust the file, open it where "
            "it was made and save those alone" + (f".{way}" if way else ", as .npy or .npz.")
        )

    def find_class(self, module: str, name: str) -> Any:
        root = module.replace("numpy._core", "numpy.core").replace("__builtin__", "builtins")
        call = {
            ("numpy.core.multiarray", "_reconstruct"): lambda *_: Array(),
            ("numpy.core.multiarray", "scalar"): self._scalar,
            ("numpy.core.numeric", "_frombuffer"): self._from_buffer,
            ("numpy", "ndarray"): lambda *_: self.refuse("an array without contents"),
            ("numpy", "dtype"): self._dtype,
            ("collections", "OrderedDict"): self._dictionary,
            ("collections", "defaultdict"): lambda *_: {},  # the factory is of no use here
            ("builtins", "dict"): self._dictionary,
            ("builtins", "list"): lambda items=(): list(self._few(items)),
            ("builtins", "tuple"): lambda items=(): tuple(self._few(items)),
            ("builtins", "set"): lambda items=(): self._keys(self._few(items)),
            ("builtins", "frozenset"): lambda items=(): self._keys(self._few(items)),
            ("builtins", "bytes"): lambda: b"",
            ("_codecs", "encode"): self._encode,  # bytes, in protocols 0 to 2
        }.get((root, name))
        if call is None and root.split(".")[0] == "pandas":
            self.refuse("a pandas table", " In pandas, table.to_parquet(\"features.parquet\") "
                        "writes what erc imports; of nkululeko, set store_format = csv under "
                        "[FEATS] and extract again.")  # fmt: skip
        if call is None:
            self.refuse(f"a call of {module[:80]}.{name[:80]}".encode("ascii", "replace").decode())
        return _Known(call)

    def persistent_load(self, pid: Any) -> Any:
        self.refuse("a reference to something outside the file")

    def _array(
        self, data: Any, dtype: Any, shape: Any, order: Literal["C", "F"] = "C"
    ) -> np.ndarray | list[Any]:
        """An array over `data`, which must be exactly as long as `shape` claims."""
        if not (
            isinstance(dtype, _Dtype)
            and isinstance(shape, tuple)
            and len(shape) <= 8
            and all(type(n) is int and n >= 0 for n in shape)
        ):
            self.refuse("an array whose shape or dtype is not one")
        kind = dtype.value
        if kind.hasobject:
            if not isinstance(data, list) or len(shape) != 1 or len(data) != shape[0]:
                self.refuse(f"an array of objects that claims the shape {str(shape)[:80]}")
            return list(self._few(data))
        if isinstance(data, str):
            data = self._encode(data, "latin1")
        if not isinstance(data, bytes) or len(data) != prod(shape) * kind.itemsize:
            held = len(data) if isinstance(data, bytes) else "no"
            self.refuse(f"an array that claims the shape {str(shape)[:80]} in {held} bytes")
        if not data and prod(shape):  # of texts of length 0, which numpy makes longer
            self.refuse("an array of texts without a length")
        if not data:
            return np.empty(shape, kind)
        return np.frombuffer(data, kind).reshape(shape, order=order)  # a view

    def _scalar(self, dtype: Any, data: Any) -> Any:
        value = self._array(data, dtype, (1,))
        return value[0].item() if isinstance(value, np.ndarray) else value[0]

    def _from_buffer(self, data: Any, dtype: Any, shape: Any, order: str) -> Array:
        return Array(self._array(data, dtype, shape, "F" if order == "F" else "C"))

    def _dtype(self, text: Any, *_: Any) -> _Dtype:
        if not isinstance(text, str) or len(text) > 12 or text.lstrip("<>|=")[:1] not in "fiubcUSO":
            self.refuse(f"an array of type {str(text)[:20]!r}")
        return _Dtype(text)

    def _dictionary(self, items: Any = ()) -> dict[Any, Any]:
        pairs = items.items() if isinstance(items, dict) else self._few(items)
        return {key: value for pair in pairs for key, value in [pair] if self._keys([key])}

    def _encode(self, text: Any, encoding: str = "latin1") -> bytes:
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            self.refuse("an encoded text that is no bytes")
        self._budget.spend(len(text))
        return text.encode("latin1")

    def _few(self, items: Any) -> Any:
        """Items that are copied, and so cost memory: a list may be named a thousand times."""
        if not isinstance(items, (list, tuple, set)):
            self.refuse("a container made of something else")
        self._budget.spend(64 + 8 * len(items))
        return items

    def _keys(self, keys: Iterable[Any]) -> set[Any]:
        """A set of plain keys; hashing deep tuples would overrun the C stack."""
        made = set()
        for key in keys:
            parts = key if type(key) is tuple else (key,)
            if not all(isinstance(part, _PLAIN_KEYS) for part in parts):
                self.refuse("a dictionary whose keys are neither texts nor numbers")
            made.add(key)
        return made

    def _set_items(self, into: Any, items: list[Any]) -> None:
        if type(into) is not dict:
            self.refuse("an assignment to something that is no dictionary")
        self._keys(items[::2])
        into.update(zip(items[::2], items[1::2], strict=True))

    def _load_setitems(self) -> None:
        items = self.pop_mark()
        self._set_items(self.stack[-1], items)

    def _load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set_items(self.stack[-1], [key, value])

    def _load_dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._set_items(self.stack[-1], items)

    def _load_additems(self) -> None:
        items = self.pop_mark()
        if type(self.stack[-1]) is not set:
            self.refuse("an addition to something that is no set")
        self.stack[-1] |= self._keys(items)

    def _load_frozenset(self) -> None:
        items = self.pop_mark()  # which also changes `append`
        self.append(self._keys(items))

    def _load_tuple1(self) -> None:
        self._budget.spend(_CONTAINER)
        self.append((self.stack.pop(),))

    def _load_appends(self) -> None:
        self._extend(self.pop_mark())

    def _load_append(self) -> None:
        self._extend([self.stack.pop()])

    def _extend(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            self.refuse("an addition to something that is no list")
        self.stack[-1].extend(items)

    def _load_bytearray8(self) -> None:
        self.append(self.read(int.from_bytes(self.read(8), "little")))

    def _load_reduce(self) -> None:
        args, call = self.stack.pop(), self.stack.pop()
        if type(call) is not _Known or type(args) is not tuple:
            self.refuse("a call of something that is no function")
        self.append(call(*args))

    def _load_build(self) -> None:
        state, made = self.stack.pop(), self.stack[-1]
        if type(made) is Array:
            if not isinstance(state, tuple) or len(state) != 5 or made.value is not None:
                self.refuse("an array whose state is not one")
            _, shape, dtype, fortran, data = state
            made.value = self._array(data, dtype, shape, "F" if fortran is True else "C")
        elif type(made) is _Dtype:
            # (version, order, subdtype, names, fields, size, alignment, flags)
            if (
                not isinstance(state, tuple)
                or len(state) < 5
                or state[1] not in ("<", ">", "|", "=")
            ):
                self.refuse("a dtype whose state is not one")
            if any(part is not None for part in state[2:5]):
                self.refuse("an array of records")
            if state[1] != "|":
                made.value = made.value.newbyteorder(state[1])
        else:
            self.refuse("an object with a state")

    def _load_object(self) -> None:
        self.refuse("an object")

    dispatch |= {
        pickle.SETITEMS[0]: _load_setitems,
        pickle.SETITEM[0]: _load_setitem,
        pickle.DICT[0]: _load_dict,
        pickle.ADDITEMS[0]: _load_additems,
        pickle.EMPTY_LIST[0]: _empty(list),
        pickle.EMPTY_DICT[0]: _empty(dict),
        pickle.EMPTY_SET[0]: _empty(set),
        pickle.TUPLE1[0]: _load_tuple1,
        pickle.FROZENSET[0]: _load_frozenset,
        pickle.APPENDS[0]: _load_appends,
        pickle.APPEND[0]: _load_append,
        pickle.BYTEARRAY8[0]: _load_bytearray8,
        pickle.REDUCE[0]: _load_reduce,
        pickle.BUILD[0]: _load_build,
        **dict.fromkeys(_OBJECTS, _load_object),
    }


def read_pickle(path: Path) -> tuple[Any, Budget]:
    """The contents of a pickle, of any protocol and of Python 2 too: containers of plain values and
    :class:`Array`; and what remains of the memory that it may use.

    Raises:
        Refused: it wants to call something (named), or claims more than it holds.
        ErcError: it cannot be read, or is not a pickle.
    """
    try:
        size = path.stat().st_size
        budget = Budget(path, size)
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Reader(data, path, budget).load(), budget  # a read past its end is short
    except ErcError:
        raise
    except OSError as error:
        raise ErcError(f"{path}: cannot be read ({error.strerror}).") from error
    except Exception as error:
        why = (str(error).splitlines() or [type(error).__name__])[0][:100]
        raise ErcError(f"{path}: is no pickle, or a damaged one ({why}).") from error
