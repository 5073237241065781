"""Counts code by folder: `python tools/size.py [folder ...]`.

A code line holds at least one token that is not a comment or part of a docstring. Tokens per
line stand beside the lines because a program that shrinks by cramming has not become smaller.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

LONGEST_FILE = 400
NOT_CODE = {
    tokenize.COMMENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
    tokenize.INDENT,
    tokenize.NEWLINE,
    tokenize.NL,
}


class Size(NamedTuple):
    """How much code there is. Sizes of several files add up."""

    files: int = 0
    lines: int = 0
    tokens: int = 0

    def plus(self, other: Size) -> Size:
        """The size of both together."""
        return Size(*(a + b for a, b in zip(self, other, strict=True)))

    def row(self, name: str) -> str:
        """One line of the table."""
        density = self.tokens / self.lines if self.lines else 0.0
        return f"{name:<24}{self.files:>6}{self.lines:>8}{self.tokens:>9}{density:>13.1f}"


def docstring_lines(source: str) -> set[int]:
    """Numbers of the lines taken by strings that stand alone as statements."""
    found: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Constant):
            continue
        if isinstance(node.value.value, str):
            found.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return found


def measure(source: str) -> Size:
    """The size of one file's text.

    >>> measure("# a comment\\n\\nx = 1\\n")
    Size(files=1, lines=1, tokens=3)
    """
    documented = docstring_lines(source)
    lines: set[int] = set()
    tokens = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        first = token.start[0]
        if token.type in NOT_CODE or first in documented:
            continue
        tokens += 1
        lines.update(range(first, token.end[0] + 1))
    return Size(1, len(lines), tokens)


def folder_of(path: Path, root: Path) -> str:
    """The name under which a file is counted: the root's own files, or its subfolder."""
    inner = path.relative_to(root).parts[:-1]
    return f"{root.name}/{inner[0]}/" if inner else f"{root.name}/"


def report(roots: Iterable[Path]) -> str:
    """The table of sizes, and a line for each file that is too long."""
    folders: defaultdict[str, Size] = defaultdict(Size)
    too_long = []
    for root in roots:
        for path in sorted(root.rglob("*.py")):
            source = path.read_text(encoding="utf-8")
            name = folder_of(path, root)
            folders[name] = folders[name].plus(measure(source))
            length = len(source.splitlines())
            if length > LONGEST_FILE:
                too_long.append(f"too long: {path} has {length} lines, more than {LONGEST_FILE}")
    total = Size()
    for size in folders.values():
        total = total.plus(size)
    header = f"{'folder':<24}{'files':>6}{'lines':>8}{'tokens':>9}{'tokens/line':>13}"
    rows = [size.row(name) for name, size in sorted(folders.items())]
    return "\n".join([header, *rows, total.row("total"), *too_long])


def main() -> None:
    here = Path(__file__).resolve().parent.parent
    roots = [Path(name) for name in sys.argv[1:]] or [here / "gradlet"]
    missing = [str(root) for root in roots if not root.is_dir()]
    if missing:
        sys.exit(f"size: no such folder: {', '.join(missing)}")
    print(report(root.resolve() for root in roots))


if __name__ == "__main__":
    main()
