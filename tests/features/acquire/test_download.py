"""`erc download` against a local server that speaks Kaggle's calls; the client is the real one."""

import io
import json
import os
import random
import socket
import subprocess
import sys
import tarfile
import textwrap
import time
import zipfile

import pytest
from kaggle_server import KEY, TOKEN, USERNAME, Kaggle, serve

from erc_features.acquire import kaggle as client
from erc_features.acquire.download import download
from erc_features.corpora.meld import read_meld
from erc_features.errors import CorpusError

RAW = "MELD-RAW/MELD.Raw"
HEADER = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID\n"


def noise(size, seed=0):
    return random.Random(seed).randbytes(size)


def packed(files, mode="w:gz"):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode) as tar:
        for name, body in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    return made.getvalue()


def zipped(files):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, body in files.items():
            opened.writestr(name, body)
    return made.getvalue()


def meld(clip=30_000):
    """MELD.Raw as three archives and CSVs, and things beside it that nobody asked for."""
    folders = {"train": "train_splits", "dev": "dev_splits_complete",
               "test": "output_repeated_splits_test"}  # fmt: skip
    files = {"README.md": b"read me", "MELD-RAW/MELD.Features/text.pkl": noise(999)}
    for number, (split, folder) in enumerate(folders.items()):
        rows = HEADER + f"1,Hi,Joey,joy,positive,0,{number}\n"
        files[f"{RAW}/{split}_sent_emo.csv"] = rows.encode()
        clips = {f"{folder}/dia0_utt{number}.mp4": noise(clip, number)}
        files[f"{RAW}/{split}.tar.gz"] = packed(clips)
    return files


def tree(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def point_to(monkeypatch, address):
    """The one thing that is changed in the client: the address of kaggle.com."""
    from kagglesdk import kaggle_env

    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, address)


@pytest.fixture(autouse=True)
def account(monkeypatch, tmp_path):
    """A home of its own, with credentials; and no waiting between attempts."""
    for name in [name for name in os.environ if name.startswith("KAGGLE_")]:
        monkeypatch.delenv(name)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("KAGGLE_USERNAME", USERNAME)
    monkeypatch.setenv("KAGGLE_KEY", KEY)
    monkeypatch.setattr(client, "WAIT", 0.001)
    return home


@pytest.fixture
def site(monkeypatch):
    with serve(Kaggle(meld())) as kaggle:
        point_to(monkeypatch, kaggle.api)
        yield kaggle


def refused(tmp_path, *needles, **options):
    with pytest.raises(CorpusError) as caught:
        download(to=tmp_path / "raw", **options)
    message = str(caught.value)
    for needle in needles:
        assert needle in message
    for secret in (KEY, TOKEN, "X-Signature", "secret"):
        assert secret not in message
    return message


def test_meld_arrives_unpacked_and_readable(site, tmp_path):
    said, needs = [], []
    done = download(to=tmp_path / "raw", progress=lambda *at: said.append(at),
                    announce=needs.append)  # fmt: skip
    assert done.folder == tmp_path / "raw/MELD.Raw" and done.files == done.fetched == 6
    assert sorted(path.name for path in done.unpacked) == ["dev", "test", "train"]
    raw = read_meld(tmp_path / "raw")
    assert len(raw.rows) == 3 and all(row.clip for row in raw.rows)
    assert raw.rows[0].clip.read_bytes() == noise(30_000, 0)
    assert not list(done.folder.rglob("*.gz")) and not (done.folder / ".download").exists()
    assert not list((tmp_path / "raw").rglob("*.pkl")), "only the subdirectory is fetched"
    size = sum(len(body) for name, body in site.files.items() if name.startswith(RAW))
    assert needs[0].size == size == done.size and needs[0].files == 6
    assert needs[0].free > needs[0].space > size
    assert str(needs[0]).startswith("zaber666/meld-dataset: 6 files to fetch, 0.00 GB. About")
    assert f"{done.folder}: 6 files" in str(done) and "3 archives unpacked" in str(done)
    assert ("download", size, size) in said and ("list", 8, 8) in said
    assert any(what == "unpack train.tar.gz" and at == of for what, at, of in said)


def test_run_again_it_asks_nothing(site, tmp_path, monkeypatch):
    first = download(to=tmp_path / "raw")
    before = tree(first.folder)
    site.requests.clear()
    monkeypatch.delenv("KAGGLE_KEY")
    again = download(to=tmp_path / "raw")
    assert again.already and again.fetched == 0 and not site.requests
    assert (again.files, again.unpacked) == (first.files, first.unpacked)
    assert tree(first.folder) == before


def test_what_was_lost_since_comes_again_and_nothing_else(site, tmp_path):
    folder = download(to=tmp_path / "raw").folder
    before = tree(folder)
    (folder / "train/train_splits/dia0_utt0.mp4").unlink()
    (folder / "dev_sent_emo.csv").write_text("cut")
    site.requests.clear()
    assert download(to=tmp_path / "raw").fetched == 2
    assert {name for name, _ in site.requests} == {f"{RAW}/train.tar.gz", f"{RAW}/dev_sent_emo.csv"}
    # The damaged folder is kept aside: what erc did not write so, it does not remove.
    now = tree(folder)
    assert now["train.unpacked/train_splits/dia0_utt0.mp4"] == noise(30_000)
    assert now["dev_sent_emo.csv"] == before["dev_sent_emo.csv"]
    assert download(to=tmp_path / "raw").already


@pytest.mark.parametrize("keep", [True, False])
def test_archives_are_kept_by_option_and_unpacked_later(site, tmp_path, keep):
    done = download(to=tmp_path / "raw", unpack=False)
    assert not done.unpacked
    assert (done.folder / "train.tar.gz").read_bytes() == site.files[f"{RAW}/train.tar.gz"]
    site.requests.clear()
    done = download(to=tmp_path / "raw", keep_archives=keep)
    assert not site.requests and len(done.unpacked) == 3 and done.fetched == 0
    assert (done.folder / "train.tar.gz").exists() == keep
    assert download(to=tmp_path / "raw", unpack=False).already


def test_a_broken_transfer_goes_on_from_its_byte(site, tmp_path):
    name = f"{RAW}/train.tar.gz"
    site.files |= meld(clip=400_000)
    site.cuts[name] = [150_000, 65_536, 0]
    download(to=tmp_path / "raw")
    assert site.asked(name) == [None, "bytes=131072-", "bytes=196608-", "bytes=196608-"]
    assert read_meld(tmp_path / "raw").rows[0].clip.read_bytes() == noise(400_000)


def test_a_new_process_goes_on_from_the_byte_too(site, tmp_path):
    name = f"{RAW}/train.tar.gz"
    site.files |= meld(clip=400_000)
    site.cuts[name] = [150_000] + [0] * client.ATTEMPTS
    refused(tmp_path, "run the same command again")
    assert not list((tmp_path / "raw").rglob("train*.gz")), "a part has no name of its own"
    site.requests.clear()
    site.cuts.clear()
    download(to=tmp_path / "raw")
    assert site.asked(name) == ["bytes=131072-"]
    assert read_meld(tmp_path / "raw").rows[0].clip.read_bytes() == noise(400_000)


@pytest.mark.parametrize(
    ("tags", "ranges", "if_range"),
    [(True, True, True), (True, True, False), (True, False, True), (False, True, True),
     (False, False, True)],
)  # fmt: skip
def test_a_file_that_changed_meanwhile_is_begun_anew(site, tmp_path, tags, ranges, if_range):
    """Same name, same length, other bytes: an ETag tells; without Range all comes again."""
    site.if_range = if_range
    name = f"{RAW}/train_sent_emo.csv"
    site.files[name] = noise(100_000, 1)
    site.etags, site.ranges = tags, ranges
    site.cuts[name] = [70_000] + [0] * client.ATTEMPTS
    refused(tmp_path, "run the same command again")
    site.cuts.clear()
    if tags or not ranges:
        site.files[name] = noise(100_000, 2)
    folder = download(to=tmp_path / "raw").folder
    assert (folder / "train_sent_emo.csv").read_bytes() == site.files[name]


def test_other_length_than_listed_is_told_and_fetched_anew(site, tmp_path):
    name = f"{RAW}/dev_sent_emo.csv"
    site.sizes[name] = 10_000
    refused(tmp_path, "1 of 6 files", f"{name}: ", "Kaggle lists 10,000")
    folder = tmp_path / "raw/MELD.Raw"
    assert (folder / "train/train_splits").is_dir(), "the others are there"
    assert not (folder / "dev_sent_emo.csv").exists() and not (folder / "download.json").exists()
    site.sizes.clear()
    assert download(to=tmp_path / "raw").fetched == 1


@pytest.mark.parametrize("damage", ["flipped", "cut", "no archive"])
def test_a_damaged_archive_is_told_and_fetched_anew(site, tmp_path, damage):
    name = f"{RAW}/train.tar.gz"
    good = site.files[name]
    middle = len(good) // 2
    site.files[name] = {
        "flipped": good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :],
        "cut": good[:middle],
        "no archive": b"<html>" * 100,
    }[damage]
    refused(tmp_path, "train.tar.gz: is damaged", "fetched anew")
    assert not list((tmp_path / "raw").rglob("*train_splits*"))
    site.files[name] = good
    site.requests.clear()
    assert download(to=tmp_path / "raw").fetched == 1
    assert site.asked(name) == [None]
    assert len(read_meld(tmp_path / "raw").rows) == 3


def test_a_hostile_archive_is_refused_and_the_others_arrive(site, tmp_path):
    site.files[f"{RAW}/train.tar.gz"] = packed({"ok.txt": b"ok", "../../../evil.txt": b"evil"})
    refused(tmp_path, "train.tar.gz: refused", "'../../../evil.txt' leads out", "--no-unpack")
    assert not list(tmp_path.rglob("evil.txt")) and not list(tmp_path.rglob("ok.txt"))
    assert list(tmp_path.rglob("dev_splits_complete"))
    assert download(to=tmp_path / "raw", unpack=False).files == 6


@pytest.mark.parametrize("name", ["../../evil.csv", "/etc/evil.csv", "a/\x00b", "c:/x"])
def test_a_hostile_list_is_refused(site, tmp_path, name):
    site.files[name] = b"evil"
    refused(tmp_path, "Nothing was fetched", "zaber666/meld-dataset lists")
    assert not (tmp_path / "raw").exists()


def test_thousands_of_clips_listed_singly(site, tmp_path):
    """The dataset as it is: clips in folders, not archives."""
    clips = {f"{RAW}/train/train_splits/dia0_utt{n}.mp4": noise(100, n) for n in range(120)}
    site.files, site.page = clips | {f"{RAW}/notes.json": b'["code"]'}, 30
    done = download(to=tmp_path / "raw")
    assert done.fetched == 121
    there = tree(done.folder)
    assert there.pop("notes.json") == b'["code"]', "a JSON file is data, not an answer"
    del there["download.json"]
    assert {f"{RAW}/{name}": body for name, body in there.items()} == clips


def test_a_csv_that_kaggle_wraps_in_a_zip(site, tmp_path):
    """Kaggle/kagglehub issue 187: single CSVs are served as a zip under the CSV's name."""
    name = f"{RAW}/dev_sent_emo.csv"
    plain = site.files[name]
    for listed in (len(plain), len(zipped({"dev_sent_emo.csv": plain}))):
        site.files[name], site.sizes[name] = zipped({"dev_sent_emo.csv": plain}), listed
        to = tmp_path / str(listed)
        folder = download(to=to).folder
        assert (folder / "dev_sent_emo.csv").read_bytes() == plain
        assert download(to=to).already


@pytest.mark.parametrize("layout", ["MELD-RAW.zip", "MELD-RAW/MELD.Raw.tar.gz", "all.zip"])
def test_one_big_archive_that_holds_the_subdirectory(site, tmp_path, layout):
    inner = {name: body for name, body in meld().items() if name.startswith(RAW)}
    cut = {"MELD-RAW.zip": 9, "MELD-RAW/MELD.Raw.tar.gz": len(RAW) + 1, "all.zip": 0}[layout]
    pack = zipped if layout.endswith("zip") else packed
    site.files = {layout: pack({name[cut:]: body for name, body in inner.items()}), "LICENSE": b"x"}
    done = download(to=tmp_path / "raw")
    assert done.files == 1
    raw = read_meld(tmp_path / "raw")
    assert len(raw.rows) == 3 and all(row.clip for row in raw.rows)
    assert download(to=tmp_path / "raw").already


def test_archives_that_do_not_hold_it(site, tmp_path):
    site.files = {"other.zip": zipped({"cats/1.png": b"meow"})}
    refused(tmp_path, "No folder 'MELD-RAW/MELD.Raw'", "other/cats", "--subdir ''")


def test_an_archive_beside_a_folder_of_its_name(site, tmp_path, monkeypatch):
    """The file of that folder comes late: what was unpacked must not be where it goes."""
    monkeypatch.setattr(client, "WAIT", 0.3)
    site.status[f"{RAW}/train/b.txt"], site.retry_after = [503], ""
    site.files = {f"{RAW}/train.tar.gz": packed({"a.txt": b"a"}), f"{RAW}/train/b.txt": b"b"}
    folder = download(to=tmp_path / "raw").folder
    assert (folder / "train.unpacked/a.txt").is_file() and (folder / "train/b.txt").is_file()
    assert download(to=tmp_path / "raw").already


def test_another_subdirectory_and_all(site, tmp_path):
    done = download(subdir="MELD-RAW/MELD.Features", to=tmp_path / "raw")
    assert set(tree(done.folder)) == {"text.pkl", "download.json"}
    assert download(subdir="", to=tmp_path / "all").files == 8
    assert (tmp_path / "all/MELD-RAW/MELD.Raw/train/train_splits").is_dir()
    refused(tmp_path, "No folder 'MELD-RAW/Nope'", "MELD-RAW/MELD.Raw: 6 files", "(top): 1",
            subdir="MELD-RAW/Nope")  # fmt: skip
    (tmp_path / "raw/MELD.Raw").symlink_to(tmp_path / "raw/MELD.Features")
    refused(tmp_path, "holds MELD-RAW/MELD.Features of zaber666/meld-dataset", "--to")


def test_credentials_that_are_missing(site, tmp_path, monkeypatch, account):
    monkeypatch.delenv("KAGGLE_KEY")
    refused(tmp_path, "No Kaggle credentials", "kaggle.com under Settings", "KAGGLE_API_TOKEN",
            "KAGGLE_USERNAME", str(account / ".kaggle/kaggle.json"))  # fmt: skip
    assert not (tmp_path / "raw").exists() and not list(account.iterdir())


@pytest.mark.parametrize(
    "way", ["token", "token file", "access_token", "kaggle.json", "xdg", "dir"]
)
def test_every_place_for_credentials(site, tmp_path, monkeypatch, account, way):
    monkeypatch.delenv("KAGGLE_USERNAME")
    monkeypatch.delenv("KAGGLE_KEY")
    places = {"token file": "token", "access_token": ".kaggle/access_token",
              "kaggle.json": ".kaggle/kaggle.json", "xdg": ".config/kaggle/kaggle.json",
              "dir": "elsewhere/kaggle.json"}  # fmt: skip
    if way in places:
        place = account / places[way]
        place.parent.mkdir(parents=True, exist_ok=True)
        key = json.dumps({"username": USERNAME, "key": KEY})
        place.write_text(key if place.suffix else f"{TOKEN}\n")
    if way.startswith("token"):
        monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN if way == "token" else str(account / "token"))
    if way == "dir":
        monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(account / "elsewhere"))
    assert download(subdir="MELD-RAW/MELD.Features", to=tmp_path / "raw").fetched == 1


@pytest.mark.parametrize("key", ["wrong", "l" * 5000, "clé – ключ"])
def test_credentials_that_are_refused(site, tmp_path, monkeypatch, key):
    monkeypatch.setenv("KAGGLE_KEY", key)
    message = refused(tmp_path, "KAGGLE_USERNAME and KAGGLE_KEY", "401", "new token")
    assert key not in message
    monkeypatch.setenv("KAGGLE_API_TOKEN", key)
    assert key not in refused(tmp_path, "KAGGLE_API_TOKEN", "401", "new token")


def test_a_kaggle_json_that_is_none(site, tmp_path, monkeypatch, account):
    (account / ".kaggle").mkdir()
    (account / ".kaggle/kaggle.json").write_text("{")
    refused(tmp_path, "kaggle.json: cannot be read as JSON", "new API key")


def test_a_licence_that_was_not_accepted(site, tmp_path):
    page = "kaggle.com/datasets/zaber666/meld-dataset"
    site.status[""] = [403]
    refused(tmp_path, "(403)", page, "accept its licence")
    site.status = {f"{RAW}/train.tar.gz": [403]}
    refused(tmp_path, "(403)", page, "accept its licence")
    assert download(to=tmp_path / "raw").files == 6


def test_no_such_dataset(site, tmp_path):
    refused(tmp_path, "No dataset zaber666/mold", "404", "--owner and --name", name="mold")
    for options in ({"owner": "a/b"}, {"name": "../x"}, {"subdir": "../x"}, {"subdir": "/x"},
                    {"connections": 0}):  # fmt: skip
        refused(tmp_path, f"--{next(iter(options))}", **options)


def test_a_listed_file_that_is_not_served_costs_only_itself(site, tmp_path):
    """Kaggle/kaggle-cli issue 508: some files of large datasets answer 404."""
    site.status[f"{RAW}/dev.tar.gz"] = [404]
    refused(tmp_path, "1 of 6 files", "dev.tar.gz: Kaggle lists it but does not serve it (404)")
    assert list(tmp_path.rglob("train_splits"))
    assert download(to=tmp_path / "raw").fetched == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_faults_that_pass_and_faults_that_stay(site, tmp_path, status):
    site.status = {"": [status, status], f"{RAW}/train.tar.gz": [status]}
    assert download(to=tmp_path / "raw").fetched == 6
    site.status[""] = [status] * client.ATTEMPTS
    refused(tmp_path, f"({status})", "Wait a few minutes", subdir="MELD-RAW/MELD.Features")


def test_no_network_is_said_at_once(tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as held:
        closed = held.getsockname()[1]
    began = time.monotonic()
    for address in (f"http://127.0.0.1:{closed}", "http://no-such-host.invalid"):
        point_to(monkeypatch, address)
        refused(tmp_path, "cannot be reached", "HTTPS_PROXY", "run the same command again")
    assert time.monotonic() - began < 3


def test_a_network_that_swallows_everything_is_said_after_its_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(client, "READ", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        point_to(monkeypatch, f"http://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        refused(tmp_path, "cannot be reached")
        assert time.monotonic() - began < 3


def test_a_sign_in_page_of_the_network(site, tmp_path):
    site.body = b"<html>Welcome to the hotel</html>"
    refused(tmp_path, "not Kaggle", "sign-in page")


def test_too_little_space_is_said_before_it_begins(site, tmp_path):
    site.sizes[f"{RAW}/train.tar.gz"] = 10**16
    needs = []
    refused(tmp_path, "20000000.00 GB of disk are needed", "--to", announce=needs.append)
    assert needs and not site.requests


FULL = """
import sys, pathlib
sys.path[:0] = {path!r}
from kagglesdk import kaggle_env
kaggle_env._env_to_endpoint[kaggle_env.KaggleEnv.PROD] = {api!r}
from erc_features.acquire.download import download
from erc_features.errors import CorpusError
def fill(needs):
    left = needs.free - 300_000
    pathlib.Path("{disk}/filler").write_bytes(b"x" * left)
try:
    download(to="{disk}/raw", announce=fill)
except CorpusError as error:
    print("refused:", error)
pathlib.Path("{disk}/filler").unlink()
print("then:", download(to="{disk}/raw").files)
"""


def test_a_disk_that_fills_up_meanwhile(tmp_path, monkeypatch):
    """A real file system of 8 MB that is full when the last clips arrive."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=8m none {disk}"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("this machine lets no user mount a tmpfs")
    with serve(Kaggle(meld(clip=600_000))) as kaggle:
        code = FULL.format(path=sys.path, api=kaggle.api, disk=disk)
        done = subprocess.run(
            ["unshare", "-rm", "sh", "-c", f'{mount} && exec "$0" -c "$1"', sys.executable, code],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    assert "refused: " in done.stdout, done.stderr
    assert "the disk is full. What is finished is kept" in done.stdout
    assert "then: 6" in done.stdout, done.stderr


def test_two_at_once_do_not_mix(site, tmp_path):
    def again(_):
        refused(tmp_path, "another erc download is at work")

    assert download(to=tmp_path / "raw", announce=again).fetched == 6


# A process that lives on; each download is a fork of it, so that kills fall into the download.
FORKS = """
import os, sys
sys.path[:0] = {path!r}
from kagglesdk import kaggle_env
kaggle_env._env_to_endpoint[kaggle_env.KaggleEnv.PROD] = {api!r}
import kagglesdk.datasets.types.dataset_api_service
from erc_features.acquire.download import download
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        download(to={to!r}, connections=3)
        os._exit(0)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


def kills(tmp_path, count, clip, slow):
    """Kill downloads at `count` random moments; each goes on from the last. The bytes sent."""
    moments = random.Random(0)
    with serve(Kaggle(meld(clip=clip))) as kaggle:
        kaggle.slow = slow
        to = tmp_path / "raw"
        code = FORKS.format(path=sys.path, api=kaggle.api, to=str(to))
        with subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], text=True,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE) as forks:  # fmt: skip

            def run(seconds):
                forks.stdin.write("\n")
                forks.stdin.flush()
                child = int(forks.stdout.readline())
                if seconds is not None:
                    time.sleep(seconds)
                    subprocess.run(["kill", "-9", str(child)], check=False, capture_output=True)
                return int(forks.stdout.readline())

            ended, cut = 0, 0
            while cut < count:
                killed = run(moments.uniform(0.02, 0.35)) == 9
                cut += killed
                # A kill can also fall between the last thing written and the process's end.
                if not (to / "MELD.Raw/download.json").exists():
                    assert killed
                    continue
                ended += 1
                check(to)
                subprocess.run(["rm", "-r", str(to)], check=True)
            assert run(None) == 0
            forks.stdin.close()
        check(to)
        return kaggle, ended + 1


def check(to):
    raw = read_meld(to)
    for number, row in enumerate(raw.rows):
        assert row.clip.stat().st_size and row.clip.read_bytes()[:8] == noise(8, number)
    assert len(raw.rows) == 3 and not list(to.rglob("*.part")) + list(to.rglob("*.unpacking"))


def test_killed_it_goes_on(tmp_path):
    kaggle, ended = kills(tmp_path, 4, 1_500_000, 0.01)
    whole = sum(len(body) for name, body in kaggle.files.items() if name.startswith(RAW))
    # What was under way in a socket when the kill fell comes again; finished bytes do not.
    assert sum(kaggle.sent.values()) < whole * (ended + 3)


@pytest.mark.soak
def test_killed_50_times_it_goes_on(tmp_path):
    kaggle, ended = kills(tmp_path, 50, 3_000_000, 0.01)
    sent = sum(kaggle.sent.values()) / 1e6
    print(f"\n50 kills, {ended} downloads to the end, {sent:.0f} MB sent")
