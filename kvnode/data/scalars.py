"""Plain scalars of YAML 1.2, core schema (YAML 1.2.2, section 10.3.2): null, a truth value, a number, or text.

So ``on``, ``12:30``, ``1_000`` and ``2026-01-01``, which YAML 1.1 reads as other things, are text.
"""

from __future__ import annotations

import re
from math import isinf
from typing import Final

_CONSTANTS: Final[dict[str, bool | None]] = {
    "": None, "null": None, "Null": None, "NULL": None, "~": None,
    "true": True, "True": True, "TRUE": True,
    "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_DECIMAL: Final = re.compile(r"[-+]?[0-9]+")
_OCTAL: Final = re.compile(r"0o[0-7]+")
_HEX: Final = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_INFINITY: Final = re.compile(r"[-+]?(?:\.inf|\.Inf|\.INF)")
_NAN: Final = re.compile(r"\.nan|\.NaN|\.NAN")


class ScalarError(ValueError):
    """A number that does not fit. One line."""


def plain_scalar(text: str) -> str | int | float | bool | None:
    """What `text`, on one line and without blanks around it, stands for. Raises ScalarError."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _DECIMAL.fullmatch(text):
        return integer(text)
    if _OCTAL.fullmatch(text):
        return integer(text[2:], 8)
    if _HEX.fullmatch(text):
        return integer(text[2:], 16)
    if _FLOAT.fullmatch(text):
        return finite(text)
    if _INFINITY.fullmatch(text):
        return float(text.replace(".", "", 1))
    if _NAN.fullmatch(text):
        return float("nan")
    return text


def integer(digits: str, base: int = 10) -> int:
    """An integer; ScalarError if it has more digits than Python reads."""
    try:
        return int(digits, base)
    except ValueError:
        raise ScalarError(f"an integer of {len(digits)} digits is too long") from None


def finite(digits: str) -> float:
    """A float; ScalarError if it is beyond what one holds."""
    number = float(digits)
    if isinf(number):
        raise ScalarError(f"the number {digits[:40]} does not fit a float")
    return number
