"""The live table of dev scores, in a terminal and without one."""

import io
import os
import re
import signal
import time
import weakref

import pytest
from rich.console import Console
from rich.text import Text

from erc_features import terminal
from erc_fusion.training.train import Progress


def progress(epoch: int, seeds: int = 3) -> Progress:
    """Seed s has accuracy 0.5 + s/100, its best a tenth above; seed 1 has stopped."""
    score = tuple(0.5 + s / 100 for s in range(seeds))
    best = tuple(s + 0.1 for s in score)
    since, on = (0, 8, *[2] * (seeds - 2)), tuple(s != 1 for s in range(seeds))
    return Progress(epoch, 60, "accuracy", tuple(range(seeds)), score, best, since, on)


def shown(monkeypatch: pytest.MonkeyPatch, *states: Progress, is_terminal: bool = True) -> str:
    stream = io.StringIO()
    console = Console(
        file=stream, force_terminal=is_terminal, width=120, soft_wrap=True, highlight=False
    )
    monkeypatch.setattr(terminal, "err", console)
    with terminal.training() as update:
        for state in states:
            update(state)
    return stream.getvalue()


def cells(text: str, name: str) -> list[str]:
    """The words of the last line that begins with `name`."""
    lines = [Text.from_ansi(line).plain for line in text.split("\n")]
    return next(line for line in reversed(lines) if line.startswith(name)).split()


def test_a_column_for_each_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(monkeypatch, progress(1), progress(12))
    assert cells(text, "epoch 12/60")[2:] == ["seed", "0", "seed", "1", "seed", "2", "mean"]
    assert cells(text, "accuracy on dev")[3:] == ["50.0", "51.0", "52.0", "51.0"]
    assert cells(text, "best so far")[3:] == ["60.0", "61.0", "62.0", "61.0"]
    assert cells(text, "epochs since")[2:] == ["0", "8", "2", "3"]
    assert "2 of 3 seeds in training" in text
    assert re.search(r"\x1b\[2m *51\.0", text)  # dim, for it has stopped
    assert not re.search(r"\x1b\[2m *5[02]\.0", text)
    assert text.endswith("\x1b[2K")  # and the table is gone


def test_more_than_ten_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cells(shown(monkeypatch, progress(5, 10)), "epoch 5/60")[-1] == "mean"
    text = shown(monkeypatch, progress(5, 11))
    assert cells(text, "epoch 5/60")[2:] == ["mean", "min", "max"]
    assert cells(text, "accuracy on dev")[3:] == ["55.0", "50.0", "60.0"]
    assert cells(text, "epochs since")[2:] == ["2", "0", "8"]


def test_a_line_now_and_then_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 3.0, 9.0, 11.0, 11.0, 20.0, 21.5, 21.5])
    monkeypatch.setattr(terminal, "monotonic", lambda: next(times))
    text = shown(monkeypatch, *map(progress, range(1, 6)), is_terminal=False)
    line = "epoch {} of 60: accuracy on dev 51.0, best 61.0; 2 of 3 seeds in training\n"
    assert text == line.format(3) + line.format(5)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_that_falls_into_a_callback_is_not_lost(number, code, capsys):
    """An error in the callback of a weak reference goes nowhere, and h5py has many of them."""
    before = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    ours = signal.signal(number, before)  # under nohup and behind `&`, SIGINT is ignored

    class Object:
        pass

    def work():
        held = Object()
        weakref.finalize(held, os.kill, os.getpid(), number)
        del held
        for _ in range(1000):
            time.sleep(0.01)

    try:
        with pytest.raises(SystemExit) as caught, terminal.resumable():
            work()
        assert signal.getsignal(number) is before
    finally:
        signal.signal(number, ours)
    assert caught.value.code == code
    assert "the same command continues from there" in capsys.readouterr().err
