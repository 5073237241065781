"""Every public name has a test: a use of the name in the tests of its group, found by syntax.

A use is an attribute, an imported or plain name, or a string that is a name (the tables of cases
are keyed by them) or begins with a call of it. What two names share, such as `dot` and `matmul`, is
the same object, and tested under either. A method in place has its case in test_inplace.py, which
checks that none is missing.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gradlet
from gradlet import Tensor, nn

TESTS = Path(__file__).resolve().parent

# Names of a group, and the folders or files in which they are used.
GROUPS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "Tensor": (Tensor, ("tensor",)),
    "gradlet": (gradlet, ("",)),
    "nn": (nn, ("nn",)),
    "nn.functional": (nn.functional, ("nn",)),
    "nn.init": (nn.init, ("nn/test_init.py",)),
    "nn.optim": (nn.optim, ("nn/optim",)),
    "nn.state": (nn.state, ("nn/state",)),
    "nn.data": (nn.data, ("nn/data",)),
    "nn.utils": (nn.utils, ("nn",)),
}


def public(owner: Any) -> dict[str, Any]:
    """What is offered: `__all__`, or else what begins with a letter and comes from gradlet."""
    listed = getattr(owner, "__all__", None)
    names = [name for name in dir(owner) if not name.startswith("_")] if listed is None else listed
    look = getattr if inspect.ismodule(owner) else inspect.getattr_static
    found = {name: look(owner, name, None) for name in names}
    if inspect.isclass(owner) or listed is not None:
        return found
    return {
        name: value
        for name, value in found.items()
        if not inspect.ismodule(value)
        and str(getattr(value, "__module__", "")).startswith("gradlet")
    }


def used(source: str) -> Iterator[str]:
    """The names that a test file uses, and for f-strings patterns of names."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.alias):
            yield node.name
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from re.findall(r"^\w+(?=$|\()", node.value)
        elif isinstance(node, ast.JoinedStr):
            yield pattern(node)


def pattern(text: ast.JoinedStr) -> str:
    """`f"max_pool{n}d"` as `max_pool[0-9a-z]*d`; nothing where hardly anything is fixed."""
    parts = [part.value if isinstance(part, ast.Constant) else "[0-9a-z]*" for part in text.values]
    fixed = [part for part in parts if re.fullmatch(r"\w+", part)]
    return "".join(parts) if len("".join(fixed)) > 4 else ""


def missing(owner: Any, sources: list[str]) -> list[str]:
    """The public names of `owner` that none of the test files uses."""
    names = public(owner)
    seen = {name for source in sources for name in used(source)}
    patterns = re.compile("|".join(text for text in seen if "[" in text) or "(?!)")
    tested = {name for name in names if name in seen or patterns.fullmatch(name)}
    objects = {id(names[name]) for name in tested}
    protocols = {name for name in names if getattr(names[name], "_is_protocol", False)}
    in_place = {name for name in names if name.endswith("_") and name[:-1] in seen}
    return [
        name
        for name in names
        if name not in tested | in_place | protocols and id(names[name]) not in objects
    ]


def sources_of(places: tuple[str, ...]) -> list[str]:
    """The test files of a group."""
    files = [f for place in places for f in ([TESTS / place] if place.endswith(".py")
             else (TESTS / place).rglob("*.py"))]  # fmt: skip
    return [f.read_text(encoding="utf-8") for f in files if f != Path(__file__).resolve()]


@pytest.mark.parametrize("group", GROUPS)
def test_every_public_name_is_used_in_a_test(group: str) -> None:
    owner, places = GROUPS[group]
    lacking = missing(owner, sources_of(places))
    assert not lacking, f"no test in {', '.join(places)} uses {', '.join(lacking)} of {group}"


def test_what_counts_as_a_use() -> None:
    class Owner:
        first = second = third = pool1d = pool2d = fill = fill_ = None

        def one(self) -> None: ...

        other_one = one

        def two(self) -> None: ...

        def avg_pool3d(self) -> None: ...

        def two_(self) -> None: ...

    assert missing(Owner, ["# two and avg_pool3d\nx.one()"]) != []
    assert "two" in missing(Owner, ["'one or two'"])
    lacking = missing(Owner, ["x.one(), 'first', fill"])
    assert {"two", "two_", "avg_pool3d"} <= set(lacking) and "other_one" not in lacking
    lacking = missing(Owner, ["'two'; f'avg_pool{n}d'"])
    assert not {"two", "two_", "avg_pool3d"} & set(lacking) and "one" in lacking
