"""Fetches the files of a download, several at once, and unpacks each archive as it arrives."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import Empty, SimpleQueue

from erc_features.acquire.archive import DamagedArchive, HostileArchive
from erc_features.acquire.fetch import Fetch, Stopped
from erc_features.acquire.kaggle import Connection, Credentials
from erc_features.acquire.remote import Dataset, Unavailable
from erc_features.acquire.remote_files import Item
from erc_features.acquire.unpack import free_name, unpack

Progress = Callable[[str, int, int], None]


class Transfers:
    """Fetches in threads that have a connection each; unpacks in the thread that calls `run`."""

    def __init__(
        self,
        dataset: Dataset,
        credentials: Credentials,
        work: Path,
        connections: int,
        progress: Progress,
    ) -> None:
        self._dataset, self._credentials = dataset, credentials
        self._work, self._connections, self._progress = work, connections, progress
        self._stop, self._lock, self._own = threading.Event(), threading.Lock(), threading.local()
        self._open: list[Connection] = []
        self._sizes: dict[str, int] = {}

    def run(
        self, todo: Sequence[Item], absent: Sequence[Item], unpacking: bool, keep: bool
    ) -> list[str]:
        """Fetch what is absent and unpack archives; returns a message for each file that failed."""
        total = sum(item.remote.size for item in absent)
        problems: list[str] = []
        gone = set(absent)
        for item in todo:
            if item not in gone:
                self._unpack(item, keep, problems)
        ended: SimpleQueue[Future[None]] = SimpleQueue()
        pool = ThreadPoolExecutor(self._connections, initializer=self._connect)
        try:
            waiting = {pool.submit(self._fetch, item): item for item in absent}
            for future in waiting:
                future.add_done_callback(ended.put)
            while waiting:
                try:
                    future = ended.get(timeout=0.1)
                    item = waiting.pop(future)
                    future.result()
                    if item.archive and unpacking:
                        self._unpack(item, keep, problems)
                except Unavailable as error:
                    problems.append(str(error))
                except Empty:
                    pass
                with self._lock:
                    done = sum(self._sizes.values())
                self._progress("download", done, total)
        finally:
            self._stop.set()  # ends the other threads, where one failed or the user interrupts
            pool.shutdown(cancel_futures=True)
            for connection in self._open:
                connection.__exit__()
        return problems

    def _connect(self) -> None:
        self._own.kaggle = Connection(self._credentials)
        with self._lock:
            self._open.append(self._own.kaggle)

    def _fetch(self, item: Item) -> None:
        def report(size: int) -> None:
            with self._lock:
                self._sizes[item.remote.name] = size

        if self._stop.is_set():
            raise Stopped
        Fetch(
            self._own.kaggle, self._dataset, item.remote, item.path, self._work, report, self._stop
        ).run()

    def _unpack(self, item: Item, keep: bool, problems: list[str]) -> None:
        archive = item.path
        try:
            unpack(
                archive,
                free_name(item.beside),
                progress=lambda *at: self._progress(f"unpack {archive.name}", *at),
            )
        except (DamagedArchive, HostileArchive) as error:
            problems.append(str(error))
            keep = isinstance(error, HostileArchive)  # a damaged one is to be fetched anew
        if not keep:
            archive.unlink()
