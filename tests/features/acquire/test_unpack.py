"""Archives: honest, damaged, hostile. Nothing is ever written outside, or half."""

import gzip
import io
import os
import random
import shutil
import stat
import subprocess
import sys
import tarfile
import time
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_download import noise, packed, tree, zipped

from erc_features.acquire import unpack as room
from erc_features.acquire.archive import (
    MARK,
    DamagedArchive,
    HostileArchive,
    is_archive,
    safe_path,
    stem,
)
from erc_features.acquire.unpack import Limits, read_mark, unpack
from erc_features.errors import CorpusError


def entries(*infos):
    """A tar.gz of (name, type, link or bytes)."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        for name, kind, more in infos:
            info = tarfile.TarInfo(name)
            info.type = kind
            if isinstance(more, bytes):
                info.size = len(more)
                tar.addfile(info, io.BytesIO(more))
            else:
                info.linkname = more
                tar.addfile(info)
    return made.getvalue()


def odd_zip(name, body=b"evil", mode=stat.S_IFREG | 0o644):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as opened:
        opened.writestr("ok.txt", b"ok")
        info = zipfile.ZipInfo("x")
        info.filename = name
        info.external_attr = mode << 16
        opened.writestr(info, body)
    return made.getvalue()


REG, SYM, LINK = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
OK = ("ok.txt", REG, b"ok")
HOSTILE = {
    "dots.tar.gz": (entries(OK, ("../evil", REG, b"x")), "'../evil' leads out"),
    "inner-dots.tar.gz": (entries(OK, ("a/../../evil", REG, b"x")), "leads out"),
    "absolute.tar.gz": (entries(OK, ("/tmp/evil", REG, b"x")), "is absolute"),
    "drive.tar.gz": (entries(OK, ("C:/evil", REG, b"x")), "is absolute"),
    "backslash.tar.gz": (entries(OK, ("..\\evil", REG, b"x")), "characters"),
    "newline.tar.gz": (entries(OK, ("a\nb", REG, b"x")), "characters"),
    "long.tar.gz": (entries(OK, ("x" * 300, REG, b"x")), "too long"),
    "symlink-out.tar.gz": (entries(OK, ("l", SYM, "../../etc")), "leads out"),
    "symlink-absolute.tar.gz": (entries(OK, ("l", SYM, "/etc")), "is absolute"),
    "symlink-then-through.tar.gz": (
        entries(("d/x", REG, b""), ("l", SYM, "d"), ("l/evil", REG, b"x")), "is a file and a",
    ),
    "symlink-to-folder.tar.gz": (
        entries(("d", tarfile.DIRTYPE, ""), ("l", SYM, "d")), "no file of it",
    ),
    "symlink-to-nothing.tar.gz": (entries(OK, ("l", SYM, "gone")), "no file of it"),
    "symlink-chain.tar.gz": (entries(OK, ("l", SYM, "m"), ("m", SYM, "ok.txt")), "no file of it"),
    "hardlink-out.tar.gz": (entries(OK, ("l", LINK, "../../etc/passwd")), "leads out"),
    "hardlink-absolute.tar.gz": (entries(OK, ("l", LINK, "/etc/passwd")), "is absolute"),
    "device.tar.gz": (entries(OK, ("d", tarfile.CHRTYPE, "")), "is a device"),
    "fifo.tar.gz": (entries(OK, ("d", tarfile.FIFOTYPE, "")), "is a device"),
    "twice.tar.gz": (entries(OK, OK), "twice"),
    "file-and-folder.tar.gz": (entries(("a", REG, b"x"), ("a/b", REG, b"x")), "a file and a"),
    "mark.tar.gz": (entries(OK, (MARK, REG, b"x")), "erc's own"),
    "dots.zip": (odd_zip("../evil"), "leads out"),
    "absolute.zip": (odd_zip("/tmp/evil"), "is absolute"),
    "backslash.zip": (odd_zip("..\\evil"), "characters"),
    "symlink.zip": (odd_zip("l", b"/etc", stat.S_IFLNK | 0o777), "a link or a device"),
    "device.zip": (odd_zip("l", b"", stat.S_IFBLK | 0o777), "a link or a device"),
    # Made when wanted: every test worker reads this table.
    "bomb.zip": (lambda: zipped({"zeros": bytes(60_000_000)}), "times its own size"),
    "bomb.tar.gz": (lambda: packed({"zeros": bytes(60_000_000)}), "times its own size"),
    "nested.zip": (zipped({"ok.txt": b"ok", "a/in.tar.gz": entries(OK, ("../../e", REG, b"x"))}),
                   "in.tar.gz: refused"),
    "nested.tar.gz": (packed({"in.zip": odd_zip("../../evil")}), "in.zip: refused"),
}  # fmt: skip


def alone(folder, name):
    """Nothing stands in the folder but the archive."""
    return [path.name for path in folder.rglob("*")] == [name]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives_write_nothing(tmp_path, name):
    body, why = HOSTILE[name]
    inside = tmp_path / "deep" / "er"
    inside.mkdir(parents=True)
    (inside / name).write_bytes(body() if callable(body) else body)
    with pytest.raises(HostileArchive, match="refused, and nothing of it is written") as caught:
        unpack(inside / name, inside / "out")
    assert why in str(caught.value)
    assert alone(inside, name) and {p.name for p in tmp_path.iterdir()} == {"deep"}


def test_refused_before_anything_is_written(tmp_path, monkeypatch):
    """The first pass sees the last member: not even the hidden folder was made."""
    files = [(f"f{n}", REG, b"x") for n in range(50)]
    (tmp_path / "a.tar.gz").write_bytes(entries(*files, ("../evil", REG, b"x")))
    made = []
    monkeypatch.setattr(room.Path, "mkdir", lambda self, *_, **__: made.append(self))
    with pytest.raises(HostileArchive):
        unpack(tmp_path / "a.tar.gz", tmp_path / "a")
    assert made == []


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_limits(tmp_path, name):
    pack = zipped if name.endswith("zip") else packed
    (tmp_path / name).write_bytes(pack({f"{n}": noise(100) for n in range(20)}))
    for limits, why in (
        (Limits(files=19), "more than 19 files"),
        (Limits(size=1999), "more than 0 GB"),
    ):
        with pytest.raises(HostileArchive, match=why):
            unpack(tmp_path / name, tmp_path / "a", limits=limits)
        assert alone(tmp_path, name)
    assert unpack(tmp_path / name, tmp_path / "a", limits=Limits(2000, 20)).files == 20


def test_archives_without_end(tmp_path):
    body = b"x"
    for depth in range(5):
        body = zipped({f"{depth}.zip" if depth else "x.txt": body})
    (tmp_path / "a.zip").write_bytes(body)
    with pytest.raises(HostileArchive, match="more than 3 deep"):
        unpack(tmp_path / "a.zip", tmp_path / "a")
    assert alone(tmp_path, "a.zip")


def test_bombs_in_parts_are_added_up(tmp_path):
    """Four archives, each under the limits, come to more than the outer one may hold."""
    parts = {f"{n}.zip": zipped({"zeros": bytes(20_000_000)}) for n in range(4)}
    (tmp_path / "a.zip").write_bytes(zipped(parts))
    with pytest.raises(HostileArchive, match="times its own size"):
        unpack(tmp_path / "a.zip", tmp_path / "a")
    assert alone(tmp_path, "a.zip")


def test_a_header_of_gigabytes_is_not_read(tmp_path):
    """tarfile reads a pax header whole; this one claims 3 GB. And sizes below zero loop."""
    for kind, size in ((tarfile.XHDTYPE, 3 << 30), (tarfile.XHDTYPE, -512), (REG, -1024)):
        header = tarfile.TarInfo("pax")
        header.type, header.size = kind, size
        with gzip.open(tmp_path / "a.tar.gz", "wb") as file:
            file.write(header.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20))
        began = time.monotonic()
        error = HostileArchive if kind == tarfile.XHDTYPE else DamagedArchive
        with pytest.raises(error):
            unpack(tmp_path / "a.tar.gz", tmp_path / "a")
        assert time.monotonic() - began < 2
        assert alone(tmp_path, "a.tar.gz")


def test_honest_links_become_files(tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(
        entries(("d/l", SYM, "../ok.txt"), OK, ("h", LINK, "ok.txt"), ("./e/", b"5", ""))
    )
    assert unpack(tmp_path / "a.tar.gz", tmp_path / "a").files == 3
    assert (tmp_path / "a/d/l").read_bytes() == (tmp_path / "a/h").read_bytes() == b"ok"
    assert not (tmp_path / "a/d/l").is_symlink() and (tmp_path / "a/e").is_dir()


def test_nested_archives_become_folders(tmp_path):
    inner = packed({"dev_splits_complete/dia0_utt0.mp4": noise(500), "dev.csv": b"1"})
    made = {"MELD/dev.tar.gz": inner, "MELD/dev/x.txt": b"x", "MELD/not.zip": b"text",
            "MELD/t.tar": packed({"t.txt": b"t"}, "w")}  # fmt: skip
    (tmp_path / "a.zip").write_bytes(zipped(made))
    said = []
    contents = unpack(tmp_path / "a.zip", tmp_path / "a", progress=lambda *at: said.append(at))
    assert {name for name in tree(tmp_path / "a") if MARK not in name} == {
        "MELD/dev.unpacked/dev_splits_complete/dia0_utt0.mp4", "MELD/dev.unpacked/dev.csv",
        "MELD/dev/x.txt", "MELD/not.zip", "MELD/t/t.txt",
    }  # fmt: skip
    assert contents.files == 5 and said[-1][0] == said[-1][1]
    size = (tmp_path / "a.zip").stat().st_size
    assert read_mark(tmp_path / "a", "a.zip", size) == contents
    assert read_mark(tmp_path / "a", "a.zip", size + 1) is None
    (tmp_path / "a/MELD/not.zip").unlink()
    assert read_mark(tmp_path / "a", "a.zip", size) is None


def test_its_own_folder_is_not_doubled(tmp_path):
    (tmp_path / "MELD.Raw.tar.gz").write_bytes(packed({"MELD.Raw/a.txt": b"a"}))
    unpack(tmp_path / "MELD.Raw.tar.gz", tmp_path / "MELD.Raw")
    assert set(tree(tmp_path / "MELD.Raw")) == {"a.txt", MARK}


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.tar"])
def test_damage_is_told_and_leaves_nothing(tmp_path, name):
    pack = zipped if name.endswith("zip") else packed
    files = {f"{n}.bin": noise(3000, n) for n in range(5)}
    good = pack(files, "w") if name.endswith(".tar") else pack(files)
    half = good[: len(good) // 2]
    for bad in (good[:2000], half, b"", b"<html>" * 50, good[:7000] + b"\1" * 600):
        (tmp_path / name).write_bytes(bad)
        with pytest.raises(DamagedArchive, match=f"{name}: is damaged"):
            unpack(tmp_path / name, tmp_path / "a")
        assert alone(tmp_path, name)


def test_too_little_space_is_said_before_writing(tmp_path):
    """An honest tar of twice what is free; on this disk it is a hole."""
    archive, info = tmp_path / "a.tar", tarfile.TarInfo("big")
    info.size = 2 * shutil.disk_usage(tmp_path).free
    with open(archive, "wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        try:
            file.truncate(512 + (info.size + 511) // 512 * 512 + 1024)
        except OSError:
            pytest.skip("this file system holds no holes of that size")
    with pytest.raises(CorpusError, match="GB are needed to unpack it"):
        unpack(archive, tmp_path / "a", limits=Limits(size=1 << 62))
    assert alone(tmp_path, "a.tar")


NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30) | st.lists(
    st.sampled_from(["..", ".", "", "a", "b.txt", "ü", "C:", "\\", "~", "con", "\x00", "-rf"]),
    min_size=1, max_size=6,
).map("/".join)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(NAMES, st.binary(max_size=20), min_size=1, max_size=4), st.booleans())
def test_whatever_the_names_nothing_leaves_the_folder(tmp_path_factory, files, tar):
    folder = tmp_path_factory.mktemp("names")
    top = folder / "1/2/3/4/5/6/7"
    top.mkdir(parents=True)
    name = "a.tar.gz" if tar else "a.zip"
    infos = [(p, REG, body) for p, body in files.items() if "\0" not in p and not p.endswith("/")]
    if tar:
        (top / name).write_bytes(entries(*infos))
    else:
        with zipfile.ZipFile(top / name, "w") as opened:
            for path, _, body in infos:
                info = zipfile.ZipInfo("x")
                info.filename = path
                opened.writestr(info, body)
    before = tree(folder)
    try:
        contents = unpack(top / name, top / "out")
    except CorpusError:
        assert tree(folder) == before
        assert not (top / "out").exists()
    else:
        after = tree(folder)
        assert {p for p in after if not p.startswith("1/2/3/4/5/6/7/out/")} == set(before)
        kept = {safe_path(path): body for path, _, body in infos if path not in (".", "./")}
        if not any(is_archive(path) for path in kept):
            assert contents.files == len(kept)
            for path, body in kept.items():
                lifted = path.removeprefix("out/")
                assert body in ((top / "out" / p).read_bytes() for p in (path, lifted)
                                if (top / "out" / p).is_file())  # fmt: skip


@given(st.text())
def test_safe_paths_stay_inside(name):
    try:
        path = safe_path(name)
    except ValueError:
        return
    assert os.path.normpath(f"/x/{path}") == f"/x/{path}" and safe_path(path) == path
    assert name.startswith(stem(name)) and stem(name)


def fuzz(folder, count):
    chance = random.Random(0)
    files = {f"d/{n}.bin": noise(200, n) for n in range(4)}
    goods = {"a.zip": zipped(files), "a.tar.gz": packed(files), "a.tar": packed(files, "w")}
    goods["b.tar.gz"] = packed(files | {"long" * 40: b"x", "ü" * 60: b"y"})
    unpacked = 0
    for _ in range(count):
        name, good = chance.choice(list(goods.items()))
        bad = bytearray(gzip.decompress(good) if name == "b.tar.gz" else good)
        for _ in range(chance.randint(1, 4)):
            bad[chance.randrange(len(bad))] = chance.randrange(256)
        if chance.random() < 0.2:
            del bad[chance.randrange(len(bad)) :]
        (folder / name).write_bytes(gzip.compress(bad, 1) if name == "b.tar.gz" else bad)
        try:
            unpack(folder / name, folder / "out")
        except (HostileArchive, DamagedArchive):
            assert not (folder / "out").exists()
        else:
            unpacked += 1
            assert (folder / "out" / MARK).is_file()
            subprocess.run(["rm", "-r", str(folder / "out")], check=True)
        (folder / name).unlink()
        assert not list(folder.iterdir())
    return unpacked


def test_flipped_bytes_are_refused_or_harmless(tmp_path):
    fuzz(tmp_path, 150)


@pytest.mark.soak
def test_5000_fuzzed_archives(tmp_path):
    print(f"\n5,000 fuzzed archives: {fuzz(tmp_path, 5000)} unpacked, the others refused")


FORKS = """
import os, sys
from pathlib import Path
from erc_features.acquire.unpack import unpack
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        unpack(Path({archive!r}), Path({to!r}))
        os._exit(0)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


def kill_unpacking(tmp_path, count):
    archive, to = tmp_path / "a.tar.gz", tmp_path / "a"
    inner = zipped({f"in/{n}.bin": noise(3000, n) for n in range(100)})
    files = {f"d/{n}.bin": noise(2000, n) for n in range(300)} | {"e/in.zip": inner}
    archive.write_bytes(packed(files))
    size = archive.stat().st_size
    began = time.monotonic()
    whole = unpack(archive, to)
    length = time.monotonic() - began
    wanted = tree(to)
    subprocess.run(["rm", "-r", str(to)], check=True)
    moments = random.Random(0)
    cut = ended = 0
    code = FORKS.format(archive=str(archive), to=str(to))
    with subprocess.Popen([sys.executable, "-c", code], text=True, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as forks:  # fmt: skip
        while cut < count:
            forks.stdin.write("\n")
            forks.stdin.flush()
            child = forks.stdout.readline().strip()
            time.sleep(moments.uniform(0, 1.5 * length))
            subprocess.run(["kill", "-9", child], check=False, capture_output=True)
            cut += int(forks.stdout.readline()) == 9
            # It is there and whole, or not there.
            assert to.exists() == (read_mark(to, "a.tar.gz", size) is not None)
            if to.exists():
                ended += 1
                assert tree(to) == wanted
                subprocess.run(["rm", "-r", str(to)], check=True)
        forks.stdin.close()
    assert unpack(archive, to) == whole and tree(to) == wanted
    assert {path.name for path in tmp_path.iterdir()} == {"a.tar.gz", "a"}
    return ended


def test_killed_while_unpacking_it_is_never_half_there(tmp_path):
    kill_unpacking(tmp_path, 5)


@pytest.mark.soak
def test_killed_50_times_while_unpacking(tmp_path):
    print(f"\n50 kills while unpacking; {kill_unpacking(tmp_path, 50)} ended before the kill")
