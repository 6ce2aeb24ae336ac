"""A small HTTP server of one folder that sends ranges and counts the bytes of its answers."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread


class Served:
    """What was asked for: `requests` (method, range), `moved` bytes of bodies. `ranges`: whether
    parts are sent; `broken`: answer 503 to everything; `say`: what Accept-Ranges claims."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[tuple[str, str]] = []
        self.moved = 0
        self.ranges = True
        self.broken = False
        self.say = "bytes"
        self.lock = Lock()

    def reset(self) -> None:
        self.requests, self.moved = [], 0


@contextmanager
def serve(folder: Path) -> Iterator[Served]:
    """http://127.0.0.1:<port>/ of a folder, for as long as the block runs."""
    served = Served()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # kept open between requests, as real servers do

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, body: bool) -> None:
            path = folder / self.path.lstrip("/")
            asked = self.headers.get("Range", "")
            with served.lock:
                served.requests.append((self.command, asked))
            if served.broken or self.path.startswith("/secret") or not path.is_file():
                self._refuse(503 if served.broken else 403 if "secret" in self.path else 404)
                return
            size = path.stat().st_size
            start, stop = 0, size
            match = re.fullmatch(r"bytes=(\d+)-(\d+)", asked)
            part = served.ranges and match is not None
            if part:
                start, stop = int(match[1]), min(size, int(match[2]) + 1)
            self.send_response(206 if part else 200)
            self.send_header("Content-Length", str(stop - start))
            self.send_header("Accept-Ranges", served.say)
            if part:
                self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
            self.end_headers()
            if body:
                self._send(path, start, stop)

        def _send(self, path: Path, start: int, stop: int) -> None:
            with open(path, "rb") as file:
                file.seek(start)
                while start < stop and (block := file.read(min(1 << 16, stop - start))):
                    try:
                        self.wfile.write(block)
                    except OSError:  # the client has seen enough
                        self.close_connection = True
                        return
                    start += len(block)
                    with served.lock:
                        served.moved += len(block)

        def _refuse(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    served.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
