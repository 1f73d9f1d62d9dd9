"""From what a device says to what the tree holds, and back. Pure.

Towards the tree a value goes through ``table``, ``scale``, ``offset``, ``expr`` and ``digits``, those that are given,
in this order; towards the device through ``inverse``, ``offset``, ``scale`` and ``table``, backwards.

A table is a map, by which values are exchanged one for one, or a list of pairs of numbers, between which values are
interpolated and beyond whose ends they stay as at the end::

    {"table": {"0": "shut", "1": "open"}}
    {"table": [[4, 0], [20, 2.5]], "digits": 2}
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from kvagents.framework.errors import Failed, shown
from kvagents.framework.expression import Expression, ExpressionError

KEYS: Final = ("table", "scale", "offset", "expr", "digits", "inverse")
"""The attributes that this module reads."""

MAX_BITS: Final = 64
"""Of an integer: larger ones are no readings, nor have floats room for them."""

Curve = tuple[tuple[float, float], ...]


class ConversionError(Failed):
    """A value cannot be converted."""

    def __init__(self, message: str) -> None:
        super().__init__("conversion", message)


class AttributeProblem(ValueError):
    """An attribute `key` that cannot be right; the message is one line."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


@dataclass(frozen=True, slots=True)
class Converter:
    """A conversion and its inverse. Both raise :class:`ConversionError`."""

    pairs: tuple[tuple[str, Any], ...] = ()
    curve: Curve = ()
    scale: float = 1.0
    offset: float = 0.0
    expr: Expression | None = None
    digits: int | None = None
    inverse: Expression | None = None

    def to_tree(self, raw: Any) -> Any:
        """What the tree holds for what the device says."""
        value = raw
        if self.pairs:
            value = _look_up(dict(self.pairs), _key(value))
        if self.curve:
            value = _interpolate(self.curve, _number(value))
        if self.is_linear:
            value = _number(value) * self.scale + self.offset
        value = _evaluated(self.expr, value)
        return value if self.digits is None else _rounded(_number(value), self.digits)

    def to_device(self, value: Any) -> Any:
        """What the device is told for what the tree holds."""
        raw = _evaluated(self.inverse, value)
        if self.is_linear:
            raw = _whole((_number(raw) - self.offset) / self.scale)
        if self.curve:
            raw = _interpolate(tuple(sorted((y, x) for x, y in self.curve)), _number(raw))
        if self.pairs:
            raw = _typed(_look_up({_key(y): x for x, y in self.pairs}, _key(raw)))
        return raw

    @property
    def is_linear(self) -> bool:
        """Whether it scales or shifts."""
        return self.scale != 1.0 or self.offset != 0.0


IDENTITY: Final = Converter()


def read_converter(attributes: Mapping[str, Any], *, both_ways: bool) -> Converter:
    """The conversion that these attributes ask for, with an inverse if it goes `both_ways`.

    Their types have been checked by the schema; raises :class:`AttributeProblem` for what a schema cannot tell.
    """
    scale = float(attributes.get("scale", 1.0))
    if scale == 0.0:
        raise AttributeProblem("scale", "0 would make all values equal")
    pairs, curve = _read_table(attributes.get("table"), both_ways)
    expr, inverse = _read_expression(attributes, "expr"), _read_expression(attributes, "inverse")
    if both_ways and expr is not None and inverse is None:
        raise AttributeProblem("inverse", "values also go to the device, which takes the inverse of expr")
    return Converter(pairs, curve, scale, float(attributes.get("offset", 0.0)), expr, attributes.get("digits"), inverse)


def _read_expression(attributes: Mapping[str, Any], key: str) -> Expression | None:
    text = attributes.get(key)
    try:
        return None if text is None else Expression(text)
    except ExpressionError as error:
        raise AttributeProblem(key, str(error)) from None


def _read_table(table: Any, both_ways: bool) -> tuple[tuple[tuple[str, Any], ...], Curve]:
    if isinstance(table, Mapping):
        pairs = tuple((str(key), value) for key, value in table.items())
        if both_ways and len({_key(value) for _, value in pairs}) < len(pairs):
            raise AttributeProblem("table", "values also go to the device, so no two entries may have the same value")
        return pairs, ()
    curve = tuple((float(x), float(y)) for x, y in table or ())
    if any(b[0] <= a[0] for a, b in pairwise(curve)):
        raise AttributeProblem("table", "the first numbers of the pairs must rise from pair to pair")
    steps = {math.copysign(1, b[1] - a[1]) if b[1] != a[1] else 0.0 for a, b in pairwise(curve)}
    if both_ways and (len(steps) > 1 or 0.0 in steps):
        raise AttributeProblem(
            "table", "values also go to the device, so the second numbers must only rise or only fall"
        )
    return (), curve


def _key(value: Any) -> str:
    """How a value is written as the key of a map: true, 3, 2.5, text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        return shown(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _typed(key: str) -> Any:
    """The value that :func:`_key` wrote."""
    if key in ("true", "false"):
        return key == "true"
    try:
        return _whole(float(key))
    except ValueError:
        return key


def _look_up(table: Mapping[str, Any], key: str) -> Any:
    if key not in table:
        raise ConversionError(f"the table has no entry for {key}; it has {', '.join(table)}"[:200])
    return table[key]


def _interpolate(curve: Curve, x: float) -> float:
    if x <= curve[0][0]:
        return curve[0][1]
    for (x0, y0), (x1, y1) in pairwise(curve):
        if x <= x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return curve[-1][1]


def _number(value: Any) -> float:
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, int) and value.bit_length() <= MAX_BITS:
        return value
    raise ConversionError(f"{shown(value)} is no number that can be converted")


def _evaluated(expression: Expression | None, value: Any) -> Any:
    try:
        return value if expression is None else expression(value)
    except ExpressionError as error:
        raise ConversionError(str(error)) from None


def _rounded(value: float, digits: int) -> float:
    return round(value) if digits == 0 else round(float(value), digits) + 0.0


def _whole(value: float) -> float:
    """An integer where a float is one, as devices count."""
    return int(value) if value.is_integer() and abs(value) < 2**53 else value
