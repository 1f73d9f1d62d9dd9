"""Whom to dial, and when again: targets and back-off. Randomness is an argument."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import anyio

from kvnode.transport.address import Address


@dataclass(frozen=True, slots=True)
class DialLimits:
    """Times in seconds."""

    first_s: float = 0.2
    most_s: float = 30.0
    stable_s: float = 10.0
    """A link that stood for so long was a good one: the next attempt comes at once, and failures count anew."""
    unfit_s: float = 60.0
    """Pause after an answer that redialling will not change (another cluster, this node itself)."""
    yield_s: float = 0.1
    """Both ends of a cut link redial; the one with the greater name waits up to this long, so that one link results."""
    learn_first_s: float = 15.0
    """A learned address is dialled so long after it was learned: whoever was told to dial goes first, so that the links
    follow the configuration as far as that leads."""
    learn_again_s: float = 60.0
    """The same after the loss of a link that came about in another way, and for a node on this machine."""
    look_s: float = 2.0
    """How often is looked whether others still lead to a node."""


class Backoff:
    """Delays between attempts: doubling, jittered, reset by a stable link. `random` gives 0 <= x < 1."""

    def __init__(self, random: Callable[[], float], limits: DialLimits | None = None) -> None:
        self._random: Final = random
        self._limits: Final = limits or DialLimits()
        self._failures = 0

    def reset(self) -> None:
        """Failures so far count no more."""
        self._failures = 0

    def failed(self) -> float:
        """Seconds to wait after an attempt that led to no link, or to one that did not last: from half to all of the
        doubled delay.
        """
        step = min(self._limits.first_s * 2.0 ** min(self._failures, 30), self._limits.most_s)
        self._failures += 1
        return step * (0.5 + self._random() / 2)

    def lost(self, up_for_s: float, *, yielding: bool) -> float:
        """Seconds to wait after a link that stood for `up_for_s` was cut. `yielding`: the other end goes first."""
        if up_for_s < self._limits.stable_s:
            return self.failed()
        self.reset()
        return self._limits.yield_s * self._random() if yielding else 0.0

    def unfit(self) -> float:
        """Seconds to wait after an answer that redialling will not change."""
        return self._limits.unfit_s * (0.5 + self._random() / 2)


@dataclass(slots=True, eq=False)
class Target:
    """Somebody to be linked to: a seed (one address, the name is learned) or a learned node (name and addresses).

    `state` and `error` are for people; `nudge` ends a pause.
    """

    addresses: tuple[Address, ...]
    backoff: Backoff
    name: str = ""
    learned: bool = False
    state: str = "waiting"
    error: str = ""
    nudge: anyio.Event = field(default_factory=anyio.Event)
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)

    @property
    def is_local(self) -> bool:
        """Whether it is a learned node on this machine."""
        return self.learned and all(address.is_loopback for address in self.addresses)

    @property
    def text(self) -> str:
        """Its addresses for people."""
        return ", ".join(map(str, self.addresses))

    def wake(self) -> None:
        """End the pause, if there is one."""
        self.nudge.set()
        self.nudge = anyio.Event()
