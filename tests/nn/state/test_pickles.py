"""Pickles of plain data are read in every protocol; those that mean harm are refused."""

from __future__ import annotations

import contextlib
import io
import pickle
import pickletools
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradlet.nn.state import torch_load
from gradlet.nn.state.pickles import PLAIN, RefusedPickleError, read_pickle


def op(name: str) -> bytes:
    return next(o.code for o in pickletools.opcodes if o.name == name).encode("latin1")


DEEP = b")" + op("TUPLE1") * 100_000
EVIL = {
    "calls a string": b"U\x01a)R.",
    "calls a storage": b"ctorch\nFloatStorage\n)R.",
    "instances": b"(ios\nsystem\n.",
    "extension codes": b"\x82\x01.",
    "new objects": b"ccollections\nOrderedDict\n)\x81.",
    "attributes of a maker": b"ccollections\nOrderedDict\n}U\x04call)sb.",
    "attributes of data": b"ccollections\nOrderedDict\n)R}U\x05items)sb.",
    "a hash of great depth": b"}" + DEEP + b")s.",
    "a set of great depth": b"c__builtin__\nset\n](" + DEEP + b"e\x85R.",
    "an ordered dict of great depth": b"ccollections\nOrderedDict\n]" + DEEP + b")\x86a\x85R.",
    "arguments of great depth": b"ctorch._utils\n_rebuild_tensor_v2\n(" + DEEP + b"K\x00))tR.",
    "a device of great depth": b"ctorch\ndevice\n" + DEEP + b"R.",
    "a memo of great size": b"]r\xff\xff\xff\xffj\xfe\xff\xff\xff.",
    "a string of great length": b"\x8d" + struct.pack("<Q", 2**62) + b"abc.",
    "bytes of great length": b"B" + struct.pack("<I", 2**32 - 1) + b"abc.",
    "a bytearray": b"\x96" + struct.pack("<Q", 2**62) + b"abc.",
    "an int of great length": b"\x8b" + struct.pack("<i", 2**31 - 1) + b"1.",
    "digits without end": b"L" + b"9" * 100_000 + b"L\n.",
    "nothing": b"",
    "no end": b"]]]",
    "an empty stack": b"0.",
    "no mark": b"t.",
    "not put aside": b"h\x05.",
    "unknown": b"\xff.",
    "an odd dict": b"(U\x01ad.",
    "appends to a tuple": b")]a.",
    "persistent text": b"P1\n.",
    "persistent number": b"K\x01Q.",
    "persistent module": b"(U\x06module0K\x01tQ.",
    "copies without end": b"c__builtin__\nset\nq\x00](" + b"K\x01" * 500 + b"eq\x010"
    + b"h\x00h\x01\x85R" * 1000 + b".",
    "text without end": b"c_codecs\nencode\nq\x00X" + struct.pack("<I", 9000) + b"a" * 9000
    + b"q\x010" + b"h\x00h\x01X\x06\x00\x00\x00latin1\x86R" * 1000 + b".",
}  # fmt: skip


@pytest.mark.parametrize("name", EVIL)
def test_evil_pickles(name: str, tmp_path: Path) -> None:
    """As part of a PyTorch file, which may name the most."""
    with zipfile.ZipFile(tmp_path / "x", "w") as archive:
        archive.writestr("x/data.pkl", b"\x80\x02" + EVIL[name])
    with pytest.raises(ValueError, match="x is refused: the pickle in it"):
        torch_load(tmp_path / "x")


def test_plain_data_of_every_protocol() -> None:
    value = {
        "a": [1, -1, 2.5, 10**30, 300, 70_000], "b": (None, True), "c": {1, 2}, "d": frozenset({3}),
        "e": b"raw", "none": b"", "f": "text" * 100, "g": ((),), "h": [[1] * 2000],
        "i": OrderedDict(x=1),
    }  # fmt: skip
    twice = [value, value]
    for protocol in range(6):
        file = io.BytesIO(pickle.dumps(twice, protocol) + b"behind")
        loaded = read_pickle(file, PLAIN)
        assert loaded == twice and loaded[0] is loaded[1]
        assert file.read() == b"behind"


CODES = [o.code.encode("latin1") for o in pickletools.opcodes]
PIECES = st.one_of(
    st.sampled_from(CODES),
    st.sampled_from([b"ctorch\nFloatStorage\n", b"ccollections\nOrderedDict\n", b"K\x01", b"(]}"]),
    st.binary(max_size=6),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES, max_size=40))
def test_any_pickle_is_read_or_refused(pieces: list[bytes]) -> None:
    with contextlib.suppress(RefusedPickleError):
        read_pickle(io.BytesIO(b"".join(pieces)), PLAIN, {"torch.FloatStorage": 1})
