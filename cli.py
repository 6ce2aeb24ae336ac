"""The command line: the one place that catches ErcError.

Commands parse, make one call and print; they stand in `erc_features/cli` and
`erc_fusion/cli`. Everything a command does can be done from Python, by the function of
the same name. Imports stand inside the commands, so that `erc --help` answers at once.
"""

import atexit
import gc
import io
import os
import platform
import sys
import threading
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from erc_features.cli.corpora import commands as corpus_commands
from erc_features.cli.features import commands as feature_commands
from erc_features.cli.options import command_of
from erc_features.errors import ErcError, ErcWarning
from erc_features.threads import let_waiting_threads_sleep, our_cores
from erc_fusion.cli.runs import commands as run_commands
from erc_fusion.cli.training import commands as training_commands


class Verbs(TyperGroup):
    """Turns an ErcError into its message and exit code 1; usage errors stay 2."""

    def invoke(self, ctx: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")  # "±" in an ASCII locale is no reason to fail
        # Importing torch makes a million objects that stay. By default Python looks for garbage
        # among them 2,000 times, a quarter of the time that the import takes.
        gc.set_threshold(100_000)
        let_waiting_threads_sleep()
        warnings.showwarning = _show_warning
        try:
            return super().invoke(ctx)
        except ErcError as error:
            print(f"Error: {error}", file=sys.stderr)
            raise typer.Exit(1) from error


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int,
    file: Any = None, line: str | None = None,
) -> None:  # fmt: skip
    """Our own warnings as a line; others as Python shows them."""
    if issubclass(category, ErcWarning):
        print(f"Warning: {message}", file=sys.stderr)
    else:
        _python_shows(message, category, filename, lineno, file, line)


_python_shows = warnings.showwarning
app = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    help="Precomputed features and fast, honest fusion for Emotion Recognition in "
    "Conversations.\n\nTry `erc demo`: the whole way, offline, in about a minute.",
)


REPORTED = (
    "numpy", "h5py", "pandas", "torch", "torchvision", "torchaudio", "transformers",
    "open_clip_torch", "av", "scikit-learn", "typer", "optuna", "ray",
)  # fmt: skip


def versions() -> list[str]:
    """The versions and devices that a bug report needs, a line each; nothing of it can fail."""
    from importlib.metadata import PackageNotFoundError, version

    def named(package: str) -> str:
        try:
            return f"{package} {version(package)}"
        except PackageNotFoundError:
            return f"{package} not installed"

    return [
        named("erc"),
        f"python {platform.python_version()}, {platform.platform()}",
        *map(named, REPORTED),
        f"devices: {os.cpu_count()} CPU cores, {our_cores()} of them ours, {gpus()}",
    ]


def gpus() -> str:
    """What torch sees beside the CPU. Imports torch, which takes seconds."""
    try:
        import torch

        found = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    except (ImportError, OSError, RuntimeError, AssertionError) as error:  # wheels that don't match
        return f"no GPU to be seen: {type(error).__name__}: {error}"
    built = f"torch built for CUDA {torch.version.cuda}" if torch.version.cuda else "torch CPU only"
    names = [f"{gpu.name} ({gpu.total_memory / 2**30:.0f} GiB)" for gpu in found] or ["no GPU"]
    return ", ".join([*names, built])


def show_versions(wanted: bool) -> None:
    if wanted:
        print(*versions(), sep="\n")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=show_versions,
            is_eager=True,
            help="Show the versions and devices that a bug report needs.",
        ),
    ] = False,
) -> None:
    pass


@command_of(app, "erc demo --to demo")
def demo(to: Path = Path("demo"), seed: int = 0) -> None:
    """Walk the whole way offline, from a rendered corpus to a report.

    The steps are those of sample, prepare, extract, fuse and report.

    Options:
        to: Folder for everything that is made.
        seed: Random seed of the rendered corpus.
    """
    from erc_features import terminal
    from erc_fusion.demo import demo as run
    from erc_fusion.report import rich_table, sentences

    with terminal.bar() as progress:
        made = run(to, seed=seed, progress=progress, say=terminal.err.print)
    terminal.out.print(rich_table(made.comparison))
    terminal.show(*sentences(made.comparison), f"The report: {made.report.resolve()}")


for group in (corpus_commands, feature_commands, training_commands, run_commands):
    app.add_typer(group)


def main() -> None:
    """What `erc` on a command line runs: the commands, and a short way out."""
    try:
        app()
    except SystemExit as end:
        if not end.code:
            _leave_at_once()
        raise


def _leave_at_once() -> None:
    """End the process without taking apart what it imported: that frees what the system takes
    anyway, and costs up to a second with matplotlib or torch, with torch 130 MB too.

    All that Python promises to do at an end is done before. Returns, for the usual end, where
    more than that is at stake: Ray's workers, a thread that is at work, an open HDF5 file.
    """
    others = set(threading.enumerate()) - {threading.main_thread()}
    if "ray" in sys.modules or not all(thread.daemon for thread in others):
        return
    if "h5py" in sys.modules:
        from erc_features.store import nothing_open

        if not nothing_open():
            return
    atexit._run_exitfuncs()  # once: the usual end finds none left
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # nobody reads on: Python says so
        return
    os._exit(0)


if __name__ == "__main__":
    main()
