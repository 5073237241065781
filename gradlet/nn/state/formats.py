"""One function for files of every format."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from gradlet.nn.files import DAMAGED_ZIP
from gradlet.nn.state.npz import load_npz
from gradlet.nn.state.safe import INDEX, safe_load
from gradlet.nn.state.torch_files import STREAM_MAGIC, ZIP_MAGIC, torch_load


def load(path: str | Path, device: str | None = None) -> Any:
    """The tensors in a safetensors, PyTorch or NumPy file, told apart by what they begin with.

    Args:
        path: a file, or a folder with `model.safetensors` or its index.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or of none of these formats.
    """
    source = Path(path)
    if source.is_dir():
        single, index = source / "model.safetensors", source / f"model{INDEX}"
        return safe_load(index if index.exists() else single, device)
    if not source.exists():
        raise FileNotFoundError(f"load: there is no file {source}; check the path")
    with source.open("rb") as file:
        start = file.read(512)
    if start.startswith(ZIP_MAGIC):
        return load_npz(source, device) if _holds_arrays(source) else torch_load(source, device)
    if STREAM_MAGIC in start[:16] or start[257:262] == b"ustar":
        return torch_load(source, device)
    return safe_load(source, device)


def _holds_arrays(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(".npy") for name in archive.namelist())
    except DAMAGED_ZIP:
        return False
