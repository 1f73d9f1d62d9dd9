"""When to try again, and when something counts as working. Pure: times are given, in seconds of a monotonic clock.

A thing that fails is tried again after 0.5 s, then after 1.4 times as long as before, up to 300 s. Coming up is not
yet working: only what stays up for 5 s starts over with short delays, so that something that fails right after each
start is tried less and less often.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The delays. `jitter` shortens each by up to that fraction, so that many agents do not knock in step."""

    first_s: float = 0.5
    factor: float = 1.4
    longest_s: float = 300.0
    working_after_s: float = 5.0
    jitter: float = 0.1

    def delay_s(self, failures: int, random: Callable[[], float]) -> float:
        """How long to wait after that many failures in a row (1 or more); `random` gives numbers from 0 to 1."""
        # Beyond some power the result is the longest delay anyway, and floats would overflow.
        full = min(self.first_s * self.factor ** min(failures - 1, 200), self.longest_s)
        return full * (1.0 - self.jitter * random())


DEFAULT_POLICY: Final = RetryPolicy()


@dataclass(frozen=True, slots=True)
class Health:
    """What is known of one thing that is tried: a value, each step gives the next one."""

    failures: int = 0
    """In a row: since it worked last."""
    up_since: float | None = None
    working: bool = False

    def failed(self) -> Health:
        """It failed, or stopped."""
        return Health(failures=self.failures + 1)

    def up(self, now: float, policy: RetryPolicy) -> Health:
        """It is up: at the first sign, and at each later one. It turns to working after the policy's time."""
        if self.up_since is None:
            return replace(self, up_since=now)
        if not self.working and now - self.up_since >= policy.working_after_s:
            return Health(up_since=self.up_since, working=True)
        return self


UNTRIED: Final = Health()
