"""A file is what it was, or the whole new one, whatever stops the process that writes it."""

import os
import signal
import stat
import subprocess
import sys

import pytest

from erc_features.errors import ErcError, RunError
from erc_features.whole_file import whole_file

KILLED = """
import os, signal
from erc_features.whole_file import whole_file
with whole_file({path!r}) as part:
    part.write_text("half of the new")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_it_takes_its_place_when_the_block_ends(tmp_path):
    path = tmp_path / "new" / "page.html"
    with whole_file(path) as part:
        part.write_text("one")
        assert not path.exists()
    with whole_file(path) as part:
        part.write_text("two")
        assert path.read_text() == "one"
    assert path.read_text() == "two"
    assert os.listdir(path.parent) == ["page.html"]


def test_an_error_leaves_what_was_there(tmp_path):
    path = tmp_path / "page.html"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), whole_file(path) as part:  # noqa: PT012
        part.write_text("half")
        _ = 1 / 0
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["page.html"]


def test_a_kill_leaves_what_was_there_and_the_next_removes_the_rest(tmp_path):
    path = tmp_path / "page.html"
    path.write_text("old")
    code = KILLED.format(path=str(path))
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    assert len(os.listdir(tmp_path)) == 2
    other = tmp_path / ".page.html.elsewhere.7.part"  # of another machine, perhaps at work
    other.touch()
    with whole_file(path) as part:
        part.write_text("new")
    assert path.read_text() == "new"
    assert sorted(os.listdir(tmp_path)) == [other.name, "page.html"]


def test_another_writer_at_work_is_left_alone(tmp_path):
    path = tmp_path / "page.html"
    with whole_file(path) as part:
        mine = part.with_name(part.name.replace(f".{os.getpid()}.", f".{os.getppid()}."))
        mine.touch()
        with whole_file(tmp_path / "other.html") as second:
            second.touch()
        part.write_text("new")
    with whole_file(path) as part:
        part.write_text("newer")
    assert mine.exists()


def test_a_place_that_cannot_be_written_shows_before_the_work(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for path, why in (("folder", "it is a folder"), ("file/x.html", "directory|exists")):
        with pytest.raises(RunError, match=f"cannot be written .*({why}).*; choose --to"):  # noqa: SIM117
            with whole_file(tmp_path / path, "choose --to", RunError):
                pytest.fail("the work was begun")
    with pytest.raises(ErcError, match="choose another place"), whole_file(tmp_path / "folder"):
        pytest.fail("the work was begun")


def test_permissions_are_those_of_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    with whole_file(tmp_path / "whole") as part:
        part.touch()
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "whole")}
    assert len(modes) == 1
