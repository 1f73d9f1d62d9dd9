"""A quick look at whether something conforms to a JSON Schema.

The real validator, :mod:`jsonschema`, takes longer to import than a node to read its configuration, and what it is
needed for is to tell what is wrong. So it is asked only where this look does not find that all is well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

Schema = Mapping[str, Any]

_SAYS_NOTHING: Final = frozenset({"$schema", "$id", "title", "description", "default"})


def conforms(value: Any, schema: Schema) -> bool:
    """Whether `value` certainly conforms. False also for what conforms by a keyword or in a way that is not known here,
    such as a whole number written as 1e3.
    """
    return all(_meets(value, keyword, wanted, schema) for keyword, wanted in schema.items())


def _meets(value: Any, keyword: str, wanted: Any, schema: Schema) -> bool:
    if keyword in _SAYS_NOTHING or keyword.startswith("x-"):
        return True
    check = _CHECKS.get(keyword)
    return check is not None and check(value, wanted, schema)


def _has_type(value: Any, wanted: Any, schema: Schema) -> bool:
    kind = _TYPES.get(wanted) if isinstance(wanted, str) else None
    return kind is not None and type(value) is kind


def _has_properties(value: Any, wanted: Mapping[str, Schema], schema: Schema) -> bool:
    return type(value) is dict and all(conforms(value[name], wanted[name]) for name in wanted if name in value)


def _has_no_others(value: Any, wanted: Any, schema: Schema) -> bool:
    return wanted is False and type(value) is dict and value.keys() <= schema.get("properties", {}).keys()


_TYPES: Final = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}
_CHECKS: Final[Mapping[str, Callable[[Any, Any, Schema], bool]]] = {
    "type": _has_type,
    "enum": lambda value, wanted, schema: type(value) is str and value in wanted,
    "pattern": lambda value, wanted, schema: type(value) is str and re.search(wanted, value) is not None,
    "minLength": lambda value, wanted, schema: type(value) is str and len(value) >= wanted,
    "maxItems": lambda value, wanted, schema: type(value) is list and len(value) <= wanted,
    "items": lambda value, wanted, schema: type(value) is list and all(conforms(item, wanted) for item in value),
    "minimum": lambda value, wanted, schema: type(value) is int and value >= wanted,
    "maximum": lambda value, wanted, schema: type(value) is int and value <= wanted,
    "properties": _has_properties,
    "additionalProperties": _has_no_others,
}
