"""Programs that go through `torch.compile`; imported where the settings say so."""

from __future__ import annotations

from collections.abc import Callable

import torch

from gradlet.runtime.pytorch.table import require_range

Run = Callable[..., list[torch.Tensor]]


def compiled(run: Run) -> Run:
    """A function that PyTorch compiles when it is called, which takes seconds."""
    made: Run = torch.compile(run, dynamic=False)
    return made


@torch.library.custom_op("gradlet::checked", mutates_args=())
def checked(index: torch.Tensor, size: int, op: str, where: str) -> torch.Tensor:
    """An index that has been looked at, which compiled code cannot do by itself."""
    require_range(index, size, op, where)
    return index.clone()


@checked.register_fake
def _(index: torch.Tensor, size: int, op: str, where: str) -> torch.Tensor:
    return torch.empty_like(index)
