"""Expressions in a configuration, such as ``(value - 32) / 1.8`` or ``'open' if value > 0.5 else 'shut'``. Pure.

They are evaluated by simpleeval, behind bounds of our own, since its own leak: an expression is parsed once; only the
node types below may occur, none of which loops; arithmetic takes numbers only and its results stay within 64 bits. So
each node takes constant time, and as there are at most :data:`MAX_NODES` of them no expression is slow.
"""

from __future__ import annotations

import ast
import math
import operator
import warnings
from collections.abc import Callable
from typing import Any, Final

from simpleeval import SimpleEval

from kvagents.framework.errors import shown

MAX_CHARS: Final = 1024
MAX_NODES: Final = 100
MAX_INT: Final = 2**63

_NODES: Final = (
    *(ast.Expr, ast.Constant, ast.Name, ast.Load, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Call),
    *(ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.USub, ast.UAdd, ast.Not),
    *(ast.And, ast.Or, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE),
)


class ExpressionError(ValueError):
    """The text is no expression, or it has no result for a value; the message is one line."""


def _number(value: Any) -> int | float:
    if not isinstance(value, (int, float)):
        raise TypeError(f"expected a number, not {shown(value)}")
    if isinstance(value, int) and not -MAX_INT <= value < MAX_INT:
        raise OverflowError("the number is too large")
    return value


def _arithmetic(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function on numbers of at most 64 bits."""

    def bounded(*operands: Any) -> Any:
        return _number(function(*map(_number, operands)))

    return bounded


def _power(base: float, exponent: float) -> float:
    """As floats, which overflow where integers would grow without bound."""
    result = math.pow(base, exponent)
    whole = isinstance(base, int) and isinstance(exponent, int) and exponent >= 0
    return int(result) if whole and abs(result) < 2**53 else result


def _round(value: float, digits: int = 0) -> float:
    """Of floats, where Python rounds an integer to -10**9 digits by raising 10 to that power."""
    rounded = round(float(value), digits)
    return rounded if digits > 0 else int(rounded)


def _clamp(value: float, low: float, high: float) -> float:
    return max(low, min(high, value))


_OPERATORS: Final = {
    ast.Add: _arithmetic(operator.add),
    ast.Sub: _arithmetic(operator.sub),
    ast.Mult: _arithmetic(operator.mul),
    ast.Div: _arithmetic(operator.truediv),
    ast.FloorDiv: _arithmetic(operator.floordiv),
    ast.Mod: _arithmetic(operator.mod),
    ast.Pow: _arithmetic(_power),
    ast.USub: _arithmetic(operator.neg),
    ast.UAdd: _arithmetic(operator.pos),
    ast.Not: operator.not_,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: _arithmetic(operator.lt),
    ast.LtE: _arithmetic(operator.le),
    ast.Gt: _arithmetic(operator.gt),
    ast.GtE: _arithmetic(operator.ge),
}

FUNCTIONS: Final = {
    **{f.__name__: _arithmetic(f) for f in (abs, bool, float, int, max, min)},
    **{f.__name__: _arithmetic(f) for f in (math.ceil, math.cos, math.exp, math.floor, math.log, math.log10)},
    **{f.__name__: _arithmetic(f) for f in (math.sin, math.sqrt, math.tan)},
    "clamp": _arithmetic(_clamp),
    "round": _arithmetic(_round),
}
"""The functions that an expression may call; ``clamp(value, low, high)`` is the only one that Python lacks."""


class Expression:
    """A parsed expression of the one name ``value``. Raises :class:`ExpressionError`."""

    def __init__(self, text: str) -> None:
        self.text: Final = text
        self._node: Final = _parse(text)
        self._evaluator: Final = SimpleEval(operators=_OPERATORS, functions=FUNCTIONS, names={"value": None})

    def __call__(self, value: Any) -> Any:
        """Its result for a value. Raises :class:`ExpressionError`."""
        if not isinstance(value, (bool, int, float, str, type(None))):
            raise ExpressionError(f"{self.text!r} takes a number, a text or true or false, not {type(value).__name__}")
        self._evaluator.names = {"value": value}
        try:
            result = self._evaluator.eval(self.text, previously_parsed=self._node)
        except (ArithmeticError, TypeError, ValueError) as error:
            raise ExpressionError(f"{self.text!r} has no result for {shown(value)}: {error}") from None
        if isinstance(result, float) and not math.isfinite(result):
            raise ExpressionError(f"{self.text!r} has no finite result for {shown(value)}")
        return result

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"


def _parse(text: str) -> ast.AST:
    """The syntax tree, with nothing in it but what is allowed."""
    if len(text) > MAX_CHARS:
        raise ExpressionError(f"the expression is longer than {MAX_CHARS} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what Python only warns of, such as 1if, is a mistake
            node: ast.AST = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        what = error.msg if isinstance(error, SyntaxError) else str(error)
        raise ExpressionError(f"{text!r} is no expression: {what}") from None
    nodes = list(ast.walk(node))
    if len(nodes) > MAX_NODES:
        raise ExpressionError(f"the expression has more than {MAX_NODES} parts")
    called = {id(part.func) for part in nodes if isinstance(part, ast.Call)}
    for part in nodes:
        if id(part) not in called:
            _check(part, text)
    return node


def _check(node: ast.AST, text: str) -> None:
    if not isinstance(node, _NODES):
        raise ExpressionError(f"{text!r}: {type(node).__name__} is not allowed in an expression")
    if isinstance(node, ast.Call):
        if node.keywords or not isinstance(node.func, ast.Name):
            raise ExpressionError(f"{text!r}: functions take plain arguments only")
        if node.func.id not in FUNCTIONS:
            raise ExpressionError(f"{text!r}: no function {node.func.id!r}; there are {', '.join(sorted(FUNCTIONS))}")
    elif isinstance(node, ast.Name) and node.id != "value":
        raise ExpressionError(f"{text!r}: no name {node.id!r}; the value is called 'value'")
    elif isinstance(node, ast.Constant) and not isinstance(node.value, (bool, int, float, str, type(None))):
        raise ExpressionError(f"{text!r}: {node.value!r} is not allowed in an expression")
