"""What agents raise when the outside world fails them. For its records see :mod:`kvnode.data.errors`."""

from __future__ import annotations

from kvnode.data.errors import Severity


class Failed(Exception):
    """Something does not work, for a reason worth telling: a stable `code` and a one-line message.

    Agents raise it (or subclasses) for what the outside world does to them; anything else is a bug and shown as such.
    """

    def __init__(self, code: str, message: str, severity: Severity = Severity.ERROR) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.severity = severity
