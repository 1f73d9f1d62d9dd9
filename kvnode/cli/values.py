"""How a value on the command line is read.

A value is JSON if it can be; else it is a plain scalar of YAML 1.2, core schema (YAML 1.2.2, section 10.3.2): null,
a truth value, an integer, a float, or - everything else - text. So ``on``, ``12:30`` and ``2026-01-01``, which
YAML 1.1 reads as other things, are text, and so is ``1_000``. docs/reference/values.md has the table of results.

What JSON lacks is written as :mod:`kvnode.codec.values` does: ``{"$bytes": "aGk="}``, ``{"$time": ...}`` and so on.
Collections and quoted text are JSON only: what starts with ``{``, ``[`` or ``"`` and is not JSON is an error,
never silently text, because it is nearly always JSON that the shell or a typing error spoilt.
"""

from __future__ import annotations

import json
from typing import Any, Final, NoReturn

from kvnode.codec.values import MAX_DEPTH, ValueCodecError, from_json, pack
from kvnode.data.scalars import ScalarError, finite, integer, plain_scalar

_BLANK: Final = " \t\r\n"
_USE_STRING: Final = "--string takes it as text"


class ValueTextError(ValueError):
    """A text that cannot be read as a value. The message is one line and says what to do."""


def parse_value(text: str) -> Any:
    """The value that `text` stands for: JSON, else a YAML 1.2 plain scalar. Raises :class:`ValueTextError`."""
    _check_storable(text)
    stripped = text.strip(_BLANK)
    try:
        value = _decode(stripped)
    except json.JSONDecodeError as exc:
        if stripped[:1] in ("{", "[", '"'):
            raise ValueTextError(
                f"the value starts like JSON but is none: {_json_problem(exc)}; {_USE_STRING}"
            ) from None
        return _plain(stripped)
    except ScalarError as exc:
        raise ValueTextError(f"{exc}; {_USE_STRING}") from None
    except RecursionError:
        raise ValueTextError(f"the value nests deeper than {MAX_DEPTH} levels") from None
    return _untag(value)


def parse_text(text: str) -> str:
    """`text` as it is (``--string``). Raises :class:`ValueTextError` if it is no Unicode text."""
    _check_storable(text)
    return text


def _plain(text: str) -> Any:
    if "\n" in text or "\r" in text:
        raise ValueTextError(f"the value has several lines and is not JSON; {_USE_STRING}")
    try:
        return plain_scalar(text)
    except ScalarError as exc:
        raise ValueTextError(f"{exc}; {_USE_STRING}") from None


# -- JSON ----------------------------------------------------------------------------------------------------


def _decode(text: str) -> Any:
    return json.loads(
        text,
        parse_constant=_no_constant,
        parse_float=finite,
        parse_int=integer,
        object_pairs_hook=_object,
    )


def _no_constant(name: str) -> NoReturn:
    """NaN and Infinity are no JSON, whatever Python's decoder thinks; alone they are plain scalars."""
    raise json.JSONDecodeError(f"{name} is no JSON number", name, 0)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueTextError(f"the key {json.dumps(key)} is there twice")
            seen.add(key)
    return out


def _json_problem(exc: json.JSONDecodeError) -> str:
    if " is no JSON number" in exc.msg:
        return exc.msg
    reason = exc.msg.removesuffix(" at")
    return f"{reason[:1].lower()}{reason[1:]} at character {exc.pos + 1}"


def _untag(value: Any) -> Any:
    try:
        found = from_json(value)
    except ValueCodecError as exc:
        raise ValueTextError(f"{exc}; {_USE_STRING}") from None
    _check_storable(found)
    return found


def _check_storable(value: Any) -> None:
    """Size, depth, and text that is no Unicode: arguments of other bytes, half a surrogate pair in JSON."""
    try:
        pack(value)
    except ValueCodecError as exc:
        raise ValueTextError(str(exc)) from None
