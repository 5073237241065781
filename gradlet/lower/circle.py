"""The remainder of large numbers by pi/2 in integers, for machines that have nothing better.

x is m * 2**e with an integer m. Of 2/pi only those bits matter that do not give multiples of 4
quarter turns, and of those only so many that what is left is as exact as a float (Payne & Hanek
1983). They are taken from a table, and multiplied by m a byte at a time, which never overflows.
"""

from __future__ import annotations

import functools
import math
from itertools import pairwise

from gradlet.base.dtypes import DType, from_name
from gradlet.ir import ops
from gradlet.ir.build import add, binary, bitcast, cast, full_like, mul, neg, sub
from gradlet.ir.node import Node
from gradlet.lower.floats import (
    FORMATS,
    Format,
    choose,
    less,
    masked,
    shifted_left,
    shifted_right,
    times,
)

_WORDS = 3  # of the product that are computed


def reduce_in_integers(x: Node) -> tuple[Node, Node]:
    """(r, quarters) with x = quarters * pi/2 + r and |r| <= pi/4, of x of at least 1; nan for inf.

    Of `quarters` only the lowest two bits mean anything.
    """
    f = FORMATS[x.dtype]
    word = from_name(f"u{f.word.name}")
    bits = bitcast(x, word)
    field = masked(shifted_right(bits, f.fraction), 2 * f.bias + 1)
    lead = 1 << f.fraction
    m = binary(ops.OR, masked(bits, lead - 1), full_like(bits, lead))
    # The first bit that matters, counted from one word before those of 2/pi.
    before = f.bias + f.fraction + 2 - word.bits
    start = sub(field, full_like(field, before))
    high, middle, _ = _product(m, _window(start, f, word))
    quarters = shifted_right(high, word.bits - 2)
    left = [
        binary(ops.OR, shifted_left(a, 2), shifted_right(b, word.bits - 2))
        for a, b in ((high, middle), (middle, full_like(middle, 0)))
    ]
    # A fraction of half a turn and more belongs to the next quarter, and is negative.
    quarters = bitcast(add(quarters, shifted_right(left[0], word.bits - 1)), f.word)
    size = 2.0**-word.bits
    fraction = times(cast(bitcast(left[0], f.word), x.dtype), size)
    fraction = add(fraction, times(cast(left[1], x.dtype), size * size))
    r = times(fraction, math.pi / 2)
    r = choose(less(field, 2 * f.bias + 1), r, full_like(r, math.nan))
    negative = less(x, 0.0)
    return choose(negative, neg(r), r), choose(negative, neg(quarters), quarters)


def _window(start: Node, f: Format, word: DType) -> list[Node]:
    """The words of 2/pi from bit `start` on."""
    last = f.bias - f.fraction + word.bits - 2  # where x is as large as can be
    digits = _two_over_pi(word.bits, last // word.bits + _WORDS + 1)
    number = shifted_right(start, word.bits.bit_length() - 1)
    shift = masked(start, word.bits - 1)
    back = binary(ops.SUB, full_like(shift, word.bits - 1), shift)  # and one more
    taken = []
    for position in range(_WORDS + 1):
        found = full_like(start, digits[position])
        for n in range(1, last // word.bits + 1):
            at_least = binary(ops.LE, full_like(number, n), number)
            found = choose(at_least, full_like(start, digits[n + position]), found)
        taken.append(found)
    return [
        binary(ops.OR, binary(ops.SHL, a, shift), binary(ops.SHR, shifted_right(b, 1), back))
        for a, b in pairwise(taken)
    ]


def _product(m: Node, words: list[Node]) -> list[Node]:
    """m times a number of some words, of which the product keeps as many, the highest first."""
    size = m.dtype.bits
    carry = full_like(m, 0)
    made: list[Node] = []
    for word in reversed(words):
        result = full_like(m, 0)
        for place in range(0, size, 8):
            byte = masked(shifted_right(word, place), 255)
            carry = add(mul(m, byte), carry)
            result = binary(ops.OR, result, shifted_left(masked(carry, 255), place))
            carry = shifted_right(carry, 8)
        made.insert(0, result)
    return made


@functools.cache
def _two_over_pi(bits: int, count: int) -> tuple[int, ...]:
    """A word of zeros and the words of 2/pi's fraction."""
    digits = bits * (count - 1)
    unit = 1 << digits + 64

    def arctangent(inverse: int) -> int:  # of 1 / inverse, in units
        term = total = unit // inverse
        n, sign = 3, -1
        while term:
            term //= inverse * inverse
            total += sign * (term // n)
            n, sign = n + 2, -sign
        return total

    pi = 4 * (4 * arctangent(5) - arctangent(239))  # Machin 1706
    fraction = (2 * unit << digits) // pi
    mask = (1 << bits) - 1
    return (0, *(fraction >> bits * n & mask for n in reversed(range(count - 1))))
