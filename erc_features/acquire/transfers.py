"""Fetches the files of a download, several at once, and unpacks each archive as it arrives."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, local

from erc_features.acquire.archive import DamagedArchive, HostileArchive
from erc_features.acquire.fetch import Fetch, Stopped
from erc_features.acquire.kaggle import Connection, Credentials
from erc_features.acquire.remote import Dataset, Unavailable
from erc_features.acquire.remote_files import Item
from erc_features.acquire.unpack import free_name, unpack

Progress = Callable[[str, int, int], None]


def transfer(
    dataset: Dataset,
    credentials: Credentials,
    absent: Sequence[Item],
    work: Path,
    connections: int,
    arrived: Callable[[Item], None],
    progress: Progress,
) -> list[str]:
    """Fetch files in threads that have a connection each.

    Args:
        work: the folder for partial files.
        arrived: called in this thread with each item that was fetched.

    Returns:
        A message for each file that Kaggle does not serve.
    """
    problems: list[str] = []
    sizes = dict.fromkeys(absent, 0)
    total = sum(item.remote.size for item in absent)
    stop, own, opened = Event(), local(), list[Connection]()

    def connect() -> None:
        own.kaggle = Connection(credentials)
        opened.append(own.kaggle)

    def fetch(item: Item) -> None:
        if stop.is_set():
            raise Stopped

        def report(size: int) -> None:
            sizes[item] = size

        Fetch(own.kaggle, dataset, item.remote, item.path, work, report, stop).run()

    ended: SimpleQueue[Future[None]] = SimpleQueue()
    pool = ThreadPoolExecutor(connections, initializer=connect)
    try:
        waiting = {pool.submit(fetch, item): item for item in absent}
        for future in waiting:
            future.add_done_callback(ended.put)
        while waiting:
            try:
                future = ended.get(timeout=0.1)
                item = waiting.pop(future)
                future.result()
                arrived(item)
            except Unavailable as error:
                problems.append(str(error))
            except Empty:
                pass
            progress("download", sum(sizes.values()), total)
    finally:
        stop.set()  # ends the other threads, where one failed or the user interrupts
        pool.shutdown(cancel_futures=True)
        for connection in opened:
            connection.__exit__()
    return problems


def unpack_item(item: Item, keep: bool, progress: Progress) -> list[str]:
    """Unpack an archive beside itself; returns a message where that fails."""
    problems = []

    def report(done: int, total: int) -> None:
        progress(f"unpack {item.path.name}", done, total)

    try:
        unpack(item.path, free_name(item.beside), progress=report)
    except (DamagedArchive, HostileArchive) as error:
        problems.append(str(error))
        keep = isinstance(error, HostileArchive)  # a damaged one is to be fetched anew
    if not keep:
        item.path.unlink()
    return problems
