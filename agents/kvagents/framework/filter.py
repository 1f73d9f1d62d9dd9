"""Which readings are worth writing. Pure; times are seconds of any monotonic clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Written:
    """The value written last, and when."""

    value: Any
    at: float


@dataclass(frozen=True, slots=True)
class Filter:
    """Lets pass what moved by more than `delta`, and one value every `heartbeat_s` seconds.

    What is no number passes when it differs at all.
    """

    delta: float = 0.0
    heartbeat_s: float = 300.0

    def wants(self, value: Any, now: float, written: Written | None) -> bool:
        """Whether `value`, read at `now`, is to be written, given what was `written` last."""
        if written is None or now - written.at >= self.heartbeat_s:
            return True
        old = written.value
        if _is_number(value) and _is_number(old):
            return bool(abs(value - old) > self.delta)
        return type(value) is not type(old) or bool(value != old)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
