"""The counter of code lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import size

EXAMPLE = '''"""A docstring
of two lines."""

import os  # a comment

# another comment


def double(x):
    """One line."""
    return (
        x
        * 2
    )
'''


def test_blank_lines_comments_and_docstrings_do_not_count() -> None:
    measured = size.measure(EXAMPLE)
    # import os, def, return (, x, * 2, ) are six lines.
    assert measured.lines == 6
    # import os | def double ( x ) : | return ( x * 2 )
    assert measured.tokens == 2 + 6 + 6


def test_a_string_that_is_not_a_docstring_counts_on_all_its_lines() -> None:
    assert size.measure('text = """a\nb\nc"""\n') == size.Size(files=1, lines=3, tokens=3)


def test_report_by_folder_with_total(tmp_path: Path) -> None:
    root = tmp_path / "package"
    (root / "inner" / "deep").mkdir(parents=True)
    (root / "top.py").write_text("x = 1\n")
    (root / "inner" / "a.py").write_text("x = 1\ny = 2\n")
    (root / "inner" / "deep" / "b.py").write_text("z = x + y\n")
    rows = [line.split() for line in size.report([root]).splitlines()]
    assert rows[1] == ["package/", "1", "1", "3", "3.0"]
    assert rows[2] == ["package/inner/", "2", "3", "11", "3.7"]
    assert rows[3] == ["total", "3", "4", "14", "3.5"]


def test_long_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "long.py").write_text("# line\n" * (size.LONGEST_FILE + 1))
    (tmp_path / "short.py").write_text("# line\n" * size.LONGEST_FILE)
    text = size.report([tmp_path])
    assert "long.py has 401 lines" in text
    assert "short.py" not in text


def test_missing_folder_ends_with_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["size.py", "no-such-folder"])
    with pytest.raises(SystemExit, match="no such folder: no-such-folder"):
        size.main()
