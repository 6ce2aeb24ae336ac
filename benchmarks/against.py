"""Comparing this build with another revision: the same benchmark, in turns, in one run.

`--against REV` of a benchmark checks REV out into a temporary work tree. Then processes of the
*same* script, by the same Python with the same installed packages, alternate: in one of them `erc`
is REV's, in the next it is this tree's. Each prints its figures as :func:`figures` has it. So only
erc differs, and what else runs on the machine troubles both alike.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
THIS = "this"
# What was measured -> unit -> number; less is better.
Figures = Mapping[str, Mapping[str, float]]
_MARK = "figures: "


def add_options(parser: ArgumentParser, turns: int = 5) -> None:
    """`--against REV`, and what the parent tells its children."""
    parser.add_argument(
        "--against", metavar="REV", help=f"compare with this revision, {turns} turns each"
    )
    parser.add_argument("--pairs", type=int, default=turns, metavar="N", help="turns of --against")
    parser.add_argument("--figures", action="store_true", help=SUPPRESS)


def spent(work: Callable[[], object]) -> dict[str, float]:
    """Wall and CPU seconds of this process in a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {"s": time.perf_counter() - wall, "CPU s": time.process_time() - cpu}


def print_figures(found: Figures) -> None:
    """What a child says to its parent, and whose packages it had."""
    import erc_features

    tree = Path(erc_features.__file__).resolve().parents[1]
    print(_MARK + json.dumps({"tree": str(tree), "figures": found}), flush=True)


@contextmanager
def trees(against: str | None, folder: Path) -> Iterator[dict[str, Path]]:
    """Name -> checkout: ours, and the other revision's while the context lasts."""
    found = {THIS: ROOT}
    if not against:
        yield found
        return
    git = ["git", "-C", str(ROOT)]
    asked = [*git, "rev-parse", "--verify", "--quiet", f"{against}^{{commit}}"]
    known = subprocess.run(asked, capture_output=True, text=True)
    if known.returncode:
        raise SystemExit(
            f"--against {against}: no such revision of {ROOT}; `git log --oneline` shows some."
        )
    other = folder / "other"
    add = [*git, "worktree", "add", "--detach", "-f", str(other), known.stdout.strip()]
    subprocess.run(add, check=True, capture_output=True)
    try:
        yield found | {against: other}
    finally:
        subprocess.run([*git, "worktree", "remove", "--force", str(other)], check=True)


def environment(tree: Path, byte_code: Path | None = None) -> dict[str, str]:
    """That of a process whose `erc` is the tree's.

    Args:
        byte_code: the folder for that of all it imports; without it, where Python looks for it.
    """
    env = dict(os.environ) | {"PYTHONPATH": str(tree)}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    return env | ({"PYTHONPYCACHEPREFIX": str(byte_code)} if byte_code else {})


def compare(
    script: str,
    arguments: Sequence[str],
    against: str,
    turns: int,
    say: Callable[[str], None] = print,
) -> dict[str, list[Figures]]:
    """Run a benchmark's own lines with both builds, in turns.

    Args:
        script: the file of the benchmark.
        arguments: those of the user; what concerns the comparison is left out.

    Returns:
        Name of the tree -> the figures of each turn.
    """
    command = [sys.executable, script, *_own(arguments), "--figures"]
    found: dict[str, list[Figures]] = {}
    with TemporaryDirectory(prefix="erc-against-") as temporary:
        folder = Path(temporary)
        with trees(against, folder) as places:
            for turn in range(turns):
                # Whoever comes first in a turn is second in the next.
                for name in list(places)[:: -1 if turn % 2 else 1]:
                    env = environment(places[name])
                    done = subprocess.run(command, env=env, capture_output=True, text=True)
                    lines = [s for s in done.stdout.splitlines() if s.startswith(_MARK)]
                    if done.returncode or not lines:
                        raise SystemExit(
                            f"{Path(script).name} with the packages of {name} failed:\n"
                            f"{done.stdout[-2000:]}{done.stderr[-4000:]}"
                        )
                    said = json.loads(lines[-1].removeprefix(_MARK))
                    if Path(said["tree"]) != places[name].resolve():
                        raise SystemExit(
                            f"{Path(script).name}: erc of {said['tree']} was measured in the place "
                            f"of that of {places[name]}; is PYTHONPATH ignored (-E, -I)?"
                        )
                    figures = said["figures"]
                    found.setdefault(name, []).append(figures)
                    say(f"turn {turn + 1} of {turns}, {name}: {_brief(figures)}")
    return found


def medians(found: Mapping[str, Sequence[Figures]], against: str) -> list[dict[str, object]]:
    """A row for each thing and unit that both builds measured: `before`, `now`, and `times`, the
    median over the turns of before / now."""
    rows = []
    for what, units in found[THIS][0].items():
        for unit in units:
            if any(unit not in turn.get(what, {}) for turn in found[against]):
                continue
            before, now = ([turn[what][unit] for turn in found[n]] for n in (against, THIS))
            times = statistics.median(b / n for b, n in zip(before, now, strict=True))
            rows.append({"what": what, "unit": unit, "before": statistics.median(before),
                         "now": statistics.median(now), "times": times})  # fmt: skip
    return rows


def table(rows: Sequence[Mapping[str, object]], against: str) -> list[tuple[str, ...]]:
    """For :func:`measure.markdown`; above 1 in the last column, this build needs less."""
    head = ("", "", against, "this build", f"{against} / this build")
    return [head, *((str(r["what"]), str(r["unit"]), f"{r['before']:.3g}", f"{r['now']:.3g}",
                     f"{r['times']:.2f}") for r in rows)]  # fmt: skip


def run(
    script: str, arguments: Sequence[str] | None, chosen: Namespace, *, write: bool = False
) -> None:
    """All of `--against` for a script whose parser has :func:`add_options`: compare, and print."""
    given = sys.argv[1:] if arguments is None else arguments
    found = compare(script, given, chosen.against, chosen.pairs)
    rows = medians(found, chosen.against)
    from measure import machine, markdown, write_section  # torch, which the children have now left

    body = markdown(table(rows, chosen.against))
    print(body)
    where = machine()
    print(json.dumps({"machine": where, "against": chosen.against, "results": rows}))
    if write:
        write_section(Path(script).name, arguments, where, body)


def _own(arguments: Sequence[str]) -> list[str]:
    """Without `--against REV`, `--pairs N` and `--write`, spelt either way."""
    own, skip = [], False
    for argument in arguments:
        if skip:
            skip = False
        elif argument in ("--against", "--pairs"):
            skip = True
        elif argument != "--write" and not argument.startswith(("--against=", "--pairs=")):
            own.append(argument)
    return own


def _brief(figures: Figures) -> str:
    return ", ".join(
        f"{what} " + " ".join(f"{number:.3g} {unit}" for unit, number in units.items())
        for what, units in figures.items()
    )
