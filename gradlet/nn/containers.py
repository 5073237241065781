"""Layers in lists and dicts, under the names that they have in saved models.

A plain list or dict of layers does as well; these have PyTorch's names and print their layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

__all__ = ["ModuleDict", "ModuleList", "Sequential"]

Layer = Callable[..., Any]


class ModuleList(list[Any]):
    """A list of layers, which is not called itself.

    >>> from gradlet import nn
    >>> layers = ModuleList([nn.Linear(2, 3), nn.Linear(3, 1)])
    >>> len(layers), list(nn.state.get_state_dict(layers[:1]))
    (2, ['0.weight', '0.bias'])
    """

    def __init__(self, modules: Iterable[Any] = ()) -> None:
        super().__init__(modules)

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        return ModuleList(found) if isinstance(index, slice) else found

    def __repr__(self) -> str:
        return _listed(self, enumerate(self))


class ModuleDict(dict[str, Any]):
    """A dict of layers, which is not called itself.

    >>> from gradlet import nn
    >>> heads = ModuleDict({"left": nn.Linear(2, 1)})
    >>> list(nn.state.get_state_dict(heads))
    ['left.weight', 'left.bias']
    """

    def __init__(self, modules: Mapping[str, Any] | Iterable[tuple[str, Any]] = ()) -> None:
        super().__init__(modules)

    def __repr__(self) -> str:
        return _listed(self, self.items())


class Sequential(list[Layer]):
    """A list of layers, or of any functions, that is called from first to last.

    Args:
        layers: the layers, or a list of them, or a dict of layers by name; then they are
            attributes too, and keep their names in saved models.

    >>> from gradlet import Tensor, nn
    >>> Sequential(nn.Linear(3, 8), Tensor.relu, nn.Linear(8, 1))(Tensor.ones(2, 3)).shape
    (2, 1)
    """

    __slots__ = ("__dict__", "__named")  # two underscores: not a part whose tensors are collected

    __named: tuple[tuple[str, Layer], ...]

    def __init__(self, *layers: Layer | Sequence[Layer] | Mapping[str, Layer]) -> None:
        given: Any = layers
        names: tuple[str, ...] = ()
        if len(layers) == 1 and isinstance(layers[0], list | tuple):
            given = layers[0]
        elif len(layers) == 1 and isinstance(layers[0], Mapping):
            names, given = tuple(layers[0]), layers[0].values()
        super().__init__(given)
        self.__named = tuple(zip(names, self, strict=False))

    def __call__(self, x: Any) -> Any:
        """What the last layer makes of what the others have made of `x`."""
        for layer in self:
            x = layer(x)
        return x

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        if not isinstance(index, slice):
            return found
        if not self.__named:
            return Sequential(found)
        return Sequential(dict(zip(self._fields[index], found, strict=True)))

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_"):
            for known, layer in self.__named:
                if known == name:
                    return layer
        raise AttributeError(f"Sequential has no attribute and no layer {name!r}")

    @property
    def _fields(self) -> tuple[str, ...]:
        """What layers are called in saved models: their names, or their places."""
        kept = list(self)[: len(self.__named)]
        if len(kept) < len(self.__named) or any(
            layer is not known for layer, (_, known) in zip(kept, self.__named, strict=True)
        ):
            raise ValueError(
                "Sequential: layers with names were moved or taken out, and which name belongs to "
                "which is not known any more; make a new Sequential"
            )
        names = [name for name, _ in self.__named]
        return (*names, *(str(place) for place in range(len(names), len(self))))

    def __repr__(self) -> str:
        return _listed(self, zip(self._fields, self, strict=True))


def _listed(held: object, named: Iterable[tuple[Any, Any]]) -> str:
    """The name of a container, and a line for each layer."""
    lines = "".join(f"  {name}: {layer!r},\n" for name, layer in named)
    return f"{type(held).__name__}(\n{lines})"
