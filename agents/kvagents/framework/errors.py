"""What agents raise when the outside world fails them. For its records see :mod:`kvnode.data.errors`."""

from __future__ import annotations

from typing import Any, Final

from kvnode.data.errors import Severity

MAX_SHOWN: Final = 60
"""Characters of a value in a message."""


class Failed(Exception):
    """Something does not work, for a reason worth telling: a stable `code` and a one-line message.

    Agents raise it (or subclasses) for what the outside world does to them; anything else is a bug and shown as such.
    """

    def __init__(self, code: str, message: str, severity: Severity = Severity.ERROR) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.severity = severity


def shown(value: Any) -> str:
    """A value for a message: texts can be long, and so can numbers."""
    try:
        text = repr(value[:MAX_SHOWN] if isinstance(value, str) else value)
    except ValueError:
        return "an integer of too many digits"  # which Python does not write down
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."
