"""Hostile requests to a real server: none crashes it, hangs it, opens a path or leaves a file."""

import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from tempfile import gettempdir

import pytest
import served
from hostile import cases, slow
from served import make_run, serving, write_media

from erc_features.preparation.guard import Guard
from erc_fusion.serving import api
from erc_fusion.serving.limits import Limits
from erc_fusion.serving.loaded import load_run

LIMITS = Limits(body=2 << 20, lines=64 << 10, head_seconds=1.0, body_seconds=1.0, clip_seconds=8.0)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    return load_run(make_run(tmp_path_factory.mktemp("served")), device="cpu")


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    return write_media(tmp_path_factory.mktemp("media"))


@pytest.fixture
def canary():
    """A port of which it is counted who connects to it."""
    met = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        listening.settimeout(0.1)
        going = True

        def listen():
            while going:
                try:
                    met.append(listening.accept()[1])
                except TimeoutError:
                    continue

        thread = threading.Thread(target=listen)
        thread.start()
        yield port, met
        going = False
        thread.join()


def must_be_empty(server):
    """No request is inside; the last may leave a moment after its answer."""
    for _ in range(100):
        if b"erc_requests_inside 0.0" in server.ask("GET", "/metrics").body:
            return
        time.sleep(0.05)
    raise AssertionError("a request stays inside")


def all_are_borne(loaded, media, canary, folder, count):
    port, met = canary
    secret = folder / "secret.wav"
    os.mkfifo(secret)  # who opens it waits for ever, or is seen
    own = f"erc-serve-{os.getpid()}-"  # other processes have folders there too
    there = {name for name in os.listdir(gettempdir()) if name.startswith(own)}
    with serving(loaded, LIMITS) as server:
        answered = 0

        def one(case):
            name, ask = case
            began = time.monotonic()
            try:
                got = ask(server)
            except OSError:  # closed while we were still sending: that is an answer too
                return name, None, time.monotonic() - began
            status = got.status if not isinstance(got, bytes) else int(got[9:12] or 0)
            return name, status, time.monotonic() - began

        with ThreadPoolExecutor(4) as clients:
            for name, status, seconds in clients.map(one, cases(count, media, port, secret)):
                assert status is None or status < 500, (name, status)
                assert seconds < 60, name  # busy cores; a hang would be for ever
                answered += 1
        assert answered == count
        with pytest.raises(OSError):  # ENXIO: nobody has it open to read
            os.close(os.open(secret, os.O_WRONLY | os.O_NONBLOCK))
        assert met == []
        assert server.left == []
        assert server.post("/v1/predict", {"utterances": [{"text": "hi"}]}).status == 200
        must_be_empty(server)
    assert {name for name in os.listdir(gettempdir()) if name.startswith(own)} <= there


@pytest.mark.soak
def test_five_hundred_hostile_requests(loaded, media, canary, tmp_path):
    all_are_borne(loaded, media, canary, tmp_path, 500)


def test_hostile_requests(loaded, media, canary, tmp_path):
    all_are_borne(loaded, media, canary, tmp_path, 60)


def test_what_is_said_of_hostile_media(loaded, media):
    with serving(loaded, LIMITS) as server:
        named = server.post("/v1/predict", {"utterances": [{"text": "a", "clip": "/etc/passwd"}]})
        assert named.status == 422 and "Paths and URLs are not opened" in named.json["detail"]
        listed = server.send("/v1/predict", [("clip", ("a.mp4", b"#EXTM3U\n/etc/passwd\n"))])
        assert listed.status == 415 and "MP4" in listed.json["detail"]
        cut = media["a.mp4"].read_bytes()[:900]
        got = server.send("/v1/predict", [("text", "no"), ("clip", ("a.mp4", cut))]).json
        (answer,) = got["utterances"]
        assert "cannot be opened" in answer["missing"]["audio.baseline"]
        assert answer["label"]
        large = server.send("/v1/predict", [("sound", ("a.wav", bytes(3 << 20)))])
        assert large.status == 413 and "2,097,152 bytes" in large.json["detail"]
        bad = server.ask(
            "POST", "/v1/predict", b'{"text": "a"}\n{"tex', {"content-type": "text/plain"}
        )
        assert bad.json["detail"].startswith("Line 2: Invalid JSON")


def test_slow_senders_are_cut_off_and_cost_nobody_else(loaded):
    head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with serving(loaded, LIMITS) as server, ThreadPoolExecutor(8) as clients:
        began = time.monotonic()
        waiting = [
            *(clients.submit(slow, server, b"POST /v1/pre", 10) for _ in range(3)),
            clients.submit(slow, server, b"", 10),
            clients.submit(slow, server, head + b"Content-Length: 90\r\n\r\n{", 10),
            clients.submit(
                slow, server, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /", 10
            ),
        ]
        assert server.post("/v1/predict", {"utterances": [{"text": "hi"}]}).status == 200
        got = [each.result() for each in waiting]
        assert time.monotonic() - began < 9.5
        assert got[:4] == [b""] * 4
        assert got[4].startswith(b"HTTP/1.1 408") and got[5].startswith(b"HTTP/1.1 200")
        must_be_empty(server)


def test_a_guard_survives_what_it_runs():
    with Guard(1, 0.7) as guard:
        with pytest.raises(TimeoutError):
            guard.submit(time.sleep, 60).result()
        with pytest.raises(OSError):  # pebble's ProcessExpired
            guard.submit(os._exit, 3).result()
        with pytest.raises(MemoryError):
            guard.submit(bytearray, 8 << 30).result()
        assert guard.submit(max, 1, 2).result() == 2


@pytest.mark.soak
def test_a_hung_decoder_costs_one_request(loaded, media, monkeypatch):
    monkeypatch.setattr(api, "read_media", served.hang)
    limits = Limits(clip_seconds=1.0)
    with serving(loaded, limits) as server, ThreadPoolExecutor(1) as client:
        hung = client.submit(server.send, "/v1/predict", [("text", "no"), ("clip", media["a.mp4"])])
        time.sleep(0.2)
        assert server.post("/v1/predict", {"utterances": [{"text": "hi"}]}).status == 200
        (answer,) = hung.result().json["utterances"]
        assert answer["missing"]["visual.baseline"] == "decoding took more than 1 s"
        assert server.left == []
