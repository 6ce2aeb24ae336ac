"""What every request passes first: host, token, size, time, and how many are inside."""

import asyncio
import hmac
from collections.abc import MutableMapping
from contextlib import suppress
from ipaddress import ip_address
from math import ceil
from time import perf_counter
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from erc_fusion.serving.api import Service

OPEN = ("/healthz", "/readyz")  # without a token: they say nothing but that it runs
_DISCARD = 2.0  # seconds
_ROUTES = ("/v1/predict", "/v1/dialogues", "/v1/model", "/healthz", "/readyz", "/metrics",
           "/openapi.json")  # fmt: skip


def is_local(host: str) -> bool:
    """Whether only this machine reaches that address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class Gate:
    """An ASGI application around the API of a service."""

    def __init__(self, app: ASGIApp, service: Service, host: str, token: str | None) -> None:
        self._app, self._limits, self._metrics = app, service.limits, service.metrics
        self._engine, self.root = service.engine, service.root
        self._token = token.encode() if token else None
        # Without a token a page of another site, whose name leads here, must get nothing.
        self._hosts = {"localhost", "127.0.0.1", "[::1]", host} if not token else None
        self._inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        began, status = perf_counter(), 500
        route = next((r for r in _ROUTES if scope["path"].startswith(r)), "other")

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [(b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store")]
                if status in (401, 403, 408, 413, 429):  # the rest of the body is not read
                    headers.append((b"connection", b"close"))
                message = {**message, "headers": [*message["headers"], *headers]}
            await send(message)

        try:
            await self._enter(scope, receive, answer)
        except ClientDisconnect:  # it went away while it was sending
            status = 499
        finally:
            self._metrics.requests.labels(route, str(status)).inc()
            self._metrics.seconds.labels(route).observe(perf_counter() - began)

    async def _enter(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        if refusal := self._refusal(scope, headers):
            return await refusal(scope, receive, send)
        if scope["method"] != "POST":
            return await self._app(scope, receive, send)
        most = self._limits.body
        if not headers.get(b"content-type", b"").startswith(b"multipart/form-data"):
            most = self._limits.lines
        declared = headers.get(b"content-length", b"0")
        if not declared.isdigit() or int(declared[:20]) > most:
            await _discard(receive, most)
            return await _said(413, f"At most {most:,} bytes are taken.")(scope, receive, send)
        if self._inside >= self._limits.waiting:
            after = str(min(60, max(1, ceil(self._engine.wait))))
            await _discard(receive, most)
            busy = _said(429, f"{self._inside} requests are at work.", {"Retry-After": after})
            return await busy(scope, receive, send)
        self._inside += 1
        self._metrics.inside.set(self._inside)
        try:
            await self._app(scope, self._bounded(receive, most), send)
        finally:
            self._inside -= 1
            self._metrics.inside.set(self._inside)
        return None

    def _refusal(self, scope: Scope, headers: MutableMapping[bytes, bytes]) -> Any:
        if self._hosts is not None:
            host = headers.get(b"host", b"").decode("latin-1").lower()
            name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
            if name not in self._hosts:
                return _said(403, "This server answers to localhost; another name needs --token.")
        if self._token is not None and scope["path"] not in OPEN:
            kind, _, given = headers.get(b"authorization", b"").partition(b" ")
            if kind.lower() != b"bearer" or not hmac.compare_digest(given.strip(), self._token):
                what = "A token is needed: the header Authorization: Bearer TOKEN."
                return _said(401, what, {"WWW-Authenticate": "Bearer"})
        return None

    def _bounded(self, receive: Receive, most: int) -> Receive:
        """The body, in bounded bytes and time. After its end, only the client's going is awaited,
        as long as that takes."""
        count, ended = 0, False
        deadline = asyncio.get_running_loop().time() + self._limits.body_seconds

        async def bounded() -> Message:
            nonlocal count, ended
            if ended:
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError as error:
                seconds = self._limits.body_seconds
                raise HTTPException(408, f"The body took more than {seconds:.0f} s.") from error
            count += len(message.get("body", b""))
            if count > most:
                raise HTTPException(413, f"At most {most:,} bytes are taken.")
            ended = not message.get("more_body", False)
            return message

        return bounded


async def _discard(receive: Receive, most: int) -> None:
    """Read what a refused client is sending, in bounded bytes and time: many see no answer while
    they send."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_DISCARD):
            left = most
            while left > 0:
                message = await receive()
                if not message.get("more_body", False):
                    return
                left -= len(message.get("body", b""))


def _said(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"detail": detail}, status, headers)
