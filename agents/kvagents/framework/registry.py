"""Finding agents: the entry points of group ``kvnode.agents``, of this package and of any other.

An entry point's name is the agent's kind, its object a subclass of
:class:`~kvagents.framework.agent.AgentKind`. A package adds an agent with::

    [project.entry-points."kvnode.agents"]
    weather = "my_weather.agent:Weather"
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from kvagents.framework.agent import AgentKind

GROUP: Final = "kvnode.agents"


class RegistryError(LookupError):
    """There is no such agent, or its package does not load; the message is one line and names the package."""


def known() -> dict[str, EntryPoint]:
    """The entry points by kind; nothing is imported."""
    return {entry.name: entry for entry in sorted(entry_points(group=GROUP), key=lambda e: e.name)}


def load(kind: str) -> AgentKind[Any]:
    """The agent of a kind. Raises :class:`RegistryError`."""
    found = known()
    entry = found.get(kind)
    if entry is None:
        raise RegistryError(f"there is no agent {kind!r}; installed are: {', '.join(found) or 'none'}")
    package = entry.dist.name if entry.dist else entry.module
    try:
        loaded = entry.load()
    except Exception as error:
        # Whatever somebody else's package raises while it is imported must not break this program.
        raise RegistryError(f"the agent {kind!r} of package {package!r} does not load: {error}") from error
    if not (isinstance(loaded, type) and issubclass(loaded, AgentKind)):
        raise RegistryError(f"the agent {kind!r} of package {package!r} is no AgentKind: {entry.value}")
    made: AgentKind[Any] = loaded()
    return made
