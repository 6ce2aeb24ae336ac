"""Files that attack who reads them: refused with a message, nothing executed, memory bounded."""

import io
import pickle
import resource
import struct
import zipfile

import h5py
import numpy as np
import pytest
from corpora import text_corpus
from feature_files import complete

from erc_features.corpora.manifest import read_corpus
from erc_features.errors import ErcError, FeatureFileError
from erc_features.interchange import import_features
from erc_features.interchange.pickle_values import unwrap
from erc_features.interchange.pickles import read_pickle
from erc_features.store import FeatureFile

MOST = 400 * 2**20  # bytes that reading may add to this process's memory

CALLS = [
    ("os", "system", ("touch {mark}",)),
    ("posix", "system", ("touch {mark}",)),
    ("subprocess", "check_output", (["touch", "{mark}"],)),
    ("builtins", "exec", ("open({mark!r}, 'w')",)),
    ("__builtin__", "eval", ("open({mark!r}, 'w')",)),
    ("builtins", "open", ("{mark}", "w")),
    ("builtins", "__import__", ("os",)),
    ("builtins", "getattr", ("x", "join")),
    ("builtins", "bytearray", (10**12,)),
    ("builtins", "range", (10**12,)),
    ("os", "remove", ("{mark}",)),
    ("pathlib", "Path", ("{mark}",)),
    ("numpy", "memmap", ("{mark}", "f4", "w+", 0, (9,))),
    ("numpy", "load", ("{mark}",)),
    ("numpy", "zeros", ((10**9, 10),)),
    ("numpy.core.multiarray", "fromfile", ("{mark}",)),
    ("numpy.testing._private.utils", "runstring", ("open({mark!r}, 'w')", {})),
    ("torch", "load", ("{mark}",)),
    ("torch.storage", "_load_from_bytes", (b"x",)),
    ("pickle", "loads", (b"N.",)),
    ("functools", "partial", ("x",)),
    ("operator", "attrgetter", ("system",)),
    ("types", "FunctionType", ()),
    ("webbrowser", "open", ("file://{mark}",)),
    ("erc_features.interchange.pickles", "read_pickle", ("{mark}",)),
    ("numpy.core.multiarray", "_reconstruct.__globals__", ()),
    ("collections", "Counter", ("aab",)),
]


def argument(value, mark):
    if isinstance(value, str):
        return value.format(mark=mark)
    if isinstance(value, list):
        return [argument(one, mark) for one in value]
    return value


def by_call(module, name, args, protocol, random):
    """A pickle that calls, in one of the ways that pickle has for it."""
    way = random.integers(4)
    body = pickle.dumps(tuple(args), protocol)[:-1]  # without STOP
    if way == 0 or protocol < 2:
        look = f"c{module}\n{name}\n".encode()
    else:
        text = b"".join(b"X" + struct.pack("<I", len(t)) + t.encode() for t in (module, name))
        look = text + b"\x93"
    if way == 1 and not args:
        return f"(i{module}\n{name}\n.".encode()
    prefix = b"\x80" + bytes([protocol]) if protocol >= 2 else b""
    body = body.removeprefix(prefix)
    end = b"R" if way < 3 else b"\x81"  # REDUCE or NEWOBJ
    return prefix + b"}X\x01\x00\x00\x00a" + look + body + end + b"s."


def array(shape, data, dtype="f4"):
    """An array's own way of being pickled, with a shape and bytes that we choose."""
    text = dtype.encode()
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR(K\x01"
        + pickle.dumps(shape, 2)[2:-1]
        + b"cnumpy\ndtype\n(U" + bytes([len(text)]) + text + b"K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff"
        b"\xff\xffJ\xff\xff\xff\xffK\x00tb\x89" + data + b"tb"
    )  # fmt: skip


def short(data):
    return b"U" + bytes([len(data)]) + data


def deep(count):
    return b"(" * count + b"t" * count


LAUGHS = b"]q\x00(K\x01K\x02e" + b"".join(
    b"](" + b"h\x00" * 100 + b"eq" + b"\x00" for _ in range(8)
)  # each list holds the one before it a hundred times

CLAIMS = [
    ("a billion rows", array((10**9, 768), short(b"1234"))),
    ("rows past 64 bits", array((2**62, 2**62), short(b"1234"))),
    ("negative rows", array((-1, 4), short(b"1234"))),
    ("objects", array((10**9,), b"](K\x01e", "O8")),
    ("objects without a list", array((1,), short(b"12345678"), "O8")),
    ("texts without a length", array((10**12,), short(b""), "U0")),
    ("an odd dtype", array((1,), short(b"1234"), "V4")),
    ("no dtype at all", array((1,), short(b"1234"), "zz")),
    ("a state twice", array((1,), short(b"1234")) + b"(K\x01(K\x01tNN]tb"),
    ("a huge bytearray", b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"xx"),
    ("huge bytes", b"\x80\x05\x8e" + struct.pack("<Q", 2**40) + b"xx"),
    ("a huge frame", b"\x80\x05\x95" + struct.pack("<Q", 2**40) + b"xx"),
    ("a huge memo", b"]r\xff\xff\xff\xff0" + array((10**9,), short(b"1"))),
    ("deep tuples as a key", b"}" + deep(200_000) + b"K\x01s"),
    ("deep tuples in a set", b"\x80\x04\x8f(" + deep(200_000) + b"\x90"),
    ("a list as a key", b"}]K\x01s"),
    ("lists of lists of lists", LAUGHS),
    ("copies without end", b"](" + b"K\x01" * 50_000 + b"eq\x000"
     + b"](" + b"c__builtin__\nlist\n(h\x00tR" * 2000 + b"e"),
    ("nothing but empty sets", b"\x80\x04(" + b"\x8f" * 2_000_000 + b"l"),
    ("nothing but empty lists", b"(" + b"]" * 7_000_000 + b"l"),
    ("a tuple in a tuple in a tuple", b"\x80\x02N" + b"\x85" * 9_000_000),
    ("a cycle", b"]q\x00h\x00a"),
    ("a dictionary in itself", b"}q\x00U\x01ah\x00s"),
    ("a function's state", b"cnumpy\ndtype\n}U\x0c__defaults__(NtsbK\x01a"),
    ("a function's slots", b"cnumpy\ndtype\n(N}U\x05_callK\x01stb"),
    ("an extension", b"\x82\x01"),
    ("something outside", b"U\x04diskQ"),
    ("a buffer outside", b"\x80\x05\x97"),
    ("nothing", b""),
    ("no end", b"](K\x01K\x02"),
    ("no beginning", b"e"),
    ("an integer of a million digits", b"L" + b"9" * 10**6 + b"L\n"),
    ("half a number", b"G\x00"),
    ("a text that is none", b"S'a\n"),
]  # fmt: skip


def hostile(count, mark, random):
    """(what it is, the pickle), `count` of them, each another."""
    made = [(name, data + b".") for name, data in CLAIMS]
    number = 0
    while len(made) < count:
        module, name, args = CALLS[number % len(CALLS)]
        protocol = int(random.integers(0, 5))
        args = [argument(arg, str(mark)) for arg in args]
        body = by_call(module, name, args, protocol, random)
        if number >= 2 * len(CALLS):  # and damaged as well
            body = bytearray(body)
            body[random.integers(len(body))] = random.integers(256)
            name = f"{name}, damaged"
        made.append((name, bytes(body)))
        number += 1
    return made


@pytest.fixture
def memory():
    """Address space that may be taken beyond what is taken now; more is a MemoryError."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        taken = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MOST, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)


# The first ones name no call: they claim, nest or loop.
@pytest.mark.parametrize(
    ("count", "calls"), [(40, 5), pytest.param(5000, 2500, marks=pytest.mark.soak)]
)
def test_hostile_pickles_are_refused_and_run_nothing(tmp_path, memory, count, calls):
    corpus = read_corpus(text_corpus(tmp_path / "c", (4, 2, 2)))
    mark, path = tmp_path / "mark", tmp_path / "x.pkl"
    named = 0
    for name, data in hostile(count, mark, np.random.default_rng(0)):
        path.write_bytes(data)
        with pytest.raises(ErcError, match=str(path)) as raised:
            import_features(path, corpus, modality="audio", features=tmp_path / "f")
        assert "MemoryError" not in str(raised.value), name
        named += "it holds a call of" in str(raised.value)
        assert not mark.exists(), name
    assert not (tmp_path / "f").exists()
    assert named > calls


@pytest.mark.parametrize(("module", "name", "args"), CALLS[:6], ids=[c[1] for c in CALLS[:6]])
def test_the_message_names_what_it_wanted_to_call(tmp_path, module, name, args):
    class Evil:
        def __reduce__(self):
            import importlib

            return getattr(importlib.import_module(module.strip("_").rstrip("s") + "s"
                           if "builtin" in module else module), name), args  # fmt: skip

    mark, path = tmp_path / "mark", tmp_path / "x.pkl"
    args = tuple(argument(arg, str(mark)) for arg in args)
    path.write_bytes(pickle.dumps({"train": {"audio": Evil()}}))
    with pytest.raises(ErcError, match=f"nothing in it was run: it holds a call of .*{name}"):
        read_pickle(path)
    assert not mark.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_what_numpy_and_python_pickle_is_read_as_it_was(tmp_path, protocol):
    from collections import OrderedDict, defaultdict

    random = np.random.default_rng(0)
    value = {
        "f4": random.normal(size=(3, 4)).astype("f4"), "f2": np.ones((2, 1), "f2"),
        "fortran": np.asfortranarray(random.normal(size=(3, 4))), "big": np.arange(4, dtype=">i4"),
        "texts": np.array(["a", "Zoë"]), "objects": np.array(["a", None], dtype=object),
        "empty": np.zeros((0, 5)), "scalar": np.float32(1.5), "bools": np.array([True]),
        "slice": np.arange(12).reshape(3, 4)[:, ::2], "set": {1, "b"}, "frozen": frozenset([2]),
        "ordered": OrderedDict(a=1), "default": defaultdict(list, b=[2]), "bytes": b"\xff\0",
        "nobytes": b"", "long": 10**30, "text": "é🙂\n", "none": None, "nested": [(1, [2.5]), {}],
        (1, "a"): -0.0, 7: [True, -1],
    }  # fmt: skip
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(value, protocol))
    read, _ = read_pickle(path)
    assert read.keys() == value.keys()
    for name, one in value.items():
        got = unwrap(read[name])
        if isinstance(one, np.ndarray) and one.dtype != object:
            assert got.dtype == one.dtype and got.shape == one.shape, name
            assert np.array_equal(got, one), name
        else:
            assert got == (one.tolist() if isinstance(one, np.ndarray) else one), name


def test_a_pickle_of_python_2(tmp_path):
    """As cPickle of Python 2.7 wrote `{'a': numpy.array([1., 2.], 'f4')}`, protocol 2."""
    path = tmp_path / "x.pkl"
    path.write_bytes(b"\x80\x02}U\x01a" + array((2,), short(np.array([1, 2], "<f4").tobytes()))
                     + b"s.")  # fmt: skip
    read, _ = read_pickle(path)
    assert unwrap(read["a"]).tolist() == [1, 2]


def swap(file, name, **options):
    del file[name]
    return file.create_dataset(name, **options)


def external_link(file, secret, random):
    name = random.choice(["x", "status", "key", "text"])
    del file[name]
    file[name] = h5py.ExternalLink(str(secret), random.choice(["x", "/x", "nothing"]))


def external_storage(file, secret, random):
    swap(file, "x", shape=(6, 2, 3), dtype="f2", external=[(str(secret), 0, 72)])


def virtual(file, secret, random):
    layout = h5py.VirtualLayout((6, 2, 3), "f2")
    layout[:] = h5py.VirtualSource(str(secret), "x", (6, 2, 3))
    del file["x"]
    file.create_virtual_dataset("x", layout)


def references(file, secret, random):
    name = random.choice(["x", "status", "dialogue", "key"])
    shape = file[name].shape
    made = swap(file, name, shape=shape, dtype=h5py.ref_dtype)
    made[(0,) * len(shape)] = file.ref


def billion_rows(file, secret, random):
    rows = int(random.integers(10**9, 2**40))
    for name in list(file):
        old = file[name]
        swap(file, name, shape=(rows, *old.shape[1:]), dtype=old.dtype,
             chunks=(1000, *old.shape[1:]), compression=random.choice(["gzip", None]))  # fmt: skip


def wide_rows(file, secret, random):
    shape = (6, int(random.integers(1, 2**20)), int(random.integers(2**20, 2**30)))
    swap(file, "x", shape=shape, dtype="f2", chunks=(1, 1, 1000))


def soft_cycle(file, secret, random):
    name = random.choice(["x", "status", "reason"])
    del file[name]
    file[name] = h5py.SoftLink(f"/{name}")


def group_cycle(file, secret, random):
    del file["x"]
    file.create_group("x")["x"] = file["/"]


def other_type(file, secret, random):
    name = random.choice(["x", "status", "sequence"])
    kind = random.choice([np.dtype("S3"), np.dtype([("a", "f4")]), np.dtype("V4"), np.dtype("c8")])
    swap(file, name, shape=file[name].shape, dtype=kind)


def numbers_as_texts(file, secret, random):
    swap(file, random.choice(["key", "label", "reason"]), data=np.arange(6.0))


def attributes(file, secret, random):
    name = random.choice(["labels", "config", "complete", "corpus", "format_version"])
    kinds = [np.zeros(9), "[" * 100_000, file.ref, b"\xff\xfe", 7]
    del file.attrs[name]
    if name in ("labels", "config", "format_version"):
        file.attrs[name] = kinds[random.integers(2 if name == "format_version" else 4)]


def cut(path, random):
    data = bytearray(path.read_bytes())
    path.write_bytes(data[: random.integers(8, len(data) - 1)])


WAYS = [external_link, external_storage, virtual, references, billion_rows, wide_rows, soft_cycle,
        group_cycle, other_type, numbers_as_texts, attributes]  # fmt: skip


@pytest.mark.parametrize("count", [60, pytest.param(2000, marks=pytest.mark.soak)])
def test_hostile_feature_files_are_refused(tmp_path, memory, count):
    random = np.random.default_rng(0)
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["x"] = np.ones((6, 2, 3), np.float16)
    good = complete(tmp_path / "text.good.h5").read_bytes()
    for number in range(count):
        way, path = WAYS[number % len(WAYS)], tmp_path / f"text.{number}.h5"
        path.write_bytes(good)
        with h5py.File(path, "r+") as file:
            way(file, tmp_path / "secret.h5", random)
        if number >= 2 * len(WAYS) and number % 3 == 0:
            cut(path, random)
        with pytest.raises(FeatureFileError, match=str(path)), FeatureFile(path) as file:
            pytest.fail(f"{way.__name__}: {file!r} was opened")


def npz_with(name, header):
    """An .npz whose one array claims something."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, header)
    return out.getvalue()


def npy_claiming(shape, data=b"12345678", descr="<f4"):
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        out, {"descr": descr, "fortran_order": False, "shape": shape}
    )
    return out.getvalue() + data


def bomb():
    """A real zip of 300 MB of zeros in 300 kB."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("x.npy", "w", force_zip64=True) as file,
    ):
        file.write(npy_claiming((75, 10**6), b""))
        for _ in range(300):
            file.write(bytes(10**6))
    return out.getvalue()


@pytest.mark.parametrize(
    ("suffix", "data"),
    [
        (".npy", npy_claiming((10**9, 768))),
        (".npy", npy_claiming((2,), pickle.dumps(print), "|O")),
        (".npy", b"\x93NUMPY\x01\x00\xff\xff"),
        (".npz", npz_with("x.npy", npy_claiming((10**9, 768)))),
        (".npz", npz_with("x.npy", npy_claiming((1,), pickle.dumps(print), "|O"))),
        (".npz", npz_with("../x.txt", b"hello")),
        (".npz", bomb),
        (".npz", b"PK\x05\x06" + bytes(18)),
        (".safetensors", struct.pack("<Q", 2**60) + b"{}"),
        (
            ".safetensors",
            (lambda head: struct.pack("<Q", len(head)) + head)(
                b'{"x":{"dtype":"F32","shape":[1000000000,9],"data_offsets":[0,36000000000]}}'
            ),
        ),
        (".parquet", b"PAR1" + bytes(20) + b"PAR1"),
        (".csv", b"key,a\n" + b"\0" * 50),
        (".pt", pickle.dumps({"x": 1})),
        (".pt", npz_with("x/data.pkl", b"cos\nsystem\n(S'true'\ntR.")),
    ],
)
def test_other_hostile_files_are_refused(tmp_path, memory, suffix, data):
    corpus = text_corpus(tmp_path / "c", (4, 2, 2))
    path = tmp_path / f"x{suffix}"
    path.write_bytes(data() if callable(data) else data)
    with pytest.raises(ErcError, match=str(path)):
        import_features(path, corpus, modality="audio", split="train", features=tmp_path / "f")
    assert not (tmp_path / "f").exists()


def test_a_torch_file_that_calls_or_claims_is_refused(tmp_path):
    import torch

    class Evil:
        def __reduce__(self):
            return open, (str(tmp_path / "mark"), "w")

    corpus = text_corpus(tmp_path / "c", (4, 2, 2))
    for number, value in enumerate((Evil(), torch.zeros(1).expand(10**9, 768))):
        path = tmp_path / f"{number}.pt"
        torch.save(value, path)
        with pytest.raises(ErcError, match=r"\.pt") as raised:
            import_features(path, corpus, modality="audio", split="train", features=tmp_path / "f")
        assert "weights_only" not in str(raised.value)  # torch's advice to run it anyway
    assert not (tmp_path / "mark").exists()
