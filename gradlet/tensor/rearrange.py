"""`rearrange`: reshape and permute by names, in the notation of einops (Rogozhnikov 2022)."""

from __future__ import annotations

import functools
import re
from typing import Self

from gradlet.tensor.arrange import Arrange
from gradlet.tensor.core import product

Group = tuple[str, ...]  # the names of the axes that are joined into one
_DOTS = "..."  # an axis by itself; within a group it is a name
_TOKEN = re.compile(r"\.\.\.|[()]|[^\s().]+|\.")


class Rearrange(Arrange):
    """Movement by names."""

    __slots__ = ()

    def rearrange(self, formula: str, **sizes: int) -> Self:
        """The axes named on the left of "->", split, reordered and joined as on the right.

        Args:
            formula: names; `(a b)` is one axis made of two, `1` and `()` an axis of extent 1, and
                `...` whatever axes are left.
            sizes: extents of names that `self.shape` does not decide.

        >>> from gradlet import Tensor
        >>> Tensor.ones(2, 12, 3).rearrange("b (h w) c -> b c h w", h=3).shape
        (2, 3, 3, 4)
        """
        left, right = _sides(formula)
        dots = self.ndim - len([group for group in left if group != _DOTS])
        if dots < 0 or (dots and _DOTS not in left):
            raise ValueError(
                f"rearrange: {formula!r} does not name the {self.ndim} axes of shape {self.shape}"
            )
        spread = tuple(f"{_DOTS}{place}" for place in range(dots))
        source, target = _without_dots(left, spread), _without_dots(right, spread)
        extents = _extents(source, self.shape, sizes, formula)
        order = [name for group in source for name in group]
        split = self.reshape([extents[name] for name in order])
        moved = split.permute([order.index(name) for group in target for name in group])
        return moved.reshape([product([extents[name] for name in group]) for group in target])


@functools.lru_cache(maxsize=512)
def _sides(formula: str) -> tuple[list[Group | str], list[Group | str]]:
    """Both sides of a formula as groups, checked."""
    texts = formula.split("->")
    if len(texts) != 2:
        raise ValueError(f"rearrange: {formula!r} must have one '->' with names on both sides")
    left, right = (_groups(text, formula) for text in texts)
    names = [_names(side) for side in (left, right)]
    for side in names:
        twice = sorted({name for name in side if side.count(name) > 1})
        if twice:
            raise ValueError(f"rearrange: {formula!r} has {', '.join(twice)} twice on one side")
    alone = sorted(set(names[0]) ^ set(names[1]))
    if alone:
        raise ValueError(f"rearrange: {formula!r} has {', '.join(alone)} on one side only")
    if any(_DOTS in group and group != _DOTS for group in left):
        raise ValueError(f"rearrange: {formula!r} has ... within parentheses on the left")
    return left, right


def _groups(text: str, formula: str) -> list[Group | str]:
    """One side of a formula: for each axis its names, or `_DOTS` for several axes."""
    groups: list[Group | str] = []
    inside: list[str] | None = None
    for token in _TOKEN.findall(text):
        if (token == "(" and inside is not None) or (token == ")" and inside is None):
            raise ValueError(f"rearrange: the parentheses in {formula!r} do not match")
        if token == "(":
            inside = []
        elif token == ")":
            groups.append(tuple(inside or ()))
            inside = None
        elif token not in ("1", _DOTS) and not token.isidentifier():
            raise ValueError(f"rearrange: {token!r} in {formula!r} is not the name of an axis")
        elif inside is not None:
            inside += [token] if token != "1" else []
        else:
            groups.append(_DOTS if token == _DOTS else () if token == "1" else (token,))
    if inside is not None:
        raise ValueError(f"rearrange: the parentheses in {formula!r} do not match")
    return groups


def _names(side: list[Group | str]) -> list[str]:
    return [name for group in side for name in ([group] if isinstance(group, str) else group)]


def _without_dots(side: list[Group | str], spread: Group) -> list[Group]:
    """The groups of one side, in which `...` is written as names."""
    groups: list[Group] = []
    for group in side:
        if isinstance(group, str):
            groups += [(name,) for name in spread]
            continue
        place = group.index(_DOTS) if _DOTS in group else len(group)
        named = (*group[:place], *(spread if _DOTS in group else ()), *group[place + 1 :])
        groups.append(named)
    return groups


def _extents(
    groups: list[Group], shape: tuple[int, ...], sizes: dict[str, int], formula: str
) -> dict[str, int]:
    """The extent of each name."""
    extents = dict(sizes)
    unknown = sorted(set(sizes) - {name for group in groups for name in group})
    if unknown:
        raise ValueError(f"rearrange: {formula!r} has no axis {', '.join(unknown)}")
    for name, size in sizes.items():
        if not isinstance(size, int) or size < 0:
            raise ValueError(f"rearrange: the size of {name} is an int from 0 on, not {size!r}")
    for group, extent in zip(groups, shape, strict=True):
        missing = [name for name in group if name not in extents]
        if len(missing) > 1:
            raise ValueError(
                f"rearrange: shape {shape} does not decide the sizes of {', '.join(missing)} in "
                f"{formula!r}; pass all but one, such as {missing[0]}=2"
            )
        known = product([extents[name] for name in group if name in extents])
        if missing and known and extent % known == 0:
            extents[missing[0]] = extent // known
        elif missing or known != extent:
            raise ValueError(
                f"rearrange: an axis of {extent} in shape {shape} is not ({' '.join(group)}) in "
                f"{formula!r} with {sizes}"
            )
    return extents
