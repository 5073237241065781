"""State dicts with the arguments that tinygrad gives these functions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gradlet.nn import state as own
from gradlet.tensor.tensor import Tensor

__all__ = ["get_state_dict", "load_state_dict", "safe_load", "safe_save", "torch_load"]


def get_state_dict(obj: Any, prefix: str = "", tensor_type: type = Tensor) -> dict[str, Tensor]:
    """Every tensor in an object by its dotted name, which `prefix` precedes as it is."""
    if tensor_type is not Tensor:
        raise TypeError(f"get_state_dict: it finds tensors, and nothing of {tensor_type}")
    return {(prefix + name).strip("."): found for name, found in own.get_state_dict(obj).items()}


def load_state_dict(
    model: Any, state_dict: dict[str, Any], strict: bool = True, verbose: bool = True,
    consume: bool = False, realize: bool = True,
) -> list[Tensor]:  # fmt: skip
    """Gives the tensors of `model` the values in `state_dict`, and returns them.

    Nothing is printed, and nothing changes if a name or a shape does not fit.
    """
    places = own.get_state_dict(model)
    own.load_state_dict(model, state_dict, strict)
    loaded = [place for name, place in places.items() if name in state_dict]
    if consume:
        state_dict.clear()
    return loaded


def safe_load(fn: str | Path | Tensor) -> dict[str, Tensor]:
    """The tensors in a safetensors file by name."""
    return own.safe_load(_path(fn, "safe_load"))


def safe_save(
    tensors: dict[str, Tensor], fn: str | Path, metadata: dict[str, Any] | None = None
) -> None:
    """Writes tensors to a safetensors file."""
    texts = None if metadata is None else {key: str(value) for key, value in metadata.items()}
    own.safe_save(tensors, fn, texts)


def torch_load(t: str | Path | Tensor) -> Any:
    """What a file of PyTorch's holds."""
    return own.torch_load(_path(t, "torch_load"))


def _path(given: str | Path | Tensor, function: str) -> str | Path:
    if isinstance(given, Tensor):
        raise TypeError(f"{function}: takes the path of a file, and not its bytes in a tensor")
    return given
