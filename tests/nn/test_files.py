"""Files that appear whole or not at all, and what killed writers leave of them."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gradlet.nn.files import replacing

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no such locks there")

HANGING = """
import sys, time
from pathlib import Path
from gradlet.nn.files import replacing
with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_a_killed_writer_left_goes_with_the_next_save(tmp_path: Path) -> None:
    path = tmp_path / "x[1]"
    writer = subprocess.Popen(
        [sys.executable, "-c", HANGING, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None and writer.stdout.readline() == "writing\n"
    with replacing(path) as temporary:  # the other writer is alive, and so is what it writes
        temporary.write_text("whole")
    assert len(names(tmp_path)) == 2
    writer.send_signal(signal.SIGKILL)
    writer.wait(timeout=60)
    assert len(names(tmp_path)) == 2
    with replacing(path) as temporary:
        temporary.write_text("new")
    assert names(tmp_path) == ["x[1]"] and path.read_text() == "new"


def test_two_writers_of_one_process_leave_each_other_alone(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with replacing(path) as first:
        first.write_text("first")
        with replacing(path) as second:
            second.write_text("second")
        assert path.read_text() == "second" and first.exists()
    assert path.read_text() == "first" and names(tmp_path) == ["x"]


def test_files_of_others_stay(tmp_path: Path) -> None:
    others = ["x.partial", "x.abc.partial", "y.abcdefgh.partial", "x.abcdefgh.partial.txt"]
    for name in others:
        (tmp_path / name).write_text("mine")
    (tmp_path / "x.folder00.partial").mkdir()
    (tmp_path / "x.linked00.partial").symlink_to(tmp_path / "x.partial")
    with replacing(tmp_path / "x") as temporary:
        temporary.write_text("whole")
    kept = [*others, "x", "x.folder00.partial", "x.linked00.partial"]
    assert names(tmp_path) == sorted(kept)
