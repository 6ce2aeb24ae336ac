"""A process that imports everything once and then does one piece of work in a fork at a time, so
that SIGKILL falls into the work and not into the import of torch."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_SCRIPT = """
import os, sys
{imports}
if __name__ == "__main__":
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            {work}
            os._exit(0)
        print(child, flush=True)
        print(os.waitpid(child, 0)[1], flush=True)
"""


@contextmanager
def forks(script: Path, imports: str, work: str) -> Iterator:
    """A function that does `work` in a fork and returns its wait status.

    With a number of seconds, the fork is killed with SIGKILL after so long; with a function, as
    soon as it returns. `number` is another signal, `line` what `work` sees under that name.
    """
    script.write_text(_SCRIPT.format(imports=imports, work=work))
    with subprocess.Popen([sys.executable, script], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as server:  # fmt: skip

        def run(
            seconds: float | Callable[[], object] | None = None,
            number: int = signal.SIGKILL,
            line: str = "",
        ) -> int:
            server.stdin.write(f"{line}\n")
            server.stdin.flush()
            child = int(server.stdout.readline())
            if seconds is not None:
                seconds() if callable(seconds) else time.sleep(seconds)
                with suppress(ProcessLookupError):  # it has ended
                    os.kill(child, number)
            return int(server.stdout.readline())

        yield run
        server.stdin.close()
