"""A local HTTP server that speaks the calls which Kaggle's client makes.

ListDatasetFiles with pages, DownloadDataset with a redirect to a second address ("storage",
where credentials must not arrive), Range and If-Range there, and every fault by name of file.
"""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote, unquote, urlsplit

USERNAME, KEY, TOKEN = "ada", "secret-key-1", "secret-token-1"
LIST = "/v1/datasets.DatasetApiService/ListDatasetFiles"
GET = "/v1/datasets.DatasetApiService/DownloadDataset"
ALLOWED = {f"Basic {base64.b64encode(f'{USERNAME}:{KEY}'.encode()).decode()}", f"Bearer {TOKEN}"}


class Kaggle:
    """What the server holds, how it misbehaves, and what it was asked.

    Attributes:
        files: bytes by path; `sizes` overrides what the list says.
        page: files a page, whatever the client asks for.
        status: answer of the list call if not 200, and of downloads by path.
        cuts: by path, after how many bytes of each answer to close the socket, one a request.
        ranges, if_range: whether storage knows Range, and If-Range.
        slow: seconds between chunks of 64 kB.
    """

    def __init__(self, files, owner="zaber666", name="meld-dataset"):
        self.files, self.owner, self.name = dict(files), owner, name
        self.sizes, self.page, self.status, self.cuts = {}, 3, {}, {}
        self.ranges, self.slow, self.etags, self.if_range = True, 0.0, True, True
        self.body, self.retry_after = None, "0"
        self.requests, self.sent, self.lock = [], {}, threading.Lock()
        self.api = self.storage = ""

    def etag(self, path):
        return f'"{hashlib.sha256(self.files[path]).hexdigest()[:16]}"'

    def asked(self, path):
        """The Range header of every request to storage for a file."""
        return [found for what, found in self.requests if what == path]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms for an acknowledgement
    kaggle: Kaggle

    def log_message(self, *_):
        pass

    def answer(self, status, body, kind="application/json", **headers):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status):
        body = json.dumps({"code": status, "message": "no"}).encode()
        self.answer(status, body, Retry_After=self.kaggle.retry_after)


class Api(_Handler):
    def do_POST(self):
        kaggle = self.kaggle
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers.get("Authorization") not in ALLOWED:
            return self.refuse(401)
        if kaggle.body is not None:
            return self.answer(200, kaggle.body, "text/html")
        if (request["ownerSlug"], request["datasetSlug"]) != (kaggle.owner, kaggle.name):
            return self.refuse(404)
        if self.path == LIST:
            return self.list(request)
        assert self.path == GET
        name = request["fileName"]
        with kaggle.lock:
            fault = kaggle.status.get(name, [])
            status = fault.pop(0) if fault else 200
        if status != 200 or name not in kaggle.files:
            return self.refuse(status if status != 200 else 404)
        place = f"{kaggle.storage}/{quote(name)}?X-Signature=secret-signature"
        return self.answer(302, b"", Location=place)

    def list(self, request):
        kaggle = self.kaggle
        with kaggle.lock:
            fault = kaggle.status.get("", [])
            status = fault.pop(0) if fault else 200
        if status != 200:
            return self.refuse(status)
        start = int(request.get("pageToken") or 0)
        assert 1 <= request["pageSize"] <= 200
        names = sorted(kaggle.files)
        page = names[start : start + kaggle.page]
        files = [
            {"name": name, "totalBytes": kaggle.sizes.get(name, len(kaggle.files[name])),
             "creationDate": "2024-01-01T00:00:00Z"} for name in page
        ]  # fmt: skip
        more = (
            {"nextPageToken": str(start + kaggle.page)} if start + kaggle.page < len(names) else {}
        )
        return self.answer(200, json.dumps({"datasetFiles": files, **more}).encode())


class Storage(_Handler):
    def do_GET(self):
        kaggle = self.kaggle
        assert "Authorization" not in self.headers, "credentials went to another host"
        assert self.headers["Accept-Encoding"] == "identity", "sizes would be of something else"
        name = unquote(urlsplit(self.path).path[1:])
        body = kaggle.files[name]
        asked = self.headers.get("Range")
        with kaggle.lock:
            kaggle.requests.append((name, asked))
            cuts = kaggle.cuts.get(name, [])
            cut = cuts.pop(0) if cuts else None
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and kaggle.ranges else 0
        expected = self.headers.get("If-Range") if kaggle.if_range else None
        if kaggle.etags and expected not in (None, kaggle.etag(name)):
            start = 0
        if start >= len(body) > 0:
            return self.answer(416, b"", Content_Range=f"bytes */{len(body)}")
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", "application/json" if name.endswith("json") else "x/y")
        self.send_header("Content-Length", str(len(body) - start))
        if kaggle.etags:
            self.send_header("ETag", kaggle.etag(name))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.end_headers()
        self.send_body(name, body[start:] if cut is None else body[start:][:cut])
        if cut is not None:
            self.close_connection = True
        return None

    def send_body(self, name, body):
        pause = threading.Event()
        for at in range(0, len(body), 1 << 16):
            try:
                self.wfile.write(body[at : at + (1 << 16)])
            except OSError:  # the client was killed
                self.close_connection = True
                return
            with self.kaggle.lock:
                self.kaggle.sent[name] = self.kaggle.sent.get(name, 0) + len(
                    body[at : at + (1 << 16)]
                )
            if self.kaggle.slow:
                pause.wait(self.kaggle.slow)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, address):  # a client that was killed, or closed early
        pass


@contextmanager
def serve(kaggle):
    """Serve `kaggle` on 127.0.0.1: the API and its storage, on two ports."""
    servers = []
    for base in (Api, Storage):
        handler = type(base.__name__, (base,), {"kaggle": kaggle})
        server = _Server(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
    # Another name for the same machine, so that the redirect leads to another host.
    kaggle.api = f"http://127.0.0.1:{servers[0].server_port}"
    kaggle.storage = f"http://localhost:{servers[1].server_port}"
    try:
        yield kaggle
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()
