"""Printing JSON-like data as YAML that YAML 1.1 and 1.2 readers understand alike.

Text stands plain only where no reader could take it for something else; all other text is double-quoted.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_/]*(?:[ .~-][A-Za-z0-9_/]+)*")
_TAKEN: Final = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf"})
_UNPRINTABLE: Final = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def to_yaml(value: Any, indent: int = 0) -> str:
    """`value` in block style, without a final newline. Takes what JSON has, and infinite floats."""
    if isinstance(value, dict) and value:
        return "\n".join(_entry(f"{' ' * indent}{_scalar(str(key))}:", item, indent) for key, item in value.items())
    if isinstance(value, list) and value:
        return "\n".join(item_of_list(item, indent) for item in value)
    return " " * indent + _scalar(value)


def item_of_list(value: Any, indent: int = 0) -> str:
    """One ``- item`` of a list."""
    block = to_yaml(value, indent + 2)
    return f"{' ' * indent}- {block[indent + 2 :]}"


def _entry(head: str, value: Any, indent: int) -> str:
    if isinstance(value, (dict, list)) and value:
        return f"{head}\n{to_yaml(value, indent + 2)}"
    return f"{head} {_scalar(value)}"


def _scalar(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case float():
            return _float(value)
        case str():
            return value if _is_plain(value) else _quoted(value)
        case _:
            return json.dumps(value)


def _is_plain(text: str) -> bool:
    return len(text) < 200 and _PLAIN.fullmatch(text) is not None and text.lower() not in _TAKEN


def _quoted(text: str) -> str:
    return _UNPRINTABLE.sub(lambda m: f"\\u{ord(m[0]):04x}", json.dumps(text, ensure_ascii=False))


def _float(value: float) -> str:
    if math.isnan(value):
        return ".nan"
    if math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    mantissa, e, exponent = repr(value).partition("e")
    return (mantissa if "." in mantissa else f"{mantissa}.0") + e + exponent
