"""NumPy's archives of arrays, `.npz`."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from gradlet.base import dtypes
from gradlet.nn.files import DAMAGED_ZIP, replacing
from gradlet.tensor.tensor import Tensor

_FOREIGN = (dtypes.bfloat16, *dtypes.STORAGE)  # no types of NumPy's own
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def save_npz(state: Mapping[str, Tensor], path: str | Path) -> None:
    """Writes tensors to a `.npz` file, which replaces `path` once it is whole.

    Raises:
        TypeError: a tensor is bfloat16 or an 8-bit float, which NumPy's files do not know.
        OSError: the file cannot be written; one that was there is still as it was.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_npz({"x": Tensor([1, 2])}, f"{folder}/x.npz")
    ...     load_npz(f"{folder}/x.npz")["x"].tolist()
    [1, 2]
    """
    for name, tensor in state.items():
        if tensor.dtype in _FOREIGN:
            raise TypeError(
                f"save_npz: {name} is {tensor.dtype.name}, which .npz files cannot hold; use "
                "safe_save, or cast it to float32"
            )
    with replacing(Path(path)) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, tensor in state.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, tensor.numpy(), allow_pickle=False)


def load_npz(
    path: str | Path, device: str | None = None, max_bytes: int | None = None
) -> dict[str, Tensor]:
    """The arrays in a `.npz` file by name. Python objects in it are refused.

    Args:
        max_bytes: a file that unpacks to more is refused; 2**28 and a hundred times its own size
            if not given.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, is too large, or holds what gradlet has no dtype for.
    """
    source = Path(path)
    limit = 2**28 + 100 * source.stat().st_size if max_bytes is None else max_bytes
    try:
        with zipfile.ZipFile(source) as archive:
            entries = archive.infolist()
            promised = sum(entry.file_size for entry in entries)
            if promised > limit:
                raise ValueError(
                    f"it unpacks to {promised} bytes, more than {limit}; if that is meant, pass "
                    "max_bytes"
                )
            arrays = {e.filename.removesuffix(".npy"): _array(archive, e) for e in entries}
    except (*DAMAGED_ZIP, TypeError) as error:
        raise ValueError(f"load_npz: {source} cannot be read: {error}") from error
    return {name: Tensor(array, device=device) for name, array in arrays.items()}


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    """The array in one entry, whose header is checked before anything is made room for."""
    with archive.open(entry) as member:
        version = np.lib.format.read_magic(member)
        if version not in _HEADERS:
            raise ValueError(f"{entry.filename} has the format {version}")
        shape, by_columns, dtype = _HEADERS[version](member)
        dtypes.from_numpy(dtype)
        content = member.read()
    size = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or len(content) != size:
        raise ValueError(f"{entry.filename} promises {size} bytes and holds {len(content)}")
    array = np.frombuffer(content, dtype).reshape(shape, order="F" if by_columns else "C")
    return array.astype(dtype.newbyteorder("="), copy=False)
