"""How much memory this process may still take."""

from pathlib import Path, PurePosixPath

_NO_LIMIT = 2**62  # bytes


def free_memory(root: Path = Path("/sys/fs/cgroup"), proc: Path = Path("/proc")) -> int:
    """Bytes that are free, or hold only pages of files, here and in our control groups.

    A group (version 1 or 2) is also bound by the limits of the groups above it, so the smallest
    number counts. Very many where the system does not say.
    """
    least = _NO_LIMIT
    for line in _lines(proc / "meminfo"):
        if line.startswith("MemAvailable:"):
            least = int(line.split()[1]) * 1024
    # In a container the roots are often its own group, whatever name the host has for that.
    for line in (*_lines(proc / "self/cgroup"), "0::/", "0:memory:/"):
        _, controllers, group = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        for place in (path := PurePosixPath(group), *path.parents):
            inside = str(place)[1:]
            if controllers:
                folder, names = root / "memory" / inside, ("limit_in_bytes", "usage_in_bytes")
            else:
                folder, names = root / inside, ("max", "current")
            limit, used = (_lines(folder / f"memory.{name}") for name in names)
            if limit and used and limit[0].isdigit() and used[0].isdigit():
                room = int(limit[0]) - int(used[0]) + _of_files(folder, bool(controllers))
                least = min(least, max(0, room))
    return least


def _of_files(folder: Path, first_version: bool) -> int:
    """Bytes that a group uses for pages of files, which the system takes back when it must."""
    start = "total_" if first_version else ""
    wanted = {f"{start}active_file", f"{start}inactive_file"}
    pairs = (line.split() for line in _lines(folder / "memory.stat"))
    return sum(int(pair[1]) for pair in pairs if len(pair) == 2 and pair[0] in wanted)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
