"""What WGSL has no operator for: functions, in the `.wgsl` files of this folder.

Each is put into the shaders that call it. Those of one file stand for several types, whose names
and numbers are put in for the words that begin with a dollar sign.
"""

from __future__ import annotations

import re
from pathlib import Path
from string import Template

_FOLDER = Path(__file__).parent
_CALLED = re.compile(r"\b[a-z]\w*(?=\()")


def _functions(file: str, **words: str) -> dict[str, str]:
    """The functions of a file by name."""
    text = (_FOLDER / f"{file}.wgsl").read_text(encoding="utf-8")
    _, *found = Template(text).substitute(words).rstrip().split("\n\nfn ")
    return {function.partition("(")[0]: f"fn {function}" for function in found}


_PLAIN = {
    **_functions("words"),
    **_functions(
        "floats", real="f32", word="u32", fraction="23",
        mask="0x7fffffffu", inf="0x7f800000u", nan="0x7fc00000u",
    ),
    **_functions(
        "floats", real="f64", word="u64", fraction="52",
        mask="0x7ffffffffffffffflu", inf="0x7ff0000000000000lu", nan="0x7ff8000000000000lu",
    ),
    **_functions("signed", kind="i32"),
    **_functions("signed", kind="i64"),
    **_functions("unsigned", kind="u32"),
    **_functions("unsigned", kind="u64"),
}  # fmt: skip
_PAIRED = _PLAIN | _functions("pairs")


def called(text: str, pairs: bool) -> list[str]:
    """The functions that a shader calls, and those that they call.

    Args:
        pairs: 64-bit integers are pairs of words.
    """
    known = _PAIRED if pairs else _PLAIN
    found: dict[str, str] = {}
    waiting = [text]
    while waiting:
        for name in dict.fromkeys(_CALLED.findall(waiting.pop())):
            if name in known and name not in found:
                found[name] = known[name]
                waiting.append(known[name])
    return list(found.values())
