"""Whole trainings in one file: model, optimiser, schedule, random numbers, and where it stood.

A checkpoint is a safetensors file. The structure around its tensors is JSON in its metadata, where
a dict is {"dict": [[key, value], ...]}, a tuple {"tuple": [...]}, and a tensor {"tensor": name}.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gradlet.engine import trace
from gradlet.nn.state.names import get_state_dict, load_state_dict
from gradlet.nn.state.safe import safe_load_with_metadata, safe_save
from gradlet.tensor.tensor import Tensor

_KEY = "gradlet checkpoint"
_VERSION = 1
_RNG = "rng"
_PLAIN = (bool, int, float, str, type(None))


def save_checkpoint(
    path: str | Path,
    *,
    model: Any = None,
    optimizer: Any = None,
    scheduler: Any = None,
    loader: Any = None,
    **others: Any,
) -> None:
    """Writes the state of a training to one file, which replaces `path` once it is whole.

    A process that is killed meanwhile leaves the file that was there. Where the random numbers
    stand is saved too.

    Args:
        model, optimizer, scheduler, loader: objects with a `state_dict()`, or with tensors.
        others: further such objects, and numbers, strings, tensors, and dicts, lists and tuples
            of them, such as `step=100`.

    Raises:
        TypeError: names what cannot be saved.
        OSError: the file cannot be written; one that was there is still as it was.

    >>> import tempfile
    >>> from gradlet import nn
    >>> model = nn.Linear(2, 1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_checkpoint(f"{folder}/x", model=model, step=3)
    ...     load_checkpoint(f"{folder}/x", model=model)
    {'step': 3}
    """
    trace.refuse("save_checkpoint() would act once, and not when the step runs again")
    if {"rng", "device"} & set(others):
        raise TypeError("save_checkpoint: rng and device are arguments of load_checkpoint")
    named = {"model": model, "optimizer": optimizer, "scheduler": scheduler, "loader": loader}
    objects = {name: found for name, found in named.items() if found is not None}
    tree = {name: _state(found) for name, found in objects.items()}
    tree |= {name: found if _is_plain(found) else _state(found) for name, found in others.items()}
    tensors: dict[str, Tensor] = {}
    content = {
        "version": _VERSION,
        _RNG: Tensor.get_rng_state(),
        "state": _packed(tree, "", tensors, {}),
    }
    safe_save(tensors, path, {_KEY: json.dumps(content)})


def load_checkpoint(
    path: str | Path,
    *,
    model: Any = None,
    optimizer: Any = None,
    scheduler: Any = None,
    loader: Any = None,
    rng: bool = True,
    device: str | None = None,
    **others: Any,
) -> dict[str, Any]:
    """Brings objects into the state in which `save_checkpoint` found them.

    If anything is wrong with the file, or does not fit, all of them stay as they are.

    Args:
        model, optimizer, scheduler, loader, others: objects under the names they were saved by.
        rng: the random numbers go on as they would have when it was saved.
        device: where tensors go that no object takes.

    Returns:
        what was saved under other names, such as `step`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or no checkpoint, or an object does not fit.
    """
    trace.refuse("load_checkpoint() would act once, and not when the step runs again")
    tree, state = _read(Path(path), device)
    named = {"model": model, "optimizer": optimizer, "scheduler": scheduler, "loader": loader}
    objects = {name: found for name, found in (named | others).items() if found is not None}
    absent = [name for name in objects if name not in tree]
    if absent:
        raise ValueError(
            f"load_checkpoint: {path} has no {', '.join(absent)}; it was saved with "
            f"{', '.join(tree)}"
        )
    before = {name: _tensors_kept(_state(found)) for name, found in objects.items()}
    begun: list[str] = []
    try:
        for name, found in objects.items():
            begun.append(name)
            _load(found, tree.pop(name))
    except BaseException as error:
        for name in begun:
            _load(objects[name], before[name])
        if isinstance(error, Exception):
            raise ValueError(
                f"load_checkpoint: {begun[-1]} does not fit what {path} holds, and everything is "
                f"left as it was: {error}"
            ) from error
        raise
    if rng:
        Tensor.set_rng_state(state)
    return tree


# The state of an object


def _is_plain(found: Any) -> bool:
    return isinstance(found, (*_PLAIN, np.generic, Tensor, Mapping, list, tuple))


def _state(found: Any) -> Any:
    if callable(getattr(found, "state_dict", None)):
        return found.state_dict()
    tensors = get_state_dict(found)
    if not tensors:
        raise TypeError(
            f"checkpoint: a {type(found).__name__} has neither a state_dict() nor tensors"
        )
    return tensors


def _load(found: Any, state: Any) -> None:
    if callable(getattr(found, "load_state_dict", None)):
        found.load_state_dict(state)
    else:
        load_state_dict(found, state)


def _tensors_kept(tree: Any) -> Any:
    """The same structure with tensors that go on showing their values of now."""
    if isinstance(tree, Tensor):
        return Tensor.from_node(tree.node, tree.device, tree.requires_grad)
    if isinstance(tree, Mapping):
        return {key: _tensors_kept(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        kept = [_tensors_kept(value) for value in tree]
        return kept if isinstance(tree, list) else tuple(kept)
    return tree


# Structure as JSON


def _packed(tree: Any, name: str, tensors: dict[str, Tensor], known: dict[int, str]) -> Any:
    """`tree` as JSON; its tensors go to `tensors`, each once, under the names that lead to them.

    Args:
        known: names of the tensors so far by their ids.
    """
    if isinstance(tree, _PLAIN):
        return tree
    if isinstance(tree, np.generic):
        return tree.item()
    if isinstance(tree, Tensor):
        if id(tree) not in known:
            while name in tensors:  # {"a.b": x} beside {"a": {"b": y}}
                name += "_"
            known[id(tree)] = name
            tensors[name] = tree
        return {"tensor": known[id(tree)]}

    def inner(part: Any, key: Any) -> Any:
        return _packed(part, f"{name}.{key}" if name else str(key), tensors, known)

    if isinstance(tree, Mapping):
        wrong = [key for key in tree if not isinstance(key, _PLAIN)]
        if not wrong:
            return {"dict": [[key, inner(value, key)] for key, value in tree.items()]}
        raise TypeError(f"save_checkpoint: {name} has a key {wrong[0]!r}; use strings or numbers")
    if isinstance(tree, list):
        return [inner(value, i) for i, value in enumerate(tree)]
    if isinstance(tree, tuple):
        return {"tuple": [inner(value, i) for i, value in enumerate(tree)]}
    raise TypeError(
        f"save_checkpoint: {name} is a {type(tree).__name__}, which cannot be saved; give objects "
        "with a state_dict(), tensors, numbers, strings, dicts, lists and tuples"
    )


def _unpacked(packed: Any, tensors: Mapping[str, Tensor]) -> Any:
    """What `_packed` was given."""
    if isinstance(packed, list):
        return [_unpacked(value, tensors) for value in packed]
    if isinstance(packed, _PLAIN):
        return packed
    ((kind, content),) = packed.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "tuple":
        return tuple(_unpacked(value, tensors) for value in content)
    if kind == "dict":
        return {key: _unpacked(value, tensors) for key, value in content}
    raise ValueError(f"unknown structure {kind}")


def _read(path: Path, device: str | None) -> tuple[dict[str, Any], tuple[int, int]]:
    """What was saved by name, and the state of the random numbers."""
    tensors, metadata = safe_load_with_metadata(path, device)
    if _KEY not in metadata:
        raise ValueError(
            f"load_checkpoint: {path} is a safetensors file but no checkpoint; load its tensors "
            "with safe_load"
        )
    try:
        content = json.loads(metadata[_KEY])
        if content["version"] != _VERSION:
            raise ValueError(f"its version is {content['version']}, and this gradlet reads 1")
        seed, calls = content[_RNG]
        tree = _unpacked(content["state"], tensors)
        if not isinstance(tree, dict):
            raise ValueError("its state is no dict")
        if not (0 <= seed < 2**64 and calls >= 0):
            raise ValueError("there are no such random numbers")
        return tree, (int(seed), int(calls))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"load_checkpoint: {path} is damaged ({error!r}); use an older checkpoint"
        ) from error
