"""Where a value comes from, and how old it may be: entries below ``@.sources``. Pure.

An agent that writes to a path says so once, in an entry of the same path below ``@.sources``. From that entry, the
value's own time and the agent's status anybody can tell whether the value is *fresh*::

    home.attic.temp              21.5
    @.sources.home.attic.temp    {"agent": "onewire/house", "config": agent.onewire.house.attic, "stale_after": 660}
    @.status.agent.onewire.house {"state": "running", "seen": ..., "every": 60, ...}
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Self

from kvnode.core.path import Path

SOURCES: Final = Path(("@", "sources"))
STATUS: Final = Path(("@", "status", "agent"))
MISSED: Final = 2.5
"""An agent is lost when its status is older than this many of the intervals at which it is written."""


def source_of(path: Path) -> Path:
    """Where the source of the value at `path` stands."""
    return SOURCES / path


@dataclass(frozen=True, slots=True)
class Source:
    """Who writes a value: the agent, and the path that configures it.

    A value older than `stale_after_s` seconds is stale; with None it stays good however old it is.
    """

    agent: str
    config: Path
    stale_after_s: float | None = None

    def value(self) -> dict[str, Any]:
        """The source as the value of an entry."""
        return {"agent": self.agent, "config": self.config, "stale_after": self.stale_after_s}

    @classmethod
    def from_value(cls, value: Any) -> Self | None:
        """Read what :meth:`value` wrote; None for anything else."""
        if not isinstance(value, dict):
            return None
        agent, config, stale_after = value.get("agent"), value.get("config"), value.get("stale_after")
        if not (isinstance(agent, str) and isinstance(config, Path)):
            return None
        if not isinstance(stale_after, (int, float, type(None))):
            return None
        return cls(agent, config, stale_after)

    def is_stale(self, written: datetime, now: datetime) -> bool:
        """Whether a value of that time is too old now."""
        return self.stale_after_s is not None and now - written > timedelta(seconds=self.stale_after_s)


def state_of(status: Any, now: datetime) -> str:
    """The state that an agent's status entry amounts to now: as it says itself, or ``lost`` if it is too old."""
    if not isinstance(status, dict) or not isinstance(status.get("state"), str):
        return "unknown"
    state: str = status["state"]
    seen, every = status.get("seen"), status.get("every")
    if state == "stopped" or not isinstance(seen, datetime) or not isinstance(every, (int, float)):
        return state
    return "lost" if now - seen > timedelta(seconds=every * MISSED) else state
