"""The Ray cluster of `--engine ray`: joining it, leaving it, and its resources."""

import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from math import ceil
from typing import Any

from erc_features.errors import ErcError

NAMESPACE = "erc-extract"  # marks a connection that we made, and so end
REACH = 30.0  # seconds to join a cluster; on a free machine it takes four
_FAILURES = (ConnectionError, RuntimeError, ValueError, OSError)


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ErcError(
            "--engine ray: Ray is not installed here. pip install 'erc[ray]', or use "
            "--engine local."
        ) from error
    return ray


def connect() -> Any:
    """Ray, connected as it already is, otherwise to RAY_ADDRESS, or to an instance of our own."""
    ray = _ray()
    if ray.is_initialized():
        return ray
    address = os.environ.get("RAY_ADDRESS", "").strip() or "local"
    options: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    _probe(address)
    with _quiet(), _environment(address):
        try:
            ray.init(address=address, namespace=NAMESPACE, log_to_driver=False,
                     configure_logging=False, **options)  # fmt: skip
        except (*_FAILURES, ray.exceptions.RayError) as error:
            ray.shutdown()
            raise ErcError(_unreachable(address, str(error))) from error
    _show_deaths(False)
    return ray


def leave() -> None:
    """End the connection if we made it; an instance of our own ends with it."""
    ray = sys.modules.get("ray")
    if (
        ray is not None
        and ray.is_initialized()
        and ray.get_runtime_context().namespace == NAMESPACE
    ):
        with _quiet():
            ray.shutdown()
        _show_deaths(True)


def _show_deaths(shown: bool) -> None:
    """Switch the paragraph on or off that Ray prints for each worker that dies.

    Ray has no other switch for it. If a later Ray lacks this one, the paragraph is back.
    """
    import ray._private.worker

    ray._private.worker._worker_logs_enabled = shown


def _probe(address: str) -> None:
    """Try to join a cluster in a separate process first.

    At a port that is not Ray's, or without its token, `ray.init` tries for minutes and prints a
    line a second from C++; it has no timeout, and there is no other public way to ask.
    """
    if address == "local":
        return
    host, _, port = address.rpartition(":")
    if address != "auto":
        if not (host and port.isdigit()) or "/" in host:
            raise ErcError(
                f"RAY_ADDRESS={address}: one looks like 10.0.0.1:6379, or is auto; run erc on a "
                "node of the cluster. Unset, Ray runs on this machine."
            )
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
        except (OSError, OverflowError) as error:
            raise ErcError(_unreachable(address, str(error))) from error
    code = "import sys, ray; ray.init(address=sys.argv[1], log_to_driver=False)"
    command = [sys.executable, "-P", "-c", code, address]
    try:
        done = subprocess.run(command, capture_output=True, timeout=REACH, check=False)
        said = done.stderr.decode(errors="replace")
        if done.returncode == 0:
            return
        why = said.strip().splitlines()[-1] if said.strip() else f"exit code {done.returncode}"
    except subprocess.TimeoutExpired as error:
        said = (error.stderr or b"").decode(errors="replace")
        why = f"no answer in {REACH:.0f} seconds"
    if "AuthToken" in said:
        why = "it has tokens, and not the one found here"
    raise ErcError(_unreachable(address, why))


def _unreachable(address: str, why: str) -> str:
    brief = (why.strip().splitlines() or ["no reason given"])[0].rstrip(".")
    if address == "local":
        return f"--engine ray: Ray does not start on this machine: {brief}. --engine local works."
    return (
        f"RAY_ADDRESS={address}: no Ray cluster can be joined there: {brief}. Is `ray status` "
        "content on this machine? A cluster with tokens needs RAY_AUTH_MODE=token and the token "
        "here too. Unset, Ray runs on this machine."
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide Ray's own warnings, and restore the handler of SIGTERM that it replaces."""
    logger = logging.getLogger("ray")
    level = logger.level
    in_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
        if in_main and handler is not None:
            signal.signal(signal.SIGTERM, handler)


@contextmanager
def _environment(address: str) -> Iterator[None]:
    """Set what Ray reads while it starts, and restore the environment afterwards.

    By itself, Ray 2.60 writes a permanent token into ~/.ray, and fails if it cannot.
    """
    values = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    if address == "local":
        values["RAY_AUTH_TOKEN"] = _token()
    names = (*values, "RAY_AUTH_MODE")
    before = {name: os.environ.get(name) for name in names}
    for name, value in values.items():
        os.environ.setdefault(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@cache
def _token() -> str:
    """One token for the process: Ray keeps the first that it sees."""
    return secrets.token_hex(32)


def nodes_of(ray: Any) -> list[tuple[float, float]]:
    """The numbers of CPUs and GPUs of each node."""
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [(found.get("CPU", 0.0), found.get("GPU", 0.0)) for found in alive]


def share(
    nodes: Sequence[tuple[float, float]], on_cuda: bool, workers: int, threads: int
) -> tuple[int, float]:
    """CPUs and GPUs that each worker reserves; ErcError if the nodes have too few of them."""
    if not on_cuda:
        for cpus in range(threads, 0, -1):
            if sum(int(cpu // cpus) for cpu, _ in nodes) >= workers:
                return cpus, 0.0
        most = int(sum(cpu for cpu, _ in nodes))
        raise ErcError(
            f"--workers {workers}: Ray has {most} CPUs here, and so at most {most} workers on them."
        )
    each = ceil(workers / sum(int(gpus) for _, gpus in nodes))  # workers of one GPU
    if any(cpus < each * int(gpus) for cpus, gpus in nodes):
        return 0, int(10_000 / each) / 10_000  # nodes with few cores for their GPUs
    return 1, int(10_000 / each) / 10_000
