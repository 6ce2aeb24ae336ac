"""Hostile requests: sizes, types, names, truncated bodies, files that are not what they seem."""

import io
import json
import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from served import Reply, Server, form

Case = Callable[[Server], Reply | bytes]


def cases(
    count: int, media: dict[str, Path], canary: int, secret: Path
) -> Iterator[tuple[str, Case]]:
    """(name, case), `count` of them: each fixed one, and then mutations of real files and bodies.

    Args:
        canary: a port of this machine that nobody may connect to.
        secret: a file that nobody may open.
    """  # fmt: skip
    fixed = [
        *_json(secret, canary),
        *_forms(media, secret),
        *_files(secret, canary),
        *_raw(),
    ]
    step = max(1, len(fixed) // count)
    yield from fixed[::step][:count]
    random = np.random.default_rng(0)
    for number in range(count - len(fixed)):
        yield f"mutation {number}", _mutation(random, [*media.values()])


def _post(body: bytes, kind: str = "application/json", path: str = "/v1/predict") -> Case:
    return lambda server: server.ask("POST", path, body, {"content-type": kind})


def _json(secret: Path, canary: int) -> Iterator[tuple[str, Case]]:
    one = {"text": "hi"}
    for name, value in {
        "a list": [one], "a number": 1, "null": None, "no utterances": {"utterances": []},
        "unknown field": {"utterances": [one], "path": str(secret)},
        "text is a number": {"utterances": [{"text": 1}]},
        "text is a list": {"utterances": [{"text": ["hi"]}]},
        "negative dialogue": {"utterances": [one | {"dialogue": -1}]},
        "large dialogue": {"utterances": [one | {"dialogue": 2**31}]},
        "huge dialogue": {"utterances": [one | {"dialogue": 10**400}]},
        "fraction of a dialogue": {"utterances": [one | {"dialogue": 0.5}]},
        "long text": {"utterances": [{"text": "a" * 50_000}]},
        "long speaker": {"utterances": [one | {"speaker": "a" * 5000}]},
        "many utterances": {"utterances": [one] * 2000},
        "a path": {"utterances": [one | {"clip": str(secret)}]},
        "a file URL": {"utterances": [one | {"sound": f"file://{secret}"}]},
        "a web URL": {"utterances": [one | {"picture": f"http://127.0.0.1:{canary}/a.png"}]},
        "a device": {"utterances": [one | {"sound": "/dev/zero"}]},
        "control characters": {"utterances": [{"text": "\0\x1b[2J\u202e"}]},
        "one long word": {"utterances": [{"text": "ha" * 2000}]},
    }.items():  # fmt: skip
        yield name, _post(json.dumps(value).encode())
    for name, body in {
        "nothing": b"", "no JSON": b"hello", "deep": b"[" * 30_000,
        "deep objects": b'{"utterances":' * 5000, "NaN": b'{"utterances": [{"text": NaN}]}',
        "a lone surrogate": b'{"utterances": [{"text": "\\ud800"}]}',
        "no UTF-8": b'{"utterances": [{"text": "\xff\xfe"}]}',
        "cut off": b'{"utterances": [{"text": "hi',
        "twice": b'{"utterances": [{"text": "a", "text": "b"}]}',
        "zeros": bytes(3000), "too large": b" " * 200_000,
    }.items():  # fmt: skip
        yield name, _post(body)
    yield "blank lines", _post(b"\n\n\n", "application/x-ndjson")
    yield "a bad line", _post(b'{"text": "a"}\n{"tex', "application/x-ndjson")
    yield "many lines", _post(b'{"text": "a"}\n' * 3000, "application/x-ndjson")
    for kind in ("", "text/html", "application/xml", "multipart/mixed", "a" * 5000):
        yield f"type {kind[:20]}", _post(b"{}", kind)
    yield "no dialogue", _post(b"{}", path="/v1/dialogues/../../etc/passwd/utterances")
    yield "an odd dialogue", _post(b"{}", path="/v1/dialogues/%2e%2e%2f%00/utterances")


def _forms(media: dict[str, Path], secret: Path) -> Iterator[tuple[str, Case]]:
    wav = media["a.wav"].read_bytes()

    def sent(*parts):
        return lambda server: server.send("/v1/predict", parts)

    for name in (
        "../../x.wav",
        "/etc/passwd",
        "a\0b.wav",
        "C:\\x.wav",
        "~/x",
        "." * 300,
        "%2e%2e/x",
    ):
        yield f"file name {name[:12]!a}", sent(("sound", (name, wav)))
        line = json.dumps({"sound": name})
        yield f"part name {name[:12]!a}", sent(("dialogue", line), (name, ("a", wav)))
    yield "a link in place of a file", sent(("dialogue", json.dumps({"clip": str(secret)})))
    yield "a part that is not named", sent(("dialogue", '{"text": "a"}'), ("x", ("x", wav)))
    yield "a part twice", sent(("sound", ("a", wav)), ("sound", ("b", wav)))
    yield "a field twice", sent(("text", "a"), ("text", "b"))
    yield "unknown fields", sent(("text", "a"), ("path", str(secret)))
    yield "many parts", sent(*((f"p{n}", ("a", b"a")) for n in range(1500)))
    yield "many fields", sent(*((f"p{n}", "a") for n in range(50)))
    yield "a large field", sent(("text", "a" * 100_000))
    yield "a large file", sent(("sound", ("a", bytes(3 << 20))))
    yield "the dialogue is a file", sent(("dialogue", ("a", b'{"text": "a"}')))
    yield "the picture is a sound", sent(("picture", ("a.png", wav)))
    body, head = form([("sound", ("a", wav))])
    for name, changed in {
        "cut off": body[: len(body) // 2], "without its end": body[:-9], "empty": b"",
        "no parts": b"--b0und--\r\n", "garbage": bytes(range(256)) * 40,
        "long head": b"--b0und\r\nX: " + b"a" * 100_000,
    }.items():  # fmt: skip
        yield f"form {name}", lambda server, b=changed: server.ask("POST", "/v1/predict", b, head)
    for kind in ("", "; boundary=", "; boundary=" + "x" * 5000, '; boundary="'):
        yield f"boundary {kind[:14]}", _post(body, f"multipart/form-data{kind}")


def _files(secret: Path, canary: int) -> Iterator[tuple[str, Case]]:
    url = f"http://127.0.0.1:{canary}/a.ts"
    hls = f"#EXTM3U\n#EXTINF:1,\n{url}\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n"
    dash = (
        '<?xml version="1.0"?><MPD profiles="urn:mpeg:dash:profile:isoff-on-demand:2011" '
        f'type="static"><BaseURL>{url}</BaseURL></MPD>'
    )
    sdp = (
        f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=-\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio {canary} RTP/AVP 0"
    )
    mp4 = b"\0\0\0\x18ftypisom\0\0\2\0isomiso2"
    concat = f"ffconcat version 1.0\nfile '{secret}'\n"
    starts = {"": b"", "behind ftyp": mp4, "behind ID3": b"ID3\4" + bytes(6), "behind Ogg": b"OggS"}
    for name, start in starts.items():
        for kind, text in {"hls": hls, "dash": dash, "sdp": sdp, "concat": concat}.items():
            yield f"{kind} {name}", _upload(start + text.encode())
    yield "an ELF", _upload(Path("/bin/true").read_bytes())
    yield "an EPS", _upload(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\n")
    yield "an SVG", _upload(f'<svg><image href="file://{secret}"/></svg>'.encode())
    yield "a zip", _upload(b"PK\3\4" + bytes(500))
    yield "nothing", _upload(b"")
    yield "a byte", _upload(b"R")
    yield "a PNG of 900 million pixels", _upload(_png(30_000, 30_000), "picture")
    yield "a PNG that unpacks to 150 MB", _upload(_png(7000, 7000), "picture")
    yield "a PNG of no pixels", _upload(_png(0, 0), "picture")
    yield "a WAV of 4 GB", _upload(_wav(16_000, 0xFFFFFFF0), "sound")
    yield "a WAV of no rate", _upload(_wav(0, 100), "sound")
    yield "a WAV of a huge rate", _upload(_wav(0xFFFFFFFF, 100), "sound")
    yield "a WAV of ten minutes", _upload(_wav(16, 9600) + bytes(9600), "sound")


def _upload(data: bytes, part: str = "clip") -> Case:
    return lambda server: server.send("/v1/predict", [("text", "hi"), (part, ("a.mp4", data))])


def _png(wide: int, high: int) -> bytes:
    """A small file of a large picture: all its pixels are 0."""
    packer, data = zlib.compressobj(9), io.BytesIO()
    line = bytes(wide * 3 + 1)
    for _ in range(min(high, 7000)):
        data.write(packer.compress(line))
    data.write(packer.flush())

    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + crc

    head = struct.pack(">IIBBBBB", wide, high, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", data.getvalue()) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _wav(rate: int, size: int) -> bytes:
    head = struct.pack("<HHIIHH", 1, 1, rate, (2 * rate) & 0xFFFFFFFF, 2, 16)
    return (b"RIFF" + struct.pack("<I", (size + 36) & 0xFFFFFFFF) + b"WAVEfmt \x10\0\0\0" + head
            + b"data" + struct.pack("<I", size) + bytes(200))  # fmt: skip


def _raw() -> Iterator[tuple[str, Case]]:
    host = b"Host: localhost\r\n"
    post = b"POST /v1/predict HTTP/1.1\r\n" + host + b"Content-Type: application/json\r\n"
    for name, data in {
        "no HTTP": b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", "nothing": b"",
        "half a head": b"GET /healthz HTT", "a long line": b"GET /" + b"a" * 100_000,
        "many headers": b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 20_000,
        "a path": b"GET /../../../etc/passwd HTTP/1.1\r\n" + host + b"\r\n",
        "a URL": b"GET http://example.org/ HTTP/1.1\r\n" + host + b"\r\n",
        "no method": b"FOO /v1/predict HTTP/1.1\r\n" + host + b"\r\n",
        "another host": b"GET /v1/model HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        "no host": b"GET /v1/model HTTP/1.0\r\n\r\n",
        "a negative length": post + b"Content-Length: -1\r\n\r\n",
        "a length that is none": post + b"Content-Length: abc\r\n\r\n",
        "a large length": post + b"Content-Length: 99999999999\r\n\r\n",
        "two lengths": post + b"Content-Length: 2\r\nContent-Length: 9\r\n\r\n{}",
        "less than promised": post + b"Content-Length: 900\r\n\r\n{}",
        "bad chunks": post + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
        "endless chunks": post + b"Transfer-Encoding: chunked\r\n\r\n"
        + (b"4000\r\n" + bytes(0x4000) + b"\r\n") * 20,
        "a huge chunk": post + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFF\r\n{}",
        "length and chunks": post
        + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "an upgrade": b"GET / HTTP/1.1\r\n" + host
        + b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    }.items():  # fmt: skip
        yield name, lambda server, data=data: server.raw(data)


def slow(server: Server, data: bytes, seconds: float) -> bytes:
    """Send the beginning of a request and then nothing; what came before the server closed."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=seconds) as one:
        one.sendall(data)
        got = b""
        while more := one.recv(65536):
            got += more
        return got


def _mutation(random: np.random.Generator, files: list[Path]) -> Case:
    """A real file cut off, with other bytes, or its bytes in another order; or such a request."""
    path = files[int(random.integers(len(files)))]
    data = bytearray(path.read_bytes())
    kind = int(random.integers(4))
    if kind == 0:
        del data[int(random.integers(1, len(data))) :]
    elif kind == 1:
        for place in random.integers(0, len(data), int(random.integers(1, 40))):
            data[place] = int(random.integers(256))
    elif kind == 2:
        a, b = sorted(random.integers(8, len(data), 2).tolist())
        data[a:b] = data[a:b][::-1]
    body, head = form([("text", "hi"), ("clip", ("a", bytes(data)))])
    if kind == 3:
        damaged = bytearray(body)
        for place in random.integers(0, len(damaged), int(random.integers(1, 20))):
            damaged[place] = int(random.integers(256))
        body = bytes(damaged)
    return lambda server: server.ask("POST", "/v1/predict", body, head)
