"""What an output is to be set to: commands from the tree, their age, and the value to fall back on. Pure.

Three things must not happen: that a command given long ago is carried out because the agent, or its node, was away in
between; that an output stays as it is although nobody can reach it any more; and that either goes unnoticed.

* A command older than ``command_age`` seconds when it arrives is refused, and that is reported. One that was carried
  out before the agent started (the read-back at ``state`` is younger than it) is not carried out again, nor reported.
* A command may be a lease (see *Values that have to be renewed*). When it is over, nobody stands behind it any more: it
  is not carried out, with ``restore`` neither, and an output that it has set takes the value ``fail_safe``, if there is
  one.
* With ``restore`` the last command is applied again at the start and after a loss, whatever its age.
* Without a node for ``fail_safe_after`` seconds, the output takes the value ``fail_safe``, if there is one.

Ages compare the writer's clock with ours: where clocks differ by more than ``command_age``, commands are refused, and
the message tells the age that was found. Monotonic times are in seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import Any, Final

DEFAULT_COMMAND_AGE_S: Final = 60.0
DEFAULT_FAIL_SAFE_AFTER_S: Final = 30.0


class Nothing(Enum):
    """Its one member stands for no value, where None is one."""

    NOTHING = "nothing"


NOTHING: Final = Nothing.NOTHING


@dataclass(frozen=True, slots=True)
class OutputRules:
    """See the module. `command_age_s` may be infinite; `fail_safe` is :data:`NOTHING` where the output stays."""

    command_age_s: float = DEFAULT_COMMAND_AGE_S
    fail_safe: Any = NOTHING
    fail_safe_after_s: float = DEFAULT_FAIL_SAFE_AFTER_S
    restore: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """A value for an output, and when it was written, by the writer's clock. It is `over` when it was a lease that
    nobody renewed.
    """

    value: Any
    written: datetime
    over: bool = False


@dataclass(frozen=True, slots=True)
class Apply:
    """Set the output to this value."""

    value: Any
    is_fail_safe: bool = False


@dataclass(frozen=True, slots=True)
class Refuse:
    """Do not carry this command out, but tell people so."""

    message: str


class Commands:
    """The state of one output. `executed` is the time of its read-back in the tree when the agent started."""

    def __init__(self, rules: OutputRules, executed: datetime | None = None) -> None:
        self._rules = rules
        self._executed = executed
        self._last: Command | None = None
        self._carried_out: Command | None = None
        self._over_already: Command | None = None
        self._away_since: float | None = None
        self._is_safe = False

    def command(self, command: Command, wall: datetime) -> Apply | Refuse | None:
        """A command arrived, or was found at the start, or is over."""
        if command.over:
            return self._over(command)
        if command == self._carried_out:
            return None  # it is told once more, as the watch began anew
        self._last = command
        if self._was_carried_out_before(command):
            return self._apply(command) if self._rules.restore else None
        age_s = (wall - command.written).total_seconds()
        if age_s > self._rules.command_age_s and not self._rules.restore:
            limit_s = self._rules.command_age_s
            return Refuse(f"a command {age_s:.0f} s old is not carried out, {limit_s:g} s is the limit: give it again")
        return self._apply(command)

    def _over(self, command: Command) -> Apply | Refuse | None:
        """Nobody stands behind this command any more, nor is it to be restored."""
        self._last = None
        if command == self._over_already:
            return None
        self._over_already = command
        if self._was_carried_out_before(command) or replace(command, over=False) == self._carried_out:
            return None if self._is_safe else self.lost()
        return Refuse("a command whose lease has ended is not carried out")

    def _was_carried_out_before(self, command: Command) -> bool:
        """Whether that was an earlier run of the agent."""
        return self._executed is not None and command.written <= self._executed

    def link(self, connected: bool, now: float) -> Apply | None:
        """Look at the connection to the tree: to be called at least whenever :meth:`deadline` comes."""
        if connected:
            self._away_since = None
            again = self._is_safe and self._rules.restore
            return self._apply(self._last) if again and self._last is not None else None
        if self._away_since is None:
            self._away_since = now
        return self.lost() if now >= self.deadline() else None

    def lost(self) -> Apply | None:
        """Nobody reaches the output any more: what to set it to, if anything."""
        if self._rules.fail_safe is NOTHING:
            return None
        self._is_safe = True
        return Apply(self._rules.fail_safe, is_fail_safe=True)

    def deadline(self) -> float:
        """When the output is to be made safe unless the connection comes back."""
        if self._away_since is None or self._is_safe or self._rules.fail_safe is NOTHING:
            return math.inf
        return self._away_since + self._rules.fail_safe_after_s

    def _apply(self, command: Command) -> Apply:
        self._is_safe = False
        self._carried_out = command
        return Apply(command.value)
