"""All agents of a cluster and the values they write, as ``kv agent status`` shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kvnode.client import Client, NotFound, Reading
from kvnode.core.path import ROOT, Path
from kvnode.data.errors import ERRORS, ErrorRecord
from kvnode.data.sources import SOURCES, STATUS, Source, state_of


@dataclass(frozen=True, slots=True)
class AgentState:
    """An agent: its status entry, and how many errors it has open."""

    name: str
    status: Mapping[str, Any]
    errors: int

    def shown(self, now: datetime) -> tuple[tuple[str, ...], dict[str, Any]]:
        """For people and for machines."""
        state = state_of(self.status, now)
        seen, since, bindings = (self.status.get(key) for key in ("seen", "since", "bindings"))
        cells = (self.name, state, _ago(seen, now), _ago(since, now), str(bindings), str(self.errors))
        row = {"agent": self.name, "state": state, "seen": seen, "since": since, "bindings": bindings}
        return cells, {**row, "errors": self.errors}


@dataclass(frozen=True, slots=True)
class ValueState:
    """A value that an agent writes, as it reads; None if there is none."""

    path: Path
    source: Source
    reading: Reading | None
    status: Mapping[str, Any]

    def shown(self, now: datetime) -> tuple[tuple[str, ...], dict[str, Any]]:
        """For people and for machines."""
        state = state_of(self.status, now)
        written = self.reading and self.reading.time
        is_stale = self.reading is None or self.reading.expired or self.source.is_stale(self.reading.time, now)
        fresh = "missing" if self.reading is None else "stale" if is_stale else "fresh"
        cells = (str(self.path), _ago(written, now), fresh, self.source.agent, state)
        row = {"path": str(self.path), "written": written, "stale": is_stale, "agent": self.source.agent}
        return cells, {**row, "state": state, "config": str(self.source.config)}


@dataclass(frozen=True, slots=True)
class Overview:
    """What there is."""

    agents: tuple[AgentState, ...]
    values: tuple[ValueState, ...]


async def read_status(client: Client, only: Path = ROOT) -> Overview:
    """The agents below ``@.status.agent`` and the path `only`, and their values. Raises KvError."""
    errors = await _open_errors(client)
    found: dict[str, Mapping[str, Any]] = {}
    async with client.tree(STATUS / only) as rows:
        async for row in rows:
            found["/".join(map(str, row.path[len(STATUS) :]))] = row.value if isinstance(row.value, dict) else {}
    values: list[ValueState] = []
    async with client.tree(SOURCES) as rows:
        async for row in rows:
            source = Source.from_value(row.value)
            if source is not None and source.agent in found:
                path = Path(row.path[len(SOURCES) :])
                values.append(ValueState(path, source, await _reading_of(client, path), found[source.agent]))
    agents = (AgentState(name, status, errors.get(name, 0)) for name, status in found.items())
    return Overview(tuple(agents), tuple(values))


async def _open_errors(client: Client) -> dict[str, int]:
    """How many errors are open, by subsystem."""
    counts: dict[str, int] = {}
    async with client.tree(ERRORS) as rows:
        async for row in rows:
            record = ErrorRecord.from_value(row.value)
            if record is not None and record.is_open:
                counts[record.subsystem] = counts.get(record.subsystem, 0) + 1
    return counts


async def _reading_of(client: Client, path: Path) -> Reading | None:
    try:
        return await client.get(path)
    except NotFound:
        return None


def _ago(time: Any, now: datetime) -> str:
    if not isinstance(time, datetime):
        return "-"
    seconds = max(int((now - time).total_seconds()), 0)
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"
