"""The tensors of models and of their training: by name, in files, and back."""

from typing import TYPE_CHECKING

from gradlet.base.lazy import lazily

if TYPE_CHECKING:
    from gradlet.nn.state.checkpoint import load_checkpoint, save_checkpoint
    from gradlet.nn.state.formats import load
    from gradlet.nn.state.names import get_parameters, get_state_dict, load_state_dict, to
    from gradlet.nn.state.npz import load_npz, save_npz
    from gradlet.nn.state.safe import (
        safe_load,
        safe_load_with_metadata,
        safe_save,
        safe_save_sharded,
    )
    from gradlet.nn.state.torch_files import torch_load
    from gradlet.nn.state.torch_write import torch_save

__all__ = [
    "get_parameters",
    "get_state_dict",
    "load",
    "load_checkpoint",
    "load_npz",
    "load_state_dict",
    "safe_load",
    "safe_load_with_metadata",
    "safe_save",
    "safe_save_sharded",
    "save_checkpoint",
    "save_npz",
    "to",
    "torch_load",
    "torch_save",
]

_FILES = (
    "names", "safe", "checkpoint", "formats", "npz", "torch_files", "torch_write", "mapped",
    "pickles",
)  # fmt: skip

if not TYPE_CHECKING:
    __getattr__ = lazily(__name__, __all__, _FILES)
