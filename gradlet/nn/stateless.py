"""What layers without tensors of their own have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from gradlet.tensor.tensor import Tensor


class Stateless:
    """A function of tensors together with its options, which are attributes of the layer."""

    function: ClassVar[Callable[..., Any]]

    def __init__(self, **options: Any) -> None:
        self._options = tuple(options)
        vars(self).update(options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the function makes of the tensors given."""
        options = {name: getattr(self, name) for name in self._options}
        return type(self).function(*args, **kwargs, **options)

    def __repr__(self) -> str:
        given = {name: getattr(self, name) for name in self._options}
        shown = (
            f"{name}={value!r}"
            for name, value in given.items()
            if value is not None and not isinstance(value, Tensor)
        )
        return f"{type(self).__name__}({', '.join(shown)})"
