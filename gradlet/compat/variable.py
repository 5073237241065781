"""tinygrad's `Variable`, as far as it means something where every shape is known."""

from __future__ import annotations

from typing import NoReturn


class Variable:
    """A name for an int in a range. Bound to a value, it is that int.

    In tinygrad a graph is compiled once for all values. Here it is compiled for each: the numbers
    are the same, and a program that is faster for it would use `gradlet.jit(f, varying=...)`.

    >>> position = Variable("position", 1, 8).bind(3)
    >>> position + 1, list(range(8))[:position], position.unbind()
    (4, [0, 1, 2], (Variable('position', 1, 8), 3))
    """

    def __init__(self, name: str, min_val: int, max_val: int, dtype: object = None) -> None:
        self.name = self.expr = name
        self.vmin, self.vmax = min_val, max_val

    def bind(self, value: int) -> Bound:
        """The int `value`; ValueError if it is out of range."""
        if not self.vmin <= value <= self.vmax:
            raise ValueError(
                f"Variable {self.name!r} is in [{self.vmin}, {self.vmax}], and {value} is not"
            )
        bound = Bound(value)
        bound.variable = self
        return bound

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Variable) and self._facts() == other._facts()

    def __hash__(self) -> int:
        return hash(self._facts())

    def __repr__(self) -> str:
        return f"Variable{self._facts()}"

    def _facts(self) -> tuple[str, int, int]:
        return (self.name, self.vmin, self.vmax)

    def _unbound(self, *_: object) -> NoReturn:
        raise TypeError(
            f"Variable {self.name!r} has no value, and gradlet has no symbolic shapes; compute "
            f"with {self.name}.bind(value)"
        )

    __index__ = __int__ = __float__ = __bool__ = _unbound
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __floordiv__ = _unbound
    __mod__ = __neg__ = __lt__ = __le__ = __gt__ = __ge__ = _unbound


class Bound(int):
    """An int that knows of which `Variable` it is the value."""

    variable: Variable

    @property
    def val(self) -> int:
        """The plain int."""
        return int(self)

    @property
    def name(self) -> str:
        """That of the variable."""
        return self.variable.name

    def unbind(self) -> tuple[Variable, int]:
        """The variable, and the plain int."""
        return self.variable, int(self)
