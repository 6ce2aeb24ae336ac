"""`--engine ray`: the same batches in actors, on this machine or on the cluster of RAY_ADDRESS.

It uses core actors and not Ray Data, whose `map_batches` held both of two cores while its reading
task waited for one. Only this process writes; the actors need the corpus, the weights and erc.
"""

import os
import socket
import sys
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from erc_features.corpora.segments import TIMES
from erc_features.encoders import ENCODERS, load_encoder, resolve
from erc_features.encoders.base import Encoder, pick_device, pick_precision
from erc_features.errors import EncoderError, ErcError, choose, listed
from erc_features.extraction.engines.batch import Batch, encode_rows, items_of, start
from erc_features.extraction.engines.cluster import connect, nodes_of, share
from erc_features.extraction.items import loader
from erc_features.extraction.job import Job
from erc_features.extraction.probe import Expected
from erc_features.plugins import with_plugins

AHEAD = 3  # batches in an actor: one is encoded, the others are decoded; memory stays flat
DEATHS = 3  # after so many deaths of workers over one batch, the extraction ends
START = 120.0  # seconds until some worker must have started


def settle(job: Job, workers: int | None) -> tuple[Job, int]:
    """Connect, and decide what `auto` means there, and the number of workers.

    The default is one worker for each GPU; on CPUs, one for every group of cores as large as the
    number of torch's threads.

    Raises:
        ErcError: Ray is not installed or cannot be reached, or has room for fewer workers.
        EncoderError: CUDA was asked for and no node has a GPU.
    """
    ray = connect()
    nodes, threads = nodes_of(ray), _threads(job)
    job = _resolved(ray, job, sum(gpus for _, gpus in nodes))
    on_cuda = job.settings.device == "cuda"
    most = sum(int(gpus) if on_cuda else int(cpus // threads) for cpus, gpus in nodes)
    workers = workers or max(1, most)
    share(nodes, on_cuda, workers, threads)
    return job, workers


def run_ray(
    batches: Sequence[np.ndarray], job: Job, expected: Expected, workers: int
) -> Iterator[Batch]:
    """Encode the batches in actors, and yield them in the order in which they are finished.

    A worker that is lost is replaced, and its batches are repeated. The actors end with this
    generator; Ray itself stays for the next extraction, until :func:`.cluster.leave`.

    Raises:
        EncoderError: a node's encoder has other weights, or gives other numbers, than `expected`.
        ErcError: no worker starts, or a batch's workers died three times.
    """
    ray = connect()
    if not batches:
        return
    crew = _Crew(ray, batches, job, expected, min(workers, len(batches)))
    try:
        yield from crew.work()
    finally:
        for actor in crew.actors.values():
            ray.kill(actor)


class Worker:
    """An actor: loads the encoder once, decodes in threads, encodes one batch at a time."""

    def __init__(self, job: Job, threads: int, decoders: int) -> None:
        self._job = job
        self._item = loader(job.corpus, job.modality, job.settings)
        self._decoding = ThreadPoolExecutor(decoders, thread_name_prefix="decode")
        # One thread computes, with as many threads of torch as the driver has: each thread has
        # its own such number, and with another one networks give other bits (1e-6).
        self._computing = ThreadPoolExecutor(1, thread_name_prefix="encode")
        self._threads = threads
        self._encoder: Encoder | None = None
        self._idle_since = 0.0

    def begun(self) -> None:
        """Do nothing: an answer shows that the process runs."""

    def load(self, expected: Expected) -> None:
        """Load the encoder; EncoderError if it cannot be loaded here or is not as `expected`."""
        node = socket.gethostname()
        try:
            encoder = self._computing.submit(self._loaded).result()
        except ErcError as error:
            raise EncoderError(f"On node {node}: {error}") from None
        check = (expected.check, encoder, self._job.settings, node)
        self._computing.submit(*check).result()
        self._encoder, self._idle_since = encoder, perf_counter()

    def _loaded(self) -> Encoder:
        encoder = load_encoder(self._job.encoder, self._job.modality, self._job.settings)
        if "torch" in sys.modules:  # an encoder without torch need not import it
            import torch

            torch.set_num_threads(self._threads)
        return encoder

    def encode(self, rows: np.ndarray) -> Batch:
        """Decode and encode a batch; several may be requested at once."""
        asked = perf_counter()
        items = items_of(start(rows, self._item, self._decoding))
        return self._computing.submit(self._encode, rows, items, asked).result()

    def _encode(self, rows: np.ndarray, items: list[Any], asked: float) -> Batch:
        assert self._encoder is not None  # no batch is sent before `load` is done
        began = perf_counter()
        waited = began - max(asked, self._idle_since)
        x, status, reasons = encode_rows(items, self._encoder, self._job.dtype)
        self._idle_since = perf_counter()
        return Batch(rows, x, status, reasons, max(0.0, waited), self._idle_since - began)


@dataclass(frozen=True)
class _Task:
    """What an actor has to do: `begun`, `load`, or the number of a batch."""

    actor: int
    what: str | int


class _Crew:
    """The actors of one extraction, and who does what."""

    def __init__(
        self, ray: Any, batches: Sequence[np.ndarray], job: Job, expected: Expected, workers: int
    ) -> None:
        nodes, threads = nodes_of(ray), _threads(job)
        cpus, gpus = share(nodes, job.settings.device == "cuda", workers, threads)
        decoders = min(16, max(2, int(sum(cpu for cpu, _ in nodes)) // workers))
        quiet = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}  # cores may be shared
        self._ray, self._batches, self._expected, self._workers = ray, batches, expected, workers
        self._keys = [u.key for u in job.corpus.utterances]
        self._make = ray.remote(Worker).options(
            num_cpus=cpus, num_gpus=gpus, max_concurrency=AHEAD, scheduling_strategy="SPREAD",
            runtime_env={"env_vars": {**quiet, "OMP_NUM_THREADS": str(threads)}},
        )  # fmt: skip
        self._args = (ray.put(_portable(job)), threads, decoders)
        self.actors: dict[int, Any] = {}
        self._ready: list[int] = []
        self._tasks: dict[Any, _Task] = {}
        self._todo = deque(range(len(batches)))
        # Batches that a worker held when it died. Each is sent alone, to find the one that kills.
        self._suspects: deque[int] = deque()
        self._deaths: Counter[int | str] = Counter()
        self._stillborn = self._hired = 0

    def work(self) -> Iterator[Batch]:
        """Yield the batches until all are done."""
        for _ in range(self._workers):
            self._hire()
        left = len(self._batches)
        while left:
            self._hand_out()
            ref, task = self._next()
            try:
                found = self._ray.get(ref)
            except self._ray.exceptions.RayTaskError as error:  # raised by our own code there
                raise _raised(error) from None
            except self._ray.exceptions.RayError as error:  # lost: process, node or result
                self._lose(task, error)
                continue
            if task.what == "begun":
                self._ask(task.actor, "load", self._expected)
            elif task.what == "load":
                self._stillborn = 0
                self._ready.append(task.actor)
            else:
                left -= 1
                of = self._workers  # so that the seconds of all add up to those of the clock
                yield replace(found, waited=found.waited / of, encoded=found.encoded / of)

    def _hire(self) -> None:
        self._hired += 1
        self.actors[self._hired] = self._make.remote(*self._args)
        self._ask(self._hired, "begun")

    def _ask(self, actor: int, method: str, *args: Any) -> None:
        ref = getattr(self.actors[actor], method).remote(*args)
        self._tasks[ref] = _Task(actor, method)

    def _hand_out(self) -> None:
        for actor in self._ready:
            held = [task.what for task in self._tasks.values() if task.actor == actor]
            if self._suspects:
                if not held:
                    self._give(actor, self._suspects.popleft())
                continue
            if any(self._deaths[batch] for batch in held):
                continue
            for _ in range(min(AHEAD - len(held), len(self._todo))):
                self._give(actor, self._todo.popleft())

    def _give(self, actor: int, batch: int) -> None:
        ref = self.actors[actor].encode.remote(self._batches[batch])
        self._tasks[ref] = _Task(actor, batch)

    def _next(self) -> tuple[Any, _Task]:
        """The task that is done first, and its result."""
        none_began = all(task.what == "begun" for task in self._tasks.values())
        done, _ = self._ray.wait(list(self._tasks), timeout=START if none_began else None)
        if not done:
            raise ErcError(
                f"--engine ray: no worker could start in {START:.0f} seconds. `ray status` says "
                "what is free; fewer --workers, or another time, works. What is written is kept."
            )
        return done[0], self._tasks.pop(done[0])

    def _lose(self, task: _Task, error: Exception) -> None:
        """Replace a worker. Its other tasks come back by themselves, done or lost."""
        why = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        if (actor := self.actors.pop(task.actor, None)) is not None:
            self._ready = [ready for ready in self._ready if ready != task.actor]
            self._ray.kill(actor)
            self._hire()
        if isinstance(task.what, str):
            self._stillborn += 1
            if self._stillborn >= DEATHS * self._workers:
                raise ErcError(
                    f"--engine ray: workers die before they have loaded the encoder: {why}\n"
                    "Does it fit into the nodes' memory, and is the same erc on each?"
                )
            return
        self._deaths[task.what] += 1
        self._suspects.append(task.what)
        if self._deaths[task.what] >= DEATHS:
            keys = [self._keys[row] for row in self._batches[task.what]]
            raise ErcError(
                f"--engine ray: a worker died {DEATHS} times over the same batch: {why}\n"
                f"Its rows:{listed(keys)}\nA smaller --batch-size needs less memory. What is "
                "written is kept."
            )


def _threads(job: Job) -> int:
    """The number of threads that torch computes with here, and so on every node."""
    if job.encoder == "baseline":
        return 1
    import torch

    return torch.get_num_threads()


def _resolved(ray: Any, job: Job, gpus: float) -> Job:
    """The job with its device and precision decided for the cluster."""
    settings = job.settings
    if job.encoder == "baseline":
        return replace(job, settings=resolve(job.encoder, settings))
    device = choose("device", settings.device, ("auto", "cpu", "cuda"))
    if device == "auto":
        device = "cuda" if gpus else "cpu"
    if device == "cuda" and not gpus:
        raise EncoderError(
            "--device cuda: no node of the Ray cluster has a GPU. --device cpu works; --device "
            "auto takes what there is."
        )
    precision = settings.precision
    if precision == "auto":
        precision = _precision_on_gpu(ray) if device == "cuda" else "fp32"
    return replace(job, settings=replace(settings, device=device, precision=precision))


def _precision_on_gpu(ray: Any) -> str:
    ref = ray.remote(_precision_here).options(num_gpus=1, num_cpus=0, max_retries=0).remote()
    try:
        return ray.get(ref, timeout=START)
    except ray.exceptions.RayTaskError as error:
        raise _raised(error) from None
    except ray.exceptions.RayError as error:  # a timeout, or the process died
        raise ErcError(
            "--engine ray: no GPU could be asked for its precision "
            f"({type(error).__name__}); --precision fp32, bf16 or fp16 asks none."
        ) from error


def _precision_here() -> str:
    return pick_precision("auto", pick_device("cuda"))


def _raised(error: Any) -> Exception:
    return error.cause if isinstance(error.cause, ErcError) else error


def _portable(job: Job) -> Job:
    """The job in a form that can be sent: plain dictionaries, and absolute paths."""
    utterances = tuple(
        # Of the further columns, only the times of segments decide a number.
        replace(u, more={name: u.more[name] for name in TIMES if name in u.more})
        for u in job.corpus.utterances
    )
    root, info = Path(os.path.abspath(job.corpus.root)), dict(job.corpus.info)
    corpus = replace(job.corpus, root=root, info=info, utterances=utterances)
    return replace(job, corpus=corpus, encoder=_absolute(job.encoder))


def _absolute(encoder: str) -> str:
    """A folder or file of weights by its absolute path; any other name as it is."""
    if encoder in with_plugins("erc.encoders", ENCODERS):
        return encoder
    if Path(encoder).exists():
        return os.path.abspath(encoder)
    architecture, has_file, file = encoder.partition("=")
    return f"{architecture}={os.path.abspath(file)}" if has_file else encoder
