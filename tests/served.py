"""A run on real media, a real server of it on loopback, and requests to it by hand."""

import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
from checkpoints import tiny_bert
from clips import encode_clip, tone
from corpora import WORDS, write_rows

from erc_features.corpora.downmix import DOWNMIX
from erc_features.encoders.base import Settings
from erc_features.extraction.extract import extract
from erc_features.media import write_mosaic, write_wav
from erc_fusion.config.config import FuseConfig, with_options
from erc_fusion.fuse import fuse
from erc_fusion.runs.run import Run
from erc_fusion.serving.limits import Limits
from erc_fusion.serving.loaded import Loaded
from erc_fusion.serving.server import application, make_server


def make_run(folder: Path, **options: Any) -> Run:
    """A run on a tiny BERT's texts, and the baselines' pictures and sounds of every third row."""
    root = folder / "data/served"
    random = np.random.default_rng(0)
    for split, count in (("train", 18), ("dev", 9), ("test", 9)):
        rows: list[dict[str, object]] = []
        (root / split).mkdir(parents=True)
        for i in range(count):
            label = list(WORDS)[i % 3]
            row: dict[str, object] = {
                "dialogue": i // 5, "sequence": i % 5, "speaker": f"S{i % 2}", "label": label,
                "x_text": " ".join(random.choice(WORDS[label].split(), 1 + i % 9)),
            }  # fmt: skip
            if i % 3 == 0:
                stem = f"{split}/{i}"
                write_wav(root / f"{stem}.wav", tone(0.3, 16_000, 200 + 40 * i)[0])
                frame = np.full((32, 40, 3), 8 * i, np.uint8)
                write_mosaic(root / f"{stem}.png", (frame, frame[::-1]))
                row |= {"x_visual": f"{stem}.png", "x_audio": f"{stem}.wav"}
            rows.append(row)
        write_rows(root / f"{split}.csv", rows)
    decode = {"frames": 2, "height": 32, "rate": 16_000, "downmix": DOWNMIX}
    (root / "corpus.json").write_text(json.dumps({"decode": decode, "segments": False}))
    bert = tiny_bert(folder / "models/tiny-bert")
    features = folder / "features"
    extract(root, features=features, modality="text", encoder=str(bert),
            settings=Settings(device="cpu"))  # fmt: skip
    for modality in ("visual", "audio"):
        extract(root, features=features, modality=modality, encoder="baseline")
    config = with_options(
        FuseConfig(corpus="served"), features=str(features), runs=str(folder / "runs"),
        device="cpu", epochs=2, width=8, seeds=(0, 1, 2), **options,
    )  # fmt: skip
    return fuse(config).run


def write_media(folder: Path) -> dict[str, Path]:
    """Real files of each kind, and a clip."""
    folder.mkdir(parents=True, exist_ok=True)
    frame = np.full((32, 40, 3), 90, np.uint8)
    frame[:, :20] = 200
    write_mosaic(folder / "a.png", (frame, frame[::-1]))
    write_wav(folder / "a.wav", tone(0.5, 16_000, 330)[0])
    encode_clip(folder / "a.mp4", seconds=0.6)
    return {path.name: path for path in folder.iterdir()}


@dataclass
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Server:
    """A running server; `root` is its folder of uploads."""

    port: int
    root: Path

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None,
        seconds: float = 20.0,
    ) -> Reply:  # fmt: skip
        connection = HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        try:
            connection.request(method, path, body, dict(headers or {}))
            got = connection.getresponse()
            headers = {name.lower(): value for name, value in got.getheaders()}
            return Reply(got.status, headers, got.read())
        finally:
            connection.close()

    def post(self, path: str, value: Any, **headers: str) -> Reply:
        given = {"content-type": "application/json"} | headers
        return self.ask("POST", path, json.dumps(value).encode(), given)

    def send(self, path: str, parts: Sequence[tuple[str, Any]]) -> Reply:
        """A form; a part that is a path is a file."""
        return self.ask("POST", path, *form(parts))

    def raw(self, data: bytes, seconds: float = 5.0) -> bytes:
        """Bytes as they are; what came back until the server closed."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as one:
            got = b""
            try:
                one.sendall(data)
                one.shutdown(socket.SHUT_WR)
                while more := one.recv(65536):
                    got += more
            except (ConnectionError, TimeoutError):
                pass
            return got

    @property
    def left(self) -> list[Path]:
        """Uploads that are still there."""
        return list(self.root.rglob("*"))


def form(parts: Sequence[tuple[str, Any]], boundary: str = "b0und") -> tuple[bytes, dict[str, str]]:
    """The body and headers of a form: (name, text), (name, path), or (name, (file name, bytes))."""
    body = b""
    for name, value in parts:
        if isinstance(value, Path):
            value = (value.name, value.read_bytes())
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"'
        if isinstance(value, tuple):
            file, value = value
            head += f'; filename="{file}"\r\nContent-Type: application/octet-stream'
        else:
            value = value.encode()
        body += head.encode() + b"\r\n\r\n" + value + b"\r\n"
    body += f"--{boundary}--\r\n".encode()
    return body, {"content-type": f"multipart/form-data; boundary={boundary}"}


@contextmanager
def serving(
    loaded: Loaded, limits: Limits | None = None, token: str | None = None
) -> Iterator[Server]:
    """The run behind a real uvicorn, in a thread."""
    limits = limits or Limits()
    listening = threading.Event()
    port: list[int] = []

    def started(url: str) -> None:
        port.append(int(url.rpartition(":")[2]))
        listening.set()

    with application(loaded, token=token, limits=limits) as app:
        server = make_server(app, "127.0.0.1", 0, limits, started)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            assert listening.wait(20)
            yield Server(port[0], app.root)
        finally:
            server.should_exit = True
            thread.join(20)
        assert not thread.is_alive()


def hang(*_: object) -> None:
    """In the place of what decodes."""
    time.sleep(60)
