"""The one thread that computes: it takes all requests that wait, and answers them in one round."""

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from time import perf_counter

from erc_fusion.serving.answering import Answered, answer
from erc_fusion.serving.encoding import Row, embed
from erc_fusion.serving.loaded import Loaded

_GATHER = 0.1  # of the last round's time: how long a round waits for as many requests as that had
_LONGEST_GATHER = 0.02  # seconds
_say = logging.getLogger("erc.serve")


@dataclass
class _Job:
    rows: Sequence[Row]
    future: "Future[Answered]" = field(default_factory=Future)


@dataclass(frozen=True)
class Round:
    """What one round did, for the metrics: requests, rows, its batches, and seconds."""

    requests: int
    rows: int
    batches: Sequence[int]
    seconds: float


class Engine:
    """Computes the answers of a run; use it as a context manager.

    Args:
        watch: called after each round.
    """

    def __init__(self, loaded: Loaded, watch: Callable[[Round], None] | None = None) -> None:
        self.loaded = loaded
        self._watch = watch
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="erc-engine", daemon=True)
        self._per_row = 0.01  # seconds, as of late
        self._waiting = 0  # rows
        self._lock = threading.Lock()

    def submit(self, rows: Sequence[Row]) -> "Future[Answered]":
        """Answer the rows of one request; they are embedded in their place."""
        job = _Job(rows)
        with self._lock:
            self._waiting += len(rows)
        self._jobs.put(job)
        return job.future

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def wait(self) -> float:
        """Seconds that the rows which wait now will take, about."""
        return self._waiting * self._per_row

    def __enter__(self) -> "Engine":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._jobs.put(None)
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        last, seconds = 1, 0.0
        while True:
            jobs: list[_Job | None] = [self._jobs.get()]
            # Clients whose answers came together ask together again: a short wait for as many.
            deadline = perf_counter() + min(_GATHER * seconds, _LONGEST_GATHER)
            while jobs[-1] is not None:
                left = deadline - perf_counter() if len(jobs) < last else 0.0
                try:
                    jobs.append(self._jobs.get(timeout=left) if left > 0 else self._jobs.get(False))
                except queue.Empty:
                    break
            taken = [job for job in jobs if job is not None]
            asked = [job for job in taken if job.future.set_running_or_notify_cancel()]
            began = perf_counter()
            if asked:
                self._round(asked)
                last, seconds = len(asked), perf_counter() - began
            with self._lock:
                self._waiting -= sum(len(job.rows) for job in taken)
            if None in jobs:
                return

    def _round(self, jobs: Sequence[_Job]) -> None:
        began = perf_counter()
        batches: list[int] = []
        try:
            for reader in self.loaded.readers:
                batches += embed([job.rows for job in jobs], reader)
        except Exception as error:  # noqa: BLE001 - it becomes the answer; the server goes on
            _say.exception("a round failed")
            for job in jobs:
                job.future.set_exception(error)
            return
        for job in jobs:
            try:
                job.future.set_result(answer(job.rows, self.loaded))
            except Exception as error:  # noqa: BLE001
                _say.exception("a request failed")
                job.future.set_exception(error)
        seconds, rows = perf_counter() - began, sum(len(job.rows) for job in jobs)
        self._per_row = 0.8 * self._per_row + 0.2 * seconds / max(1, rows)
        if self._watch:
            with suppress(Exception):
                self._watch(Round(len(jobs), rows, batches, seconds))
