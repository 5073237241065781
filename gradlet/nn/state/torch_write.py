"""Files that `torch.load(path, weights_only=True)` reads, written without PyTorch.

Python's own pickler writes the name of a function only if it can import it, so that the
instructions for tensors are put together here.
"""

from __future__ import annotations

import pickle
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gradlet.nn.files import replacing
from gradlet.nn.state.torch_files import STORAGES
from gradlet.tensor.tensor import Tensor

_STORAGE_NAMES = {dtype: f"torch\n{name}Storage\n" for name, dtype in STORAGES.items()}


def torch_save(state: Any, path: str | Path) -> None:
    """Writes tensors in dicts, lists and tuples, with plain values beside them, as PyTorch does.

    The file replaces `path` once it is whole.

    Raises:
        TypeError: `state` holds something else.
        OSError: the file cannot be written; one that was there is still as it was.

    >>> import tempfile
    >>> from gradlet.nn.state import torch_load
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     torch_save({"x": Tensor([1, 2]), "step": 3}, f"{folder}/x.pt")
    ...     torch_load(f"{folder}/x.pt")["step"]
    3
    """
    writer = _Writer()
    writer.write(state)
    with replacing(Path(path)) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + bytes(writer.code) + b".")
        archive.writestr("archive/byteorder", sys.byteorder)
        for key, array in enumerate(writer.arrays):
            archive.writestr(f"archive/data/{key}", array.tobytes())
        archive.writestr("archive/version", "3\n")


class _Writer:
    """The instructions of a pickle, and the arrays that become its storages."""

    def __init__(self) -> None:
        self.code = bytearray()
        self.arrays: list[np.ndarray] = []

    def write(self, value: Any) -> None:
        """Appends the instructions that build `value`."""
        if isinstance(value, Tensor):
            self.tensor(value)
        elif isinstance(value, Mapping):
            self.code += b"}("
            for pair in value.items():
                self.each(pair)
            self.code += b"u"
        elif isinstance(value, list):
            self.code += b"]("
            self.each(value)
            self.code += b"e"
        elif isinstance(value, tuple):
            self.code += b"("
            self.each(value)
            self.code += b"t"
        elif value is None or isinstance(value, bool | int | float | str):
            self.code += pickle.dumps(value, protocol=2)[2:-1]
        else:
            raise TypeError(
                f"torch_save: cannot write a {type(value).__name__}; save tensors, numbers, "
                "strings, and dicts, lists and tuples of them"
            )

    def each(self, values: Any) -> None:
        for value in values:
            self.write(value)

    def tensor(self, tensor: Tensor) -> None:
        """A tensor in a storage of its own: one of its dtype, or of bytes if PyTorch has none."""
        array = np.ascontiguousarray(tensor.numpy())
        strides = tuple(step // array.itemsize for step in array.strides) if tensor.ndim else ()
        typed = _STORAGE_NAMES.get(tensor.dtype)
        self.code += b"ctorch._utils\n_rebuild_tensor_v" + (b"2" if typed else b"3") + b"\n(("
        self.write("storage")
        self.code += b"c" + (typed or "torch.storage\nUntypedStorage\n").encode()
        self.each((str(len(self.arrays)), "cpu", array.size if typed else array.nbytes))
        self.code += b"tQ"
        self.each((0, tensor.shape, strides, False))
        self.code += b"ccollections\nOrderedDict\n)R"
        if typed is None:
            self.code += f"ctorch\n{tensor.dtype.name}\n".encode()
        self.code += b"tR"
        self.arrays.append(array)
