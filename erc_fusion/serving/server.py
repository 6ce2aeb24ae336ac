"""`erc serve`: the process, its address, its end."""

import asyncio
import logging
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from erc_features.errors import ErcError
from erc_features.preparation.guard import Guard
from erc_features.threads import our_cores
from erc_fusion.runs.run import Run
from erc_fusion.serving.api import Service, make_app
from erc_fusion.serving.engine import Engine
from erc_fusion.serving.gate import Gate, is_local
from erc_fusion.serving.limits import Limits
from erc_fusion.serving.loaded import Loaded, load_run
from erc_fusion.serving.metrics import Metrics
from erc_fusion.serving.uploads import private_root

_GRACE = 30  # seconds for requests that are at work when the server is told to end
_SHORTEST_TOKEN = 16  # characters


@contextmanager
def application(
    loaded: Loaded, *, host: str = "127.0.0.1", token: str | None = None,
    limits: Limits | None = None,
) -> Iterator[Gate]:  # fmt: skip
    """The ASGI application of a loaded run; its thread, processes and folder end with it."""
    limits, metrics = limits or Limits(), Metrics()
    root = private_root()
    try:
        with (
            Guard(our_cores(), limits.clip_seconds) as guard,
            Engine(loaded, metrics.round) as engine,
        ):
            service = Service(engine, guard, root, limits, metrics)
            yield Gate(make_app(service), service, host, token)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def serve(
    run: Run,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    encoders: Mapping[str, str] | None = None,
    device: str = "auto",
    limits: Limits | None = None,
    started: Callable[[str], None] | None = None,
) -> None:
    """Serve a finished run until SIGINT or SIGTERM; requests that are at work are finished.

    Clips are decoded in other processes, so a script calls this below
    `if __name__ == "__main__":`.

    Args:
        host: another address than this machine's own needs a token.
        port: 0 is any that is free.
        token: what each request must bring, in the header `Authorization: Bearer TOKEN`.
        started: called with the server's URL when it can answer.

    Raises:
        ErcError: the run or an encoder can't be loaded, as :func:`erc_fusion.predict.predict`
            says; the address is taken, or open to others without a token.
    """
    if not is_local(host) and not token:
        raise ErcError(
            f"--host {host} is open to other machines: give --token, or better $ERC_TOKEN, which "
            "no list of processes shows. --host 127.0.0.1 needs none."
        )
    if token is not None and len(token) < _SHORTEST_TOKEN:
        raise ErcError(
            f"--token has {len(token)} characters; {_SHORTEST_TOKEN} or more work, such as what "
            "`openssl rand -hex 16` prints."
        )
    limits = limits or Limits()
    loaded = load_run(run, encoders, device)
    with _ends_in_order(), application(loaded, host=host, token=token, limits=limits) as app:
        try:
            make_server(app, host, port, limits, started).run()
        except SystemExit as error:  # how uvicorn says that it cannot listen
            raise ErcError(
                f"--host {host} --port {port}: the server cannot listen there; is the port taken? "
                "--port 0 takes any that is free."
            ) from error


def make_server(
    app: Any, host: str, port: int, limits: Limits, started: Callable[[str], None] | None = None
) -> uvicorn.Server:
    """A server whose `run` returns after a signal, or when its `should_exit` is set."""

    class Protocol(_PatientOnce):
        seconds = limits.head_seconds

    config = uvicorn.Config(
        app, host=host, port=port, http=Protocol, ws="none", access_log=False,
        log_level="warning", server_header=False, proxy_headers=False, lifespan="on",
        timeout_graceful_shutdown=_GRACE, backlog=256,
    )  # fmt: skip
    return _Server(config, started)


@contextmanager
def _ends_in_order() -> Iterator[None]:
    """uvicorn sends itself the signal once more when it has ended in order, which by default would
    kill the process before its uploads are removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {name: signal.signal(name, _do_nothing) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def _do_nothing(*_: object) -> None:
    pass


class _Server(uvicorn.Server):
    """Says where it listens."""

    def __init__(self, config: uvicorn.Config, started: Callable[[str], None] | None) -> None:
        super().__init__(config)
        self._say = started

    async def startup(self, sockets: Any = None) -> None:
        logging.getLogger("uvicorn.error").disabled = True  # `serve` says it
        await super().startup(sockets)
        logging.getLogger("uvicorn.error").disabled = False
        if self._say and self.servers:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            self._say(f"http://{f'[{host}]' if ':' in host else host}:{port}")


class _PatientOnce(H11Protocol):
    """Closes a connection that has not sent the head of a request in time: uvicorn waits for it
    for ever, and each would keep a socket."""

    seconds = 10.0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._timer is None and self._idle():
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _wait(self) -> None:
        self._timer = self.loop.call_later(self.seconds, self._check)

    def _check(self) -> None:
        self._timer = None
        if self._idle():
            self.transport.close()
